//! Outages while nothing else goes wrong: how long people wait once all is well again.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    dice::Dice,
    load::{Load, Written},
    lock,
    plan::{Provider, Talk},
};
use crate::{
    error::{Error, Result},
    trigger::now,
};

/// How long the providers are down.
pub(crate) const PROVIDER_DOWN: Duration = Duration::from_secs(10);
/// How long an automation is down.
pub(crate) const AUTOMATION_DOWN: Duration = Duration::from_secs(12);
/// How many people are written to, and how many write.
const PEOPLE: usize = 24;
const WRITERS: usize = 6;
/// How long the hub may take to get over it.
const PATIENCE: Duration = Duration::from_mins(10);
const LOOK: Duration = Duration::from_millis(50);
/// For more requests than there will be.
const ALWAYS: u32 = 1_000_000;

/// What the outages showed.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    /// How long after the providers were well again each message left.
    pub(crate) provider: Waits,
    /// How long each person waited who wrote while the automation was down: from their message
    /// until the automation had it.
    pub(crate) automation: Waits,
}

/// How long each waited, the shortest first. Milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Waits(Vec<u64>);

impl Waits {
    pub(crate) fn of(waits: impl IntoIterator<Item = u64>) -> Self {
        let mut waits: Vec<u64> = waits.into_iter().collect();
        waits.sort_unstable();
        Self(waits)
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

    /// For programs.
    pub(crate) fn json(&self, down: Duration) -> Value {
        json!({"down_s": down.as_secs(), "count": self.count(), "median_ms": self.median(),
               "longest_ms": self.longest()})
    }
}

/// Has both outages, one after the other.
pub(crate) fn run(load: &Load<'_>) -> Result<Outages> {
    Ok(Outages { provider: of_providers(load)?, automation: of_an_automation(load)? })
}

/// Every account refuses, in the form that its provider documents, while tenants send.
fn of_providers(load: &Load<'_>) -> Result<Waits> {
    let (cast, simulator) = (load.cast, &load.cast.simulator);
    let down = json!({"faults": [{"kind": "status", "status": 503, "times": ALWAYS}]});
    let began = Instant::now();
    for account in &cast.accounts {
        simulator.post(&account.control("/faults"), &down)?;
    }
    let mut posted = Vec::new();
    // Whoever has written lately: on WhatsApp nobody else may be written to.
    for talk in load.talks.iter().take(PEOPLE) {
        let Some(account) = cast.accounts.get(talk.account) else { continue };
        let Some(tenant) = cast.tenants.get(account.tenant) else { continue };
        let mut dice = Dice::new(load.manner.chance, 5);
        load.post(tenant, account, talk, talk.late_post(), &mut dice);
        posted.push(talk);
    }
    sleep(PROVIDER_DOWN.saturating_sub(began.elapsed()));
    for account in &cast.accounts {
        simulator.send("DELETE", &account.control("/faults"), None)?;
    }
    let ended = now().as_millisecond();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = left(load)?;
        let waits = posted.iter().map(|talk| left.get(&talk.late_post()).copied());
        let waits: Vec<Option<i64>> = waits.collect();
        if waits.iter().all(Option::is_some) || Instant::now() > deadline {
            let after = waits.into_iter().flatten().map(|at| at.saturating_sub(ended).max(0));
            return Ok(Waits::of(after.filter_map(|wait| u64::try_from(wait).ok())));
        }
        sleep(LOOK);
    }
}

/// When each text left, as the providers know it.
fn left(load: &Load<'_>) -> Result<BTreeMap<String, i64>> {
    let mut left = BTreeMap::new();
    for account in &load.cast.accounts {
        let log = load.cast.simulator.get(&account.control("/accepted"))?;
        let text = match account.provider {
            Provider::Whatsapp => "/body/text/body",
            Provider::Telegram => "/body/text",
        };
        for entry in log.get("accepted").and_then(Value::as_array).into_iter().flatten() {
            let text = entry.pointer(text).and_then(Value::as_str);
            let at = entry.get("at_ms").and_then(Value::as_i64);
            if let (Some(text), Some(at)) = (text, at) {
                left.insert(text.to_owned(), at);
            }
        }
    }
    Ok(left)
}

/// A tenant's automation refuses while people write.
fn of_an_automation(load: &Load<'_>) -> Result<Waits> {
    let (cast, simulator) = (load.cast, &load.cast.simulator);
    let nobody = || Error::step("chaos", "there is no tenant");
    let tenant = cast.tenants.first().ok_or_else(nobody)?;
    let path = format!("/_sim/automation/{}", tenant.id);
    let mut down = tenant.automation.clone();
    if let Some(settings) = down.as_object_mut() {
        settings.insert("script".to_owned(), json!([{"status": 503, "times": ALWAYS}]));
    }
    let began = Instant::now();
    simulator.put(&path, &down)?;
    let is_theirs =
        |talk: &&Talk| cast.accounts.get(talk.account).is_some_and(|account| account.tenant == 0);
    let mut wrote = Vec::new();
    for talk in load.talks.iter().filter(is_theirs).take(WRITERS) {
        let Some(account) = cast.accounts.get(talk.account) else { continue };
        let text = talk.late_write();
        load.write(account, talk, &text)?;
        let (tenant, address) = (tenant.id.clone(), talk.address.clone());
        load.input(|input| input.written.push(Written { tenant, address, text: text.clone() }));
        wrote.push((text, Instant::now()));
    }
    sleep(AUTOMATION_DOWN.saturating_sub(began.elapsed()));
    simulator.put(&path, &tenant.automation)?;
    let (deadline, mut waits) = (Instant::now() + PATIENCE, Vec::new());
    while !wrote.is_empty() && Instant::now() < deadline {
        {
            let seen = lock(load.seen);
            wrote.retain(|(text, at)| {
                let told = seen.is_told(text);
                if told {
                    waits.push(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
                }
                !told
            });
        }
        sleep(LOOK);
    }
    Ok(Waits::of(waits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_have_a_median_and_a_longest() {
        let waits = Waits::of([900, 100, 300]);
        assert_eq!((waits.count(), waits.median(), waits.longest()), (3, Some(300), Some(900)));
        let none = Waits::default();
        assert_eq!((none.count(), none.median(), none.longest()), (0, None, None));
        assert_eq!(waits.json(PROVIDER_DOWN)["longest_ms"], 900);
        assert_eq!(none.json(AUTOMATION_DOWN)["median_ms"], Value::Null);
    }
}
