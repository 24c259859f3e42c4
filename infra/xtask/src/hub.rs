//! The local hub: the local cloud with the deployed stack, and the provider simulator.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{Read, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    error::{Error, Result},
    http::Client,
    process::{self, Daemon},
    python,
    tail::Tail,
    workspace,
};

/// Environment variables with the names of tables, and the outputs of the stack that have them.
const TABLES: [(&str, &str); 6] = [
    ("ACCOUNTS_TABLE_NAME", "AccountsTableName"),
    ("EVENTS_TABLE_NAME", "EventsTableName"),
    ("ENDPOINTS_TABLE_NAME", "EndpointsTableName"),
    ("MESSAGING_TABLE_NAME", "MessagingTableName"),
    ("WORK_TABLE_NAME", "WorkTableName"),
    ("CREDENTIALS_TABLE_NAME", "CredentialsTableName"),
];

const CLOUD_PORT: u16 = 4566;
const PROXY_PORT: u16 = 4567;
const FRONT_PORT: u16 = 8787;
const SIMULATOR_PORT: u16 = 8788;

/// The hub of this checkout, running or stopped.
pub(crate) struct Hub {
    folder: PathBuf,
    offset: u16,
    release: bool,
    /// Whether the functions reach AWS through a proxy.
    proxied: bool,
    /// Whether the binaries are already built.
    built: bool,
    /// Further parameters of the stack, such as `CredentialStore=table`.
    parameters: Vec<&'static str>,
}

/// Options for starting a hub.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    /// Keep the hub running after this command ends.
    pub(crate) detach: bool,
    /// Delete the data of earlier runs first.
    pub(crate) fresh: bool,
}

impl Start {
    /// Id of the process whose end stops the hub.
    fn owner(self) -> Option<u32> {
        (!self.detach).then(std::process::id)
    }
}

/// A hub that this command started and stops at its end.
pub(crate) struct Running<'a> {
    hub: &'a Hub,
}

impl Hub {
    /// The hub of this checkout, or a separate one with `offset` added to every port.
    pub(crate) fn at_offset(offset: u16, release: bool) -> Result<Self> {
        let name = if offset == 0 { "local".to_owned() } else { format!("local-{offset}") };
        Self::named(&name, offset, release)
    }

    /// A hub that stores its files in `target/<name>`.
    pub(crate) fn named(name: &str, offset: u16, release: bool) -> Result<Self> {
        if offset == 1 || SIMULATOR_PORT.checked_add(offset).is_none() {
            return Err(Error::step(
                "--port-offset",
                "must be 0 or at least 2, and every port must stay below 65536",
            ));
        }
        Ok(Self {
            folder: workspace::target().join(name),
            offset,
            release,
            proxied: false,
            built: false,
            parameters: Vec::new(),
        })
    }

    /// The same hub, whose functions reach AWS through a proxy on [`Hub::proxy_port`]. The proxy
    /// must listen before the hub starts.
    pub(crate) fn behind_proxy(self) -> Self {
        Self { proxied: true, ..self }
    }

