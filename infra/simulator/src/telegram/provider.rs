//! The Bot API as a simulated provider: its paths, its control calls, its updates.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::update::{CustomerWrites, RawUpdate};
use super::{Bot, Delivery, Params, SOURCE, SetChat, Settings, error, is_token};
use crate::answer::{Answer, Outcome};
use crate::calls::accepted;
use crate::faults::Faults;
use crate::ids::Ids;
use crate::log::ProviderContext;
use crate::provider::{Next, ProviderResponse, SimulatedAccount, SimulatedProvider, Step};
use crate::redelivery::AttemptResult;
use crate::request::{Refusal, Request, bad_request, not_found};

/// The bots, by id.
#[derive(Debug, Default)]
pub struct Telegram {
    bots: BTreeMap<i64, Bot>,
    /// A number above all those that removed bots have used.
    base: i64,
}

impl SimulatedProvider for Telegram {
    const NAME: &'static str = SOURCE;
    type Account = Bot;

    fn answer(
        &mut self,
        context: &mut ProviderContext<'_>,
        request: &Request<'_>,
    ) -> Option<ProviderResponse<Self>> {
        match request.path {
            ["file", token, path @ ..] if token.starts_with("bot") => {
                Some(self.authorized(token, |bot| bot.download(&path.join("/"))).into())
            }
            [token, name] if token.starts_with("bot") => {
                let kind = request.header(CONTENT_TYPE.as_str()).unwrap_or_default();
                let params = match params(request.uri, kind, request.body) {
                    Ok(params) => params,
                    Err(answer) => return Some(answer.into()),
                };
                let answer = self.authorized(token, |bot| bot.call(context, name, &params));
                let id = id_of(token);
                // The call may have set the webhook that queued updates waited for.
                let bot = id.and_then(|id| self.bots.get_mut(&id));
                let deliveries = bot.map(Bot::begin).unwrap_or_default();
                let id = id.map(|id| id.to_string()).unwrap_or_default();
                Some(ProviderResponse::of(&id, Outcome { answer, deliveries }))
            }
            _ => None,
        }
    }

    fn check_name(name: &str) -> Result<(), Refusal> {
        name.parse::<i64>()
            .map(drop)
            .map_err(|_| bad_request("bot_id: must contain digits only".into()))
    }

    fn account(&mut self, name: &str) -> Option<&mut Bot> {
        self.bots.get_mut(&name.parse().ok()?)
    }

    fn put(
        &mut self,
        context: &mut ProviderContext<'_>,
        name: &str,
        call: &Request<'_>,
    ) -> Result<Value, Refusal> {
        let settings: Settings = call.read()?;
        let id = name.parse().unwrap_or_default();
        let own = settings.token.starts_with(&format!("{id}:"));
        if !own || !is_token(&settings.token) {
            return Err(bad_request(format!("token: must be {id}:<letters, digits, - and _>")));
        }
        let base = self.new_base(context.ids);
        match self.bots.get_mut(&id) {
            Some(bot) => bot.change(settings),
            None => {
                self.bots.insert(id, Bot::new(id, settings, base));
            }
        }
        Ok(json!({"ok": true, "bot_id": id.to_string()}))
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
                let bot = self.require_account(name)?;
                let written = bot.customer_writes(context, &order).map_err(bad_request)?;
                let fields = json!({
                    "update_id": written.update_id, "message_id": written.message_id,
                    "file_id": written.file_id, "delivered": written.delivered,
                });
                let wait = order.wait && written.delivered;
                let update = Delivery { chat: order.chat_id, update_id: written.update_id };
                Ok(deliver(name, bot, update, wait, fields))
            }
            (&Method::POST, "update") => {
                let order: RawUpdate = call.read()?;
                let bot = self.require_account(name)?;
                let (chat, update_id) = bot.raw_update(&order).map_err(bad_request)?;
                let update = Delivery { chat, update_id };
                Ok(deliver(name, bot, update, true, json!({"update_id": update_id})))
            }
            (&Method::POST, "chats") => {
                let order: SetChat = call.read()?;
                self.require_account(name)?.set_chat(&order);
                Ok(Step::Done(json!({"ok": true})))
            }
            (&Method::POST, "forge") => self.forge(context, name, call),
            _ => Err(not_found()),
        }
    }

    fn reset(&mut self) {
        self.base = self.highest_number();
        self.bots.clear();
    }
}

