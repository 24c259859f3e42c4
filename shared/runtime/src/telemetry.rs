//! Logs and metrics: one JSON line each, without bodies, addresses or secrets.

use std::sync::atomic::{AtomicBool, Ordering};

use domain::ports::Clock;
use jiff::Timestamp;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;

use crate::system::SystemClock;

/// Whether metrics are written to standard output: on Lambda, but not in tests.
static ENABLED: AtomicBool = AtomicBool::new(false);

/// Writes log lines to standard output, where Lambda reads them.
pub(crate) fn init() {
    ENABLED.store(true, Ordering::Relaxed);
    let level = crate::env::optional("LOG_LEVEL").and_then(|level| level.parse().ok());
    let level: LevelFilter = level.unwrap_or(LevelFilter::INFO);
    // The runtime's span around each invocation is never written, but costs as much as a line.
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

/// Metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Webhook requests accepted.
    WebhookAccepted,
    /// Webhook requests rejected, because they were not verified, invalid or too large.
    WebhookRejected,
    /// Webhook requests that were sent to an existing integration and could not be verified. Those
    /// to invented URLs are not among them, so that not everyone can raise the alarm.
    VerificationFailed,
    /// Verified webhooks rejected because they name another tenant's account.
    AccountMismatch,
    /// Verified webhooks parked, because they could not be parsed or match no account.
    WebhookParked,
    /// Events recorded.
    EventRecorded,
    /// Events rejected because their single-use token belongs to another event.
    EventForged,
    /// Parked webhooks recorded.
    EventParked,
    /// Inbound messages received.
    MessageReceived,
    /// Messages settled as accepted.
    MessageAccepted,
    /// Messages settled as failed or expired.
    MessageFailed,
    /// Messages settled as unknown.
    MessageUnknown,
    /// Messages handed over to the next integration (failover).
    MessageHandedOver,
    /// Circuit breakers opened.
    CircuitOpened,
    /// Receipts for messages that the hub does not have.
    ReceiptUnmatched,
    /// Notifications delivered to a webhook endpoint.
    NoticeDelivered,
    /// Notifications abandoned after the last attempt or because the endpoint is gone.
    NoticeGivenUp,
    /// Jobs pulled by a worker.
    JobPulled,
    /// Jobs completed by a worker.
    JobCompleted,
    /// Jobs failed permanently.
    JobFailed,
    /// Jobs expired before a worker completed them.
    JobExpired,
    /// Records sent to a dead-letter queue.
    DeadLetter,
    /// API requests that passed without a check of their rate limit, because the table failed.
    RateLimitUnchecked,
    /// API requests refused because of a rate limit.
    RateLimited,
    /// Time from the receipt of a webhook until its response, in milliseconds.
    WebhookTime,
    /// Time from the request to send a message until the provider accepts it, in milliseconds.
    SendTime,
    /// Time from the start of a job's last attempt until its completion, in milliseconds.
    JobTime,
    /// Time by which the oldest due retry of a notification is late, in milliseconds.
    RetryDelay,
}

impl Metric {
    const fn name(self) -> &'static str {
        match self {
            Self::WebhookAccepted => "WebhookAccepted",
            Self::WebhookRejected => "WebhookRejected",
            Self::VerificationFailed => "VerificationFailed",
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
            Self::RateLimitUnchecked => "RateLimitUnchecked",
            Self::RateLimited => "RateLimited",
            Self::WebhookTime => "WebhookTime",
            Self::SendTime => "SendTime",
            Self::JobTime => "JobTime",
            Self::RetryDelay => "RetryDelay",
        }
    }

    /// The unit of its values, as CloudWatch names it.
    const fn unit(self) -> &'static str {
        match self {
            Self::WebhookTime | Self::SendTime | Self::JobTime | Self::RetryDelay => "Milliseconds",
            _ => "Count",
        }
    }
}

/// Adds `count` to `metric`, with the dimension `part`: the name of a provider or queue.
///
/// CloudWatch extracts the metric from the log line, so it needs no request:
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
pub fn count(metric: Metric, part: &str, count: usize) {
    write(metric, part, i64::try_from(count).unwrap_or(i64::MAX));
}

/// Records the time from `start` to `end` as a value of `metric`, with the dimension `part`. An end
/// before the start, by two clocks, is a time of 0.
pub fn time(metric: Metric, part: &str, start: Timestamp, end: Timestamp) {
    write(metric, part, end.as_millisecond().saturating_sub(start.as_millisecond()).max(0));
}

fn write(metric: Metric, part: &str, value: i64) {
    if !ENABLED.load(Ordering::Relaxed) {
        return;
    }
    let Ok(line) = metric_line(metric, part, value, SystemClock.now().as_millisecond()) else {
        return;
    };
    #[expect(clippy::print_stdout, reason = "CloudWatch extracts metrics from standard output")]
    {
        println!("{line}");
    }
}

/// Returns the metric as a log line. It is formatted directly: a tree of JSON values would cost
/// ten times as much, in every request.
fn metric_line(
    metric: Metric,
    part: &str,
    value: i64,
    milliseconds: i64,
) -> Result<String, serde_json::Error> {
    let (name, unit, part) = (metric.name(), metric.unit(), serde_json::to_string(part)?);
    Ok(format!(
        r#"{{"_aws":{{"Timestamp":{milliseconds},"CloudWatchMetrics":[{{"Namespace":"Switchboard","Dimensions":[["Part"]],"Metrics":[{{"Name":"{name}","Unit":"{unit}"}}]}}]}},"Part":{part},"{name}":{value}}}"#
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_metric_is_a_line_in_the_embedded_format() {
        let line =
            metric_line(Metric::WebhookAccepted, "a \"part\"", 3, 1_795_176_000_000).unwrap();
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

    #[test]
    fn a_time_is_in_milliseconds() {
        let line = metric_line(Metric::SendTime, "messages", 1250, 0).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["SendTime"], 1250);
        let metric = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0];
        assert_eq!(metric["Unit"], "Milliseconds");
    }
}
