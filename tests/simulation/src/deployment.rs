//! The deployment, read from the templates: functions, queues, routes and their settings.

#![expect(clippy::indexing_slicing, reason = "indexing a JSON value returns null if absent")]

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use templates::{QUEUE, Templates};

/// Name of the bucket in the simulation.
pub const BUCKET: &str = "bucket";
/// Name of the KMS key in the simulation.
pub const CREDENTIALS_KEY: &str = "credentials-key";
/// Region and account of the simulated SQS.
const REGION: &str = "eu-central-1";
const ACCOUNT: &str = "000000000000";
/// Base URL of the hub for providers and API clients.
pub const HUB: &str = "https://hub.test";

/// The deployment.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Functions by the name of their binary.
    pub functions: BTreeMap<String, Function>,
    /// Queues by logical id.
    pub queues: BTreeMap<String, Queue>,
    /// Tables: their names in the simulation are their logical ids.
    pub tables: Vec<String>,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Name of its binary.
    pub name: String,
    /// Environment variables, with the resource names of the simulation.
    pub environment: BTreeMap<String, String>,
    /// Timeout in seconds.
    pub timeout_s: u64,
    /// Logical id of the queue it reads, and its batch size.
    pub reads: Option<(String, u64)>,
    /// Routes: method and path.
    pub routes: Vec<(String, String)>,
    /// Whether it may run in a recursive loop, which Lambda stops otherwise.
    pub may_recurse: bool,
}

/// A queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// URL.
    pub url: String,
    /// URL of its dead-letter queue, if any.
    pub dead_letters: Option<String>,
    /// Whether it is a FIFO queue.
    pub fifo: bool,
    /// Visibility timeout in seconds.
    pub visibility_s: i64,
    /// Receives until a record moves to the dead-letter queue.
    pub max_receives: u64,
}

impl Deployment {
    /// Reads the repository's templates.
    ///
    /// # Errors
    /// If the templates contain something that the simulation does not support.
    pub fn read() -> Result<Self, String> {
        let templates = Templates::read()?;
        let queue =
            &templates.stacks.get(QUEUE).ok_or("no stack has a queue")?["Resources"]["Queue"];
        let scope = &queue["Properties"]["DeduplicationScope"];
        if !scope.to_string().contains("messageGroup") {
            return Err(
                "the simulation requires FIFO queues that deduplicate per message group".to_owned()
            );
        }
        let mut queues = BTreeMap::new();
        for (name, parameters) in templates.queues() {
            let number = |key: &str| {
                let value = parameters[key].as_str().and_then(|text| text.parse::<u64>().ok());
                value.ok_or_else(|| format!("{name}: {key} is not a number"))
            };
            let fifo = parameters["Fifo"] == "true";
            let own = resolve(&parameters["Name"], &queues);
            let own = own.ok_or_else(|| format!("{name}: its name is not supported"))?;
            let url = |suffix: &str| {
                let end = if fifo { ".fifo" } else { "" };
                format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{own}{suffix}{end}")
            };
            let queue = Queue {
                url: url(""),
                dead_letters: Some(url("-dead-letters")),
                fifo,
                visibility_s: i64::try_from(number("VisibilityTimeout")?).unwrap_or(i64::MAX),
                max_receives: number("MaxReceiveCount")?,
            };
            queues.insert(name.to_owned(), queue);
        }
        let mut functions = BTreeMap::new();
        for (logical, properties) in templates.functions() {
            let routes = templates.routes(logical).into_iter();
            let routes = routes.map(|route| (route.method, route.path)).collect();
            let function = function(logical, properties, routes, &queues)?;
            functions.insert(function.name.clone(), function);
        }
        let tables = templates.tables().map(ToOwned::to_owned).collect();
        Ok(Self { functions, queues, tables })
    }

    /// Returns the function of a route, and the values of the path's parameters.
    #[must_use]
    pub fn route(&self, method: &str, path: &str) -> Option<(&Function, Vec<(String, String)>)> {
        self.functions.values().find_map(|function| {
            let matching = |(own, pattern): &(String, String)| {
                (own == method).then(|| parameters(pattern, path)).flatten()
            };
            function.routes.iter().find_map(matching).map(|parameters| (function, parameters))
        })
    }
}

/// Returns the values of the parameters of `pattern` in `path`, if it matches.
fn parameters(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut given = path.split('/');
    for wanted in pattern.split('/') {
        let given = given.next()?;
        match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => found.push((name.to_owned(), given.to_owned())),
            None if wanted == given => {}
            None => return None,
        }
    }
    given.next().is_none().then_some(found)
}

