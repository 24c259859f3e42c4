//! What each role may do, held against what its function does.
//!
//! What a function does is read from its sources: its `main.rs` names a module of `runtime`, the
//! module names its ports and calls them, and `store` says which requests a port makes. Queues
//! are read from the environment, with the module's word on whether large bodies go along.

use std::collections::{BTreeMap, BTreeSet};

use domain::event::EventKind;
use domain::webhook::{Delivery, receive};
use domain::{Credentials, IntegrationId, Provider};
use providers::example::{self, Seed};
use serde_json::Value;

use crate::{Template, function_folders, logical_name, names_in, read, secrets_of, text};

/// A right: an action and the resource it is for, as the template writes it.
type Right = (String, String);

/// What ports ask of the bucket: trait, method, action and resource. What they ask of the table is
/// read from `store`.
const OF_THE_BUCKET: &[[&str; 4]] = &[
    ["Archive", "keep", "s3:PutObject", "${Bucket.Arn}/archive/*"],
    ["EventBodies", "put_body", "s3:PutObject", "${Bucket.Arn}/archive/*"],
    ["EventBodyReader", "body", "s3:GetObject", "${Bucket.Arn}/archive/*"],
    // Without the list S3 says of an object that is gone that it is forbidden.
    ["EventBodyReader", "body", "s3:ListBucket", "Bucket.Arn"],
    ["MediaShelf", "put", "s3:PutObject", "${Bucket.Arn}/media/*"],
    ["MediaShelf", "link", "s3:GetObject", "${Bucket.Arn}/media/*"],
];

const READS: &[&str] = &["secretsmanager:GetSecretValue"];
const WRITES: &[&str] = &[
    "secretsmanager:GetSecretValue",
    "secretsmanager:CreateSecret",
    "secretsmanager:PutSecretValue",
];

/// What its methods ask of the secrets, and whether those are an automation's.
const OF_THE_VAULT: &[(&str, &str, &[&str], bool)] = &[
    ("Vault", "credentials", READS, false),
    ("Vault", "signing_secrets", READS, true),
    ("Safe", "store", WRITES, false),
    ("Safe", "add_signing_secret", WRITES, true),
];

/// Requests to the table: the client's method or the part of a transaction, and the action.
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

/// A call in a source: what stands before the name, and the name.
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

/// The word at the end of a text, and what stands before it.
fn last_word(text: &str) -> (&str, &str) {
    text.split_at(text.trim_end_matches(is_word).len())
}

/// Every call in a source, and every definition of a function as a call of its name.
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

/// The block that begins with the first `{` of a text.
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
    panic!("a block without an end: {}", &text[..60.min(text.len())]);
}

/// A source without its tests.
fn source(path: &str) -> String {
    let text = read(path);
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned()
}

/// A function in a source.
struct Function<'a> {
    /// Of which trait it is, empty if of none; `None` if it stands alone.
    of: Option<String>,
    name: String,
    body: &'a str,
    /// Whether other modules call it.
    is_shared: bool,
}

/// The functions of a source.
fn functions_of(source: &str) -> Vec<Function<'_>> {
    let mut homes = Vec::new();
    for (at, _) in source.match_indices("\nimpl") {
        let head = source[at..].split('{').next().unwrap_or_default();
        let home = block(&source[at..]);
        let of = head.split_once(" for ").map_or("", |(before, _)| last_word(before).1);
        let start = at + head.len();
        homes.push((start..start + home.len(), of.to_owned()));
    }
    let mut found = Vec::new();
    for (at, _) in source.match_indices("fn ") {
        let name = source[at + 3..].split(['(', '<']).next().unwrap_or_default();
        let rest = &source[at..];
        // A trait's own method may have no body.
        let ends = rest.find(';').unwrap_or(usize::MAX);
        if !name.chars().all(is_word) || rest.find('{').is_none_or(|begins| begins > ends) {
            continue;
        }
        let home = homes.iter().find(|(range, _)| range.contains(&at));
        let before = source[..at].rsplit('\n').next().unwrap_or_default();
        found.push(Function {
            of: home.map(|(_, of)| of.clone()),
            name: name.to_owned(),
            body: block(rest),
            is_shared: before.starts_with("pub(crate)"),
        });
    }
    found
}

