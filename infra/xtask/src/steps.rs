//! Steps of a long command, with a table of their durations.

use std::{fs, time::Instant};

use crate::error::Result;

/// Clock ticks per second in `/proc/stat` (`USER_HZ` on Linux).
const TICKS: f64 = 100.0;

/// The finished steps of a command.
pub(crate) struct Steps {
    begun: Instant,
    done: Vec<Step>,
}

struct Step {
    name: &'static str,
    seconds: f32,
    /// Average number of busy cores. `None` where `/proc/stat` does not exist.
    cores: Option<f64>,
}

impl Steps {
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), done: Vec::new() }
    }

    /// Runs a step and prints its result.
    pub(crate) fn step<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        println!("== {name}");
        let (begun, busy) = (Instant::now(), busy_seconds());
        let done = work();
        let seconds = begun.elapsed().as_secs_f32();
        let cores =
            busy.zip(busy_seconds()).map(|(from, to)| (to - from) / f64::from(seconds.max(0.01)));
        self.done.push(Step { name, seconds, cores });
        let end = if done.is_ok() { "passed in" } else { "FAILED after" };
        println!("== {name}: {end} {seconds:.1} s");
        done
    }

    /// Returns a table of the steps with their durations and the total.
    pub(crate) fn table(&self) -> String {
        let width = self.done.iter().map(|step| step.name.chars().count()).max().unwrap_or(0);
        let line = |name: &str, seconds: f32, cores: &str| {
            format!("{name:width$}  {seconds:>7.1}  {cores:>10}").trim_end().to_owned()
        };
        let mut lines = vec![format!("{:width$}  seconds  busy cores", "step")];
        lines.extend(self.done.iter().map(|step| {
            let cores = step.cores.map_or_else(|| "?".to_owned(), |cores| format!("{cores:.1}"));
            line(step.name, step.seconds, &cores)
        }));
        lines.push(line("all", self.begun.elapsed().as_secs_f32(), ""));
        lines.join("\n")
    }
}

/// Busy time of all CPUs since boot, in seconds.
fn busy_seconds() -> Option<f64> {
    busy_ticks(&fs::read_to_string("/proc/stat").ok()?).map(|ticks| ticks / TICKS)
}

/// Busy ticks of all CPUs, from the first line of `/proc/stat`.
///
/// <https://man7.org/linux/man-pages/man5/proc_stat.5.html>
fn busy_ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let mut next = || fields.next()?.parse::<f64>().ok();
    let (user, nice, system, _idle, _iowait, irq, softirq) =
        (next()?, next()?, next()?, next()?, next()?, next()?, next()?);
    Some(user + nice + system + irq + softirq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn the_table_lists_each_step_including_a_failed_one() {
        let mut steps = Steps::begin();
        steps.step("format", || Ok(())).unwrap();
        let failed = steps.step("a longer step", || Err::<(), _>(Error::step("x", "no")));
        assert!(failed.is_err());
        let table = steps.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        assert!(lines[1].starts_with("format "), "{table}");
        assert!(lines[2].starts_with("a longer step "), "{table}");
        assert!(lines[3].starts_with("all "), "{table}");
    }

    #[test]
    fn idle_and_iowait_ticks_are_not_busy() {
        assert_eq!(busy_ticks("cpu  10 1 20 400 50 2 3 0 0 0\ncpu0 1"), Some(36.0));
        assert_eq!(busy_ticks("intr 1"), None);
    }
}
