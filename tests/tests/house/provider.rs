//! A provider is complete: its folders, its block in a stack, and each line that names it elsewhere.
//!
//! The check prints everything that is missing at once, each with its file and the text to add.
//! `block.yaml` has the text of a provider's block.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::sync::LazyLock;

use domain::Provider;
use domain::webhook::WebhookProvider;
use providers::example::{self, Seed};
use serde_json::{Value, json};

use crate::rights::has_media;
use crate::{logical_name, names_in, root};

/// The stack of the providers of messages.
const MESSAGING: &str = "infra/stacks/messaging.yaml";
/// The stack of the providers that only send events.
const EVENTS: &str = "infra/stacks/events.yaml";
/// The stack of the webhooks for calls.
const VOICE: &str = "infra/stacks/voice.yaml";
/// The stack of the function that stores the credentials of all providers.
const ACCOUNTS: &str = "infra/stacks/accounts.yaml";

/// The stack of the function that redrives dead letters of all queues.
const OPERATIONS: &str = "infra/stacks/operations.yaml";

/// Additional paths of webhooks: former paths, or paths that users expect.
pub(crate) const OTHER_PATHS: &[(&str, &str)] = &[("sendgrid", "email")];

/// Webhooks that do not need the hub's public URL: their signature does not cover it.
const WITHOUT_PUBLIC_URL: &[&str] = &["whatsapp", "telegram"];

/// Providers whose published signatures are in `shared/providers/tests/vectors`, or that have none.
const VECTORS_ELSEWHERE: &[Provider] =
    &[Provider::WhatsappCloud, Provider::Telegram, Provider::Custom];

/// Providers that are simulated under another name, by their names in functions and queues.
const SIMULATED_AS: &[(&str, &str)] = &[("custom", "bsp")];

/// What a provider lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Missing {
    file: String,
    /// Where in the file, and how: "add to X".
    place: String,
    /// The text to add, if it is known.
    text: String,
}

impl Missing {
    fn new(file: impl Into<String>, place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { file: file.into(), place: place.into(), text: text.into() }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.place)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, "\n{}", self.text.trim_end()) }
    }
}

/// The repository's files, and changes to them.
#[derive(Default)]
struct Checkout {
    /// The texts of changed files; `None` for a file that was removed.
    changed: BTreeMap<String, Option<String>>,
}

impl Checkout {
    fn text(&self, path: &str) -> Option<String> {
        match self.changed.get(path) {
            Some(text) => text.clone(),
            None => fs::read_to_string(root().join(path)).ok(),
        }
    }

    /// Returns a template; null if it is not valid.
    fn template(&self, path: &'static str) -> Cow<'static, Value> {
        match self.changed.get(path) {
            Some(text) => Cow::Owned(parsed(text.as_deref())),
            None => Cow::Borrowed(&UNCHANGED[path]),
        }
    }
}

/// The templates with lines of providers.
const STACKS: [&str; 5] = [MESSAGING, EVENTS, VOICE, ACCOUNTS, OPERATIONS];

/// The templates as they are in the repository. Parsing one takes a while.
static UNCHANGED: LazyLock<BTreeMap<&str, Value>> = LazyLock::new(|| {
    STACKS.into_iter().map(|path| (path, parsed(Some(&crate::read(path))))).collect()
});

fn parsed(text: Option<&str>) -> Value {
    text.and_then(|text| templates::parse(text).ok()).unwrap_or_default()
}

/// The lines of a block, and the values in them.
struct Lines<'a> {
    lines: Vec<&'a str>,
    values: Vec<Place>,
}