/// Whose, and which.
type Name = (Option<String>, String);

/// What the functions of `store` ask of the table.
struct Store(BTreeMap<Name, String>);

impl Store {
    fn read() -> Self {
        let mut all = BTreeMap::<Name, String>::new();
        for file in names_in("shared/store/src") {
            let source = source(&format!("shared/store/src/{file}"));
            for function in functions_of(&source) {
                all.entry((function.of, function.name)).or_default().push_str(function.body);
            }
        }
        Self(all)
    }

    /// Every right that a method of a port needs.
    fn rights(&self, port: &str, method: &str) -> BTreeSet<Right> {
        let (mut rights, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut left = vec![(Some(port.to_owned()), method.to_owned())];
        while let Some(name) = left.pop() {
            let Some(body) = self.0.get(&name) else { continue };
            if !seen.insert(name) {
                continue;
            }
            for call in calls(body) {
                match call {
                    Call::Method("self" | "store", "query") => {
                        let index = body.contains(".index_name(");
                        let place =
                            if index { "${Table.Arn}/index/by_parent" } else { "Table.Arn" };
                        rights.insert(("dynamodb:Query".to_owned(), place.to_owned()));
                    }
                    Call::Method(on, called) => {
                        rights.extend(of_the_table(called));
                        if matches!(on, "self" | "store") {
                            left.extend(self.named(called));
                        }
                    }
                    Call::Path(request, "builder") => rights.extend(of_the_table(request)),
                    Call::Path(of, called) => left.push((Some(of.to_owned()), called.to_owned())),
                    Call::Free(called) => left.push((None, called.to_owned())),
                }
            }
        }
        rights
    }

    /// The functions that `self.name()` may mean: the store's own before a port's.
    fn named(&self, name: &str) -> Vec<Name> {
        let own = (Some(String::new()), name.to_owned());
        if self.0.contains_key(&own) {
            return vec![own];
        }
        self.0.keys().filter(|(of, known)| of.is_some() && known == name).cloned().collect()
    }
}

fn of_the_table(call: &str) -> Option<Right> {
    let (_, action) = OF_THE_TABLE.iter().find(|(known, _)| *known == call)?;
    Some(((*action).to_owned(), "Table.Arn".to_owned()))
}

/// The ports and their methods.
fn ports() -> BTreeMap<String, Vec<String>> {
    let source = read("shared/domain/src/ports.rs");
    let traits = source.match_indices("pub trait ").map(|(at, start)| {
        let rest = &source[at + start.len()..];
        let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
        let methods = block(rest).split("fn ").skip(1);
        let methods = methods.map(|method| method.chars().take_while(|c| is_word(*c)).collect());
        (name, methods.collect())
    });
    traits.collect()
}

/// The source of a module of `runtime`, if there is such a one.
fn module(path: &str) -> Option<String> {
    let path = path.replace("::", "/");
    let files = [format!("{path}.rs"), format!("{path}/mod.rs")];
    let files = files.map(|file| format!("shared/runtime/src/{file}"));
    files.iter().find(|file| crate::root().join(file).exists()).map(|file| source(file))
}

/// The module that a function runs.
fn module_of(folder: &str) -> String {
    let main = read(&format!("{folder}/src/main.rs"));
    let (_, path) = main.rsplit_once("    runtime::").expect("a module");
    path.split("::run(").next().expect("a module").to_owned()
}

/// Whether a module is a function's own, and no helper of several.
fn is_function(module: &str) -> bool {
    module.contains("\npub fn run(")
}

/// What a source names of `runtime`: a module, and what of it.
fn named_in(source: &str, home: &str) -> Vec<(String, Option<String>)> {
    let mut named = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in source.match_indices(start) {
            let path = &source[at + start.len()..];
            let path: String = path.chars().take_while(|c| is_word(*c) || *c == ':').collect();
            let parts: Vec<&str> = path.split("::").collect();
            let parent = home.rsplit_once("::").map(|(parent, _)| parent);
            let (module, what) = match (start, parent, parts.as_slice()) {
                ("crate::", _, ["api", name, rest @ ..]) => (format!("api::{name}"), rest.first()),
                ("crate::", _, [name, rest @ ..]) => ((*name).to_owned(), rest.first()),
                (_, Some(parent), [name, rest @ ..]) => (format!("{parent}::{name}"), rest.first()),
                _ => continue,
            };
            named.push((module, what.map(|what| (*what).to_owned())));
        }
    }
    named
}

