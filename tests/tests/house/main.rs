//! Repository rules: each folder, function of the template and route has its counterparts.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed test panics"
)]

mod generics;
mod keys;
mod layers;
mod links;
mod loops;
mod metrics;
mod provider;
mod requests;
mod rights;
mod sources;
mod stacks;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use domain::Provider;
use domain::failpoint::Failpoint;
use domain::webhook::WebhookProvider;
use operations::model::QueueName;
use serde_json::{Map, Value};
use templates::{QUEUE, ROOT, Route, Templates};

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn names_in(path: &str) -> BTreeSet<String> {
    let folder = fs::read_dir(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not text: {value}"))
}

/// The name in `${name}`, `!Ref name` or `!GetAtt name.x`.
fn referred(value: &Value) -> Option<&str> {
    let name = value.get("!Ref").or_else(|| value.get("!GetAtt")).or_else(|| value.get("!Sub"))?;
    let name = name.as_str()?;
    let name = name.strip_prefix("${").unwrap_or(name);
    name.split(['.', '}']).next()
}

/// The elements of a list, or a single value.
fn each(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    }
}

/// Permissions of a role on a resource.
struct Granted<'a> {
    role: String,
    actions: Vec<String>,
    resource: &'a Value,
    /// Null if the permissions have no condition.
    condition: &'a Value,
}

/// The resources of all stacks, as if they were one.
struct Template(Templates);

impl Template {
    fn read() -> Self {
        Self(Templates::read().unwrap_or_else(|error| panic!("{error}")))
    }

    fn of_type(&self, kind: &str) -> BTreeMap<&str, &Value> {
        self.0.of_type(kind).collect()
    }

    /// Returns the logical id and properties of each function, by the name of its binary.
    fn functions(&self) -> BTreeMap<String, (&str, &Value)> {
        let functions = self.0.functions();
        functions
            .map(|(name, properties)| {
                let full = text(&properties["FunctionName"]["!Sub"]);
                let binary = full.strip_prefix("${AWS::StackName}-").expect("the stack's name");
                (binary.to_owned(), (name, properties))
            })
            .collect()
    }

    /// Returns the queues with their parameters. Each has a dead-letter queue.
    fn queues(&self) -> BTreeMap<&str, &Value> {
        self.0.queues().collect()
    }

    /// Returns the managed policy of a role that has permissions on tables, if there is one.
    fn policy_for_tables(&self, role: &str) -> Option<String> {
        let managed = self.of_type("AWS::IAM::ManagedPolicy");
        let attached = self.of_type("AWS::IAM::Role")[role]["ManagedPolicyArns"].as_array()?.iter();
        let mut attached = attached.map(|policy| text(&policy["!Ref"]));
        let found = attached.find(|policy| {
            each(&managed[policy]["PolicyDocument"]["Statement"])
                .into_iter()
                .flat_map(|statement| each(&statement["Action"]))
                .any(|action| text(action).starts_with("dynamodb:"))
        });
        found.map(ToOwned::to_owned)
    }

    /// Returns all permissions. A role has those of its managed policies.
    fn permissions(&self) -> Vec<Granted<'_>> {
        let managed = self.of_type("AWS::IAM::ManagedPolicy");
        let mut permissions = Vec::new();
        for (name, role) in self.of_type("AWS::IAM::Role") {
            let own = role["Policies"].as_array().into_iter().flatten();
            let attached = role["ManagedPolicyArns"].as_array().into_iter().flatten();
            let attached = attached.map(|policy| managed[text(&policy["!Ref"])]);
            for policy in own.chain(attached) {
                for statement in each(&policy["PolicyDocument"]["Statement"]) {
                    assert_eq!(statement["Effect"], "Allow", "{name}");
                    let actions = each(&statement["Action"]).into_iter();
                    let actions: Vec<String> =
                        actions.map(|action| text(action).to_owned()).collect();
                    for resource in each(&statement["Resource"]) {
                        permissions.push(Granted {
                            role: name.to_owned(),
                            actions: actions.clone(),
                            resource,
                            condition: &statement["Condition"],
                        });
                    }
                }
            }
        }
        permissions
    }
}

