//! Automations for the consumers of messages, which read the same one for every message of a tenant.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::TenantId;
use domain::ports::{Clock, PortResult};
use jiff::Timestamp;

use crate::model::automation::Automation;
use crate::ports::Automations;

/// How long the webhook of a tenant is cached.
const LIFETIME: Duration = Duration::from_secs(2);
/// Maximum number of cached tenants; beyond it, the cache is cleared.
const MAX_ENTRIES: usize = 10_000;

/// Automations, as they were in the last seconds. `DynamoDB` limits the reads of one item, so a webhook
/// is cached for two seconds, and the automation of workers that pull is read eventually consistently.
///
/// An automation without an enabled webhook or workers is always read consistently: once it is set,
/// no message may be missed. The automation of workers is not cached: jobs that are queued long after
/// it was changed would not expire.
#[derive(Debug)]
pub struct RecentAutomations<S, C> {
    store: S,
    clock: C,
    webhooks: Mutex<HashMap<TenantId, (Timestamp, Automation)>>,
}

impl<S: Automations, C: Clock> RecentAutomations<S, C> {
    /// Creates the cache of a sandbox.
    #[must_use]
    pub fn new(store: S, clock: C) -> Self {
        Self { store, clock, webhooks: Mutex::default() }
    }

    /// Returns the tenant's automation settings.
    ///
    /// # Errors
    /// As [`Automations::automation`].
    pub async fn automation(&self, tenant: &TenantId) -> PortResult<Automation> {
        let now = self.clock.now();
        let cached = self.lock().get(tenant).cloned();
        if let Some((read_at, automation)) = cached
            && now.duration_since(read_at).unsigned_abs() < LIFETIME
        {
            return Ok(automation);
        }
        let recent = self.store.recent_automation(tenant).await?;
        let automation = match recent {
            Automation::Pull(_) => return Ok(recent),
            Automation::Push(_) if recent.enabled_webhook().is_some() => recent,
            Automation::Push(_) | Automation::None => self.store.automation(tenant).await?,
        };
        let mut webhooks = self.lock();
        if webhooks.len() >= MAX_ENTRIES {
            webhooks.clear();
        }
        if matches!(automation, Automation::Push(_)) && automation.enabled_webhook().is_some() {
            webhooks.insert(tenant.clone(), (now, automation.clone()));
        } else {
            webhooks.remove(tenant);
        }
        Ok(automation)
    }

    /// Removes the tenant's webhook from the cache, because this sandbox has disabled it.
    pub fn forget(&self, tenant: &TenantId) {
        self.lock().remove(tenant);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, (Timestamp, Automation)>> {
        self.webhooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::automation::{Pull, Push};

    struct TestClock(Mutex<Timestamp>);

    impl Clock for &TestClock {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    /// An item, the value that eventually consistent reads still return, and the numbers of
    /// consistent and of eventually consistent reads.
    #[derive(Default)]
    struct Item {
        current: Automation,
        recent: Automation,
        reads: [u32; 2],
    }

    struct Table(Mutex<Item>);

    impl Automations for &Table {
        async fn automation(&self, _tenant: &TenantId) -> PortResult<Automation> {
            let mut item = self.0.lock().unwrap();
            item.reads[0] += 1;
            Ok(item.current.clone())
        }

        async fn recent_automation(&self, _tenant: &TenantId) -> PortResult<Automation> {
            let mut item = self.0.lock().unwrap();
            item.reads[1] += 1;
            Ok(item.recent.clone())
        }
    }

    fn push(disabled_at: Option<Timestamp>) -> Automation {
        Automation::Push(Push {
            url: "https://example.com".to_owned(),
            allow_private_network: false,
            secret_at: Timestamp::UNIX_EPOCH,
            disabled_at,
        })
    }

    #[tokio::test]
    async fn a_webhook_is_read_once_in_two_seconds_unless_this_sandbox_disabled_it() {
        let clock = TestClock(Mutex::new(Timestamp::UNIX_EPOCH));
        let table =
            Table(Mutex::new(Item { current: push(None), recent: push(None), ..Item::default() }));
        let automations = RecentAutomations::new(&table, &clock);
        let tenant: TenantId = "acme".parse().unwrap();
        let reads_after = async || {
            assert_eq!(automations.automation(&tenant).await.unwrap(), push(None));
            table.0.lock().unwrap().reads
        };
        assert_eq!(reads_after().await, [0, 1]);
        assert_eq!(reads_after().await, [0, 1]);
        *clock.0.lock().unwrap() += LIFETIME;
        assert_eq!(reads_after().await, [0, 2]);
        automations.forget(&tenant);
        assert_eq!(reads_after().await, [0, 3]);
    }

    #[tokio::test]
    async fn an_automation_that_was_just_set_is_found_by_a_consistent_read() {
        let clock = TestClock(Mutex::new(Timestamp::UNIX_EPOCH));
        let pull = Automation::Pull(Pull { job_ttl: 60, push: None });
        let tenant: TenantId = "acme".parse().unwrap();
        for (before, now, reads) in [
            (Automation::None, push(None), [1, 1]),
            (Automation::None, pull.clone(), [1, 1]),
            (push(Some(Timestamp::UNIX_EPOCH)), push(None), [1, 1]),
            (pull.clone(), pull, [0, 1]),
        ] {
            let table =
                Table(Mutex::new(Item { current: now.clone(), recent: before, reads: [0, 0] }));
            let automations = RecentAutomations::new(&table, &clock);
            assert_eq!(automations.automation(&tenant).await.unwrap(), now);
            assert_eq!(table.0.lock().unwrap().reads, reads, "{now:?}");
        }
    }

    #[tokio::test]
    async fn an_automation_without_a_webhook_and_one_that_pulls_are_not_cached() {
        let clock = TestClock(Mutex::new(Timestamp::UNIX_EPOCH));
        let tenant: TenantId = "acme".parse().unwrap();
        let disabled = push(Some(Timestamp::UNIX_EPOCH));
        for automation in
            [Automation::None, disabled, Automation::Pull(Pull { job_ttl: 60, push: None })]
        {
            let (current, recent) = (automation.clone(), automation.clone());
            let table = Table(Mutex::new(Item { current, recent, reads: [0, 0] }));
            let automations = RecentAutomations::new(&table, &clock);
            for reads in 1..=2 {
                assert_eq!(automations.automation(&tenant).await.unwrap(), automation);
                assert_eq!(table.0.lock().unwrap().reads[1], reads);
            }
        }
    }
}
