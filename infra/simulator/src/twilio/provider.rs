//! Twilio as a simulated provider: its paths, its control calls, its webhooks.

use std::collections::BTreeMap;

use http::Method;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::customers::{CustomerCalls, CustomerWrites, Forgery, RawWebhook};
use super::error::ApiError;
use super::request::{Form, is_sid};
use super::twiml::{self, ParsedTwiml};
use super::{
    API_VERSION, Account, CallEnd, Delivery, SOURCE, Settings, Signature, authorize, signature,
};
use crate::answer::Answer;
use crate::calls::{accepted, put};
use crate::faults::Faults;
use crate::limits::ServiceWindows;
use crate::log::ProviderContext;
use crate::provider::{
    FirstAttempts, Next, ProviderResponse, SimulatedAccount, SimulatedProvider, Step,
};
use crate::redelivery::AttemptResult;
use crate::request::{Refusal, Request, bad_request, not_found};

/// The accounts, by SID.
#[derive(Debug, Default)]
pub struct Twilio(BTreeMap<String, Account>);

impl SimulatedProvider for Twilio {
    const NAME: &'static str = SOURCE;
    type Account = Account;

    fn answer(
        &mut self,
        context: &mut ProviderContext<'_>,
        request: &Request<'_>,
    ) -> Option<ProviderResponse<Self>> {
        match request.path {
            [API_VERSION, "Accounts", path @ ..] => Some(self.api(context, request, path)),
            ["twilio-files", path @ ..] => Some(self.file(context.now_ms, path).into()),
            _ => None,
        }
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
        if !is_sid("AC", name) {
            return Err(bad_request("account_sid: AC and 32 hexadecimal digits".into()));
        }
        let settings: Settings = call.read()?;
        put(&mut self.0, name, settings, Account::new, Account::change);
        Ok(json!({"ok": true, "account_sid": name}))
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
                let (message, deliveries) = written.map_err(bad_request)?;
                Ok(deliver(name, deliveries, order.wait, Some(message)))
            }
            (&Method::POST, "customer-calls") => {
                let order: CustomerCalls = call.read()?;
                let called = self.require_account(name)?.customer_calls(context, &order);
                let (sid, deliveries) = called.map_err(bad_request)?;
                Ok(ring(name, deliveries, order, sid))
            }
            (&Method::POST, "webhook") => {
                let order: RawWebhook = call.read()?;
                Ok(deliver(name, self.require_account(name)?.webhook(context, &order), true, None))
            }
            (&Method::POST, "forge") => {
                let order: Forgery = call.read()?;
                let delivery =
                    self.require_account(name)?.forge(context, &order).map_err(bad_request)?;
                Ok(deliver(name, vec![delivery], true, None))
            }
            _ => Err(not_found()),
        }
    }
}

impl Twilio {
    /// A request below `/2010-04-01/Accounts/`.
    fn api(
        &mut self,
        context: &mut ProviderContext<'_>,
        request: &Request<'_>,
        path: &[&str],
    ) -> ProviderResponse<Self> {
        let (sid, rest) = match path {
            [account] => (account.strip_suffix(".json").unwrap_or(account), &[] as &[&str]),
            [account, rest @ ..] => (*account, rest),
            [] => ("", &[] as &[&str]),
        };
        let (account, key) = match authorize(&mut self.0, sid, request.authorization()) {
            Ok(found) => found,
            Err(error) => {
                let fields = json!({"status": error.status, "code": error.code});
                context.log.push(context.now_ms, SOURCE, sid, "send.refused", fields);
                return error.answer().into();
            }
        };
        let kind = request.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let form = || Form::read(kind, request.body);
        let outcome = match (request.method, rest) {
            (&Method::POST, ["Messages.json"]) => account.messages(context, &form()),
            (&Method::POST, ["Calls.json"]) => account.calls(context, &form()),
            (&Method::GET, []) => account.describe(key).into(),
            (&Method::GET, ["IncomingPhoneNumbers.json"]) => account.numbers().into(),
            (&Method::GET, ["Messages", message, "Media", id]) => {
                account.media(context.now_ms, message, id, &request.base).into()
            }
            _ => {
                let path = format!("/{API_VERSION}/Accounts/{}", path.join("/"));
                ApiError::numbered(20_404, &path).with_status(404).answer().into()
            }
        };
        ProviderResponse::of(sid, outcome)
    }

