//! The engine's invariants, and the checks made during a run.

#![expect(clippy::indexing_slicing, reason = "indexing a JSON value returns null if absent")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use testkit::cloud::Refusal;

use crate::time;

/// A property that must hold in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invariant {
    /// Name.
    pub name: &'static str,
    /// The property as a sentence without a full stop.
    pub description: &'static str,
}

impl Invariant {
    /// Creates an invariant.
    #[must_use]
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, description }
    }
}

/// The invariants of the engine.
pub const INVARIANTS: [Invariant; 7] = [
    Invariant::new("tenant-isolation", "no data of one tenant is accessed on behalf of another"),
    Invariant::new("queues-drained", "no record remains, and every dead letter has a reason"),
    Invariant::new("rules", "no provider rule is broken that the provider would not report"),
    Invariant::new("secrets", "secrets are stored in Secrets Manager only"),
    Invariant::new(
        "understood",
        "the cloud accepts the form of every request, and no handler panics",
    ),
    Invariant::new("comes-to-rest", "all work ends after the faults have stopped"),
    Invariant::new("loops-allowed", "Lambda stops no invocation as a part of a recursive loop"),
];

/// A violated invariant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Name of the invariant.
    pub invariant: &'static str,
    /// What was observed.
    pub what: String,
}

/// Observations of a run.
#[derive(Debug, Default)]
pub struct Monitor {
    /// Violations so far.
    pub violations: Vec<Violation>,
    /// Number of checks of each invariant.
    pub checks: BTreeMap<&'static str, u64>,
    /// Webhooks that reached the hub.
    pub arrivals: Vec<Arrival>,
}

/// A webhook that reached the hub.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Virtual time of arrival, in microseconds.
    pub at_us: i64,
    /// Virtual time of the response; `None` while there is none.
    pub answered_us: Option<i64>,
    /// Status of the response.
    pub status: u16,
    /// Request body.
    pub body: Bytes,
}

impl Monitor {
    /// Records a violation.
    pub fn record_violation(&mut self, invariant: &'static str, what: String) {
        self.violations.push(Violation { invariant, what });
    }

    /// Counts a check.
    pub fn count_check(&mut self, invariant: &'static str) {
        *self.checks.entry(invariant).or_default() += 1;
    }

    /// Checks a condition, and records a violation if it is false.
    pub fn check(&mut self, invariant: &'static str, holds: bool, what: impl FnOnce() -> String) {
        self.count_check(invariant);
        if !holds {
            self.record_violation(invariant, what());
        }
    }

    pub(crate) fn check_refusal(&mut self, who: &str, request: &str, refusal: &Refusal) {
        // Rejections that conditions and look-ups expect.
        let expected = [
            "ConditionalCheckFailedException",
            "TransactionCanceledException",
            "ThrottlingException",
            "ResourceNotFoundException",
            "ReceiptHandleIsInvalid",
            "InvalidParameterValueException",
        ];
        let fine = expected.contains(&refusal.code.as_str())
            && (refusal.code != "InvalidParameterValueException" || request.contains("Visibility"));
        self.check("understood", fine, || {
            format!("{who}: {request}: {} {}", refusal.code, refusal.message)
        });
    }

    pub(crate) fn record_panic(&mut self, who: &str, how: &str) {
        self.record_violation("understood", format!("{who}: {how}"));
    }

    /// Checks that a request accesses only data of the given tenants.
    pub(crate) fn check_tenant_isolation(
        &mut self,
        who: &str,
        tenants: &BTreeSet<String>,
        operation: &str,
        body: &Value,
    ) {
        // The platform's key may access all tenants.
        if tenants.contains("platform") && tenants.len() == 1 {
            return;
        }
        for pk in partitions(body) {
            let Some(tenant) = pk.strip_prefix("T#").and_then(|rest| rest.split('#').next()) else {
                continue;
            };
            self.check("tenant-isolation", tenants.contains(tenant), || {
                format!("{who}, working for {tenants:?}, requests {operation} {pk}")
            });
        }
    }

    /// Checks that a text contains no secret.
    pub(crate) fn check_secrets(&mut self, who: &str, text: &str, secrets: &[&str]) {
        let shown = secrets.iter().find(|secret| text.contains(**secret));
        self.check("secrets", shown.is_none(), || {
            let shown = shown.copied().unwrap_or_default();
            format!("{who} stores or sends the secret {shown} outside Secrets Manager")
        });
    }

    /// Records a request to the hub. Returns its number if it is a webhook.
    pub(crate) fn record_arrival(&mut self, request: &Request<Bytes>) -> Option<usize> {
        if !request.uri().path().starts_with("/webhooks/") {
            return None;
        }
        let body = request.body().clone();
        let at_us = time::now_us();
        self.arrivals.push(Arrival { at_us, answered_us: None, status: 0, body });
        Some(self.arrivals.len() - 1)
    }

    pub(crate) fn record_response(&mut self, number: Option<usize>, status: u16) {
        if let Some(arrival) = number.and_then(|number| self.arrivals.get_mut(number)) {
            arrival.answered_us = Some(time::now_us());
            arrival.status = status;
        }
    }
}

/// Returns the partition keys that a request names.
#[must_use]
pub fn partitions(body: &Value) -> Vec<String> {
    fn of_key(value: &Value, found: &mut Vec<String>) {
        if let Some(pk) = value["pk"]["S"].as_str() {
            found.push(pk.to_owned());
        }
    }
    let mut found = Vec::new();
    of_key(&body["Key"], &mut found);
    of_key(&body["Item"], &mut found);
    for write in body["TransactItems"].as_array().into_iter().flatten() {
        for part in write.as_object().into_iter().flat_map(|parts| parts.values()) {
            of_key(&part["Key"], &mut found);
            of_key(&part["Item"], &mut found);
        }
    }
    for requests in body["RequestItems"].as_object().into_iter().flat_map(|all| all.values()) {
        for write in requests.as_array().into_iter().flatten() {
            of_key(&write["PutRequest"]["Item"], &mut found);
            of_key(&write["DeleteRequest"]["Key"], &mut found);
        }
        for key in requests["Keys"].as_array().into_iter().flatten() {
            of_key(key, &mut found);
        }
    }
    if body["KeyConditionExpression"].is_string() {
        let values = body["ExpressionAttributeValues"].as_object();
        for value in values.into_iter().flat_map(|values| values.values()) {
            let text = value["S"].as_str().unwrap_or_default();
            if text.starts_with("T#") || text.starts_with("DUE#") {
                found.push(text.to_owned());
            }
        }
    }
    found
}