/// Where a value is: its path in the template, its indent, and the number of its line.
struct Place {
    path: Vec<String>,
    indent: usize,
    line: usize,
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

impl<'a> Lines<'a> {
    /// Reads YAML in block style, whose innermost values may be in flow style.
    fn read(text: &'a str) -> Self {
        let (lines, mut values) = (text.lines().collect::<Vec<_>>(), Vec::new());
        let mut open = Vec::<(usize, String)>::new();
        let mut items = BTreeMap::<Vec<String>, usize>::new();
        let path = |open: &[(usize, String)]| open.iter().map(|(_, key)| key.clone()).collect();
        for (line, text) in lines.iter().enumerate() {
            let (mut indent, mut content) = (indent(text), text.trim_start());
            if content.starts_with('#') {
                continue;
            }
            open.retain(|(known, _)| *known < indent);
            if let Some(item) = content.strip_prefix("- ") {
                let number = items.entry(path(&open)).or_default();
                open.push((indent, number.to_string()));
                *number += 1;
                values.push(Place { path: path(&open), indent, line });
                (indent, content) = (indent + 2, item);
            }
            if content.starts_with(|first: char| first.is_ascii_alphabetic()) {
                let key = content.split(':').next().unwrap_or_default();
                open.push((indent, key.to_owned()));
                values.push(Place { path: path(&open), indent, line });
            }
        }
        Self { lines, values }
    }

    /// Returns the text of the value at `path`, or of the innermost one around it: its line, and
    /// the lines inside it.
    fn at(&self, path: &[String]) -> String {
        let around = self.values.iter().filter(|value| path.starts_with(&value.path));
        let Some(value) = around.max_by_key(|value| value.path.len()) else {
            return String::new();
        };
        let inside = self.lines[value.line + 1..].iter();
        let inside = inside.take_while(|line| indent(line) > value.indent);
        let text: Vec<&str> =
            std::iter::once(&self.lines[value.line]).chain(inside).copied().collect();
        text.join("\n")
    }
}

/// Adds the paths of the values of `expected` that `actual` does not have. Descriptions are free,
/// and further values are allowed. `defaults` are those of the stack.
fn compare(
    expected: &Value,
    actual: &Value,
    defaults: &Value,
    path: &mut Vec<String>,
    missing: &mut Vec<Vec<String>>,
) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (key, value) in expected.iter().filter(|(key, _)| *key != "Description") {
                path.push(key.clone());
                match actual.get(key) {
                    Some(actual) => compare(value, actual, &defaults[key], path, missing),
                    None if defaults[key] == *value => {}
                    None => missing.push(path.clone()),
                }
                path.pop();
            }
        }
        (Value::Array(expected), Value::Array(actual)) => {
            for (number, value) in expected.iter().enumerate() {
                if actual.contains(value) {
                    continue;
                }
                path.push(number.to_string());
                match actual.get(number).filter(|_| actual.len() == expected.len()) {
                    Some(actual) => compare(value, actual, &Value::Null, path, missing),
                    None => missing.push(path.clone()),
                }
                path.pop();
            }
        }
        (expected, actual) if expected == actual => {}
        _ => missing.push(path.clone()),
    }
}

/// Returns the names in a path. The position in a list of `block.yaml` says nothing about the
/// stack.
fn names(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).filter(|part| part.parse::<usize>().is_err()).collect()
}

/// Returns the texts of the resources in `block.yaml`.
fn block() -> impl Iterator<Item = &'static str> {
    include_str!("block.yaml").split("\n\n").skip(1)
}

/// Returns the text of the resource in `block.yaml` whose name contains `name`.
fn resource(name: &str) -> &'static str {
    let named = |text: &&str| text.lines().next().is_some_and(|first| first.contains(name));
    block().find(named).unwrap_or_else(|| panic!("block.yaml has no resource {name}"))
}

/// The check of one provider.
struct Check<'a> {
    checkout: &'a Checkout,
    provider: Provider,
    /// The templates by path, as they are written.
    stacks: BTreeMap<&'static str, Cow<'static, Value>>,
    missing: Vec<Missing>,
}

