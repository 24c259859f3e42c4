//! Automations as a simulated provider: their webhook endpoint, control calls and replies.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{Automation, Headers, ReplyJob, SOURCE, Settings};
use crate::answer::{Answer, Outcome};
use crate::calls::put;
use crate::log::ProviderContext;
use crate::provider::{
    Next, OutgoingWebhook, ProviderResponse, SimulatedAccount, SimulatedProvider, Step,
};
use crate::redelivery::AttemptResult;
use crate::request::{Refusal, Request, method_not_allowed, not_found};

/// Timeout of one attempt of a reply.
const REPLY_TIMEOUT_MS: u64 = 30_000;

/// The automations, by name.
#[derive(Debug, Default)]
pub struct Automations(BTreeMap<String, Automation>);

impl SimulatedProvider for Automations {
    const NAME: &'static str = SOURCE;
    type Account = Automation;

    fn answer(
        &mut self,
        context: &mut ProviderContext<'_>,
        request: &Request<'_>,
    ) -> Option<ProviderResponse<Self>> {
        let ["automation", name] = request.path else { return None };
        if *request.method != Method::POST {
            return Some(Answer::json(405, json!({"error": "POST only"})).into());
        }
        let headers = Headers {
            id: request.header("webhook-id"),
            timestamp: request.header("webhook-timestamp"),
            signature: request.header("webhook-signature"),
        };
        let Some(automation) = self.0.get_mut(*name) else {
            return Some(Answer::json(404, json!({"error": "no such automation"})).into());
        };
        let (answer, reply) = automation.receive(context, headers, request.body);
        let deliveries = reply.into_iter().collect();
        Some(ProviderResponse::of(name, Outcome { answer, deliveries }))
    }

    fn account(&mut self, name: &str) -> Option<&mut Automation> {
        self.0.get_mut(name)
    }

    fn put(
        &mut self,
        _context: &mut ProviderContext<'_>,
        name: &str,
        call: &Request<'_>,
    ) -> Result<Value, Refusal> {
        let settings: Settings = call.read()?;
        put(&mut self.0, name, settings, Automation::new, Automation::change);
        Ok(json!({"ok": true, "url": format!("{}/automation/{name}", call.base)}))
    }

    fn control(
        &mut self,
        _context: &mut ProviderContext<'_>,
        name: &str,
        what: &str,
        call: &Request<'_>,
    ) -> Result<Step<Self>, Refusal> {
        if what != "deliveries" {
            return Err(not_found());
        }
        let automation = self.require_account(name)?;
        if *call.method != Method::DELETE {
            return Err(method_not_allowed());
        }
        automation.clear();
        Ok(Step::Done(json!({"ok": true})))
    }
}

impl SimulatedAccount for Automation {
    type Delivery = ReplyJob;
    const CALLS: &'static [&'static str] = &["deliveries"];

    fn show(&self, what: &str, call: &Request<'_>) -> Option<Value> {
        (what == "deliveries").then(|| self.report(call.query.get("type")))
    }

    fn delay_ms(reply: &ReplyJob) -> Option<u64> {
        Some(reply.after_ms)
    }

    fn attempt(
        &mut self,
        _context: &mut ProviderContext<'_>,
        reply: &mut ReplyJob,
        _attempt: u32,
    ) -> Next {
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("authorization", format!("Bearer {}", reply.key)),
            ("idempotency-key", reply.webhook_id.clone()),
        ];
        let body = Bytes::from(reply.body.to_string());
        let url = reply.url.clone();
        Next::Send(OutgoingWebhook::post(url, headers, body, REPLY_TIMEOUT_MS))
    }

    /// Attempts without an answer, and those answered 429 or 5xx, are retried.
    fn attempted(
        &mut self,
        context: &mut ProviderContext<'_>,
        reply: &ReplyJob,
        attempt: u32,
        _passed_ms: u64,
        how: &AttemptResult,
    ) -> Option<u64> {
        let again = matches!(how.status, 0 | 429 | 500..=599) && attempt < reply.attempts;
        self.replied(context, reply, attempt, how, !again);
        let pause_ms = how.retry_after_s.map_or(200 << attempt.min(6), |seconds| seconds * 1000);
        again.then_some(pause_ms)
    }
}
