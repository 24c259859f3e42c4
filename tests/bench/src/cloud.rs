//! Fake AWS services, providers and automation on one loopback address.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

use crate::{
    error::Result,
    http::{Request, Response},
    model::Model,
    table::{Item, Table, Units},
};

/// Requests to the cloud, with their cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Meter {
    /// Requests by service and operation, such as `sqs.SendMessageBatch`.
    pub(crate) requests: BTreeMap<String, u64>,
    pub(crate) units: Units,
    /// Time spent in the table, in microseconds. Known for the model only.
    pub(crate) microseconds: f64,
}

impl Meter {
    /// Number of requests whose operation starts with `prefix`.
    pub(crate) fn of(&self, prefix: &str) -> u64 {
        let matching = self.requests.iter().filter(|(name, _)| name.starts_with(prefix));
        matching.map(|(_, count)| count).sum()
    }
}

#[derive(Default)]
struct State {
    seed: Table,
    table: Table,
    /// The table model, used instead of `table` if present.
    model: Option<Model>,
    secrets: BTreeMap<String, String>,
    meter: Meter,
    unknown: Vec<String>,
}

/// The fake cloud.
#[derive(Default)]
pub(crate) struct Cloud(Mutex<State>);

impl Cloud {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a cloud whose table is the model. Unlike [`Table`], it is not reset.
    pub(crate) fn over(model: Model) -> Self {
        Self(Mutex::new(State { model: Some(model), ..State::default() }))
    }

    /// Calls `what` with the model, if there is one.
    pub(crate) fn model<T>(&self, what: impl FnOnce(&mut Model) -> Result<T>) -> Option<Result<T>> {
        self.state().model.as_mut().map(what)
    }

    /// Adds an item to the initial state of the table.
    pub(crate) fn seed(&self, item: Item) -> Result<()> {
        let mut state = self.state();
        if let Some(model) = &mut state.model {
            return model.put(&item);
        }
        state.seed.seed(item.clone());
        state.table.seed(item);
        Ok(())
    }

    /// Stores a secret.
    pub(crate) fn secret(&self, name: String, text: String) {
        self.state().secrets.insert(name, text);
    }

    /// Resets the table to its initial state.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        state.table = state.seed.clone();
    }

    /// Takes the requests since the last call, and the unsupported ones among them.
    pub(crate) fn take(&self) -> (Meter, Vec<String>) {
        let mut state = self.state();
        (std::mem::take(&mut state.meter), std::mem::take(&mut state.unknown))
    }

    /// Processes a request.
    pub(crate) fn answer(&self, request: &Request) -> Response {
        let mut state = self.state();
        let target = request.header("x-amz-target").unwrap_or_default();
        let (service, operation) = target.split_once('.').unwrap_or(("", target));
        let body = || serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let (name, response) = match service {
            "AmazonSQS" => (format!("sqs.{operation}"), sqs(operation, &body())),
            "DynamoDB_20120810" => {
                let name = format!("dynamodb.{operation}");
                (name, state.table_request(operation, &body()))
            }
            "secretsmanager" => {
                let name = format!("secretsmanager.{operation}");
                (name, state.secret_value(&body()))
            }
            _ => other(request),
        };
        *state.meter.requests.entry(name.clone()).or_default() += 1;
        response.unwrap_or_else(|| {
            state.unknown.push(format!("{name} {} {}", request.method, request.path));
            Response::json(400, &json!({ "__type": "UnknownOperationException" }))
        })
    }
}

impl State {
    fn table_request(&mut self, operation: &str, body: &Value) -> Option<Response> {
        let (response, units) = if let Some(model) = &mut self.model {
            let reply = model.call(operation, body).ok()?;
            self.meter.microseconds += reply.microseconds;
            (Response { status: reply.status, ..amz_json(&reply.body) }, reply.units)
        } else {
            let (answer, units) = self.table.answer(operation, body)?;
            (amz_json(&answer), units)
        };
        self.meter.units.read += units.read;
        self.meter.units.write += units.write;
        Some(response)
    }

