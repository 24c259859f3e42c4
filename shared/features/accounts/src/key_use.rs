//! Record of when API keys are used, to the hour.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::KeyId;
use domain::tenant::ApiKey;
use jiff::Timestamp;

use crate::model::key::LAST_USED_PRECISION;
use crate::ports::RecordKeyUse;

/// How long the record of a use may delay a request.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum number of keys that a process remembers, about 100 KB.
const MAX_REMEMBERED_KEYS: usize = 1_000;

/// Records the use of API keys. It remembers what this process has recorded, which saves most of the
/// writes; their condition is what keeps the recorded time coarse.
#[derive(Debug)]
pub struct KeyUses<S> {
    store: S,
    recorded: Mutex<HashMap<KeyId, Timestamp>>,
}

impl<S: RecordKeyUse> KeyUses<S> {
    /// Creates a recorder that has recorded nothing yet.
    pub fn new(store: S) -> Self {
        Self { store, recorded: Mutex::default() }
    }

    /// Records that `key` is used at `now`. A failure is logged and not returned: it must not fail
    /// the request.
    pub async fn record(&self, key: &ApiKey, now: Timestamp) {
        if !self.is_due(key.id, now) {
            return;
        }
        let write = self.store.record_use(&key.tenant, key.id, now);
        let error = match tokio::time::timeout(TIMEOUT, write).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        tracing::warn!(key = %key.id, error, "use of an API key not recorded");
    }

    /// Returns whether the use of a key at `now` must be recorded, and remembers it.
    fn is_due(&self, id: KeyId, now: Timestamp) -> bool {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent =
            |at: &Timestamp| now.duration_since(*at).unsigned_abs() < LAST_USED_PRECISION;
        if recorded.get(&id).is_some_and(is_recent) {
            return false;
        }
        if recorded.len() >= MAX_REMEMBERED_KEYS {
            recorded.clear();
        }
        recorded.insert(id, now);
        true
    }
}
