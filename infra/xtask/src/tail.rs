//! Follows a log of the functions and extracts errors and warnings.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Reader of a growing log file.
pub(crate) struct Tail {
    path: PathBuf,
    position: u64,
    /// Incomplete last line.
    rest: String,
}

impl Tail {
    /// Starts at the current end of the file.
    pub(crate) fn new(path: &Path) -> Self {
        let position = std::fs::metadata(path).map_or(0, |found| found.len());
        Self { path: path.to_owned(), position, rest: String::new() }
    }

    /// Returns the errors and warnings logged since the last call.
    pub(crate) fn problems(&mut self) -> Vec<String> {
        self.lines().into_iter().filter(|line| is_problem(line)).collect()
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

/// Returns the last errors and warnings of a log.
pub(crate) fn last_problems(path: &Path, count: usize) -> Vec<String> {
    let mut tail = Tail { path: path.to_owned(), position: 0, rest: String::new() };
    let mut lines = tail.problems();
    lines.split_off(lines.len().saturating_sub(count))
}

/// Whether a log line is an error or a warning. Functions log JSON; other lines are panics or come
/// from the system.
fn is_problem(line: &str) -> bool {
    let text = line.split_once("] ").map_or(line, |(_, text)| text);
    if text.trim().is_empty() {
        return false;
    }
    serde_json::from_str::<serde_json::Value>(text).map_or(true, |entry| {
        matches!(entry.get("level").and_then(|level| level.as_str()), Some("ERROR" | "WARN"))
    })
}

#[cfg(test)]
mod tests {
    use super::is_problem;

    #[test]
    fn only_errors_warnings_and_panics_are_shown() {
        assert!(is_problem(r#"[switchboard-api-messages] {"level":"ERROR","message":"no"}"#));
        assert!(is_problem(r#"[switchboard-api-messages] {"level":"WARN","message":"hm"}"#));
        assert!(is_problem(
            "[switchboard-api-messages] thread 'main' panicked at src/main.rs:3:5:"
        ));
        assert!(!is_problem(r#"[switchboard-api-messages] {"level":"INFO","message":"queued"}"#));
        assert!(!is_problem("[switchboard-api-messages] "));
    }
}
