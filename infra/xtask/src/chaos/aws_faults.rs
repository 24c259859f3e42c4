//! AWS fault model: decides from the time and random numbers which calls fail, and how.

use std::fmt;

use super::rng::Rng;

/// AWS services that the functions call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    DynamoDb,
    Sqs,
    S3,
    Secrets,
    Kms,
}

impl Service {
    const ALL: [Self; 5] = [Self::DynamoDb, Self::Sqs, Self::S3, Self::Secrets, Self::Kms];

    /// Returns the service of a request by its `X-Amz-Target` header. Only S3 has none.
    pub(crate) fn of(target: Option<&str>) -> Self {
        match target.and_then(|target| target.split(['_', '.']).next()) {
            Some("DynamoDB") => Self::DynamoDb,
            Some("AmazonSQS") => Self::Sqs,
            Some("secretsmanager") => Self::Secrets,
            Some("TrentService") => Self::Kms,
            _ => Self::S3,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DynamoDb => "DynamoDB",
            Self::Sqs => "SQS",
            Self::S3 => "S3",
            Self::Secrets => "Secrets Manager",
            Self::Kms => "KMS",
        })
    }
}

/// Kinds of AWS faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Rejected with the service's throttling error.
    Throttled,
    /// Rejected with the service's internal error.
    ServerError,
    /// Executed, with a late response.
    Slow,
    /// Connection closed before the call was executed.
    Dropped,
    /// Executed, with the response lost.
    AnswerLost,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Throttled => "throttled",
            Self::ServerError => "server error",
            Self::Slow => "slow",
            Self::Dropped => "dropped",
            Self::AnswerLost => "answer lost",
        })
    }
}

/// A fault of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// Delay of the response in milliseconds; 0 unless the kind is slow.
    pub(crate) delay_ms: u64,
    /// Selects one of the service's error codes.
    pub(crate) wording: u64,
}

/// Relative frequency of each kind.
const WEIGHTS: [(u64, Kind); 5] = [
    (30, Kind::Throttled),
    (15, Kind::ServerError),
    (25, Kind::Slow),
    (15, Kind::Dropped),
    (15, Kind::AnswerLost),
];
/// The SDK hides single faults by retries; only a fault storm reaches the functions.
const STORM_FACTOR: f64 = 20.0;
const STORM_MOST: f64 = 0.8;
const STORM_LASTS_MS: (u64, u64) = (1_000, 4_000);
const STORM_EVERY_MS: (u64, u64) = (8_000, 20_000);

/// Fault model: a constant rate of faults, and from time to time a storm on one service.
#[derive(Debug)]
pub(crate) struct AwsFaults {
    rng: Rng,
    rate: f64,
    storm: Service,
    begins_ms: u64,
    ends_ms: u64,
}

impl AwsFaults {
    /// `rate` is the share of calls that fail outside storms, from 0 to 1.
    pub(crate) fn new(rate: f64, rng: Rng) -> Self {
        let mut aws_faults = Self { rng, rate, storm: Service::DynamoDb, begins_ms: 0, ends_ms: 0 };
        aws_faults.schedule_storm(0);
        aws_faults
    }

    fn schedule_storm(&mut self, now_ms: u64) {
        let (rng, all) = (&mut self.rng, &Service::ALL);
        self.storm = rng.pick(all).copied().unwrap_or(Service::Sqs);
        self.begins_ms = now_ms + rng.between(STORM_EVERY_MS.0, STORM_EVERY_MS.1);
        self.ends_ms = self.begins_ms + rng.between(STORM_LASTS_MS.0, STORM_LASTS_MS.1);
    }

    /// Returns the fault of a call to `service` at `now_ms`, if there is one.
    pub(crate) fn fault(&mut self, service: Service, now_ms: u64) -> Option<Fault> {
        if now_ms >= self.ends_ms {
            self.schedule_storm(now_ms);
        }
        let stormy = self.storm == service && now_ms >= self.begins_ms;
        let rate = if stormy { (self.rate * STORM_FACTOR).min(STORM_MOST) } else { self.rate };
        if !self.rng.chance(rate) {
            return None;
        }
        let kind = self.rng.weighted(&WEIGHTS)?;
        // Delays are mostly short and rarely long.
        let late = self.rng.between(0, 155);
        let delay_ms = if kind == Kind::Slow { 200 + late * late * late / 980 } else { 0 };
        Some(Fault { kind, delay_ms, wording: self.rng.next() })
    }
}

