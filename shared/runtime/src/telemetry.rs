//! Logs and metrics: one JSON line each, never with a body, an address or a secret.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::system::SystemClock;
use domain::ports::Clock;

/// Whether somebody reads standard output: on Lambda, not in a test.
static READ: AtomicBool = AtomicBool::new(false);

/// Sends log lines to standard output, where Lambda reads them.
pub(crate) fn init() {
    READ.store(true, Ordering::Relaxed);
    let level = crate::env::optional("LOG_LEVEL").and_then(|level| level.parse().ok());
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_max_level(level.unwrap_or(tracing::Level::INFO))
        .finish();
    // A second call changes nothing.
    let _already = tracing::subscriber::set_global_default(subscriber);
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// An edge took a request in.
    WebhookAccepted,
    /// A request was not proved to be from the provider.
    WebhookRejected,
    /// A verified body named an account that is another tenant's.
    AccountMismatch,
    /// Authentic, but not understood: kept for later.
    WebhookParked,
    /// A message came in.
    MessageReceived,
    /// A message was settled as accepted.
    MessageAccepted,
    /// A message was settled as failed or expired.
    MessageFailed,
    /// A message was settled as unknown.
    MessageUnknown,
    /// A receipt for a message we do not have.
    ReceiptUnmatched,
    /// A notice was taken by an automation.
    NoticeDelivered,
    /// A notice was given up, or its receiver is gone.
    NoticeGivenUp,
    /// A record went to a dead-letter queue.
    DeadLetter,
}

impl Metric {
    const fn name(self) -> &'static str {
        match self {
            Self::WebhookAccepted => "WebhookAccepted",
            Self::WebhookRejected => "WebhookRejected",
            Self::AccountMismatch => "AccountMismatch",
            Self::WebhookParked => "WebhookParked",
            Self::MessageReceived => "MessageReceived",
            Self::MessageAccepted => "MessageAccepted",
            Self::MessageFailed => "MessageFailed",
            Self::MessageUnknown => "MessageUnknown",
            Self::ReceiptUnmatched => "ReceiptUnmatched",
            Self::NoticeDelivered => "NoticeDelivered",
            Self::NoticeGivenUp => "NoticeGivenUp",
            Self::DeadLetter => "DeadLetter",
        }
    }
}

/// Counts `count` of `metric`, by `part`: a provider's or a queue's name.
///
/// CloudWatch reads the metric out of the log line, so it costs no call:
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
pub(crate) fn count(metric: Metric, part: &str, count: usize) {
    if !READ.load(Ordering::Relaxed) {
        return;
    }
    let name = metric.name();
    let line = json!({
        "_aws": {
            "Timestamp": SystemClock.now().as_millisecond(),
            "CloudWatchMetrics": [{
                "Namespace": "Switchboard",
                "Dimensions": [["Part"]],
                "Metrics": [{ "Name": name, "Unit": "Count" }],
            }],
        },
        "Part": part,
        name: count,
    });
    #[expect(clippy::print_stdout, reason = "this is how CloudWatch takes a metric")]
    {
        println!("{line}");
    }
}
