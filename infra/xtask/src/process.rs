//! Child processes: commands that are awaited, and daemons.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    workspace,
};

const POLL: Duration = Duration::from_millis(50);
/// Time for a daemon to stop. Saving the local cloud's data takes about a second, and longer on a
/// busy machine.
const GRACE: Duration = Duration::from_secs(20);

/// Runs a program and waits for it. Its output goes to the terminal.
pub(crate) fn run(step: &str, command: &mut Command) -> Result<()> {
    let status =
        command.stdin(Stdio::null()).status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(Error::step(step, status.to_string())) }
}

/// Runs a program and returns its standard output. The error of a failed program contains the last
/// line it printed.
pub(crate) fn output(step: &str, command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| cannot_start(command, &error))?;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let detail = last_line(&errors)
        .or_else(|| last_line(&printed))
        .map_or_else(|| output.status.to_string(), str::to_owned);
    Err(Error::step(step, detail))
}

/// A command of this tool that runs in the background. Its output goes to a log file.
pub(crate) struct Background {
    step: &'static str,
    log: PathBuf,
    child: Child,
}

impl Background {
    /// Starts the command.
    pub(crate) fn start(step: &'static str, arguments: &[&str]) -> Result<Self> {
        let log = workspace::target().join(format!("{step}.log"));
        workspace::write(&log, "")?;
        let file = fs::File::create(&log).map_err(Error::file(&log))?;
        let copy = file.try_clone()?;
        // Not the running program's own path: a build may have put a newer one in its place.
        let child = Command::new(workspace::xtask())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .spawn()?;
        Ok(Self { step, log, child })
    }

    /// Waits for the command and prints its output.
    pub(crate) fn finish(mut self) -> Result<()> {
        let status = self.child.wait()?;
        print!("{}", workspace::read(&self.log)?);
        if status.success() { Ok(()) } else { Err(Error::step(self.step, status.to_string())) }
    }
}

impl Drop for Background {
    /// Waits for the command. Killing it would leave its child processes running.
    fn drop(&mut self) {
        if let Err(error) = self.child.wait() {
            println!("{}: {error}", self.step);
        }
    }
}

/// Returns the last line that is not blank.
pub(crate) fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Error {
    let program = command.get_program().to_string_lossy().into_owned();
    if error.kind() == ErrorKind::NotFound {
        Error::Missing { program, remedy: "Install it, or add it to PATH." }
    } else {
        Error::step(program, error.to_string())
    }
}

/// A background program whose process id is stored in a file.
pub(crate) struct Daemon {
    /// Name in messages.
    pub(crate) what: &'static str,
    /// Part of its command line, to detect a reused process id.
    pub(crate) mark: &'static str,
    pub(crate) pid_file: PathBuf,
    pub(crate) log: PathBuf,
}

impl Daemon {
    /// Its process id, if it is running.
    pub(crate) fn pid(&self) -> Option<u32> {
        let (pid, _) = self.stored_pids()?;
        command_line(pid)?.contains(self.mark).then_some(pid)
    }

    /// Reads the pid file: its process id, and the id of the process whose end stops it.
    fn stored_pids(&self) -> Option<(u32, Option<u32>)> {
        let content = fs::read_to_string(&self.pid_file).ok()?;
        let mut ids = content.split_whitespace().map(str::parse);
        Some((ids.next()?.ok()?, ids.next().and_then(std::result::Result::ok)))
    }

    /// Waits for it to stop if its owner process has ended.
    pub(crate) fn settle(&self) -> Result<()> {
        if let Some((_, Some(owner))) = self.stored_pids()
            && command_line(owner).is_none()
        {
            let deadline = Instant::now() + GRACE;
            while self.pid().is_some() && Instant::now() < deadline {
                sleep(POLL);
            }
            self.stop()?;
        }
        Ok(())
    }

    /// Starts it, with its output in the log. `command` must contain [`Daemon::mark`]. With an
    /// `owner`, the program is expected to stop when that process ends.
    pub(crate) fn start(&self, command: &mut Command, owner: Option<u32>) -> Result<()> {
        workspace::write(&self.log, "")?;
        let log = fs::File::create(&self.log).map_err(Error::file(&self.log))?;
        let copy = log.try_clone()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .spawn()
            .map_err(|error| cannot_start(command, &error))?;
        let owner = owner.map(|owner| format!(" {owner}")).unwrap_or_default();
        workspace::write(&self.pid_file, &format!("{}{owner}\n", child.id()))
    }

    /// Waits until `ready` returns true.
    pub(crate) fn wait(&self, seconds: u64, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < deadline {
            if ready() {
                return Ok(());
            }
            if self.is_gone() {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(match last_line(&log) {
                    Some(line) => Error::step(self.what, line),
                    None => Error::Ended { what: self.what, log: self.log.clone() },
                });
            }
            sleep(POLL);
        }
        Err(Error::Silent { what: self.what, seconds, log: self.log.clone() })
    }

    /// Whether it has ended. Checks twice: during `exec` a process has no command line for a
    /// moment.
    fn is_gone(&self) -> bool {
        self.pid().is_none() && {
            sleep(4 * POLL);
            self.pid().is_none()
        }
    }

    /// Stops it. It gets time to save its data before it is killed.
    pub(crate) fn stop(&self) -> Result<()> {
        if let Some(pid) = self.stored_pids().map(|(pid, _)| pid)
            && !self.is_gone()
        {
            signal("TERM", pid)?;
            let deadline = Instant::now() + GRACE;
            while self.pid().is_some() {
                if Instant::now() > deadline {
                    signal("KILL", pid)?;
                    break;
                }
                sleep(POLL);
            }
        }
        workspace::remove(&self.pid_file)
    }
}

/// Sends a signal to a process. Succeeds if the process has already ended.
pub(crate) fn signal(name: &str, pid: u32) -> Result<()> {
    // The shell built-in: a minimal image has no `kill` program.
    let sent = output(
        "kill",
        Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()]),
    );
    match sent {
        Err(error) if command_line(pid).is_some() => Err(error),
        _ => Ok(()),
    }
}

/// Returns the command line of a running process.
fn command_line(pid: u32) -> Option<String> {
    let proc = Path::new("/proc").join(pid.to_string());
    let line = match fs::read(proc.join("cmdline")) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).replace('\0', " "),
        Err(_) if Path::new("/proc/self").exists() => return None,
        Err(_) => {
            output("ps", Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()])).ok()?
        }
    };
    // A zombie process has no command line.
    (!line.trim().is_empty()).then_some(line)
}