/// Returns everything that `provider` lacks.
fn missing(checkout: &Checkout, provider: Provider) -> Vec<Missing> {
    let stacks = STACKS.into_iter().map(|path| (path, checkout.template(path))).collect();
    let mut check = Check { checkout, provider, stacks, missing: Vec::new() };
    check.folder();
    check.index();
    check.secrets();
    for webhook in providers::spec(provider).webhooks {
        check.webhook(*webhook);
    }
    if !provider.channels().is_empty() {
        check.sender();
        check.simulator();
    }
    check.missing
}

impl Check<'_> {
    fn add(&mut self, file: &str, place: impl Into<String>, text: impl Into<String>) {
        self.missing.push(Missing::new(file, place, text));
    }

    /// Requires a file.
    fn file(&mut self, path: &str, text: &str) {
        if self.checkout.text(path).is_none() {
            self.add(path, "create this file", text);
        }
    }

    /// Requires a text in a file.
    fn line(&mut self, path: &str, part: &str, place: &str, text: &str) {
        if !self.checkout.text(path).unwrap_or_default().contains(part) {
            self.add(path, place, text);
        }
    }

    /// The folder with the provider's code, and what its page names.
    fn folder(&mut self) {
        let (provider, spec) = (self.provider, providers::spec(self.provider));
        let folder = format!("shared/providers/src/{provider}");
        let mut files = vec!["README.md", "mod.rs", "example.rs"];
        if !spec.webhooks.is_empty() {
            files.push("webhook.rs");
            if !VECTORS_ELSEWHERE.contains(&provider) {
                files.push("vectors.json");
            }
        }
        if !provider.channels().is_empty() {
            files.push("sender.rs");
        }
        for file in files {
            self.file(&format!("{folder}/{file}"), "");
        }
        let page = format!("{folder}/README.md");
        for credential in spec.credentials {
            self.line(&page, credential, "name this credential", credential);
        }
        for webhook in spec.webhooks {
            let path = format!("/webhooks/{}", webhook.path());
            self.line(&page, &path, "name this path", &path);
        }
        if spec.webhooks.is_empty() {
            return;
        }
        // In the notation of the pages.
        let tenths = domain::webhook::MAX_BODY_BYTES / 100_000;
        let largest = format!("{}.{} MB", tenths / 10, tenths % 10);
        let text = self.checkout.text(&page).unwrap_or_default();
        let sentence = text.split("\n- ").find(|part| part.contains("413"));
        if !sentence.is_some_and(|sentence| sentence.contains(&largest)) {
            let text = format!("- A body above {largest} gets 413, after which the provider ...");
            self.add(&page, "say what the provider does after a 413", text);
        }
    }

    /// The row in the list of providers.
    fn index(&mut self) {
        const INDEX: &str = "shared/providers/README.md";
        const VERIFICATION: &str = "how it is verified";
        let (provider, spec) = (self.provider, providers::spec(self.provider));
        let quoted = |names: Vec<String>| {
            let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
            names.join("<br>")
        };
        let paths = spec.webhooks.iter().map(|webhook| format!("/webhooks/{}", webhook.path()));
        let paths = quoted(paths.collect());
        let credentials = quoted(spec.credentials.iter().map(ToString::to_string).collect());
        let link = format!("(src/{provider}/README.md)");
        let row = format!("| [{provider:?}]{link} | {paths} | {credentials} | {VERIFICATION} |");
        let index = self.checkout.text(INDEX).unwrap_or_default();
        let own = index.lines().find(|line| line.contains(&link)).unwrap_or_default();
        let is_complete = [link.as_str(), &paths, &credentials]
            .iter()
            .all(|part| part.split("<br>").all(|part| own.contains(part)));
        if own.contains(VERIFICATION) {
            self.add(INDEX, "replace this by what verifies the webhooks", VERIFICATION);
        }
        if !is_complete {
            self.add(INDEX, "the table of providers needs this row", row);
        }
    }

    /// The permissions of functions that serve all providers, or all that have media.
    fn secrets(&mut self) {
        let secrets = format!("${{SecretsArn}}/*/{}*", self.provider);
        let line = format!("                  - !Sub \"{secrets}\"");
        let mut readers = vec![(ACCOUNTS, "ApiIntegrationsRole")];
        if has_media(self.provider) {
            readers.push((MESSAGING, "ConsumerMediaRole"));
        }
        for (file, role) in readers {
            let policies = &self.stacks[file]["Resources"][role]["Properties"]["Policies"];
            if !contains(policies, &json!({ "!Sub": secrets })) {
                let place = format!("add to the secrets in the `Resource` list of {role}");
                self.add(file, place, line.clone());
            }
        }
        if !has_media(self.provider) {
            return;
        }
        // The API of integrations may use the items of all providers.
        let policies = &self.stacks[MESSAGING]["Resources"]["ConsumerMediaRole"]["Properties"];
        let policies = policies["Policies"].clone();
        let (key, provider) =
            (format!("T#*#CREDENTIALS#{}", self.provider), self.provider.as_str());
        for (list, indent, line, value) in [
            ("dynamodb:LeadingKeys", 22, format!("\"{key}\""), key.as_str()),
            ("kms:EncryptionContext:provider", 22, provider.to_owned(), provider),
        ] {
            if !contains(&policies, &json!(value)) {
                let place = format!("add to the list `{list}` of ConsumerMediaRole");
                self.add(MESSAGING, place, format!("{}- {line}", " ".repeat(indent)));
            }
        }
    }

    /// A function's folder, its entries in generated lists, and its example events.
    fn function(&mut self, name: &str, folder: &str, main: &str, events: &[String]) {
        let path = format!("{folder}/main.rs");
        self.file(&format!("functions/{path}"), main);
        let generated = "run `cargo xtask generate`, which adds";
        let binary = format!("[[bin]]\nname = \"{name}\"\npath = \"{path}\"\ntest = false\n");
        self.line("functions/Cargo.toml", &binary, generated, &binary);
        let line = format!("    \"{name}\" => {} in \"{path}\";\n", name.replace('-', "_"));
        self.line("functions/bootstrap.rs", &line, generated, &line);
        for event in events {
            let path = format!("events/{event}.json");
            if self.checkout.text(&path).is_none() {
                self.add(&path, "run `cargo xtask generate`, which writes this file", "");
            }
        }
    }

    fn webhook(&mut self, webhook: &dyn WebhookProvider) {
        let (provider, name) = (self.provider, webhook.name());
        let examples = example::of(provider).events.iter();
        let examples: Vec<_> = examples.filter(|example| example.webhook == name).collect();
        let folder = format!("shared/providers/src/{provider}");
        if examples.len() < 3 {
            let place =
                format!("the webhook {name} needs three examples; it has {}", examples.len());
            self.add(&format!("{folder}/example.rs"), place, "");
        }
        let main = format!(
            "//! Receives webhooks of {provider:?}: verify, parse, queue, respond.\n\n\
             pub(crate) fn main() -> Result<(), runtime::Error> {{\n    \
             accounts::webhook::run(&providers::{provider}::WEBHOOK)\n}}"
        );
        let events: Vec<String> = examples.iter().map(|example| example.full_name()).collect();
        self.function(&format!("webhook-{name}"), &format!("webhooks/{name}"), &main, &events);

        let id = logical_name(&format!("webhook-{name}"));
        let is_own = |stack: &Value| {
            let resources = stack["Resources"].as_object().into_iter().flatten();
            resources.map(|(known, _)| known).any(|known| {
                ["", "Role", "Integration", "Permission"]
                    .iter()
                    .any(|end| known.strip_prefix(&id) == Some(*end))
            })
        };
        let default = if provider.channels().is_empty() { EVENTS } else { MESSAGING };
        let found = [default, MESSAGING, EVENTS, VOICE];
        let found = found.into_iter().find(|path| is_own(&self.stacks[*path]));
        let file = found.unwrap_or(default);
        for part in [">:", ">Role:", ">Integration:", ">Permission:"] {
            let text = self.webhook_text(resource(&format!("Webhook<Webhook{part}")), file, name);
            self.resource(file, &text);
        }

        let seed = Seed::fixed(name);
        let methods: BTreeSet<String> =
            examples.iter().map(|example| (example.draft)(&seed).method.to_string()).collect();
        let spec = providers::spec(provider);
        let parameter = if spec.path_secret.is_some() { "secret" } else { "integration" };
        let others = OTHER_PATHS.iter().filter(|(known, _)| *known == name).map(|(_, path)| *path);
        for path in others.chain([webhook.path()]) {
            for method in &methods {
                let kind = if method == "GET" { "ByGet" } else { "Delivery" };
                if spec.shared_webhook_url {
                    self.route(file, name, kind, &format!("{method} /webhooks/{path}"));
                }
                let route = format!("{method} /webhooks/{path}/{{{parameter}}}");
                self.route(file, name, &format!("Integration{kind}"), &route);
            }
        }
    }

    /// Requires a route, under any name.
    fn route(&mut self, file: &str, webhook: &str, kind: &str, route: &str) {
        let text = self.webhook_text(resource("<Route>"), file, webhook);
        let text = text.replace("<Route>", kind).replace("<route>", route);
        let expected = templates::parse(&text).unwrap_or_default();
        let expected = expected.as_object().into_iter().flatten().next();
        let resources = self.stacks[file]["Resources"].as_object();
        let exists = resources
            .into_iter()
            .flatten()
            .any(|(_, known)| expected.is_some_and(|(_, expected)| expected == known));
        if !exists {
            self.add(file, "add this resource", text);
        }
    }

    /// Fills in the names of a webhook and of its stack.
    fn webhook_text(&self, text: &str, file: &str, webhook: &str) -> String {
        let stack = &self.stacks[file];
        let defaults = &stack["Globals"]["Function"]["Environment"]["Variables"];
        let is_needed = |line: &&str| {
            let variable = line.trim_start().split(':').next().unwrap_or_default();
            let is_unneeded = match variable {
                "INBOUND_QUEUE_URL" | "RECEIPTS_QUEUE_URL" => self.provider.channels().is_empty(),
                "PUBLIC_BASE_URL" => WITHOUT_PUBLIC_URL.contains(&webhook),
                variable => !defaults[variable].is_null(),
            };
            !is_unneeded
        };
        let lines: Vec<&str> = text.lines().filter(is_needed).collect();
        let mut text = lines.join("\n");
        for queue in ["Inbound", "Receipts", "Events", "Parked"] {
            let id = format!("{queue}Queue");
            let own = !stack["Resources"][&id].is_null();
            let url =
                if own { format!("!GetAtt {id}.Outputs.Url") } else { format!("!Ref {id}Url") };
            text = text.replace(&format!("<{id}Url>"), &url);
        }
        let feature = file.trim_start_matches("infra/stacks/").trim_end_matches(".yaml");
        let text = text.replace("<Stack>", &logical_name(feature));
        let text = text.replace("<Webhook>", &logical_name(webhook));
        self.provider_text(&text.replace("<webhook>", webhook))
    }

    /// Fills in the names of the provider.
    fn provider_text(&self, text: &str) -> String {
        let name = self.provider.resource_name();
        let channels = self.provider.channels().iter();
        let policies: Vec<String> = channels
            .map(|channel| format!("!Ref {}FailoverPolicy", logical_name(channel.as_str())))
            .collect();
        text.replace("<FailoverPolicies>", &policies.join(", "))
            .replace("<Sender>", &logical_name(name))
            .replace("<sender>", name)
            .replace("<secrets>", self.provider.as_str())
            .replace("<Provider>", &format!("{:?}", self.provider))
    }

    /// Requires a resource in a stack, with all values of `text`.
    fn resource(&mut self, file: &str, text: &str) {
        let expected = templates::parse(text);
        let expected = expected.unwrap_or_else(|error| panic!("block.yaml: {error}\n{text}"));
        let (id, expected) = expected.as_object().expect("a resource").iter().next().expect("one");
        let stack = &self.stacks[file];
        let actual = &stack["Resources"][id];
        if actual.is_null() {
            self.add(file, "add this resource", text);
            return;
        }
        let is_function = expected["Type"] == "AWS::Serverless::Function";
        let globals = if is_function { &stack["Globals"]["Function"] } else { &Value::Null };
        let defaults = json!({ "Properties": globals });
        let (mut path, mut paths) = (vec![id.clone()], Vec::new());
        compare(expected, actual, &defaults, &mut path, &mut paths);
        let lines = Lines::read(text);
        for path in paths {
            let text = lines.at(&path);
            let (_, inside) = path.split_last().expect("a path");
            let found = Missing::new(file, format!("add to {}", names(inside).join(" > ")), text);
            if !self.missing.contains(&found) {
                self.missing.push(found);
            }
        }
    }

    fn sender(&mut self) {
        let (provider, name) = (self.provider, self.provider.resource_name());
        let main = format!(
            "//! Sends through {provider:?}: claim, send, settle.\n\n\
             pub(crate) fn main() -> Result<(), runtime::Error> {{\n    \
             messaging::handlers::sender::run(&providers::{provider}::SENDER)\n}}"
        );
        let (sender, folder) = (format!("sender-{name}"), format!("senders/{name}"));
        let events = [format!("{sender}/text")];
        self.function(&sender, &folder, &main, &events);
        for part in
            ["Outbound<Sender>Queue:", "Sender<Sender>:", "Sender<Sender>Role:", "LoopAlarm:"]
        {
            let text = self.provider_text(resource(part));
            self.resource(MESSAGING, &text);
        }
        let arn = "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:${Prefix}";
        let queue = format!("{arn}-outbound-{name}.fifo");
        let role = &self.stacks[OPERATIONS]["Resources"]["ApiDeadLettersRole"];
        if !contains(&role["Properties"]["Policies"], &json!({ "!Sub": queue })) {
            let place = "add to the queues in the `Resource` list of ApiDeadLettersRole";
            self.add(OPERATIONS, place, format!("                  - !Sub \"{queue}\""));
        }
        for channel in provider.channels() {
            let policy = self.provider_text(resource("FailoverPolicy:"));
            let policy = policy.replace("<Channel>", &logical_name(channel.as_str()));
            self.resource(MESSAGING, &policy);
        }
    }

    fn simulator(&mut self) {
        let name = self.provider.resource_name();
        let other = SIMULATED_AS.iter().find(|(known, _)| *known == name);
        let module = other.map_or(name, |(_, other)| *other);
        self.file(&format!("infra/simulator/src/{module}/mod.rs"), "");
        let line = format!("pub mod {module};\n");
        self.line("infra/simulator/src/lib.rs", &line, "add this line", &line);
        let part = format!("ProviderEntry::of::<crate::{module}::");
        let line = format!("    {part}{}>(),", logical_name(module));
        self.line("infra/simulator/src/providers.rs", &part, "add to `PROVIDERS`", &line);
    }
}

