//! Compares each role's permissions with what its function does.
//!
//! The needed permissions are derived from the sources: a function's `main.rs` names a module of a
//! feature, the module imports its ports and calls their methods, and the features' repositories show
//! which requests a port makes, and with which partition keys. Queues are read from environment
//! variables, and the module says whether large bodies go to the bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use domain::event::EventKind;
use domain::webhook::{ParsedWebhook, receive};
use domain::{Credentials, IntegrationId, Provider};
use operations::model::QueueName;
use providers::example::{self, Seed};
use serde_json::{Value, json};

use crate::requests::{Permission, Store, table_of};
use crate::sources::{Call, block, calls, functions_of, is_word, source, words};
use crate::{
    DEAD_LETTERS, Granted, OUTBOUND_QUEUES, QUEUES, Template, each, function_folders, logical_name,
    names_in, read, secrets_of, text,
};

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

/// Permissions of ports on dead-letter queues, of a function that knows the names of all queues:
/// trait, method and action.
const OF_DEAD_LETTERS: &[[&str; 3]] = &[
    ["ReceiveDeadLetters", "receive", "sqs:ReceiveMessage"],
    ["DeleteRecords", "delete", "sqs:DeleteMessage"],
    ["ChangeVisibility", "change_visibility", "sqs:ChangeMessageVisibility"],
    ["CountRecords", "count", "sqs:GetQueueAttributes"],
];

/// Condition key with the partition keys that a request names.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html>
const LEADING_KEYS: &str = "dynamodb:LeadingKeys";

/// Permissions on credentials: on secrets, on the items of the table, and on its key.
struct OnCredentials {
    secrets: &'static [&'static str],
    items: &'static [&'static str],
    key: &'static [&'static str],
}

const READ_SECRET: &str = "secretsmanager:GetSecretValue";
const READS: OnCredentials =
    OnCredentials { secrets: &[READ_SECRET], items: &["dynamodb:GetItem"], key: &["kms:Decrypt"] };
const WRITES: OnCredentials = OnCredentials {
    secrets: &[
        READ_SECRET,
        "secretsmanager:CreateSecret",
        "secretsmanager:DeleteSecret",
        "secretsmanager:ListSecretVersionIds",
        "secretsmanager:PutSecretValue",
        "secretsmanager:UpdateSecretVersionStage",
    ],
    items: &["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem"],
    key: &["kms:Decrypt", "kms:GenerateDataKey"],
};

/// Permissions of ports on credentials: trait, method, permissions, and whether they are an
/// automation's.
const OF_THE_CREDENTIALS: &[(&str, &str, OnCredentials, bool)] = &[
    ("CredentialReader", "credentials", READS, false),
    ("CredentialReader", "stored_credentials", READS, false),
    ("CredentialReader", "signing_secrets", READS, true),
    ("CredentialWriter", "check_write", WRITES, false),
    ("CredentialWriter", "store", WRITES, false),
    ("CredentialWriter", "add_signing_secret", WRITES, true),
];

/// The table of credentials, and the key of its envelopes.
const CREDENTIALS_TABLE: &str = "CredentialsTable.Outputs.Arn";
const CREDENTIALS_KEY: &str = "CredentialsKey.Arn";
/// Condition key with the provider whose credentials a data key is for.
const CONTEXT_PROVIDER: &str = "kms:EncryptionContext:provider";
/// Condition key that a request has if its data key is for an integration.
const CONTEXT_INTEGRATION: &str = "kms:EncryptionContext:integration";

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

/// Returns the source of a module, such as `messaging::handlers::inbound`, if it exists. The private
/// modules of a function are part of it.
fn module(path: &str) -> Option<String> {
    let (package, path) = path.split_once("::")?;
    let folder = match package {
        "runtime" => "shared/runtime/src".to_owned(),
        feature if features().contains(feature) => format!("shared/features/{feature}/src"),
        _ => return None,
    };
    let path = path.replace("::", "/");
    let files = [format!("{folder}/{path}.rs"), format!("{folder}/{path}/mod.rs")];
    let mut text =
        files.iter().find(|file| crate::root().join(file).exists()).map(|f| source(f))?;
    if is_function(&text) {
        let parts = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        let parts: Vec<_> =
            parts.map(|part| source(&format!("{folder}/{path}/{part}.rs"))).collect();
        text.extend(parts);
    }
    Some(text)
}

