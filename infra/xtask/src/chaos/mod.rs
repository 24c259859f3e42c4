//! The `chaos` command: runs the real functions while they are killed and AWS and the providers
//! fail, then checks every message.

mod aws_faults;
mod collect;
mod evidence;
mod fixtures;
mod judge;
mod load;
mod observations;
mod outage;
mod plan;
mod process_faults;
mod proxy;
mod queues;
mod report;
mod rng;
mod watch;
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
    aws_faults::AwsFaults,
    fixtures::Fixtures,
    load::{Input, Load, LoadOptions},
    observations::Observations,
    plan::Conversation,
    process_faults::Kills,
    proxy::Proxy,
    queues::Queues,
    report::Run,
    rng::Rng,
};
use crate::{
    error::{Error, Result},
    http::Client,
    hub::{Hub, Start},
    workspace,
};

/// Keeps the ports away from those of a developer's hub and of the end-to-end tests.
const PORT_OFFSET: u16 = 2000;
/// Interval of the progress output.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// How long faults continue after the last customer message.
const LINGER: Duration = Duration::from_secs(10);
/// How long faults and kills last in the short form.
const SHORT_HARM: Duration = Duration::from_secs(45);
const SHORT_KILLS: Duration = Duration::from_secs(20);
const SHORT_KILL_EVERY: Duration = Duration::from_secs(2);
/// How many messages a customer may write beyond those the automation was notified of.
const AHEAD: usize = 2;
/// Provider faults per message, as a multiple of the AWS fault rate.
const PROVIDER_FACTOR: f64 = 3.0;
/// Most findings that are printed. The report has all.
const PRINTED: usize = 40;

/// Defaults: number of messages, and share of AWS calls that fail.
const DEFAULT_MESSAGES: usize = 10_000;
const DEFAULT_FAULT_RATE: f64 = 0.03;

/// Options of `cargo xtask chaos`.
#[derive(Args)]
pub(crate) struct Options {
    /// Total number of messages, inbound and outbound.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MESSAGES)]
    messages: usize,
    /// Seed of the random number generator. The same seed produces the same faults, but not at the
    /// same messages.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Average seconds between kills of a function; 0 disables kills.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, allow_negative_numbers = true)]
    kill_every: f64,
    /// Share of AWS calls that fail, from 0 to 1. From time to time a fault storm raises the share
    /// of one service twentyfold. Provider faults hit three times as many messages.
    #[arg(long, value_name = "SHARE", default_value_t = DEFAULT_FAULT_RATE)]
    fault_rate: f64,
    /// Number of concurrent conversations. A higher number only slows down the local cloud.
    #[arg(long, value_name = "N", default_value_t = 40)]
    at_once: usize,
    /// Short run for CI: about 300 messages and a kill every two seconds. Skips what takes long:
    /// kills and faults near the end, kills of the consumer whose queue hides a record for three
    /// minutes, and duplicate receipts.
    #[arg(long, conflicts_with = "messages")]
    short: bool,
    /// Number to add to every port. Data is stored in target/local-chaos, or in
    /// target/local-chaos-N if N is not the default.
    #[arg(long, value_name = "N", default_value_t = PORT_OFFSET)]
    port_offset: u16,
    /// Use the functions and tools that are already built.
    #[arg(long)]
    built: bool,
}

impl Options {
    /// The default options.
    pub(crate) fn full() -> Self {
        Self {
            messages: DEFAULT_MESSAGES,
            seed: 1,
            kill_every: 5.0,
            fault_rate: DEFAULT_FAULT_RATE,
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
            return Err(Error::step("--fault-rate", "must be a share from 0 to 1"));
        }
        if !(0.0..=3600.0).contains(&self.kill_every) {
            return Err(Error::step("--kill-every", "must be 0 to 3600 seconds"));
        }
        if self.kill_every > 0.0 && !Path::new("/proc/self/environ").exists() {
            let detail = "functions are found through /proc, which does not exist here. Use 0";
            return Err(Error::step("--kill-every", detail));
        }
        if self.at_once == 0 || self.messages() == 0 {
            return Err(Error::step("--messages", "--messages and --at-once must be at least 1"));
        }
        Ok(())
    }
}

/// Runs the command. A broken guarantee is an error.
pub(crate) fn run(options: &Options) -> Result<()> {
    options.check()?;
    let name = if options.port_offset == PORT_OFFSET {
        "local-chaos".to_owned()
    } else {
        format!("local-chaos-{}", options.port_offset)
    };
    let hub = Hub::named(&name, options.port_offset, false)?
        .behind_proxy()
        .already_built(options.built)
        // So that KMS can fail, too.
        .with_parameter("CredentialStore=table");
    if hub.is_running() {
        println!("Stopping the hub of an earlier run.");
        hub.stop()?;
    }
    let aws_faults = AwsFaults::new(options.fault_rate, Rng::new(options.seed, 1));
    let proxy = Proxy::listen(hub.proxy_port(), hub.cloud_port(), aws_faults)?;
    let running = hub.start(Start { detach: false, fresh: true })?;
    let done = run_with_hub(&hub, &proxy, options);
    if let Some(running) = running {
        running.stop()?;
    }
    let run = done?;
    let report = hub.folder().join("chaos.json");
    workspace::write(&report, &format!("{:#}\n", run.json()))?;
    println!("\n{}", run.table());
    conclude(&hub, &run, &report)
}

