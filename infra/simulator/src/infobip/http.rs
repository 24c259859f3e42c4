//! Infobip's API and its control, behind HTTP.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{CustomerWrites, Forgery, Sender, Settings, Shape, refusal, request, unauthorized};
use crate::answer::Answer;
use crate::callback::{Outcome, RawWebhook, Whose, WindowOrder};
use crate::control::{Call, Refusal, change_faults, no_method, statuses, wrong};
use crate::deliver::App;
use crate::log::Scene;
use crate::server::Query;

/// Answers a request below `/whatsapp/1/`.
pub(crate) fn serve(
    app: &App,
    method: &Method,
    path: &[&str],
    query: &Query,
    authorization: Option<&str>,
    body: &Bytes,
) -> Answer {
    let known = app.world().infobip.values().any(|sender| sender.is_key(authorization));
    if !known {
        return unauthorized();
    }
    match (method, path) {
        (&Method::POST, ["message", kind @ ..]) => send(app, &kind.join("/"), authorization, body),
        (&Method::POST, ["senders", number, "message", id @ .., "read"]) => {
            as_sender(app, number, authorization, |sender, scene| {
                sender.read(scene, &id.join("/")).into()
            })
        }
        (&Method::GET, ["senders", "quality"]) => {
            let wanted: Vec<_> = query.get("senders").unwrap_or_default().split(',').collect();
            let now_ms = app.clock.now_ms();
            let world = app.world();
            let own = |sender: &&Sender| {
                sender.is_key(authorization) && wanted.contains(&sender.number())
            };
            let results = world.infobip.values().filter(own);
            let results: Vec<_> = results.map(|sender| sender.quality(now_ms)).collect();
            Answer::json(200, json!({"results": results}))
        }
        (&Method::GET, ["senders", number, "media", id]) => {
            as_sender(app, number, authorization, |sender, _| sender.download(id).into())
        }
        _ => refusal(Shape::Mixed, 404, "NOT_FOUND", "Not found", None),
    }
}

fn send(app: &App, kind: &str, authorization: Option<&str>, bytes: &Bytes) -> Answer {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let from = body.pointer("/messages/0/from").or_else(|| body.get("from"));
    let from = from.and_then(Value::as_str).unwrap_or_default();
    let from = from.strip_prefix('+').unwrap_or(from);
    let own = app.world().infobip.get(from).is_some_and(|sender| sender.is_key(authorization));
    if own {
        return as_sender(app, from, authorization, |sender, scene| {
            sender.send(scene, kind, bytes)
        });
    }
    // A number that is not the account's: what is wrong with the rest comes first.
    match request::check(kind, &body) {
        None => refusal(Shape::Mixed, 404, "NOT_FOUND", "Not found", None),
        Some(Err(flaws)) => {
            refusal(Shape::Mixed, 400, "BAD_REQUEST", "Bad request", Some(flaws.shown()))
        }
        Some(Ok(sends)) => {
            let refused = sends.iter().map(|send| {
                let id = send.message_id.as_deref().unwrap_or("refused");
                super::state(&send.to, id, 11)
            });
            super::answer(refused.collect(), kind == "template")
        }
    }
}

fn as_sender(
    app: &App,
    number: &str,
    authorization: Option<&str>,
    act: impl FnOnce(&mut Sender, &mut Scene<'_>) -> Outcome,
) -> Answer {
    let now_ms = app.clock.now_ms();
    let outcome = app.world().infobip(now_ms, number, |sender, scene| {
        sender.is_key(authorization).then(|| act(sender, scene))
    });
    match outcome.flatten() {
        Some(outcome) => {
            drop(app.call_back(&Whose::Infobip(number.to_owned()), outcome.deliveries));
            outcome.answer
        }
        None => refusal(Shape::Mixed, 404, "NOT_FOUND", "Sender not found", None),
    }
}

fn with<T>(
    app: &App,
    number: &str,
    act: impl FnOnce(&mut Sender, &mut Scene<'_>) -> T,
) -> Result<T, Refusal> {
    let done = app.world().infobip(app.clock.now_ms(), number, act);
    done.ok_or_else(|| (404, format!("PUT /_sim/infobip/{number} first")))
}

/// Answers a call below `/_sim/infobip/{number}`.
pub(crate) async fn control(
    app: &App,
    call: &Call<'_>,
    number: &str,
    what: Option<&str>,
) -> Result<Value, Refusal> {
    match (call.method, what) {
        (&Method::GET, None) => with(app, number, |sender, _| sender.summary()),
        (&Method::PUT, None) => {
            if number.is_empty() || !number.bytes().all(|c| c.is_ascii_digit()) {
                return Err(wrong("number: digits only".into()));
            }
            let settings: Settings = call.read()?;
            let mut world = app.world();
            match world.infobip.get_mut(number) {
                Some(sender) => sender.change(settings),
                None => {
                    world.infobip.insert(number.to_owned(), Sender::new(number, settings));
                }
            }
            Ok(json!({"ok": true, "number": number}))
        }
        (_, None) => no_method(),
        (_, Some("faults")) => {
            with(app, number, |sender, _| change_faults(sender.faults(), call, &[]))?
        }
        (&Method::GET, Some("accepted")) => with(app, number, |sender, _| {
            let wanted =
                |name: &str, value: &str| call.query.get(name).is_none_or(|wanted| value == wanted);
            let accepted = sender.accepted().iter();
            let accepted: Vec<_> = accepted
                .filter(|one| wanted("to", &one.to) && wanted("message_id", &one.message_id))
                .collect();
            json!({"count": accepted.len(), "accepted": accepted})
        }),
        (&Method::GET, Some("reads")) => {
            with(app, number, |sender, _| json!({"reads": sender.reads()}))
        }
        (&Method::POST, Some("customer-writes")) => {
            let order: CustomerWrites = call.read()?;
            let written = with(app, number, |sender, scene| {
                sender.customer_writes(scene, &order, call.base)
            })?;
            let (ids, deliveries) = written.map_err(wrong)?;
            let told = app.call_back(&Whose::Infobip(number.to_owned()), deliveries);
            let first = if order.wait { statuses(told).await } else { Vec::new() };
            Ok(json!({"message_ids": ids, "webhook_status": first.first().copied().flatten(),
                      "webhook_statuses": first}))
        }
        (&Method::POST, Some("webhook")) => {
            let order: RawWebhook = call.read()?;
            let made = with(app, number, |sender, scene| sender.webhook(scene, &order))?;
            let told = app.call_back(&Whose::Infobip(number.to_owned()), made.map_err(wrong)?);
            let first = statuses(told).await;
            Ok(json!({"webhook_status": first.first().copied().flatten(),
                      "webhook_statuses": first}))
        }
        (&Method::POST, Some("forge")) => {
            let order: Forgery = call.read()?;
            let delivery = with(app, number, |sender, scene| sender.forge(scene, &order))?;
            let told = app.call_back(&Whose::Infobip(number.to_owned()), vec![delivery]);
            let first = statuses(told).await;
            Ok(json!({"webhook_status": first.first().copied().flatten()}))
        }
        (&Method::POST, Some("window")) => {
            let order: WindowOrder = call.read()?;
            with(app, number, |sender, scene| {
                let last_wrote = order.last_wrote_ms_ago.map(|ago| scene.now_ms - ago);
                sender.set_window(&order.customer, last_wrote);
                json!({"ok": true, "open": sender.window_open(scene.now_ms, &order.customer)})
            })
        }
        _ => Err((404, "no such call".to_owned())),
    }
}
