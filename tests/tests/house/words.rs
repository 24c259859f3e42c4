//! The vocabulary: one term for one thing, and the one that the field uses.

use std::process::Command;

use crate::{read, root};

/// Returns the words that are not used, each with the term to use.
fn table() -> Vec<(String, String)> {
    let text = read("tests/tests/house/words.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once('\t').expect("a word, a tab and a term"));
    pairs.map(|(word, term)| (word.to_owned(), term.to_owned())).collect()
}

/// Whether `text`, in lower case, contains `word` with no letter, digit or `_` beside it.
fn contains_word(text: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    })
}

#[test]
fn no_source_page_or_template_uses_a_word_that_has_a_better_term() {
    let mut git = Command::new("git");
    git.args(["ls-files", "*.rs", "*.md", "*.yaml"]).current_dir(root());
    let listed = git.output().expect("git lists the files");
    assert!(listed.status.success(), "git ls-files: {}", listed.status);
    let files = String::from_utf8(listed.stdout).expect("names are text");
    let table = table();
    let mut found = Vec::new();
    for file in files.lines().filter(|file| root().join(file).exists()) {
        for (number, line) in read(file).lines().enumerate() {
            let line = line.to_lowercase();
            for (word, term) in table.iter().filter(|(word, _)| contains_word(&line, word)) {
                found.push(format!("{file}:{}: {word}: write {term}", number + 1));
            }
        }
    }
    assert!(files.lines().count() > 100, "too few files:\n{files}");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_word_is_found_whole_and_not_as_a_part_of_another() {
    assert!(contains_word("a cat-like thing", "cat"));
    assert!(contains_word("cat", "cat"));
    assert!(!contains_word("concatenate", "cat"));
    assert!(!contains_word("cat_id", "cat"));
}