/// Prints the findings and the locations of the report and the logs.
fn conclude(hub: &Hub, run: &Run, report: &Path) -> Result<()> {
    let mut dead_letters = BTreeMap::<(&str, &str), usize>::new();
    for record in &run.redriven {
        *dead_letters.entry((&record.queue, &record.reason)).or_default() += 1;
    }
    for ((queue, reason), count) in dead_letters {
        println!("  dead-lettered and redriven: {count} in {queue}: {reason}");
    }
    let findings = &run.verdict.findings;
    for finding in findings.iter().take(PRINTED) {
        println!("  {}: {}", finding.rule, finding.what);
    }
    println!("Report: {}", report.display());
    if findings.is_empty() {
        println!("All guarantees were kept.");
        return Ok(());
    }
    let log = hub.functions_log();
    println!("Logs: {}", log.parent().unwrap_or(&log).display());
    Err(Error::step("chaos", format!("{} findings. See above", findings.len())))
}

/// State shared by the threads of a run.
#[derive(Default)]
struct State {
    seen: Mutex<Observations>,
    kills: Mutex<Kills>,
    /// Whether faults are injected.
    harm: AtomicBool,
    /// Whether customers and tenants still send.
    load: AtomicBool,
    /// Whether the simulator's log is read.
    listen: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs everything between the start and the stop of the hub.
fn run_with_hub(hub: &Hub, proxy: &Proxy, options: &Options) -> Result<Run> {
    let begun = Instant::now();
    let fixtures = Fixtures::set_up(hub, options.short)?;
    let queues = Queues::new(hub.cloud_url());
    let conversations = Conversation::all(options.messages(), &fixtures.providers());
    println!(
        "{} messages in {} conversations of {} tenants; seed {}.",
        options.messages(),
        conversations.len(),
        fixtures.tenants.len(),
        options.seed
    );
    let state = State::default();
    state.harm.store(true, Ordering::Relaxed);
    state.load.store(true, Ordering::Relaxed);
    state.listen.store(true, Ordering::Relaxed);
    let load_options = LoadOptions {
        seed: options.seed,
        at_once: options.at_once,
        ahead: if options.short { usize::MAX } else { AHEAD },
    };
    let load = Load::new(&fixtures, &conversations, &state.seen, load_options);
    let (mut run, regressions) = thread::scope(|scope| {
        let rng = Rng::new(options.seed, 4);
        let watching = scope.spawn(|| watch::watch(&fixtures, &state.seen, rng, &state.listen));
        let listening = scope.spawn(|| listen(&hub.simulator_url(), &state));
        let done = (|| {
            let load_s = under_load(hub, proxy, options, &state, &load)?;
            println!("Faults have stopped.");
            let drained = Instant::now();
            let (mut redriven, violation) = drain(&fixtures, &queues, &state, begun)?;
            let drain_s = drained.elapsed().as_secs_f32();
            println!("Simulating an outage of the providers, then of an automation.");
            let outages = outage::run(&load)?;
            let (later, another) = drain(&fixtures, &queues, &state, begun)?;
            redriven.extend(later);
            let violations: Vec<String> = violation.into_iter().chain(another).collect();
            Ok::<_, Error>((load_s, drain_s, redriven, violations, outages))
        })();
        // The last events may still be in transit.
        sleep(Duration::from_secs(2));
        state.listen.store(false, Ordering::Relaxed);
        let listened = listening.join().map_err(|_| Error::step("chaos", "listening panicked"))?;
        let watched = watching.join().map_err(|_| Error::step("chaos", "watching panicked"))?;
        let (load_s, drain_s, redriven, violations, outages) = done?;
        listened?;
        println!("Collecting the evidence.");
        let Input { failures, .. } = &*lock(&load.input);
        let refusals = failures.iter().map(|(status, count)| (*status, *count)).collect();
        let mut seen = lock(&state.seen);
        seen.violations.extend(violations);
        let run = Run {
            seed: options.seed,
            load_s,
            drain_s,
            total_s: 0.0,
            kills: lock(&state.kills).clone(),
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
    let seen = lock(&state.seen);
    let mut evidence = collect::collect(&fixtures, input, &seen, &run.redriven)?;
    evidence.regressions = regressions;
    evidence.violations.extend(nonempty_queues(&queues)?);
    run.verdict = judge::judge(&evidence);
    run.total_s = begun.elapsed().as_secs_f32();
    Ok(run)
}

/// Runs the load with kills and faults. Returns its duration in seconds.
fn under_load(
    hub: &Hub,
    proxy: &Proxy,
    options: &Options,
    state: &State,
    load: &Load<'_>,
) -> Result<f32> {
    let begun = Instant::now();
    let endpoint = hub.functions_endpoint();
    proxy.set(options.fault_rate > 0.0);
    let loaded = thread::scope(|scope| {
        if options.kill_every > 0.0 {
            let every = Duration::from_secs_f64(options.kill_every);
            let every = if options.short { every.min(SHORT_KILL_EVERY) } else { every };
            let rng = Rng::new(options.seed, 2);
            let (excluded, until) = if options.short {
                (Some("consumer-automation"), begun + SHORT_KILLS)
            } else {
                (None, begun + Duration::from_hours(24))
            };
            let killer = process_faults::Killer { endpoint: &endpoint, every, excluded, until };
            scope.spawn(move || killer.run(rng, &state.harm, &state.kills));
        }
        let rng = Rng::new(options.seed, 3);
        let injecting = scope.spawn(move || {
            let rate = (PROVIDER_FACTOR * options.fault_rate).min(1.0);
            process_faults::inject_provider_faults(
                load.fixtures,
                &state.seen,
                rate,
                rng,
                &state.harm,
            )
        });
        scope.spawn(|| {
            while state.load.load(Ordering::Relaxed) {
                progress(state, proxy, load, begun);
                sleep_while(&state.load, PROGRESS_INTERVAL);
            }
        });
        if options.short {
            scope.spawn(|| {
                sleep_while(&state.load, SHORT_HARM);
                state.harm.store(false, Ordering::Relaxed);
                proxy.set(false);
            });
        }
        let loaded = load.run();
        sleep(LINGER);
        state.load.store(false, Ordering::Relaxed);
        state.harm.store(false, Ordering::Relaxed);
        let injected = injecting.join();
        loaded.and(injected.map_err(|_| Error::step("chaos", "the fault injection panicked"))?)
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

fn progress(state: &State, proxy: &Proxy, load: &Load<'_>, begun: Instant) {
    let kills: u64 = lock(&state.kills).values().sum();
    let faults: u64 = proxy.counts().values().sum();
    let seen = lock(&state.seen);
    println!(
        "{:5.0} s  {} of {} conversations finished; {} received, {} notified, {} sent, {} to send; {kills} kills, {faults} of {} calls failed",
        begun.elapsed().as_secs_f32(),
        load.done.load(Ordering::Relaxed),
        load.conversations.len(),
        seen.written,
        seen.notified_texts(),
        seen.provider_accepted,
        seen.open_sends(),
        proxy.calls(),
    );
}

fn drain(
    fixtures: &Fixtures,
    queues: &Queues,
    state: &State,
    begun: Instant,
) -> Result<(Vec<queues::DeadLetter>, Option<String>)> {
    let mut printed = None::<Instant>;
    collect::drain(fixtures, queues, &state.seen, |pending| {
        if printed.is_none_or(|at| at.elapsed() > PROGRESS_INTERVAL) {
            println!("{:5.0} s  {}", begun.elapsed().as_secs_f32(), pending.describe());
            printed = Some(Instant::now());
        }
    })
}

/// Reads the simulator's log until the run ends.
fn listen(url: &str, state: &State) -> Result<()> {
    let simulator = Client::new(url, None);
    let mut since = 0;
    loop {
        let last = !state.listen.load(Ordering::Relaxed);
        let wait = if last { 0 } else { 1000 };
        let path = format!("/_sim/log?since={since}&limit=2000&wait_ms={wait}");
        let news = simulator.get(&path)?;
        let events = news.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
        since = news.get("next").and_then(Value::as_u64).unwrap_or(since);
        let mut seen = lock(&state.seen);
        for event in &events {
            seen.note(event);
        }
        if last && events.is_empty() {
            return Ok(());
        }
    }
}

/// Number of invocations that the local cloud saw end with their process.
fn cut_off(hub: &Hub) -> usize {
    let log = fs::read_to_string(hub.cloud_log()).unwrap_or_default();
    log.lines().filter(|line| line.contains(": Runtime exited before returning")).count()
}

/// Returns a violation for each non-empty queue, including those without a consumer.
fn nonempty_queues(queues: &Queues) -> Result<Vec<String>> {
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
    fn a_short_run_has_300_messages_and_a_full_one_10_000() {
        assert_eq!(options(&["--short"]).messages(), 300);
        assert_eq!(options(&[]).messages(), 10_000);
        assert_eq!(options(&["--messages", "10"]).messages(), 10);
    }

    #[test]
    fn values_out_of_range_are_rejected() {
        assert!(options(&[]).check().is_ok());
        assert!(options(&["--fault-rate", "1.5"]).check().is_err());
        assert!(options(&["--kill-every", "-1"]).check().is_err());
        assert!(options(&["--at-once", "0"]).check().is_err());
    }
}
