//! Resource use of processes, from `/proc`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::error::{Error, Result};

fn proc(id: u32) -> PathBuf {
    Path::new("/proc").join(id.to_string())
}

/// CPU time of all threads of a process, in nanosecond resolution.
pub(crate) fn cpu(id: u32) -> Result<Duration> {
    let folder = proc(id).join("task");
    let mut total = 0;
    for thread in fs::read_dir(&folder).map_err(Error::file(&folder))? {
        let path = thread?.path().join("schedstat");
        // A thread may have ended in between.
        let content = fs::read_to_string(&path).unwrap_or_default();
        total += content.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0_u64);
    }
    Ok(Duration::from_nanos(total))
}

/// Peak resident memory of a process, in bytes.
pub(crate) fn peak_memory(id: u32) -> Result<u64> {
    let path = proc(id).join("status");
    let content = fs::read_to_string(&path).map_err(Error::file(&path))?;
    let line = content.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| Error::step("VmHWM", "missing in /proc/PID/status"))
}

/// Pins a process and its threads to cores, such as `1` or `0-3`.
pub(crate) fn pin(id: u32, cores: &str) -> Result<()> {
    run("taskset", Command::new("taskset").args(["-a", "-c", "-p", cores, &id.to_string()]))
}

/// Sends SIGTERM to a process.
pub(crate) fn terminate(id: u32) -> Result<()> {
    run("kill", Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &id.to_string()]))
}

/// Runs a program and waits for it. The error of a failed program contains its output.
pub(crate) fn run(step: &str, command: &mut Command) -> Result<()> {
    let done = command.stdin(Stdio::null()).output();
    let done = done.map_err(|error| Error::step(step, error.to_string()))?;
    if done.status.success() {
        return Ok(());
    }
    let printed = [done.stdout, done.stderr].concat();
    Err(Error::step(step, String::from_utf8_lossy(&printed).trim().to_owned()))
}

/// Returns the output of a program, or `None` if it fails.
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let printed = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    done.status.success().then_some(printed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_memory() {
        let own = std::process::id();
        assert!(cpu(own).unwrap() > Duration::ZERO);
        assert!(peak_memory(own).unwrap() > 100_000);
    }

    #[test]
    fn the_error_of_a_failed_program_contains_its_output() {
        let error = run("sh", Command::new("sh").args(["-c", "echo because; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh: because");
    }
}
