//! Follows what the functions print, and shows what went wrong.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// A log file that grows.
pub(crate) struct Tail {
    path: PathBuf,
    position: u64,
    /// The beginning of a line whose end is not written yet.
    rest: String,
}

impl Tail {
    /// Begins at the file's present end.
    pub(crate) fn new(path: &Path) -> Self {
        let position = std::fs::metadata(path).map_or(0, |found| found.len());
        Self { path: path.to_owned(), position, rest: String::new() }
    }

    /// The lines since the last call that report an error or a warning.
    pub(crate) fn troubles(&mut self) -> Vec<String> {
        self.lines().into_iter().filter(|line| is_trouble(line)).collect()
    }

    fn lines(&mut self) -> Vec<String> {
        let mut text = String::new();
        if let Ok(mut file) = File::open(&self.path)
            && file.seek(SeekFrom::Start(self.position)).is_ok()
        {
            let mut bytes = Vec::new();
            if let Ok(read) = file.read_to_end(&mut bytes) {
                self.position += u64::try_from(read).unwrap_or_default();
                text = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
        self.rest.push_str(&text);
        let mut lines: Vec<String> = self.rest.split('\n').map(str::to_owned).collect();
        self.rest = lines.pop().unwrap_or_default();
        lines
    }
}

/// The last lines of a log that report an error or a warning.
pub(crate) fn last_troubles(path: &Path, count: usize) -> Vec<String> {
    let mut tail = Tail { path: path.to_owned(), position: 0, rest: String::new() };
    let mut lines = tail.troubles();
    lines.split_off(lines.len().saturating_sub(count))
}

/// A function logs JSON; what is not JSON is a panic, or the system speaking.
fn is_trouble(line: &str) -> bool {
    let said = line.split_once("] ").map_or(line, |(_, said)| said);
    if said.trim().is_empty() {
        return false;
    }
    serde_json::from_str::<serde_json::Value>(said).map_or(true, |entry| {
        matches!(entry.get("level").and_then(|level| level.as_str()), Some("ERROR" | "WARN"))
    })
}

#[cfg(test)]
mod tests {
    use super::is_trouble;

    #[test]
    fn errors_warnings_and_panics_are_shown_and_the_rest_is_not() {
        assert!(is_trouble(r#"[switchboard-api-messages] {"level":"ERROR","message":"no"}"#));
        assert!(is_trouble(r#"[switchboard-api-messages] {"level":"WARN","message":"hm"}"#));
        assert!(is_trouble(
            "[switchboard-api-messages] thread 'main' panicked at src/main.rs:3:5:"
        ));
        assert!(!is_trouble(r#"[switchboard-api-messages] {"level":"INFO","message":"queued"}"#));
        assert!(!is_trouble("[switchboard-api-messages] "));
    }
}