/// Whether `value` contains `part` anywhere.
fn contains(value: &Value, part: &Value) -> bool {
    value == part
        || match value {
            Value::Array(items) => items.iter().any(|item| contains(item, part)),
            Value::Object(fields) => fields.values().any(|field| contains(field, part)),
            _ => false,
        }
}

#[test]
fn every_provider_is_complete() {
    let checkout = Checkout::default();
    let all = Provider::ALL.iter().flat_map(|provider| missing(&checkout, *provider));
    let all: Vec<String> = all.map(|one| one.to_string()).collect();
    assert!(all.is_empty(), "{} places are incomplete:\n\n{}\n", all.len(), all.join("\n\n"));
}

#[test]
fn every_provider_folder_belongs_to_a_provider() {
    let senders = Provider::senders().map(|one| one.resource_name().to_owned());
    let webhooks = providers::webhooks().map(|webhook| webhook.name().to_owned());
    // Called by tenants' own programs, so it belongs to no provider.
    let webhooks = webhooks.chain(["inbound".to_owned()]);
    let known = Provider::ALL.iter().map(ToString::to_string);
    let modules = names_in("shared/providers/src");
    let mut others = Vec::new();
    for (folder, names, known) in [
        ("functions/webhooks", names_in("functions/webhooks"), webhooks.collect()),
        ("functions/senders", names_in("functions/senders"), senders.collect()),
        (
            "shared/providers/src",
            modules.into_iter().filter(|name| !name.contains('.')).collect(),
            known.collect::<BTreeSet<String>>(),
        ),
    ] {
        others.extend(names.difference(&known).map(|name| format!("{folder}/{name}")));
    }
    assert!(
        others.is_empty(),
        "folders of no provider in shared/domain/src/provider.rs: {others:?}"
    );
}