/// What a function runs: of its module the methods and what they call, of other functions'
/// modules what is called, and of helpers everything.
fn with_helpers(path: &str) -> Vec<String> {
    let own = module(path).unwrap_or_else(|| panic!("there is no module {path}"));
    let uses = own.lines().filter(|line| line.starts_with("use ")).collect::<Vec<_>>().join("\n");
    let mut left = vec![(path.to_owned(), uses)];
    for function in functions_of(&own) {
        // What is there for other functions is theirs, unless it is called.
        if function.of.is_some() || !function.is_shared {
            left.push((path.to_owned(), function.body.to_owned()));
        }
    }
    let (mut seen, mut all) = (BTreeSet::from([path.to_owned()]), Vec::new());
    while let Some((home, source)) = left.pop() {
        let own = calls(&source).into_iter().filter_map(|call| match call {
            Call::Free(name) => Some((home.clone(), Some(name.to_owned()))),
            Call::Method(..) | Call::Path(..) => None,
        });
        for (name, what) in own.chain(named_in(&source, &home)) {
            let Some(text) = module(&name) else { continue };
            if !is_function(&text) {
                if seen.insert(name.clone()) {
                    left.push((name, text));
                }
            } else if let Some(what) = what {
                let called = functions_of(&text).into_iter();
                for one in called.filter(|one| one.of.is_none() && one.name == what) {
                    if seen.insert(format!("{name}::{what}")) {
                        left.push((name.clone(), one.body.to_owned()));
                    }
                }
            }
        }
        all.push(source);
    }
    all
}