/// Returns the folder of each function by the name of its binary.
fn function_folders() -> BTreeMap<String, String> {
    let mut folders = BTreeMap::new();
    for role in names_in("functions") {
        if !root().join("functions").join(&role).is_dir() {
            continue;
        }
        let kind = role.strip_suffix('s').unwrap_or(&role).to_owned();
        for name in names_in(&format!("functions/{role}")) {
            folders.insert(format!("{kind}-{name}"), format!("functions/{role}/{name}"));
        }
    }
    folders
}

/// Logical id of a function: `webhook-whatsapp` is `WebhookWhatsapp`.
fn logical_name(binary: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    };
    binary.split('-').map(capital).collect()
}

fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | ".aws-sam" | "__pycache__") {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|kind| {
                let kinds = ["rs", "toml", "yaml", "yml", "py", "md", "sh"];
                kinds.iter().any(|known| kind == *known)
            }) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found
}

/// Returns every webhook with the name of its function.
fn webhooks() -> impl Iterator<Item = (&'static dyn WebhookProvider, String)> {
    providers::webhooks().map(|webhook| (webhook, format!("webhook-{}", webhook.name())))
}

#[test]
fn every_example_has_a_unique_name() {
    for provider in Provider::ALL {
        let mut seen = BTreeSet::new();
        for example in providers::example::of(*provider).events {
            let known = providers::spec(*provider).webhooks.iter();
            let known: Vec<_> = known.map(|webhook| webhook.name()).collect();
            assert!(known.contains(&example.webhook), "{provider} has no {}", example.webhook);
            assert!(seen.insert(example.full_name()), "duplicate example {}", example.full_name());
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(example.name.chars().all(plain), "{provider}: {}", example.name);
        }
    }
}