/// Returns `text` without the value that begins at line `number`: the line and those inside it.
fn without(text: &str, number: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let own = indent(lines[number]);
    let inside = lines[number + 1..].iter();
    let inside = inside.take_while(|line| !line.trim().is_empty() && indent(line) > own).count();
    let kept = lines[..number].iter().chain(&lines[number + 1 + inside..]);
    kept.flat_map(|line| [*line, "\n"]).collect()
}

/// Returns what `provider` lacks if a file has this text instead.
fn missing_after(provider: Provider, file: &str, text: Option<String>) -> Vec<Missing> {
    let changed = BTreeMap::from([(file.to_owned(), text)]);
    missing(&Checkout { changed }, provider)
}

#[test]
fn each_line_of_a_providers_block_is_required() {
    for (provider, file, heading) in [
        (Provider::Infobip, MESSAGING, "  # ---- Infobip"),
        (Provider::Resend, EVENTS, "  # ---- Resend"),
    ] {
        let text = crate::read(file);
        let lines = text.lines().enumerate().skip_while(|(_, line)| !line.starts_with(heading));
        let block = lines.skip(1).take_while(|(_, line)| !line.starts_with("  # ----"));
        let block = block.filter(|(_, line)| {
            let line = line.trim_start();
            !line.is_empty() && !line.starts_with('#') && !line.starts_with("Description:")
        });
        let mut checked = 0;
        for (number, line) in block {
            let found = missing_after(provider, file, Some(without(&text, number)));
            let is_named =
                found.iter().any(|one| one.file == file && one.text.contains(line.trim_start()));
            assert!(is_named, "{file} without line {}: {line}\n{found:#?}", number + 1);
            checked += 1;
        }
        assert!(checked > 30, "{heading}: {checked} lines");
    }
}

