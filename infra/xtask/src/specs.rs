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
use serde_json::{Map, Value, json};

use crate::{
    built::{self, Built},
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
const PATIENCE: Duration = Duration::from_mins(1);

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
pub(crate) fn run(options: &Options, built: Option<&Built>) -> Result<()> {
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
    let mut test = built::beside(built, "tests", "specs")?;
    let urls: Vec<String> =
        mocks.iter().map(|mock| format!("{}=http://127.0.0.1:{}", mock.name, mock.port)).collect();
    for mock in &mocks {
        mock.wait()?;
    }
    process::run("the tests specs", test.env("DESCRIBED_APIS", urls.join(" ")))
}

/// Makes sure that the pinned mock is there. Returns its program.
fn install() -> Result<PathBuf> {
    let source = workspace::root().join("tests/specs");
    let lock = workspace::read(&source.join("package-lock.json"))?;
    let folder = tools::pinned_folder("prism", &lock);
    tools::install_once(&folder, || {
        println!("Installing the mock into {} ...", folder.display());
        let package = workspace::read(&source.join("package.json"))?;
        workspace::write(&folder.join("package.json"), &package)?;
        workspace::write(&folder.join("package-lock.json"), &lock)?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]);
        process::run("npm ci", npm.current_dir(&folder))
    })?;
    Ok(folder.join("node_modules/.bin/prism"))
}

/// The description, with what `OpenAPI` says of lists in forms where nothing is said: each
/// value is a field of its own, and a plus is a space. The mock does not know that by itself.
///
/// <https://spec.openapis.org/oas/v3.0.3#encoding-object>
fn explicit(name: &str, description: &str) -> Result<String> {
    let mut description: Value = serde_json::from_str(description)
        .map_err(|error| Error::step(format!("the description of {name}"), error.to_string()))?;
    let paths = description.get_mut("paths").and_then(Value::as_object_mut);
    let operations = paths.into_iter().flat_map(Map::values_mut);
    for operation in operations.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        let form = "/requestBody/content/application~1x-www-form-urlencoded";
        let Some(Value::Object(form)) = operation.pointer_mut(form) else { continue };
        let properties = form.get("schema").and_then(|schema| schema.get("properties"));
        let lists = properties.and_then(Value::as_object).into_iter().flatten();
        let lists =
            lists.filter(|(_, property)| property.get("type").is_some_and(|kind| kind == "array"));
        let own = lists.map(|(name, _)| {
            (name.clone(), json!({"style": "form", "explode": true, "allowReserved": true}))
        });
        let own: Map<String, Value> = own.collect();
        form.entry("encoding").or_insert(Value::Object(own));
    }
    Ok(description.to_string())
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
        let folder = workspace::target().join("specs");
        let log = folder.join(format!("{name}.log"));
        let read = folder.join(format!("{name}.json"));
        workspace::write(&read, &explicit(name, &workspace::read(description)?)?)?;
        let output = fs::File::create(&log).map_err(Error::file(&log))?;
        let child = Command::new(prism)
            .args(["mock", "--errors", "--host", "127.0.0.1", "--port", &port.to_string()])
            .arg(read)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_a_form_is_said_to_be_one_and_what_is_said_already_stays() {
        let form = |encoding: Value| {
            let mut form = json!({"schema": {"properties": {
                "To": {"type": "string"}, "MediaUrl": {"type": "array"},
            }}});
            if let (Some(form), false) = (form.as_object_mut(), encoding.is_null()) {
                form.insert("encoding".to_owned(), encoding);
            }
            let content = json!({"application/x-www-form-urlencoded": form});
            json!({"paths": {"/a": {"post": {"requestBody": {"content": content}}, "x": 1}}})
        };
        let read = |description: &Value| -> Value {
            serde_json::from_str(&explicit("a", &description.to_string()).unwrap()).unwrap()
        };
        let explode = json!({"MediaUrl":
            {"style": "form", "explode": true, "allowReserved": true}});
        assert_eq!(read(&form(Value::Null)), form(explode));
        let said = form(json!({"MediaUrl": {"explode": false}}));
        assert_eq!(read(&said), said);
        assert!(explicit("a", "no JSON").is_err());
    }
}
