//! Direct access to the local cloud, bypassing the hub's API.

use std::collections::BTreeMap;
use std::fs;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::hub::{Answer, HUB, now, request};

/// All outputs of the stack.
fn outputs() -> Value {
    let path = HUB.folder.join("outputs.json");
    let text = fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// One output of the stack.
pub(crate) fn output(name: &str) -> String {
    outputs()[name].as_str().unwrap_or_else(|| panic!("no output {name}")).to_owned()
}

/// Authorization header. The local cloud reads the key id and does not check the signature.
fn authorization(service: &str) -> String {
    let scope = format!("test/20260101/{}/{service}/aws4_request", HUB.region);
    format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0")
}

/// Calls SQS.
fn sqs(operation: &str, request_body: &Value) -> Value {
    let headers = [
        ("authorization", &*authorization("sqs")),
        ("x-amz-target", &*format!("AmazonSQS.{operation}")),
        ("content-type", "application/x-amz-json-1.0"),
    ];
    request("POST", &HUB.cloud, &headers, Some(request_body.to_string().as_bytes())).expect(200)
}

/// Returns the URL of a queue's dead-letter queue.
pub(crate) fn dead_letters_of(queue_url: &str) -> String {
    let request_body = json!({"QueueUrl": queue_url, "AttributeNames": ["RedrivePolicy"]});
    let policy = sqs("GetQueueAttributes", &request_body)["Attributes"]["RedrivePolicy"].take();
    let policy: Value = serde_json::from_str(policy.as_str().unwrap()).unwrap();
    let arn = policy["deadLetterTargetArn"].as_str().unwrap();
    let name = arn.rsplit(':').next().unwrap();
    sqs("GetQueueUrl", &json!({"QueueName": name}))["QueueUrl"].as_str().unwrap().to_owned()
}

/// Sends a record to a FIFO queue.
pub(crate) fn put_record(queue_url: &str, group: &str, body: &str) {
    let id = format!("test-{:016x}", crate::hub::random());
    sqs(
        "SendMessage",
        &json!({"QueueUrl": queue_url, "MessageBody": body,
                "MessageGroupId": group, "MessageDeduplicationId": id}),
    );
}

/// Deletes the records of a queue that contain `text`, and returns their reasons.
pub(crate) fn take_reasons(queue_url: &str, text: &str) -> Vec<String> {
    let request_body = json!({"QueueUrl": queue_url, "MaxNumberOfMessages": 10,
                              "VisibilityTimeout": 1, "MessageAttributeNames": ["All"]});
    let answer = sqs("ReceiveMessage", &request_body);
    let mut reasons = Vec::new();
    for record in answer["Messages"].as_array().into_iter().flatten() {
        if record["Body"].as_str().unwrap().contains(text) {
            let reason = &record["MessageAttributes"]["reason"]["StringValue"];
            reasons.push(reason.as_str().unwrap_or_default().to_owned());
            let handle = &record["ReceiptHandle"];
            sqs("DeleteMessage", &json!({"QueueUrl": queue_url, "ReceiptHandle": handle}));
        }
    }
    reasons
}

/// Returns the process ids of this hub's functions, by the name of the function.
pub(crate) fn processes() -> BTreeMap<String, Vec<String>> {
    let cloud = format!("AWS_ENDPOINT_URL={}", HUB.cloud);
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        let environment = String::from_utf8_lossy(&environment);
        let mut variables = environment.split('\0');
        let name = variables.clone().find_map(|v| v.strip_prefix("AWS_LAMBDA_FUNCTION_NAME="));
        if let Some(name) = name.filter(|_| variables.any(|variable| variable == cloud)) {
            let process = entry.file_name().into_string().unwrap();
            found.entry(name.to_owned()).or_default().push(process);
        }
    }
    found
}