/// Returns the module that a function runs.
fn module_of(folder: &str) -> String {
    let main = read(&format!("{folder}/main.rs"));
    let (before, _) = main.split_once("::run").expect("a call of `run`");
    let (_, path) = before.rsplit_once("    ").expect("a module");
    // Webhooks run the edge of `runtime`, on the integrations of `accounts`.
    let edge = "runtime::webhook::run";
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

/// Returns the modules beside a function's module that add methods to its types.
fn extensions(path: &str, own: &str) -> Vec<(String, String)> {
    let (parent, name) = path.rsplit_once("::").expect("a module");
    let Some((package, folder)) = parent.split_once("::") else { return Vec::new() };
    let folder = format!("shared/features/{package}/src/{}", folder.replace("::", "/"));
    if !crate::root().join(&folder).exists() {
        return Vec::new();
    }
    let siblings = names_in(&folder).into_iter();
    let siblings = siblings.filter_map(|file| Some(file.strip_suffix(".rs")?.to_owned()));
    let extends = |text: &str| {
        text.split("\nimpl").skip(1).any(|rest| {
            let head = rest.split('{').next().unwrap_or_default();
            let is_own = |word| own.contains(&format!("struct {word}"));
            !head.contains(" for ") && words(head).any(|(_, word)| word.len() > 1 && is_own(word))
        })
    };
    siblings
        .filter(|sibling| sibling != name && sibling != "mod")
        .filter_map(|sibling| {
            let path = format!("{parent}::{sibling}");
            let text = module(&path)?;
            (!is_function(&text) && extends(&text)).then_some((path, text))
        })
        .collect()
}

/// Returns the code that a function runs, each part with its module: the methods and called functions
/// of its own module, the called functions of other entry modules, and all of the helper modules.
fn with_helpers(path: &str) -> Vec<(String, String)> {
    let own = module(path).unwrap_or_else(|| panic!("there is no module {path}"));
    let uses = own.lines().filter(|line| line.starts_with("use ")).collect::<Vec<_>>().join("\n");
    let mut pending = vec![(path.to_owned(), uses)];
    pending.extend(extensions(path, &own));
    for function in functions_of(&own) {
        // Functions for other modules count only if they are called.
        if function.of.is_some() || !function.is_shared {
            pending.push((path.to_owned(), function.body.to_owned()));
        }
    }
    let mut seen: BTreeSet<String> = pending.iter().map(|(home, _)| home.clone()).collect();
    let mut all = Vec::new();
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
        all.push((home, source));
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
    let (_, after) = module.split_once(&named)?;
    Some(argument(after))
}

/// Whether bodies too large for the outbound queues go to the bucket. `None` if the module does not
/// send to them.
fn outbound_checks_in(module: &str) -> Option<bool> {
    if module.contains("Outbound::failover(kit") {
        return Some(false);
    }
    let (_, after) = module.split_once("Outbound::new(kit, ")?;
    Some(after.starts_with("Some"))
}

/// A deployed function with the code that it runs.
struct Deployed<'a> {
    binary: &'a str,
    properties: &'a Value,
    module: &'a str,
    sources: &'a [(String, String)],
}

