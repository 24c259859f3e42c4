//! Automations: the tenant's own software, which is notified of events and answers through the API.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The default time to live of a job.
pub const TIME_TO_LIVE: Duration = Duration::from_hours(24);
/// The shortest time to live.
pub const MIN_TIME_TO_LIVE: Duration = Duration::from_mins(1);
/// The longest time to live, far below the retention of jobs in the table.
pub const MAX_TIME_TO_LIVE: Duration = Duration::from_hours(7 * 24);

/// A tenant's automation: how it learns of new messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Automation {
    /// No automation.
    #[default]
    None,
    /// Notifications are sent to an outgoing webhook.
    Push(Push),
    /// Workers pull jobs.
    Pull(Pull),
}

impl Automation {
    /// Returns the webhook that notifications are sent to, if it is enabled. An automation that
    /// pulls jobs is not notified of inbound messages: they are its jobs.
    #[must_use]
    pub fn enabled_webhook(&self) -> Option<&Push> {
        self.push().filter(|push| push.disabled_at.is_none())
    }

    /// Returns the outgoing webhook, whether or not it is enabled.
    #[must_use]
    pub const fn push(&self) -> Option<&Push> {
        match self {
            Self::None => None,
            Self::Push(push) => Some(push),
            Self::Pull(pull) => pull.push.as_ref(),
        }
    }

    /// Returns the outgoing webhook to change it, whether or not it is enabled.
    pub const fn push_mut(&mut self) -> Option<&mut Push> {
        match self {
            Self::None => None,
            Self::Push(push) => Some(push),
            Self::Pull(pull) => pull.push.as_mut(),
        }
    }
}

/// Settings of an automation whose workers pull jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Time to live of a job, in seconds.
    pub job_ttl: u32,
    /// The outgoing webhook notified of message statuses and of failed and expired jobs, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
}

impl Pull {
    /// Returns the time to live of a job.
    #[must_use]
    pub const fn time_to_live(&self) -> Duration {
        Duration::from_secs(self.job_ttl as u64)
    }
}

/// An outgoing webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The URL it is sent to.
    pub url: String,
    /// Whether `url` may resolve to an address in a private network.
    pub allow_private_network: bool,
    /// When the signing secret was last changed: cached copies from before must not be used.
    #[serde(default)]
    pub secret_at: Timestamp,
    /// When the receiver answered 410 Gone: the webhook is disabled until it is set again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
}

impl Push {
    /// Returns the version of the webhook: another one after each time it is set, because each time
    /// gives it a new signing secret.
    #[must_use]
    pub fn version(&self) -> String {
        format!("{}#{}", self.secret_at.as_microsecond(), self.url)
    }
}