impl Telegram {
    fn highest_number(&self) -> i64 {
        let used = self.bots.values().map(Bot::highest_number).max();
        used.unwrap_or(0).max(self.base)
    }

    /// The number from which a new bot starts.
    fn new_base(&self, ids: &Ids) -> i64 {
        self.highest_number().max(ids.telegram_base())
    }

    /// Runs `act` on the bot with this token.
    fn authorized(&mut self, token: &str, act: impl FnOnce(&mut Bot) -> Answer) -> Answer {
        let token = token.strip_prefix("bot").unwrap_or(token);
        if !is_token(token) {
            return error(404, "Not Found");
        }
        let bot = self.bots.values_mut().find(|bot| bot.has_token(token));
        bot.map_or_else(|| error(401, "Unauthorized"), act)
    }

    fn forge(
        &mut self,
        context: &mut ProviderContext<'_>,
        name: &str,
        call: &Request<'_>,
    ) -> Result<Step<Self>, Refusal> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Order {
            kind: Kind,
            #[serde(default)]
            text: Option<String>,
        }
        #[derive(Deserialize, PartialEq)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            WrongSecret,
            NoSecret,
        }
        let order: Order = call.read()?;
        let text = order.text.unwrap_or_else(|| "I am not Telegram".into());
        let forged =
            self.require_account(name)?.forge(context, order.kind == Kind::WrongSecret, &text);
        let (update_id, request) = forged.ok_or_else(|| bad_request("no webhook is set".into()))?;
        let name = name.to_owned();
        let then = move |_: &mut Self, context: &mut ProviderContext<'_>, how: AttemptResult| {
            let fields = json!({"update_id": update_id, "status": how.status, "forged": true});
            context.log.push(context.now_ms, SOURCE, &name, "webhook.answered", fields);
            Ok(Step::Done(json!({"webhook_status": how.status})))
        };
        Ok(Step::Ask { request, then: Box::new(then) })
    }
}

/// Starts the deliveries that can begin now. The answer is `fields`, with the result of the first
/// attempt of `update` if the caller waits for it and one is due soon.
fn deliver(
    name: &str,
    bot: &mut Bot,
    update: Delivery,
    wait: bool,
    fields: Value,
) -> Step<Telegram> {
    let answer_with = move |statuses: Option<Vec<u16>>| {
        let mut fields = fields.clone();
        if let Some(fields) = fields.as_object_mut() {
            let first = statuses.as_ref().and_then(|statuses| statuses.first());
            fields.insert("webhook_status".into(), json!(first));
            fields.insert("webhook_statuses".into(), json!(statuses.unwrap_or_default()));
        }
        fields
    };
    let name = name.to_owned();
    let account = name.clone();
    Step::then(&account, bot.begin(), false, move |_, _, _| {
        let otherwise = answer_with(None);
        if !wait {
            return Ok(Step::Done(otherwise));
        }
        let poll = move |telegram: &mut Telegram| {
            let Some(bot) = telegram.account(&name) else { return Some(answer_with(None)) };
            if let Some(statuses) = bot.first_attempt(update.update_id) {
                return Some(answer_with(Some(statuses)));
            }
            let blocked = !bot.has_webhook() || bot.is_blocked(update.chat, update.update_id);
            blocked.then(|| answer_with(None))
        };
        Ok(Step::Poll { poll: Box::new(poll), otherwise })
    })
}