    fn secret_value(&self, request: &Value) -> Option<Response> {
        let id = request.get("SecretId")?.as_str()?;
        Some(match self.secrets.get(id) {
            Some(text) => amz_json(&json!({ "Name": id, "SecretString": text })),
            None => Response::json(400, &json!({ "__type": "ResourceNotFoundException" })),
        })
    }
}

fn amz_json(body: &Value) -> Response {
    let mut response = Response::json(200, body);
    response.headers = vec![
        ("content-type", "application/x-amz-json-1.0".to_owned()),
        ("x-amzn-requestid", "00000000-0000-4000-8000-000000000000".to_owned()),
    ];
    response
}

fn sqs(operation: &str, request: &Value) -> Option<Response> {
    let answer = match operation {
        "SendMessage" => json!({ "MessageId": "m", "MD5OfMessageBody": "" }),
        "SendMessageBatch" | "ChangeMessageVisibilityBatch" => {
            let entries = request.get("Entries")?.as_array()?.iter();
            let done = entries.map(
                |entry| json!({ "Id": entry.get("Id"), "MessageId": "m", "MD5OfMessageBody": "" }),
            );
            json!({ "Successful": done.collect::<Vec<_>>(), "Failed": [] })
        }
        "GetQueueAttributes" => json!({ "Attributes": {} }),
        _ => return None,
    };
    Some(amz_json(&answer))
}

/// Processes a request without an AWS target header: to S3, a provider or an automation.
fn other(request: &Request) -> (String, Option<Response>) {
    let path = request.path.split('?').next().unwrap_or_default();
    let known = match request.method.as_str() {
        "POST" if path.ends_with("/messages") => {
            let accepted = json!({ "messaging_product": "whatsapp",
                "contacts": [{ "input": "4915550009999", "wa_id": "4915550009999" }],
                "messages": [{ "id": "wamid.HBgNNDkxNTU1MDAwOTk5ORUCABEYEjA" }] });
            ("provider.send", Response::json(200, &accepted))
        }
        "POST" if path.starts_with("/bot") => {
            let accepted = json!({ "ok": true, "result": { "message_id": 77, "date": 1_795_176_000,
                "chat": { "id": 5_550_009_999_i64, "type": "private" } } });
            ("provider.send", Response::json(200, &accepted))
        }
        "POST" if path.ends_with("/Messages.json") => {
            let accepted = json!({ "sid": "SM0123456789abcdef0123456789abcdef", "status": "queued",
                "error_code": null });
            ("provider.send", Response::json(201, &accepted))
        }
        "POST" if path.starts_with("/whatsapp/1/message") => {
            let accepted = json!({ "to": "4915550009999", "messageCount": 1,
                "messageId": "2250be2d-4219-4af1-8856-3346cba1185d",
                "status": { "groupId": 1, "groupName": "PENDING", "id": 7,
                    "name": "PENDING_ENROUTE", "description": "Message sent to next instance" } });
            ("provider.send", Response::json(200, &accepted))
        }
        "POST" if path.starts_with("/message/send") => {
            let accepted = json!({ "status": "PENDING", "messageTimestamp": 1_795_176_000,
                "key": { "remoteJid": "4915550009999@s.whatsapp.net", "fromMe": true,
                    "id": "3EB0C767D26A1D8E8B" } });
            ("provider.send", Response::json(201, &accepted))
        }
        "POST" if path == "/automation" => ("automation.tell", Response::empty(200)),
        "PUT" => ("s3.PutObject", Response::empty(200)),
        "GET" if path.starts_with("/files/") => {
            let headers = vec![("content-type", "image/jpeg".to_owned())];
            ("provider.file", Response { status: 200, headers, body: vec![7; 64 * 1024] })
        }
        "GET" if path.starts_with("/v") => {
            let host = request.header("host").unwrap_or_default();
            let file = json!({ "url": format!("http://{host}/files/1"), "mime_type": "image/jpeg",
                "file_size": 65536, "id": "1", "messaging_product": "whatsapp" });
            ("provider.media", Response::json(200, &file))
        }
        _ => return ("unknown".to_owned(), None),
    };
    (known.0.to_owned(), Some(known.1))
}
