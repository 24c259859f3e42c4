//! The local cloud itself, where a test must reach behind the front door.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::hub::{HUB, request};

/// The stack's outputs.
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

/// Who asks. The local cloud reads whose key it is, and does not check the signature.
fn authorization(service: &str) -> String {
    let scope = format!("test/20260101/{}/{service}/aws4_request", HUB.region);
    format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0")
}

/// Asks SQS.
fn sqs(operation: &str, asked: &Value) -> Value {
    let headers = [
        ("authorization", &*authorization("sqs")),
        ("x-amz-target", &*format!("AmazonSQS.{operation}")),
        ("content-type", "application/x-amz-json-1.0"),
    ];
    request("POST", &HUB.cloud, &headers, Some(asked.to_string().as_bytes())).expect(200)
}

/// The dead-letter queue of a queue.
pub(crate) fn dead_letters_of(queue_url: &str) -> String {
    let asked = json!({"QueueUrl": queue_url, "AttributeNames": ["RedrivePolicy"]});
    let policy = sqs("GetQueueAttributes", &asked)["Attributes"]["RedrivePolicy"].take();
    let policy: Value = serde_json::from_str(policy.as_str().unwrap()).unwrap();
    let arn = policy["deadLetterTargetArn"].as_str().unwrap();
    let name = arn.rsplit(':').next().unwrap();
    sqs("GetQueueUrl", &json!({"QueueName": name}))["QueueUrl"].as_str().unwrap().to_owned()
}

/// Puts a record into a FIFO queue.
pub(crate) fn put_record(queue_url: &str, group: &str, body: &str) {
    let id = format!("test-{:016x}", crate::hub::random());
    sqs(
        "SendMessage",
        &json!({"QueueUrl": queue_url, "MessageBody": body,
                "MessageGroupId": group, "MessageDeduplicationId": id}),
    );
}

/// Takes the records out of a queue that hold `text`; gives their reasons.
pub(crate) fn take_reasons(queue_url: &str, text: &str) -> Vec<String> {
    let asked = json!({"QueueUrl": queue_url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 1,
                       "MessageAttributeNames": ["All"]});
    let answer = sqs("ReceiveMessage", &asked);
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

/// A copy of a deployed function, with other variables in its environment.
pub(crate) struct Twin {
    name: String,
}

fn lambda(method: &str, path: &str, body: Option<&Value>) -> crate::hub::Answer {
    let url = format!("{}/2015-03-31/functions{path}", HUB.cloud);
    let headers =
        [("authorization", &*authorization("lambda")), ("content-type", "application/json")];
    let body = body.map(Value::to_string);
    request(method, &url, &headers, body.as_ref().map(String::as_bytes))
}

impl Twin {
    /// Makes one of `switchboard-<binary>`.
    pub(crate) fn of(binary: &str, suffix: &str, variables: &[(&str, &str)]) -> Self {
        let original = lambda("GET", &format!("/switchboard-{binary}"), None).expect(200);
        let code = original["Code"]["Location"].as_str().unwrap();
        // It is named `localhost`, where nothing listens on every machine's IPv6.
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

    /// Invokes it and gives what it returned.
    pub(crate) fn invoke(&self, event: &Value) -> Value {
        lambda("POST", &format!("/{}/invocations", self.name), Some(event)).expect(200)
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        lambda("DELETE", &format!("/{}", self.name), None);
    }
}
