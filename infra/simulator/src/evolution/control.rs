//! The part of the control API that is about instances.

use http::Method;
use serde_json::{Value, json};

use super::event::{BusinessWrites, CustomerWrites, Delivery, Forgery, RawWebhook, StateOrder};
use super::{Instance, Settings};
use crate::control::{Call, Refusal, change_faults, no_method, statuses, wrong};
use crate::deliver::App;
use crate::log::Scene;

/// Answers a call below `/_sim/evolution/{instance}`.
pub(crate) async fn answer(
    app: &App,
    call: &Call<'_>,
    name: &str,
    rest: &[&str],
) -> Result<Value, Refusal> {
    match rest {
        [] => one(app, call, name),
        ["faults"] => {
            with(app, name, |instance, _| change_faults(instance.faults(), call, &[400]))?
        }
        [what] => verb(app, call, name, what).await,
        _ => Err((404, "no such call".to_owned())),
    }
}

fn with<T>(
    app: &App,
    name: &str,
    act: impl FnOnce(&mut Instance, &mut Scene<'_>) -> T,
) -> Result<T, Refusal> {
    let done = app.world().instance(app.clock.now_ms(), name, act);
    done.ok_or_else(|| (404, format!("PUT /_sim/evolution/{name} first")))
}

fn one(app: &App, call: &Call<'_>, name: &str) -> Result<Value, Refusal> {
    match *call.method {
        Method::GET => with(app, name, |instance, _| instance.summary()),
        Method::PUT => {
            let settings: Settings = call.read()?;
            if settings.token.is_empty() {
                return Err(wrong("token: must not be empty".into()));
            }
            let mut world = app.world();
            match world.instances.get_mut(name) {
                Some(instance) => instance.change(settings),
                None => {
                    world.instances.insert(name.to_owned(), Instance::new(name, settings));
                }
            }
            Ok(json!({"ok": true, "instance": name}))
        }
        _ => no_method(),
    }
}

async fn verb(app: &App, call: &Call<'_>, name: &str, what: &str) -> Result<Value, Refusal> {
    match (call.method, what) {
        (&Method::GET, "accepted") => with(app, name, |instance, _| {
            let wanted = call.query.get("to");
            let accepted = instance.accepted().iter();
            let accepted: Vec<_> =
                accepted.filter(|one| wanted.is_none_or(|wanted| one.to == wanted)).collect();
            json!({"count": accepted.len(), "accepted": accepted})
        }),
        (&Method::GET, "reads") => {
            with(app, name, |instance, _| json!({"reads": instance.reads()}))
        }
        (&Method::POST, "customer-writes") => {
            let order: CustomerWrites = call.read()?;
            let written =
                with(app, name, |instance, scene| instance.customer_writes(scene, &order))?;
            let (id, deliveries) = written.map_err(wrong)?;
            let mut told = first(app, name, deliveries, order.wait).await;
            extend(&mut told, "id", id);
            Ok(told)
        }
        (&Method::POST, "business-writes") => {
            let order: BusinessWrites = call.read()?;
            let (id, deliveries) =
                with(app, name, |instance, scene| instance.business_writes(scene, &order))?;
            let mut told = first(app, name, deliveries, true).await;
            extend(&mut told, "id", id);
            Ok(told)
        }
        (&Method::POST, "state") => {
            let order: StateOrder = call.read()?;
            let deliveries = with(app, name, |instance, scene| instance.connect(scene, order))?;
            Ok(first(app, name, deliveries, true).await)
        }
        (&Method::POST, "webhook") => {
            let order: RawWebhook = call.read()?;
            let deliveries = with(app, name, |instance, scene| instance.deliver(scene, &order))?;
            Ok(first(app, name, deliveries.map_err(wrong)?, true).await)
        }
        (&Method::POST, "forge") => {
            let order: Forgery = call.read()?;
            let delivery = with(app, name, |instance, scene| instance.forge(scene, &order))?;
            let delivery = delivery.map_err(|reason| wrong(reason.into()))?;
            Ok(first(app, name, vec![delivery], true).await)
        }
        _ => Err((404, "no such call".to_owned())),
    }
}

/// Starts the deliveries and tells their first statuses; none where nobody is told.
async fn first(app: &App, name: &str, deliveries: Vec<Delivery>, wait: bool) -> Value {
    let told = app.deliver_of_instance(name, deliveries);
    let first = if wait { statuses(told).await } else { Vec::new() };
    json!({"webhook_status": first.first().copied().flatten(), "webhook_statuses": first})
}

fn extend(told: &mut Value, name: &str, value: String) {
    if let Some(told) = told.as_object_mut() {
        told.insert(name.into(), Value::String(value));
    }
}