fn function(
    logical: &str,
    properties: &Value,
    routes: Vec<(String, String)>,
    queues: &BTreeMap<String, Queue>,
) -> Result<Function, String> {
    let full = properties["FunctionName"]["!Sub"].as_str().unwrap_or_default();
    let name = full.strip_prefix("${AWS::StackName}-");
    let name =
        name.ok_or_else(|| format!("{logical}: its name must start with the stack's name"))?;
    let mut environment = BTreeMap::new();
    let variables = properties["Environment"]["Variables"].as_object();
    for (variable, value) in variables.into_iter().flatten() {
        let value = resolve(value, queues);
        let value =
            value.ok_or_else(|| format!("{logical}: the value of {variable} is not supported"))?;
        environment.insert(variable.clone(), value);
    }
    let mut reads = None;
    for event in properties["Events"].as_object().into_iter().flat_map(Map::values) {
        if event["Type"] == "SQS" {
            let details = &event["Properties"];
            let queue = details["Queue"]["!GetAtt"].as_str().unwrap_or_default();
            let queue = queue.split('.').next().unwrap_or_default().to_owned();
            reads = Some((queue, details["BatchSize"].as_u64().unwrap_or(10)));
        }
    }
    let timeout_s = properties["Timeout"].as_u64();
    let timeout_s = timeout_s.ok_or_else(|| format!("{logical} has no timeout"))?;
    let may_recurse = properties["RecursiveLoop"] == "Allow";
    Ok(Function { name: name.to_owned(), environment, timeout_s, reads, routes, may_recurse })
}

/// Returns the value of a variable, with the resource names of the simulation.
fn resolve(value: &Value, queues: &BTreeMap<String, Queue>) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    if let Some(text) = value["!Sub"].as_str() {
        let known = [
            ("StackName", "simulation"),
            ("Region", REGION),
            ("AccountId", ACCOUNT),
            ("URLSuffix", "amazonaws.com"),
        ];
        let text = known.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("${{AWS::{name}}}"), value)
        });
        return Some(text);
    }
    if let Some(name) = value["!Ref"].as_str() {
        return match name {
            "Bucket" => Some(BUCKET.to_owned()),
            "PublicBaseUrl" => Some(HUB.to_owned()),
            // Without a base URL, simulated providers send statuses to the URL of the account. Each
            // run decides where credentials are.
            "CallbackBaseUrl" | "CredentialStore" => Some(String::new()),
            // The default of each feature.
            name if name.ends_with("RetentionDays") => Some(String::new()),
            name => Some(queues.get(name).map_or_else(|| name.to_owned(), |q| q.url.clone())),
        };
    }
    if let Some((name, what)) = value["!GetAtt"].as_str().and_then(|text| text.split_once('.')) {
        if name == "CredentialsKey" {
            return Some(CREDENTIALS_KEY.to_owned());
        }
        if what == "Outputs.Name" {
            return Some(name.to_owned());
        }
        let Some(queue) = queues.get(name) else {
            // Only the name of other resources is used.
            return Some(format!("{name}.{what}"));
        };
        return match what {
            "Outputs.Url" => Some(queue.url.clone()),
            "Outputs.DeadLettersUrl" => queue.dead_letters.clone(),
            _ => None,
        };
    }
    // A condition has the value for stages other than production.
    value["!If"].as_array().map(|_| String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_parsed() {
        let deployment = Deployment::read().unwrap();
        let inbound = &deployment.functions["consumer-inbound"];
        assert_eq!(inbound.reads, Some(("InboundQueue".to_owned(), 10)));
        assert_eq!(inbound.environment["MESSAGING_TABLE_NAME"], "MessagingTable");
        assert!(deployment.tables.contains(&"MessagingTable".to_owned()));
        assert!(inbound.environment["QUEUE_URL"].ends_with("/simulation-inbound.fifo"));
        let dead_letters = &inbound.environment["DEAD_LETTER_QUEUE_URL"];
        assert!(dead_letters.ends_with("/simulation-inbound-dead-letters.fifo"));
        let outbound = &deployment.queues["OutboundWhatsappQueue"];
        assert_eq!(outbound.max_receives, 1000);
        let prefix = &deployment.functions["api-messages"].environment["OUTBOUND_QUEUE_PREFIX"];
        assert_eq!(outbound.url, format!("{prefix}whatsapp.fifo"));
        let (function, parameters) =
            deployment.route("POST", "/webhooks/telegram/secret-of-it").unwrap();
        assert_eq!(function.name, "webhook-telegram");
        assert_eq!(parameters, [("secret".to_owned(), "secret-of-it".to_owned())]);
        assert!(deployment.route("POST", "/nowhere").is_none());
        assert!(deployment.functions["consumer-replay"].may_recurse);
        assert!(!inbound.may_recurse);
    }
}
