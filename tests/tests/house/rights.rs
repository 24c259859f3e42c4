//! Compares each role's permissions with what its function does.
//!
//! The needed permissions are derived from the sources: a function's `main.rs` names a module of a
//! feature, the module names its ports and calls their methods, and the features' repositories show
//! which requests a port makes. Queues are read from environment variables, and the module says whether large
//! bodies go to the bucket.

use std::collections::{BTreeMap, BTreeSet};

use domain::event::EventKind;
use domain::webhook::{ParsedWebhook, receive};
use domain::{Credentials, IntegrationId, Provider};
use providers::example::{self, Seed};
use serde_json::Value;

use crate::{Template, function_folders, logical_name, names_in, read, secrets_of, text};

/// A permission: an action and its resource, in the template's notation.
type Permission = (String, String);

/// Permissions of ports on the bucket: trait, method, action and resource. Permissions on the table
/// are derived from the repositories.
const OF_THE_BUCKET: &[[&str; 4]] = &[
    ["Archive", "put_events", "s3:PutObject", "${Bucket.Arn}/archive/*"],
    ["EventBodies", "put_body", "s3:PutObject", "${Bucket.Arn}/archive/*"],
    ["EventBodyReader", "body", "s3:GetObject", "${Bucket.Arn}/archive/*"],
    // Without this permission, S3 returns 403 instead of 404 for a missing object.
    ["EventBodyReader", "body", "s3:ListBucket", "Bucket.Arn"],
    ["MediaStore", "put", "s3:PutObject", "${Bucket.Arn}/media/*"],
    ["MediaStore", "link", "s3:GetObject", "${Bucket.Arn}/media/*"],
];

const READS: &[&str] = &["secretsmanager:GetSecretValue"];
const WRITES: &[&str] = &[
    "secretsmanager:GetSecretValue",
    "secretsmanager:CreateSecret",
    "secretsmanager:PutSecretValue",
];

/// Permissions of ports on secrets: trait, method, actions, and whether they are an automation's.
const OF_THE_CREDENTIALS: &[(&str, &str, &[&str], bool)] = &[
    ("CredentialReader", "credentials", READS, false),
    ("CredentialReader", "signing_secrets", READS, true),
    ("CredentialWriter", "store", WRITES, false),
    ("CredentialWriter", "add_signing_secret", WRITES, true),
];

/// Requests to the table: the client's method or the transaction item, and the action.
const OF_THE_TABLE: &[(&str, &str)] = &[
    ("get_item", "dynamodb:GetItem"),
    ("put_item", "dynamodb:PutItem"),
    ("update_item", "dynamodb:UpdateItem"),
    ("delete_item", "dynamodb:DeleteItem"),
    ("batch_get_item", "dynamodb:BatchGetItem"),
    ("batch_write_item", "dynamodb:BatchWriteItem"),
    ("Put", "dynamodb:PutItem"),
    ("Update", "dynamodb:UpdateItem"),
    ("Delete", "dynamodb:DeleteItem"),
    ("ConditionCheck", "dynamodb:ConditionCheckItem"),
];

/// A call in a source: its receiver or path, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call<'a> {
    /// `x.name(`, with `x`.
    Method(&'a str, &'a str),
    /// `X::name(`, with `X`.
    Path(&'a str, &'a str),
    Free(&'a str),
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Splits off the last word of a text.
fn last_word(text: &str) -> (&str, &str) {
    text.split_at(text.trim_end_matches(is_word).len())
}

/// Returns every call in a source. A function definition counts as a call of its name.
fn calls(source: &str) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    for (at, _) in source.match_indices('(') {
        let mut head = &source[..at];
        if head.ends_with('>')
            && let Some(turbofish) = head.rfind("::<")
        {
            head = &head[..turbofish];
        }
        let (before, name) = last_word(head);
        if name.is_empty() {
            continue;
        }
        let before = before.trim_end();
        calls.push(if let Some(before) = before.strip_suffix('.') {
            Call::Method(last_word(before.trim_end()).1, name)
        } else if let Some(before) = before.strip_suffix("::") {
            Call::Path(last_word(before).1, name)
        } else {
            Call::Free(name)
        });
    }
    calls
}

