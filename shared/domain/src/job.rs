//! The status of a job, which a job shares with the notifications about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The status of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// It waits for a worker, for the first or another attempt.
    Queued,
    /// A worker holds it.
    Processing,
    /// A worker completed it.
    Completed,
    /// A worker reported that it cannot be completed, or the lease of its last attempt expired.
    Failed,
    /// No worker completed it within its time to live.
    Expired,
}

impl JobStatus {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::Queued, Self::Processing, Self::Completed, Self::Failed, Self::Expired];

    /// Returns the name used in the API and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// Returns the status with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether the status can no longer change.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_status_names_parse_back_and_three_are_final() {
        for status in JobStatus::ALL {
            assert_eq!(JobStatus::from_name(status.as_str()), Some(status));
        }
        let finals = JobStatus::ALL.into_iter().filter(|status| status.is_final());
        let expected = [JobStatus::Completed, JobStatus::Failed, JobStatus::Expired];
        assert_eq!(finals.collect::<Vec<_>>(), expected);
    }
}
