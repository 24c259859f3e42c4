//! Faults on the real thing: functions are killed, AWS and the providers misbehave, and at the
//! end every message is accounted for.

mod cast;
mod dice;
mod evidence;
mod gather;
mod harm;
mod judge;
mod load;
mod outage;
mod plan;
mod proxy;
mod queues;
mod report;
mod seen;
mod watch;
mod weather;
mod wire;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::Value;

use self::{
    cast::Cast,
    dice::Dice,
    harm::Kills,
    load::{Input, Load, Manner},
    plan::Talk,
    proxy::Proxy,
    queues::Queues,
    report::Run,
    seen::Seen,
    weather::Weather,
};
use crate::{
    error::{Error, Result},
    http::Client,
    hub::{Hub, Start},
    workspace,
};

/// Far from the ports of a hub for hand use and of the end-to-end tests'.
const PORT_OFFSET: u16 = 2000;
const SAY_EVERY: Duration = Duration::from_secs(5);
/// How long things go wrong after the last customer has written.
const LINGER: Duration = Duration::from_secs(10);
/// How long things go wrong in the short form, and how long it kills.
const SHORT_HARM: Duration = Duration::from_secs(45);
const SHORT_KILLS: Duration = Duration::from_secs(20);
const SHORT_KILL_EVERY: Duration = Duration::from_secs(2);
/// How far customers write ahead of what the automation knows.
const AHEAD: usize = 2;
/// How many more messages than AWS calls meet a fault.
const PROVIDER_FACTOR: f64 = 3.0;
/// Findings that are printed; all are in the report.
const PRINTED: usize = 40;

/// What a run has if nothing is said: messages, and the share of AWS calls that go wrong.
const WHOLE_MESSAGES: usize = 10_000;
const WHOLE_FAULT_RATE: f64 = 0.03;

/// How a run goes.
#[derive(Args)]
pub(crate) struct Options {
    /// Messages in all, in and out.
    #[arg(long, value_name = "N", default_value_t = WHOLE_MESSAGES)]
    messages: usize,
    /// What the dice fall by: the same seed throws the same faults, though not at the same
    /// messages.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Kill a function about every so many seconds; 0 kills none.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, allow_negative_numbers = true)]
    kill_every: f64,
    /// Share of the calls to AWS that go wrong, from 0 to 1. Now and then a storm makes one
    /// service twenty times worse. Three times as many messages meet a fault of a provider's.
    #[arg(long, value_name = "SHARE", default_value_t = WHOLE_FAULT_RATE)]
    fault_rate: f64,
    /// Conversations at once. More only makes the local cloud slower.
    #[arg(long, value_name = "N", default_value_t = 40)]
    at_once: usize,
    /// About 300 messages, for CI, with a kill every other second. What would only take long is
    /// left out: kills and faults near the end, kills of the consumer whose queue hides a record
    /// for three minutes, doubled receipts.
    #[arg(long, conflicts_with = "messages")]
    short: bool,
    /// Add N to every port. The data is kept in target/local-chaos, or with another N than the
    /// default in target/local-chaos-N.
    #[arg(long, value_name = "N", default_value_t = PORT_OFFSET)]
    port_offset: u16,
    /// Take the functions and tools as they are already built.
    #[arg(long)]
    built: bool,
}

impl Options {
    /// As if nothing were said.
    pub(crate) fn whole() -> Self {
        Self {
            messages: WHOLE_MESSAGES,
            seed: 1,
            kill_every: 5.0,
            fault_rate: WHOLE_FAULT_RATE,
            at_once: 40,
            short: false,
            port_offset: PORT_OFFSET,
            built: false,
        }
    }

    fn messages(&self) -> usize {
        if self.short { 300 } else { self.messages }
    }

