//! One figure, and what it should be.

use serde_json::{Value, json};

use crate::stats::Runs;

/// What a figure is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Milliseconds of a clock on the wall.
    Milliseconds,
    /// Milliseconds of a processor.
    CpuMilliseconds,
    /// Microseconds of a processor.
    CpuMicroseconds,
    /// Million bytes.
    Megabytes,
    /// Bytes.
    Bytes,
    /// Instructions, counted.
    Instructions,
    /// Calls of an allocator, counted.
    Allocations,
    /// Request units of the table, counted.
    Units,
    /// Requests, counted.
    Requests,
    /// One figure as a multiple of another.
    Times,
    /// Dollars a million.
    Dollars,
    /// Dollars a month of 730 hours.
    DollarsAMonth,
    /// How many a second.
    EachSecond,
    /// Microseconds of a clock on the wall.
    Microseconds,
}

impl Unit {
    /// How it is printed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::CpuMilliseconds => "ms CPU",
            Self::CpuMicroseconds => "µs CPU",
            Self::Megabytes => "MB",
            Self::Bytes => "bytes",
            Self::Instructions => "instructions",
            Self::Allocations => "allocations",
            Self::Units => "units",
            Self::Requests => "requests",
            Self::Times => "x",
            Self::Dollars => "$ a million",
            Self::DollarsAMonth => "$ a month",
            Self::EachSecond => "a second",
            Self::Microseconds => "µs",
        }
    }

    /// Digits behind the point that mean something.
    pub(crate) const fn digits(self) -> usize {
        match self {
            Self::Bytes | Self::Instructions => 0,
            Self::CpuMicroseconds
            | Self::EachSecond
            | Self::Microseconds
            | Self::Megabytes
            | Self::Allocations => 1,
            _ => 2,
        }
    }
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// What was measured: a function, a rival, a message.
    pub(crate) subject: String,
    /// What of it.
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) runs: Runs,
    pub(crate) goal: Option<Goal>,
    /// How much more than the baseline is too much, as a part of it.
    pub(crate) tolerance: f64,
}

/// What a count that is the same in every run may grow by.
const STEADY: f64 = 0.10;
/// What a count may grow by that depends on what happens first: a start, of which connection is
/// there when the first request comes, and a batch, of how many it opens. Runs of one build were
/// seen to differ by 17 %.
const UNSTEADY: f64 = 0.25;

impl Figure {
    /// A figure without a goal.
    pub(crate) fn new(
        subject: impl Into<String>,
        name: impl Into<String>,
        unit: Unit,
        runs: Runs,
    ) -> Self {
        Self {
            subject: subject.into(),
            name: name.into(),
            unit,
            runs,
            goal: None,
            tolerance: STEADY,
        }
    }

    /// The same figure, with a goal.
    pub(crate) fn with(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// The same figure, of something whose order is not the same in every run.
    pub(crate) fn unsteady(self) -> Self {
        Self { tolerance: UNSTEADY, ..self }
    }

    /// Whether the median is what it should be; `None` without a goal.
    pub(crate) fn passes(&self) -> Option<bool> {
        let median = self.runs.median();
        Some(match self.goal? {
            Goal::AtMost(most) => median <= most,
            Goal::AtLeast(least) => median >= least,
        })
    }

    /// Its name among all figures.
    pub(crate) fn key(&self) -> String {
        format!("{}: {}", self.subject, self.name)
    }

    /// The figure for programs.
    pub(crate) fn json(&self) -> Value {
        let (goal, direction) = match self.goal {
            Some(Goal::AtMost(most)) => (Some(most), Some("at_most")),
            Some(Goal::AtLeast(least)) => (Some(least), Some("at_least")),
            None => (None, None),
        };
        json!({
            "subject": self.subject, "name": self.name, "unit": self.unit.name(),
            "runs": self.runs.count(), "least": self.runs.least(), "median": self.runs.median(),
            "p99": self.runs.p99(), "goal": goal, "direction": direction, "passes": self.passes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64) -> Figure {
        Figure::new("a", "b", Unit::Times, Runs::once(value))
    }

    #[test]
    fn a_goal_is_met_at_its_limit() {
        assert_eq!(figure(4.0).with(Goal::AtMost(4.0)).passes(), Some(true));
        assert_eq!(figure(4.1).with(Goal::AtMost(4.0)).passes(), Some(false));
        assert_eq!(figure(30.0).with(Goal::AtLeast(30.0)).passes(), Some(true));
        assert_eq!(figure(29.0).with(Goal::AtLeast(30.0)).passes(), Some(false));
        assert_eq!(figure(1.0).passes(), None);
    }

    #[test]
    fn a_figure_that_was_not_measured_passes_nothing() {
        let nothing = Figure::new("a", "b", Unit::Times, Runs::default());
        assert_eq!(nothing.with(Goal::AtMost(1.0)).passes(), Some(false));
    }
}
