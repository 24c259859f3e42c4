//! Requests of the repositories to the tables: the action, the table or index, and the partition keys.
//!
//! They are derived from the sources. A repository calls a method of `table`, which shows the actions.
//! Its arguments show the keys: they call a function of the feature's `keys.rs`, or name a variable or
//! a parameter that was made with one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::keys::{self, Partition};
use crate::sources::{
    Call, Site, arguments, calls, code, end_of, functions_of, sites, source, words,
};
use crate::{logical_name, names_in};

/// A permission: an action, its resource in the template's notation, and for a table the pattern of
/// the partition keys.
pub(crate) type Permission = (String, String, String);

/// Requests to the table: the client's method or the transaction item, and the action.
const ACTIONS: &[(&str, &str)] = &[
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

const QUERY: &str = "dynamodb:Query";

/// Maximum number of calls between a key and its request.
const MAX_DEPTH: u8 = 8;

/// An action, and whether it is on the index.
type Action = (&'static str, bool);

/// Functions of `keys.rs`, each with its feature: where a value may come from.
type Origins = BTreeSet<(String, String)>;

/// A function's package, trait and name.
type Name = (String, Option<String>, String);

/// Crate with the functions that every repository uses.
const TABLE: &str = "table";

/// A function of a repository or of `table`.
struct Definition {
    parameters: Vec<String>,
    body: String,
    /// Whether it returns keys, items or partitions.
    carries_keys: bool,
}

/// The functions of the repositories and of `table`.
pub(crate) struct Store {
    functions: BTreeMap<Name, Vec<Definition>>,
    /// Partitions of each feature, by the function or constant of its `keys.rs`.
    partitions: BTreeMap<String, BTreeMap<String, Partition>>,
    /// What was derived for methods of ports.
    derived: RefCell<BTreeMap<(String, String), BTreeSet<Permission>>>,
    /// Requests whose keys were not visible to [`Store::permissions`].
    pub(crate) unclear: RefCell<BTreeSet<String>>,
}

/// A function that is derived, with the origins of its parameters.
type Frame = (Name, Vec<Origins>);

/// What was found so far.
#[derive(Default)]
struct Found {
    permissions: BTreeSet<Permission>,
    /// Requests without a visible key.
    unclear: BTreeSet<String>,
    /// Frames whose requests are in `permissions`, or are being added.
    seen: BTreeSet<Frame>,
}

impl Store {
    pub(crate) fn read() -> Self {
        let mut functions = BTreeMap::<Name, Vec<Definition>>::new();
        let features = keys::features();
        let repositories = features
            .iter()
            .map(|feature| (feature.clone(), format!("shared/features/{feature}/src/repository")));
        let table = (TABLE.to_owned(), "shared/table/src".to_owned());
        for (package, folder) in repositories.chain([table]) {
            for file in names_in(&folder).into_iter().filter(|file| file != "keys.rs") {
                let source = code(&source(&format!("{folder}/{file}")));
                for function in functions_of(&source) {
                    let name = (package.clone(), function.of, function.name);
                    let types = ["Key", "Item", "List", "String"];
                    let definition = Definition {
                        parameters: function
                            .parameters
                            .into_iter()
                            .map(ToOwned::to_owned)
                            .collect(),
                        body: function.body.to_owned(),
                        carries_keys: words(function.returns)
                            .any(|(_, word)| types.contains(&word)),
                    };
                    functions.entry(name).or_default().push(definition);
                }
            }
        }
        let partitions =
            features.into_iter().map(|feature| (feature.clone(), keys::partitions(&feature)));
        Self {
            functions,
            partitions: partitions.collect(),
            derived: RefCell::default(),
            unclear: RefCell::default(),
        }
    }

    /// Whether a repository implements this method of a port.
    pub(crate) fn implements(&self, port: &str, method: &str) -> bool {
        self.functions.keys().any(|(_, of, name)| of.as_deref() == Some(port) && name == method)
    }

    /// Returns the permissions that a method of a port needs.
    pub(crate) fn permissions(&self, port: &str, method: &str) -> BTreeSet<Permission> {
        let key = (port.to_owned(), method.to_owned());
        if let Some(known) = self.derived.borrow().get(&key) {
            return known.clone();
        }
        let mut found = Found::default();
        for feature in self.partitions.keys() {
            let name = (feature.clone(), Some(port.to_owned()), method.to_owned());
            self.derive(&(name, Vec::new()), &mut found);
        }
        self.unclear.borrow_mut().extend(found.unclear);
        self.derived.borrow_mut().insert(key, found.permissions.clone());
        found.permissions
    }

    /// Adds the requests of a function and of those that it calls.
    fn derive(&self, frame: &Frame, found: &mut Found) {
        let (name, inputs) = frame;
        if !self.functions.contains_key(name) || !found.seen.insert(frame.clone()) {
            return;
        }
        for definition in &self.functions[name] {
            let scope = Scope::new(self, &name.0, definition, inputs, 0);
            for site in sites(&definition.body) {
                let actions = self.actions_of(&site, &definition.body);
                if actions.is_empty() {
                    for called in self.called(&name.0, &site) {
                        let inputs = arguments(site.arguments());
                        let inputs = inputs.into_iter().map(|input| scope.origins(input));
                        self.derive(&(called, inputs.collect()), found);
                    }
                    continue;
                }
                for action in actions {
                    let patterns = scope.patterns(action, &site, &definition.body);
                    if patterns.is_empty() {
                        let (feature, _, function) = name;
                        let (Call::Method(_, called) | Call::Path(_, called) | Call::Free(called)) =
                            site.call;
                        found.unclear.insert(format!(
                            "{feature}: `{function}` calls `{called}`, and its arguments do not show \
                             which function of keys.rs the key is from: call it there, or in a \
                             variable that is passed"
                        ));
                    }
                    let arn = table_of(&name.0);
                    let resource =
                        if action.1 { format!("${{{arn}}}/index/by_parent") } else { arn };
                    let permission = |pattern| (action.0.to_owned(), resource.clone(), pattern);
                    found.permissions.extend(patterns.into_iter().map(permission));
                }
            }
        }
    }

    /// Returns the actions of a call of `table` in the body of a repository's function.
    fn actions_of(&self, site: &Site<'_>, body: &str) -> BTreeSet<Action> {
        let (of, name) = match site.call {
            Call::Method("table", name) => (Some(String::new()), name),
            // A constant, such as a schedule.
            Call::Method(on, name) if is_constant(on) => (Some(String::new()), name),
            Call::Free(name) => (None, name),
            Call::Method(..) | Call::Path(..) => return BTreeSet::new(),
        };
        let mut actions = BTreeSet::new();
        if name == "query" && of.is_some() {
            actions.insert((QUERY, is_of_index(body)));
        }
        self.add_actions(
            &(TABLE.to_owned(), of, name.to_owned()),
            &mut actions,
            &mut BTreeSet::new(),
        );
        actions
    }

    /// Adds the actions of a function of `table`.
    fn add_actions(&self, name: &Name, actions: &mut BTreeSet<Action>, seen: &mut BTreeSet<Name>) {
        let Some(definitions) = self.functions.get(name) else { return };
        if !seen.insert(name.clone()) {
            return;
        }
        let known = |call: &str| {
            let (_, action) = ACTIONS.iter().find(|(known, _)| *known == call)?;
            Some((*action, false))
        };
        let inherent = |name: &str| (TABLE.to_owned(), Some(String::new()), name.to_owned());
        for definition in definitions {
            for call in calls(&definition.body) {
                match call {
                    Call::Method("self" | "table", "query") => {
                        actions.insert((QUERY, is_of_index(&definition.body)));
                    }
                    Call::Method(on, called) => {
                        actions.extend(known(called));
                        if matches!(on, "self" | "table") {
                            self.add_actions(&inherent(called), actions, seen);
                        }
                    }
                    Call::Path(request, "builder") | Call::Path("Kind", request) => {
                        actions.extend(known(request));
                    }
                    Call::Path(..) => {}
                    Call::Free(called) => {
                        self.add_actions(
                            &(TABLE.to_owned(), None, called.to_owned()),
                            actions,
                            seen,
                        );
                    }
                }
            }
        }
    }

    /// Returns the functions of repositories that a call in the repository of `owner` may call.
    fn called(&self, owner: &str, site: &Site<'_>) -> Vec<Name> {
        let named = |owner: &str, of: Option<&str>, name: &str| {
            let name = (owner.to_owned(), of.map(ToOwned::to_owned), name.to_owned());
            self.functions.contains_key(&name).then_some(name)
        };
        let method = |owner: &str, name: &str| {
            if let Some(own) = named(owner, Some(""), name) {
                return vec![own];
            }
            let of_ports = self
                .functions
                .keys()
                .filter(|(package, of, known)| package == owner && of.is_some() && known == name);
            of_ports.cloned().collect()
        };
        match site.call {
            Call::Method("self", name) | Call::Path("Self", name) => method(owner, name),
            Call::Method(feature, name) if self.partitions.contains_key(feature) => {
                method(feature, name)
            }
            Call::Free(name) => named(owner, None, name).into_iter().collect(),
            Call::Path(of, name) => {
                let is_module = of.starts_with(|c: char| c.is_ascii_lowercase());
                named(owner, Some(of).filter(|_| !is_module), name).into_iter().collect()
            }
            Call::Method(..) => Vec::new(),
        }
    }
}

/// The variables of a function.
struct Scope<'a> {
    store: &'a Store,
    owner: &'a str,
    variables: BTreeMap<String, Origins>,
    /// Number of calls from the function whose requests are derived.
    depth: u8,
}

impl<'a> Scope<'a> {
    fn new(
        store: &'a Store,
        owner: &'a str,
        definition: &Definition,
        inputs: &[Origins],
        depth: u8,
    ) -> Self {
        let parameters = definition.parameters.iter().cloned();
        let variables = parameters.zip(inputs.iter().cloned()).collect();
        let mut scope = Self { store, owner, variables, depth };
        let assignments = assignments(&definition.body);
        loop {
            let before = scope.variables.clone();
            for (names, value) in &assignments {
                let origins = scope.origins(value);
                for name in names {
                    scope.variables.entry((*name).to_owned()).or_default().extend(origins.clone());
                }
            }
            if scope.variables == before {
                return scope;
            }
        }
    }

    /// Returns where the keys in an expression come from. A request has no keys in its result.
    fn origins(&self, text: &str) -> Origins {
        let mut origins = Origins::new();
        let sites = sites(text);
        let mut skipped = 0;
        for (at, word) in words(text) {
            if at < skipped {
                continue;
            }
            let before = text[..at].trim_end();
            let end = at + word.len();
            let site = sites.iter().find(|site| site.start > end).filter(|site| {
                let between = &text[end..site.start - 1];
                between.is_empty() || between.starts_with("::<") && between.ends_with('>')
            });
            let after = site.map_or(end, |site| site.start + site.arguments().len());
            if before.ends_with("keys::") {
                let is_known = self.store.partitions[self.owner].contains_key(word);
                origins.extend(is_known.then(|| (self.owner.to_owned(), word.to_owned())));
                skipped = after;
            } else if let Some(site) = site {
                let called = self.store.called(self.owner, site);
                if !called.is_empty() || !self.store.actions_of(site, text).is_empty() {
                    skipped = after;
                }
                for name in called {
                    for definition in &self.store.functions[&name] {
                        if definition.carries_keys && self.depth < MAX_DEPTH {
                            let inputs = arguments(site.arguments());
                            let inputs = inputs.into_iter().map(|input| self.origins(input));
                            let inputs: Vec<Origins> = inputs.collect();
                            let depth = self.depth + 1;
                            let inner = Scope::new(self.store, &name.0, definition, &inputs, depth);
                            origins.extend(inner.origins(&definition.body));
                        }
                    }
                }
            } else if !before.ends_with(['.', ':']) && !text[end..].starts_with("::") {
                origins.extend(self.variables.get(word).into_iter().flatten().cloned());
            }
        }
        origins
    }

    /// Returns the patterns of the partition keys of a request.
    fn patterns(&self, action: Action, site: &Site<'_>, body: &str) -> BTreeSet<String> {
        let is_query = action.0 == QUERY;
        let mut origins = self.origins(site.arguments());
        if let Call::Method(on, _) = site.call
            && is_constant(on)
        {
            origins.insert((self.owner.to_owned(), on.to_owned()));
        }
        if is_query && site.arguments().is_empty() {
            // The partition is in an expression of the query.
            origins = self.origins(body);
            origins.extend(self.variables.values().flatten().cloned());
        }
        let of = |is_item: bool| -> BTreeSet<String> {
            let partitions = origins.iter().filter_map(|(feature, function)| {
                let partition = self.store.partitions.get(feature)?.get(function)?;
                (partition.is_item == is_item).then(|| partition.pattern.clone())
            });
            partitions.collect()
        };
        if is_query {
            let partitions = of(false);
            return if partitions.is_empty() { of(true) } else { partitions };
        }
        let items = of(true);
        if !items.is_empty() {
            return items;
        }
        // The items of an index: `messages_of` lists what `message` is the key of.
        let listed = origins.iter().filter_map(|(feature, function)| {
            let item = function.strip_suffix("s_of")?;
            Some(self.store.partitions.get(feature)?.get(item)?.pattern.clone())
        });
        listed.collect()
    }
}

/// Returns what the variables of a function are assigned: the names, and the expression.
fn assignments(body: &str) -> Vec<(Vec<&str>, &str)> {
    let mut found = Vec::new();
    for (at, word) in words(body) {
        let rest = &body[at + word.len()..];
        let (pattern, value) = match word {
            "let" => {
                let Some((pattern, value)) = rest.split_once('=') else { continue };
                let before = body[..at].trim_end();
                let is_condition = ["if", "while", "&&"].iter().any(|one| before.ends_with(one));
                let end = end_of(value, |c| c == ';' || c == '{' && is_condition);
                (pattern, &value[..end])
            }
            "for" => {
                let Some((pattern, value)) = rest.split_once(" in ") else { continue };
                (pattern, &value[..end_of(value, |c| c == '{')])
            }
            // `x.push(y)`, and the assignment `x = y`.
            _ => {
                if let Some((_, call)) = ["push", "extend", "insert"].iter().find_map(|method| {
                    let call = rest.strip_prefix('.')?.strip_prefix(method)?;
                    Some((method, call.strip_prefix('(')?))
                }) {
                    (word, &call[..end_of(call, |_| false)])
                } else if let Some(value) = rest.strip_prefix(" = ") {
                    (word, &value[..end_of(value, |c| c == ';')])
                } else {
                    continue;
                }
            }
        };
        // A pattern's types and paths have no lower-case names that are variables.
        let names = words(pattern).map(|(_, name)| name);
        let names = names.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
        found.push((names.collect(), value));
    }
    found
}

fn is_of_index(body: &str) -> bool {
    body.contains(".index_name(")
}

fn is_constant(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// Returns the ARN of a feature's table, in the template's notation.
pub(crate) fn table_of(feature: &str) -> String {
    format!("{}Table.Outputs.Arn", logical_name(feature))
}
