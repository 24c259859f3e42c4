//! Outages without other faults: measures the delay after a provider or an automation recovers.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    load::{CustomerMessage, Load},
    lock,
    plan::{Conversation, Provider},
    rng::Rng,
};
use crate::{
    error::{Error, Result},
    trigger::now,
};

/// Length of the providers' outage.
pub(crate) const PROVIDER_DOWN: Duration = Duration::from_secs(10);
/// Length of the automation's outage.
pub(crate) const AUTOMATION_DOWN: Duration = Duration::from_secs(12);
/// Number of messages sent during the providers' outage.
const RECIPIENTS: usize = 24;
/// Number of customers who write during the automation's outage.
const WRITERS: usize = 6;
/// Time for the hub to recover.
const RECOVERY_TIMEOUT: Duration = Duration::from_mins(10);
const POLL: Duration = Duration::from_millis(50);
/// More requests than a run makes.
const ALWAYS: u32 = 1_000_000;

/// Results of the outages.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    /// For each message, the time from the providers' recovery until it was sent.
    pub(crate) provider: Delays,
    /// For each customer message written during the automation's outage, the time until the
    /// automation was notified.
    pub(crate) automation: Delays,
}

/// Delays in milliseconds, in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Delays(Vec<u64>);

impl Delays {
    pub(crate) fn of(delays: impl IntoIterator<Item = u64>) -> Self {
        let mut delays: Vec<u64> = delays.into_iter().collect();
        delays.sort_unstable();
        Self(delays)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> Option<u64> {
        self.0.get(self.0.len() / 2).copied()
    }

    pub(crate) fn longest(&self) -> Option<u64> {
        self.0.last().copied()
    }

    /// The statistics as JSON.
    pub(crate) fn json(&self, down: Duration) -> Value {
        json!({"down_s": down.as_secs(), "count": self.count(), "median_ms": self.median(),
               "longest_ms": self.longest()})
    }
}

/// Runs both outages, one after the other.
pub(crate) fn run(load: &Load<'_>) -> Result<Outages> {
    Ok(Outages { provider: of_providers(load)?, automation: of_an_automation(load)? })
}

/// All accounts return the error that the provider documents, while tenants send.
fn of_providers(load: &Load<'_>) -> Result<Delays> {
    let (fixtures, simulator) = (load.fixtures, &load.fixtures.simulator);
    let down = json!({"faults": [{"kind": "status", "status": 503, "times": ALWAYS}]});
    let began = Instant::now();
    for account in &fixtures.accounts {
        simulator.post(&account.control("/faults"), &down)?;
    }
    let mut posted = Vec::new();
    // Only recent conversations: WhatsApp allows messages only within the service window.
    for conversation in load.conversations.iter().take(RECIPIENTS) {
        let Some(account) = fixtures.accounts.get(conversation.account) else { continue };
        let Some(tenant) = fixtures.tenants.get(account.tenant) else { continue };
        let mut rng = Rng::new(load.options.seed, 5);
        load.post(tenant, account, conversation, conversation.late_post(), &mut rng);
        posted.push(conversation);
    }
    sleep(PROVIDER_DOWN.saturating_sub(began.elapsed()));
    for account in &fixtures.accounts {
        simulator.send("DELETE", &account.control("/faults"), None)?;
    }
    let ended = now().as_millisecond();
    let deadline = Instant::now() + RECOVERY_TIMEOUT;
    loop {
        let sent = sent_times(load)?;
        let delays = posted.iter().map(|conversation| sent.get(&conversation.late_post()).copied());
        let delays: Vec<Option<i64>> = delays.collect();
        if delays.iter().all(Option::is_some) || Instant::now() > deadline {
            let after = delays.into_iter().flatten().map(|at| at.saturating_sub(ended).max(0));
            return Ok(Delays::of(after.filter_map(|wait| u64::try_from(wait).ok())));
        }
        sleep(POLL);
    }
}

/// Returns the time at which each text was sent, from the providers' logs.
fn sent_times(load: &Load<'_>) -> Result<BTreeMap<String, i64>> {
    let mut sent = BTreeMap::new();
    for account in &load.fixtures.accounts {
        let log = load.fixtures.simulator.get(&account.control("/accepted"))?;
        let text = match account.provider {
            Provider::Whatsapp => "/body/text/body",
            Provider::Telegram => "/body/text",
        };
        for entry in log.get("accepted").and_then(Value::as_array).into_iter().flatten() {
            let text = entry.pointer(text).and_then(Value::as_str);
            let at = entry.get("at_ms").and_then(Value::as_i64);
            if let (Some(text), Some(at)) = (text, at) {
                sent.insert(text.to_owned(), at);
            }
        }
    }
    Ok(sent)
}

/// A tenant's automation returns errors while customers write.
fn of_an_automation(load: &Load<'_>) -> Result<Delays> {
    let (fixtures, simulator) = (load.fixtures, &load.fixtures.simulator);
    let no_tenant = || Error::step("chaos", "there is no tenant");
    let tenant = fixtures.tenants.first().ok_or_else(no_tenant)?;
    let path = format!("/_sim/automation/{}", tenant.id);
    let mut down = tenant.automation.clone();
    if let Some(settings) = down.as_object_mut() {
        settings.insert("script".to_owned(), json!([{"status": 503, "times": ALWAYS}]));
    }
    let began = Instant::now();
    simulator.put(&path, &down)?;
    let is_tenants = |conversation: &&Conversation| {
        fixtures.accounts.get(conversation.account).is_some_and(|account| account.tenant == 0)
    };
    let mut wrote = Vec::new();
    for conversation in load.conversations.iter().filter(is_tenants).take(WRITERS) {
        let Some(account) = fixtures.accounts.get(conversation.account) else { continue };
        let text = conversation.late_write();
        load.write(account, conversation, &text)?;
        let (tenant, address) = (tenant.id.clone(), conversation.address.clone());
        load.input(|input| {
            input.written.push(CustomerMessage { tenant, address, text: text.clone() });
        });
        wrote.push((text, Instant::now()));
    }
    sleep(AUTOMATION_DOWN.saturating_sub(began.elapsed()));
    simulator.put(&path, &tenant.automation)?;
    let (deadline, mut delays) = (Instant::now() + RECOVERY_TIMEOUT, Vec::new());
    while !wrote.is_empty() && Instant::now() < deadline {
        {
            let seen = lock(load.seen);
            wrote.retain(|(text, at)| {
                let notified = seen.is_notified(text);
                if notified {
                    delays.push(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
                }
                !notified
            });
        }
        sleep(POLL);
    }
    Ok(Delays::of(delays))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_have_a_median_and_a_longest_value() {
        let delays = Delays::of([900, 100, 300]);
        assert_eq!((delays.count(), delays.median(), delays.longest()), (3, Some(300), Some(900)));
        let none = Delays::default();
        assert_eq!((none.count(), none.median(), none.longest()), (0, None, None));
        assert_eq!(delays.json(PROVIDER_DOWN)["longest_ms"], 900);
        assert_eq!(none.json(AUTOMATION_DOWN)["median_ms"], Value::Null);
    }
}
