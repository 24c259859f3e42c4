//! The Cloud API as a simulated provider: its paths, its control calls, its webhooks.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::GraphError;
use super::{
    CustomerWrites, Delivery, Forgery, Number, Outcome, RawWebhook, SOURCE, Settings, authorize,
};
use crate::calls::{accepted, put};
use crate::faults::Faults;
use crate::fields::MediaUpload;
use crate::limits::ServiceWindows;
use crate::log::ProviderContext;
use crate::provider::{
    Next, OutgoingWebhook, ProviderResponse, SimulatedAccount, SimulatedProvider, Step,
};
use crate::redelivery::AttemptResult;
use crate::request::{Refusal, Request, bad_request, not_found};

/// The business phone numbers, by id.
#[derive(Debug, Default)]
pub struct WhatsApp(BTreeMap<String, Number>);

impl SimulatedProvider for WhatsApp {
    const NAME: &'static str = SOURCE;
    type Account = Number;

    /// Answers every path: an unknown one with an error of the Graph API.
    fn answer(
        &mut self,
        context: &mut ProviderContext<'_>,
        request: &Request<'_>,
    ) -> Option<ProviderResponse<Self>> {
        Some(match request.path {
            ["whatsapp_business", "attachments"] => {
                let asked = |name: &str| request.query.get(name).unwrap_or_default();
                let (id, ext, hash) = (asked("mid"), asked("ext"), asked("hash"));
                self.authorized(context, request, id, |number, context| {
                    number.download(context, id, ext, hash).into()
                })
            }
            [version, path @ ..] if is_version(version) => self.graph(context, request, path),
            _ => GraphError::unknown_path(request.uri.path()).answer("Apath").into(),
        })
    }

    fn account(&mut self, name: &str) -> Option<&mut Number> {
        self.0.get_mut(name)
    }

    fn put(
        &mut self,
        _context: &mut ProviderContext<'_>,
        name: &str,
        call: &Request<'_>,
    ) -> Result<Value, Refusal> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_digit()) {
            return Err(bad_request("phone_number_id: must contain digits only".into()));
        }
        let settings: Settings = call.read()?;
        put(&mut self.0, name, settings, Number::new, Number::change);
        Ok(json!({"ok": true, "phone_number_id": name}))
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
                let (wamid, media_id, deliveries) = written.map_err(bad_request)?;
                let fields = json!({"wamid": wamid, "media_id": media_id});
                Ok(Step::deliver(name, deliveries, order.wait, fields))
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
            (&Method::POST, "handshake") => self.handshake(context, name, call),
            (&Method::POST, "media") => {
                let order: MediaUpload = call.read()?;
                let bytes = order.bytes().map_err(bad_request)?;
                let id = self.require_account(name)?.add_media(context, &order.mime_type, bytes);
                Ok(Step::Done(json!({"id": id})))
            }
            _ => Err(not_found()),
        }
    }
}

impl WhatsApp {
    /// Runs `act` on the number that owns `id`, if the token may use it.
    fn authorized(
        &mut self,
        context: &mut ProviderContext<'_>,
        request: &Request<'_>,
        id: &str,
        act: impl FnOnce(&mut Number, &mut ProviderContext<'_>) -> Outcome,
    ) -> ProviderResponse<Self> {
        match authorize(&mut self.0, request.method.as_str(), id, request.authorization()) {
            Err(error) => {
                let fields = json!({"status": error.status, "code": error.code,
                                    "detail": error.message});
                context.log.push(context.now_ms, SOURCE, id, "send.refused", fields);
                error.answer(&context.ids.fbtrace()).into()
            }
            Ok(number) => {
                let outcome = act(number, context);
                ProviderResponse::of(number.id(), outcome)
            }
        }
    }

    /// A path of the Graph API, after the version.
    fn graph(
        &mut self,
        context: &mut ProviderContext<'_>,
        request: &Request<'_>,
        path: &[&str],
    ) -> ProviderResponse<Self> {
        match (request.method, path) {
            (&Method::POST, [id, "messages"]) => {
                self.authorized(context, request, id, |number, context| {
                    if number.id() == *id {
                        number.messages(context, request.body)
                    } else {
                        GraphError::no_object("POST", id).answer(&context.ids.fbtrace()).into()
                    }
                })
            }
            (&Method::POST, [id, "register"]) => {
                self.authorized(context, request, id, |number, context| {
                    number.register(context, request.body).into()
                })
            }
            (&Method::GET, [id]) => self.authorized(context, request, id, |number, context| {
                if number.id() == *id {
                    number.describe().into()
                } else {
                    number.media_info(context, id, &request.base).into()
                }
            }),
            _ => {
                let path = format!("/{}", path.join("/"));
                GraphError::unknown_path(&path).answer("Apath").into()
            }
        }
    }

    fn handshake(
        &mut self,
        context: &mut ProviderContext<'_>,
        name: &str,
        call: &Request<'_>,
    ) -> Result<Step<Self>, Refusal> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Order {
            verify_token: Option<String>,
        }
        let order: Order = call.read()?;
        let settings = &self.require_account(name)?.settings;
        let challenge = (1_158_201_000 + context.ids.serial()).to_string();
        let token = order.verify_token.unwrap_or_else(|| settings.verify_token.clone());
        let mut url = url::Url::parse(&settings.hub_url)
            .map_err(|error| bad_request(format!("hub_url: {error}")))?;
        url.query_pairs_mut()
            .append_pair("hub.mode", "subscribe")
            .append_pair("hub.challenge", &challenge)
            .append_pair("hub.verify_token", &token);
        let request = OutgoingWebhook {
            method: Method::GET,
            url: url.into(),
            timeout_ms: settings.redelivery.timeout_ms,
            headers: vec![("user-agent".into(), "facebookplatform/1.0".into())],
            body: Bytes::new(),
            copies: 1,
        };
        let name = name.to_owned();
        let then = move |_: &mut Self, context: &mut ProviderContext<'_>, how: AttemptResult| {
            let body = String::from_utf8_lossy(&how.bytes).into_owned();
            let ok = how.status == 200 && body == challenge;
            let fields = json!({"status": how.status, "ok": ok});
            context.log.push(context.now_ms, SOURCE, &name, "handshake", fields);
            Ok(Step::Done(json!({"status": how.status, "body": body, "ok": ok})))
        };
        Ok(Step::Ask { request, then: Box::new(then) })
    }
}

