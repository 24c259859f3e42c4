//! The cloud at an address, and the sandboxes in it.

use std::{path::PathBuf, sync::Arc, thread};

use crate::{
    certificates::Certificates,
    cloud::Cloud,
    error::Result,
    functions::{self, Function, Places},
    http::{Request, Server},
    model::Model,
    process,
    sandbox::{Program, Sandbox},
    stats::Runs,
};

/// The cloud at an address.
pub(crate) struct World {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) endpoint: String,
    /// The root its certificate comes from.
    pub(crate) root: Option<PathBuf>,
    _server: Server,
}

impl World {
    /// A cloud that is reached over HTTP.
    pub(crate) fn plain() -> Result<Self> {
        Self::at("http", None, Cloud::default())
    }

    /// The same with the model as its table.
    pub(crate) fn over(model: Model) -> Result<Self> {
        Self::at("http", None, Cloud::over(model))
    }

    /// A cloud that is reached over TLS.
    pub(crate) fn tls(certificates: Certificates) -> Result<Self> {
        Self::at("https", Some(certificates), Cloud::default())
    }

    fn at(scheme: &str, certificates: Option<Certificates>, cloud: Cloud) -> Result<Self> {
        let cloud = Arc::new(cloud);
        let (server, root) = certificates.map_or((None, None), |c| (Some(c.server), Some(c.root)));
        let asked = Arc::clone(&cloud);
        let handler = Arc::new(move |request: Request| asked.answer(&request));
        let server = Server::start(handler, server)?;
        let endpoint = format!("{scheme}://localhost:{}", server.port());
        functions::furnish(&cloud, &endpoint)?;
        Ok(Self { cloud, endpoint, root, _server: server })
    }

    /// A function in this world.
    pub(crate) fn program(&self, function: &Function, places: &Places) -> Program {
        function.program(places, &self.endpoint, self.root.as_deref())
    }
}

/// What starts took.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    /// From the start of the process until it is ready, in ms.
    pub(crate) ready: Runs,
    /// The first invocation, in ms.
    pub(crate) first: Runs,
    /// Processor time until it is ready, in ms.
    pub(crate) cpu_ready: Runs,
    /// Processor time until it is ready again after its first invocation, in ms.
    pub(crate) cpu_first: Runs,
    /// The most memory, in MB.
    pub(crate) memory: Runs,
}

/// What one start took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    ready: f64,
    first: f64,
    cpu_ready: f64,
    cpu_first: f64,
    memory: f64,
}

impl Starts {
    /// What these took.
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

/// What is to be measured: a program, an event, and how to know that it worked.
pub(crate) struct Subject<'a> {
    pub(crate) program: Program,
    pub(crate) event: Arc<Vec<u8>>,
    pub(crate) function: Function,
    pub(crate) world: &'a World,
}

impl Subject<'_> {
    /// One invocation of a world as it was made.
    pub(crate) fn invoke(&self, sandbox: &mut Sandbox) -> Result<f64> {
        self.world.cloud.reset();
        let invocation = sandbox.invoke(&self.event)?;
        self.function.check(&invocation.answer)?;
        Ok(invocation.took.as_secs_f64())
    }

    /// Starts the program so many times and invokes it once each time.
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

    /// Processor time of a warm invocation in microseconds: `rounds` of so many, on one core.
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

/// This process and another on one core, until it is dropped: the cost of waking a sleeping
/// core is not the function's.
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
        // It was allowed a moment ago.
        drop(process::pin(std::process::id(), &all));
    }
}

fn cores() -> usize {
    // Counted once: a process that is pinned sees one.
    static CORES: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Millions of bytes.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    let kilobytes = u32::try_from(bytes / 1000).unwrap_or(u32::MAX);
    f64::from(kilobytes) / 1e3
}