    fn check(&self) -> Result<()> {
        let shares = 0.0..=1.0;
        if !shares.contains(&self.fault_rate) {
            return Err(Error::step("--fault-rate", "give a share from 0 to 1"));
        }
        if !(0.0..=3600.0).contains(&self.kill_every) {
            return Err(Error::step("--kill-every", "give seconds, at most 3600"));
        }
        if self.kill_every > 0.0 && !Path::new("/proc/self/environ").exists() {
            let detail = "functions are found in /proc, which is not here. Give 0";
            return Err(Error::step("--kill-every", detail));
        }
        if self.at_once == 0 || self.messages() == 0 {
            return Err(Error::step("--messages", "nothing would happen"));
        }
        Ok(())
    }
}

/// Runs it. A promise that was not kept is an error.
pub(crate) fn run(options: &Options) -> Result<()> {
    options.check()?;
    let name = if options.port_offset == PORT_OFFSET {
        "local-chaos".to_owned()
    } else {
        format!("local-chaos-{}", options.port_offset)
    };
    let hub =
        Hub::named(&name, options.port_offset, false)?.behind_proxy().already_built(options.built);
    if hub.is_running() {
        println!("Ending the hub of an earlier run.");
        hub.stop()?;
    }
    let weather = Weather::new(options.fault_rate, Dice::new(options.seed, 1));
    let proxy = Proxy::listen(hub.proxy_port(), hub.cloud_port(), weather)?;
    let running = hub.start(Start { detach: false, fresh: true })?;
    let done = on(&hub, &proxy, options);
    if let Some(running) = running {
        running.stop()?;
    }
    let run = done?;
    let report = hub.folder().join("chaos.json");
    workspace::write(&report, &format!("{:#}\n", run.json()))?;
    println!("\n{}", run.table());
    conclude(&hub, &run, &report)
}

/// Says what was wrong, and where to look.
fn conclude(hub: &Hub, run: &Run, report: &Path) -> Result<()> {
    let mut letters = BTreeMap::<(&str, &str), usize>::new();
    for letter in &run.redriven {
        *letters.entry((&letter.queue, &letter.reason)).or_default() += 1;
    }
    for ((queue, reason), count) in letters {
        println!("  given up and redriven: {count} in {queue}: {reason}");
    }
    let findings = &run.verdict.findings;
    for finding in findings.iter().take(PRINTED) {
        println!("  {}: {}", finding.rule, finding.what);
    }
    println!("Report: {}", report.display());
    if findings.is_empty() {
        println!("Every promise was kept.");
        return Ok(());
    }
    let log = hub.functions_log();
    println!("Logs: {}", log.parent().unwrap_or(&log).display());
    Err(Error::step("chaos", format!("{} disagreements. See above", findings.len())))
}

