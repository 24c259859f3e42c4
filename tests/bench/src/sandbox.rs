//! One sandbox: a function's process under a Lambda Runtime API of our own.
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

/// How long a function may take; under Valgrind everything takes fifty times as long.
const PATIENCE: Duration = Duration::from_mins(2);
/// What a process needs to come to rest after its last request, before its time is read.
const REST: Duration = Duration::from_millis(2);
/// How often a silent process is looked at, whether it is still there.
const GLANCE: Duration = Duration::from_secs(1);

/// What is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// What messages call it.
    pub(crate) name: String,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// Its whole environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

/// What a function said.
enum Call {
    /// It is ready for work.
    Next(Instant),
    /// It has worked.
    Answer(Instant, Vec<u8>),
    /// It has failed.
    Failure(String),
}

/// A function's process, and the Runtime API it talks to.
pub(crate) struct Sandbox {
    child: Child,
    name: String,
    log: PathBuf,
    spawned: Instant,
    calls: Receiver<Call>,
    work: Sender<Arc<Vec<u8>>>,
    _server: Server,
}

/// One invocation, as it was seen from outside.
pub(crate) struct Invocation {
    /// From handing out the event to having the answer.
    pub(crate) took: Duration,
    /// What it answered.
    pub(crate) answer: Vec<u8>,
}

impl Sandbox {
    /// Starts the process.
    pub(crate) fn start(program: &Program) -> Result<Self> {
        let (said, calls) = channel();
        let (work, handed) = channel::<Arc<Vec<u8>>>();
        let (said, handed) = (Mutex::new(said), Mutex::new(handed));
        let server = Server::start(
            Arc::new(move |request: Request| runtime_api(request, &said, &handed)),
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

    /// Waits until the function is ready; from the start of its process.
    pub(crate) fn ready(&mut self) -> Result<Duration> {
        match self.hear("ask for work")? {
            Call::Next(at) => Ok(at.duration_since(self.spawned)),
            Call::Answer(_, answer) => Err(self.wrong(&answer)),
            Call::Failure(detail) => Err(Error::step(&self.name, detail)),
        }
    }

    /// Hands out one event and waits for its answer, and until the function is ready again.
    pub(crate) fn invoke(&mut self, event: &Arc<Vec<u8>>) -> Result<Invocation> {
        let begun = Instant::now();
        if self.work.send(Arc::clone(event)).is_err() {
            return Err(Error::step(&self.name, "its Runtime API is gone"));
        }
        let invocation = match self.hear("answer")? {
            Call::Answer(at, answer) => Invocation { took: at.duration_since(begun), answer },
            Call::Next(_) => return Err(Error::step(&self.name, "asked for work twice")),
            Call::Failure(detail) => return Err(Error::step(&self.name, detail)),
        };
        self.ready()?;
        Ok(invocation)
    }

    fn hear(&mut self, expected: &'static str) -> Result<Call> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(call) = self.calls.recv_timeout(GLANCE) {
                return Ok(call);
            }
            if Instant::now() > deadline || self.child.try_wait()?.is_some() {
                let printed = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(Error::Silent { what: self.name.clone(), expected, printed });
            }
        }
    }

    fn wrong(&self, answer: &[u8]) -> Error {
        let answer = String::from_utf8_lossy(answer).into_owned();
        Error::Answer { what: self.name.clone(), answer }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time since the start, of a process that has come to rest.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        sleep(REST);
        process::cpu(self.id())
    }

    /// The most memory it ever had, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        process::peak_memory(self.id())
    }

    /// Bytes it has printed.
    pub(crate) fn printed(&self) -> Result<u64> {
        Ok(fs::metadata(&self.log).map_err(Error::file(&self.log))?.len())
    }

    /// Asks it to end, so that a tool around it can write down what it saw.
    pub(crate) fn end(mut self) -> Result<()> {
        process::terminate(self.id())?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(Error::step(&self.name, "it does not end"));
            }
            sleep(REST);
        }
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Says `call` to whoever holds the sandbox; nobody may.
fn say(to: &Mutex<Sender<Call>>, call: Call) {
    drop(to.lock().unwrap_or_else(PoisonError::into_inner).send(call));
}

fn runtime_api(
    request: Request,
    said: &Mutex<Sender<Call>>,
    handed: &Mutex<Receiver<Arc<Vec<u8>>>>,
) -> Response {
    let now = Instant::now();
    if request.path.ends_with("/invocation/next") {
        say(said, Call::Next(now));
        return match handed.lock().unwrap_or_else(PoisonError::into_inner).recv() {
            Ok(event) => handed_out(&event),
            // The sandbox is being taken away.
            Err(_) => Response::empty(500),
        };
    }
    let call = if request.path.ends_with("/response") {
        Call::Answer(now, request.body)
    } else {
        let detail = String::from_utf8_lossy(&request.body);
        Call::Failure(format!("{}: {detail}", request.path))
    };
    say(said, call);
    Response::empty(202)
}

fn handed_out(event: &[u8]) -> Response {
    #[expect(clippy::disallowed_methods, reason = "a function's deadline is on the real clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let deadline = (now + PATIENCE).as_millis().to_string();
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