/// Whether what is too large for the queue in `variable` goes to the bucket; `None` if the module
/// puts nothing into it.
fn checks_in(module: &str, variable: &str) -> Option<bool> {
    let argument = |after: &str| {
        let after = after.trim_start_matches([',', ' ', '\n']);
        // Where the module names several in one place it says it there.
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

/// A function as it is deployed, and what it is made of.
struct Deployed<'a> {
    binary: &'a str,
    logical: &'a str,
    properties: &'a Value,
    module: String,
    sources: Vec<String>,
}

impl Deployed<'_> {
    fn variables(&self) -> BTreeMap<&str, &Value> {
        let variables = self.properties["Environment"]["Variables"].as_object();
        variables.into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect()
    }

    /// The queues it puts records into, with whether large bodies go to the bucket. Not its
    /// dead letters.
    fn sends_to(&self) -> Vec<(String, bool)> {
        let own = module(&self.module).expect("a module");
        let mut queues = Vec::new();
        for (name, value) in self.variables() {
            if !name.ends_with("QUEUE_URL") || name == "DEAD_LETTER_QUEUE_URL" {
                continue;
            }
            match checks_in(&own, name) {
                Some(large) => queues.push((queue_of(value), large)),
                // Its own queue is there to postpone what came from it.
                None => assert_eq!(name, "QUEUE_URL", "{}: nobody reads {name}", self.binary),
            }
        }
        queues
    }

    /// The queue it reads.
    fn reads(&self) -> Option<String> {
        let events = self.properties["Events"].as_object().into_iter().flatten();
        let mut queues = events.filter(|(_, event)| event["Type"] == "SQS");
        let (_, event) = queues.next()?;
        let arn = text(&event["Properties"]["Queue"]["!GetAtt"]);
        Some(arn.strip_suffix(".Outputs.Arn").expect("a queue").to_owned())
    }

    /// Whose secrets it works with.
    fn providers(&self) -> Vec<Provider> {
        let webhooks = providers::webhooks().map(|webhook| (webhook.name(), webhook.provider()));
        match self.binary.split_once('-') {
            Some(("webhook", name)) => {
                webhooks.filter(|(known, _)| *known == name).map(|(_, provider)| provider).collect()
            }
            Some(("sender", name)) => {
                Provider::ALL.iter().copied().filter(|provider| provider.as_str() == name).collect()
            }
            Some(("consumer", "media")) => {
                Provider::ALL.iter().copied().filter(|provider| gives_files(*provider)).collect()
            }
            // A module that is for some providers names them.
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

    /// Everything it needs.
    fn needs(&self, store: &Store, large: &BTreeSet<String>) -> BTreeSet<Right> {
        let mut needs = BTreeSet::new();
        let mut may = |action: &str, resource: &str| {
            needs.insert((action.to_owned(), resource.to_owned()));
        };
        for action in ["logs:CreateLogStream", "logs:PutLogEvents"] {
            may(action, &format!("{}Logs.Arn", self.logical));
        }
        for (port, method) in self.calls() {
            for (action, resource) in store.rights(&port, &method) {
                may(&action, &resource);
            }
            for [of, called, action, resource] in OF_THE_BUCKET {
                if (*of, *called) == (port.as_str(), method.as_str()) {
                    may(action, resource);
                }
            }
            let vault = OF_THE_VAULT
                .iter()
                .filter(|(p, m, ..)| (*p, *m) == (port.as_str(), method.as_str()));
            for (_, _, actions, automation) in vault {
                let whose: Vec<String> = if *automation {
                    vec![secrets_of("automation")]
                } else {
                    self.providers().into_iter().map(|p| secrets_of(p.as_str())).collect()
                };
                for (action, secret) in
                    whose.iter().flat_map(|s| actions.iter().map(move |a| (a, s)))
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

    /// The methods of ports that it calls.
    fn calls(&self) -> Vec<(String, String)> {
        let called: BTreeSet<&str> = self
            .sources
            .iter()
            .flat_map(|source| calls(source))
            .filter_map(|call| match call {
                // The kit makes the parts, and what is called in a chain is no port.
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
    url.strip_suffix(".Outputs.Url").unwrap_or_else(|| panic!("no queue: {url}")).to_owned()
}

/// The ids of files in the provider's examples.
fn file_ids(provider: Provider) -> Vec<String> {
    let credentials = (example::of(provider).credentials)();
    let id = IntegrationId::derived(&["house"]);
    let integration = example::integration(provider, id, "acme".parse().expect("a tenant"));
    let integration = integration.expect("an integration");
    let mut ids = Vec::new();
    for (_, one) in example::all().filter(|(whose, _)| *whose == provider) {
        let draft = (one.draft)(&Seed::fixed(&one.full_name()));
        let url = "https://hub.example.com/webhooks";
        let request = example::signed(provider, one, &draft, url, Seed::FIXED);
        let source = example::webhook(provider, one).source(&integration, &credentials);
        let Ok(Delivery::Events(events)) = receive(&*source, &request, Seed::FIXED) else {
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

/// Whether the hub fetches files of this provider's messages: one of its examples has one.
fn gives_files(provider: Provider) -> bool {
    let ids = file_ids(provider);
    let Some(sending) = providers::entry(provider).sending.as_ref().filter(|_| !ids.is_empty())
    else {
        return false;
    };
    let stand_in = sending.stand_in.iter();
    let credentials =
        Credentials::new(stand_in.map(|(name, value)| ((*name).to_owned(), vec![(*value).into()])));
    let id = IntegrationId::derived(&["house"]);
    let tenant = "acme".parse().expect("a tenant");
    let mut integration = example::integration(provider, id, tenant).expect("an integration");
    // What takes webhooks alone may need less than what sends.
    let mut settings = (example::of(provider).settings)();
    settings.insert("base_url".to_owned(), "https://provider.example.com".into());
    if let Ok(settings) = (providers::entry(provider).settings)(&settings) {
        integration.settings = settings;
    }
    let sender = sending.provider.sender(&integration, &credentials);
    let sender = sender.unwrap_or_else(|error| panic!("{provider} cannot be asked: {error}"));
    ids.iter().any(|id| sender.locate_media(id).is_ok())
}

#[test]
fn no_function_lacks_a_right_or_has_one_that_it_does_not_need() {
    let template = Template::read();
    let (functions, folders, store) = (template.functions(), function_folders(), Store::read());
    let deployed: Vec<_> = functions
        .iter()
        .map(|(binary, (logical, properties))| {
            let module = module_of(&folders[binary]);
            let sources = with_helpers(&module);
            Deployed { binary, logical, properties, module, sources }
        })
        .collect();
    let large = deployed.iter().flat_map(Deployed::sends_to).filter(|(_, large)| *large);
    let large: BTreeSet<String> = large.map(|(queue, _)| queue).collect();

    let mut granted = BTreeMap::<String, BTreeSet<Right>>::new();
    for (role, actions, resource) in template.rights() {
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
        let line = |what, (action, resource): &Right| {
            format!("{} {what} {action} on {resource}", function.binary)
        };
        wrong.extend(needs.difference(&has).map(|right| line("lacks", right)));
        wrong.extend(has.difference(&needs).map(|right| line("does not need", right)));
        // What a function is not told of it cannot reach.
        for (variable, part) in [
            ("TABLE_NAME", "${Table.Arn}"),
            ("BUCKET_NAME", "${Bucket.Arn}"),
            ("SECRETS_PREFIX", "secret:switchboard/"),
        ] {
            let bare = part.trim_start_matches("${").trim_end_matches('}');
            let used = needs.iter().any(|(_, on)| on.contains(part) || on == bare);
            let told = function.variables().contains_key(variable);
            if used && !told {
                wrong.push(format!("{} is not told {variable}", function.binary));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_read_from_the_sources_is_what_they_say() {
    let source = "fn a() { self.store\n    .claim(x).await; Put::builder(); own::<T>(b) }";
    let found = calls(source);
    for call in [Call::Method("store", "claim"), Call::Path("Put", "builder"), Call::Free("own")] {
        assert!(found.contains(&call), "{found:?}");
    }
    let store = Store::read();
    let actions = |port, method| -> Vec<String> {
        store.rights(port, method).into_iter().map(|(action, _)| action).collect()
    };
    assert_eq!(actions("Inbox", "record"), ["dynamodb:PutItem"]);
    assert_eq!(actions("Directory", "integration"), ["dynamodb:GetItem"]);
    assert_eq!(actions("JobFigures", "figures"), ["dynamodb:Query"]);
    // Every method of a port of the table's asks something of it.
    for (port, methods) in ports() {
        let known: Vec<_> = methods
            .iter()
            .filter(|method| store.0.contains_key(&(Some(port.clone()), (*method).clone())))
            .collect();
        for method in known {
            assert!(!store.rights(&port, method).is_empty(), "{port}::{method} asks nothing");
        }
    }
    assert!(gives_files(Provider::Evolution) && !gives_files(Provider::Custom));
}
