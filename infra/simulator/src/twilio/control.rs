//! The control API of an account.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::carry::First;
use super::people::{CustomerCalls, CustomerWrites, Forgery, RawWebhook};
use super::request::is_sid;
use super::twiml::{self, Reading};
use super::{Account, CallEnd, Settings};
use crate::control::{Call, PATIENCE, Refusal, change_faults, no_method, wrong};
use crate::deliver::App;
use crate::log::Scene;

/// The statuses of which Twilio says that the message may have been accepted all the same.
/// <https://www.twilio.com/docs/api/errors/20500>
const IN_DOUBT: [u16; 2] = [500, 504];

/// A call below `/_sim/twilio/{account}`.
pub(crate) async fn answer(
    app: &App,
    call: &Call<'_>,
    sid: &str,
    what: &[&str],
) -> Result<Value, Refusal> {
    match what {
        [] => one(app, call, sid),
        ["faults"] => with(app, sid, |account, _| change_faults(account.faults(), call, &IN_DOUBT))
            .and_then(|done| done),
        [what] => act(app, call, sid, what).await,
        _ => Err((404, "no such call".to_owned())),
    }
}

fn with<T>(
    app: &App,
    sid: &str,
    act: impl FnOnce(&mut Account, &mut Scene<'_>) -> T,
) -> Result<T, Refusal> {
    let done = app.world().twilio_account(app.clock.now_ms(), sid, act);
    done.ok_or_else(|| (404, format!("PUT /_sim/twilio/{sid} first")))
}

fn one(app: &App, call: &Call<'_>, sid: &str) -> Result<Value, Refusal> {
    match *call.method {
        Method::GET => with(app, sid, |account, _| account.summary()),
        Method::PUT => {
            if !is_sid("AC", sid) {
                return Err(wrong("account_sid: AC and 32 hexadecimal digits".into()));
            }
            let settings: Settings = call.read()?;
            let mut world = app.world();
            match world.twilio_accounts.get_mut(sid) {
                Some(account) => account.change(settings),
                None => {
                    world.twilio_accounts.insert(sid.to_owned(), Account::new(sid, settings));
                }
            }
            Ok(json!({"ok": true, "account_sid": sid}))
        }
        _ => no_method(),
    }
}

/// How the first attempts ended; status 0 where there was no answer in time.
async fn firsts(told: Vec<oneshot::Receiver<First>>) -> Vec<First> {
    let mut ended = Vec::new();
    for first in told {
        let first = tokio::time::timeout(PATIENCE, first).await;
        ended.push(first.ok().and_then(Result::ok).unwrap_or_default());
    }
    ended
}

/// The statuses of the first attempts, and what the first answer said.
fn shown(ended: &[First]) -> Value {
    let statuses: Vec<u16> = ended.iter().map(|(status, _)| *status).collect();
    let answer = ended.first().map(|(_, answer)| answer);
    let twiml = answer.map(|answer| String::from_utf8_lossy(answer).into_owned());
    let verbs = answer.map(|answer| match twiml::read(answer) {
        Reading::Verbs(verbs) => json!(verbs),
        Reading::Text | Reading::Broken => Value::Null,
    });
    json!({"webhook_status": statuses.first(), "webhook_statuses": statuses, "twiml": twiml,
           "verbs": verbs})
}

fn named(mut shown: Value, sid: &str) -> Value {
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("sid".into(), json!(sid));
    }
    shown
}

async fn act(app: &App, call: &Call<'_>, sid: &str, what: &str) -> Result<Value, Refusal> {
    match (call.method, what) {
        (&Method::GET, "accepted") => with(app, sid, |account, _| {
            let wanted =
                |name: &str, value: &str| call.query.get(name).is_none_or(|wanted| value == wanted);
            let accepted: Vec<_> = account
                .accepted()
                .iter()
                .filter(|one| wanted("to", &one.to) && wanted("channel", one.channel))
                .collect();
            json!({"count": accepted.len(), "accepted": accepted})
        }),
        (&Method::POST, "customer-writes") => {
            let order: CustomerWrites = call.read()?;
            let written =
                with(app, sid, |account, scene| account.customer_writes(scene, &order, call.base))?;
            let (message, deliveries) = written.map_err(wrong)?;
            let told = app.deliver_twilio(sid, deliveries);
            let ended = if order.wait { firsts(told).await } else { Vec::new() };
            Ok(named(shown(&ended), &message))
        }
        (&Method::POST, "customer-calls") => {
            let order: CustomerCalls = call.read()?;
            let called = with(app, sid, |account, scene| account.customer_calls(scene, &order))?;
            let (called, deliveries) = called.map_err(wrong)?;
            let ended = firsts(app.deliver_twilio(sid, deliveries)).await;
            let shown = shown(&ended);
            let is_rejected = shown.pointer("/verbs/0").is_some_and(|verb| verb == "Reject");
            let end = if is_rejected { CallEnd::Busy } else { CallEnd::Completed };
            let over =
                with(app, sid, |account, scene| account.call_ended(scene, &order, &called, end))?;
            drop(app.deliver_twilio(sid, over));
            Ok(named(shown, &called))
        }
        (&Method::POST, "webhook") => {
            let order: RawWebhook = call.read()?;
            let deliveries = with(app, sid, |account, scene| account.webhook(scene, &order))?;
            Ok(shown(&firsts(app.deliver_twilio(sid, deliveries)).await))
        }
        (&Method::POST, "forge") => {
            let order: Forgery = call.read()?;
            let delivery = with(app, sid, |account, scene| account.forge(scene, &order))?;
            let deliveries = vec![delivery.map_err(wrong)?];
            Ok(shown(&firsts(app.deliver_twilio(sid, deliveries)).await))
        }
        (&Method::POST, "window") => window(app, call, sid),
        _ => Err((404, "no such call".to_owned())),
    }
}

fn window(app: &App, call: &Call<'_>, sid: &str) -> Result<Value, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        customer: String,
        last_wrote_ms_ago: Option<i64>,
    }
    let order: Order = call.read()?;
    with(app, sid, |account, scene| {
        account.set_window(&order.customer, order.last_wrote_ms_ago.map(|ago| scene.now_ms - ago));
        json!({"ok": true, "open": account.window_open(scene.now_ms, &order.customer)})
    })
}