impl SimulatedAccount for Bot {
    type Delivery = Delivery;
    const CALLS: &'static [&'static str] = &["", "accepted", "faults"];

    fn show(&self, what: &str, call: &Request<'_>) -> Option<Value> {
        match what {
            "" => Some(self.summary()),
            "accepted" => {
                let chat = call.query.get("chat_id").and_then(|chat| chat.parse::<i64>().ok());
                let wanted = |chat_id| chat.is_none_or(|chat| chat_id == chat);
                Some(accepted(self.accepted(), |one| wanted(one.chat_id)))
            }
            _ => None,
        }
    }

    fn faults(&mut self) -> Option<&mut Faults> {
        Some(&mut self.faults)
    }

    fn delay_ms(_delivery: &Delivery) -> Option<u64> {
        None
    }

    fn attempt(
        &mut self,
        context: &mut ProviderContext<'_>,
        delivery: &mut Delivery,
        attempt: u32,
    ) -> Next {
        let Some(webhook) = self.outgoing(delivery) else { return Next::Nothing };
        let fields = json!({"update_id": delivery.update_id, "attempt": attempt});
        self.event(context, "webhook.sent", fields);
        Next::Send(webhook)
    }

    fn attempted(
        &mut self,
        context: &mut ProviderContext<'_>,
        delivery: &Delivery,
        attempt: u32,
        passed_ms: u64,
        how: &AttemptResult,
    ) -> Option<u64> {
        let copies: Vec<&AttemptResult> = std::iter::once(how).chain(&how.copies).collect();
        self.all_attempted(context, *delivery, attempt, passed_ms, &copies)
    }

    fn advance(&mut self, delivery: &mut Delivery) -> bool {
        let next = self.next(delivery.chat);
        if let Some(next) = next {
            *delivery = next;
        }
        next.is_some()
    }

    /// Chats that waited for a free connection.
    fn released(&mut self) -> Vec<Delivery> {
        self.begin()
    }
}

fn id_of(token: &str) -> Option<i64> {
    token.strip_prefix("bot")?.split_once(':')?.0.parse().ok()
}

/// The parameters of a call, from the query string, a form or JSON.
fn params(uri: &Uri, kind: &str, body: &Bytes) -> Result<Params, Answer> {
    let mut params = Params::new();
    let mut add = |bytes: &[u8]| {
        for (name, value) in url::form_urlencoded::parse(bytes).into_owned() {
            params.insert(name, Value::String(value));
        }
    };
    add(uri.query().unwrap_or_default().as_bytes());
    if kind.starts_with("application/x-www-form-urlencoded") {
        add(body);
    } else if kind.starts_with("application/json") && !body.is_empty() {
        let Ok(Value::Object(json)) = serde_json::from_slice(body) else {
            return Err(error(400, "Bad Request: can't parse request JSON object"));
        };
        params.extend(json);
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_from_the_query_string_a_form_or_json() {
        let uri: Uri = "/bot1:a/sendMessage?chat_id=1&text=a%20b".parse().unwrap();
        let found = params(&uri, "", &Bytes::new()).unwrap();
        assert_eq!(found["text"], "a b");
        let form = params(&uri, "application/x-www-form-urlencoded", &"text=c".into()).unwrap();
        assert_eq!((&form["text"], &form["chat_id"]), (&"c".into(), &"1".into()));
        let json = params(&uri, "application/json", &"{\"text\":\"d\"}".into()).unwrap();
        assert_eq!(json["text"], "d");
        assert!(params(&uri, "application/json", &"[".into()).is_err());
    }

    #[test]
    fn a_reset_removes_everything_except_the_used_numbers() {
        let ids = Ids::new(1_795_000_000_000);
        let mut telegram = Telegram::default();
        let base = telegram.new_base(&ids);
        let settings = serde_json::from_value(json!({"token": "1:abc"})).unwrap();
        telegram.bots.insert(1, Bot::new(1, settings, base + 10));
        telegram.reset();
        assert!(telegram.bots.is_empty());
        assert_eq!(telegram.new_base(&ids), base + 10);
    }
}
