//! The fake cloud on loopback, and measurements of sandboxes that use it.

use std::{path::PathBuf, sync::Arc, thread};

use crate::{
    certificates::Certificates,
    cloud::Cloud,
    error::Result,
    functions::{self, Function, Paths},
    http::{Request, Server},
    model::Model,
    process,
    sandbox::{Program, Sandbox},
    stats::Runs,
};

/// A fake cloud that listens on loopback.
pub(crate) struct World {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) endpoint: String,
    /// Root of its TLS certificate.
    pub(crate) root: Option<PathBuf>,
    _server: Server,
}

impl World {
    /// Starts a cloud over HTTP.
    pub(crate) fn plain() -> Result<Self> {
        Self::at("http", None, Cloud::default())
    }

    /// Starts a cloud over HTTP with the table model.
    pub(crate) fn over(model: Model) -> Result<Self> {
        Self::at("http", None, Cloud::over(model))
    }

    /// Starts a cloud over TLS.
    pub(crate) fn tls(certificates: Certificates) -> Result<Self> {
        Self::at("https", Some(certificates), Cloud::default())
    }

    fn at(scheme: &str, certificates: Option<Certificates>, cloud: Cloud) -> Result<Self> {
        let cloud = Arc::new(cloud);
        let (server, root) = certificates.map_or((None, None), |c| (Some(c.server), Some(c.root)));
        let answering = Arc::clone(&cloud);
        let handler = Arc::new(move |request: Request| answering.answer(&request));
        let server = Server::start(handler, server)?;
        let endpoint = format!("{scheme}://localhost:{}", server.port());
        functions::insert_fixtures(&cloud, &endpoint)?;
        Ok(Self { cloud, endpoint, root, _server: server })
    }

    /// The program of a function that uses this cloud.
    pub(crate) fn program(&self, function: &Function, paths: &Paths) -> Program {
        function.program(paths, &self.endpoint, self.root.as_deref())
    }
}

/// Measurements of several starts.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    /// From the process start until ready, in ms.
    pub(crate) ready: Runs,
    /// First invocation, in ms.
    pub(crate) first: Runs,
    /// CPU time until ready, in ms.
    pub(crate) cpu_ready: Runs,
    /// CPU time until ready again after the first invocation, in ms.
    pub(crate) cpu_first: Runs,
    /// Peak memory, in MB.
    pub(crate) memory: Runs,
}

/// Measurements of one start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    ready: f64,
    first: f64,
    cpu_ready: f64,
    cpu_first: f64,
    memory: f64,
}

impl Starts {
    /// Collects the measurements of several starts.
    pub(crate) fn of(starts: &[Start]) -> Self {
        let each = |of: fn(&Start) -> f64| Runs::new(starts.iter().map(of).collect());
        Self {
            ready: each(|start| start.ready),
            first: each(|start| start.first),
            cpu_ready: each(|start| start.cpu_ready),
            cpu_first: each(|start| start.cpu_first),
            memory: each(|start| start.memory),
        }
    }
}

/// Subject of a measurement: a program, its event, and the check of its response.
pub(crate) struct Subject<'a> {
    pub(crate) program: Program,
    pub(crate) event: Arc<Vec<u8>>,
    pub(crate) function: Function,
    pub(crate) world: &'a World,
}

impl Subject<'_> {
    /// Invokes the function once with a reset cloud. Returns the time in seconds.
    pub(crate) fn invoke(&self, sandbox: &mut Sandbox) -> Result<f64> {
        self.world.cloud.reset();
        let invocation = sandbox.invoke(&self.event)?;
        self.function.check(&invocation.answer)?;
        Ok(invocation.took.as_secs_f64())
    }

    /// Starts the program `runs` times, with one invocation each.
    pub(crate) fn starts(&self, runs: usize) -> Result<Starts> {
        let starts = (0..runs).map(|_| self.start()).collect::<Result<Vec<_>>>()?;
        Ok(Starts::of(&starts))
    }

    /// Starts the program and invokes it once.
    pub(crate) fn start(&self) -> Result<Start> {
        let mut sandbox = Sandbox::start(&self.program)?;
        let ready = sandbox.ready()?.as_secs_f64() * 1e3;
        let cpu_ready = sandbox.cpu()?.as_secs_f64() * 1e3;
        let first = self.invoke(&mut sandbox)? * 1e3;
        let cpu_first = sandbox.cpu()?.as_secs_f64() * 1e3;
        let memory = megabytes(sandbox.peak_memory()?);
        Ok(Start { ready, first, cpu_ready, cpu_first, memory })
    }

    /// CPU time of a warm invocation in microseconds: `rounds` averages of `invocations`
    /// invocations, on one core.
    pub(crate) fn warm(&self, rounds: usize, invocations: u32) -> Result<Runs> {
        let mut sandbox = Sandbox::start(&self.program)?;
        sandbox.ready()?;
        let pinned = Pinned::now(sandbox.id())?;
        for _ in 0..invocations.div_ceil(10) {
            self.invoke(&mut sandbox)?;
        }
        let mut values = Vec::new();
        for _ in 0..rounds {
            let before = sandbox.cpu()?;
            for _ in 0..invocations {
                self.invoke(&mut sandbox)?;
            }
            let used = sandbox.cpu()?.saturating_sub(before);
            values.push(used.as_secs_f64() * 1e6 / f64::from(invocations));
        }
        drop(pinned);
        Ok(Runs::new(values))
    }
}

/// Pins this process and another one to one core until dropped, to exclude the cost of waking an
/// idle core.
struct Pinned;

impl Pinned {
    fn now(other: u32) -> Result<Self> {
        let core = (cores() - 1).to_string();
        process::pin(other, &core)?;
        process::pin(std::process::id(), &core)?;
        Ok(Self)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let all = format!("0-{}", cores() - 1);
        // The same call succeeded a moment ago.
        drop(process::pin(std::process::id(), &all));
    }
}

fn cores() -> usize {
    // Counted once, because a pinned process sees one core.
    static CORES: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Converts bytes to millions of bytes.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    let kilobytes = u32::try_from(bytes / 1000).unwrap_or(u32::MAX);
    f64::from(kilobytes) / 1e3
}
