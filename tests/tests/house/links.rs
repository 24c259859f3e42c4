//! Links between pages.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{root, sources};

/// Returns the anchor that Markdown renderers give a heading.
fn anchor(heading: &str) -> String {
    let plain = heading.trim().to_lowercase();
    let kept = plain.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Returns the anchors of a page, and the targets of its links outside code.
fn anchors_and_links(text: &str) -> (BTreeSet<String>, Vec<String>) {
    let (mut anchors, mut links) = (BTreeSet::new(), Vec::new());
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            continue;
        } else if let Some(heading) = line.strip_prefix('#') {
            anchors.insert(anchor(heading.trim_start_matches('#')));
        }
        let targets =
            line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split(')').next());
        links.extend(targets.filter(|_| !is_code).map(ToOwned::to_owned));
    }
    (anchors, links)
}

fn page(path: &Path) -> (BTreeSet<String>, Vec<String>) {
    anchors_and_links(&std::fs::read_to_string(path).unwrap_or_default())
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut broken = Vec::new();
    let pages =
        sources().into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    for path in pages {
        let (own, links) = page(&path);
        for link in
            links.iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:"))
        {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = path.parent().unwrap().join(file);
            let anchors = if file.is_empty() { own.clone() } else { page(&target).0 };
            let exists = file.is_empty() || target.exists();
            if !exists || !(fragment.is_empty() || anchors.contains(fragment)) {
                let path = path.strip_prefix(root()).unwrap();
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn anchors_are_those_of_the_headings() {
    assert_eq!(anchor(" 8. Tenant isolation"), "8-tenant-isolation");
    let (anchors, links) = anchors_and_links("## A b\n[x](y.md#z)\n```\n# no\n[n](o)\n```\n");
    assert_eq!(anchors.into_iter().collect::<Vec<_>>(), ["a-b"]);
    assert_eq!(links, ["y.md#z"]);
}
