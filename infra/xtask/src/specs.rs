//! The `specs` command: checks the senders' requests against the providers' official API
//! descriptions, by mock servers that reject every request the description does not allow.

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

/// Providers with an `OpenAPI` description, and the names of the files.
const DESCRIBED: [(&str, &str); 3] = [
    ("twilio", "twilio-api-v2010.json"),
    ("evolution", "evolution.json"),
    ("whatsapp", "meta-whatsapp.json"),
];

/// Time for a mock server to read its description and start.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Options of `cargo xtask specs`.
#[derive(Args)]
pub(crate) struct Options {
    /// Folder with the descriptions, which are not part of this repository.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl Options {
    /// The default folder, beside the checkout, if it exists.
    pub(crate) const fn default_folder() -> Self {
        Self { folder: None }
    }
}

/// Starts a mock server for each description and sends the senders' requests to it. Does nothing
/// if there are no descriptions.
pub(crate) fn run(options: &Options, built: Option<&Built>) -> Result<()> {
    let default_folder = workspace::root().join("../shared/contracts/specs");
    let folder = options.folder.clone().unwrap_or(default_folder);
    let existing = |file: &str| Some(folder.join(file)).filter(|path| path.is_file());
    let described: Vec<_> =
        DESCRIBED.iter().filter_map(|(name, file)| Some((*name, existing(file)?))).collect();
    if described.is_empty() {
        println!("Skipped: no descriptions in {}.", folder.display());
        return Ok(());
    }
    let prism = install()?;
    let mocks = described
        .iter()
        .map(|(name, description)| Mock::start(name, &prism, description))
        .collect::<Result<Vec<_>>>()?;
    let mut test = built::service_test(built, "tests", "specs")?;
    let urls: Vec<String> =
        mocks.iter().map(|mock| format!("{}=http://127.0.0.1:{}", mock.name, mock.port)).collect();
    for mock in &mocks {
        mock.wait()?;
    }
    process::run("tests specs", test.env("DESCRIBED_APIS", urls.join(" ")))
}

/// Installs the pinned mock server if needed. Returns the path of its program.
fn install() -> Result<PathBuf> {
    let source = workspace::root().join("tests/specs");
    let lock = workspace::read(&source.join("package-lock.json"))?;
    let folder = tools::pinned_folder("prism", &lock);
    tools::install_once(&folder, || {
        println!("Installing the mock server into {} ...", folder.display());
        let package = workspace::read(&source.join("package.json"))?;
        workspace::write(&folder.join("package.json"), &package)?;
        workspace::write(&folder.join("package-lock.json"), &lock)?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]);
        process::run("npm ci", npm.current_dir(&folder))
    })?;
    Ok(folder.join("node_modules/.bin/prism"))
}

/// Adds the `OpenAPI` defaults for lists in form bodies to a description: each value is a separate
/// field, and a plus is a space. The mock server does not apply these defaults.
///
/// <https://spec.openapis.org/oas/v3.0.3#encoding-object>
fn with_explicit_lists(name: &str, description: &str) -> Result<String> {
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
        let encodings = lists.map(|(name, _)| {
            (name.clone(), json!({"style": "form", "explode": true, "allowReserved": true}))
        });
        let encodings: Map<String, Value> = encodings.collect();
        form.entry("encoding").or_insert(Value::Object(encodings));
    }
    Ok(description.to_string())
}

/// A mock server on loopback. Dropping it stops the server.
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
        workspace::write(&read, &with_explicit_lists(name, &workspace::read(description)?)?)?;
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

    /// Waits until the server accepts connections.
    fn wait(&self) -> Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if begun.elapsed() > START_TIMEOUT {
                let seconds = START_TIMEOUT.as_secs();
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
            println!("The mock server of {} did not stop: {error}", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_a_form_gets_an_explicit_encoding_unless_it_has_one() {
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
            let read = with_explicit_lists("a", &description.to_string()).unwrap();
            serde_json::from_str(&read).unwrap()
        };
        let explode = json!({"MediaUrl":
            {"style": "form", "explode": true, "allowReserved": true}});
        assert_eq!(read(&form(Value::Null)), form(explode));
        let encoded = form(json!({"MediaUrl": {"explode": false}}));
        assert_eq!(read(&encoded), encoded);
        assert!(with_explicit_lists("a", "no JSON").is_err());
    }
}
