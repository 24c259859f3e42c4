//! Ends functions in the middle of their work, and has providers misbehave.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{cast::Cast, dice::Dice, plan::Provider, seen::Seen};
use crate::{error::Result, process};

const STEP: Duration = Duration::from_millis(100);
/// How often a process must be at work to be killed.
const AT_WORK: f64 = 0.7;
/// How long a process is looked at to see whether it is.
const GLANCE: Duration = Duration::from_millis(20);
/// How often the providers get new faults.
const ARM_EVERY: Duration = Duration::from_millis(500);

/// How many processes of each function were killed.
pub(crate) type Kills = BTreeMap<String, u64>;

/// Sleeps, but not past the end.
fn rest(time: Duration, on: &AtomicBool) {
    let until = Instant::now() + time;
    while on.load(Ordering::Relaxed) && Instant::now() < until {
        sleep(STEP.min(until.saturating_duration_since(Instant::now())));
    }
}

/// Kills functions.
pub(crate) struct Killer<'a> {
    /// Where the hub's functions find AWS.
    pub(crate) endpoint: &'a str,
    /// About how often.
    pub(crate) every: Duration,
    /// A function that is left alone.
    pub(crate) spare: Option<&'a str>,
    /// When it ends.
    pub(crate) until: Instant,
}

impl Killer<'_> {
    /// Kills a random process of a random function again and again while `on`; mostly one that
    /// is at work, as there is little to learn from the death of one that is not.
    pub(crate) fn run(&self, mut dice: Dice, on: &AtomicBool, kills: &Mutex<Kills>) {
        loop {
            rest(self.every.mul_f64(0.5 + dice.fraction()), on);
            if !on.load(Ordering::Relaxed) || Instant::now() > self.until {
                return;
            }
            let mut found = functions(self.endpoint);
            found.retain(|name, _| self.spare.is_none_or(|spare| !name.ends_with(spare)));
            if dice.chance(AT_WORK) {
                found = at_work(found);
            }
            let names: Vec<&String> = found.keys().collect();
            let Some(name) = dice.pick(&names) else { continue };
            let Some(pid) = found.get(*name).and_then(|pids| dice.pick(pids)) else { continue };
            if process::signal("KILL", *pid).is_ok() {
                let mut kills = kills.lock().unwrap_or_else(PoisonError::into_inner);
                *kills.entry((*name).clone()).or_default() += 1;
            }
        }
    }
}

/// Of these the processes that use the processor just now; all, if none does.
fn at_work(found: BTreeMap<String, Vec<u32>>) -> BTreeMap<String, Vec<u32>> {
    let used = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/schedstat")).ok();
    let before: BTreeMap<u32, String> =
        found.values().flatten().filter_map(|pid| Some((*pid, used(pid)?))).collect();
    sleep(GLANCE);
    let mut busy = found.clone();
    for pids in busy.values_mut() {
        pids.retain(|pid| used(pid).is_some_and(|now| before.get(pid) != Some(&now)));
    }
    busy.retain(|_, pids| !pids.is_empty());
    if busy.is_empty() { found } else { busy }
}

/// The processes of the hub whose functions find AWS at `endpoint`, by function.
fn functions(endpoint: &str) -> BTreeMap<String, Vec<u32>> {
    let mut found = BTreeMap::<String, Vec<u32>>::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        if let Some(name) = function(&environment, endpoint) {
            found.entry(name).or_default().push(pid);
        }
    }
    found
}

/// The function that a process with this environment is, if it is one of this hub's.
fn function(environment: &[u8], endpoint: &str) -> Option<String> {
    let variable = |name: &str| {
        environment
            .split(|byte| *byte == 0)
            .filter_map(|line| std::str::from_utf8(line).ok())
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    };
    let ours = variable("AWS_ENDPOINT_URL") == Some(endpoint);
    variable("AWS_LAMBDA_FUNCTION_NAME").filter(|_| ours).map(str::to_owned)
}

