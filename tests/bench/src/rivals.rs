//! Part 5: the same webhook in Node.js, in Python, and in minimal Rust.

use std::path::PathBuf;

use crate::{
    Bench,
    callgrind::{self, Counted},
    error::{Error, Result},
    figure::{Figure, Goal, Unit},
    functions::{Function, named},
    sandbox::Program,
    start::throttled,
    stats::Runs,
    world::{Start, Starts, Subject, World},
};

/// Implementations of the webhook.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rival {
    Ours,
    Floor,
    Node,
    Python,
}

/// Measurements of an implementation.
struct Measured {
    rival: Rival,
    starts: Starts,
    warm: Runs,
    throttled: Option<Runs>,
    work: Option<Counted>,
}

impl Rival {
    const fn name(self) -> &'static str {
        match self {
            Self::Ours => "webhook-whatsapp",
            Self::Floor => "bare Rust",
            Self::Node => "Node.js",
            Self::Python => "Python",
        }
    }

    /// Command of the program, if it has been built.
    fn command(self, bench: &Bench) -> Option<Vec<String>> {
        let built = bench.paths.output.join("rivals");
        let source = bench.paths.root.join("tests/bench/rivals");
        let path = |path: PathBuf| path.exists().then(|| path.display().to_string());
        Some(match self {
            Self::Ours => vec![path(bench.paths.bootstrap())?],
            Self::Floor => vec![path(bench.floor.clone())?],
            Self::Node => vec!["node".to_owned(), path(built.join("rival.cjs"))?],
            Self::Python => {
                vec![path(bench.python.clone()?)?, path(source.join("python/main.py"))?]
            }
        })
    }

    fn subject<'a>(self, bench: &Bench, world: &'a World) -> Result<Option<Subject<'a>>> {
        let ours: Function = named("webhook-whatsapp")?;
        let mut subject = bench.subject(&ours, world)?;
        if self == Self::Ours {
            return Ok(Some(subject));
        }
        let Some(command) = self.command(bench) else { return Ok(None) };
        let mut environment = subject.program.environment;
        environment.push(("WHATSAPP_APP_SECRET".to_owned(), "test-app-secret".to_owned()));
        if let Some(root) = &world.root {
            environment.push(("NODE_EXTRA_CA_CERTS".to_owned(), root.display().to_string()));
        }
        // To find `node`.
        environment.push(("PATH".to_owned(), bench.path.clone()));
        let log = bench.paths.output.join(format!("{}.log", self.name()));
        subject.program = Program { name: self.name().to_owned(), command, environment, log };
        subject.function = ours.with_status_only();
        Ok(Some(subject))
    }
}

/// An implementation with its subjects: over TLS for the start, and without for warm requests.
struct Entrant<'a> {
    rival: Rival,
    cold: Subject<'a>,
    warm: Subject<'a>,
}

/// Measures all implementations in turns, so that other load on the machine affects all equally.
pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let (all, missing) = in_turns(bench)?;
    for name in missing {
        bench.note(&format!("{name} was not built and is missing in the table."));
    }
    bench.note(
        "Node.js, Python and bare Rust do less: they do not read the integration, its secret and \
         the tenant, and process one record per request. Their runtime loops are minimal.",
    );
    Ok(figures(&all, bench.tls.is_some()))
}

fn in_turns(bench: &Bench) -> Result<(Vec<Measured>, Vec<&'static str>)> {
    let cold = bench.tls.as_ref().unwrap_or(&bench.plain);
    let (mut entrants, mut missing) = (Vec::new(), Vec::new());
    for rival in [Rival::Ours, Rival::Floor, Rival::Node, Rival::Python] {
        match (rival.subject(bench, cold)?, rival.subject(bench, &bench.plain)?) {
            (Some(cold), Some(warm)) => entrants.push(Entrant { rival, cold, warm }),
            _ => missing.push(rival.name()),
        }
    }
    let turns = |times: usize, run: &dyn Fn(&Entrant<'_>) -> Result<Start>| {
        let mut starts: Vec<Vec<Start>> = entrants.iter().map(|_| Vec::new()).collect();
        for _ in 0..times {
            for (entrant, starts) in entrants.iter().zip(&mut starts) {
                starts.push(run(entrant)?);
            }
        }
        Ok::<_, Error>(starts)
    };
    let starts = turns(bench.runs, &|entrant| entrant.cold.start())?;
    let mut rounds: Vec<Vec<Runs>> = entrants.iter().map(|_| Vec::new()).collect();
    for _ in 0..bench.rounds {
        for (entrant, rounds) in entrants.iter().zip(&mut rounds) {
            rounds.push(entrant.warm.warm(1, bench.invocations)?);
        }
    }
    let mut all = Vec::new();
    for ((entrant, starts), rounds) in entrants.into_iter().zip(starts).zip(rounds) {
        let rival = entrant.rival;
        let throttled = throttled(&entrant.cold, bench.runs.div_ceil(2))?;
        // Only compiled programs are counted: a just-in-time compiler keeps working for a long
        // time.
        let work = match rival {
            Rival::Ours | Rival::Floor => Some(callgrind::count(&entrant.warm, bench.counted)?),
            Rival::Node | Rival::Python => None,
        };
        let (starts, warm) = (Starts::of(&starts), Runs::joined(rounds));
        all.push(Measured { rival, starts, warm, throttled, work });
    }
    Ok((all, missing))
}

