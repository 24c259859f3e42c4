//! Benchmark of the functions. `cargo xtask bench` builds them and runs this program.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool prints to the terminal"
)]

mod baseline;
mod callgrind;
mod certificates;
mod cloud;
mod cost;
mod edge;
mod error;
mod figure;
mod functions;
mod growth;
mod http;
mod machine;
mod messages;
mod model;
mod path;
mod process;
mod records;
mod report;
mod rivals;
mod sandbox;
mod share;
mod start;
mod stats;
mod table;
mod webhook;
mod world;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use serde_json::json;

use crate::{
    baseline::Baseline,
    certificates::Certificates,
    error::{Error, Result},
    figure::Figure,
    functions::{Function, Paths},
    machine::Machine,
    world::{Subject, World},
};

/// Measure the functions: cold start, work, memory, requests and cost.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Root of the repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Folder with the functions' binaries.
    #[arg(long, default_value = "target/release")]
    binaries: PathBuf,
    /// Binary of the minimal Rust webhook.
    #[arg(long, default_value = "target/release/floor")]
    floor: PathBuf,
    /// Folder for logs and results.
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
    /// Baseline of the counted figures, relative to the repository's root.
    #[arg(long, default_value = "tests/bench/baseline.json")]
    baseline: PathBuf,
    /// Python with the packages of the Python webhook.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Binary of the table model.
    #[arg(long)]
    table: Option<PathBuf>,
    /// The xtask binary, which starts a hub.
    #[arg(long)]
    xtask: Option<PathBuf>,
    #[command(flatten)]
    choice: Choice,
}

/// Which figures to measure.
#[derive(clap::Args)]
struct Choice {
    /// Measure only these parts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Number of starts of each process.
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Short run: counted figures, and the start of one function.
    #[arg(long)]
    short: bool,
    /// Fail if a function needs over 10 % more instructions than the stored baseline; 25 % for
    /// starts and batches, which vary from run to run.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    keep: Keep,
}

/// Which results to store in the repository.
#[derive(clap::Args)]
struct Keep {
    /// Store the counted instructions of this run as the baseline.
    #[arg(long, conflicts_with = "check")]
    save_baseline: bool,
    /// Write the figures to tests/bench/FIGURES.md.
    #[arg(long, conflicts_with_all = ["short", "only"])]
    save_figures: bool,
}

/// Parts of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From the process start to the first response, for every function.
    Start,
    /// Warm requests of the webhooks.
    Webhook,
    /// Consumers and senders, with one record and with ten.
    Records,
    /// AWS requests of a message in all functions.
    Messages,
    /// The same webhook in Node.js, in Python, and in minimal Rust.
    Rivals,
    /// Cost in dollars.
    Money,
    /// Cost of a message in a small table and in one with a million messages.
    Growth,
    /// Latency of a message through the hub on the local cloud.
    Path,
}

impl Part {
    /// Heading in the report.
    const fn title(self) -> &'static str {
        match self {
            Self::Start => "Start",
            Self::Webhook => "Warm webhook",
            Self::Records => "Consumers and senders",
            Self::Messages => "What a message asks of AWS",
            Self::Rivals => "The same webhook, written otherwise",
            Self::Money => "Money",
            Self::Growth => "Beside a million messages",
            Self::Path => "The whole path, on the local cloud",
        }
    }
}