/// An AWS error response: status line, content type and body.
pub(crate) struct Refusal {
    pub(crate) status: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

/// Returns the error response of `service`.
pub(crate) fn refusal(service: Service, kind: Kind, wording: u64) -> Refusal {
    let first = wording.is_multiple_of(2);
    let throttled = kind == Kind::Throttled;
    let (status, code) = match (service, throttled, first) {
        (Service::DynamoDb, true, true) => (
            "400 Bad Request",
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        ),
        (Service::DynamoDb, true, false) => {
            ("400 Bad Request", "com.amazon.coral.availability#ThrottlingException")
        }
        (Service::DynamoDb, false, _) => {
            ("500 Internal Server Error", "com.amazonaws.dynamodb.v20120810#InternalServerError")
        }
        (Service::Sqs, true, true) => ("400 Bad Request", "com.amazonaws.sqs#RequestThrottled"),
        (Service::Sqs, true, false) | (Service::S3, false, false) => {
            ("503 Service Unavailable", "ServiceUnavailable")
        }
        (Service::Sqs, false, _) => ("500 Internal Server Error", "InternalFailure"),
        (Service::S3, true, _) => ("503 Slow Down", "SlowDown"),
        (Service::S3, false, true) => ("500 Internal Server Error", "InternalError"),
        (Service::Secrets | Service::Kms, true, _) => ("400 Bad Request", "ThrottlingException"),
        (Service::Secrets, false, _) => ("500 Internal Server Error", "InternalServiceError"),
        (Service::Kms, false, _) => ("500 Internal Server Error", "KMSInternalException"),
    };
    let text = "Injected by the fault proxy.";
    if service == Service::S3 {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <Error><Code>{code}</Code><Message>{text}</Message></Error>"
        );
        return Refusal { status, content_type: "application/xml", body };
    }
    let body = serde_json::json!({"__type": code, "message": text}).to_string();
    Refusal { status, content_type: "application/x-amz-json-1.0", body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_read_from_the_target_header() {
        assert_eq!(Service::of(Some("DynamoDB_20120810.PutItem")), Service::DynamoDb);
        assert_eq!(Service::of(Some("AmazonSQS.SendMessageBatch")), Service::Sqs);
        assert_eq!(Service::of(Some("secretsmanager.GetSecretValue")), Service::Secrets);
        assert_eq!(Service::of(Some("TrentService.Decrypt")), Service::Kms);
        assert_eq!(Service::of(None), Service::S3);
    }

    #[test]
    fn a_rate_of_zero_injects_no_faults() {
        let mut aws_faults = AwsFaults::new(0.0, Rng::new(1, 0));
        assert!((0..100_000).all(|now| aws_faults.fault(Service::Sqs, now).is_none()));
    }

    #[test]
    fn a_storm_hits_one_service_hard_and_passes() {
        let mut aws_faults = AwsFaults::new(0.03, Rng::new(1, 0));
        let mut stormy = 0;
        let mut calm = 0;
        for now in (0..600_000).step_by(1000) {
            for service in Service::ALL {
                let faults = (0..50).filter(|_| aws_faults.fault(service, now).is_some()).count();
                if faults > 18 {
                    stormy += 1;
                } else {
                    calm += 1;
                }
            }
        }
        assert!(stormy > 30, "{stormy} of {calm}");
        assert!(calm > 10 * stormy, "{stormy} of {calm}");
    }

    #[test]
    fn every_kind_occurs_and_only_slow_calls_are_delayed() {
        let mut aws_faults = AwsFaults::new(1.0, Rng::new(3, 0));
        let faults: Vec<Fault> =
            (0..1000).filter_map(|now| aws_faults.fault(Service::S3, now)).collect();
        for (_, kind) in WEIGHTS {
            let mut of_kind = faults.iter().filter(|fault| fault.kind == kind);
            let waits = if kind == Kind::Slow { 200..=4000 } else { 0..=0 };
            assert!(of_kind.next().is_some() && of_kind.all(|f| waits.contains(&f.delay_ms)));
        }
    }

    #[test]
    fn error_responses_have_the_format_of_their_service() {
        let table = refusal(Service::DynamoDb, Kind::Throttled, 0);
        assert!(table.status.starts_with("400"));
        assert!(table.body.contains("ProvisionedThroughputExceededException"));
        let bucket = refusal(Service::S3, Kind::Throttled, 0);
        assert!(bucket.status.starts_with("503") && bucket.body.contains("<Code>SlowDown</Code>"));
        let queue = refusal(Service::Sqs, Kind::ServerError, 1);
        assert!(queue.status.starts_with("500") && queue.body.contains("InternalFailure"));
    }
}