fn figures(all: &[Measured], tls: bool) -> Vec<Figure> {
    let over = if tls { ", over TLS" } else { "" };
    let mut figures = Vec::new();
    for measured in all.iter().filter(|measured| measured.rival != Rival::Ours) {
        let Measured { rival, starts, warm, throttled, work } = measured;
        let figure =
            |name: String, unit, runs: &Runs| Figure::new(rival.name(), name, unit, runs.clone());
        figures.extend([
            figure("start to ready".to_owned(), Unit::Milliseconds, &starts.ready),
            figure(format!("first invocation{over}"), Unit::Milliseconds, &starts.first),
            figure(
                format!("start to first answer, CPU{over}"),
                Unit::CpuMilliseconds,
                &starts.cpu_first,
            ),
            figure("peak memory".to_owned(), Unit::Megabytes, &starts.memory),
            figure("warm request, CPU".to_owned(), Unit::CpuMicroseconds, warm),
        ]);
        if let Some(work) = work {
            let count =
                |name: &str, count| figure(name.to_owned(), Unit::Instructions, &Runs::once(count));
            figures.extend([
                count("start and first request", work.start.instructions).unsteady(),
                count("warm request", work.each.instructions),
            ]);
        }
        if let Some(throttled) = throttled {
            let name = format!("first invocation with the CPU of 128 MB{over}");
            figures.push(figure(name, Unit::Milliseconds, throttled));
        }
    }
    let Some(ours) = all.iter().find(|measured| measured.rival == Rival::Ours) else {
        return figures;
    };
    for measured in all {
        let rival = measured.rival;
        let (start, warm) = match rival {
            Rival::Ours => continue,
            Rival::Floor => (
                ratio(&ours.starts.cpu_first, &measured.starts.cpu_first),
                ratio(&ours.warm, &measured.warm),
            ),
            Rival::Node | Rival::Python => (
                ratio(&measured.starts.cpu_first, &ours.starts.cpu_first),
                ratio(&measured.warm, &ours.warm),
            ),
        };
        let subject = match rival {
            Rival::Floor => "ours in bare Rust's",
            Rival::Node => "Node.js in ours",
            _ => "Python in ours",
        };
        let start = Figure::new(subject, "start to first answer, CPU", Unit::Times, start);
        let warm = Figure::new(subject, "warm request, CPU", Unit::Times, warm);
        figures.extend(match rival {
            Rival::Floor => [start.with(Goal::AtMost(1.5)), warm],
            Rival::Node => [start.with(Goal::AtLeast(30.0)), warm.with(Goal::AtLeast(12.0))],
            _ => [start, warm],
        });
        if let (Some(own), Some(floor)) = (ours.work, measured.work) {
            let times = |name, own: f64, floor: f64| {
                Figure::new(subject, name, Unit::Times, Runs::once(own / floor))
            };
            figures.extend([
                times(
                    "start and first request, work",
                    own.start.instructions,
                    floor.start.instructions,
                ),
                times("warm request, work", own.each.instructions, floor.each.instructions),
            ]);
        }
        if rival == Rival::Node || rival == Rival::Python {
            let memory = ratio(&measured.starts.memory, &ours.starts.memory);
            figures.push(Figure::new(subject, "peak memory", Unit::Times, memory));
        }
    }
    figures
}

/// Ratio of the medians.
fn ratio(of: &Runs, to: &Runs) -> Runs {
    Runs::once(of.median() / to.median())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(rival: Rival, start: f64, warm: f64) -> Measured {
        let starts =
            Starts { cpu_first: Runs::once(start), memory: Runs::once(1.0), ..Starts::default() };
        Measured { rival, starts, warm: Runs::once(warm), throttled: None, work: None }
    }

    #[test]
    fn ratios_compare_the_others_with_ours_and_ours_with_the_floor() {
        let all = [
            measured(Rival::Ours, 3.0, 100.0),
            measured(Rival::Floor, 2.0, 50.0),
            measured(Rival::Node, 90.0, 1500.0),
        ];
        let figures = figures(&all, true);
        let found = |key: &str| {
            let figure = figures.iter().find(|figure| figure.key() == key).unwrap();
            (figure.runs.median(), figure.passes())
        };
        assert_eq!(found("ours in bare Rust's: start to first answer, CPU"), (1.5, Some(true)));
        assert_eq!(found("Node.js in ours: start to first answer, CPU"), (30.0, Some(true)));
        assert_eq!(found("Node.js in ours: warm request, CPU"), (15.0, Some(true)));
    }
}
