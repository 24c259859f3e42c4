//! The local cloud, over loopback. Environment variables give its address; `cargo xtask up` starts
//! it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::Write as _;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::cloud::Refusal;
use testkit::cloud::s3::Object;

use crate::endpoint::{Endpoint, Service};

/// The address of the local cloud.
static ADDRESS: LazyLock<String> = LazyLock::new(|| variable("AWS_ENDPOINT_URL"));
/// The region of the local cloud.
static REGION: LazyLock<String> = LazyLock::new(|| variable("AWS_REGION"));

static AGENT: LazyLock<ureq::Agent> = LazyLock::new(|| {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        // A proxy cannot reach the loopback interface of this machine.
        .proxy(None)
        .build()
        .into()
});

#[expect(
    clippy::disallowed_methods,
    reason = "a test is not a Lambda function and may read its environment"
)]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        let hint = "these tests need the local cloud; `cargo xtask up` starts it";
        let line = format!("error: {name} is not set: {hint}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        // Exit once, instead of failing in each test.
        std::process::exit(1)
    })
}

/// The local cloud.
pub(crate) struct Emulator;

impl Service {
    /// The service name in a signature, the prefix of an operation, and the version of the
    /// protocol.
    fn protocol(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Dynamo => ("dynamodb", "DynamoDB_20120810", "1.0"),
            Self::Sqs => ("sqs", "AmazonSQS", "1.0"),
            Self::Secrets => ("secretsmanager", "secretsmanager", "1.1"),
            Self::Kms => ("kms", "TrentService", "1.1"),
        }
    }
}

/// Sends one request. Returns its status, content type and body.
#[track_caller]
fn request(
    method: &str,
    path: &str,
    service: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String, Vec<u8>) {
    let url = format!("{}{path}", *ADDRESS);
    // The local cloud reads the access key id and does not verify the signature.
    let scope = format!("test/20260101/{}/{service}/aws4_request", *REGION);
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
    let mut request = ureq::http::Request::builder().method(method).uri(&url);
    request = request.header("authorization", authorization);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).unwrap();
    let mut response = AGENT.run(request).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    let bytes = response.body_mut().with_config().limit(64 << 20).read_to_vec().unwrap();
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    (response.status().as_u16(), kind.unwrap_or_default().to_owned(), bytes)
}

/// The text of an element in S3's XML.
fn element(xml: &str, name: &str) -> String {
    let after = xml.split_once(&format!("<{name}>")).map_or("", |(_, after)| after);
    after.split_once("</").map_or("", |(text, _)| text).to_owned()
}

/// The error in a response of S3.
fn refusal(status: u16, bytes: &[u8]) -> Refusal {
    let xml = String::from_utf8_lossy(bytes);
    Refusal { status, ..Refusal::new(&element(&xml, "Code"), element(&xml, "Message")) }
}

impl Endpoint for Emulator {
    fn call(&self, service: Service, operation: &str, body: &Value) -> Result<Value, Refusal> {
        let (name, prefix, version) = service.protocol();
        let target = format!("{prefix}.{operation}");
        let kind = format!("application/x-amz-json-{version}");
        let headers = [("x-amz-target", &*target), ("content-type", &*kind)];
        let (status, _, bytes) = request("POST", "/", name, &headers, body.to_string().as_bytes());
        let answer: Value = if bytes.is_empty() {
            json!({})
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                panic!("{operation}: {error}: {}", String::from_utf8_lossy(&bytes))
            })
        };
        if status < 300 {
            return Ok(answer);
        }
        let Value::Object(mut more) = answer else { panic!("{operation}: {status} {answer}") };
        let code = more.remove("__type").unwrap_or_default();
        let code = code.as_str().unwrap_or_default().rsplit('#').next().unwrap_or_default();
        let message = ["message", "Message"].iter().filter_map(|name| more.remove(*name)).last();
        let message = message.unwrap_or_default().as_str().unwrap_or_default().to_owned();
        Err(Refusal { status, code: code.to_owned(), message, more })
    }

    fn wait(&self, by: Duration) {
        thread::sleep(by);
    }

    fn fresh_name(&self) -> String {
        // The only source of randomness in the standard library.
        format!("case-{:016x}", RandomState::new().build_hasher().finish())
    }

    fn put_object(
        &self,
        bucket: &str,
        key: &str,
        content_type: &str,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let headers = [("content-type", content_type)];
        let (status, _, answer) =
            request("PUT", &format!("/{bucket}/{key}"), "s3", &headers, bytes);
        if status == 200 { Ok(()) } else { Err(refusal(status, &answer)) }
    }

    fn get_object(&self, bucket: &str, key: &str) -> Result<Object, Refusal> {
        let (status, content_type, bytes) =
            request("GET", &format!("/{bucket}/{key}"), "s3", &[], &[]);
        if status == 200 {
            Ok(Object { content_type, bytes })
        } else {
            Err(refusal(status, &bytes))
        }
    }

    fn fresh_bucket(&self) -> String {
        let name = self.fresh_name();
        let (status, _, answer) = request("PUT", &format!("/{name}"), "s3", &[], &[]);
        assert!(status == 200, "{}", String::from_utf8_lossy(&answer));
        name
    }
}
