//! A sandbox: a function's process with a fake Lambda Runtime API.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    error::{Error, Result},
    http::{Request, Response, Server},
    process,
};

/// Timeout of a function. Under Valgrind everything takes fifty times as long.
const TIMEOUT: Duration = Duration::from_mins(2);
/// Time for a process to become idle after its last request, before its CPU time is read.
const IDLE_TIME: Duration = Duration::from_millis(2);
/// How often a silent process is checked for its exit.
const EXIT_CHECK: Duration = Duration::from_secs(1);

/// A program to run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Name in messages.
    pub(crate) name: String,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// Complete environment.
    pub(crate) environment: Vec<(String, String)>,
    /// File for its output.
    pub(crate) log: PathBuf,
}

/// A call of the function to the Runtime API.
enum Call {
    /// Request for the next event.
    Next(Instant),
    /// Response of an invocation.
    Answer(Instant, Vec<u8>),
    /// Error of an invocation.
    Failure(String),
}

/// A function's process with its Runtime API.
pub(crate) struct Sandbox {
    child: Child,
    name: String,
    log: PathBuf,
    spawned: Instant,
    calls: Receiver<Call>,
    work: Sender<Arc<Vec<u8>>>,
    _server: Server,
}

/// An invocation.
pub(crate) struct Invocation {
    /// Time from the delivery of the event to the response.
    pub(crate) took: Duration,
    /// The response.
    pub(crate) answer: Vec<u8>,
}

impl Sandbox {
    /// Starts the process.
    pub(crate) fn start(program: &Program) -> Result<Self> {
        let (call_sender, calls) = channel();
        let (work, events) = channel::<Arc<Vec<u8>>>();
        let (call_sender, events) = (Mutex::new(call_sender), Mutex::new(events));
        let server = Server::start(
            Arc::new(move |request: Request| runtime_api(request, &call_sender, &events)),
            None,
        )?;
        let log = File::create(&program.log).map_err(Error::file(&program.log))?;
        let (file, arguments) = program
            .command
            .split_first()
            .ok_or_else(|| Error::step(&program.name, "no command"))?;
        let mut command = Command::new(file);
        command
            .args(arguments)
            .env_clear()
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{}", server.port()))
            .env("AWS_LAMBDA_FUNCTION_NAME", &program.name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log);
        let spawned = Instant::now();
        let child = command.spawn().map_err(Error::file(Path::new(file)))?;
        let (name, log) = (program.name.clone(), program.log.clone());
        Ok(Self { child, name, log, spawned, calls, work, _server: server })
    }

    /// Waits until the function is ready. Returns the time since the start of its process.
    pub(crate) fn ready(&mut self) -> Result<Duration> {
        match self.next_call("ask for an event")? {
            Call::Next(at) => Ok(at.duration_since(self.spawned)),
            Call::Answer(_, answer) => Err(self.unexpected(&answer)),
            Call::Failure(detail) => Err(Error::step(&self.name, detail)),
        }
    }

    /// Delivers an event, and waits for the response and until the function is ready again.
    pub(crate) fn invoke(&mut self, event: &Arc<Vec<u8>>) -> Result<Invocation> {
        let begun = Instant::now();
        if self.work.send(Arc::clone(event)).is_err() {
            return Err(Error::step(&self.name, "its Runtime API has stopped"));
        }
        let invocation = match self.next_call("respond")? {
            Call::Answer(at, answer) => Invocation { took: at.duration_since(begun), answer },
            Call::Next(_) => return Err(Error::step(&self.name, "asked for an event twice")),
            Call::Failure(detail) => return Err(Error::step(&self.name, detail)),
        };
        self.ready()?;
        Ok(invocation)
    }

    fn next_call(&mut self, expected: &'static str) -> Result<Call> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Ok(call) = self.calls.recv_timeout(EXIT_CHECK) {
                return Ok(call);
            }
            if Instant::now() > deadline || self.child.try_wait()?.is_some() {
                let printed = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(Error::Silent { what: self.name.clone(), expected, printed });
            }
        }
    }

    fn unexpected(&self, answer: &[u8]) -> Error {
        let answer = String::from_utf8_lossy(answer).into_owned();
        Error::Answer { what: self.name.clone(), answer }
    }

    /// Id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time since the start, once the process is idle.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        sleep(IDLE_TIME);
        process::cpu(self.id())
    }

    /// Peak memory, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        process::peak_memory(self.id())
    }

    /// Size of the output so far, in bytes.
    pub(crate) fn printed(&self) -> Result<u64> {
        Ok(fs::metadata(&self.log).map_err(Error::file(&self.log))?.len())
    }

    /// Terminates the process gracefully, so that a tool around it can write its results.
    pub(crate) fn end(mut self) -> Result<()> {
        process::terminate(self.id())?;
        let deadline = Instant::now() + TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(Error::step(&self.name, "the process does not exit"));
            }
            sleep(IDLE_TIME);
        }
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It may have exited already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Passes `call` to the sandbox, if it still exists.
fn report(to: &Mutex<Sender<Call>>, call: Call) {
    drop(to.lock().unwrap_or_else(PoisonError::into_inner).send(call));
}

fn runtime_api(
    request: Request,
    calls: &Mutex<Sender<Call>>,
    events: &Mutex<Receiver<Arc<Vec<u8>>>>,
) -> Response {
    let now = Instant::now();
    if request.path.ends_with("/invocation/next") {
        report(calls, Call::Next(now));
        return match events.lock().unwrap_or_else(PoisonError::into_inner).recv() {
            Ok(event) => event_response(&event),
            // The sandbox is being dropped.
            Err(_) => Response::empty(500),
        };
    }
    let call = if request.path.ends_with("/response") {
        Call::Answer(now, request.body)
    } else {
        let detail = String::from_utf8_lossy(&request.body);
        Call::Failure(format!("{}: {detail}", request.path))
    };
    report(calls, call);
    Response::empty(202)
}

fn event_response(event: &[u8]) -> Response {
    #[expect(clippy::disallowed_methods, reason = "a function's deadline is on the real clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let deadline = (now + TIMEOUT).as_millis().to_string();
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:bench";
    let trace = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0";
    Response {
        status: 200,
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("lambda-runtime-aws-request-id", "156cb537-e2d4-11e8-9b34-d36013741fb9".to_owned()),
            ("lambda-runtime-deadline-ms", deadline),
            ("lambda-runtime-invoked-function-arn", arn.to_owned()),
            ("lambda-runtime-trace-id", trace.to_owned()),
        ],
        body: event.to_vec(),
    }
}
