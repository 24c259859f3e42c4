//! Kills functions while they run, and injects provider faults.

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

use super::{fixtures::Fixtures, observations::Observations, plan::Provider, rng::Rng};
use crate::{error::Result, process};

const STEP: Duration = Duration::from_millis(100);
/// Share of the kills that pick only processes that use the CPU.
const KILL_BUSY_SHARE: f64 = 0.7;
/// Time over which the CPU use of a process is measured.
const BUSY_SAMPLE: Duration = Duration::from_millis(20);
/// Interval at which provider faults are armed.
const ARM_EVERY: Duration = Duration::from_millis(500);

/// Number of killed processes of each function.
pub(crate) type Kills = BTreeMap<String, u64>;

/// Sleeps for `time`, but only while `on`.
fn sleep_while(time: Duration, on: &AtomicBool) {
    let until = Instant::now() + time;
    while on.load(Ordering::Relaxed) && Instant::now() < until {
        sleep(STEP.min(until.saturating_duration_since(Instant::now())));
    }
}

/// Kills random function processes.
pub(crate) struct Killer<'a> {
    /// The AWS endpoint of the hub's functions, which identifies their processes.
    pub(crate) endpoint: &'a str,
    /// Average interval between kills.
    pub(crate) every: Duration,
    /// A function that is never killed.
    pub(crate) excluded: Option<&'a str>,
    /// When the kills stop.
    pub(crate) until: Instant,
}

impl Killer<'_> {
    /// Kills a random process of a random function repeatedly while `on`. Prefers processes that
    /// use the CPU, because killing an idle one tests little.
    pub(crate) fn run(&self, mut rng: Rng, on: &AtomicBool, kills: &Mutex<Kills>) {
        loop {
            sleep_while(self.every.mul_f64(0.5 + rng.fraction()), on);
            if !on.load(Ordering::Relaxed) || Instant::now() > self.until {
                return;
            }
            let mut found = functions(self.endpoint);
            found.retain(|name, _| self.excluded.is_none_or(|excluded| !name.ends_with(excluded)));
            if rng.chance(KILL_BUSY_SHARE) {
                found = busy(found);
            }
            let names: Vec<&String> = found.keys().collect();
            let Some(name) = rng.pick(&names) else { continue };
            let Some(pid) = found.get(*name).and_then(|pids| rng.pick(pids)) else { continue };
            if process::signal("KILL", *pid).is_ok() {
                let mut kills = kills.lock().unwrap_or_else(PoisonError::into_inner);
                *kills.entry((*name).clone()).or_default() += 1;
            }
        }
    }
}

/// Returns the processes that are using the CPU, or all if none is.
fn busy(found: BTreeMap<String, Vec<u32>>) -> BTreeMap<String, Vec<u32>> {
    let used = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/schedstat")).ok();
    let before: BTreeMap<u32, String> =
        found.values().flatten().filter_map(|pid| Some((*pid, used(pid)?))).collect();
    sleep(BUSY_SAMPLE);
    let mut busy = found.clone();
    for pids in busy.values_mut() {
        pids.retain(|pid| used(pid).is_some_and(|now| before.get(pid) != Some(&now)));
    }
    busy.retain(|_, pids| !pids.is_empty());
    if busy.is_empty() { found } else { busy }
}

/// Returns the processes of functions with this AWS endpoint, by function name.
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

/// Returns the function's name if a process environment belongs to a function of this hub.
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

/// Arms provider faults while `on`, so that about `rate` of all messages meet one. Clears all
/// faults at the end.
pub(crate) fn inject_provider_faults(
    fixtures: &Fixtures,
    seen: &Mutex<Observations>,
    rate: f64,
    mut rng: Rng,
    on: &AtomicBool,
) -> Result<()> {
    let provider_accepted =
        || seen.lock().unwrap_or_else(PoisonError::into_inner).provider_accepted;
    let mut before = provider_accepted();
    while on.load(Ordering::Relaxed) {
        sleep_while(ARM_EVERY, on);
        let now = provider_accepted();
        for _ in before..now.max(before + 1) {
            if rng.chance(rate)
                && let Some(account) = rng.pick(&fixtures.accounts)
            {
                let faults = json!({"faults": [fault(account.provider, &mut rng)]});
                fixtures.simulator.post(&account.control("/faults"), &faults)?;
            }
        }
        before = now;
    }
    for account in &fixtures.accounts {
        fixtures.simulator.send("DELETE", &account.control("/faults"), None)?;
    }
    Ok(())
}

/// Creates a fault for a provider.
type Make = fn(Provider, &mut Rng) -> Value;

/// Returns a random provider fault.
fn fault(provider: Provider, rng: &mut Rng) -> Value {
    let all: &[(u64, Make)] = &[
        (2, |_, _| json!({"kind": "accept_then_time_out", "hold_ms": 12_000})),
        (6, |_, _| json!({"kind": "accept_then_drop"})),
        (6, |_, _| json!({"kind": "drop"})),
        (4, |_, _| json!({"kind": "page", "status": 502, "accepted": true})),
        (2, |_, _| json!({"kind": "page", "status": 503})),
        (4, |_, rng| json!({"kind": "status", "status": 500 + 2 * rng.between(0, 1)})),
        (4, |_, _| json!({"kind": "status", "status": 503})),
        (8, |_, rng| json!({"kind": "rate_limited", "retry_after_s": rng.between(1, 3)})),
        (6, |_, rng| json!({"kind": "delay", "delay_ms": rng.between(200, 3000)})),
        (2, |provider, _| match provider {
            Provider::Whatsapp => json!({"kind": "error", "code": 131_026}),
            Provider::Telegram => json!({"kind": "error", "code": 400}),
        }),
        (3, |provider, _| match provider {
            Provider::Whatsapp => json!({"kind": "fail_later", "code": 131_026}),
            Provider::Telegram => json!({"kind": "rate_limited", "retry_after_s": 1}),
        }),
    ];
    rng.weighted(all).map_or(Value::Null, |make| make(provider, rng))
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
    fn a_process_that_uses_the_cpu_is_told_from_a_sleeping_one() {
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut worker =
            std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        sleep(Duration::from_millis(300));
        let asleep = BTreeMap::from([("asleep".to_owned(), vec![sleeper.id()])]);
        let both = BTreeMap::from([
            ("asleep".to_owned(), vec![sleeper.id()]),
            ("awake".to_owned(), vec![worker.id()]),
        ]);
        // On a busy machine the worker may not run within one sample.
        let chosen: Vec<_> = (0..20).map(|_| busy(both.clone())).collect();
        let fallback = busy(asleep.clone());
        sleeper.kill().unwrap();
        worker.kill().unwrap();
        sleeper.wait().unwrap();
        worker.wait().unwrap();
        assert!(chosen.iter().any(|found| found.keys().eq(["awake"])), "{chosen:?}");
        assert_eq!(fallback, asleep);
    }

    #[test]
    fn every_kind_of_provider_fault_is_generated() {
        let mut rng = Rng::new(1, 0);
        let mut kinds = std::collections::BTreeSet::new();
        for _ in 0..500 {
            for provider in [Provider::Whatsapp, Provider::Telegram] {
                kinds.insert(fault(provider, &mut rng)["kind"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(kinds.len(), 9, "{kinds:?}");
    }
}
