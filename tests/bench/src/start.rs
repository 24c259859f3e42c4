//! Part 1: from the process start to the first response.

use std::fs;

use crate::{
    Bench,
    error::{Error, Result},
    figure::{Figure, Goal, Unit},
    functions::{self, Function, named},
    sandbox::Sandbox,
    share::Share,
    stats::Runs,
    world::{Subject, megabytes},
};

/// Memory of the smallest function, in MB.
const SMALLEST: u32 = 128;

/// Measures the start of every function, or of one in a short run.
pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let functions = if bench.short { vec![named("webhook-whatsapp")?] } else { functions::all()? };
    let path = bench.paths.bootstrap();
    let size = Runs::once(megabytes(fs::metadata(&path).map_err(Error::file(&path))?.len()));
    let mut figures = vec![Figure::new("all functions", "binary", Unit::Megabytes, size)];
    for function in functions {
        figures.extend(of(bench, &function)?);
    }
    figures.extend(under_a_share(bench)?);
    bench.note(
        "One loopback address serves all AWS services, so calls to several services share a \
         connection. On AWS, each service needs its own connection, with a TLS handshake and round \
         trips.",
    );
    if !bench.short {
        bench.note(
            "The webhooks of most providers receive the first of their examples that contains an \
             event, signed at the time of the run. webhook-ses fetches a certificate first, from \
             loopback without TLS.",
        );
    }
    Ok(figures)
}

fn of(bench: &Bench, function: &Function) -> Result<Vec<Figure>> {
    let figure = |name: &str, unit, runs| Figure::new(&function.name, name, unit, runs);
    let mut figures = Vec::new();
    let _provider = function.provider()?;
    for (world, over) in bench.worlds() {
        let starts = bench.subject(function, world)?.starts(bench.runs)?;
        if world.root.is_some() || bench.tls.is_none() {
            figures.extend([
                figure("start to ready", Unit::Milliseconds, starts.ready),
                figure("start to ready, CPU", Unit::CpuMilliseconds, starts.cpu_ready),
                figure(&format!("first invocation{over}"), Unit::Milliseconds, starts.first),
                figure("peak memory", Unit::Megabytes, starts.memory).with(Goal::AtMost(16.0)),
            ]);
        }
        let name = format!("start to first answer, CPU{over}");
        figures.push(figure(&name, Unit::CpuMilliseconds, starts.cpu_first));
    }
    Ok(figures)
}

/// Measures the first webhook of a function whose CPU is limited once it is ready. As on Lambda,
/// its start has a full CPU.
fn under_a_share(bench: &mut Bench) -> Result<Vec<Figure>> {
    let function = named("webhook-whatsapp")?;
    let mut figures = Vec::new();
    for (world, over) in bench.worlds() {
        let subject = bench.subject(&function, world)?;
        let Some(runs) = throttled(&subject, bench.runs)? else { continue };
        let name = format!("first invocation with the CPU of 128 MB{over}");
        let figure = Figure::new(&function.name, name, Unit::Milliseconds, runs);
        figures.push(if world.root.is_some() { figure.with(Goal::AtMost(1.0)) } else { figure });
    }
    if figures.is_empty() {
        bench.note("No writable control groups: the CPU share of 128 MB was not measured.");
    }
    Ok(figures)
}

/// Measures first invocations with the smallest CPU share, in ms. Returns `None` if CPU shares are
/// not available.
pub(crate) fn throttled(subject: &Subject<'_>, runs: usize) -> Result<Option<Runs>> {
    let mut values = Vec::new();
    for _ in 0..runs {
        // Dropped after the process in it.
        let Some(share) = Share::of(SMALLEST) else { return Ok(None) };
        let mut sandbox = Sandbox::start(&subject.program)?;
        sandbox.ready()?;
        share.hold(sandbox.id())?;
        values.push(subject.invoke(&mut sandbox)? * 1e3);
    }
    Ok(Some(Runs::new(values)))
}
