//! The control API, under `/_sim/`.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::answer::Answer;
use crate::deliver::App;
use crate::providers::PROVIDERS;
use crate::request::{Query, Refusal, Request, not_found};

/// Answers a call; `path` is the part of the path below `/_sim/`.
pub(crate) async fn answer(app: &App, call: &Request<'_>, path: &[&str]) -> Answer {
    match result(app, call, path).await {
        Ok(body) => Answer::json(200, body),
        Err((status, reason)) => Answer::json(status, json!({"error": reason})),
    }
}

async fn result(app: &App, call: &Request<'_>, path: &[&str]) -> Result<Value, Refusal> {
    match path {
        [] if call.method == Method::DELETE => {
            app.world().reset();
            Ok(json!({"ok": true}))
        }
        ["health"] if call.method == Method::GET => {
            let world = app.world();
            Ok(json!({"ok": true, "now_ms": app.clock.now_ms(),
                      "started_ms": world.ids.started_ms(), "last_seq": world.log.last_seq()}))
        }
        ["log"] if call.method == Method::GET => Ok(log(app, &call.query).await),
        [name, path @ ..] => {
            let provider = PROVIDERS.iter().find(|provider| provider.name == *name);
            provider.ok_or_else(not_found)?.control(app, call, path).await
        }
        [] => Err(not_found()),
    }
}

async fn log(app: &App, query: &Query) -> Value {
    let number = |name: &str| query.get(name).and_then(|value| value.parse::<u64>().ok());
    let since = number("since").unwrap_or(0);
    let limit = usize::try_from(number("limit").unwrap_or(1000)).unwrap_or(1000);
    let wait_ms = number("wait_ms").unwrap_or(0).min(30_000);
    let began = app.clock.now_ms();
    loop {
        let (events, next) = app.world().log.since(since, limit);
        let waited = u64::try_from(app.clock.now_ms() - began).unwrap_or(0);
        if !events.is_empty() || waited >= wait_ms {
            return json!({"events": events, "next": next});
        }
        sleep(Duration::from_millis(10)).await;
    }
}
