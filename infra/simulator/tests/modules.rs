//! The modules of the simulator import one another in one direction.
#![expect(clippy::unwrap_used, reason = "Clippy does not recognize test helpers as test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The files below `folder` that are compiled into the library.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}

/// The other modules that each top-level module imports.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files(&root) {
        let inside = path.strip_prefix(&root).unwrap();
        let first = inside.iter().next().unwrap().to_str().unwrap();
        let module = first.trim_end_matches(".rs");
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for used in lines.flat_map(|line| line.split("crate::").skip(1)) {
            let name = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            assert!(!name.is_empty(), "{}: write one `use` for each module", inside.display());
            if name != module {
                imports.entry(module.to_owned()).or_default().insert(name.to_owned());
            }
        }
    }
    imports
}

/// The providers: each top-level folder is one.
fn providers() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders.map(|folder| folder.file_name().into_string().unwrap()).collect()
}

#[test]
fn modules_have_no_import_cycle() {
    let mut left = imports();
    while !left.is_empty() {
        let free = |(module, uses): (&String, &BTreeSet<String>)| {
            uses.iter().all(|used| !left.contains_key(used)).then(|| module.clone())
        };
        let free: Vec<String> = left.iter().filter_map(free).collect();
        assert!(!free.is_empty(), "in a cycle, or importing one: {left:#?}");
        left.retain(|module, _| !free.contains(module));
    }
}

#[test]
fn only_the_list_of_providers_names_providers() {
    let providers = providers();
    assert!(providers.contains("whatsapp"), "{providers:?}");
    for (module, uses) in imports() {
        let named: Vec<_> = uses.intersection(&providers).collect();
        if module == "providers" {
            assert_eq!(named.len(), providers.len(), "the list lacks a folder");
        } else {
            assert!(named.is_empty(), "{module} imports {named:?}");
        }
    }
}
