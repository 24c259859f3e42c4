//! Twilio's API behind HTTP.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method};
use serde_json::json;

use super::error::ApiError;
use super::request::Form;
use super::{API_VERSION, authorize};
use crate::answer::Answer;
use crate::deliver::App;
use crate::log::Scene;

/// A request below `/2010-04-01/Accounts/`.
pub(crate) fn answer(
    app: &App,
    method: &Method,
    path: &[&str],
    headers: &HeaderMap,
    body: &Bytes,
    base: &str,
) -> Answer {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (sid, rest) = match path {
        [account] => (account.strip_suffix(".json").unwrap_or(account), &[] as &[&str]),
        [account, rest @ ..] => (*account, rest),
        [] => ("", &[] as &[&str]),
    };
    let now_ms = app.clock.now_ms();
    let (outcome, sid) = {
        let mut world = app.world();
        let world = &mut *world;
        let authorization = header(AUTHORIZATION);
        let (account, key) = match authorize(&mut world.twilio_accounts, sid, authorization) {
            Ok(found) => found,
            Err(error) => {
                let fields = json!({"status": error.status, "code": error.code});
                world.log.push(now_ms, "twilio", sid, "send.refused", fields);
                return error.answer();
            }
        };
        let mut scene = Scene { now_ms, ids: &mut world.ids, log: &mut world.log };
        let form = || Form::read(header(CONTENT_TYPE).unwrap_or_default(), body);
        let outcome = match (method, rest) {
            (&Method::POST, ["Messages.json"]) => account.messages(&mut scene, &form()),
            (&Method::POST, ["Calls.json"]) => account.calls(&mut scene, &form()),
            (&Method::GET, []) => account.describe(key).into(),
            (&Method::GET, ["IncomingPhoneNumbers.json"]) => account.numbers().into(),
            (&Method::GET, ["Messages", message, "Media", id]) => {
                account.media(now_ms, message, id, base).into()
            }
            _ => {
                let path = format!("/{API_VERSION}/Accounts/{}", path.join("/"));
                ApiError::numbered(20_404, &path).with_status(404).answer().into()
            }
        };
        (outcome, sid.to_owned())
    };
    drop(app.deliver_twilio(&sid, outcome.deliveries));
    outcome.answer
}

/// A file, by the address that the API gave out for it.
pub(crate) fn file(app: &App, path: &[&str]) -> Answer {
    let gone = || Answer::json(404, json!({"error": "NoSuchKey"}));
    let [account, id, expires, hash] = path else { return gone() };
    let now_ms = app.clock.now_ms();
    let world = app.world();
    let account = world.twilio_accounts.get(*account);
    account.map_or_else(gone, |account| account.file(now_ms, id, expires, hash))
}
