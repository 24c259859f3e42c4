//! The `fuzz` command: fuzzes the verifier and parser of every webhook.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use clap::Args;
use domain::webhook::WebhookProvider;
use providers::example::{self, Seed};

use crate::{
    error::{Error, Result},
    process, tools, workspace,
};

/// Version of cargo-fuzz, which builds for libFuzzer.
const CARGO_FUZZ: &str = "0.13.2";
/// Longest time for one input, in seconds.
const TIMEOUT: u32 = 5;
/// Most memory of the process, in MB.
const MEMORY: u32 = 512;
/// Largest input, in bytes: a provider's batch of events, not a file.
const LARGEST: u32 = 64 * 1024;

/// Default time for each webhook, in seconds.
const DEFAULT_SECONDS: u32 = 60;
/// Time for each webhook in `cargo xtask test`, in seconds.
const SHORT_SECONDS: u32 = 2;

/// Options of `cargo xtask fuzz`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Webhooks to fuzz, by the names of their functions without `webhook-`. Default: all.
    webhooks: Vec<String>,
    /// Time for each webhook, in seconds.
    #[arg(long, default_value_t = DEFAULT_SECONDS)]
    seconds: u32,
    /// Number of webhooks to fuzz in parallel.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

impl Options {
    /// The options of `cargo xtask test`.
    pub(crate) fn short() -> Self {
        Self { webhooks: Vec::new(), seconds: SHORT_SECONDS, jobs: 2 }
    }

    /// The default options.
    pub(crate) fn full() -> Self {
        Self { seconds: DEFAULT_SECONDS, ..Self::short() }
    }
}

/// Fuzzes the webhooks. Stops at the first webhook that panics, accepts a forged request or
/// exceeds its function's memory, and keeps the failing input.
pub(crate) fn run(options: &Options) -> Result<()> {
    let webhooks = chosen(&options.webhooks)?;
    let (folder, output) = (home(), workspace::root().join("target/fuzz"));
    let cargo_fuzz = tools::cargo_program("cargo-fuzz", CARGO_FUZZ)?;
    println!("Building the fuzz target ...");
    let mut build = Command::new(cargo_fuzz);
    build.args(["build", "--fuzz-dir"]).arg(&folder).arg("--target-dir").arg(output.join("build"));
    // Sanitizers check unsafe code, of which there is none, and need an unstable compiler.
    build.args(["--sanitizer", "none"]).current_dir(workspace::root());
    process::run("cargo fuzz build", &mut build)?;
    for webhook in &webhooks {
        seed(&output.join("seeds").join(webhook), webhook)?;
    }
    let target = target(&output)?;
    for together in webhooks.chunks(options.jobs.max(1)) {
        let mut running = Vec::new();
        for webhook in together {
            let corpus = output.join("corpus").join(webhook);
            fs::create_dir_all(&corpus)
                .map_err(|error| Error::step("corpus", error.to_string()))?;
            let log = output.join(format!("{webhook}.log"));
            let file =
                fs::File::create(&log).map_err(|error| Error::step("log", error.to_string()))?;
            let mut fuzz = Command::new(&target);
            fuzz.env("WEBHOOK", webhook)
                .arg(format!("-max_total_time={}", options.seconds))
                .arg(format!("-timeout={TIMEOUT}"))
                .arg(format!("-rss_limit_mb={MEMORY}"))
                .arg(format!("-max_len={LARGEST}"))
                .arg(format!("-artifact_prefix={}/{webhook}-", output.display()))
                .arg("-print_final_stats=1")
                .arg(&corpus)
                .arg(output.join("seeds").join(webhook))
                .current_dir(&output)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(file);
            let child = fuzz.spawn().map_err(|error| Error::step("fuzz", error.to_string()))?;
            running.push((webhook, log, child));
        }
        for (webhook, log, mut child) in running {
            let status =
                child.wait().map_err(|error| Error::step(webhook.as_str(), error.to_string()))?;
            let text = fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            if !status.success() {
                let reports = text.lines().filter(|line| {
                    line.contains("panicked")
                        || line.contains("ERROR")
                        || line.contains("Test unit written")
                        || line.contains("accepted")
                        || line.contains("allocated")
                });
                let reports: Vec<&str> = reports.take(8).collect();
                let detail = format!("{}. Full log: {}", reports.join(" | "), log.display());
                return Err(Error::step(format!("fuzzing {webhook}"), detail));
            }
            let runs =
                text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units: "));
            println!("{webhook:22} {:>10} inputs", runs.unwrap_or("?").trim());
        }
    }
    let each = Duration::from_secs(options.seconds.into());
    println!("{} webhooks fuzzed for {} s each.", webhooks.len(), each.as_secs());
    Ok(())
}

/// Writes a webhook's examples into `folder` as fuzzing inputs: a line with the method and the
/// query, the header lines, an empty line, and the body.
fn seed(folder: &Path, webhook: &str) -> Result<()> {
    let seed = Seed::fixed("fuzz");
    for (provider, example) in example::all().filter(|(_, one)| one.webhook == webhook) {
        let draft = (example.draft)(&seed);
        let url = "https://hub.example.com/webhooks";
        let signed = example::signed(provider, example, &draft, url, seed.at);
        let query = providers::form::encode(&signed.query);
        let mut input = format!("{} {query}\n", signed.method).into_bytes();
        for (name, value) in &signed.headers {
            input.extend_from_slice(name.as_str().as_bytes());
            input.extend_from_slice(b": ");
            input.extend_from_slice(value.as_bytes());
            input.push(b'\n');
        }
        input.push(b'\n');
        input.extend_from_slice(&signed.body);
        let file = folder.join(example.name);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&file, input))
            .map_err(|error| Error::step("corpus", error.to_string()))?;
    }
    Ok(())
}

fn home() -> PathBuf {
    workspace::root().join("tests/fuzz")
}

/// Returns the webhooks with these names, or all webhooks if there are no names.
fn chosen(names: &[String]) -> Result<Vec<String>> {
    let mut known: Vec<&str> = providers::webhooks().map(WebhookProvider::name).collect();
    known.sort_unstable();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        let detail = format!("unknown webhook {unknown}. Choose one of: {}", known.join(", "));
        return Err(Error::step("fuzz", detail));
    }
    if names.is_empty() {
        return Ok(known.into_iter().map(ToOwned::to_owned).collect());
    }
    Ok(names.to_vec())
}

/// Path of the program that cargo-fuzz builds, in a folder named after the host platform.
fn target(output: &Path) -> Result<PathBuf> {
    let version = process::output("rustc", Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Error::step("rustc -vV", "its output has no host line"))?;
    Ok(output.join("build").join(host).join("release/webhook"))
}