/// Returns the block that starts at the first `{` of a text.
fn block(text: &str) -> &str {
    let start = text.find('{').expect("a block");
    let mut depth = 0_usize;
    for (at, c) in text[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return &text[start..=start + at],
            '}' => depth -= 1,
            _ => {}
        }
    }
    panic!("a block without a closing brace: {}", &text[..60.min(text.len())]);
}

/// Reads a source without its tests.
fn source(path: &str) -> String {
    let text = read(path);
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned()
}

/// A function in a source.
struct Function<'a> {
    /// The trait it implements; empty in an inherent `impl`; `None` for a free function.
    of: Option<String>,
    name: String,
    body: &'a str,
    /// Whether other modules may call it.
    is_shared: bool,
}

/// Returns the functions of a source.
fn functions_of(source: &str) -> Vec<Function<'_>> {
    let mut impls = Vec::new();
    for (at, _) in source.match_indices("\nimpl") {
        let head = source[at..].split('{').next().unwrap_or_default();
        let body = block(&source[at..]);
        let of = head.split_once(" for ").map_or("", |(before, _)| last_word(before).1);
        let start = at + head.len();
        impls.push((start..start + body.len(), of.to_owned()));
    }
    let mut found = Vec::new();
    for (at, _) in source.match_indices("fn ") {
        let name = source[at + 3..].split(['(', '<']).next().unwrap_or_default();
        let rest = &source[at..];
        // A method declaration in a trait has no body.
        let ends = rest.find(';').unwrap_or(usize::MAX);
        if !name.chars().all(is_word) || rest.find('{').is_none_or(|begins| begins > ends) {
            continue;
        }
        let owner = impls.iter().find(|(range, _)| range.contains(&at));
        let before = source[..at].rsplit('\n').next().unwrap_or_default();
        found.push(Function {
            of: owner.map(|(_, of)| of.clone()),
            name: name.to_owned(),
            body: block(rest),
            is_shared: before.starts_with("pub(crate)"),
        });
    }
    found
}

/// Trait and name of a function.
type Name = (Option<String>, String);

/// The functions of the repositories and of `table`, to derive their requests to the table.
struct Store(BTreeMap<Name, String>);

impl Store {
    fn read() -> Self {
        let mut all = BTreeMap::<Name, String>::new();
        let repositories = features()
            .into_iter()
            .map(|feature| format!("shared/features/{feature}/src/repository"));
        for folder in repositories.chain(["shared/table/src".to_owned()]) {
            if !crate::root().join(&folder).exists() {
                continue;
            }
            for file in names_in(&folder) {
                let source = source(&format!("{folder}/{file}"));
                for function in functions_of(&source) {
                    all.entry((function.of, function.name)).or_default().push_str(function.body);
                }
            }
        }
        Self(all)
    }

