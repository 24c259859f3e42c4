//! Scripted faults: an ordered list, each with a number of repetitions.

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Body, Reply};

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Accepted; the response never comes.
    AcceptThenTimeOut,
    /// Accepted; the connection closes without a response.
    AcceptThenDrop,
    /// The connection closes; nothing was accepted.
    Drop,
    /// An HTTP status with the provider's own error body; not accepted, unless the provider
    /// documents that it may have been.
    Status,
    /// A gateway's HTML page in place of the provider's answer; accepted or not.
    Page,
    /// 429 with `Retry-After`.
    RateLimited,
    /// The provider's own error code.
    Error,
    /// Accepted, then reported as failed.
    FailLater,
    /// Accepted and answered after a delay.
    Delay,
}

/// One scripted fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The kind.
    pub kind: Kind,
    /// Number of requests that it applies to.
    #[serde(default = "one")]
    pub times: u32,
    /// The only recipient that it applies to; `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Delay in milliseconds before the connection closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Whether the message is accepted in spite of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<bool>,
    /// `Retry-After` of a 429, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// The provider's error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// The provider's error text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Delay of the response in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

fn one() -> u32 {
    1
}

impl Fault {
    /// Whether the message is accepted in spite of the fault.
    #[must_use]
    pub fn accepts(&self) -> bool {
        match self.kind {
            Kind::AcceptThenTimeOut | Kind::AcceptThenDrop | Kind::FailLater | Kind::Delay => true,
            Kind::Drop | Kind::RateLimited | Kind::Error => false,
            Kind::Status | Kind::Page => self.accepted.unwrap_or(false),
        }
    }

    /// The name of the kind in the control API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::AcceptThenTimeOut => "accept_then_time_out",
            Kind::AcceptThenDrop => "accept_then_drop",
            Kind::Drop => "drop",
            Kind::Status => "status",
            Kind::Page => "page",
            Kind::RateLimited => "rate_limited",
            Kind::Error => "error",
            Kind::FailLater => "fail_later",
            Kind::Delay => "delay",
        }
    }
}

/// The log's name for the answer to an accepted request: `answered`, `held`, `dropped`,
/// `status_<n>` or `page_<n>`.
#[must_use]
pub fn accepted_as(fault: Option<&Fault>) -> String {
    match fault.map(|fault| (fault.kind, fault.status)) {
        Some((Kind::AcceptThenTimeOut, _)) => "held".into(),
        Some((Kind::AcceptThenDrop, _)) => "dropped".into(),
        Some((Kind::Status, status)) => format!("status_{}", status.unwrap_or(500)),
        Some((Kind::Page, status)) => format!("page_{}", status.unwrap_or(502)),
        _ => "answered".into(),
    }
}

/// The answer of a gateway in front of the provider.
#[must_use]
pub fn page(fault: &Fault) -> Answer {
    let html = "<html><head><title>Bad Gateway</title></head><body>Bad Gateway</body></html>";
    Answer::Reply(Reply {
        status: fault.status.unwrap_or(502),
        retry_after_s: fault.retry_after_s,
        body: Body::File { mime: "text/html".into(), bytes: html.into() },
        delay_ms: 0,
    })
}

/// The answer to an accepted request, in place of `ok`. `broken` is the provider's own answer with
/// an error status after it has accepted a message; [`page`] if it never gives one.
#[must_use]
pub fn accepted_answer(
    ok: Answer,
    fault: Option<&Fault>,
    broken: impl FnOnce(u16, &Fault) -> Answer,
) -> Answer {
    let Some(fault) = fault else { return ok };
    match fault.kind {
        Kind::AcceptThenTimeOut => Answer::HangUp { after_ms: fault.hold_ms.unwrap_or(30_000) },
        Kind::AcceptThenDrop => Answer::HangUp { after_ms: 0 },
        Kind::Status => broken(fault.status.unwrap_or(500), fault),
        Kind::Page => page(fault),
        Kind::Delay => ok.with_delay(fault.delay_ms.unwrap_or(1000)),
        _ => ok,
    }
}

/// The faults that have not been used up.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Appends `faults`.
    pub fn add(&mut self, faults: Vec<Fault>) {
        self.0.extend(faults.into_iter().filter(|fault| fault.times > 0));
    }

    /// The fault that applies to the next request to `to`. It is not used up yet.
    #[must_use]
    pub fn next(&self, to: &str) -> Option<Fault> {
        self.position(to).and_then(|at| self.0.get(at)).cloned()
    }

    /// Uses up one repetition of the next fault for `to`.
    pub fn consume(&mut self, to: &str) {
        let Some(at) = self.position(to) else { return };
        let spent = self.0.get_mut(at).is_some_and(|fault| {
            fault.times -= 1;
            fault.times == 0
        });
        if spent {
            self.0.remove(at);
        }
    }

    fn position(&self, to: &str) -> Option<usize> {
        self.0.iter().position(|fault| fault.to.as_deref().is_none_or(|only| only == to))
    }

    /// All that remain.
    #[must_use]
    pub fn remaining(&self) -> &[Fault] {
        &self.0
    }

    /// Removes all faults.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: serde_json::Value) -> Faults {
        let mut faults = Faults::default();
        faults.add(serde_json::from_value(json).unwrap());
        faults
    }

    #[test]
    fn faults_apply_in_order_and_the_given_number_of_times() {
        let mut faults = faults(serde_json::json!([
            {"kind": "drop", "times": 2}, {"kind": "page", "status": 502, "accepted": true}
        ]));
        let mut met = Vec::new();
        while let Some(fault) = faults.next("1") {
            met.push((fault.name(), fault.accepts()));
            faults.consume("1");
        }
        assert_eq!(met, [("drop", false), ("drop", false), ("page", true)]);
    }

    #[test]
    fn a_fault_for_one_recipient_does_not_affect_others() {
        let mut faults = faults(serde_json::json!([
            {"kind": "drop", "to": "1"}, {"kind": "delay"}
        ]));
        assert_eq!(faults.next("2").unwrap().kind, Kind::Delay);
        assert_eq!(faults.next("1").unwrap().kind, Kind::Drop);
        faults.consume("1");
        assert_eq!(faults.next("1").unwrap().kind, Kind::Delay);
    }

    #[test]
    fn a_fault_with_an_unknown_name_is_refused() {
        let wrong = serde_json::json!({"kind": "drop", "time": 2});
        assert!(serde_json::from_value::<Fault>(wrong).is_err());
    }
}
