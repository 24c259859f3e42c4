//! Logs and metrics: one JSON line each, without bodies, addresses or secrets.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::ports::Clock;
use domain::trace;
use jiff::Timestamp;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

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
    let subscriber = lines(level, std::io::stdout).with(targets);
    // A second call changes nothing.
    let _already = tracing::subscriber::set_global_default(subscriber);
}

/// Returns the subscriber that writes log lines to `writer`.
fn lines<W>(level: LevelFilter, writer: W) -> impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_max_level(level)
        .with_writer(writer)
        .map_event_format(Traced)
        .finish()
}

/// Format of a log line: JSON with the ids of the trace. They are not those of a `tracing` span,
/// which would cost as much as a line even if none is written.
struct Traced(Format<Json>);

impl<S, N> FormatEvent<S, N> for Traced
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(span) = trace::current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let Some(fields) = line.strip_suffix("}\n") else { return writer.write_str(&line) };
        let (trace_id, span_id) = (span.trace_id, span.span_id);
        write!(writer, r#"{fields},"trace_id":"{trace_id}","span_id":"{span_id}""#)?;
        if let Some(parent_id) = span.parent_id {
            write!(writer, r#","parent_id":"{parent_id}""#)?;
        }
        writer.write_str("}\n")
    }
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
    use std::pin::pin;
    use std::sync::{Arc, Mutex};

    use domain::TraceContext;
    use domain::trace::SpanId;
    use futures::executor::block_on;
    use serde_json::{Value, json};

    use super::*;

    /// Returns what `log` writes.
    fn logged(log: impl FnOnce()) -> Vec<Value> {
        struct Shared(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let own = Arc::clone(&written);
        let subscriber = lines(LevelFilter::INFO, move || Shared(Arc::clone(&own)));
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_log_line_has_the_ids_of_its_span() {
        let first: TraceContext =
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
        let next = first.child(SpanId::derived(&["next"]));
        let lines = logged(|| {
            block_on(trace::scope(first, pin!(async { tracing::info!(n = 1, "first") })));
            block_on(trace::scope(next, pin!(async { tracing::warn!("next") })));
            tracing::info!("outside");
        });
        let trace_id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!((&lines[0]["message"], &lines[0]["n"]), (&json!("first"), &json!(1)));
        assert_eq!(lines[0]["trace_id"], trace_id);
        assert_eq!(lines[0]["span_id"], "b7ad6b7169203331");
        assert_eq!(lines[0].get("parent_id"), None);
        assert_eq!((&lines[1]["level"], &lines[1]["trace_id"]), (&json!("WARN"), &json!(trace_id)));
        assert_eq!(lines[1]["span_id"], next.span_id.to_string());
        assert_eq!(lines[1]["parent_id"], "b7ad6b7169203331");
        assert_eq!((&lines[2]["message"], lines[2].get("trace_id")), (&json!("outside"), None));
        assert!(lines.iter().all(|line| line["timestamp"].is_string()));
    }

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