    /// Returns the permissions that a method of a port needs.
    fn permissions(&self, port: &str, method: &str) -> BTreeSet<Permission> {
        let (mut permissions, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut pending = vec![(Some(port.to_owned()), method.to_owned())];
        while let Some(name) = pending.pop() {
            let Some(body) = self.0.get(&name) else { continue };
            if !seen.insert(name) {
                continue;
            }
            for call in calls(body) {
                match call {
                    Call::Method("self" | "table", "query") => {
                        let index = body.contains(".index_name(");
                        let resource =
                            if index { "${Table.Arn}/index/by_parent" } else { "Table.Arn" };
                        permissions.insert(("dynamodb:Query".to_owned(), resource.to_owned()));
                    }
                    Call::Method(on, called) => {
                        permissions.extend(of_the_table(called));
                        if matches!(on, "self" | "table" | "endpoints") {
                            pending.extend(self.named(called));
                        }
                    }
                    Call::Path(request, "builder") => permissions.extend(of_the_table(request)),
                    Call::Path(of, called) => {
                        pending.push((Some(of.to_owned()), called.to_owned()));
                    }
                    Call::Free(called) => pending.push((None, called.to_owned())),
                }
            }
        }
        permissions
    }

    /// Returns the functions that `self.name()` may call: the store's own method, or a port's.
    fn named(&self, name: &str) -> Vec<Name> {
        let own = (Some(String::new()), name.to_owned());
        if self.0.contains_key(&own) {
            return vec![own];
        }
        self.0.keys().filter(|(of, known)| of.is_some() && known == name).cloned().collect()
    }
}

fn of_the_table(call: &str) -> Option<Permission> {
    let (_, action) = OF_THE_TABLE.iter().find(|(known, _)| *known == call)?;
    Some(((*action).to_owned(), "Table.Arn".to_owned()))
}

/// Returns the names of the features.
fn features() -> BTreeSet<String> {
    names_in("shared/features")
}

/// Returns the ports and their methods.
fn ports() -> BTreeMap<String, Vec<String>> {
    let mut ports = BTreeMap::new();
    let of_features =
        features().into_iter().map(|feature| format!("shared/features/{feature}/src/ports.rs"));
    for file in of_features.chain(["shared/domain/src/ports.rs".to_owned()]) {
        if !crate::root().join(&file).exists() {
            continue;
        }
        let source = read(&file);
        for (at, start) in source.match_indices("pub trait ") {
            let rest = &source[at + start.len()..];
            let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
            let methods = block(rest).split("fn ").skip(1);
            let methods =
                methods.map(|method| method.chars().take_while(|c| is_word(*c)).collect());
            ports.insert(name, methods.collect());
        }
    }
    ports
}

/// Returns the source of a module, such as `messaging::handlers::inbound`, if it exists.
fn module(path: &str) -> Option<String> {
    let (package, path) = path.split_once("::")?;
    let folder = match package {
        "runtime" => "shared/runtime/src".to_owned(),
        feature if features().contains(feature) => format!("shared/features/{feature}/src"),
        _ => return None,
    };
    let path = path.replace("::", "/");
    let files = [format!("{folder}/{path}.rs"), format!("{folder}/{path}/mod.rs")];
    files.iter().find(|file| crate::root().join(file).exists()).map(|file| source(file))
}

/// Returns the module that a function runs.
fn module_of(folder: &str) -> String {
    let main = read(&format!("{folder}/main.rs"));
    let (before, _) = main.split_once("::run(").expect("a call of `run`");
    let (_, path) = before.rsplit_once("    ").expect("a module");
    // Webhooks run the edge of `runtime`, on the integrations of `accounts`.
    let edge = "runtime::webhook::run(";
    if module(path).is_some_and(|text| text.contains(edge)) {
        return "runtime::webhook".to_owned();
    }
    path.to_owned()
}

/// Whether a module is a function's entry point and not a helper.
fn is_function(module: &str) -> bool {
    module.contains("\npub fn run(") || module.contains("\npub fn run<")
}

/// Returns the module at the start of a path, and the item that follows it.
fn split_path(path: &str) -> Option<(String, Option<String>)> {
    let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
    let ends = (2..=parts.len()).rev();
    ends.map(|end| (parts[..end].join("::"), parts.get(end).map(|item| (*item).to_owned())))
        .find(|(path, _)| module(path).is_some())
}

/// Returns the modules that a source in the module `home` names, each with the named item.
fn named_in(source: &str, home: &str) -> Vec<(String, Option<String>)> {
    let package = home.split("::").next().unwrap_or_default();
    let parent = home.rsplit_once("::").map_or(package, |(parent, _)| parent);
    let mut starts = vec![("crate::".to_owned(), package), ("super::".to_owned(), parent)];
    let packages: Vec<String> = features().into_iter().chain(["runtime".to_owned()]).collect();
    starts.extend(packages.iter().map(|name| (format!("{name}::"), name.as_str())));
    // Modules that the source file imports, by their names there.
    let own = module(home).unwrap_or_default();
    let imports = own.split("\nuse ").skip(1).filter_map(|rest| rest.split(';').next());
    let imports: Vec<(String, String)> = imports
        .flat_map(|import| {
            let (path, names) = import.split_once('{').unwrap_or((import, ""));
            let names: Vec<&str> = names.trim_end_matches('}').split(',').map(str::trim).collect();
            let full = names.into_iter().map(|name| match name {
                "" | "self" => path.trim_end_matches(':').to_owned(),
                name => format!("{path}{name}"),
            });
            full.collect::<Vec<_>>()
        })
        .filter_map(|path| {
            let (start, _) = path.split_once("::")?;
            let (_, base) =
                starts.iter().find(|(known, _)| known.trim_end_matches(':') == start)?;
            let path = path.replacen(start, base, 1);
            module(&path)?;
            Some((format!("{}::", path.rsplit("::").next()?), path))
        })
        .collect();
    starts.extend(imports.iter().map(|(name, path)| (name.clone(), path.as_str())));
    let mut named = Vec::new();
    for (start, base) in &starts {
        for (at, _) in source.match_indices(start.as_str()) {
            if source[..at].ends_with(|c| is_word(c) || c == ':') {
                continue;
            }
            let path: String = source[at + start.len()..]
                .chars()
                .take_while(|c| is_word(*c) || *c == ':')
                .collect();
            named.extend(split_path(&format!("{base}::{path}")));
        }
    }
    named
}

/// Returns the code that a function runs: the methods and called functions of its own module, the
/// called functions of other entry modules, and all of the helper modules.
fn with_helpers(path: &str) -> Vec<String> {
    let own = module(path).unwrap_or_else(|| panic!("there is no module {path}"));
    let uses = own.lines().filter(|line| line.starts_with("use ")).collect::<Vec<_>>().join("\n");
    let mut pending = vec![(path.to_owned(), uses)];
    for function in functions_of(&own) {
        // Functions for other modules count only if they are called.
        if function.of.is_some() || !function.is_shared {
            pending.push((path.to_owned(), function.body.to_owned()));
        }
    }
    let (mut seen, mut all) = (BTreeSet::from([path.to_owned()]), Vec::new());
    while let Some((home, source)) = pending.pop() {
        let own = calls(&source).into_iter().filter_map(|call| match call {
            Call::Free(name) => Some((home.clone(), Some(name.to_owned()))),
            Call::Method(..) | Call::Path(..) => None,
        });
        for (name, what) in own.chain(named_in(&source, &home)) {
            let Some(text) = module(&name) else { continue };
            if !is_function(&text) {
                if seen.insert(name.clone()) {
                    pending.push((name, text));
                }
            } else if let Some(what) = what {
                let called = functions_of(&text).into_iter();
                for one in called.filter(|one| one.of.is_none() && one.name == what) {
                    if seen.insert(format!("{name}::{what}")) {
                        pending.push((name.clone(), one.body.to_owned()));
                    }
                }
            }
        }
        all.push(source);
    }
    all
}

/// Whether bodies too large for the queue in `variable` go to the bucket. `None` if the module does
/// not send to it.
fn checks_in(module: &str, variable: &str) -> Option<bool> {
    let argument = |after: &str| {
        let after = after.trim_start_matches([',', ' ', '\n']);
        // A module that opens several queues in one call passes the bucket at its end.
        if after.starts_with(')') {
            module.contains("Some(&bucket)")
        } else {
            after.starts_with("Some")
        }
    };
    let named = format!("\"{variable}\"");
    if let Some((_, after)) = module.split_once(&named) {
        return Some(argument(after));
    }
    let (_, after) = module.split_once("Outbound::new(kit")?;
    variable.starts_with("OUTBOUND_").then(|| argument(after))
}

/// A deployed function with the code that it runs.
struct Deployed<'a> {
    binary: &'a str,
    properties: &'a Value,
    module: String,
    sources: Vec<String>,
}