/// What goes on at once, and is looked at from outside.
#[derive(Default)]
struct Stage {
    seen: Mutex<Seen>,
    kills: Mutex<Kills>,
    /// Whether things go wrong.
    harm: AtomicBool,
    /// Whether anybody still writes.
    load: AtomicBool,
    /// Whether anybody listens to the simulator.
    listen: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything between the start of the hub and its end.
fn on(hub: &Hub, proxy: &Proxy, options: &Options) -> Result<Run> {
    let begun = Instant::now();
    let cast = Cast::set_up(hub, options.short)?;
    let queues = Queues::new(hub.cloud_url());
    let talks = Talk::all(options.messages(), &cast.providers());
    println!(
        "{} messages in {} conversations of {} tenants; seed {}.",
        options.messages(),
        talks.len(),
        cast.tenants.len(),
        options.seed
    );
    let stage = Stage::default();
    stage.harm.store(true, Ordering::Relaxed);
    stage.load.store(true, Ordering::Relaxed);
    stage.listen.store(true, Ordering::Relaxed);
    let manner = Manner {
        chance: options.seed,
        at_once: options.at_once,
        ahead: if options.short { usize::MAX } else { AHEAD },
    };
    let load = Load::new(&cast, &talks, &stage.seen, manner);
    let (mut run, fallen) = thread::scope(|scope| {
        let dice = Dice::new(options.seed, 4);
        let watching = scope.spawn(|| watch::watch(&cast, &stage.seen, dice, &stage.listen));
        let listening = scope.spawn(|| listen(&hub.simulator_url(), &stage));
        let done = (|| {
            let load_s = under_load(hub, proxy, options, &stage, &load)?;
            println!("Nothing goes wrong from now on.");
            let drained = Instant::now();
            let (mut redriven, complaint) = drain(&cast, &queues, &stage, begun)?;
            let drain_s = drained.elapsed().as_secs_f32();
            println!("The providers are down for a moment, then an automation.");
            let outages = outage::run(&load)?;
            let (later, another) = drain(&cast, &queues, &stage, begun)?;
            redriven.extend(later);
            let complaints: Vec<String> = complaint.into_iter().chain(another).collect();
            Ok::<_, Error>((load_s, drain_s, redriven, complaints, outages))
        })();
        // The last events may still be on their way.
        sleep(Duration::from_secs(2));
        stage.listen.store(false, Ordering::Relaxed);
        let listened = listening.join().map_err(|_| Error::step("chaos", "listening panicked"))?;
        let watched = watching.join().map_err(|_| Error::step("chaos", "watching panicked"))?;
        let (load_s, drain_s, redriven, complaints, outages) = done?;
        listened?;
        println!("Gathering what there is to judge by.");
        let Input { failures, .. } = &*lock(&load.input);
        let refusals = failures.iter().map(|(status, count)| (*status, *count)).collect();
        let mut seen = lock(&stage.seen);
        seen.complaints.extend(complaints);
        let run = Run {
            seed: options.seed,
            load_s,
            drain_s,
            total_s: 0.0,
            kills: lock(&stage.kills).clone(),
            cut_off: cut_off(hub),
            aws_calls: proxy.calls(),
            aws_faults: proxy.counts(),
            provider_faults: report::provider_faults(&seen),
            refusals,
            redriven,
            looks: watched.0,
            outages,
            verdict: judge::Verdict::default(),
        };
        Ok::<_, Error>((run, watched.1))
    })?;
    let input = std::mem::take(&mut *lock(&load.input));
    let seen = lock(&stage.seen);
    let mut evidence = gather::gather(&cast, input, &seen, &run.redriven)?;
    evidence.fallen = fallen;
    evidence.complaints.extend(parked(&queues)?);
    run.verdict = judge::judge(&evidence);
    run.total_s = begun.elapsed().as_secs_f32();
    Ok(run)
}

/// The load with everything that goes wrong. Gives the seconds it took.
fn under_load(
    hub: &Hub,
    proxy: &Proxy,
    options: &Options,
    stage: &Stage,
    load: &Load<'_>,
) -> Result<f32> {
    let begun = Instant::now();
    let endpoint = hub.functions_endpoint();
    proxy.set(options.fault_rate > 0.0);
    let loaded = thread::scope(|scope| {
        if options.kill_every > 0.0 {
            let every = Duration::from_secs_f64(options.kill_every);
            let every = if options.short { every.min(SHORT_KILL_EVERY) } else { every };
            let dice = Dice::new(options.seed, 2);
            let (spare, until) = if options.short {
                (Some("consumer-automation"), begun + SHORT_KILLS)
            } else {
                (None, begun + Duration::from_hours(24))
            };
            let killer = harm::Killer { endpoint: &endpoint, every, spare, until };
            scope.spawn(move || killer.run(dice, &stage.harm, &stage.kills));
        }
        let dice = Dice::new(options.seed, 3);
        let disturbing = scope.spawn(move || {
            let rate = (PROVIDER_FACTOR * options.fault_rate).min(1.0);
            harm::disturb(load.cast, &stage.seen, rate, dice, &stage.harm)
        });
        scope.spawn(|| {
            while stage.load.load(Ordering::Relaxed) {
                progress(stage, proxy, load, begun);
                sleep_while(&stage.load, SAY_EVERY);
            }
        });
        if options.short {
            scope.spawn(|| {
                sleep_while(&stage.load, SHORT_HARM);
                stage.harm.store(false, Ordering::Relaxed);
                proxy.set(false);
            });
        }
        let loaded = load.run();
        sleep(LINGER);
        stage.load.store(false, Ordering::Relaxed);
        stage.harm.store(false, Ordering::Relaxed);
        let disturbed = disturbing.join();
        loaded.and(disturbed.map_err(|_| Error::step("chaos", "the disturber panicked"))?)
    });
    proxy.set(false);
    loaded.map(|()| begun.elapsed().as_secs_f32())
}

fn sleep_while(on: &AtomicBool, time: Duration) {
    let until = Instant::now() + time;
    while on.load(Ordering::Relaxed) && Instant::now() < until {
        sleep(Duration::from_millis(100));
    }
}

fn progress(stage: &Stage, proxy: &Proxy, load: &Load<'_>, begun: Instant) {
    let kills: u64 = lock(&stage.kills).values().sum();
    let faults: u64 = proxy.counts().values().sum();
    let seen = lock(&stage.seen);
    println!(
        "{:5.0} s  {} of {} talks over; in {}, told {}, out {}, {} to go; {kills} kills, {faults} of {} calls went wrong",
        begun.elapsed().as_secs_f32(),
        load.done.load(Ordering::Relaxed),
        load.talks.len(),
        seen.written,
        seen.told_texts(),
        seen.taken,
        seen.open_sends(),
        proxy.calls(),
    );
}

fn drain(
    cast: &Cast,
    queues: &Queues,
    stage: &Stage,
    begun: Instant,
) -> Result<(Vec<queues::DeadLetter>, Option<String>)> {
    let mut said = None::<Instant>;
    gather::drain(cast, queues, &stage.seen, |left| {
        if said.is_none_or(|at| at.elapsed() > SAY_EVERY) {
            println!("{:5.0} s  {}", begun.elapsed().as_secs_f32(), left.describe());
            said = Some(Instant::now());
        }
    })
}

/// Listens to the simulator until nobody wants to know.
fn listen(url: &str, stage: &Stage) -> Result<()> {
    let simulator = Client::new(url, None);
    let mut since = 0;
    loop {
        let last = !stage.listen.load(Ordering::Relaxed);
        let wait = if last { 0 } else { 1000 };
        let path = format!("/_sim/log?since={since}&limit=2000&wait_ms={wait}");
        let news = simulator.get(&path)?;
        let events = news.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
        since = news.get("next").and_then(Value::as_u64).unwrap_or(since);
        let mut seen = lock(&stage.seen);
        for event in &events {
            seen.note(event);
        }
        if last && events.is_empty() {
            return Ok(());
        }
    }
}

/// How many invocations the local cloud saw end with their process.
fn cut_off(hub: &Hub) -> usize {
    let log = fs::read_to_string(hub.cloud_log()).unwrap_or_default();
    log.lines().filter(|line| line.contains(": Runtime exited before returning")).count()
}

/// A complaint for each queue that nobody reads and that is not empty.
fn parked(queues: &Queues) -> Result<Vec<String>> {
    let full = queues.all()?.into_iter().filter(|queue| queue.records > 0);
    Ok(full.map(|queue| format!("{} records in {}", queue.records, queue.name())).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &[&str]) -> Options {
        Line::parse_from(["chaos"].iter().chain(line)).options
    }

    #[test]
    fn the_short_form_has_300_messages_and_the_long_one_10_000() {
        assert_eq!(options(&["--short"]).messages(), 300);
        assert_eq!(options(&[]).messages(), 10_000);
        assert_eq!(options(&["--messages", "10"]).messages(), 10);
    }

    #[test]
    fn rates_that_make_no_sense_are_refused() {
        assert!(options(&[]).check().is_ok());
        assert!(options(&["--fault-rate", "1.5"]).check().is_err());
        assert!(options(&["--kill-every", "-1"]).check().is_err());
        assert!(options(&["--at-once", "0"]).check().is_err());
    }
}
