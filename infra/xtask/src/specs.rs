//! The providers' official descriptions of their APIs, as a mock that refuses what they do not
//! allow: what the senders send must pass.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use clap::Args;

use crate::{
    error::{Error, Result},
    process, tools, workspace,
};

/// The providers whose descriptions are `OpenAPI`, and the files these are in.
const DESCRIBED: [(&str, &str); 3] = [
    ("twilio", "twilio-api-v2010.json"),
    ("evolution", "evolution.json"),
    ("whatsapp", "meta-whatsapp.json"),
];

/// How long a mock may take to read its description.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the descriptions are.
#[derive(Args)]
pub(crate) struct Options {
    /// The folder with the descriptions, which are not part of this repository.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl Options {
    /// The folder beside the checkout, if it is there.
    pub(crate) const fn beside() -> Self {
        Self { folder: None }
    }
}

/// Starts a mock for each description, and has what the senders send pass them. Does nothing
/// where there are no descriptions.
pub(crate) fn run(options: &Options) -> Result<()> {
    let beside = workspace::root().join("../shared/contracts/specs");
    let folder = options.folder.clone().unwrap_or(beside);
    let there = |file: &str| Some(folder.join(file)).filter(|path| path.is_file());
    let described: Vec<_> =
        DESCRIBED.iter().filter_map(|(name, file)| Some((*name, there(file)?))).collect();
    if described.is_empty() {
        println!("Nothing to compare with: no descriptions in {}.", folder.display());
        return Ok(());
    }
    let prism = install()?;
    let mocks = described
        .iter()
        .map(|(name, description)| Mock::start(name, &prism, description))
        .collect::<Result<Vec<_>>>()?;
    let mut test = Command::new(workspace::cargo());
    test.args(["test", "--quiet", "--package", "tests", "--features", "specs", "--test", "specs"])
        .current_dir(workspace::root());
    let urls: Vec<String> =
        mocks.iter().map(|mock| format!("{}=http://127.0.0.1:{}", mock.name, mock.port)).collect();
    for mock in &mocks {
        mock.wait()?;
    }
    process::run("cargo test --test specs", test.env("DESCRIBED_APIS", urls.join(" ")))
}

/// Makes sure that the pinned mock is there. Returns its program.
fn install() -> Result<PathBuf> {
    let (source, folder) = (workspace::root().join("tests/specs"), tools::folder().join("specs"));
    let program = folder.join("node_modules/.bin/prism");
    let lock = "package-lock.json";
    let wanted = workspace::read(&source.join(lock))?;
    if program.exists() && workspace::read(&folder.join(lock)).is_ok_and(|found| found == wanted) {
        return Ok(program);
    }
    println!("Installing the mock into {} ...", folder.display());
    workspace::remove(&folder)?;
    workspace::write(
        &folder.join("package.json"),
        &workspace::read(&source.join("package.json"))?,
    )?;
    workspace::write(&folder.join(lock), &wanted)?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]);
    process::run("npm ci", npm.current_dir(&folder))?;
    Ok(program)
}

/// A mock on loopback. It ends when this is dropped.
struct Mock {
    name: &'static str,
    port: u16,
    child: Child,
    log: PathBuf,
}

impl Mock {
    fn start(name: &'static str, prism: &Path, description: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = tools::folder().join("specs").join(format!("{name}.log"));
        let output = fs::File::create(&log).map_err(Error::file(&log))?;
        let child = Command::new(prism)
            .args(["mock", "--errors", "--host", "127.0.0.1", "--port", &port.to_string()])
            .arg(description)
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()?;
        Ok(Self { name, port, child, log })
    }

    /// Waits until it answers.
    fn wait(&self) -> Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if begun.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                return Err(Error::Silent { what: self.name, seconds, log: self.log.clone() });
            }
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            println!("The mock of {} did not end: {error}", self.name);
        }
    }
}