impl Deployed<'_> {
    fn variables(&self) -> BTreeMap<&str, &Value> {
        let variables = self.properties["Environment"]["Variables"].as_object();
        variables.into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect()
    }

    /// Returns the queues it sends to, without its dead-letter queue, and whether large bodies go
    /// to the bucket.
    fn sends_to(&self) -> Vec<(String, bool)> {
        let own = module(&self.module).expect("a module");
        let mut queues = Vec::new();
        for (name, value) in self.variables() {
            if !name.ends_with("QUEUE_URL") || name == "DEAD_LETTER_QUEUE_URL" {
                continue;
            }
            match checks_in(&own, name) {
                Some(large) => queues.push((queue_of(value), large)),
                // Its own queue is used to change the visibility of records.
                None => assert_eq!(name, "QUEUE_URL", "{}: {name} is not used", self.binary),
            }
        }
        queues
    }

    /// Returns the queue it reads.
    fn reads(&self) -> Option<String> {
        let events = self.properties["Events"].as_object().into_iter().flatten();
        let mut queues = events.filter(|(_, event)| event["Type"] == "SQS");
        let (_, event) = queues.next()?;
        let arn = text(&event["Properties"]["Queue"]["!GetAtt"]);
        Some(arn.strip_suffix(".Outputs.Arn").expect("a queue").to_owned())
    }

    /// Returns the providers whose secrets it reads.
    fn providers(&self) -> Vec<Provider> {
        let webhooks = providers::webhooks().map(|webhook| (webhook.name(), webhook.provider()));
        match self.binary.split_once('-') {
            Some(("webhook", name)) => {
                webhooks.filter(|(known, _)| *known == name).map(|(_, provider)| provider).collect()
            }
            Some(("sender", name)) => {
                Provider::ALL.iter().copied().filter(|one| one.resource_name() == name).collect()
            }
            Some(("consumer", "media")) => {
                Provider::ALL.iter().copied().filter(|provider| has_media(*provider)).collect()
            }
            // A module for certain providers names them.
            _ => {
                let named: Vec<_> = Provider::ALL
                    .iter()
                    .copied()
                    .filter(|provider| {
                        let variant = format!("Provider::{provider:?}");
                        module(&self.module).is_some_and(|source| source.contains(&variant))
                    })
                    .collect();
                if named.is_empty() { Provider::ALL.to_vec() } else { named }
            }
        }
    }

    /// Returns all permissions it needs.
    fn needs(&self, store: &Store, large: &BTreeSet<String>) -> BTreeSet<Permission> {
        let mut needs = BTreeSet::new();
        let mut may = |action: &str, resource: &str| {
            needs.insert((action.to_owned(), resource.to_owned()));
        };
        let logs = text(&self.properties["LoggingConfig"]["LogGroup"]["!Ref"]);
        for action in ["logs:CreateLogStream", "logs:PutLogEvents"] {
            may(action, &format!("{logs}.Arn"));
        }
        for (port, method) in self.calls() {
            for (action, resource) in store.permissions(&port, &method) {
                may(&action, &resource);
            }
            for [of, called, action, resource] in OF_THE_BUCKET {
                if (*of, *called) == (port.as_str(), method.as_str()) {
                    may(action, resource);
                }
            }
            let needed = OF_THE_CREDENTIALS
                .iter()
                .filter(|(p, m, ..)| (*p, *m) == (port.as_str(), method.as_str()));
            for (_, _, actions, automation) in needed {
                let secrets: Vec<String> = if *automation {
                    vec![secrets_of("automation")]
                } else {
                    self.providers().into_iter().map(|p| secrets_of(p.as_str())).collect()
                };
                for (action, secret) in
                    secrets.iter().flat_map(|s| actions.iter().map(move |a| (a, s)))
                {
                    may(action, secret);
                }
            }
        }
        for (queue, large) in self.sends_to() {
            may("sqs:SendMessage", &format!("{queue}.Outputs.Arn"));
            if large {
                may("s3:PutObject", "${Bucket.Arn}/bodies/*");
            }
        }
        if let Some(queue) = self.reads() {
            for action in
                ["ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility"]
            {
                may(&format!("sqs:{action}"), &format!("{queue}.Outputs.Arn"));
            }
            may("sqs:SendMessage", &format!("{queue}.Outputs.DeadLettersArn"));
            if large.contains(&queue) {
                may("s3:GetObject", "${Bucket.Arn}/bodies/*");
            }
        }
        if let Some(secret) = self.variables().get("ADMIN_KEY_SECRET_ARN") {
            may(READS[0], text(&secret["!GetAtt"]));
        }
        needs
    }

    /// Returns the methods of ports that it calls.
    fn calls(&self) -> Vec<(String, String)> {
        let called: BTreeSet<&str> = self
            .sources
            .iter()
            .flat_map(|source| calls(source))
            .filter_map(|call| match call {
                // The kit creates the adapters, and a method in a call chain is not a port's.
                Call::Method("kit" | "", _) | Call::Path(..) | Call::Free(_) => None,
                Call::Method(_, name) => Some(name),
            })
            .collect();
        let own = module(&self.module).expect("a module");
        let bound = |port: &str| {
            own.match_indices(port).any(|(at, _)| {
                let ends = own[at + port.len()..].chars().next().is_none_or(|c| !is_word(c));
                ends && (own[..at].ends_with(": ") || own[..at].ends_with("+ "))
            })
        };
        let ports = ports().into_iter().filter(|(port, _)| bound(port));
        let methods = ports.flat_map(|(port, methods)| {
            let methods = methods.into_iter().filter(|method| called.contains(method.as_str()));
            methods.map(move |method| (port.clone(), method)).collect::<Vec<_>>()
        });
        methods.collect()
    }
}