#[test]
fn each_line_that_names_a_provider_elsewhere_is_required() {
    let provider = Provider::Infobip;
    for (file, line) in [
        (MESSAGING, "              - !GetAtt OutboundInfobipQueue.Outputs.Arn"),
        (MESSAGING, "                  - !Sub \"${SecretsArn}/*/infobip*\""),
        (MESSAGING, "                      - \"T#*#CREDENTIALS#infobip\""),
        (MESSAGING, "                      - infobip"),
        (ACCOUNTS, "                  - !Sub \"${SecretsArn}/*/infobip*\""),
        (
            OPERATIONS,
            "                  - !Sub \"arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:${Prefix}-outbound-infobip.fifo\"",
        ),
        ("functions/Cargo.toml", "name = \"sender-infobip\""),
        ("functions/Cargo.toml", "path = \"webhooks/infobip/main.rs\""),
        (
            "functions/bootstrap.rs",
            "    \"sender-infobip\" => sender_infobip in \"senders/infobip/main.rs\";",
        ),
        ("infra/simulator/src/lib.rs", "pub mod infobip;"),
        ("infra/simulator/src/providers.rs", "    ProviderEntry::of::<crate::infobip::Infobip>(),"),
    ] {
        let text = crate::read(file);
        let number = text.lines().position(|own| own == line);
        let number = number.unwrap_or_else(|| panic!("{file} has no line {line}"));
        let found = missing_after(provider, file, Some(without(&text, number)));
        let [one] = found.as_slice() else { panic!("{file} without {line}: {found:#?}") };
        assert!(one.file == file && one.text.contains(line.trim()), "{file}: {line}: {one}");
    }
    let index = "shared/providers/README.md";
    let text = crate::read(index);
    let row = text.lines().find(|line| line.contains("(src/infobip/")).expect("a row");
    let found = missing_after(provider, index, Some(text.replace(row, "")));
    assert!(found.len() == 1 && found[0].text.contains("INFOBIP_WEBHOOK_SECRET"), "{found:#?}");
}

