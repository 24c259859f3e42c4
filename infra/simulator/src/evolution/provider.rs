//! The Evolution API as a simulated provider: its paths, its control calls, its webhooks.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::event::{BusinessWrites, CustomerWrites, Delivery, Forgery, RawWebhook, SetState};
use super::{Call, Instance, SOURCE, Settings, call};
use crate::calls::{accepted, put};
use crate::faults::Faults;
use crate::log::ProviderContext;
use crate::provider::{
    Next, OutgoingWebhook, ProviderResponse, SimulatedAccount, SimulatedProvider, Step,
};
use crate::redelivery::AttemptResult;
use crate::request::{Refusal, Request, bad_request, not_found};

/// The instances, by name.
#[derive(Debug, Default)]
pub struct Evolution(BTreeMap<String, Instance>);

impl SimulatedProvider for Evolution {
    const NAME: &'static str = SOURCE;
    type Account = Instance;

    fn answer(
        &mut self,
        context: &mut ProviderContext<'_>,
        request: &Request<'_>,
    ) -> Option<ProviderResponse<Self>> {
        let [folder @ ("message" | "instance" | "webhook" | "chat"), what, name] = request.path
        else {
            return None;
        };
        let key = request.header("apikey");
        let asked = Call { method: request.method, path: (folder, what), key, body: request.body };
        Some(ProviderResponse::of(name, call(&mut self.0, context, name, asked)))
    }

    fn account(&mut self, name: &str) -> Option<&mut Instance> {
        self.0.get_mut(name)
    }

    fn put(
        &mut self,
        _context: &mut ProviderContext<'_>,
        name: &str,
        call: &Request<'_>,
    ) -> Result<Value, Refusal> {
        let settings: Settings = call.read()?;
        if settings.token.is_empty() {
            return Err(bad_request("token: must not be empty".into()));
        }
        put(&mut self.0, name, settings, Instance::new, Instance::change);
        Ok(json!({"ok": true, "instance": name}))
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
                let (id, deliveries) = written.map_err(bad_request)?;
                Ok(Step::deliver(name, deliveries, order.wait, json!({"id": id})))
            }
            (&Method::POST, "business-writes") => {
                let order: BusinessWrites = call.read()?;
                let (id, deliveries) = self.require_account(name)?.business_writes(context, &order);
                Ok(Step::deliver(name, deliveries, true, json!({"id": id})))
            }
            (&Method::POST, "state") => {
                let order: SetState = call.read()?;
                let deliveries = self.require_account(name)?.connect(context, order);
                Ok(Step::deliver(name, deliveries, true, json!({})))
            }
            (&Method::POST, "webhook") => {
                let order: RawWebhook = call.read()?;
                let deliveries =
                    self.require_account(name)?.deliver(context, &order).map_err(bad_request)?;
                Ok(Step::deliver(name, deliveries, true, json!({})))
            }
            (&Method::POST, "forge") => {
                let order: Forgery = call.read()?;
                let delivery = self.require_account(name)?.forge(context, &order);
                let delivery = delivery.map_err(|reason| bad_request(reason.into()))?;
                Ok(Step::deliver(name, vec![delivery], true, json!({})))
            }
            _ => Err(not_found()),
        }
    }
}

impl SimulatedAccount for Instance {
    type Delivery = Delivery;
    const CALLS: &'static [&'static str] = &["", "accepted", "reads", "faults"];
    const IN_DOUBT: &'static [u16] = &[400];

    fn show(&self, what: &str, call: &Request<'_>) -> Option<Value> {
        match what {
            "" => Some(self.summary()),
            "accepted" => {
                Some(accepted(self.accepted(), |one| call.matches_filter("to", Some(&one.to))))
            }
            "reads" => Some(json!({"reads": self.reads()})),
            _ => None,
        }
    }

    fn faults(&mut self) -> Option<&mut Faults> {
        Some(&mut self.faults)
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
        let fields = json!({"delivery": delivery.id, "what": delivery.what, "attempt": attempt,
                            "ids": delivery.ids, "statuses": shown(&delivery.statuses)});
        self.event(context, "webhook.sent", fields);
        let (url, headers) = (delivery.url.clone(), delivery.headers.clone());
        let timeout_ms = self.settings.redelivery.timeout_ms;
        Next::Send(OutgoingWebhook::post(url, headers, delivery.body.clone(), timeout_ms))
    }

    /// Any 2xx is success. Evolution does not keep webhooks in order.
    fn attempted(
        &mut self,
        context: &mut ProviderContext<'_>,
        delivery: &Delivery,
        attempt: u32,
        _passed_ms: u64,
        how: &AttemptResult,
    ) -> Option<u64> {
        let fields = json!({"delivery": delivery.id, "what": delivery.what, "attempt": attempt,
                            "status": how.status, "took_ms": how.took_ms, "error": how.error,
                            "ids": delivery.ids, "statuses": shown(&delivery.statuses)});
        self.event(context, "webhook.answered", fields);
        if (200..300).contains(&how.status) {
            for id in &delivery.ids {
                let place = self.by_id.get(id).copied();
                if let Some(message) = place.and_then(|place| self.accepted.get_mut(place)) {
                    for status in &delivery.statuses {
                        if !message.statuses.contains(status) {
                            message.statuses.push(status);
                        }
                    }
                }
            }
            self.pending = self.pending.saturating_sub(1);
            return None;
        }
        let wait = self.settings.redelivery.wait_ms(attempt, how.status);
        let wait = wait.filter(|_| delivery.redeliver);
        if wait.is_none() {
            self.pending = self.pending.saturating_sub(1);
            if delivery.redeliver {
                self.given_up += 1;
                let fields =
                    json!({"delivery": delivery.id, "ids": delivery.ids, "attempts": attempt});
                self.event(context, "webhook.given_up", fields);
            }
        }
        wait
    }
}

fn shown(statuses: &[&'static str]) -> Option<Value> {
    (!statuses.is_empty()).then(|| json!(statuses))
}