/// State shared by all parts.
pub(crate) struct Bench {
    paths: Paths,
    floor: PathBuf,
    python: Option<PathBuf>,
    table: Option<PathBuf>,
    xtask: Option<PathBuf>,
    path: String,
    plain: World,
    tls: Option<World>,
    short: bool,
    runs: usize,
    rounds: usize,
    invocations: u32,
    counted: u32,
    notes: Vec<String>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let Arguments { root, binaries, floor, output, baseline, python, table, xtask, choice } =
        arguments;
    fs::create_dir_all(&output).map_err(Error::file(&output))?;
    let paths = Paths { root, binaries, output };
    let machine = Machine::here();
    let mut bench = Bench { python, table, xtask, ..Bench::new(paths, floor, &choice)? };
    let mut sections = Vec::new();
    for part in Part::value_variants() {
        if choice.wants(*part) {
            eprintln!("{} ...", part.title());
            let figures = match part {
                Part::Start => start::measure(&mut bench)?,
                Part::Webhook => webhook::measure(&mut bench)?,
                Part::Records => records::measure(&mut bench)?,
                Part::Messages => messages::measure(&mut bench)?,
                Part::Rivals => rivals::measure(&mut bench)?,
                Part::Money => cost::measure(&mut bench)?,
                Part::Growth => growth::measure(&mut bench)?,
                Part::Path => path::measure(&mut bench)?,
            };
            sections.push((part.title(), figures));
        }
    }
    if choice.keep.save_figures {
        let page = report::page(&today(), &machine.line(), &sections, &bench.notes);
        let path = bench.paths.root.join("tests/bench/FIGURES.md");
        fs::write(&path, page).map_err(Error::file(&path))?;
    }
    let figures: Vec<Figure> = sections.into_iter().flat_map(|(_, figures)| figures).collect();
    print!("{}", report::table(&figures));
    println!("\n{}", machine.line());
    for note in &bench.notes {
        println!("{note}");
    }
    let path = bench.paths.output.join("bench.json");
    let result = json!({
        "machine": machine.json(),
        "notes": bench.notes,
        "figures": figures.iter().map(Figure::json).collect::<Vec<_>>(),
    });
    fs::write(&path, format!("{result:#}\n")).map_err(Error::file(&path))?;
    let stored = bench.paths.root.join(baseline);
    let now = Baseline::of(&figures, machine.line());
    if choice.keep.save_baseline {
        return now.write(&stored);
    }
    if choice.check {
        return check(&Baseline::read(&stored)?, &now);
    }
    Ok(())
}

fn check(before: &Baseline, now: &Baseline) -> Result<()> {
    let worse = before.worse(now);
    if worse.is_empty() {
        println!("{} counted figures are within the baseline.", before.knows(now));
        return Ok(());
    }
    Err(Error::step("worse than the baseline", worse.join("\n")))
}

impl Choice {
    fn wants(&self, part: Part) -> bool {
        if self.only.is_empty() {
            return !self.short || matches!(part, Part::Start | Part::Webhook | Part::Records);
        }
        self.only.contains(&part)
    }
}

impl Bench {
    fn new(paths: Paths, floor: PathBuf, choice: &Choice) -> Result<Self> {
        let certificates = Certificates::make(paths.output.join("root.pem"))?;
        let mut bench = Self {
            plain: World::plain()?,
            tls: Some(World::tls(certificates)?),
            short: choice.short,
            runs: choice.runs.unwrap_or(if choice.short { 5 } else { 30 }).max(1),
            rounds: 5,
            invocations: 2000,
            counted: if choice.short { 20 } else { 100 },
            notes: Vec::new(),
            path: path(),
            floor,
            python: None,
            table: None,
            xtask: None,
            paths,
        };
        if !bench.trusts()? {
            bench.tls = None;
            bench.note(
                "The functions do not trust the benchmark's root certificate, so all calls are over \
                 HTTP.",
            );
        }
        Ok(bench)
    }

    /// Whether the functions accept the benchmark's root certificate.
    fn trusts(&self) -> Result<bool> {
        let Some(tls) = &self.tls else { return Ok(false) };
        let function = functions::named("webhook-whatsapp")?;
        Ok(self.subject(&function, tls)?.starts(1).is_ok())
    }

    fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    /// Each world with the suffix of its figures' names.
    fn worlds(&self) -> impl Iterator<Item = (&World, &'static str)> {
        [(&self.plain, "")].into_iter().chain(self.tls.as_ref().map(|tls| (tls, ", over TLS")))
    }

    fn subject<'a>(&self, function: &Function, world: &'a World) -> Result<Subject<'a>> {
        Ok(Subject {
            program: world.program(function, &self.paths),
            event: function.event(&self.paths)?,
            function: function.clone(),
            world,
        })
    }
}

/// The current date, as `2026-01-31`.
fn today() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "a tool, not a function: it runs on the real clock"
    )]
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%d").to_string()
}

/// The `PATH` variable.
fn path() -> String {
    #[expect(clippy::disallowed_methods, reason = "a tool, not a function: it has no `runtime`")]
    let path = std::env::var("PATH");
    path.unwrap_or_default()
}