fn queue_of(url: &Value) -> String {
    let url = text(&url["!GetAtt"]);
    url.strip_suffix(".Outputs.Url").unwrap_or_else(|| panic!("not a queue: {url}")).to_owned()
}

/// Returns the media ids in the provider's examples.
fn file_ids(provider: Provider) -> Vec<String> {
    let credentials = (example::of(provider).credentials)();
    let id = IntegrationId::derived(&["house"]);
    let integration = example::integration(provider, id, "acme".parse().expect("a tenant"));
    let integration = integration.expect("an integration");
    let mut ids = Vec::new();
    for (_, one) in example::all().filter(|(owner, _)| *owner == provider) {
        let draft = (one.draft)(&Seed::fixed(&one.full_name()));
        let url = "https://hub.example.com/webhooks";
        let request = example::signed(provider, one, &draft, url, Seed::FIXED);
        let source = example::webhook(provider, one).source(&integration, &credentials);
        let Ok(ParsedWebhook::Events(events)) = receive(&*source, &request, Seed::FIXED) else {
            continue;
        };
        let contents = events.iter().filter_map(|event| match &event.kind {
            EventKind::Message(message) => message.content.media(),
            _ => None,
        });
        ids.extend(contents.filter_map(|media| media.provider_media_id.clone()));
    }
    ids
}

