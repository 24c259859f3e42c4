//! Partition keys of the tables, as patterns: one for each function of a `repository/keys.rs`.
//!
//! A key function writes its key as a literal format, so the pattern is that format with `*` for
//! each value. `keys_are_frozen` in the same file has an example of each key.

use std::collections::{BTreeMap, BTreeSet};

use templates::matches;

use crate::sources::{arguments, block, end_of, functions_of, is_word, source};
use crate::{names_in, read, root};

/// The partition keys that a function or constant of `keys.rs` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// The keys, as a pattern of IAM's `StringLike`.
    pub(crate) pattern: String,
    /// Whether it is a key of an item. Otherwise, it is a partition to query.
    pub(crate) is_item: bool,
}

/// Returns the path of a feature's keys.
fn path(feature: &str) -> String {
    format!("shared/features/{feature}/src/repository/keys.rs")
}

/// Returns the features that have a table.
pub(crate) fn features() -> BTreeSet<String> {
    let mut features = names_in("shared/features");
    features.retain(|feature| root().join(path(feature)).exists());
    features
}

/// Returns the partitions of a feature's table, by the name of the function or constant.
pub(crate) fn partitions(feature: &str) -> BTreeMap<String, Partition> {
    let text = source(&path(feature));
    let mut found = BTreeMap::new();
    for (at, start) in text.match_indices("pub const ") {
        let Some((name, rest)) = text[at + start.len()..].split_once(": Schedule = ") else {
            continue;
        };
        if name.chars().all(is_word) {
            let (_, first) = rest.split_once("name: \"").expect("the name of a schedule");
            let first = first.split('"').next().unwrap_or_default();
            let pattern = format!("{first}#*");
            found.insert(name.to_owned(), Partition { pattern, is_item: true });
        }
    }
    let mut pending = functions_of(&text);
    // A function that calls another one is read after it.
    while !pending.is_empty() {
        let before = pending.len();
        pending.retain(|function| {
            let is_item = function.returns == "Key";
            let is_list = function.returns == "List";
            let is_partition =
                (function.returns == "String" || is_list) && function.name.ends_with("_of");
            if !is_item && !is_partition {
                return false;
            }
            let body = function.body.trim_matches(['{', '}', ' ', '\n']);
            let inner = ["Key::new(", "List::sharded("].iter().find_map(|new| body.split_once(new));
            let key = match inner {
                Some((_, inner)) => arguments(inner).first().copied().unwrap_or_default(),
                None => body,
            };
            let Some(mut pattern) = pattern_of(key, &found) else { return true };
            if is_list {
                // The partitions of the other shards end with `#` and their number.
                pattern.push('*');
            }
            found.insert(function.name.clone(), Partition { pattern, is_item });
            false
        });
        let names: Vec<&str> = pending.iter().map(|function| function.name.as_str()).collect();
        let form = "write its partition key as a literal, a format, or a call in the same file";
        assert!(pending.len() < before, "{}: {names:?}: {form}", path(feature));
    }
    found
}

/// Returns the pattern of an expression for a partition key.
fn pattern_of(key: &str, known: &BTreeMap<String, Partition>) -> Option<String> {
    if let Some((before, literal)) = key.split_once('"')
        && (before.is_empty() || before == "format!(")
    {
        let mut pattern = String::new();
        let mut rest = literal.split('"').next().unwrap_or_default();
        while let Some((text, value)) = rest.split_once('{') {
            pattern.extend([text, "*"]);
            rest = &value[end_of(value, |_| false) + 1..];
        }
        return Some(pattern + rest);
    }
    let name: String = key.chars().take_while(|c| is_word(*c)).collect();
    known.get(&name).map(|partition| partition.pattern.clone())
}

/// Returns the examples of a function's partition key in the test `keys_are_frozen`.
fn examples(feature: &str, function: &str) -> Vec<String> {
    let text = read(&path(feature));
    let (_, tests) = text.split_once("mod tests").expect("tests");
    let call = format!("{function}(");
    // The first element of a row.
    let calls = tests.match_indices(&call).filter(|(at, _)| tests[..*at].trim_end().ends_with('('));
    let calls = calls.map(|(at, call)| at + call.len());
    let examples = calls.filter_map(|at| {
        let literal = tests[at + end_of(&tests[at..], |_| false)..].split('"').nth(1)?;
        Some(literal.replace("{zeros}", &"0".repeat(26)))
    });
    // The partition key, without the sort key.
    examples.map(|key| key.split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_partition_key_is_matched_by_the_pattern_of_its_own_purpose_only() {
    let mut wrong = Vec::new();
    for feature in features() {
        let partitions = partitions(&feature);
        for (function, partition) in &partitions {
            let pattern = &partition.pattern;
            // The purpose is part of each pattern: `KEY#*`, `T#*#INT` or `T#*#EVENT#*`. A value that
            // an id, a tenant or a name stands for contains no `#`. What providers choose, such as
            // an account, may contain it, and is the last part of its key: `T#*#INT` then still
            // matches no key of another purpose, and `T#*#MSG#*` at most one of the items that map
            // a provider's id to the hub's.
            let of_tenant = pattern.strip_prefix("T#*#");
            let purpose = of_tenant.unwrap_or(pattern).trim_end_matches("#*");
            let purpose = purpose.strip_suffix('*').unwrap_or(purpose);
            if purpose.is_empty() || !purpose.chars().all(|c| c.is_ascii_uppercase()) {
                wrong.push(format!("{feature}: {function}: {pattern} does not name its purpose"));
            }
            let examples = examples(&feature, function);
            if examples.is_empty() && partition.is_item && function.chars().any(char::is_lowercase)
            {
                wrong.push(format!("{feature}: {function} has no example in `keys_are_frozen`"));
            }
            for example in examples {
                if !matches(pattern, &example) {
                    wrong
                        .push(format!("{feature}: {function}: {pattern} does not match {example}"));
                }
                for (other, partition) in &partitions {
                    if partition.pattern != *pattern && matches(&partition.pattern, &example) {
                        wrong.push(format!("{feature}: {other} matches {function}: {example}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn patterns_are_derived_from_the_keys() {
    let pattern = |feature: &str, function: &str| partitions(feature)[function].pattern.clone();
    assert_eq!(pattern("accounts", "api_key"), "KEY#*");
    assert_eq!(pattern("accounts", "api_key_list_entry"), "T#*#KEYS");
    assert_eq!(pattern("accounts", "account"), "ACCOUNT#*#*");
    assert_eq!(pattern("accounts", "tracked_tenant"), "PULLING");
    assert_eq!(pattern("endpoints", "RETRIES"), "DUE#*");
    assert_eq!(pattern("endpoints", "due"), "DUE#*");
    assert_eq!(pattern("work", "count"), "T#*#COUNT*");
    assert_eq!(pattern("work", "ready_of"), "T#*#READY*");
    let key = functions_of("fn key() -> Key { Key::new(f(x), \"\") }").remove(0);
    assert_eq!((key.returns, block(key.body)), ("Key", key.body));
    for (pattern, text, expected) in [
        ("KEY#*", "KEY#1", true),
        ("KEY#*", "T#KEY#1", false),
        ("T#*#INT", "T#acme#INT", true),
        ("T#*#INT", "T#acme#INTO", false),
        ("T#*#INT", "T#acme#KEYS", false),
        ("T#*#C#*", "T#acme#C#1", true),
        ("STATUS", "STATUS", true),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}