/// Returns the peak memory of a process in MB; `None` if it has ended.
pub(crate) fn peak_memory_mb(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

/// A copy of a deployed function with changed environment variables.
pub(crate) struct FunctionCopy {
    name: String,
}

fn lambda(method: &str, path: &str, body: Option<&Value>) -> Answer {
    let url = format!("{}/2015-03-31/functions{path}", HUB.cloud);
    let headers =
        [("authorization", &*authorization("lambda")), ("content-type", "application/json")];
    let body = body.map(Value::to_string);
    request(method, &url, &headers, body.as_ref().map(String::as_bytes))
}

impl FunctionCopy {
    /// Copies `switchboard-<binary>`.
    pub(crate) fn of(binary: &str, suffix: &str, variables: &[(&str, &str)]) -> Self {
        let original = lambda("GET", &format!("/switchboard-{binary}"), None).expect(200);
        let code = original["Code"]["Location"].as_str().unwrap();
        // The URL's host is `localhost`, which may resolve to IPv6, where nothing listens.
        let code = code.replacen("//localhost:", "//127.0.0.1:", 1);
        let code = request("GET", &code, &[], None);
        assert_eq!(code.status, 200, "{code}");
        let configuration = &original["Configuration"];
        let mut environment = configuration["Environment"].clone();
        for (name, value) in variables {
            assert!(environment["Variables"].get(*name).is_some(), "{binary} does not read {name}");
            environment["Variables"][*name] = (*value).into();
        }
        let name = format!("switchboard-{binary}-{suffix}");
        lambda(
            "POST",
            "",
            Some(&json!({
                "FunctionName": name,
                "Role": configuration["Role"],
                "Runtime": configuration["Runtime"],
                "Handler": configuration["Handler"],
                "Timeout": configuration["Timeout"],
                "Architectures": configuration["Architectures"],
                "Environment": environment,
                "Code": {"ZipFile": STANDARD.encode(&code.bytes)},
            })),
        )
        .expect(201);
        Self { name }
    }

    /// Invokes the function and returns its result.
    pub(crate) fn invoke(&self, event: &Value) -> Value {
        lambda("POST", &format!("/{}/invocations", self.name), Some(event)).expect(200)
    }
}

impl Drop for FunctionCopy {
    fn drop(&mut self) {
        lambda("DELETE", &format!("/{}", self.name), None);
    }
}

/// Returns the configuration of `switchboard-<binary>`.
pub(crate) fn configuration(binary: &str) -> Value {
    lambda("GET", &format!("/switchboard-{binary}"), None).expect(200)["Configuration"].take()
}

/// Temporary credentials of a function's role.
pub(crate) struct Session {
    key: String,
    secret: String,
    token: String,
}

impl Session {
    /// Assumes a role.
    pub(crate) fn of(role: &Value) -> Self {
        let headers = [
            ("authorization", &*authorization("sts")),
            ("x-amz-target", "AWSSecurityTokenServiceV20110615.AssumeRole"),
            ("content-type", "application/x-amz-json-1.1"),
        ];
        let body = json!({"RoleArn": role, "RoleSessionName": "test"}).to_string();
        let made = request("POST", &HUB.cloud, &headers, Some(body.as_bytes())).expect(200);
        let part = |name: &str| made["Credentials"][name].as_str().unwrap().to_owned();
        Self {
            key: part("AccessKeyId"),
            secret: part("SecretAccessKey"),
            token: part("SessionToken"),
        }
    }

    /// Calls DynamoDB. The local cloud checks the signature of temporary credentials.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    pub(crate) fn dynamodb(&self, operation: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let at = jiff::Timestamp::from_second(now().try_into().unwrap()).unwrap();
        let at = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = at.split('T').next().unwrap();
        let target = format!("DynamoDB_20120810.{operation}");
        let kind = "application/x-amz-json-1.0";
        let (_, host) = HUB.cloud.split_once("://").unwrap();
        let names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target";
        let canonical = format!(
            "POST\n/\n\ncontent-type:{kind}\nhost:{host}\nx-amz-date:{at}\n\
             x-amz-security-token:{}\nx-amz-target:{target}\n\n{names}\n{}",
            self.token,
            hash(&body)
        );
        let scope = [day, HUB.region.as_str(), "dynamodb", "aws4_request"];
        let first = format!("AWS4{}", self.secret).into_bytes();
        let key = scope.iter().fold(first, |key, part| mac(&key, part));
        let scope = scope.join("/");
        let signed = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hash(&canonical));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.key,
            hex::encode(mac(&key, &signed))
        );
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", kind),
            ("x-amz-date", &at),
            ("x-amz-security-token", &self.token),
            ("x-amz-target", &target),
        ];
        request("POST", &HUB.cloud, &headers, Some(body.as_bytes()))
    }
}

fn hash(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}
