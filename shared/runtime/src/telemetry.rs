//! Logs and metrics: one JSON line each, never with a body, an address or a secret.

use std::sync::atomic::{AtomicBool, Ordering};

use domain::ports::Clock;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;

use crate::system::SystemClock;

/// Whether somebody reads standard output: on Lambda, not in a test.
static READ: AtomicBool = AtomicBool::new(false);

/// Sends log lines to standard output, where Lambda reads them.
pub(crate) fn init() {
    READ.store(true, Ordering::Relaxed);
    let level = crate::env::optional("LOG_LEVEL").and_then(|level| level.parse().ok());
    let level: LevelFilter = level.unwrap_or(LevelFilter::INFO);
    // The runtime's span around each invocation is written nowhere, and costs as much as a line.
    let targets = Targets::new().with_default(level);
    let targets = targets.with_target("lambda_runtime::layers", level.min(LevelFilter::WARN));
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_max_level(level)
        .finish()
        .with(targets);
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
    /// An event was written down.
    EventRecorded,
    /// What proves an event has proved another.
    EventForged,
    /// What could not be read was written down.
    EventParked,
    /// A message came in.
    MessageReceived,
    /// A message was settled as accepted.
    MessageAccepted,
    /// A message was settled as failed or expired.
    MessageFailed,
    /// A message was settled as unknown.
    MessageUnknown,
    /// A message went from one carrier to the next.
    MessageHandedOver,
    /// An integration failed so often that nothing is sent through it for a while.
    CircuitOpened,
    /// A receipt for a message we do not have.
    ReceiptUnmatched,
    /// A notice was taken by an automation.
    NoticeDelivered,
    /// A notice was given up, or its receiver is gone.
    NoticeGivenUp,
    /// A worker got a job.
    JobPulled,
    /// A worker did a job.
    JobCompleted,
    /// A job failed for good.
    JobFailed,
    /// Nobody did a job in its time.
    JobExpired,
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
            Self::EventRecorded => "EventRecorded",
            Self::EventForged => "EventForged",
            Self::EventParked => "EventParked",
            Self::MessageReceived => "MessageReceived",
            Self::MessageAccepted => "MessageAccepted",
            Self::MessageFailed => "MessageFailed",
            Self::MessageUnknown => "MessageUnknown",
            Self::MessageHandedOver => "MessageHandedOver",
            Self::CircuitOpened => "CircuitOpened",
            Self::ReceiptUnmatched => "ReceiptUnmatched",
            Self::NoticeDelivered => "NoticeDelivered",
            Self::NoticeGivenUp => "NoticeGivenUp",
            Self::JobPulled => "JobPulled",
            Self::JobCompleted => "JobCompleted",
            Self::JobFailed => "JobFailed",
            Self::JobExpired => "JobExpired",
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
    let Ok(line) = line(metric, part, count, SystemClock.now().as_millisecond()) else { return };
    #[expect(clippy::print_stdout, reason = "this is how CloudWatch takes a metric")]
    {
        println!("{line}");
    }
}

/// The line that counts. Written straight from its parts: a tree of values in between costs
/// ten times as much, in every request.
fn line(
    metric: Metric,
    part: &str,
    count: usize,
    milliseconds: i64,
) -> Result<String, serde_json::Error> {
    let (name, part) = (metric.name(), serde_json::to_string(part)?);
    Ok(format!(
        r#"{{"_aws":{{"Timestamp":{milliseconds},"CloudWatchMetrics":[{{"Namespace":"Switchboard","Dimensions":[["Part"]],"Metrics":[{{"Name":"{name}","Unit":"Count"}}]}}]}},"Part":{part},"{name}":{count}}}"#
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_metric_is_a_line_in_the_embedded_format() {
        let line = line(Metric::WebhookAccepted, "a \"part\"", 3, 1_795_176_000_000).unwrap();
        let expected = json!({
            "_aws": {
                "Timestamp": 1_795_176_000_000_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "Switchboard",
                    "Dimensions": [["Part"]],
                    "Metrics": [{ "Name": "WebhookAccepted", "Unit": "Count" }],
                }],
            },
            "Part": "a \"part\"",
            "WebhookAccepted": 3,
        });
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
    }
}
