//! Instructions and allocations, counted by Valgrind independently of the machine's load.
//!
//! A function runs N and 2 N invocations; the difference divided by N is the cost of one, without
//! the start. Valgrind does not emulate SHA instructions, so a processor that has them executes
//! fewer.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    sandbox::{Program, Sandbox},
    world::Subject,
};

/// Work of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Work {
    /// Instructions.
    pub(crate) instructions: f64,
    /// Number of calls of heap allocators.
    pub(crate) allocations: f64,
}

impl Work {
    fn between(self, later: Self, times: f64) -> Self {
        Self {
            instructions: (later.instructions - self.instructions) / times,
            allocations: (later.allocations - self.allocations) / times,
        }
    }
}

/// Work of the start and of one invocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    /// Process start, first invocation and shutdown.
    pub(crate) start: Work,
    /// One warm invocation.
    pub(crate) each: Work,
}

/// Counts the start, and an invocation over `times` and twice as many invocations.
pub(crate) fn count(subject: &Subject<'_>, times: u32) -> Result<Counted> {
    Ok(Counted { start: one(subject, 1)?, each: each(subject, times)? })
}

/// Counts an invocation without the start.
pub(crate) fn each(subject: &Subject<'_>, times: u32) -> Result<Work> {
    let (once, twice) = (one(subject, 1 + times)?, one(subject, 1 + 2 * times)?);
    Ok(once.between(twice, f64::from(times)))
}

fn one(subject: &Subject<'_>, times: u32) -> Result<Work> {
    let out = subject.program.log.with_extension("callgrind");
    let mut sandbox = Sandbox::start(&under_valgrind(&subject.program, &out))?;
    sandbox.ready()?;
    for _ in 0..times {
        subject.invoke(&mut sandbox)?;
    }
    sandbox.end()?;
    let found = fs::read_to_string(&out).map_err(Error::file(&out))?;
    parse(&found).ok_or_else(|| Error::step("valgrind", "its output has no totals"))
}

fn under_valgrind(program: &Program, out: &Path) -> Program {
    let arguments = ["valgrind".to_owned(), "--tool=callgrind".to_owned()];
    let out: PathBuf = out.to_owned();
    let out = format!("--callgrind-out-file={}", out.display());
    let command = arguments.into_iter().chain([out]).chain(program.command.clone()).collect();
    Program { command, ..program.clone() }
}

/// Allocator functions of libc, the only ones with names in a stripped binary.
const ALLOCATORS: [&str; 7] =
    ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign", "valloc"];

/// Parses the totals of a Callgrind file.
/// <https://valgrind.org/docs/manual/cl-format.html>
fn parse(out: &str) -> Option<Work> {
    let mut allocators: Vec<&str> = Vec::new();
    let mut counts = false;
    let mut allocations = 0_u64;
    for line in out.lines() {
        if let Some(name) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            // `(12) malloc` at the first mention of a name, and `(12)` afterwards.
            let (id, name) = name.split_once(' ').unwrap_or((name, ""));
            if ALLOCATORS.contains(&name) {
                allocators.push(id);
            }
            counts = line.starts_with('c') && allocators.contains(&id);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            if counts {
                allocations += calls.split(' ').next()?.parse::<u64>().ok()?;
            }
            counts = false;
        }
    }
    let totals = out
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")))?;
    let instructions = totals.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(Work { instructions: float(instructions), allocations: float(allocations) })
}

/// Converts a count. Exact below 2^53, which no run reaches.
fn float(count: u64) -> f64 {
    let high = u32::try_from(count >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(count & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_of_allocators_are_summed() {
        let out = "events: Ir\nfn=(1) main\n16 400\ncfn=(2) malloc\ncalls=3 0\n16 400\n\
                   cfn=(3) free\ncalls=9 0\n16 50\ncfn=(2)\ncalls=4 +1\n16 1\nfn=(2)\n0 5\n\
                   cfn=(4) sysmalloc\ncalls=8 0\n1 1\n\ntotals: 6000000001\n";
        let work = Work { instructions: 6_000_000_001.0, allocations: 7.0 };
        assert_eq!(parse(out), Some(work));
    }

    #[test]
    fn a_file_without_totals_is_rejected() {
        assert_eq!(parse("events: Ir\nfn=(1) main\n"), None);
    }

    #[test]
    fn one_invocation_is_the_difference_of_two_runs() {
        let work = |instructions, allocations| Work { instructions, allocations };
        assert_eq!(work(100.0, 10.0).between(work(300.0, 50.0), 20.0), work(10.0, 2.0));
    }
}
