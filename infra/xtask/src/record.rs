//! The `record` command: snapshots of the hub's behavior that a refactoring must not change.
//!
//! A record is a text file in `tests/records`. `cargo xtask record` writes the records, and
//! `--check` compares them.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;

use crate::{
    built,
    error::{Error, Result},
    planted, process, python, simulate, workspace,
};

/// Most differences that are printed for a record.
const PRINTED: usize = 20;

/// Options of `cargo xtask record`.
#[derive(Args)]
pub(crate) struct Options {
    /// Compare with the records in the repository without writing them. A difference is an error.
    #[arg(long)]
    check: bool,
    /// Renamed identifiers for `--check`, one `old new` pair on each line. Every `new` in the
    /// current behavior is replaced by `old`, longest first, whole words only.
    #[arg(long, value_name = "FILE", requires = "check")]
    map: Option<PathBuf>,
}

/// A record: the name of its file, and its current text.
struct Record {
    file: &'static str,
    text: String,
}

/// Creates all records, and writes or compares them.
pub(crate) fn run(options: &Options) -> Result<()> {
    let map = options.map.as_deref().map_or_else(|| Ok(Map::default()), Map::read)?;
    let records = create(&map)?;
    let folder = workspace::root().join("tests/records");
    if !options.check {
        for Record { file, text } in &records {
            workspace::write(&folder.join(file), text)?;
            println!("{file}: {} lines", text.lines().count());
        }
        return Ok(());
    }
    let mut different = Vec::new();
    for Record { file, text } in &records {
        let before = workspace::read(&folder.join(file))?;
        let lines = differences(&before, text);
        if lines.is_empty() {
            println!("{file}: unchanged, {} lines", text.lines().count());
            continue;
        }
        println!("{file}: {} lines differ", lines.len());
        for line in lines.iter().take(PRINTED) {
            println!("  {line}");
        }
        different.push(*file);
    }
    if different.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "{} differ. If the change is intended, run `cargo xtask record` and commit the result",
        different.join(", ")
    );
    Err(Error::step("the comparison with the records", detail))
}

fn create(map: &Map) -> Result<[Record; 5]> {
    let built = built::build()?;
    let tests = built.names()?;
    let bugs: Vec<String> = planted::find(&[])?
        .iter()
        .map(|bug| format!("{bug}: {} (breaks {})", bug.what(), bug.breaks().join(", ")))
        .collect();
    let behavior = simulate::record()?;
    Ok([
        Record { file: "behavior.txt", text: map.apply_digested(&behavior.runs) },
        Record { file: "openapi.json", text: map.apply(&behavior.openapi) },
        Record { file: "template.json", text: map.apply(&template()?) },
        Record { file: "tests.txt", text: map.apply(&lines(tests)) },
        Record { file: "planted-bugs.txt", text: map.apply(&lines(bugs)) },
    ])
}

fn lines(mut lines: Vec<String>) -> String {
    lines.sort_unstable();
    lines.push(String::new());
    lines.join("\n")
}

/// Returns each function's routes, permissions, queues and settings, after SAM has translated the
/// template.
fn template() -> Result<String> {
    let root = workspace::root();
    let python = python::environment(&root.join("infra/local/requirements.txt"))?;
    let script = root.join("infra/local/describe.py");
    let mut describe = Command::new(python);
    describe.arg(script).arg("--template").arg(root.join("template.yaml"));
    Ok(process::output("describe.py", &mut describe)? + "\n")
}

/// Returns the lines that only one of the two texts contains, marked with `-` and `+`.
fn differences(before: &str, now: &str) -> Vec<String> {
    let count = |text: &str| {
        let mut counts = std::collections::BTreeMap::<String, i64>::new();
        for line in text.lines() {
            *counts.entry(line.to_owned()).or_default() += 1;
        }
        counts
    };
    let mut counts = count(before);
    for (line, number) in count(now) {
        *counts.entry(line).or_default() -= number;
    }
    let mut found = Vec::new();
    for (line, number) in counts {
        let sign = if number > 0 { '-' } else { '+' };
        found.extend((0..number.abs()).map(|_| format!("{sign} {line}")));
    }
    found
}

/// Renamed identifiers.
#[derive(Debug, Default)]
struct Map {
    /// Pairs of old and new names, the longest new name first.
    names: Vec<(String, String)>,
}

impl Map {
    fn read(path: &Path) -> Result<Self> {
        Self::parse(&workspace::read(path)?)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut names = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((old, new)) = line.split_once(' ') else {
                let detail = format!("a line must be `old new`; found `{line}`");
                return Err(Error::step("--map", detail));
            };
            names.push((old.to_owned(), new.trim().to_owned()));
        }
        names.sort_by_key(|(_, new)| std::cmp::Reverse(new.len()));
        Ok(Self { names })
    }

    /// Returns `text` with the old names.
    fn apply(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (old, new)| replace_word(&text, new, old))
    }

    /// Returns the digest of each run with the old names. A line that begins with `==` names a
    /// run; its behavior follows.
    fn apply_digested(&self, runs: &str) -> String {
        let runs = self.apply(runs);
        let runs = runs.split("== ").filter(|run| !run.trim().is_empty());
        let digest = |run: &str| {
            let (name, behavior) = run.split_once('\n').unwrap_or((run, ""));
            let mut hasher = DefaultHasher::new();
            let behavior = behavior.trim_end();
            behavior.hash(&mut hasher);
            format!("{name}: {} lines, {:016x}", behavior.lines().count(), hasher.finish())
        };
        lines(runs.map(digest).collect())
    }
}

/// Replaces `word` by `to` in `text`, except inside longer words.
fn replace_word(text: &str, word: &str, to: &str) -> String {
    let within = |c: char| c.is_alphanumeric() || c == '_';
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, found) = rest.split_at(at);
        let after = found.get(word.len()..).unwrap_or_default();
        let before_is_word = before.chars().next_back().or(replaced.chars().next_back());
        let alone =
            !before_is_word.is_some_and(within) && !after.chars().next().is_some_and(within);
        replaced.push_str(before);
        replaced.push_str(if alone { to } else { word });
        rest = after;
    }
    replaced + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_records_have_no_differences() {
        assert_eq!(differences("a\nb\n", "a\nb\n"), [""; 0]);
        assert_eq!(differences("a\nb\n", "b\nc\n"), ["- a", "+ c"]);
        // A renamed line may move, because the lines are sorted.
        assert_eq!(differences("a\nb\n", "b\na\n"), [""; 0]);
        assert_eq!(differences("a\n", "a\na\n"), ["+ a"]);
    }

    #[test]
    fn new_names_are_replaced_by_the_old_ones_as_whole_words_only() {
        let map = Map::parse("# renamed\nevt ntf\nwalls tenant-isolation\n").unwrap();
        assert_eq!(map.apply("ntf and ntfs, tenant-isolation"), "evt and ntfs, walls");
        assert!(Map::parse("one").unwrap_err().to_string().contains("`old new`"));
    }

    #[test]
    fn a_run_with_different_behavior_has_a_different_digest() {
        let map = Map::parse("old new").unwrap();
        let digest = |text: &str| map.apply_digested(text);
        let before = digest("== seed 1\nPOST /old\n== seed 2\nPOST /b\n");
        assert_eq!(before.lines().count(), 2);
        assert_eq!(before, digest("== seed 1\nPOST /new\n== seed 2\nPOST /b\n"));
        assert_ne!(before, digest("== seed 1\nPOST /old\n== seed 2\nPOST /c\n"));
    }
}
