//! HTTP client for the running hub.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Addresses and credentials of the hub.
pub(crate) struct Hub {
    /// Base URL of the hub.
    pub(crate) url: String,
    /// The platform's admin key.
    pub(crate) admin_key: String,
    /// Base URL of the provider simulator.
    pub(crate) simulator: String,
    /// Endpoint of the local cloud.
    pub(crate) cloud: String,
    /// AWS region.
    pub(crate) region: String,
    /// Folder with the hub's files.
    pub(crate) folder: PathBuf,
}

/// The hub named by the environment variables.
pub(crate) static HUB: LazyLock<Hub> = LazyLock::new(|| Hub {
    url: variable("SWITCHBOARD_URL"),
    admin_key: variable("SWITCHBOARD_ADMIN_KEY"),
    simulator: variable("SIMULATOR_URL"),
    cloud: variable("AWS_ENDPOINT_URL"),
    region: variable("AWS_REGION"),
    folder: variable("SWITCHBOARD_FOLDER").into(),
});

impl Hub {
    /// Returns the log of all functions. Each line begins with the function's name in brackets.
    pub(crate) fn functions_log(&self) -> Result<String, String> {
        let path = self.folder.join("logs/functions.log");
        let text = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Returns an environment variable; `None` if it is not set.
#[expect(clippy::disallowed_methods, reason = "a test, not a function: it has an environment")]
pub(crate) fn optional(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn variable(name: &str) -> String {
    optional(name).unwrap_or_else(|| {
        let hint = "these tests need a running hub; `cargo xtask test` starts one";
        let line = format!("error: {name} is not set: {hint}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        // Exits once, instead of failing every test.
        std::process::exit(1)
    })
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers, with lower-case names.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body.
    pub(crate) bytes: Vec<u8>,
    /// The request, for failure messages.
    request: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.bytes);
        let body: String = body.chars().take(2000).collect();
        write!(f, "{}: {} {body}", self.request, self.status)
    }
}

impl Answer {
    /// The body as JSON, or as a JSON string if it is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&self.bytes).into_owned().into())
    }

    /// The body. Panics if the status is not `status`.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert!(self.status == status, "expected {status}\n{self}");
        self.json()
    }

    /// The problem. Panics if its status or code differs.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        let kind = self.headers.get("content-type").map(String::as_str);
        assert!(kind == Some("application/problem+json"), "{kind:?}\n{self}");
        let shown = self.to_string();
        let problem = self.expect(status);
        assert!(problem["code"] == code, "expected the code {code}\n{shown}");
        assert_eq!(problem["status"], status, "{shown}");
        problem
    }
}

static AGENT: LazyLock<ureq::Agent> = LazyLock::new(|| {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(Duration::from_mins(1)))
        // A configured HTTP proxy cannot reach this machine's loopback.
        .proxy(None)
        .build()
        .into()
});

/// Sends a request.
#[track_caller]
pub(crate) fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Answer {
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.unwrap_or_default()).unwrap();
    let name = format!("{method} {url}");
    let mut response = AGENT.run(request).unwrap_or_else(|error| panic!("{name}: {error}"));
    let bytes = response.body_mut().with_config().limit(64 << 20).read_to_vec();
    let headers = response.headers().iter();
    Answer {
        status: response.status().as_u16(),
        headers: headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").to_owned()))
            .collect(),
        bytes: bytes.unwrap_or_else(|error| panic!("{name}: {error}")),
        request: name,
    }
}

/// A client of the hub's API or of the simulator's control API.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    base: String,
    key: Option<String>,
}

impl Client {
    /// A client with the platform's admin key.
    pub(crate) fn admin() -> Self {
        Self::with_key(&HUB.admin_key)
    }

    /// A client with this key.
    pub(crate) fn with_key(key: &str) -> Self {
        Self { base: HUB.url.clone(), key: Some(key.to_owned()) }
    }

    /// A client without a key.
    pub(crate) fn without_key() -> Self {
        Self { base: HUB.url.clone(), key: None }
    }

    /// A client of the simulator's control API.
    pub(crate) fn simulator() -> Self {
        Self { base: HUB.simulator.clone(), key: None }
    }

    #[track_caller]
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let bearer = self.key.as_ref().map(|key| format!("Bearer {key}"));
        let mut headers = more.to_vec();
        if let Some(bearer) = &bearer {
            headers.push(("authorization", bearer));
        }
        let body = body.map(Value::to_string);
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        let body = body.as_ref().map(String::as_bytes);
        request(method, &format!("{}{path}", self.base), &headers, body)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], Some(body))
    }

    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[], Some(body))
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None)
    }
}

/// Polls until `poll` succeeds. Panics with its last error after the timeout.
#[track_caller]
pub(crate) fn eventually<T>(
    what: &str,
    timeout: Duration,
    mut poll: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        match poll() {
            Ok(found) => return found,
            Err(last) if Instant::now() > deadline => {
                panic!("not within {} s: {what}\nlast: {last}", timeout.as_secs())
            }
            Err(_) => std::thread::sleep(Duration::from_millis(250)),
        }
    }
}

/// Enough time for a message while all other tests run.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);

/// Seconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "signed webhooks need the hub's real clock")]
pub(crate) fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// A random number.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

/// A number of `count` random digits, at most 17, without a leading zero.
pub(crate) fn digits(count: usize) -> String {
    let all = format!("1{:020}", random());
    let (first, rest) = all.split_at(1);
    format!("{first}{}", &rest[rest.len() - (count - 1)..])
}

/// Runs `work` for each of `0..count` in parallel.
pub(crate) fn run_concurrently<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Returns the log lines of all functions, each with the name of its function.
pub(crate) fn log_lines() -> Vec<(String, Value)> {
    let log = std::fs::read(HUB.folder.join("logs/functions.log")).unwrap();
    let log = String::from_utf8_lossy(&log);
    let lines = log.lines().filter_map(|line| {
        let (function, line) = line.strip_prefix("[switchboard-")?.split_once("] ")?;
        Some((function.to_owned(), serde_json::from_str(line).ok()?))
    });
    lines.collect()
}
