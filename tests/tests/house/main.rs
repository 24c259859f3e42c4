//! Repository rules: each folder, function of the template and route has its counterparts.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed test panics"
)]

mod loops;
mod rights;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use domain::Provider;
use domain::failpoint::Failpoint;
use domain::webhook::WebhookProvider;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

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

/// Parses a template to JSON. `!Ref X` becomes `{"!Ref": "X"}`.
fn yaml(path: &str) -> Value {
    let text = read(path);
    let documents = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    json(documents.first().expect("a document"))
}

fn json(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(Scalar::String(text)) => text.as_ref().into(),
        Yaml::Value(Scalar::Integer(number)) => (*number).into(),
        Yaml::Value(Scalar::FloatingPoint(number)) => number.into_inner().into(),
        Yaml::Value(Scalar::Boolean(flag)) => (*flag).into(),
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Sequence(items) => items.iter().map(json).collect(),
        Yaml::Mapping(fields) => {
            let fields =
                fields.iter().map(|(name, value)| (text(&json(name)).to_owned(), json(value)));
            fields.collect::<Map<_, _>>().into()
        }
        Yaml::Tagged(tag, inner) => {
            Map::from_iter([(format!("!{}", tag.suffix), json(inner))]).into()
        }
        other => panic!("unsupported YAML: {other:?}"),
    }
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

struct Template {
    resources: Map<String, Value>,
}

impl Template {
    fn read() -> Self {
        match yaml("template.yaml")["Resources"].take() {
            Value::Object(resources) => Self { resources },
            other => panic!("no resources: {other}"),
        }
    }

    fn of_type(&self, kind: &str) -> BTreeMap<&str, &Value> {
        let matching = self.resources.iter().filter(|(_, resource)| resource["Type"] == kind);
        matching.map(|(name, resource)| (name.as_str(), &resource["Properties"])).collect()
    }

    /// Returns the logical id and properties of each function, by the name of its binary.
    fn functions(&self) -> BTreeMap<String, (&str, &Value)> {
        let functions = self.of_type("AWS::Serverless::Function").into_iter();
        functions
            .map(|(name, properties)| {
                let full = text(&properties["FunctionName"]["!Sub"]);
                let binary = full.strip_prefix("${AWS::StackName}-").expect("the stack's name");
                (binary.to_owned(), (name, properties))
            })
            .collect()
    }

    /// Returns the queues from `infra/queue.yaml`, which have a dead-letter queue.
    fn queues(&self) -> BTreeMap<&str, &Value> {
        let stacks = self.of_type("AWS::CloudFormation::Stack").into_iter();
        stacks.filter(|(_, stack)| stack["TemplateURL"] == "infra/queue.yaml").collect()
    }

