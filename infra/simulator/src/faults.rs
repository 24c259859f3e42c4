//! Scripted faults: what goes wrong, in order, so many times.

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Body, Reply};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Accepted; the answer never comes.
    AcceptThenTimeOut,
    /// Accepted; the connection closes without an answer.
    AcceptThenDrop,
    /// The connection closes; nothing was accepted.
    Drop,
    /// An HTTP status with the provider's own error body; not accepted, unless the provider
    /// documents that it may have been.
    Status,
    /// A gateway's page in place of the provider's answer; accepted or not.
    Page,
    /// 429 with a wait.
    RateLimited,
    /// The provider's own error code.
    Error,
    /// Accepted, then reported as failed.
    FailLater,
    /// Accepted and answered, later.
    Delay,
}

/// One scripted fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// For how many requests.
    #[serde(default = "one")]
    pub times: u32,
    /// Only for this recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How long the caller waits before the connection closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Whether the message was accepted all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<bool>,
    /// The wait that a 429 asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// The provider's error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// The provider's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How much later the answer comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

fn one() -> u32 {
    1
}

impl Fault {
    /// Whether the message counts as sent in spite of the fault.
    #[must_use]
    pub fn accepts(&self) -> bool {
        match self.kind {
            Kind::AcceptThenTimeOut | Kind::AcceptThenDrop | Kind::FailLater | Kind::Delay => true,
            Kind::Drop | Kind::RateLimited | Kind::Error => false,
            Kind::Status | Kind::Page => self.accepted.unwrap_or(false),
        }
    }

    /// The kind as the control API writes it.
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

/// What the log calls the answer to an accepted request: `answered`, `held`, `dropped`,
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

/// What a gateway before the provider answers on its own.
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

/// What the caller of an accepted request gets in place of `ok`. `broken` is what the provider
/// answers with a status after it has accepted a message; [`page`], if it never does.
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
        Kind::Delay => ok.later(fault.delay_ms.unwrap_or(1000)),
        _ => ok,
    }
}

/// The faults that wait for their turn.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Puts `faults` at the end of the line.
    pub fn add(&mut self, faults: Vec<Fault>) {
        self.0.extend(faults.into_iter().filter(|fault| fault.times > 0));
    }

    /// The fault that the next request to `to` meets. It is not used up yet.
    #[must_use]
    pub fn next(&self, to: &str) -> Option<Fault> {
        self.position(to).and_then(|at| self.0.get(at)).cloned()
    }

    /// Uses the next fault for `to` up once.
    pub fn spend(&mut self, to: &str) {
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

    /// Forgets them.
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
    fn faults_come_in_order_and_so_many_times() {
        let mut faults = faults(serde_json::json!([
            {"kind": "drop", "times": 2}, {"kind": "page", "status": 502, "accepted": true}
        ]));
        let mut met = Vec::new();
        while let Some(fault) = faults.next("1") {
            met.push((fault.name(), fault.accepts()));
            faults.spend("1");
        }
        assert_eq!(met, [("drop", false), ("drop", false), ("page", true)]);
    }

    #[test]
    fn a_fault_for_one_recipient_lets_the_others_pass() {
        let mut faults = faults(serde_json::json!([
            {"kind": "drop", "to": "1"}, {"kind": "delay"}
        ]));
        assert_eq!(faults.next("2").unwrap().kind, Kind::Delay);
        assert_eq!(faults.next("1").unwrap().kind, Kind::Drop);
        faults.spend("1");
        assert_eq!(faults.next("1").unwrap().kind, Kind::Delay);
    }

    #[test]
    fn a_misspelled_fault_is_refused() {
        let wrong = serde_json::json!({"kind": "drop", "time": 2});
        assert!(serde_json::from_value::<Fault>(wrong).is_err());
    }
}