/// Arms faults at the providers, so that about `rate` of all messages meet one, while `on`.
/// At the end none is left.
pub(crate) fn disturb(
    cast: &Cast,
    seen: &Mutex<Seen>,
    rate: f64,
    mut dice: Dice,
    on: &AtomicBool,
) -> Result<()> {
    let taken = || seen.lock().unwrap_or_else(PoisonError::into_inner).taken;
    let mut before = taken();
    while on.load(Ordering::Relaxed) {
        rest(ARM_EVERY, on);
        let now = taken();
        for _ in before..now.max(before + 1) {
            if dice.chance(rate)
                && let Some(account) = dice.pick(&cast.accounts)
            {
                let faults = json!({"faults": [fault(account.provider, &mut dice)]});
                cast.simulator.post(&account.control("/faults"), &faults)?;
            }
        }
        before = now;
    }
    for account in &cast.accounts {
        cast.simulator.send("DELETE", &account.control("/faults"), None)?;
    }
    Ok(())
}

/// Makes a fault for a provider.
type Make = fn(Provider, &mut Dice) -> Value;

/// One thing that a provider does wrong.
fn fault(provider: Provider, dice: &mut Dice) -> Value {
    let all: &[(u64, Make)] = &[
        (2, |_, _| json!({"kind": "accept_then_time_out", "hold_ms": 12_000})),
        (6, |_, _| json!({"kind": "accept_then_drop"})),
        (6, |_, _| json!({"kind": "drop"})),
        (4, |_, _| json!({"kind": "page", "status": 502, "accepted": true})),
        (2, |_, _| json!({"kind": "page", "status": 503})),
        (4, |_, dice| json!({"kind": "status", "status": 500 + 2 * dice.between(0, 1)})),
        (4, |_, _| json!({"kind": "status", "status": 503})),
        (8, |_, dice| json!({"kind": "rate_limited", "retry_after_s": dice.between(1, 3)})),
        (6, |_, dice| json!({"kind": "delay", "delay_ms": dice.between(200, 3000)})),
        (2, |provider, _| match provider {
            Provider::Whatsapp => json!({"kind": "error", "code": 131_026}),
            Provider::Telegram => json!({"kind": "error", "code": 400}),
        }),
        (3, |provider, _| match provider {
            Provider::Whatsapp => json!({"kind": "fail_later", "code": 131_026}),
            Provider::Telegram => json!({"kind": "rate_limited", "retry_after_s": 1}),
        }),
    ];
    dice.weighted(all).map_or(Value::Null, |make| make(provider, dice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_functions_of_this_hub_are_found() {
        let environment = b"A=1\0AWS_ENDPOINT_URL=http://x:1\0AWS_LAMBDA_FUNCTION_NAME=send\0";
        assert_eq!(function(environment, "http://x:1").as_deref(), Some("send"));
        assert_eq!(function(environment, "http://x:10"), None);
        assert_eq!(function(b"AWS_ENDPOINT_URL=http://x:1\0", "http://x:1"), None);
    }

    #[test]
    fn a_process_that_works_is_told_from_one_that_sleeps() {
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut worker =
            std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        sleep(Duration::from_millis(300));
        let asleep = BTreeMap::from([("asleep".to_owned(), vec![sleeper.id()])]);
        let both = BTreeMap::from([
            ("asleep".to_owned(), vec![sleeper.id()]),
            ("awake".to_owned(), vec![worker.id()]),
        ]);
        // A busy machine may not get round to the worker in one glance.
        let chosen: Vec<_> = (0..20).map(|_| at_work(both.clone())).collect();
        let fallback = at_work(asleep.clone());
        sleeper.kill().unwrap();
        worker.kill().unwrap();
        sleeper.wait().unwrap();
        worker.wait().unwrap();
        assert!(chosen.iter().any(|found| found.keys().eq(["awake"])), "{chosen:?}");
        assert_eq!(fallback, asleep);
    }

    #[test]
    fn providers_know_all_their_faults() {
        let mut dice = Dice::new(1, 0);
        let mut kinds = std::collections::BTreeSet::new();
        for _ in 0..500 {
            for provider in [Provider::Whatsapp, Provider::Telegram] {
                kinds.insert(fault(provider, &mut dice)["kind"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(kinds.len(), 9, "{kinds:?}");
    }
}