#[test]
fn each_file_of_a_provider_is_required() {
    for file in [
        "shared/providers/src/infobip/README.md",
        "shared/providers/src/infobip/mod.rs",
        "shared/providers/src/infobip/example.rs",
        "shared/providers/src/infobip/webhook.rs",
        "shared/providers/src/infobip/vectors.json",
        "shared/providers/src/infobip/sender.rs",
        "functions/webhooks/infobip/main.rs",
        "functions/senders/infobip/main.rs",
        "infra/simulator/src/infobip/mod.rs",
        "events/infobip/seen.json",
        "events/sender-infobip/text.json",
    ] {
        assert!(root().join(file).exists(), "{file}");
        let found = missing_after(Provider::Infobip, file, None);
        assert!(found.iter().any(|one| one.file == file), "{file}: {found:#?}");
    }
}

#[test]
fn a_provider_without_a_block_gets_the_whole_block() {
    let text = crate::read(MESSAGING).replace("Infobip", "Other");
    let found = missing_after(Provider::Infobip, MESSAGING, Some(text));
    let added: String = found
        .iter()
        .filter(|one| one.place == "add this resource")
        .flat_map(|one| [one.text.trim_end(), "\n\n"])
        .collect();
    let resources = templates::parse(&added).expect("valid YAML");
    let resources = resources.as_object().expect("resources").keys();
    let resources: Vec<&str> = resources.map(String::as_str).collect();
    let expected = [
        "OutboundInfobipQueue",
        "SenderInfobip",
        "SenderInfobipLoopAlarm",
        "SenderInfobipRole",
        "WebhookInfobip",
        "WebhookInfobipDeliveryRoute",
        "WebhookInfobipIntegration",
        "WebhookInfobipIntegrationDeliveryRoute",
        "WebhookInfobipPermission",
        "WebhookInfobipRole",
    ];
    assert_eq!(resources, expected);
}

#[test]
fn the_text_of_a_value_is_its_line_and_the_lines_inside_it() {
    let text = "\
A:
  B:
    # Why.
    C: 1
  D:
    - E: 2
      F: { G: 3 }
    - !Ref H";
    let lines = Lines::read(text);
    let at = |path: &[&str]| {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        lines.at(&path)
    };
    assert_eq!(at(&["A", "B"]), "  B:\n    # Why.\n    C: 1");
    assert_eq!(at(&["A", "D", "0"]), "    - E: 2\n      F: { G: 3 }");
    assert_eq!(at(&["A", "D", "0", "E"]), "    - E: 2");
    assert_eq!(at(&["A", "D", "0", "F", "G"]), "      F: { G: 3 }");
    assert_eq!(at(&["A", "D", "1"]), "    - !Ref H");
}
