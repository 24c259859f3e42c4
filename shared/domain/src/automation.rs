//! Automations: the tenant's own software, which is notified of events and answers through the API.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversation::Conversation;
use crate::pull::JobStatus;
use crate::{JobId, Message, NotificationId, TenantId};

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
        let push = match self {
            Self::None => None,
            Self::Push(push) => Some(push),
            Self::Pull(pull) => pull.push.as_ref(),
        };
        push.filter(|push| push.disabled_at.is_none())
    }

    /// Returns the outgoing webhook, whether or not it is enabled.
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

/// A notification to an automation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    /// The event type.
    #[serde(rename = "type")]
    pub kind: NotificationKind,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The payload.
    pub data: NotificationData,
}

/// The event types of notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NotificationKind {
    /// A message was received from a customer.
    #[serde(rename = "message.received")]
    MessageReceived,
    /// The status of an outbound message changed.
    #[serde(rename = "message.status")]
    MessageStatus,
    /// A job failed permanently.
    #[serde(rename = "job.failed")]
    JobFailed,
    /// A job was not completed within its time to live.
    #[serde(rename = "job.expired")]
    JobExpired,
}

/// The payload of a notification.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NotificationData {
    /// The tenant.
    pub tenant: TenantId,
    /// The message, as returned by `GET /messages/{id}`.
    pub message: Message,
    /// The conversation of the message. Absent from `message.status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Conversation>,
    /// The job. Only in `job.failed` and `job.expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<EndedJob>,
}

/// A failed or expired job, as a notification describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndedJob {
    /// The job id.
    pub job_id: JobId,
    /// The final status.
    pub status: JobStatus,
    /// Number of attempts made.
    pub attempt: u32,
    /// Why the job failed or expired.
    pub reason: String,
}

impl NotificationData {
    /// Returns the notification id: the same for every redelivery of the underlying event.
    #[must_use]
    pub fn notification_id(&self, kind: NotificationKind) -> NotificationId {
        let message = self.message.id.to_string();
        let status = match kind {
            NotificationKind::MessageReceived => "received",
            NotificationKind::MessageStatus => self.message.status.as_str(),
            NotificationKind::JobFailed => "job.failed",
            NotificationKind::JobExpired => "job.expired",
        };
        NotificationId::derived(&[self.tenant.as_str(), &message, status])
    }
}

/// Waits before each attempt after the first.
///
/// The first five are short, so that a restart of the receiver is hardly noticed; the others are
/// those that Standard Webhooks recommends.
///
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
const SCHEDULE: [Duration; 13] = [
    SHORTEST,
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_mins(1),
    Duration::from_mins(2),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];

/// The shortest wait between the end of an attempt and the next one.
const SHORTEST: Duration = Duration::from_secs(5);

/// Returns the wait after failed attempt number `attempt` (from 1); `None` after the last.
///
/// The schedule is counted from the start of an attempt, which took `took`: a receiver that does
/// not respond until the timeout does not delay the notification by both. `jitter` (uniform in
/// `0.0..1.0`) adds up to a tenth, so that receivers that failed together are not retried together.
/// A longer `retry_after` is honored, up to a day.
#[must_use]
pub fn next_attempt(
    attempt: u32,
    took: Duration,
    jitter: f64,
    retry_after: Option<Duration>,
) -> Option<Duration> {
    let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
    let spread = |wait: Duration| wait.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 10.0);
    let wait = spread(*SCHEDULE.get(index)?).saturating_sub(took).max(spread(SHORTEST));
    Some(wait.max(retry_after.unwrap_or_default().min(Duration::from_hours(24))))
}

/// The meaning of the receiver's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookResponse {
    /// The receiver accepted the notification.
    Accepted,
    /// The receiver wants no more notifications.
    Gone,
    /// The receiver did not accept it; retry, no sooner than its `Retry-After`.
    Retry(Option<Duration>),
}

/// Interprets the receiver's HTTP status.
#[must_use]
pub fn classify_response(status: u16, retry_after: Option<Duration>) -> WebhookResponse {
    match status {
        200..=299 => WebhookResponse::Accepted,
        410 => WebhookResponse::Gone,
        _ => WebhookResponse::Retry(retry_after),
    }
}

/// Whether the hub may call this address for a tenant that did not allow private networks: only
/// addresses of the public internet.
///
/// Refused are loopback, private, link-local (which includes the cloud's metadata service),
/// carrier-grade NAT, documentation, multicast and reserved ranges:
/// <https://www.iana.org/assignments/iana-ipv4-special-registry/>.
#[must_use]
pub fn is_public(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b == 18 || b == 19)))
        }
        std::net::IpAddr::V6(v6) => {
            // An IPv4-mapped address is checked as IPv4.
            if let Some(v4) = v6.to_ipv4_mapped() {
                return is_public(std::net::IpAddr::V4(v4));
            }
            // Global unicast is 2000::/3; of it, Teredo, ORCHID, documentation and 6to4
            // (which carries an IPv4 address) are not.
            let [a, b, ..] = v6.segments();
            (0x2000..0x4000).contains(&a)
                && !(a == 0x2001 && (b < 0x200 || b == 0xdb8))
                && a != 0x2002
                && a != 0x3fff
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_short_waits_precede_the_standard_webhooks_schedule() {
        let waits = (1..).map_while(|attempt| next_attempt(attempt, Duration::ZERO, 0.0, None));
        let waits: Vec<u64> = waits.map(|wait| wait.as_secs()).collect();
        let hour = 3600;
        assert_eq!(waits[..5], [5, 15, 30, 60, 120]);
        let long = [300, 1800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour];
        assert_eq!(waits[5..], long);
    }

    #[test]
    fn a_longer_retry_after_is_honored_and_jitter_only_adds() {
        let minute = Some(Duration::from_mins(1));
        assert_eq!(next_attempt(1, Duration::ZERO, 0.0, minute), minute);
        let most = next_attempt(6, Duration::ZERO, 1.0, None);
        assert_eq!(most, Some(Duration::from_secs(330)));
    }

    #[test]
    fn the_duration_of_an_attempt_counts_towards_the_wait_but_five_seconds_remain() {
        let slow = Duration::from_secs(15);
        let wait = |attempt| next_attempt(attempt, slow, 0.0, None).unwrap().as_secs();
        assert_eq!([1, 2, 3, 4].map(wait), [5, 5, 15, 45]);
        // `Retry-After` is counted from the response.
        let asked = Some(Duration::from_secs(20));
        assert_eq!(next_attempt(2, slow, 0.0, asked), asked);
    }

    #[test]
    fn private_addresses_are_not_public() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::",
            "2002:a00:1::",
            "64:ff9b::a00:1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["1.1.1.1", "93.184.216.34", "2606:4700::1111"] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }
}
