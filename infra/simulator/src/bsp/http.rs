//! The BSP's two APIs and its control, behind HTTP.

use bytes::Bytes;
use http::{HeaderMap, Method, header::CONTENT_TYPE};
use serde_json::{Value, json};

use super::{Account, CustomerWrites, Door, Settings};
use crate::answer::Answer;
use crate::callback::{RawWebhook, Whose, WindowOrder};
use crate::control::{Call, Refusal, change_faults, no_method, statuses, wrong};
use crate::deliver::App;
use crate::log::Scene;

/// Answers a request below `/bsp/{name}/`.
pub(crate) fn serve(
    app: &App,
    method: &Method,
    name: &str,
    path: &[&str],
    headers: &HeaderMap,
    body: &Bytes,
) -> Answer {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (door, key) = match (method, path) {
        (&Method::POST, ["send"]) => (Door::Json, header("x-api-key")),
        (&Method::POST, ["form"]) => (Door::Form, header("apikey")),
        _ => return Answer::json(404, json!({"error": {"code": "no_such_path"}})),
    };
    let kind = header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let outcome = app
        .world()
        .bsp(app.clock.now_ms(), name, |account, scene| account.send(scene, door, key, kind, body));
    let Some(outcome) = outcome else {
        return Answer::json(404, json!({"error": {"code": "no_such_account"}}));
    };
    drop(app.call_back(&Whose::Bsp(name.to_owned()), outcome.deliveries));
    outcome.answer
}

fn with<T>(
    app: &App,
    name: &str,
    act: impl FnOnce(&mut Account, &mut Scene<'_>) -> T,
) -> Result<T, Refusal> {
    let done = app.world().bsp(app.clock.now_ms(), name, act);
    done.ok_or_else(|| (404, format!("PUT /_sim/bsp/{name} first")))
}

/// Answers a call below `/_sim/bsp/{name}`.
pub(crate) async fn control(
    app: &App,
    call: &Call<'_>,
    name: &str,
    what: Option<&str>,
) -> Result<Value, Refusal> {
    match (call.method, what) {
        (&Method::GET, None) => with(app, name, |account, _| account.summary()),
        (&Method::PUT, None) => {
            let settings: Settings = call.read()?;
            let mut world = app.world();
            match world.bsp.get_mut(name) {
                Some(account) => account.change(settings),
                None => {
                    world.bsp.insert(name.to_owned(), Account::new(name, settings));
                }
            }
            Ok(json!({"ok": true, "name": name}))
        }
        (_, None) => no_method(),
        (_, Some("faults")) => {
            with(app, name, |account, _| change_faults(account.faults(), call, &[]))?
        }
        (&Method::GET, Some("accepted")) => with(app, name, |account, _| {
            let wanted = |name: &str, value: Option<&str>| {
                call.query.get(name).is_none_or(|wanted| value == Some(wanted))
            };
            let accepted: Vec<_> = account
                .accepted()
                .iter()
                .filter(|one| {
                    wanted("to", Some(&one.to)) && wanted("reference", one.reference.as_deref())
                })
                .collect();
            json!({"count": accepted.len(), "accepted": accepted})
        }),
        (&Method::POST, Some("customer-writes")) => {
            let order: CustomerWrites = call.read()?;
            let written = with(app, name, |account, scene| account.customer_writes(scene, &order))?;
            let (ids, deliveries) = written.map_err(wrong)?;
            let told = app.call_back(&Whose::Bsp(name.to_owned()), deliveries);
            let first = if order.wait { statuses(told).await } else { Vec::new() };
            Ok(json!({"message_ids": ids, "webhook_status": first.first().copied().flatten(),
                      "webhook_statuses": first}))
        }
        (&Method::POST, Some("webhook")) => {
            let order: RawWebhook = call.read()?;
            let made = with(app, name, |account, scene| account.webhook(scene, &order))?;
            let told = app.call_back(&Whose::Bsp(name.to_owned()), made.map_err(wrong)?);
            let first = statuses(told).await;
            Ok(json!({"webhook_status": first.first().copied().flatten(),
                      "webhook_statuses": first}))
        }
        (&Method::POST, Some("window")) => {
            let order: WindowOrder = call.read()?;
            with(app, name, |account, scene| {
                let last_wrote = order.last_wrote_ms_ago.map(|ago| scene.now_ms - ago);
                account.set_window(&order.customer, last_wrote);
                json!({"ok": true, "open": account.window_open(scene.now_ms, &order.customer)})
            })
        }
        _ => Err((404, "no such call".to_owned())),
    }
}