impl Deployed<'_> {
    fn variables(&self) -> BTreeMap<&str, &Value> {
        let variables = self.properties["Environment"]["Variables"].as_object();
        variables.into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect()
    }

    /// Returns the queues it sends to, without its dead-letter queue, and whether large bodies go
    /// to the bucket. All outbound queues are one pattern.
    fn sends_to(&self) -> Vec<(String, bool)> {
        let own = module(self.module).expect("a module");
        let mut queues = Vec::new();
        if let Some(large) = outbound_checks_in(&own) {
            let reached = self.fails_over_to();
            let reached = reached.unwrap_or_else(|| vec![OUTBOUND_QUEUES.to_owned()]);
            queues.extend(reached.into_iter().map(|queue| (queue, large)));
        }
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

    /// Returns the queues that a sender fails over to: those of the providers in its channels.
    fn fails_over_to(&self) -> Option<Vec<String>> {
        let name = self.binary.strip_prefix("sender-")?;
        let mut senders = Provider::senders();
        let own = senders.find(|one| one.resource_name() == name).unwrap_or_else(|| {
            panic!("{}: no provider in shared/domain/src/provider.rs sends as {name}", self.binary)
        });
        let reached = Provider::senders().filter(|other| own.shares_channel_with(*other));
        Some(reached.map(outbound_queue).collect())
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
                        module(self.module).is_some_and(|source| source.contains(&variant))
                    })
                    .collect();
                if named.is_empty() { Provider::ALL.to_vec() } else { named }
            }
        }
    }

    /// Returns all permissions it needs.
    fn needs(&self, store: &Store, large: &BTreeSet<String>) -> BTreeSet<Permission> {
        let (mut needs, mut on_credentials) = (BTreeSet::new(), BTreeSet::new());
        let mut may = |action: &str, resource: &str| {
            needs.insert((action.to_owned(), resource.to_owned(), String::new()));
        };
        let logs = text(&self.properties["LoggingConfig"]["LogGroup"]["!Ref"]);
        for action in ["logs:CreateLogStream", "logs:PutLogEvents"] {
            may(action, &format!("{logs}.Arn"));
        }
        let calls = self.calls();
        for (port, method) in &calls {
            for [of, called, action, resource] in OF_THE_BUCKET {
                if (*of, *called) == (port.as_str(), method.as_str()) {
                    may(action, resource);
                }
            }
            let needed = OF_THE_CREDENTIALS
                .iter()
                .filter(|(p, m, ..)| (*p, *m) == (port.as_str(), method.as_str()));
            for (_, _, on, automation) in needed {
                let providers = self.providers();
                let (secrets, keys, contexts): (Vec<String>, Vec<String>, Vec<String>) =
                    if *automation {
                        let context = format!("{CONTEXT_PROVIDER}=automation");
                        let secret = secrets_of("automation");
                        (vec![secret], vec!["T#*#SIGNING".to_owned()], vec![context])
                    } else {
                        let names: Vec<_> = providers.iter().map(|one| one.as_str()).collect();
                        let secrets = names.iter().map(|name| secrets_of(name)).collect();
                        let is_every = providers.len() == Provider::ALL.len();
                        let names = if is_every { vec!["*"] } else { names };
                        let keys = names.iter().map(|name| format!("T#*#CREDENTIALS#{name}"));
                        let context = |name: &&str| match *name {
                            "*" => CONTEXT_INTEGRATION.to_owned(),
                            name => format!("{CONTEXT_PROVIDER}={name}"),
                        };
                        (secrets, keys.collect(), names.iter().map(context).collect())
                    };
                let empty = vec![String::new()];
                for (actions, resources, patterns) in [
                    (on.secrets, secrets, empty),
                    (on.items, vec![CREDENTIALS_TABLE.to_owned()], keys),
                    (on.key, vec![CREDENTIALS_KEY.to_owned()], contexts),
                ] {
                    for (action, resource) in
                        actions.iter().flat_map(|a| resources.iter().map(move |r| (a, r)))
                    {
                        on_credentials.extend(patterns.iter().map(|pattern| {
                            ((*action).to_owned(), resource.clone(), pattern.clone())
                        }));
                    }
                }
            }
        }
        for (queue, large) in self.sends_to() {
            if queue == OUTBOUND_QUEUES {
                may("sqs:SendMessage", &queue);
            } else {
                may("sqs:SendMessage", &format!("{queue}.Outputs.Arn"));
            }
            if large {
                may("s3:PutObject", "${Bucket.Arn}/bodies/*");
            }
        }
        if self.variables().contains_key("QUEUE_PREFIX") {
            let calls = self.calls();
            let is_called = |of: &str, method: &str| {
                calls.iter().any(|(port, called)| (port.as_str(), called.as_str()) == (of, method))
            };
            for [_, _, action] in
                OF_DEAD_LETTERS.iter().filter(|[of, of_it, _]| is_called(of, of_it))
            {
                for queues in DEAD_LETTERS {
                    may(action, queues);
                }
            }
            if is_called("Publisher", "publish") {
                for queue in QueueName::all() {
                    may("sqs:SendMessage", &queue.source(QUEUES));
                }
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
            may(READ_SECRET, text(&secret["!GetAtt"]));
        }
        needs.extend(on_credentials);
        needs.extend(calls.iter().flat_map(|(port, method)| store.permissions(port, method)));
        needs
    }

    /// Returns the methods of ports that it calls.
    fn calls(&self) -> Vec<(String, String)> {
        let ports = ports();
        let mut found = Vec::new();
        for (home, source) in self.sources {
            let imported = imported_ports(home);
            for call in calls(source) {
                let name = match call {
                    // The kit creates the adapters, and a method in a call chain is not a port's.
                    Call::Method("kit" | "", _) | Call::Path(..) | Call::Free(_) => continue,
                    Call::Method(_, name) => name.to_owned(),
                };
                let owners = ports.iter().filter(|(_, methods)| methods.contains(&name));
                let owners = owners.filter(|(port, _)| imported.contains(*port));
                found.extend(owners.map(|(port, _)| (port.clone(), name.clone())));
            }
        }
        found
    }
}