    /// Returns all permissions: the role, its actions and the resource.
    fn permissions(&self) -> Vec<(String, Vec<String>, &Value)> {
        let mut permissions = Vec::new();
        let roles = self.of_type("AWS::IAM::Role").into_iter();
        let policies = roles
            .flat_map(|(name, role)| {
                let policies = role["Policies"].as_array().into_iter().flatten();
                policies.map(move |policy| (name, &policy["PolicyDocument"]))
            })
            .chain(
                self.of_type("AWS::IAM::ManagedPolicy")
                    .into_iter()
                    .map(|(name, policy)| (name, &policy["PolicyDocument"])),
            );
        for (name, policy) in policies {
            for statement in each(&policy["Statement"]) {
                assert_eq!(statement["Effect"], "Allow", "{name}");
                let actions: Vec<String> =
                    each(&statement["Action"]).into_iter().map(|a| text(a).to_owned()).collect();
                for resource in each(&statement["Resource"]) {
                    permissions.push((name.to_owned(), actions.clone(), resource));
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

/// Additional paths of webhooks: former paths, or paths that users expect.
const OTHER_PATHS: &[(&str, &str)] = &[("sendgrid", "email")];

/// Returns the routes of a function as method and path.
fn routes(function: &Value) -> BTreeSet<(String, String)> {
    let events = function["Events"].as_object().into_iter().flat_map(Map::values);
    let routes = events.filter(|event| event["Type"] == "HttpApi").map(|event| {
        let properties = &event["Properties"];
        (text(&properties["Method"]).to_owned(), text(&properties["Path"]).to_owned())
    });
    routes.collect()
}

fn exists(path: &str) {
    assert!(root().join(path).exists(), "{path} is missing");
}

#[test]
fn every_provider_is_complete() {
    let template = Template::read();
    let (functions, queues) = (template.functions(), template.queues());
    for provider in Provider::ALL {
        let folder = format!("shared/providers/src/{provider}");
        for file in ["README.md", "mod.rs", "webhook.rs", "example.rs"] {
            exists(&format!("{folder}/{file}"));
        }
        let examples = providers::example::of(*provider);
        assert!(examples.events.len() >= 3, "{folder}/example.rs has too few events");
        let readme = read(&format!("{folder}/README.md"));
        for credential in providers::spec(*provider).credentials {
            assert!(readme.contains(credential), "{folder}/README.md does not name {credential}");
        }
        for webhook in providers::spec(*provider).webhooks {
            let path = format!("/webhooks/{}", webhook.path());
            assert!(readme.contains(&path), "{folder}/README.md does not name {path}");
        }

        let sends = !provider.channels().is_empty();
        let queue = logical_name(&format!("outbound-{}-queue", provider.resource_name()));
        assert_eq!(queues.contains_key(queue.as_str()), sends, "{queue} in template.yaml");
        let sender = format!("sender-{}", provider.resource_name());
        assert_eq!(functions.contains_key(&sender), sends, "{sender} in template.yaml");
        if sends {
            exists(&format!("{folder}/sender.rs"));
            exists(&format!("functions/senders/{}/Cargo.toml", provider.resource_name()));
        }
    }
}

#[test]
fn every_webhook_is_complete() {
    let template = Template::read();
    let functions = template.functions();
    for (webhook, binary) in webhooks() {
        let (provider, name) = (webhook.provider(), webhook.name());
        exists(&format!("functions/webhooks/{name}/Cargo.toml"));
        exists(&format!("functions/webhooks/{name}/src/main.rs"));
        let Some((_, function)) = functions.get(&binary) else {
            panic!("{binary} has no block in template.yaml")
        };
        let routes = routes(function);

        let entry = providers::spec(provider);
        let examples = providers::example::of(provider).events.iter();
        let examples: Vec<_> = examples.filter(|example| example.webhook == name).collect();
        assert!(examples.len() >= 3, "the webhook {name} has {} examples", examples.len());
        let seed = providers::example::Seed::fixed(name);
        let methods: BTreeSet<String> =
            examples.iter().map(|example| (example.draft)(&seed).method.to_string()).collect();
        let parameter = if entry.path_secret.is_some() { "secret" } else { "integration" };
        let others = OTHER_PATHS.iter().filter(|(known, _)| *known == name).map(|(_, path)| *path);
        for path in others.chain([webhook.path()]) {
            let (plain, own) =
                (format!("/webhooks/{path}"), format!("/webhooks/{path}/{{{parameter}}}"));
            for method in &methods {
                let has = |path: &str| routes.contains(&(method.clone(), path.to_owned()));
                assert_eq!(has(&plain), entry.one_address, "{binary}: {method} {plain}");
                assert!(has(&own), "{binary}: {method} {own}");
            }
        }
        for example in examples {
            exists(&format!("events/{name}/{}.json", example.name));
        }

        let names = function["Environment"]["Variables"].as_object().expect("variables");
        for variable in ["TABLE_NAME", "BUCKET_NAME", "EVENTS_QUEUE_URL", "PARKED_QUEUE_URL"] {
            assert!(names.contains_key(variable), "{binary} has no variable {variable}");
        }
        for queue in ["INBOUND_QUEUE_URL", "RECEIPTS_QUEUE_URL"] {
            assert_eq!(
                names.contains_key(queue),
                !provider.channels().is_empty(),
                "{binary}: {queue}"
            );
        }
    }
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
fn every_provider_folder_belongs_to_a_provider() {
    let known: BTreeSet<String> = Provider::ALL.iter().map(ToString::to_string).collect();
    let senders: BTreeSet<String> =
        Provider::senders().map(|one| one.resource_name().to_owned()).collect();
    let webhooks = providers::webhooks().map(|webhook| webhook.name().to_owned());
    // Called by tenants' own programs, so it belongs to no provider.
    let webhooks: BTreeSet<String> = webhooks.chain(["inbound".to_owned()]).collect();
    assert_eq!(names_in("functions/webhooks"), webhooks, "functions/webhooks");
    assert_eq!(names_in("functions/senders"), senders, "functions/senders");
    let folders = names_in("shared/providers/src");
    let folders: BTreeSet<String> =
        folders.into_iter().filter(|name| !name.contains('.')).collect();
    assert_eq!(folders, known, "shared/providers/src");
}

#[test]
fn the_readme_names_every_credential_and_every_webhook() {
    let index = "shared/providers/README.md";
    assert!(
        read("README.md").contains(&format!("({index})")),
        "README.md does not link to {index}"
    );
    let readme = read(index);
    for provider in Provider::ALL {
        let page = format!("(src/{provider}/README.md)");
        assert!(readme.contains(&page), "{index} does not link to {page}");
        for credential in providers::spec(*provider).credentials {
            assert!(readme.contains(&format!("`{credential}`")), "{index}: {credential}");
        }
        for webhook in providers::spec(*provider).webhooks {
            let path = format!("/webhooks/{}", webhook.path());
            assert!(readme.contains(&path), "{index} does not name {path}");
        }
    }
}

#[test]
fn every_function_has_a_folder_and_a_template_resource() {
    let template = Template::read();
    let (blocks, folders) = (template.functions(), function_folders());
    let names = |left: &BTreeSet<String>, right: &BTreeSet<String>| -> Vec<String> {
        left.difference(right).cloned().collect()
    };
    let in_template: BTreeSet<String> = blocks.keys().cloned().collect();
    let in_folders: BTreeSet<String> = folders.keys().cloned().collect();
    assert_eq!(names(&in_folders, &in_template), [""; 0], "without a block in template.yaml");
    assert_eq!(names(&in_template, &in_folders), [""; 0], "without a folder in functions/");
    for (binary, (name, properties)) in blocks {
        assert_eq!(name, logical_name(&binary));
        assert_eq!(properties["CodeUri"], format!("target/lambda/{binary}/"), "{name}");
        assert_eq!(referred(&properties["Role"]), Some(format!("{name}Role").as_str()), "{name}");
        let logs = referred(&properties["LoggingConfig"]["LogGroup"]);
        assert_eq!(logs, Some(format!("{name}Logs").as_str()), "{name}");
        let folder = &folders[&binary];
        let manifest = read(&format!("{folder}/Cargo.toml"));
        assert!(manifest.contains(&format!("name = \"{binary}\"")), "{folder}/Cargo.toml");
    }
}

#[test]
fn every_main_file_is_short() {
    for folder in function_folders().values() {
        assert_eq!(names_in(&format!("{folder}/src")), BTreeSet::from(["main.rs".to_owned()]));
        let lines = read(&format!("{folder}/src/main.rs")).lines().count();
        assert!(lines <= 15, "{folder}/src/main.rs has {lines} lines; main must only wire");
    }
}

#[test]
fn every_function_has_example_events() {
    let wanted: BTreeSet<String> = function_folders()
        .into_keys()
        .map(|binary| binary.strip_prefix("webhook-").unwrap_or(&binary).to_owned())
        .collect();
    assert_eq!(names_in("events"), wanted);
    for name in wanted {
        let files = names_in(&format!("events/{name}"));
        assert!(!files.is_empty(), "events/{name} is empty");
    }
}

/// Queues with a visibility timeout below AWS's advice, each with the reason why that is safe.
const SHORT_VISIBILITY: &[(&str, &str)] = &[(
    "AutomationQueue",
    "a lease in the table excludes a second consumer, and attempts are counted there",
)];

#[test]
fn a_notification_is_retried_within_forty_seconds_after_a_crash() {
    let template = Template::read();
    let queue = &template.queues()["AutomationQueue"]["Parameters"];
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
            let visibility = text(&queues[queue]["Parameters"]["VisibilityTimeout"]);
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
    let queue = yaml("infra/queue.yaml");
    let resources = &queue["Resources"];
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
    let template = Template::read();
    for (name, stack) in template.queues() {
        assert_eq!(referred(&stack["Parameters"]["AlarmTopic"]), Some("AlarmTopic"), "{name}");
    }
    let others = template.of_type("AWS::SQS::Queue");
    assert!(others.is_empty(), "not created by infra/queue.yaml: {:?}", others.keys());
}

#[test]
fn the_template_and_the_openapi_document_have_the_same_routes() {
    let template = Template::read();
    let mut deployed = BTreeSet::new();
    for (name, function) in template.of_type("AWS::Serverless::Function") {
        for event in function["Events"].as_object().into_iter().flat_map(Map::values) {
            if event["Type"] != "HttpApi" {
                continue;
            }
            let (method, path) =
                (text(&event["Properties"]["Method"]), text(&event["Properties"]["Path"]));
            let open = event["Properties"]["Auth"]["Authorizer"] == "NONE";
            if let Some(path) = path.strip_prefix("/webhooks/") {
                assert!(open, "{name}: providers have no API key of the hub");
                let found = webhooks().find(|(_, binary)| logical_name(binary) == name);
                let (webhook, _) = found.unwrap_or_else(|| panic!("{name} is not a webhook"));
                let (path, _) = path.split_once("/{").unwrap_or((path, ""));
                let other = OTHER_PATHS.contains(&(webhook.name(), path));
                assert!(path == webhook.path() || other, "{name}: {path}");
            } else {
                assert!(
                    deployed.insert((method.to_ascii_lowercase(), path.to_owned(), open)),
                    "duplicate route {method} {path}"
                );
            }
        }
    }
    let document = runtime::api::openapi::document();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let open = operation.get("security") == Some(&serde_json::json!([]));
            described.insert((method.clone(), path.clone(), open));
        }
    }
    let missing: Vec<_> = described.difference(&deployed).collect();
    assert!(missing.is_empty(), "not in template.yaml: {missing:?}");
    let undescribed: Vec<_> = deployed.difference(&described).collect();
    assert!(undescribed.is_empty(), "not in the OpenAPI document: {undescribed:?}");
}

#[test]
fn no_route_has_separately_billed_metrics() {
    let template = Template::read();
    for (name, api) in template.of_type("AWS::Serverless::HttpApi") {
        let detailed = &api["DefaultRouteSettings"]["DetailedMetricsEnabled"];
        assert_eq!(detailed, false, "{name}: each route would have six metrics at $0.30 a month");
    }
}

#[test]
fn a_claim_check_body_outlives_every_retention_of_its_record() {
    let queue = yaml("infra/queue.yaml");
    let retention_days = |name: &str| {
        let properties = &queue["Resources"][name]["Properties"];
        properties["MessageRetentionPeriod"].as_u64().expect("a time") / 86_400
    };
    // In the queue, in the dead-letter queue, and in the queue again after a redrive.
    let longest = retention_days("Queue") + retention_days("DeadLetters") + retention_days("Queue");
    let template = Template::read();
    let rules = &template.of_type("AWS::S3::Bucket")["Bucket"]["LifecycleConfiguration"]["Rules"];
    let days = |prefix: &str| -> u64 {
        let rule = each(rules).into_iter().find(|rule| rule["Prefix"] == prefix);
        rule.expect("a rule")["ExpirationInDays"].as_u64().expect("days")
    };
    assert!(days("bodies/") > longest, "{} days; a record may live {longest}", days("bodies/"));
}

#[test]
fn a_warning_does_not_roll_back_the_first_deployment() {
    for (name, api) in Template::read().of_type("AWS::Serverless::HttpApi") {
        // SAM's generated API description names a security scheme that it does not define.
        assert!(api["FailOnWarnings"].is_null(), "{name}: FailOnWarnings");
    }
}

#[test]
fn every_provider_page_documents_the_largest_body() {
    // In the notation of the pages.
    let tenths = domain::webhook::LARGEST_BODY / 100_000;
    let largest = format!("{}.{} MB", tenths / 10, tenths % 10);
    for provider in Provider::ALL {
        let path = format!("shared/providers/src/{provider}/README.md");
        let page = read(&path);
        let sentence = page.split("\n- ").find(|part| part.contains("413"));
        let sentence = sentence.unwrap_or_else(|| panic!("{path} does not describe a 413"));
        assert!(sentence.contains(&largest), "{path}: {sentence}");
    }
}

/// Resources with a wildcard, each with its reason.
const WILDCARDS: &[(&str, &str)] = &[
    ("*", "X-Ray supports no narrower resource"),
    ("${Bucket.Arn}/bodies/*", "one object for each large body"),
    ("${Bucket.Arn}/archive/*", "one object for each batch of raw events, or large event"),
    ("${Bucket.Arn}/media/*", "one object for each file"),
];

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
    for (role, actions, resource) in template.permissions() {
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
        let own = permissions.iter().filter(|(name, ..)| *name == role);
        let mut reads_secrets = false;
        for (_, actions, resource) in own {
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
                    "dynamodb:GetItem" | "sqs:SendMessage" => {}
                    other => assert!(other.starts_with("logs:"), "{role} may {other}"),
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
    let functions: BTreeSet<String> = template
        .of_type("AWS::Serverless::Function")
        .keys()
        .map(|name| format!("{name}Role"))
        .collect();
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
    for folder in function_folders().values() {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        assert!(!manifest.contains("simulation"), "{folder}/Cargo.toml");
    }
    for path in ["samconfig.toml", "README.md", "infra/README.md"] {
        let builds = read(path);
        let builds = builds.lines().filter(|line| line.contains("cargo lambda build"));
        let all: Vec<_> = builds.filter(|line| line.contains("features")).collect();
        assert!(all.is_empty(), "{path}: {all:?}");
    }
}
