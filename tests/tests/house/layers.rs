//! Layers of the workspace: which crate may depend on which, and modules without import circles.

use std::collections::{BTreeMap, BTreeSet};

use crate::{names_in, read, root};

/// Features by layer. A feature may depend on those of the layers before its own.
const FEATURES: &[&[&str]] =
    &[&["accounts"], &["events", "endpoints", "messaging"], &["work"], &["operations", "voice"]];

/// Crates below the features, and the crates of the workspace that each may depend on.
const BELOW: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("aws", &["domain"]),
    ("providers", &["domain"]),
    ("table", &["aws", "domain"]),
    ("queue", &["aws", "domain"]),
    ("runtime", &["aws", "domain", "providers", "queue", "table"]),
];

/// Returns the crates of the workspace in a section of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let (_, after) = manifest.split_once("\n[dependencies]\n").unwrap_or_default();
    let section = after.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.map(ToOwned::to_owned).collect()
}

fn workspace_crates() -> BTreeSet<String> {
    let below = BELOW.iter().map(|(name, _)| (*name).to_owned());
    let features = FEATURES.iter().flat_map(|layer| layer.iter().map(|name| (*name).to_owned()));
    below.chain(features).chain(["testkit".to_owned()]).collect()
}

#[test]
fn a_crate_depends_only_on_crates_of_lower_layers() {
    let known: BTreeSet<String> =
        FEATURES.iter().flat_map(|layer| layer.iter()).map(|name| (*name).to_owned()).collect();
    assert_eq!(names_in("shared/features"), known, "FEATURES must list every feature");
    let mut allowed = BTreeMap::new();
    for (name, may) in BELOW {
        let may: BTreeSet<String> = may.iter().map(|one| (*one).to_owned()).collect();
        allowed.insert(format!("shared/{name}"), may);
    }
    let mut below: BTreeSet<String> = BELOW.iter().map(|(name, _)| (*name).to_owned()).collect();
    for layer in FEATURES {
        for name in *layer {
            allowed.insert(format!("shared/features/{name}"), below.clone());
        }
        below.extend(layer.iter().map(|name| (*name).to_owned()));
    }
    let mut wrong = Vec::new();
    for (folder, may) in allowed {
        let used = dependencies(&read(&format!("{folder}/Cargo.toml")));
        let used = used.intersection(&workspace_crates()).cloned().collect::<BTreeSet<_>>();
        wrong.extend(used.difference(&may).map(|one| format!("{folder} must not depend on {one}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns the modules of a crate, as paths, each with its source without tests.
fn modules(folder: &str) -> BTreeMap<String, String> {
    fn walk(folder: &str, path: &str, found: &mut BTreeMap<String, String>) {
        for name in names_in(folder) {
            let file = format!("{folder}/{name}");
            if root().join(&file).is_dir() {
                let inner = if path.is_empty() { name } else { format!("{path}::{name}") };
                walk(&file, &inner, found);
                continue;
            }
            let Some(stem) = name.strip_suffix(".rs") else { continue };
            let module = match (stem, path) {
                ("lib" | "main", _) => continue,
                ("mod", path) => path.to_owned(),
                (stem, "") => stem.to_owned(),
                (stem, path) => format!("{path}::{stem}"),
            };
            let text = read(&file);
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            found.insert(module, code);
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, "", &mut found);
    found
}

/// Returns the modules whose items a module names in its `use` lines. A module may name the items
/// of the modules around it, in `mod.rs`, and those inside it.
fn imports(module: &str, code: &str, all: &BTreeMap<String, String>) -> BTreeSet<String> {
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut found = BTreeSet::new();
    for statement in code.split("\nuse ").skip(1) {
        let statement = statement.split(';').next().unwrap_or_default();
        let (start, path) = statement.split_once("::").unwrap_or((statement, ""));
        let base = match start {
            "crate" => String::new(),
            "super" => parent.to_owned(),
            "self" => module.to_owned(),
            _ => continue,
        };
        let heads: Vec<String> = match path.split_once('{') {
            Some((before, inner)) => inner
                .trim_end_matches('}')
                .split(',')
                .map(|one| format!("{before}{}", one.trim()))
                .collect(),
            None => vec![path.to_owned()],
        };
        for head in heads {
            let full = if base.is_empty() { head } else { format!("{base}::{head}") };
            let parts: Vec<&str> = full.split("::").collect();
            let longest = (1..=parts.len()).rev().map(|end| parts[..end].join("::"));
            found.extend(longest.into_iter().find(|path| all.contains_key(path)));
        }
    }
    found.retain(|other| {
        other != module
            && !module.starts_with(&format!("{other}::"))
            && !other.starts_with(&format!("{module}::"))
    });
    found
}

#[test]
fn no_crate_has_an_import_circle() {
    let mut circles = Vec::new();
    let features = names_in("shared/features").into_iter().map(|name| format!("features/{name}"));
    let crates = BELOW.iter().map(|(name, _)| (*name).to_owned()).chain(features);
    for name in crates {
        let all = modules(&format!("shared/{name}/src"));
        let edges: BTreeMap<&String, BTreeSet<String>> =
            all.iter().map(|(module, code)| (module, imports(module, code, &all))).collect();
        for module in all.keys() {
            let (mut seen, mut pending) = (BTreeSet::new(), vec![module.clone()]);
            while let Some(one) = pending.pop() {
                for next in edges.get(&one).into_iter().flatten() {
                    if next == module {
                        circles.push(format!("{name}: {module} imports itself through {one}"));
                    } else if seen.insert(next.clone()) {
                        pending.push(next.clone());
                    }
                }
            }
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
}