/// Returns the names that a module imports from modules of ports: only then can it call a port.
fn imported_ports(path: &str) -> BTreeSet<String> {
    let text = module(path).unwrap_or_default();
    let imports = text.split("\nuse ").skip(1).filter_map(|rest| rest.split(';').next());
    let names = imports.filter_map(|import| import.split_once("ports::")).flat_map(|(_, names)| {
        names.split(|c| !is_word(c)).map(ToOwned::to_owned).collect::<Vec<_>>()
    });
    names.collect()
}

/// Returns the logical id of a provider's outbound queue.
fn outbound_queue(provider: Provider) -> String {
    logical_name(&format!("outbound-{}-queue", provider.resource_name()))
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
pub(crate) fn has_media(provider: Provider) -> bool {
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
    let fetcher =
        providers::spec(provider).media_fetcher.map(|new| new(&integration, &credentials));
    let fetcher = fetcher.transpose();
    let fetcher = fetcher.unwrap_or_else(|error| panic!("{provider} has no sender: {error}"));
    fetcher.is_some_and(|fetcher| ids.iter().any(|id| fetcher.locate_media(id).is_ok()))
}

/// The module that a function runs, and its code: each part with its module.
type Code = (String, Vec<(String, String)>);

/// The code of each function, by the name of its binary.
static CODE: LazyLock<BTreeMap<String, Code>> = LazyLock::new(|| {
    let folders = function_folders().into_iter();
    let code = folders.map(|(binary, folder)| {
        let module = module_of(&folder);
        let sources = with_helpers(&module);
        (binary, (module, sources))
    });
    code.collect()
});

/// Returns the deployed functions.
fn deployed<'a>(functions: &'a BTreeMap<String, (&str, &'a Value)>) -> Vec<Deployed<'a>> {
    let deployed = functions.iter().map(|(binary, (_, properties))| {
        let (module, sources) = &CODE[binary];
        Deployed { binary, properties, module, sources }
    });
    deployed.collect()
}

#[test]
fn every_request_of_a_repository_is_made_by_a_function() {
    let (template, store) = (Template::read(), Store::read());
    let functions = template.functions();
    let deployed = deployed(&functions);
    let made: BTreeSet<_> = deployed.iter().flat_map(Deployed::calls).collect();
    let ports = ports().into_iter();
    let all = ports
        .flat_map(|(port, methods)| methods.into_iter().map(move |method| (port.clone(), method)));
    // A call that is not found here would also be missing in the permissions of its function.
    let unused: Vec<_> = all
        .filter(|(port, method)| store.implements(port, method))
        .filter(|call| !made.contains(call))
        .collect();
    assert!(unused.is_empty(), "no function calls {unused:?}");
}

#[test]
fn every_function_has_exactly_the_permissions_it_needs() {
    let (template, store) = (Template::read(), Store::read());
    let functions = template.functions();
    let deployed = deployed(&functions);
    let large = deployed.iter().flat_map(Deployed::sends_to).filter(|(_, large)| *large);
    let large = large.flat_map(|(queue, _)| match queue.as_str() {
        OUTBOUND_QUEUES => Provider::senders().map(outbound_queue).collect(),
        _ => vec![queue],
    });
    let large: BTreeSet<String> = large.collect();

    let mut granted = BTreeMap::<String, BTreeSet<Permission>>::new();
    for Granted { role, actions, resource, condition } in template.permissions() {
        let resource = resource.get("!GetAtt").or_else(|| resource.get("!Sub"));
        let Some(resource) = resource else { continue };
        let patterns = patterns_of(&role, condition);
        let own = granted.entry(role).or_default();
        for action in actions {
            let permission = |pattern| (action.clone(), text(resource).to_owned(), pattern);
            own.extend(patterns.iter().cloned().map(permission));
        }
    }
    let mut wrong = Vec::new();
    // The statements for tables of each role or managed policy that is wrong.
    let mut statements = BTreeMap::<String, BTreeSet<String>>::new();
    for function in &deployed {
        let needs = function.needs(&store, &large);
        let role = format!("{}Role", logical_name(function.binary));
        let has = granted.remove(&role).unwrap_or_default();
        let line = |what, (action, resource, pattern): &Permission| {
            let of = if pattern.is_empty() { "" } else { " for " };
            format!("{} {what} {action} on {resource}{of}{pattern}", function.binary)
        };
        let before = wrong.len();
        wrong.extend(needs.difference(&has).map(|permission| line("lacks", permission)));
        wrong.extend(has.difference(&needs).map(|permission| line("does not need", permission)));
        if wrong[before..].iter().any(|line| line.contains(" dynamodb:")) {
            let policy = template.policy_for_tables(&role).unwrap_or(role);
            statements.entry(policy).or_default().insert(table_statements(&needs));
        }
        // A function needs the variable to reach the resource.
        let tables = features().into_iter().map(|feature| {
            let variable = format!("{}_TABLE_NAME", feature.to_uppercase());
            (variable, format!("${{{}}}", table_of(&feature)))
        });
        let others = [
            ("BUCKET_NAME", "${Bucket.Arn}"),
            ("SECRETS_PREFIX", "secret:switchboard/"),
            ("CREDENTIAL_STORE", "secret:switchboard/"),
            ("CREDENTIALS_TABLE_NAME", CREDENTIALS_TABLE),
            ("CREDENTIALS_KEY_ARN", CREDENTIALS_KEY),
            ("OUTBOUND_QUEUE_PREFIX", OUTBOUND_QUEUES),
        ];
        let others = others.map(|(variable, part)| (variable.to_owned(), part.to_owned()));
        for (variable, part) in tables.chain(others) {
            let bare = part.trim_start_matches("${").trim_end_matches('}');
            let used = needs.iter().any(|(_, on, _)| on.contains(&part) || on == bare);
            let has_variable = function.variables().contains_key(variable.as_str());
            if used && !has_variable {
                wrong.push(format!("{} has no variable {variable}", function.binary));
            }
        }
    }
    wrong.extend(store.unclear.borrow().iter().cloned());
    let advice = statements.iter().flat_map(|(policy, statements)| {
        statements.iter().map(move |statements| format!("\n  {policy}:\n{statements}"))
    });
    let advice: String = advice.collect();
    assert!(
        wrong.is_empty(),
        "{wrong:#?}\nThe DynamoDB statements of these roles and policies must be:\n{advice}"
    );
}

/// Returns the partition keys or encryption contexts to which the condition of a statement limits it;
/// one empty pattern if there is no condition.
fn patterns_of(role: &str, condition: &Value) -> Vec<String> {
    if condition.is_null() {
        return vec![String::new()];
    }
    if *condition == json!({"Null": {CONTEXT_INTEGRATION: "false"}}) {
        return vec![CONTEXT_INTEGRATION.to_owned()];
    }
    let providers = &condition["StringEquals"][CONTEXT_PROVIDER];
    if !providers.is_null() {
        assert_eq!(*condition, json!({"StringEquals": {CONTEXT_PROVIDER: providers}}), "{role}");
        let providers = each(providers).into_iter();
        return providers.map(|name| format!("{CONTEXT_PROVIDER}={}", text(name))).collect();
    }
    let patterns = &condition["ForAllValues:StringLike"][LEADING_KEYS];
    // `ForAllValues` holds for a request without the condition key, so that must be excluded.
    let expected = json!({"ForAllValues:StringLike": {LEADING_KEYS: patterns},
                          "Null": {LEADING_KEYS: "false"}});
    assert_eq!(*condition, expected, "{role}");
    each(patterns).into_iter().map(|pattern| text(pattern).to_owned()).collect()
}

/// Returns the statements of a role for tables, as they are written in its stack: one for all actions
/// on a table or index that need the same keys.
fn table_statements(needs: &BTreeSet<Permission>) -> String {
    let mut keys = BTreeMap::<(&str, &str), BTreeSet<&str>>::new();
    for (action, resource, pattern) in needs.iter().filter(|need| need.0.starts_with("dynamodb:")) {
        keys.entry((resource.as_str(), action.as_str())).or_default().insert(pattern);
    }
    let mut statements = BTreeMap::<(&str, BTreeSet<&str>), Vec<&str>>::new();
    for ((resource, action), patterns) in keys {
        statements.entry((resource, patterns)).or_default().push(action);
    }
    let statements = statements.into_iter().flat_map(|((resource, patterns), actions)| {
        let parameter = |arn: &str| arn.replace(".Outputs.Arn", "Arn");
        let resource = match resource.strip_prefix("${") {
            Some(index) => format!("!Sub \"${{{}\"", parameter(index)),
            None => format!("!Ref {}", parameter(resource)),
        };
        let patterns: Vec<String> =
            patterns.into_iter().map(|pattern| format!("\"{pattern}\"")).collect();
        let (actions, patterns) = (actions.join(", "), patterns.join(", "));
        [
            "- Effect: Allow".to_owned(),
            format!("  Action: [{actions}]"),
            format!("  Resource: {resource}"),
            "  Condition:".to_owned(),
            format!("    ForAllValues:StringLike: {{ {LEADING_KEYS}: [{patterns}] }}"),
            format!("    \"Null\": {{ {LEADING_KEYS}: \"false\" }}"),
        ]
    });
    let lines: Vec<String> = statements.map(|line| format!("              {line}\n")).collect();
    lines.concat()
}

#[test]
fn only_the_authorizer_reads_an_api_key_and_only_the_api_of_tenants_writes_one() {
    let template = Template::read();
    let key = "KEY#key_00000000000000000000000000";
    let mut users = BTreeMap::<String, BTreeSet<String>>::new();
    for Granted { role, actions, condition, .. } in template.permissions() {
        let tables = actions.into_iter().filter(|action| action.starts_with("dynamodb:"));
        for action in tables {
            let patterns = patterns_of(&role, condition);
            assert!(!patterns.contains(&String::new()), "{role}: {action} for every key");
            if patterns.iter().any(|pattern| templates::matches(pattern, key)) {
                users.entry(role.clone()).or_default().insert(action);
            }
        }
    }
    let set = |actions: &[&str]| actions.iter().map(|action| (*action).to_owned()).collect();
    let expected = BTreeMap::from([
        ("ApiAuthorizerRole".to_owned(), set(&["dynamodb:GetItem"])),
        ("ApiTenantsRole".to_owned(), set(&["dynamodb:DeleteItem", "dynamodb:PutItem"])),
    ]);
    assert_eq!(users, expected);
}

#[test]
fn every_route_with_the_authorizer_checks_the_restrictions_of_keys() {
    let (template, folders) = (Template::read(), function_folders());
    let mut checked = 0;
    for (binary, (name, _)) in template.functions() {
        let routes = template.0.routes(name);
        if routes.iter().all(|route| route.is_open) {
            continue;
        }
        // `runtime::api` serves resources, and checks the restrictions before it calls one.
        let own = module(&module_of(&folders[&binary])).expect("a module");
        assert!(own.contains(" Resource for "), "{binary} is not a resource of runtime::api");
        checked += 1;
    }
    assert!(checked > 5, "{checked} functions");
    let framework = read("shared/runtime/src/api/mod.rs");
    assert_eq!(framework.matches("restrictions::check(").count(), 1);
}

#[test]
fn calls_and_permissions_are_derived_from_the_sources() {
    let source = "fn a() { self.store\n    .claim(x).await; Put::builder(); own::<T>(b) }";
    let found = calls(source);
    for call in [Call::Method("store", "claim"), Call::Path("Put", "builder"), Call::Free("own")] {
        assert!(found.contains(&call), "{found:?}");
    }
    let store = Store::read();
    let requests = |port, method| -> Vec<String> {
        let permissions = store.permissions(port, method).into_iter();
        permissions.map(|(action, _, pattern)| format!("{action} {pattern}")).collect()
    };
    assert_eq!(requests("Inbox", "record"), ["dynamodb:PutItem T#*#MSG#*"]);
    assert_eq!(
        requests("Directory", "integration"),
        ["dynamodb:GetItem INT#*", "dynamodb:GetItem T#*#INT"]
    );
    // The index and the table; a list is in several partitions.
    assert_eq!(
        requests("JobStats", "stats"),
        ["dynamodb:Query T#*#HELD*", "dynamodb:Query T#*#COUNT*", "dynamodb:Query T#*#QUEUE"]
    );
    // The key is in a variable, and the writes are those of a transaction.
    assert_eq!(
        requests("PullingTenants", "stop_tracking"),
        ["dynamodb:ConditionCheckItem T#*#TENANT", "dynamodb:DeleteItem PULLING"]
    );
    assert_eq!(requests("Circuits", "set_circuit"), ["dynamodb:PutItem T#*#CIRCUIT#*"]);
    // The item is made by another function, and has keys of an index that are not its own.
    assert_eq!(
        requests("EventLog", "record_event"),
        ["dynamodb:PutItem T#*#EVENT#*", "dynamodb:PutItem T#*#ONCE#*#*"]
    );
    // The keys are the elements of a list, or a parameter.
    let claimed = ["ACCOUNT#*#*", "PATH#*#*", "PLATFORM#*"];
    let written: Vec<String> = claimed
        .iter()
        .map(|pattern| format!("dynamodb:DeleteItem {pattern}"))
        .chain(
            ["ACCOUNT#*#*", "INT#*", "PATH#*#*", "PLATFORM#*", "T#*#AUDIT", "T#*#INT"]
                .iter()
                .map(|pattern| format!("dynamodb:PutItem {pattern}")),
        )
        .collect();
    assert_eq!(requests("Registry", "put_integration"), written);
    // An index, and the items that it lists.
    assert_eq!(
        requests("MessageReader", "messages"),
        ["dynamodb:BatchGetItem T#*#MSG#*", "dynamodb:Query T#*#C#*"]
    );
    assert_eq!(requests("Schedule", "remove"), ["dynamodb:BatchWriteItem DUE#*"]);
    // Every method of a port that a repository implements makes a request.
    for (port, methods) in ports() {
        let known: Vec<_> =
            methods.iter().filter(|method| store.implements(&port, method)).collect();
        for method in known {
            assert!(
                !store.permissions(&port, method).is_empty(),
                "{port}::{method} makes no request"
            );
        }
    }
    assert!(store.unclear.borrow().is_empty(), "{:#?}", store.unclear);
    assert!(has_media(Provider::Evolution) && !has_media(Provider::Custom));
}
