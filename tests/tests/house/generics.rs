//! Type parameters: a long list of them is a set of dependencies that needs a name, as
//! `runtime::Env` is.

use crate::{names_in, read, root};

/// Maximum number of type parameters of a type, a trait, a function or an implementation.
const MAX: usize = 3;

/// Returns the number of type parameters in `text`, which begins after the `<` of their list.
fn type_parameters(text: &str) -> usize {
    let (mut depth, mut previous) = (0_u32, ' ');
    let mut list = vec![String::new()];
    for c in text.chars() {
        match c {
            // The text is part of a string and not a declaration.
            '"' => return 0,
            '>' if previous != '-' && depth == 0 => break,
            '<' | '(' | '[' | '{' => depth += 1,
            '>' if previous == '-' => {}
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => list.push(String::new()),
            _ => {}
        }
        if let Some(parameter) = list.last_mut() {
            parameter.push(c);
        }
        previous = c;
    }
    let names = list.iter().map(|parameter| parameter.trim_start_matches(',').trim());
    let types = names.filter(|name| !name.starts_with('\'') && !name.starts_with("const "));
    types.filter(|name| !name.is_empty()).count()
}

/// Returns the generic declarations of a source text, each with its number of type parameters.
fn declarations(source: &str) -> Vec<(String, usize)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for keyword in ["struct ", "enum ", "trait ", "type ", "fn ", "impl"] {
        for (at, _) in source.match_indices(keyword) {
            let (before, rest) = (&source[..at], &source[at + keyword.len()..]);
            let line = before.rsplit('\n').next().unwrap_or_default();
            if before.ends_with(is_name) || line.trim_start().starts_with("//") {
                continue;
            }
            let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
            if let Some(list) = rest[name.len()..].strip_prefix('<') {
                found.push((format!("{keyword}{name}"), type_parameters(list)));
            }
        }
    }
    found
}

/// Returns the paths of the Rust files in a folder.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in names_in(folder) {
        let path = format!("{folder}/{name}");
        if root().join(&path).is_dir() {
            if name != "target" && name != "node_modules" {
                found.extend(files(&path));
            }
        } else if name.strip_suffix(".rs").is_some() {
            found.push(path);
        }
    }
    found
}

#[test]
fn nothing_has_more_than_three_type_parameters() {
    let mut wrong = Vec::new();
    for path in ["functions", "infra", "shared", "tests"].into_iter().flat_map(files) {
        let long = declarations(&read(&path)).into_iter().filter(|(_, count)| *count > MAX);
        wrong.extend(long.map(|(name, count)| format!("{path}: {name} has {count}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn lifetimes_constants_and_bounds_are_not_type_parameters() {
    let source = "pub struct Pair<'a, A: Into<(u8, u8)>, B = fn() -> u8, const N: usize> {}
        // struct Comment<A, B, C, D>
        impl<A, B, C: Fn(A) -> B,> Debug for Three<A, B, C> {}
        fn none() -> Vec<u8> {}";
    let expected = [("struct Pair".to_owned(), 2), ("impl".to_owned(), 3)];
    assert_eq!(declarations(source), expected);
}