#[test]
fn every_function_has_a_folder_a_template_resource_and_a_binary() {
    let template = Template::read();
    let (blocks, folders) = (template.functions(), function_folders());
    let mut wrong = Vec::new();
    let (manifest, bootstrap) = (read("functions/Cargo.toml"), read("functions/bootstrap.rs"));
    for (binary, folder) in &folders {
        let path = format!("{}/main.rs", folder.trim_start_matches("functions/"));
        let bin = format!("[[bin]]\nname = \"{binary}\"\npath = \"{path}\"\ntest = false\n");
        let line = format!("    \"{binary}\" => {} in \"{path}\";\n", binary.replace('-', "_"));
        for (file, text, part) in
            [("functions/Cargo.toml", &manifest, bin), ("functions/bootstrap.rs", &bootstrap, line)]
        {
            if !text.contains(&part) {
                wrong.push(format!("{file}: run `cargo xtask generate`, which adds\n{part}"));
            }
        }
        if !blocks.contains_key(binary) {
            wrong.push(format!("infra/stacks: {binary} has no block; see infra/README.md"));
        }
    }
    let listed = bootstrap.lines().filter(|line| line.contains("\" => ")).count();
    let binaries = manifest.matches("[[bin]]").count();
    // The deployed binary is no function.
    if listed > folders.len() || binaries > folders.len() + 1 {
        wrong.push("functions: run `cargo xtask generate`: a list has too many functions".into());
    }
    for (binary, (name, properties)) in blocks {
        if !folders.contains_key(&binary) {
            wrong.push(format!("functions: {binary} has a block in infra/stacks and no folder"));
        }
        let logical = logical_name(&binary);
        if name != logical {
            wrong.push(format!("infra/stacks: {name} is named {logical}"));
        }
        for (property, expected) in
            [("CodeUri", "../../target/lambda/bootstrap/"), ("Handler", binary.as_str())]
        {
            if properties[property] != expected {
                wrong.push(format!("infra/stacks: {name} needs\n      {property}: {expected}"));
            }
        }
        if referred(&properties["Role"]) != Some(format!("{name}Role").as_str()) {
            wrong.push(format!("infra/stacks: {name} needs\n      Role: !GetAtt {name}Role.Arn"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_readme_links_to_the_list_of_providers() {
    let link = "(shared/providers/README.md)";
    assert!(read("README.md").contains(link), "README.md has no link {link}");
}

#[test]
fn every_main_file_is_short() {
    for folder in function_folders().values() {
        assert_eq!(names_in(folder), BTreeSet::from(["main.rs".to_owned()]));
        let lines = read(&format!("{folder}/main.rs")).lines().count();
        assert!(lines <= 15, "{folder}/main.rs has {lines} lines; main must only wire");
    }
}

#[test]
fn every_function_has_example_events() {
    let wanted: BTreeSet<String> = function_folders()
        .into_keys()
        .map(|binary| binary.strip_prefix("webhook-").unwrap_or(&binary).to_owned())
        .collect();
    let existing = names_in("events");
    let is_empty =
        |name: &String| !existing.contains(name) || names_in(&format!("events/{name}")).is_empty();
    let empty: Vec<&String> = wanted.iter().filter(|name| is_empty(name)).collect();
    assert!(empty.is_empty(), "events/ has no example of {empty:?}: run `cargo xtask generate`");
    let others: Vec<&String> = existing.difference(&wanted).collect();
    assert!(others.is_empty(), "events/ has folders of no function: {others:?}");
}

/// Queues with a visibility timeout below AWS's advice, each with the reason why that is safe.
const SHORT_VISIBILITY: &[(&str, &str)] = &[(
    "AutomationQueue",
    "a lease in the table excludes a second consumer, and attempts are counted there",
)];

#[test]
fn a_notification_is_retried_within_forty_seconds_after_a_crash() {
    let template = Template::read();
    let queue = template.queues()["AutomationQueue"];
    let number = |name: &str| text(&queue[name]).parse::<u64>().unwrap();
    let (_, function) = &template.functions()["consumer-automation"];
    let timeout = function["Timeout"].as_u64().unwrap();
    let visibility = number("VisibilityTimeout");
    assert!(visibility <= 35, "{visibility} s, plus five for the queue and a cold start");
    assert!(visibility >= timeout + 5, "too short for a lease: {timeout} s, {visibility} s");
    // Each throttled invocation counts as a receive.
    assert!(number("MaxReceiveCount") * visibility >= 8 * 3600, "an outage dead-letters records");
}

#[test]
fn a_visibility_timeout_is_at_least_six_times_the_function_timeout() {
    let template = Template::read();
    let queues = template.queues();
    let mut read = BTreeSet::new();
    for (name, function) in template.of_type("AWS::Serverless::Function") {
        for event in function["Events"].as_object().into_iter().flat_map(Map::values) {
            if event["Type"] != "SQS" {
                continue;
            }
            let queue = referred(&event["Properties"]["Queue"]).expect("a queue");
            assert!(read.insert(queue.to_owned()), "{queue} is read by two functions");
            let visibility = text(&queues[queue]["VisibilityTimeout"]);
            let visibility: u64 = visibility.parse().unwrap();
            let timeout = function["Timeout"].as_u64().unwrap();
            let is_short = SHORT_VISIBILITY.iter().any(|(short, _)| *short == queue);
            let least = if is_short { timeout } else { 6 * timeout };
            assert!(visibility >= least, "{queue}: {visibility} s; {name} may run {timeout} s");
            // Records are retried individually, not as a batch.
            let partial = &event["Properties"]["FunctionResponseTypes"];
            assert_eq!(partial, &serde_json::json!(["ReportBatchItemFailures"]), "{name}");
        }
    }
    let all: BTreeSet<String> = queues.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(read, all, "each queue must be read by one function");
}

#[test]
fn every_queue_has_a_dead_letter_queue_and_alarms() {
    let template = Template::read();
    let resources = &template.0.stacks[QUEUE]["Resources"];
    let target = &resources["Queue"]["Properties"]["RedrivePolicy"]["deadLetterTargetArn"];
    assert_eq!(referred(target), Some("DeadLetters"));
    assert_eq!(
        referred(&resources["Queue"]["Properties"]["VisibilityTimeout"]),
        Some("VisibilityTimeout")
    );
    for (alarm, watched) in [("DeadLettersAlarm", "DeadLetters"), ("AgeAlarm", "Queue")] {
        let alarm = &resources[alarm]["Properties"];
        assert_eq!(referred(&alarm["Dimensions"][0]["Value"]), Some(watched));
        assert_eq!(referred(&alarm["AlarmActions"][0]), Some("AlarmTopic"));
    }
    for (name, parameters) in template.queues() {
        assert_eq!(referred(&parameters["AlarmTopic"]), Some("AlarmTopic"), "{name}");
        let suffix = text(&parameters["Name"]["!Sub"]).strip_prefix("${AWS::StackName}-");
        assert_eq!(logical_name(suffix.expect("the stack's name")) + "Queue", name);
    }
    let others = template.of_type("AWS::SQS::Queue");
    assert!(others.is_empty(), "not created by {QUEUE}: {:?}", others.keys());
}

#[test]
fn the_redrive_knows_every_queue_and_its_dead_letter_queue() {
    let template = Template::read();
    let deployed = template.queues().into_values().map(|parameters| {
        let name = text(&parameters["Name"]["!Sub"]);
        let name = name.strip_prefix("${AWS::StackName}-").expect("the stack's name");
        QueueName { name: name.to_owned(), fifo: parameters["Fifo"] == "true" }
    });
    let mut deployed: Vec<QueueName> = deployed.collect();
    deployed.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(QueueName::all(), deployed, "shared/features/operations/src/model.rs");
    // The names that queue.yaml makes of the queue's.
    let resources = &template.0.stacks[QUEUE]["Resources"];
    for (resource, of) in [
        ("Queue", QueueName::source as fn(&QueueName, &str) -> String),
        ("DeadLetters", QueueName::dead_letters),
    ] {
        let name = &resources[resource]["Properties"]["QueueName"]["!If"];
        for (fifo, made) in [(true, &name[1]), (false, &name[2])] {
            let made = made["!Sub"].as_str().unwrap_or("${Name}").replace("${Name}", "hub-x");
            assert_eq!(made, of(&QueueName { name: "x".to_owned(), fifo }, "hub-"));
        }
    }
}

#[test]
fn the_template_and_the_openapi_document_have_the_same_routes() {
    let template = Template::read();
    let mut deployed = BTreeSet::new();
    for (name, _) in template.0.functions() {
        for Route { method, path, is_open } in template.0.routes(name) {
            if let Some(path) = path.strip_prefix("/webhooks/") {
                assert!(is_open, "{name}: providers have no API key of the hub");
                let found = webhooks().find(|(_, binary)| logical_name(binary) == name);
                let (webhook, _) = found.unwrap_or_else(|| panic!("{name} is not a webhook"));
                let (path, own) = path.split_once("/{").unwrap_or((path, ""));
                let is_shared = providers::spec(webhook.provider()).shared_webhook_url;
                assert!(is_shared || !own.is_empty(), "{name}: a URL without an integration");
                let other = provider::OTHER_PATHS.contains(&(webhook.name(), path));
                assert!(path == webhook.path() || other, "{name}: {path}");
            } else {
                let duplicate = format!("duplicate route {method} {path}");
                assert!(
                    deployed.insert((method.to_ascii_lowercase(), path, is_open)),
                    "{duplicate}"
                );
            }
        }
    }
    let document = functions::openapi();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let open = operation.get("security") == Some(&serde_json::json!([]));
            described.insert((method.clone(), path.clone(), open));
        }
    }
    let missing: Vec<_> = described.difference(&deployed).collect();
    assert!(missing.is_empty(), "not in infra/stacks: {missing:?}");
    let undescribed: Vec<_> = deployed.difference(&described).collect();
    assert!(undescribed.is_empty(), "not in the OpenAPI document: {undescribed:?}");
}

#[test]
fn a_claim_check_body_outlives_every_retention_of_its_record() {
    let template = Template::read();
    let queue = &template.0.stacks[QUEUE];
    let retention_days = |name: &str| {
        let properties = &queue["Resources"][name]["Properties"];
        properties["MessageRetentionPeriod"].as_u64().expect("a time") / 86_400
    };
    // In the queue, in the dead-letter queue, and in the queue again after a redrive.
    let longest = retention_days("Queue") + retention_days("DeadLetters") + retention_days("Queue");
    let rules = &template.of_type("AWS::S3::Bucket")["Bucket"]["LifecycleConfiguration"]["Rules"];
    let rule = each(rules).into_iter().find(|rule| rule["Prefix"] == "bodies/").expect("a rule");
    let name = referred(&rule["ExpirationInDays"]).expect("a parameter");
    let parameter = &template.0.stacks[ROOT]["Parameters"][name];
    for value in ["MinValue", "Default"] {
        let days = parameter[value].as_u64().expect("days");
        assert!(days > longest, "{name}: {value} is {days} days; a record may live {longest}");
    }
}

#[test]
fn a_raw_body_is_kept_as_long_as_the_record_of_its_event() {
    let template = Template::read();
    let rules = &template.of_type("AWS::S3::Bucket")["Bucket"]["LifecycleConfiguration"]["Rules"];
    // A rule is absent if the data is kept for ever.
    let rules = each(rules).into_iter().map(|rule| rule.get("!If").map_or(rule, |rule| &rule[1]));
    let kept: BTreeMap<&str, &Value> = rules
        .filter_map(|rule| Some((rule["Prefix"].as_str()?, &rule["ExpirationInDays"])))
        .collect();
    let retention = "EventRetentionDays";
    assert_eq!(referred(kept["archive/"]), Some(retention));
    for name in ["ConsumerEvents", "ConsumerParked", "ConsumerReplay", "ApiEvents"] {
        let function = template.of_type("AWS::Serverless::Function")[name];
        let days = &function["Environment"]["Variables"]["EVENTS_RETENTION_DAYS"];
        assert_eq!(referred(days), Some(retention), "{name}");
    }
    let default = text(&template.0.stacks[ROOT]["Parameters"][retention]["Default"]);
    assert_eq!(default.parse(), Ok(events::model::EVENT_RETENTION));
}

/// Resources with a wildcard, each with its reason.
const WILDCARDS: &[(&str, &str)] = &[
    ("*", "X-Ray supports no narrower resource"),
    ("${Bucket.Arn}/bodies/*", "one object for each large body"),
    ("${Bucket.Arn}/archive/*", "one object for each batch of raw events, or large event"),
    ("${Bucket.Arn}/media/*", "one object for each file"),
    (OUTBOUND_QUEUES, "the API queues messages for every provider"),
    (DEAD_LETTERS[0], "dead letters of every standard queue are redriven"),
    (DEAD_LETTERS[1], "dead letters of every FIFO queue are redriven"),
];

/// Start of the ARN of every queue.
const QUEUES: &str =
    "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:${AWS::StackName}-";

/// Resource patterns of all dead-letter queues.
const DEAD_LETTERS: [&str; 2] = [
    "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:${AWS::StackName}-*-dead-letters",
    "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:${AWS::StackName}-*-dead-letters.fifo",
];

/// Resource pattern of the outbound queues of all providers.
const OUTBOUND_QUEUES: &str =
    "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:${AWS::StackName}-outbound-*";

/// Resource pattern of all tenants' secrets for a provider or for automations. Each tenant's secret
/// is created at run time, and its ARN ends in random characters.
fn secrets_of(what: &str) -> String {
    const SECRETS: &str = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:switchboard/${AWS::StackName}";
    format!("{SECRETS}/*/{what}*")
}

#[test]
fn no_permission_has_a_wildcard_without_a_reason() {
    let template = Template::read();
    let providers = Provider::ALL.iter().map(|provider| provider.as_str());
    let secrets: BTreeSet<String> = providers.chain(["automation"]).map(secrets_of).collect();
    let mut used = BTreeSet::new();
    for Granted { role, actions, resource, .. } in template.permissions() {
        for action in &actions {
            assert!(!action.contains('*'), "{role}: {action}");
            assert_ne!(action, "dynamodb:Scan", "{role}: scans are not allowed");
        }
        let name = match resource {
            Value::String(name) => Some(name.as_str()),
            tagged => tagged.get("!Sub").and_then(Value::as_str),
        };
        let Some(name) = name.filter(|name| name.contains('*')) else { continue };
        let known = WILDCARDS.iter().any(|(pattern, _)| *pattern == name);
        let secret = secrets.contains(name);
        assert!(known || secret, "{role}: {actions:?} on {name}: wildcard without a reason");
        if secret {
            let all = actions.iter().all(|action| action.starts_with("secretsmanager:"));
            assert!(all, "{role}: {actions:?} on {name}");
        }
        if name == "*" {
            assert!(actions.iter().all(|action| action.starts_with("xray:")), "{role}");
        }
        used.insert(name.to_owned());
    }
    for (pattern, reason) in WILDCARDS {
        assert!(used.contains(*pattern), "no role needs {pattern} any more: {reason}");
    }
    let unused: Vec<_> = secrets.difference(&used).collect();
    assert!(unused.is_empty(), "no role needs {unused:?}");
}

#[test]
fn a_webhook_may_only_read_its_providers_secrets_and_write_to_queues() {
    let template = Template::read();
    let permissions = template.permissions();
    for (webhook, binary) in webhooks() {
        let role = format!("{}Role", logical_name(&binary));
        let own = permissions.iter().filter(|granted| granted.role == role);
        let mut reads_secrets = false;
        for Granted { actions, resource, condition, .. } in own {
            for action in actions {
                match action.as_str() {
                    "secretsmanager:GetSecretValue" => {
                        let own = secrets_of(webhook.provider().as_str());
                        assert_eq!(resource["!Sub"], own.as_str(), "{role}");
                        reads_secrets = true;
                    }
                    "s3:PutObject" => {
                        assert_eq!(resource["!Sub"], "${Bucket.Arn}/bodies/*", "{role}");
                    }
                    "kms:Decrypt" => {
                        let own = webhook.provider().as_str();
                        let context = &condition["StringEquals"]["kms:EncryptionContext:provider"];
                        assert_eq!(*context, serde_json::json!([own]), "{role}");
                    }
                    "dynamodb:GetItem" | "sqs:SendMessage" => {}
                    other => {
                        let is_telemetry = other.starts_with("logs:") || other.starts_with("xray:");
                        assert!(is_telemetry, "{role} may {other}");
                    }
                }
            }
        }
        assert!(reads_secrets, "{role} cannot verify signatures without a secret");
    }
}

#[test]
fn every_role_belongs_to_one_function() {
    let template = Template::read();
    let roles: BTreeSet<String> =
        template.of_type("AWS::IAM::Role").keys().map(|name| (*name).to_owned()).collect();
    let functions: BTreeSet<String> =
        template.0.functions().map(|(name, _)| format!("{name}Role")).collect();
    assert_eq!(roles, functions);
}

#[test]
fn no_source_contains_reminders() {
    // Each word in two parts, so that this file does not match.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut found = Vec::new();
    for path in sources() {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_failpoint_is_used_in_the_product() {
    let code: String = sources()
        .iter()
        .filter(|path| path.starts_with(root().join("shared")))
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .filter(|path| !path.ends_with("domain/src/failpoint.rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for failpoint in Failpoint::ALL {
        let used = format!("failpoint::is_active(Failpoint::{failpoint:?})");
        assert!(code.contains(&used), "{failpoint} is not used: {used}");
    }
}

/// Manifest lines that may mention the feature `failpoints`: `domain` declares it, and only the
/// simulation can enable it.
const FAILPOINTS: [(&str, &str); 3] = [
    ("shared/domain/Cargo.toml", "failpoints = []"),
    ("tests/simulation/Cargo.toml", r#"failpoints = ["domain/failpoints"]"#),
    ("tests/simulation/simulate/Cargo.toml", r#"failpoints = ["simulation/failpoints"]"#),
];

#[test]
fn no_deployed_function_contains_a_failpoint() {
    let manifests = sources().into_iter().filter(|path| path.ends_with("Cargo.toml"));
    let mut found = BTreeSet::new();
    for manifest in manifests {
        let path = manifest.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        for line in fs::read_to_string(&manifest).unwrap().lines() {
            if line.contains("failpoints") {
                found.insert((path.clone(), line.to_owned()));
            }
        }
    }
    let allowed = FAILPOINTS.map(|(path, line)| (path.to_owned(), line.to_owned()));
    assert_eq!(found, BTreeSet::from(allowed));
    // The feature is off: no function depends on the simulation or is built with all features.
    assert!(!read("functions/Cargo.toml").contains("simulation"), "functions/Cargo.toml");
    for path in ["samconfig.toml", "README.md", "infra/README.md"] {
        let builds = read(path);
        let builds = builds.lines().filter(|line| line.contains("cargo lambda build"));
        let all: Vec<_> = builds.filter(|line| line.contains("features")).collect();
        assert!(all.is_empty(), "{path}: {all:?}");
    }
}
