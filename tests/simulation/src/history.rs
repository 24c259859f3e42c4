//! History of a run.

use std::fmt::Write as _;

use crate::time;

/// An entry of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Virtual time in microseconds.
    pub at_us: u64,
    /// The actor, such as an invocation.
    pub who: String,
    /// Description of the event.
    pub what: String,
}

/// The history of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Entries, oldest first.
    pub lines: Vec<Line>,
}

impl History {
    /// Appends an entry at the current time.
    pub fn push(&mut self, who: impl Into<String>, what: impl Into<String>) {
        let at_us = u64::try_from(time::elapsed().as_micros()).unwrap_or(u64::MAX);
        self.lines.push(Line { at_us, who: who.into(), what: what.into() });
    }

    /// Formats the history for people, one line for each entry.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let first = self.lines.first().map_or(0, |line| line.at_us);
        let width = self.lines.iter().map(|line| line.who.chars().count()).max().unwrap_or(0);
        for line in &self.lines {
            let at = std::time::Duration::from_micros(line.at_us.saturating_sub(first));
            let (seconds, millis) = (at.as_secs(), at.subsec_millis());
            // Writing to a string cannot fail.
            let _written =
                writeln!(text, "{seconds:>7}.{millis:03}  {:width$}  {}", line.who, line.what);
        }
        text
    }
}
