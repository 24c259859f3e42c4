//! Infobip as a simulated provider: its paths, its control calls, its webhooks.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::{
    CustomerWrites, ErrorFormat, Forgery, SOURCE, Sender, Settings, answer, proof, refusal,
    request, state, unauthorized,
};
use crate::answer::Answer;
use crate::calls::{accepted, put};
use crate::faults::Faults;
use crate::limits::ServiceWindows;
use crate::log::ProviderContext;
use crate::provider::{
    Next, OutgoingWebhook, ProviderResponse, SimulatedAccount, SimulatedProvider, Step,
};
use crate::redelivery::AttemptResult;
use crate::request::{Refusal, Request, bad_request, not_found};
use crate::webhook::{Delivery, Outcome, RawWebhook};

/// The senders, by number.
#[derive(Debug, Default)]
pub struct Infobip(BTreeMap<String, Sender>);

impl SimulatedProvider for Infobip {
    const NAME: &'static str = SOURCE;
    type Account = Sender;

    fn answer(
        &mut self,
        context: &mut ProviderContext<'_>,
        request: &Request<'_>,
    ) -> Option<ProviderResponse<Self>> {
        let ["whatsapp", "1", path @ ..] = request.path else { return None };
        let authorization = request.authorization();
        if !self.0.values().any(|sender| sender.is_key(authorization)) {
            return Some(unauthorized().into());
        }
        Some(match (request.method, path) {
            (&Method::POST, ["message", kind @ ..]) => {
                self.send(context, &kind.join("/"), authorization, request.body)
            }
            (&Method::POST, ["senders", number, "message", id @ .., "read"]) => {
                self.authorized(context, number, authorization, |sender, context| {
                    sender.read(context, &id.join("/")).into()
                })
            }
            (&Method::GET, ["senders", "quality"]) => {
                let wanted = request.query.get("senders").unwrap_or_default();
                let wanted: Vec<_> = wanted.split(',').collect();
                let own = |sender: &&Sender| {
                    sender.is_key(authorization) && wanted.contains(&sender.number())
                };
                let results = self.0.values().filter(own);
                let results: Vec<_> =
                    results.map(|sender| sender.quality(context.now_ms)).collect();
                Answer::json(200, json!({"results": results})).into()
            }
            (&Method::GET, ["senders", number, "media", id]) => {
                self.authorized(context, number, authorization, |sender, _| {
                    sender.download(id).into()
                })
            }
            _ => refusal(ErrorFormat::Mixed, 404, "NOT_FOUND", "Not found", None).into(),
        })
    }

    fn account(&mut self, name: &str) -> Option<&mut Sender> {
        self.0.get_mut(name)
    }

    fn put(
        &mut self,
        _context: &mut ProviderContext<'_>,
        name: &str,
        call: &Request<'_>,
    ) -> Result<Value, Refusal> {
        if name.is_empty() || !name.bytes().all(|c| c.is_ascii_digit()) {
            return Err(bad_request("number: must contain digits only".into()));
        }
        let settings: Settings = call.read()?;
        put(&mut self.0, name, settings, Sender::new, Sender::change);
        Ok(json!({"ok": true, "number": name}))
    }

    fn control(
        &mut self,
        context: &mut ProviderContext<'_>,
        name: &str,
        what: &str,
        call: &Request<'_>,
    ) -> Result<Step<Self>, Refusal> {
        match (call.method, what) {
            (&Method::POST, "customer-writes") => {
                let order: CustomerWrites = call.read()?;
                let written =
                    self.require_account(name)?.customer_writes(context, &order, &call.base);
                let (ids, deliveries) = written.map_err(bad_request)?;
                Ok(Step::deliver(name, deliveries, order.wait, json!({"message_ids": ids})))
            }
            (&Method::POST, "webhook") => {
                let order: RawWebhook = call.read()?;
                let deliveries =
                    self.require_account(name)?.webhook(context, &order).map_err(bad_request)?;
                Ok(Step::deliver(name, deliveries, true, json!({})))
            }
            (&Method::POST, "forge") => {
                let order: Forgery = call.read()?;
                Ok(Step::forge(name, self.require_account(name)?.forge(context, &order)))
            }
            _ => Err(not_found()),
        }
    }
}

