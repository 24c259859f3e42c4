//! The BSP as a simulated provider: its paths, its control calls, its webhooks.

use std::collections::BTreeMap;

use http::Method;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::{Account, Api, CustomerWrites, SOURCE, Settings, proof};
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
use crate::webhook::{Delivery, RawWebhook};

/// The accounts, by name.
#[derive(Debug, Default)]
pub struct Bsp(BTreeMap<String, Account>);

impl SimulatedProvider for Bsp {
    const NAME: &'static str = SOURCE;
    type Account = Account;

    fn answer(
        &mut self,
        context: &mut ProviderContext<'_>,
        request: &Request<'_>,
    ) -> Option<ProviderResponse<Self>> {
        let ["bsp", name, path @ ..] = request.path else { return None };
        let missing = |code| Some(Answer::json(404, json!({"error": {"code": code}})).into());
        let (door, key) = match (request.method, path) {
            (&Method::POST, ["send"]) => (Api::Json, request.header("x-api-key")),
            (&Method::POST, ["form"]) => (Api::Form, request.header("apikey")),
            _ => return missing("no_such_path"),
        };
        let kind = request.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let Some(account) = self.0.get_mut(*name) else { return missing("no_such_account") };
        Some(ProviderResponse::of(name, account.send(context, door, key, kind, request.body)))
    }

    fn account(&mut self, name: &str) -> Option<&mut Account> {
        self.0.get_mut(name)
    }

    fn put(
        &mut self,
        _context: &mut ProviderContext<'_>,
        name: &str,
        call: &Request<'_>,
    ) -> Result<Value, Refusal> {
        let settings: Settings = call.read()?;
        put(&mut self.0, name, settings, Account::new, Account::change);
        Ok(json!({"ok": true, "name": name}))
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
                let written = self.require_account(name)?.customer_writes(context, &order);
                let (ids, deliveries) = written.map_err(bad_request)?;
                Ok(Step::deliver(name, deliveries, order.wait, json!({"message_ids": ids})))
            }
            (&Method::POST, "webhook") => {
                let order: RawWebhook = call.read()?;
                let deliveries =
                    self.require_account(name)?.webhook(context, &order).map_err(bad_request)?;
                Ok(Step::deliver(name, deliveries, true, json!({})))
            }
            _ => Err(not_found()),
        }
    }
}

impl SimulatedAccount for Account {
    type Delivery = Delivery;
    const CALLS: &'static [&'static str] = &["", "accepted", "faults", "window"];

    fn show(&self, what: &str, call: &Request<'_>) -> Option<Value> {
        match what {
            "" => Some(self.summary()),
            "accepted" => Some(accepted(self.accepted(), |one| {
                let reference = one.reference.as_deref();
                call.matches_filter("to", Some(&one.to))
                    && call.matches_filter("reference", reference)
            })),
            _ => None,
        }
    }

    fn faults(&mut self) -> Option<&mut Faults> {
        Some(&mut self.faults)
    }

    fn service_windows(&mut self) -> Option<(&mut ServiceWindows, i64)> {
        Some((&mut self.people, self.settings.window_ms))
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
        let url = self.settings.hub_url.clone();
        if url.is_empty() {
            return Next::NoAddress;
        }
        self.event(context, "webhook.sent", delivery.log_fields(attempt));
        let body = delivery.body.clone().unwrap_or_default();
        let headers = proof(&self.settings.webhook_secret, context.now_ms, &body);
        let timeout_ms = self.settings.redelivery.timeout_ms;
        Next::Send(OutgoingWebhook::post(url, headers, body, timeout_ms))
    }

    fn attempted(
        &mut self,
        context: &mut ProviderContext<'_>,
        delivery: &Delivery,
        attempt: u32,
        passed_ms: u64,
        how: &AttemptResult,
    ) -> Option<u64> {
        self.event(context, "webhook.answered", delivery.result_fields(attempt, how));
        if (200..300).contains(&how.status) {
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
        let wait = self.settings.redelivery.wait_ms(attempt, passed_ms, how.retry_after_s);
        let wait = wait.filter(|_| delivery.redeliver);
        if wait.is_none() {
            self.pending = self.pending.saturating_sub(1);
            if delivery.redeliver {
                self.given_up += 1;
                self.event(context, "webhook.given_up", delivery.log_fields(attempt));
            }
        }
        wait
    }
}