    /// The same hub, with a parameter of its stack.
    pub(crate) fn with_parameter(mut self, parameter: &'static str) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// The same hub; if `built`, starting it builds nothing.
    pub(crate) fn already_built(self, built: bool) -> Self {
        Self { built, ..self }
    }

    /// The port of the proxy between the functions and the local cloud.
    pub(crate) fn proxy_port(&self) -> u16 {
        PROXY_PORT + self.offset
    }

    /// The port of the local cloud itself.
    pub(crate) fn cloud_port(&self) -> u16 {
        CLOUD_PORT + self.offset
    }

    /// The AWS endpoint of the functions.
    pub(crate) fn functions_endpoint(&self) -> String {
        local_url(if self.proxied { self.proxy_port() } else { self.cloud_port() })
    }

    /// The folder with the hub's files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The base URL of the hub.
    pub(crate) fn url(&self) -> String {
        local_url(FRONT_PORT + self.offset)
    }

    /// The base URL of the provider simulator.
    pub(crate) fn simulator_url(&self) -> String {
        local_url(SIMULATOR_PORT + self.offset)
    }

    /// The base URL of the local cloud, bypassing the proxy.
    pub(crate) fn cloud_url(&self) -> String {
        local_url(self.cloud_port())
    }

    /// The functions' log.
    pub(crate) fn functions_log(&self) -> PathBuf {
        self.folder.join("logs/functions.log")
    }

    /// The local cloud's log.
    pub(crate) fn cloud_log(&self) -> PathBuf {
        self.cloud().log
    }

    /// The platform's admin key.
    pub(crate) fn admin_key(&self) -> Result<String> {
        workspace::read(&self.admin_key_file()).map(|key| key.trim().to_owned())
    }

    fn admin_key_file(&self) -> PathBuf {
        self.folder.join("admin-key")
    }

    /// The environment variables for programs that use this hub.
    pub(crate) fn environment(&self) -> Result<[(&'static str, String); 5]> {
        Ok([
            ("SWITCHBOARD_URL", self.url()),
            ("SWITCHBOARD_ADMIN_KEY", self.admin_key()?),
            ("SIMULATOR_URL", self.simulator_url()),
            ("AWS_ENDPOINT_URL", self.cloud_url()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ])
    }

    fn cloud(&self) -> Daemon {
        Daemon {
            what: "the local cloud",
            mark: "ministack_server.py",
            pid_file: self.folder.join("cloud.pid"),
            log: self.folder.join("logs/cloud.log"),
        }
    }

    fn simulator(&self) -> Daemon {
        Daemon {
            what: "the simulator",
            mark: "simulator",
            pid_file: self.folder.join("simulator.pid"),
            log: self.folder.join("logs/simulator.log"),
        }
    }

    /// Builds the binaries, starts the programs that do not run, and deploys the changes.
    ///
    /// Returns `None` if the hub was already running or is detached: this command must not stop it
    /// then.
    pub(crate) fn start(&self, how: Start) -> Result<Option<Running<'_>>> {
        let begun = Instant::now();
        self.cloud().settle()?;
        self.simulator().settle()?;
        let was_running = self.cloud().pid().is_some();
        if was_running && how.fresh {
            return Err(Error::step(
                "--fresh",
                "a hub is running. Stop it first with Ctrl-C or `cargo xtask down`",
            ));
        }
        if !was_running {
            self.check_ports()?;
        }
        if how.fresh {
            self.delete_data()?;
        }
        let python = python::environment(&local("requirements.txt"))?;
        if !self.built {
            self.build()?;
        }
        // If a later step fails, stop everything that this command started.
        let running = Running { hub: self };
        let started = self.start_all(&python, how, was_running);
        if let Err(error) = started {
            if !was_running {
                running.stop()?;
            }
            return Err(error);
        }
        println!("Ready after {:.1} s.", begun.elapsed().as_secs_f32());
        Ok((!was_running && !how.detach).then_some(running))
    }

    fn start_all(&self, python: &Path, how: Start, was_running: bool) -> Result<()> {
        if was_running {
            println!("The hub is already running.");
        } else {
            self.start_cloud(python, how)?;
        }
        self.deploy(python)?;
        self.start_simulator(python, how)?;
        self.write_environment()
    }

    fn check_ports(&self) -> Result<()> {
        for (port, what) in [
            (CLOUD_PORT, "the local cloud"),
            (FRONT_PORT, "the hub"),
            (SIMULATOR_PORT, "the simulated providers"),
        ] {
            let port = port + self.offset;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .map_err(|_| Error::PortInUse { port, what })?;
        }
        Ok(())
    }

    fn delete_data(&self) -> Result<()> {
        for name in
            ["state", "logs", "code", "admin-key", "api-id", "outputs.json", "env", "functions.env"]
        {
            workspace::remove(&self.folder.join(name))?;
        }
        Ok(())
    }

    fn build(&self) -> Result<()> {
        if self.release {
            build_functions()?;
            return build(&["--release", "--package", "simulator", "--bin", "simulator"]);
        }
        // Of the functions, only the binary with all of them: each would be linked.
        let bins = ["--bin", "bootstrap", "--bin", "simulator"];
        build(&[&["--package", "functions", "--package", "simulator"][..], &bins].concat())
    }

    fn binaries(&self) -> PathBuf {
        workspace::target().join(if self.release { "release" } else { "debug" })
    }

    fn start_cloud(&self, python: &Path, how: Start) -> Result<()> {
        let mut command = self.guarded(python, how);
        command
            .arg(python)
            .arg(local("ministack_server.py"))
            .args(["--port", &self.cloud_port().to_string()])
            .args(["--front-port", &(FRONT_PORT + self.offset).to_string()])
            .args(["--functions-endpoint", &self.functions_endpoint()])
            .arg("--folder")
            .arg(&self.folder);
        let cloud = self.cloud();
        cloud.start(&mut command, how.owner())?;
        let client = Client::new(self.cloud_url(), None);
        cloud.wait(30, || client.is_up("/_ministack/health"))
    }

    fn deploy(&self, python: &Path) -> Result<()> {
        self.make_admin_key()?;
        let done = process::output("deployment", &mut self.deployment(python, "deploy.py"))?;
        println!("Deployed: {done}.");
        Ok(())
    }

    /// Restores the data into new tables and a new bucket, and deploys a second stack with them,
    /// which the hub's URL then leads to. Returns what was compared.
    pub(crate) fn restore(&self) -> Result<String> {
        let python = python::environment(&local("requirements.txt"))?;
        process::output("restore", &mut self.deployment(&python, "restore_drill.py"))
    }

    /// A script that deploys a stack to the local cloud.
    fn deployment(&self, python: &Path, script: &str) -> Command {
        let mut command = Command::new(python);
        command
            .arg(local(script))
            .args(["--endpoint", &self.cloud_url()])
            .arg("--template")
            .arg(workspace::root().join("template.yaml"))
            .arg("--binary")
            .arg(self.binaries().join("bootstrap"))
            .arg("--folder")
            .arg(&self.folder)
            .args(["--parameter", "Stage=local"])
            .args(["--parameter", &format!("AdminKey=@{}", self.admin_key_file().display())])
            .args(["--parameter", &format!("PublicBaseUrl={}", self.url())])
            .args(self.parameters.iter().flat_map(|parameter| ["--parameter", parameter]));
        command
    }

    fn start_simulator(&self, python: &Path, how: Start) -> Result<()> {
        let simulator = self.simulator();
        let binary = self.binaries().join("simulator");
        if simulator.pid().is_some() {
            if !is_newer(&binary, &simulator.pid_file) {
                return Ok(());
            }
            println!("The simulator has changed. Restarting it.");
            simulator.stop()?;
        }
        let mut command = self.guarded(python, how);
        command
            .arg(&binary)
            .args(["--listen", &format!("127.0.0.1:{}", SIMULATOR_PORT + self.offset)]);
        simulator.start(&mut command, how.owner())?;
        let client = Client::new(self.simulator_url(), None);
        simulator.wait(10, || client.is_up("/_sim/health"))
    }

    /// A program in its own session that ends with this command, unless the hub is detached.
    fn guarded(&self, python: &Path, how: Start) -> Command {
        let mut command = Command::new(python);
        command.arg(local("guard.py")).current_dir(&self.folder);
        if let Some(owner) = how.owner() {
            command.args(["--parent", &owner.to_string()]);
        }
        command
    }

    fn make_admin_key(&self) -> Result<()> {
        let path = self.admin_key_file();
        if path.exists() {
            return Ok(());
        }
        let mut random = [0_u8; 24];
        let source = Path::new("/dev/urandom");
        File::open(source)
            .and_then(|mut file| file.read_exact(&mut random))
            .map_err(Error::file(source))?;
        let mut key = String::from("local-");
        for byte in random {
            write!(key, "{byte:02x}")
                .map_err(|error| Error::step("admin key", error.to_string()))?;
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(key.as_bytes()))
            .map_err(Error::file(&path))
    }

    fn environment_file(&self) -> PathBuf {
        self.folder.join("env")
    }

    fn write_environment(&self) -> Result<()> {
        let mut lines = String::new();
        for (name, value) in self.environment()? {
            writeln!(lines, "{name}={value}")
                .map_err(|error| Error::step("env", error.to_string()))?;
        }
        workspace::write(&self.environment_file(), &lines)?;
        self.write_functions_environment()
    }

    /// Writes the environment of a function that runs against this hub outside it, for `cargo
    /// lambda watch`. `QUEUE_URL`, a consumer's own queue, is a placeholder: a function invoked by
    /// hand received no SQS record.
    fn write_functions_environment(&self) -> Result<()> {
        let mut lines = format!(
            "AWS_ENDPOINT_URL={}\nAWS_REGION=us-east-1\nAWS_ACCESS_KEY_ID=test\n\
             AWS_SECRET_ACCESS_KEY=test\nSECRETS_PREFIX=switchboard/switchboard\nPUBLIC_BASE_URL={}\n",
            self.cloud_url(),
            self.url()
        );
        let named = [
            ("BUCKET_NAME", "BucketName"),
            ("CREDENTIALS_KEY_ARN", "CredentialsKeyArn"),
            ("ADMIN_KEY_SECRET_ARN", "AdminKeySecretArn"),
            ("INBOUND_QUEUE_URL", "InboundQueueUrl"),
            ("RECEIPTS_QUEUE_URL", "ReceiptsQueueUrl"),
            ("AUTOMATION_QUEUE_URL", "AutomationQueueUrl"),
            ("MEDIA_QUEUE_URL", "MediaQueueUrl"),
            ("EVENTS_QUEUE_URL", "EventsQueueUrl"),
            ("PARKED_QUEUE_URL", "ParkedQueueUrl"),
            ("REPLAY_QUEUE_URL", "ReplayQueueUrl"),
            ("OUTBOUND_QUEUE_PREFIX", "OutboundQueuePrefix"),
            ("QUEUE_URL", "InboundQueueUrl"),
            ("DEAD_LETTER_QUEUE_URL", "InboundDeadLettersUrl"),
        ];
        for (variable, output) in TABLES.into_iter().chain(named) {
            writeln!(lines, "{variable}={}", self.output(output)?)
                .map_err(|error| Error::step("functions.env", error.to_string()))?;
        }
        let outbound = self.output("OutboundQueuePrefix")?;
        let prefix = outbound.strip_suffix("outbound-").unwrap_or(&outbound);
        writeln!(lines, "QUEUE_PREFIX={prefix}")
            .map_err(|error| Error::step("functions.env", error.to_string()))?;
        workspace::write(&self.folder.join("functions.env"), &lines)
    }

    /// Returns the environment variables with the names of the deployed tables.
    pub(crate) fn tables(&self) -> Result<Vec<(&'static str, String)>> {
        TABLES.iter().map(|(variable, output)| Ok((*variable, self.output(output)?))).collect()
    }

    /// Returns an output of the deployed stack.
    pub(crate) fn output(&self, name: &str) -> Result<String> {
        let path = self.folder.join("outputs.json");
        let outputs = std::fs::read_to_string(&path).map_err(Error::file(&path))?;
        let outputs: serde_json::Value = serde_json::from_str(&outputs)
            .map_err(|error| Error::step("outputs.json", error.to_string()))?;
        let found = outputs.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        found.ok_or_else(|| Error::step("outputs.json", format!("the stack has no output {name}")))
    }

    /// Prints the hub's addresses and files.
    pub(crate) fn print_addresses(&self) {
        println!("  hub              {}", self.url());
        println!("  providers        {} (simulated)", self.simulator_url());
        println!("  AWS              {}", self.cloud_url());
        println!("  for your shell   set -a; . {}; set +a", self.environment_file().display());
        println!("  functions' log   {}", self.functions_log().display());
    }

    /// Whether the hub is running, no matter which command started it.
    pub(crate) fn is_running(&self) -> bool {
        self.cloud().pid().is_some() || self.simulator().pid().is_some()
    }

    /// Stops a detached hub and keeps its data.
    pub(crate) fn stop(&self) -> Result<()> {
        if !self.is_running() {
            return Err(Error::NotRunning(self.folder.clone()));
        }
        Running { hub: self }.stop()?;
        println!("Stopped. The data is kept in {}.", self.folder.display());
        Ok(())
    }
}

impl Running<'_> {
    /// Stops the hub and keeps its data.
    pub(crate) fn stop(self) -> Result<()> {
        self.hub.simulator().stop()?;
        self.hub.cloud().stop()
    }

    /// Prints the functions' errors and warnings until this command is interrupted.
    pub(crate) fn follow_log(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(self.watch());
        println!("Stopping ...");
        self.stop()?;
        ended
    }

    async fn watch(&self) -> Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut tail = Tail::new(&self.hub.functions_log());
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                _ = hangup.recv() => return Ok(()),
                () = tokio::time::sleep(Duration::from_millis(300)) => {}
            }
            for line in tail.problems() {
                println!("{line}");
            }
            for daemon in [self.hub.cloud(), self.hub.simulator()] {
                // `down` in another terminal deletes the pid file.
                if daemon.pid().is_none() {
                    return if daemon.pid_file.exists() {
                        Err(Error::Ended { what: daemon.what, log: daemon.log })
                    } else {
                        Ok(())
                    };
                }
            }
        }
    }
}

/// Builds the functions with the deployed profile, and no other package: in one build with the
/// simulator, feature unification would add the simulator's features to their libraries.
pub(crate) fn build_functions() -> Result<()> {
    build(&["--release", "--package", "functions", "--bin", "bootstrap"])
}

fn build(what: &[&str]) -> Result<()> {
    let mut command = Command::new(workspace::cargo());
    command.arg("build").args(what).current_dir(workspace::root());
    process::run("cargo build", &mut command)
}

fn local_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Path of a file in `infra/local`.
fn local(name: &str) -> PathBuf {
    workspace::root().join("infra/local").join(name)
}

fn is_newer(file: &Path, than: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
    changed(file) > changed(than)
}