impl Infobip {
    fn send(
        &mut self,
        context: &mut ProviderContext<'_>,
        kind: &str,
        authorization: Option<&str>,
        bytes: &[u8],
    ) -> ProviderResponse<Self> {
        let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let from = body.pointer("/messages/0/from").or_else(|| body.get("from"));
        let from = from.and_then(Value::as_str).unwrap_or_default();
        let from = from.strip_prefix('+').unwrap_or(from);
        if self.0.get(from).is_some_and(|sender| sender.is_key(authorization)) {
            return self.authorized(context, from, authorization, |sender, context| {
                sender.send(context, kind, bytes)
            });
        }
        // A number of another account: the other errors of the request take precedence.
        let refused = match request::check(kind, &body) {
            None => refusal(ErrorFormat::Mixed, 404, "NOT_FOUND", "Not found", None),
            Some(Err(errors)) => refusal(
                ErrorFormat::Mixed,
                400,
                "BAD_REQUEST",
                "Bad request",
                Some(errors.to_json()),
            ),
            Some(Ok(sends)) => {
                let refused = sends.iter().map(|send| {
                    let id = send.message_id.as_deref().unwrap_or("refused");
                    state(&send.to, id, 11)
                });
                answer(refused.collect(), kind == "template")
            }
        };
        refused.into()
    }

    /// Runs `act` on the sender `number`, if the key may use it.
    fn authorized(
        &mut self,
        context: &mut ProviderContext<'_>,
        number: &str,
        authorization: Option<&str>,
        act: impl FnOnce(&mut Sender, &mut ProviderContext<'_>) -> Outcome,
    ) -> ProviderResponse<Self> {
        match self.0.get_mut(number).filter(|sender| sender.is_key(authorization)) {
            Some(sender) => ProviderResponse::of(number, act(sender, context)),
            None => refusal(ErrorFormat::Mixed, 404, "NOT_FOUND", "Sender not found", None).into(),
        }
    }
}

impl SimulatedAccount for Sender {
    type Delivery = Delivery;
    const CALLS: &'static [&'static str] = &["", "accepted", "reads", "faults", "window"];

    fn show(&self, what: &str, call: &Request<'_>) -> Option<Value> {
        match what {
            "" => Some(self.summary()),
            "accepted" => Some(accepted(self.accepted(), |one| {
                call.matches_filter("to", Some(&one.to))
                    && call.matches_filter("message_id", Some(&one.message_id))
            })),
            "reads" => Some(json!({"reads": self.reads()})),
            _ => None,
        }
    }

    fn faults(&mut self) -> Option<&mut Faults> {
        Some(&mut self.faults)
    }

    fn service_windows(&mut self) -> Option<(&mut ServiceWindows, i64)> {
        Some((&mut self.people, self.settings.limits.window_ms))
    }

    fn delay_ms(delivery: &Delivery) -> Option<u64> {
        Some(delivery.after_ms)
    }

    fn attempt(
        &mut self,
        context: &mut ProviderContext<'_>,
        delivery: &mut Delivery,
        attempt: u32,
    ) -> Next {
        let url = delivery.url.clone().unwrap_or_else(|| self.settings.hub_url.clone());
        if url.is_empty() {
            return Next::NoAddress;
        }
        if delivery.body.is_none() {
            self.collect_due(context.now_ms, delivery);
        }
        let Some(body) = delivery.body.clone() else {
            // Another webhook took its reports.
            self.pending = self.pending.saturating_sub(1);
            return Next::Nothing;
        };
        let mut headers = vec![("content-type", "application/json".to_owned())];
        let proved = delivery.url.is_none() || self.settings.security_on_notify_url;
        match &delivery.forged {
            Some(forged) => headers.extend(forged.iter().cloned()),
            None if proved => {
                let secret = &self.settings.webhook_secret;
                headers.extend(proof(self.settings.security, secret, context.now_ms, &body));
            }
            None => {}
        }
        self.event(context, "webhook.sent", delivery.log_fields(attempt));
        let timeout_ms = self.settings.redelivery.timeout_ms;
        Next::Send(OutgoingWebhook::post(url, headers, body, timeout_ms))
    }

    /// Only 200 is success. The delays are in proportion to Infobip's, and shorter: one unit, and
    /// one more for each square of the retry's number.
    fn attempted(
        &mut self,
        context: &mut ProviderContext<'_>,
        delivery: &Delivery,
        attempt: u32,
        passed_ms: u64,
        how: &AttemptResult,
    ) -> Option<u64> {
        self.event(context, "webhook.answered", delivery.result_fields(attempt, how));
        if how.status == 200 {
            for (id, status) in &delivery.reported {
                let place = self.by_id.get(id).copied();
                if let Some(message) = place.and_then(|place| self.accepted.get_mut(place))
                    && !message.statuses.contains(status)
                {
                    message.statuses.push(status);
                }
            }
            self.pending = self.pending.saturating_sub(1);
            return None;
        }
        let redelivery = &self.settings.redelivery;
        let retry = u64::from(attempt - 1);
        let wait_ms = redelivery.first_ms.saturating_mul(1 + retry * retry).min(redelivery.max_ms);
        let again = delivery.redeliver && passed_ms < redelivery.give_up_ms;
        if again {
            return Some(wait_ms);
        }
        self.pending = self.pending.saturating_sub(1);
        if delivery.redeliver {
            self.given_up += 1;
            self.event(context, "webhook.given_up", delivery.log_fields(attempt));
        }
        None
    }
}
