//! What requests say they are proved by: certificates, at addresses that are their provider's.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::Fault;
use domain::fault::Classify;
use domain::ports::{PortError, PortResult};
use domain::sender::SendError;
use http::Request;
use jiff::Timestamp;

use crate::sender::Caller;

/// How long a document is used before it is fetched again.
const LIFETIME: Duration = Duration::from_hours(24);
/// Documents remembered at once: providers have one or two.
const LARGEST: usize = 16;

/// Documents fetched in a minute at most: who asks for more has invented their addresses.
const MOST: u32 = 20;
const MINUTE: Duration = Duration::from_mins(1);

/// Fetches documents, and remembers them for a day.
#[derive(Debug)]
pub struct Evidence<F> {
    caller: F,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    documents: HashMap<String, (Timestamp, Bytes)>,
    /// When a minute began, and what was fetched in it.
    since: Timestamp,
    fetched: u32,
}

impl Known {
    /// The document at `address`; `Err` if it is not known and may not be fetched now.
    fn look_up(&mut self, address: &str, now: Timestamp) -> PortResult<Option<Bytes>> {
        if let Some((fetched_at, document)) = self.documents.get(address)
            && now.duration_since(*fetched_at).unsigned_abs() < LIFETIME
        {
            return Ok(Some(document.clone()));
        }
        if now.duration_since(self.since).unsigned_abs() >= MINUTE {
            (self.since, self.fetched) = (now, 0);
        }
        if self.fetched >= MOST {
            return Err(PortError {
                operation: "fetch a certificate",
                reason: "too many were asked for within a minute".to_owned(),
                fault: Fault::Retryable,
            });
        }
        self.fetched += 1;
        Ok(None)
    }
}

impl<F: Caller> Evidence<F> {
    /// Fetches with `caller`.
    pub fn new(caller: F) -> Self {
        Self { caller, known: Mutex::default() }
    }

    /// The document at `address`.
    pub(crate) async fn fetch(&self, address: &str, now: Timestamp) -> PortResult<Bytes> {
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(document) = known.look_up(address, now)? {
                return Ok(document);
            }
        }
        let document = self.get("fetch a certificate", address).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.documents.len() >= LARGEST {
            known.documents.clear();
        }
        known.documents.insert(address.to_owned(), (now, document.clone()));
        Ok(document)
    }

    /// Calls `address`, which is how some providers want a handshake answered.
    pub(crate) async fn confirm(&self, address: &str) -> PortResult<()> {
        self.get("confirm a subscription", address).await.map(|_| ())
    }

    async fn get(&self, operation: &'static str, address: &str) -> PortResult<Bytes> {
        let failed = |reason: &str| PortError {
            operation,
            reason: reason.to_owned(),
            fault: Fault::Retryable,
        };
        let request = Request::get(address).body(Bytes::new());
        let request = request.map_err(|_| failed("its address cannot be called"))?;
        let response = self.caller.call(request).await.map_err(|error: SendError| PortError {
            operation,
            reason: error.code().to_owned(),
            fault: error.fault(),
        })?;
        if response.status().is_success() {
            Ok(response.into_body())
        } else {
            Err(failed(response.status().as_str()))
        }
    }
}