/// Whether the hub downloads media from this provider, which means that an example has media.
fn has_media(provider: Provider) -> bool {
    let ids = file_ids(provider);
    let Some(sending) = providers::spec(provider).sending.as_ref().filter(|_| !ids.is_empty())
    else {
        return false;
    };
    let placeholder_credentials = sending.placeholder_credentials.iter();
    let credentials = Credentials::new(
        placeholder_credentials.map(|(name, value)| ((*name).to_owned(), vec![(*value).into()])),
    );
    let id = IntegrationId::derived(&["house"]);
    let tenant = "acme".parse().expect("a tenant");
    let mut integration = example::integration(provider, id, tenant).expect("an integration");
    // An integration that only receives webhooks may need fewer settings than one that sends.
    let mut settings = (example::of(provider).settings)();
    settings.insert("base_url".to_owned(), "https://provider.example.com".into());
    if let Ok(settings) = (providers::spec(provider).settings)(&settings) {
        integration.settings = settings;
    }
    let sender = sending.provider.sender(&integration, &credentials);
    let sender = sender.unwrap_or_else(|error| panic!("{provider} has no sender: {error}"));
    ids.iter().any(|id| sender.locate_media(id).is_ok())
}

#[test]
fn every_function_has_exactly_the_permissions_it_needs() {
    let template = Template::read();
    let (functions, folders, store) = (template.functions(), function_folders(), Store::read());
    let deployed: Vec<_> = functions
        .iter()
        .map(|(binary, (_, properties))| {
            let module = module_of(&folders[binary]);
            let sources = with_helpers(&module);
            Deployed { binary, properties, module, sources }
        })
        .collect();
    let large = deployed.iter().flat_map(Deployed::sends_to).filter(|(_, large)| *large);
    let large: BTreeSet<String> = large.map(|(queue, _)| queue).collect();

    let mut granted = BTreeMap::<String, BTreeSet<Permission>>::new();
    for (role, actions, resource) in template.permissions() {
        let resource = resource.get("!GetAtt").or_else(|| resource.get("!Sub"));
        let Some(resource) = resource else { continue };
        let own = granted.entry(role).or_default();
        own.extend(actions.into_iter().map(|action| (action, text(resource).to_owned())));
    }
    let mut wrong = Vec::new();
    for function in &deployed {
        let needs = function.needs(&store, &large);
        let has = granted.remove(&format!("{}Role", logical_name(function.binary)));
        let has = has.unwrap_or_default();
        let line = |what, (action, resource): &Permission| {
            format!("{} {what} {action} on {resource}", function.binary)
        };
        wrong.extend(needs.difference(&has).map(|permission| line("lacks", permission)));
        wrong.extend(has.difference(&needs).map(|permission| line("does not need", permission)));
        // A function needs the variable to reach the resource.
        for (variable, part) in [
            ("TABLE_NAME", "${Table.Arn}"),
            ("BUCKET_NAME", "${Bucket.Arn}"),
            ("SECRETS_PREFIX", "secret:switchboard/"),
        ] {
            let bare = part.trim_start_matches("${").trim_end_matches('}');
            let used = needs.iter().any(|(_, on)| on.contains(part) || on == bare);
            let has_variable = function.variables().contains_key(variable);
            if used && !has_variable {
                wrong.push(format!("{} has no variable {variable}", function.binary));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn calls_and_permissions_are_derived_from_the_sources() {
    let source = "fn a() { self.store\n    .claim(x).await; Put::builder(); own::<T>(b) }";
    let found = calls(source);
    for call in [Call::Method("store", "claim"), Call::Path("Put", "builder"), Call::Free("own")] {
        assert!(found.contains(&call), "{found:?}");
    }
    let store = Store::read();
    let actions = |port, method| -> Vec<String> {
        store.permissions(port, method).into_iter().map(|(action, _)| action).collect()
    };
    assert_eq!(actions("Inbox", "record"), ["dynamodb:PutItem"]);
    assert_eq!(actions("Directory", "integration"), ["dynamodb:GetItem"]);
    assert_eq!(actions("JobStats", "stats"), ["dynamodb:Query"]);
    // Every method of a port that a repository implements makes a request.
    for (port, methods) in ports() {
        let known: Vec<_> = methods
            .iter()
            .filter(|method| store.0.contains_key(&(Some(port.clone()), (*method).clone())))
            .collect();
        for method in known {
            assert!(
                !store.permissions(&port, method).is_empty(),
                "{port}::{method} makes no request"
            );
        }
    }
    assert!(has_media(Provider::Evolution) && !has_media(Provider::Custom));
}
