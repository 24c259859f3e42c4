//! A figure and its goal.

use serde_json::{Value, json};

use crate::stats::Runs;

/// Unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Milliseconds of wall-clock time.
    Milliseconds,
    /// Milliseconds of CPU time.
    CpuMilliseconds,
    /// Microseconds of CPU time.
    CpuMicroseconds,
    /// Million bytes.
    Megabytes,
    /// Bytes.
    Bytes,
    /// Instructions, counted.
    Instructions,
    /// Calls of heap allocators, counted.
    Allocations,
    /// Capacity units of the table, counted.
    Units,
    /// Requests, counted.
    Requests,
    /// Ratio of two figures.
    Times,
    /// Dollars per million.
    Dollars,
    /// Dollars per month of 730 hours.
    DollarsAMonth,
    /// Number per second.
    EachSecond,
    /// Microseconds of wall-clock time.
    Microseconds,
}

impl Unit {
    /// Name in the report.
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

    /// Number of decimal places in the report.
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

/// Goal of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// Upper limit.
    AtMost(f64),
    /// Lower limit.
    AtLeast(f64),
}

/// A measured figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Subject: a function, another implementation or a message.
    pub(crate) subject: String,
    /// Name of the figure.
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) runs: Runs,
    pub(crate) goal: Option<Goal>,
    /// Tolerated increase over the baseline, as a fraction.
    pub(crate) tolerance: f64,
}

/// Tolerance of counts that are equal in every run.
const STEADY: f64 = 0.10;
/// Tolerance of counts that depend on the order of events: a start depends on which connection is
/// open at the first request, and a batch on how many it opens. Runs of one build differed by 17 %.
const UNSTEADY: f64 = 0.25;

impl Figure {
    /// Creates a figure without a goal.
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

    /// Sets the goal.
    pub(crate) fn with(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// Marks the figure as dependent on the order of events.
    pub(crate) fn unsteady(self) -> Self {
        Self { tolerance: UNSTEADY, ..self }
    }

    /// Whether the median meets the goal; `None` without a goal.
    pub(crate) fn passes(&self) -> Option<bool> {
        let median = self.runs.median();
        Some(match self.goal? {
            Goal::AtMost(most) => median <= most,
            Goal::AtLeast(least) => median >= least,
        })
    }

    /// Unique name among all figures.
    pub(crate) fn key(&self) -> String {
        format!("{}: {}", self.subject, self.name)
    }

    /// The figure as JSON.
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
    fn a_goal_includes_its_limit() {
        assert_eq!(figure(4.0).with(Goal::AtMost(4.0)).passes(), Some(true));
        assert_eq!(figure(4.1).with(Goal::AtMost(4.0)).passes(), Some(false));
        assert_eq!(figure(30.0).with(Goal::AtLeast(30.0)).passes(), Some(true));
        assert_eq!(figure(29.0).with(Goal::AtLeast(30.0)).passes(), Some(false));
        assert_eq!(figure(1.0).passes(), None);
    }

    #[test]
    fn a_figure_without_runs_misses_its_goal() {
        let nothing = Figure::new("a", "b", Unit::Times, Runs::default());
        assert_eq!(nothing.with(Goal::AtMost(1.0)).passes(), Some(false));
    }
}