    /// A file at its temporary address.
    fn file(&self, now_ms: i64, path: &[&str]) -> Answer {
        let gone = || Answer::json(404, json!({"error": "NoSuchKey"}));
        let [account, id, expires, hash] = path else { return gone() };
        let account = self.0.get(*account);
        account.map_or_else(gone, |account| account.file(now_ms, id, expires, hash))
    }
}

/// Delivers webhooks. The answer contains the results of their first attempts.
fn deliver(name: &str, deliveries: Vec<Delivery>, wait: bool, sid: Option<String>) -> Step<Twilio> {
    Step::then(name, deliveries, wait, |_, _, first| Ok(Step::Done(shown(first, sid))))
}

/// A customer calls; the call ends as the response to its webhook says.
fn ring(name: &str, deliveries: Vec<Delivery>, order: CustomerCalls, sid: String) -> Step<Twilio> {
    let account = name.to_owned();
    Step::then(name, deliveries, true, move |twilio: &mut Twilio, context, first| {
        let shown = shown(first, Some(sid.clone()));
        let is_rejected = shown.pointer("/verbs/0").is_some_and(|verb| verb == "Reject");
        let end = if is_rejected { CallEnd::Busy } else { CallEnd::Completed };
        let over = twilio.require_account(&account)?.call_ended(context, &order, &sid, end);
        Ok(Step::then(&account, over, false, |_, _, _| Ok(Step::Done(shown))))
    })
}

/// The statuses of the first attempts, and the instructions in the first response.
fn shown(first: FirstAttempts, sid: Option<String>) -> Value {
    let ended: Vec<AttemptResult> = first.into_iter().map(Option::unwrap_or_default).collect();
    let statuses: Vec<u16> = ended.iter().map(|how| how.status).collect();
    let answer = ended.first().map(|how| &how.bytes);
    let twiml = answer.map(|answer| String::from_utf8_lossy(answer).into_owned());
    let verbs = answer.map(|answer| match twiml::read(answer) {
        ParsedTwiml::Verbs(verbs) => json!(verbs),
        ParsedTwiml::Text | ParsedTwiml::Broken => Value::Null,
    });
    let mut shown = json!({"webhook_status": statuses.first(), "webhook_statuses": statuses,
                           "twiml": twiml, "verbs": verbs});
    if let (Some(shown), Some(sid)) = (shown.as_object_mut(), sid) {
        shown.insert("sid".into(), json!(sid));
    }
    shown
}

impl SimulatedAccount for Account {
    type Delivery = Delivery;
    const CALLS: &'static [&'static str] = &["", "accepted", "faults", "window"];
    /// <https://www.twilio.com/docs/api/errors/20500>
    const IN_DOUBT: &'static [u16] = &[500, 504];

    fn show(&self, what: &str, call: &Request<'_>) -> Option<Value> {
        match what {
            "" => Some(self.summary()),
            "accepted" => Some(accepted(self.accepted(), |one| {
                call.matches_filter("to", Some(&one.to))
                    && call.matches_filter("channel", Some(one.channel))
            })),
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
        self.event(
            context,
            "webhook.sent",
            json!({"delivery": delivery.id, "what": delivery.what, "attempt": attempt,
                   "sid": delivery.sid, "state": delivery.status}),
        );
        Next::Send(self.outgoing(delivery))
    }

    /// There is another attempt only if the address asks for retries.
    fn attempted(
        &mut self,
        context: &mut ProviderContext<'_>,
        delivery: &Delivery,
        attempt: u32,
        _passed_ms: u64,
        how: &AttemptResult,
    ) -> Option<u64> {
        self.event(
            context,
            "webhook.answered",
            json!({"delivery": delivery.id, "what": delivery.what, "attempt": attempt,
                   "status": how.status, "took_ms": how.took_ms, "error": how.error,
                   "sid": delivery.sid, "state": delivery.status}),
        );
        let settled = (200..300).contains(&how.status);
        if settled {
            self.settle(context, delivery, &how.bytes);
        }
        let timed_out = u64::try_from(how.took_ms).unwrap_or(0) >= self.settings.timeout_ms;
        let forged = !matches!(delivery.signed, Signature::Genuine);
        if !settled
            && !forged
            && signature::is_retried(&delivery.url, attempt, how.status, timed_out)
        {
            return Some(self.settings.pause_ms);
        }
        self.pending = self.pending.saturating_sub(1);
        if !settled && !forged {
            self.given_up += 1;
            let fields = json!({"delivery": delivery.id, "sid": delivery.sid, "attempts": attempt});
            self.event(context, "webhook.given_up", fields);
        }
        None
    }
}
