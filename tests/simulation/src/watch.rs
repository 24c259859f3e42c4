//! What must hold whatever the features are, and what was seen on the way.

#![expect(clippy::indexing_slicing, reason = "what is not in a JSON value is null")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use testkit::cloud::Refusal;

use crate::time;

/// Something that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invariant {
    /// Its name.
    pub name: &'static str,
    /// What holds, as a sentence without its full stop.
    pub says: &'static str,
}

impl Invariant {
    /// An invariant.
    #[must_use]
    pub const fn new(name: &'static str, says: &'static str) -> Self {
        Self { name, says }
    }
}

/// What the engine itself looks at.
pub const INVARIANTS: [Invariant; 6] = [
    Invariant::new("walls", "nothing of one tenant was touched for another"),
    Invariant::new("nothing-left", "no record is left behind, and every dead letter had a reason"),
    Invariant::new("rules", "no provider's rule was broken that it would not report"),
    Invariant::new("secrets", "no secret is anywhere but in Secrets Manager"),
    Invariant::new("understood", "the cloud understood every request, and no handler panicked"),
    Invariant::new("comes-to-rest", "once trouble is over, everything comes to rest"),
];

/// Something did not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The name of the invariant.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// What was seen on the way.
#[derive(Debug, Default)]
pub struct Watch {
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// How often each was looked at.
    pub looks: BTreeMap<&'static str, u64>,
    /// Webhooks that arrived at the front door.
    pub arrivals: Vec<Arrival>,
}

/// A webhook that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When, in microseconds of virtual time.
    pub at_us: i64,
    /// When it was answered; `None` while it is not.
    pub answered_us: Option<i64>,
    /// What was answered.
    pub status: u16,
    /// Its body.
    pub body: Bytes,
}

impl Watch {
    /// Something did not hold.
    pub fn violated(&mut self, invariant: &'static str, what: String) {
        self.violations.push(Violation { invariant, what });
    }

    /// Something was looked at.
    pub fn look(&mut self, invariant: &'static str) {
        *self.looks.entry(invariant).or_default() += 1;
    }

    /// Looks at something, and says so if it does not hold.
    pub fn holds(&mut self, invariant: &'static str, holds: bool, what: impl FnOnce() -> String) {
        self.look(invariant);
        if !holds {
            self.violated(invariant, what());
        }
    }

    pub(crate) fn refused(&mut self, who: &str, request: &str, refusal: &Refusal) {
        // What conditions and look-ups are for.
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
        self.holds("understood", fine, || {
            format!("{who}: {request}: {} {}", refusal.code, refusal.message)
        });
    }

    pub(crate) fn panicked(&mut self, who: &str, how: &str) {
        self.violated("understood", format!("{who}: {how}"));
    }

    /// Whether a request keeps to the tenants it is made for.
    pub(crate) fn walls(
        &mut self,
        who: &str,
        tenants: &BTreeSet<String>,
        operation: &str,
        body: &Value,
    ) {
        // The platform's own key acts for all.
        if tenants.contains("platform") && tenants.len() == 1 {
            return;
        }
        for pk in partitions(body) {
            let Some(tenant) = pk.strip_prefix("T#").and_then(|rest| rest.split('#').next()) else {
                continue;
            };
            self.holds("walls", tenants.contains(tenant), || {
                format!("{who}, working for {tenants:?}, asks for {operation} {pk}")
            });
        }
    }

    /// Whether nothing of it is a secret.
    pub(crate) fn hides_secrets(&mut self, who: &str, text: &str, secrets: &[&str]) {
        let shown = secrets.iter().find(|secret| text.contains(**secret));
        self.holds("secrets", shown.is_none(), || {
            let shown = shown.copied().unwrap_or_default();
            format!("{who} puts what contains {shown} where it does not belong")
        });
    }

    /// A request arrives at the front door; gives its number if it is a webhook.
    pub(crate) fn arrives(&mut self, request: &Request<Bytes>) -> Option<usize> {
        if !request.uri().path().starts_with("/webhooks/") {
            return None;
        }
        let body = request.body().clone();
        let at_us = time::now_us();
        self.arrivals.push(Arrival { at_us, answered_us: None, status: 0, body });
        Some(self.arrivals.len() - 1)
    }

    pub(crate) fn was_answered(&mut self, number: Option<usize>, status: u16) {
        if let Some(arrival) = number.and_then(|number| self.arrivals.get_mut(number)) {
            arrival.answered_us = Some(time::now_us());
            arrival.status = status;
        }
    }
}

/// The partitions a request names.
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