impl SimulatedAccount for Number {
    type Delivery = Delivery;
    const CALLS: &'static [&'static str] = &["", "accepted", "reads", "faults", "window"];

    fn show(&self, what: &str, call: &Request<'_>) -> Option<Value> {
        match what {
            "" => Some(self.summary()),
            "accepted" => Some(accepted(self.accepted(), |one| {
                call.matches_filter("to", Some(&one.to))
                    && call.matches_filter("opaque", one.opaque.as_deref())
            })),
            "reads" => Some(json!({"reads": self.reads()})),
            _ => None,
        }
    }

    fn faults(&mut self) -> Option<&mut Faults> {
        Some(&mut self.faults)
    }

    fn service_windows(&mut self) -> Option<(&mut ServiceWindows, i64)> {
        Some((&mut self.customers, self.settings.limits.window_ms))
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
        self.event(
            context,
            "webhook.sent",
            json!({"delivery": delivery.id, "what": delivery.what, "attempt": attempt,
                   "ids": delivery.ids, "statuses": shown(&delivery.statuses)}),
        );
        let (headers, body) = (self.headers(delivery), delivery.body.clone());
        let timeout_ms = self.settings.redelivery.timeout_ms;
        Next::Send(OutgoingWebhook::post(url, headers, body, timeout_ms))
    }

    /// Only 200 is success, as at Meta.
    fn attempted(
        &mut self,
        context: &mut ProviderContext<'_>,
        delivery: &Delivery,
        attempt: u32,
        passed_ms: u64,
        how: &AttemptResult,
    ) -> Option<u64> {
        self.event(
            context,
            "webhook.answered",
            json!({"delivery": delivery.id, "what": delivery.what, "attempt": attempt,
                   "status": how.status, "took_ms": how.took_ms, "error": how.error,
                   "ids": delivery.ids, "statuses": shown(&delivery.statuses)}),
        );
        if how.status == 200 {
            for wamid in &delivery.ids {
                let place = self.by_wamid.get(wamid).copied();
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
        let wait = self.settings.redelivery.wait_ms(attempt, passed_ms, None);
        let wait = wait.filter(|_| delivery.redeliver);
        if wait.is_none() {
            self.pending = self.pending.saturating_sub(1);
            if delivery.redeliver {
                self.given_up += 1;
                let fields = json!({
                    "delivery": delivery.id, "ids": delivery.ids, "attempts": attempt
                });
                self.event(context, "webhook.given_up", fields);
            }
        }
        wait
    }
}

fn shown(statuses: &[&'static str]) -> Option<Value> {
    (!statuses.is_empty()).then(|| json!(statuses))
}

/// Whether a path begins with a version of the Graph API: `v26.0`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').and_then(|numbers| numbers.split_once('.')).is_some_and(
        |(major, minor)| {
            let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
            digits(major) && digits(minor)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_consist_of_two_numbers() {
        assert!(is_version("v26.0") && is_version("v18.0"));
        for wrong in ["v26", "26.0", "v26.", "va.b", "_sim"] {
            assert!(!is_version(wrong), "{wrong}");
        }
    }
}
