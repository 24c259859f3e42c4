//! The rules of the Telegram Bot API, for one bot.
//!
//! Nothing here does I/O or reads a clock.

pub mod method;
mod provider;
pub mod update;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Body, Reply};
use crate::faults::{Fault, Faults, Kind, accepted_answer, accepted_as, page};
use crate::limits::{Bucket, Window};
use crate::log::ProviderContext;
use crate::provider::OutgoingWebhook;
use crate::redelivery::{AttemptResult, Redelivery};
pub use provider::Telegram;

const SOURCE: &str = "telegram";

/// Update types that are delivered only if `allowed_updates` lists them.
const NOT_BY_DEFAULT: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];

/// Settings of the bot, as the control API takes them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The token: the bot's id, a colon, a secret.
    pub token: String,
    /// The bot's user name.
    #[serde(default = "default_username")]
    pub username: String,
    /// The bot's name.
    #[serde(default = "default_first_name")]
    pub first_name: String,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
    /// The retry policy of updates.
    #[serde(default)]
    pub redelivery: Redelivery,
    /// The answer to a send to a chat that does not exist.
    #[serde(default)]
    pub unknown_chats: UnknownChats,
}

fn default_username() -> String {
    "TestShopBot".into()
}
fn default_first_name() -> String {
    "Test Shop".into()
}

/// The answer to a send to a chat that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownChats {
    /// 400 "chat not found", as Telegram answers.
    #[default]
    Refuse,
    /// The chat is created. For load tests.
    Open,
}

/// The limits of a bot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Minimum interval in milliseconds between messages to a chat; 0 is no limit.
    pub chat_interval_ms: i64,
    /// Burst of messages to a chat.
    pub chat_burst: u32,
    /// Message limit per second; 0 is no limit.
    pub per_second: usize,
    /// Message limit per minute to a group; 0 is no limit.
    pub group_per_minute: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { chat_interval_ms: 1000, chat_burst: 3, per_second: 30, group_per_minute: 20 }
    }
}

/// A message that Telegram has accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Accepted {
    /// Its sequence number in the log.
    pub seq: u64,
    /// Time of acceptance.
    pub at_ms: i64,
    /// The method.
    pub method: String,
    /// The chat.
    pub chat_id: i64,
    /// Its id; for a reaction, the id of the message it reacts to.
    pub message_id: i64,
    /// The request.
    pub body: Value,
    /// The answer to the caller: `answered`, `held`, `dropped` or `status_<n>`.
    pub answer: String,
}

/// The webhook of a bot.
#[derive(Clone, Debug)]
struct Webhook {
    url: String,
    secret: Option<String>,
    max_connections: usize,
}

/// A chat with the bot.
#[derive(Debug, Default)]
struct Chat {
    kind: String,
    name: String,
    blocked: bool,
    migrate_to: Option<i64>,
    messages: BTreeSet<i64>,
    pace: Bucket,
    group: Window,
}

/// A file that a user sent.
#[derive(Clone, Debug)]
struct File {
    path: String,
    mime: String,
    bytes: Bytes,
}

/// The queued updates of one chat; each waits for the one before.
#[derive(Debug, Default)]
struct Queue {
    updates: VecDeque<Waiting>,
    busy: bool,
}

impl Queue {
    fn first(&self) -> Option<i64> {
        self.updates.front().map(|update| update.update_id)
    }
}

/// An update that has not been acknowledged.
#[derive(Clone, Debug)]
struct Waiting {
    update_id: i64,
    body: Bytes,
    copies: usize,
}

/// A delivery of the first update in the queue of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The chat.
    pub chat: i64,
    /// The update.
    pub update_id: i64,
}

/// The control call that sets the state of a chat.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetChat {
    /// The chat.
    pub chat_id: i64,
    /// Its type: `private`, `group`, `supergroup` or `channel`.
    #[serde(rename = "type", default = "default_chat_type")]
    pub kind: String,
    /// Whether the user has blocked the bot.
    #[serde(default)]
    pub blocked: bool,
    /// The chat id that the group migrated to.
    #[serde(default)]
    pub migrate_to: Option<i64>,
}

fn default_chat_type() -> String {
    "private".into()
}

/// A bot.
#[derive(Debug)]
pub struct Bot {
    id: i64,
    settings: Settings,
    webhook: Option<Webhook>,
    allowed: Option<Vec<String>>,
    chats: BTreeMap<i64, Chat>,
    queues: BTreeMap<i64, Queue>,
    first_attempts: BTreeMap<i64, Vec<u16>>,
    next_update: i64,
    next_message: i64,
    throughput: Window,
    accepted: Vec<Accepted>,
    files: BTreeMap<String, File>,
    faults: Faults,
    refused: u64,
    given_up: u64,
    violations: u64,
    last_error: Option<(i64, String)>,
    gone_since_ms: Option<i64>,
}

/// The parameters of a call.
pub type Params = Map<String, Value>;

/// An error response of the Bot API.
#[must_use]
pub fn error(code: u16, description: &str) -> Answer {
    Answer::json(code, json!({"ok": false, "error_code": code, "description": description}))
}

fn error_with(code: u16, description: &str, parameters: &Value) -> Answer {
    Answer::json(
        code,
        json!({"ok": false, "error_code": code, "description": description,
               "parameters": parameters}),
    )
}

fn too_many(seconds: u64) -> Answer {
    let description = format!("Too Many Requests: retry after {seconds}");
    error_with(429, &description, &json!({"retry_after": seconds})).retry_after(Some(seconds))
}

fn ok(result: &Value) -> Answer {
    Answer::json(200, json!({"ok": true, "result": result}))
}

fn ok_with(description: &str) -> Answer {
    Answer::json(200, json!({"ok": true, "result": true, "description": description}))
}

/// Whether `token` has the format of a bot token: digits, a colon, a secret.
#[must_use]
pub fn is_token(token: &str) -> bool {
    token.split_once(':').is_some_and(|(id, secret)| {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        !id.is_empty()
            && id.chars().all(|c| c.is_ascii_digit())
            && secret.len() >= 3
            && secret.chars().all(word)
    })
}

impl Bot {
    /// A bot without state; its message and update numbers start at `base`.
    #[must_use]
    pub fn new(id: i64, settings: Settings, base: i64) -> Self {
        Self {
            id,
            settings,
            webhook: None,
            allowed: None,
            chats: BTreeMap::new(),
            queues: BTreeMap::new(),
            first_attempts: BTreeMap::new(),
            next_update: base,
            next_message: base,
            throughput: Window::default(),
            accepted: Vec::new(),
            files: BTreeMap::new(),
            faults: Faults::default(),
            refused: 0,
            given_up: 0,
            violations: 0,
            last_error: None,
            gone_since_ms: None,
        }
    }

    /// Changes the settings and keeps the state.
    pub fn change(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The number from which a successor must start so that no number repeats.
    #[must_use]
    pub fn highest_number(&self) -> i64 {
        self.next_update.max(self.next_message)
    }

    /// Whether `token` is the token of this bot.
    #[must_use]
    pub fn has_token(&self, token: &str) -> bool {
        self.settings.token == token
    }

    /// Sets the state of a chat.
    pub fn set_chat(&mut self, order: &SetChat) {
        let chat = self.chats.entry(order.chat_id).or_default();
        chat.kind.clone_from(&order.kind);
        chat.blocked = order.blocked;
        chat.migrate_to = order.migrate_to;
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn event(&self, context: &mut ProviderContext<'_>, kind: &str, fields: Value) -> u64 {
        context.log.push(context.now_ms, SOURCE, &self.name(), kind, fields)
    }

    fn user(&self) -> Value {
        json!({"id": self.id, "is_bot": true, "first_name": self.settings.first_name,
               "username": self.settings.username})
    }

    /// Handles a call of the Bot API.
    pub fn call(
        &mut self,
        context: &mut ProviderContext<'_>,
        method: &str,
        params: &Params,
    ) -> Answer {
        // Method names are case-insensitive.
        match method.to_ascii_lowercase().as_str() {
            "getme" => {
                let mut me = self.user();
                if let Some(me) = me.as_object_mut() {
                    me.insert("can_join_groups".into(), json!(true));
                    me.insert("can_read_all_group_messages".into(), json!(false));
                    me.insert("supports_inline_queries".into(), json!(false));
                }
                ok(&me)
            }
            "setwebhook" => self.set_webhook(context, params),
            "deletewebhook" => self.delete_webhook(context, params),
            "getwebhookinfo" => ok(&self.webhook_info()),
            "getupdates" => match self.webhook {
                Some(_) => error(
                    409,
                    "Conflict: can't use getUpdates method while webhook is active; use \
                     deleteWebhook to delete the webhook first",
                ),
                None => error(404, "Not Found: the simulator delivers by webhook only"),
            },
            "getfile" => self.get_file(params),
            "answercallbackquery" => ok(&json!(true)),
            "sendchataction" => match self.chat_of(params) {
                Ok(_) => ok(&json!(true)),
                Err(answer) => answer,
            },
            _ => match method::parse(method, params, &|id| self.files.contains_key(id)) {
                Ok(send) => self.send(context, params, send),
                Err((status, description)) => {
                    self.refuse(context, method, None, error(status, &description))
                }
            },
        }
    }

    fn refuse(
        &mut self,
        context: &mut ProviderContext<'_>,
        method: &str,
        chat_id: Option<i64>,
        answer: Answer,
    ) -> Answer {
        self.refused += 1;
        let description = answer.body().get("description").cloned();
        let fields = json!({"method": method, "status": answer.status(), "chat_id": chat_id,
                            "description": description});
        self.event(context, "send.refused", fields);
        answer
    }

    /// The chat that a call addresses, if the bot may write to it.
    fn chat_of(&mut self, params: &Params) -> Result<i64, Answer> {
        let chat_id = match params.get("chat_id") {
            None | Some(Value::Null) => return Err(error(400, "Bad Request: chat_id is empty")),
            Some(value) => {
                method::integer(value).ok_or_else(|| error(400, "Bad Request: chat not found"))?
            }
        };
        if self.settings.unknown_chats == UnknownChats::Open {
            let chat = self.chats.entry(chat_id).or_default();
            if chat.kind.is_empty() {
                chat.kind = if chat_id < 0 { "supergroup".into() } else { "private".into() };
            }
        }
        let Some(chat) = self.chats.get(&chat_id) else {
            return Err(error(400, "Bad Request: chat not found"));
        };
        if let Some(new_id) = chat.migrate_to {
            return Err(error_with(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                &json!({"migrate_to_chat_id": new_id}),
            ));
        }
        if chat.blocked {
            let description = match chat.kind.as_str() {
                "private" => "Forbidden: bot was blocked by the user".to_owned(),
                kind => format!("Forbidden: bot was kicked from the {kind} chat"),
            };
            return Err(error(403, &description));
        }
        Ok(chat_id)
    }

    fn send(
        &mut self,
        context: &mut ProviderContext<'_>,
        params: &Params,
        send: method::Send,
    ) -> Answer {
        let chat_id = match self.chat_of(params) {
            Ok(chat_id) => chat_id,
            Err(answer) => return self.refuse(context, &send.method, None, answer),
        };
        if let Err(description) = self.knows_messages(chat_id, &send) {
            let answer = error(400, description);
            return self.refuse(context, &send.method, Some(chat_id), answer);
        }
        let to = chat_id.to_string();
        let fault = self.faults.next(&to);
        if let Some(fault) = fault.as_ref().filter(|fault| !fault.accepts()) {
            self.faults.consume(&to);
            let answer = fault_answer(fault);
            let fields =
                json!({"fault": fault.name(), "answer": answer.status(), "chat_id": chat_id});
            self.event(context, "fault", fields);
            return answer;
        }
        if let Some(seconds) = self.over_limit(context.now_ms, chat_id) {
            return self.refuse(context, &send.method, Some(chat_id), too_many(seconds));
        }
        self.accept(context, params, chat_id, send, fault.as_ref())
    }

    fn knows_messages(&self, chat_id: i64, send: &method::Send) -> Result<(), &'static str> {
        let known =
            |id: i64| self.chats.get(&chat_id).is_some_and(|chat| chat.messages.contains(&id));
        if send.reply_to.is_some_and(|id| !known(id)) {
            return Err("Bad Request: message to be replied not found");
        }
        if send.reacts_to.is_some_and(|id| !known(id)) {
            return Err("Bad Request: message to react not found");
        }
        Ok(())
    }

    /// Seconds to wait if a limit is reached; else records the message.
    fn over_limit(&mut self, now_ms: i64, chat_id: i64) -> Option<u64> {
        let limits = &self.settings.limits;
        let chat = self.chats.entry(chat_id).or_default();
        let group_limit = if chat_id < 0 { limits.group_per_minute } else { 0 };
        let wait_ms = self
            .throughput
            .wait_ms(now_ms, limits.per_second, 1000)
            .max(chat.pace.wait_ms(now_ms, limits.chat_burst, limits.chat_interval_ms))
            .max(chat.group.wait_ms(now_ms, group_limit, 60_000));
        if wait_ms > 0 {
            return Some(u64::try_from(wait_ms).unwrap_or(1).div_ceil(1000));
        }
        self.throughput.take(now_ms);
        chat.pace.take(now_ms, limits.chat_interval_ms);
        chat.group.take(now_ms);
        None
    }

    fn accept(
        &mut self,
        context: &mut ProviderContext<'_>,
        params: &Params,
        chat_id: i64,
        send: method::Send,
        fault: Option<&Fault>,
    ) -> Answer {
        let (message_id, result) = if let Some(id) = send.reacts_to {
            (id, json!(true))
        } else {
            let id = self.new_message(chat_id);
            (id, self.message(context.now_ms, chat_id, id, &send.content))
        };
        let name = accepted_as(fault);
        let answer = accepted_answer(ok(&result), fault, |_, fault| page(fault));
        if let Some(fault) = fault {
            self.faults.consume(&chat_id.to_string());
            let fields =
                json!({"fault": fault.name(), "answer": answer.status(), "chat_id": chat_id});
            self.event(context, "fault", fields);
        }
        let fields = json!({"method": send.method, "message_id": message_id, "chat_id": chat_id,
                            "text": send.text, "answer": name});
        let seq = self.event(context, "send.accepted", fields);
        self.accepted.push(Accepted {
            seq,
            at_ms: context.now_ms,
            method: send.method,
            chat_id,
            message_id,
            body: Value::Object(params.clone()),
            answer: name,
        });
        answer
    }

    fn new_message(&mut self, chat_id: i64) -> i64 {
        self.next_message += 1;
        self.chats.entry(chat_id).or_default().messages.insert(self.next_message);
        self.next_message
    }

    fn chat_object(&self, chat_id: i64) -> Value {
        let (kind, name) = self
            .chats
            .get(&chat_id)
            .map_or(("private", ""), |chat| (chat.kind.as_str(), chat.name.as_str()));
        if kind == "private" {
            json!({"id": chat_id, "type": kind, "first_name": name})
        } else {
            json!({"id": chat_id, "type": kind, "title": name})
        }
    }

    /// A message object of the bot.
    fn message(&self, now_ms: i64, chat_id: i64, message_id: i64, content: &Value) -> Value {
        let mut message = json!({
            "message_id": message_id, "from": self.user(), "chat": self.chat_object(chat_id),
            "date": now_ms / 1000,
        });
        if let (Some(message), Some(content)) = (message.as_object_mut(), content.as_object()) {
            message.extend(content.clone());
        }
        message
    }

    fn set_webhook(&mut self, context: &mut ProviderContext<'_>, params: &Params) -> Answer {
        let url = params.get("url").and_then(Value::as_str).unwrap_or_default();
        if url.is_empty() {
            return self.delete_webhook(context, params);
        }
        if let Err(reason) = method::webhook_url(url) {
            return error(400, &format!("Bad Request: bad webhook: {reason}"));
        }
        let secret = params.get("secret_token").and_then(Value::as_str);
        let secret = secret.filter(|secret| !secret.is_empty()).map(ToOwned::to_owned);
        if let Some(secret) = &secret {
            if secret.len() > 256 {
                return error(400, "Bad Request: secret token is too long");
            }
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if !secret.chars().all(word) {
                return error(400, "Bad Request: secret token contains unallowed characters");
            }
        }
        if let Some(allowed) = params.get("allowed_updates") {
            let Some(list) = method::list(allowed) else {
                return error(400, "Bad Request: can't parse allowed updates JSON object");
            };
            let names: Vec<String> =
                list.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
            self.allowed = (!names.is_empty()).then_some(names);
        }
        if method::boolean(params.get("drop_pending_updates")) {
            self.queues.clear();
        }
        let max_connections = params
            .get("max_connections")
            .and_then(method::integer)
            .and_then(|connections| usize::try_from(connections).ok())
            .map_or(40, |connections| connections.clamp(1, 100));
        let same = self.webhook.as_ref().is_some_and(|old| old.url == url && old.secret == secret);
        self.webhook = Some(Webhook { url: url.to_owned(), secret, max_connections });
        self.last_error = None;
        self.gone_since_ms = None;
        self.event(context, "webhook.set", json!({"url": url}));
        ok_with(if same { "Webhook is already set" } else { "Webhook was set" })
    }

    fn delete_webhook(&mut self, context: &mut ProviderContext<'_>, params: &Params) -> Answer {
        if method::boolean(params.get("drop_pending_updates")) {
            self.queues.clear();
        }
        if self.webhook.take().is_none() {
            return ok_with("Webhook is already deleted");
        }
        self.event(context, "webhook.deleted", Value::Null);
        ok_with("Webhook was deleted")
    }

    fn webhook_info(&self) -> Value {
        let webhook = self.webhook.as_ref();
        let mut info = json!({
            "url": webhook.map_or("", |webhook| &webhook.url),
            "has_custom_certificate": false,
            "pending_update_count": self.pending(),
        });
        let Some(fields) = info.as_object_mut() else { return info };
        if let Some(webhook) = webhook {
            fields.insert("max_connections".into(), json!(webhook.max_connections));
        }
        if let Some(allowed) = &self.allowed {
            fields.insert("allowed_updates".into(), json!(allowed));
        }
        if let Some((at_s, message)) = &self.last_error {
            fields.insert("last_error_date".into(), json!(at_s));
            fields.insert("last_error_message".into(), json!(message));
        }
        info
    }

    fn pending(&self) -> usize {
        self.queues.values().map(|queue| queue.updates.len()).sum()
    }

    fn get_file(&self, params: &Params) -> Answer {
        let id = params.get("file_id").and_then(Value::as_str).unwrap_or_default();
        if id.is_empty() {
            return error(400, "Bad Request: file_id not specified");
        }
        let Some(file) = self.files.get(id) else {
            return error(400, "Bad Request: invalid file_id");
        };
        if file.bytes.len() > 20 * 1024 * 1024 {
            return error(400, "Bad Request: file is too big");
        }
        ok(&json!({"file_id": id, "file_unique_id": method::unique(id),
                   "file_size": file.bytes.len(), "file_path": file.path}))
    }

    /// Downloads the file at `path`.
    #[must_use]
    pub fn download(&self, path: &str) -> Answer {
        match self.files.values().find(|file| file.path == path) {
            Some(file) => Answer::Reply(Reply {
                status: 200,
                retry_after_s: None,
                body: Body::File { mime: file.mime.clone(), bytes: file.bytes.clone() },
                delay_ms: 0,
            }),
            None => error(404, "Not Found"),
        }
    }

    /// Whether updates of this type are delivered.
    fn matches_filter(&self, kind: &str) -> bool {
        match &self.allowed {
            Some(allowed) => allowed.iter().any(|name| name == kind),
            None => !NOT_BY_DEFAULT.contains(&kind),
        }
    }

    /// The updates that can be delivered now: the first of each idle chat, up to the limit of
    /// connections. Their chats count as busy from here on.
    pub fn begin(&mut self) -> Vec<Delivery> {
        let Some(webhook) = &self.webhook else { return Vec::new() };
        let busy = self.queues.values().filter(|queue| queue.busy).count();
        let free = webhook.max_connections.saturating_sub(busy);
        let idle = self.queues.iter_mut().filter(|(_, queue)| !queue.busy);
        let waiting = idle.filter_map(|(chat, queue)| Some((*chat, queue.first()?, queue)));
        waiting
            .take(free)
            .map(|(chat, update_id, queue)| {
                queue.busy = true;
                Delivery { chat, update_id }
            })
            .collect()
    }

    /// Continues with the next update of a chat; `None` if its queue is empty.
    pub fn next(&mut self, chat: i64) -> Option<Delivery> {
        let queue = self.queues.get_mut(&chat)?;
        let next = queue.first().filter(|_| self.webhook.is_some());
        queue.busy = next.is_some();
        next.map(|update_id| Delivery { chat, update_id })
    }

    /// The request that delivers an update; `None` if the update is no longer the first in its
    /// queue, or no webhook is set.
    #[must_use]
    pub fn outgoing(&self, delivery: &Delivery) -> Option<OutgoingWebhook> {
        let webhook = self.webhook.as_ref()?;
        let first = self.queues.get(&delivery.chat)?.updates.front();
        let update = first.filter(|first| first.update_id == delivery.update_id)?;
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("accept-encoding", "gzip, deflate".to_owned()),
        ];
        if let Some(secret) = &webhook.secret {
            headers.push(("x-telegram-bot-api-secret-token", secret.clone()));
        }
        let (url, timeout_ms) = (webhook.url.clone(), self.settings.redelivery.timeout_ms);
        let request = OutgoingWebhook::post(url, headers, update.body.clone(), timeout_ms);
        Some(OutgoingWebhook { copies: update.copies, ..request })
    }

    /// A webhook that the hub must refuse, with a wrong secret or with none, and the number of its
    /// update. `None` if no webhook is set.
    pub fn forge(
        &mut self,
        context: &ProviderContext<'_>,
        with_secret: bool,
        text: &str,
    ) -> Option<(i64, OutgoingWebhook)> {
        let webhook = self.webhook.as_ref()?;
        let mut headers = vec![("content-type", "application/json".to_owned())];
        if with_secret {
            headers.push(("x-telegram-bot-api-secret-token", "not-the-secret".to_owned()));
        }
        self.next_update += 1;
        let user = json!({"id": 666, "is_bot": false, "first_name": "Mallory"});
        let body = json!({"update_id": self.next_update, "message": {
            "message_id": 1, "date": context.now_ms / 1000, "text": text, "from": user,
            "chat": {"id": 666, "type": "private", "first_name": "Mallory"},
        }});
        let (url, timeout_ms) = (webhook.url.clone(), self.settings.redelivery.timeout_ms);
        let body = body.to_string().into_bytes().into();
        Some((self.next_update, OutgoingWebhook::post(url, headers, body, timeout_ms)))
    }

    /// Records how an attempt with all its copies ended. Returns the delay before the next attempt;
    /// `None` removes the update from its queue. Any 2xx is success.
    fn all_attempted(
        &mut self,
        context: &mut ProviderContext<'_>,
        delivery: Delivery,
        attempt: u32,
        passed_ms: u64,
        copies: &[&AttemptResult],
    ) -> Option<u64> {
        let Delivery { chat, update_id } = delivery;
        for how in copies {
            let fields = json!({"update_id": update_id, "attempt": attempt, "status": how.status,
                                "took_ms": how.took_ms, "error": how.error});
            self.event(context, "webhook.answered", fields);
            self.check_reply(context, update_id, how);
        }
        if attempt == 1 {
            let statuses = copies.iter().map(|how| how.status).collect();
            self.first_attempts.insert(update_id, statuses);
        }
        if copies.iter().any(|how| (200..300).contains(&how.status)) {
            self.gone_since_ms = None;
            self.pop(chat, update_id);
            return None;
        }
        self.note_failure(context, copies);
        let asked = copies.iter().filter_map(|how| how.retry_after_s).max();
        let wait = self.settings.redelivery.wait_ms(attempt, passed_ms, asked);
        if wait.is_none() {
            self.given_up += 1;
            self.pop(chat, update_id);
            let fields = json!({"update_id": update_id, "attempt": attempt});
            self.event(context, "webhook.given_up", fields);
        }
        wait
    }

    fn pop(&mut self, chat: i64, update_id: i64) {
        if let Some(queue) = self.queues.get_mut(&chat) {
            queue.updates.retain(|update| update.update_id != update_id);
        }
    }

    /// Records a violation if the response names a method: Telegram would execute it.
    fn check_reply(
        &mut self,
        context: &mut ProviderContext<'_>,
        update_id: i64,
        how: &AttemptResult,
    ) {
        let method = how.body.as_ref().and_then(|body| body.get("method")).and_then(Value::as_str);
        let Some(method) = method.filter(|_| (200..300).contains(&how.status)) else { return };
        self.violations += 1;
        let detail = format!(
            "the response to update {update_id} names the method {method}: Telegram would run it"
        );
        self.event(context, "violation", json!({"detail": detail}));
    }

    fn note_failure(&mut self, context: &mut ProviderContext<'_>, copies: &[&AttemptResult]) {
        let Some(how) = copies.first() else { return };
        let message = match how.status {
            0 => how.error.clone().unwrap_or_else(|| "Connection timed out".into()),
            status => {
                let status = http::StatusCode::from_u16(status).unwrap_or_default();
                format!("Wrong response from the webhook: {status}")
            }
        };
        self.last_error = Some((context.now_ms / 1000, message));
        if how.status != 410 {
            self.gone_since_ms = None;
            return;
        }
        let since = *self.gone_since_ms.get_or_insert(context.now_ms);
        let gone_ms = u64::try_from(context.now_ms - since).unwrap_or(0);
        if gone_ms >= self.settings.redelivery.gone_after_ms && self.webhook.take().is_some() {
            self.event(
                context,
                "webhook.deleted",
                json!({"detail": "the webhook answered 410 for too long"}),
            );
        }
    }

    /// The statuses of the first attempt of an update, once it has ended.
    #[must_use]
    pub fn first_attempt(&self, update_id: i64) -> Option<Vec<u16>> {
        self.first_attempts.get(&update_id).cloned()
    }

    /// Whether an earlier update is in front of this one in the queue of its chat.
    #[must_use]
    pub fn is_blocked(&self, chat: i64, update_id: i64) -> bool {
        let first = self.queues.get(&chat).and_then(|queue| queue.updates.front());
        first.is_some_and(|first| {
            first.update_id != update_id && self.first_attempts.contains_key(&first.update_id)
        })
    }

    /// Whether a webhook is set.
    #[must_use]
    pub fn has_webhook(&self) -> bool {
        self.webhook.is_some()
    }

    /// The bot's summary.
    #[must_use]
    pub fn summary(&self) -> Value {
        json!({
            "bot_id": self.name(),
            "webhook_url": self.webhook.as_ref().map_or("", |webhook| &webhook.url),
            "allowed_updates": self.allowed, "accepted": self.accepted.len(),
            "refused": self.refused, "pending_webhooks": self.pending(),
            "given_up": self.given_up, "violations": self.violations,
            "faults": self.faults.remaining(),
        })
    }

    /// The messages that Telegram has accepted.
    #[must_use]
    pub fn accepted(&self) -> &[Accepted] {
        &self.accepted
    }
}

/// The answer for a fault with which nothing is accepted.
fn fault_answer(fault: &Fault) -> Answer {
    match fault.kind {
        Kind::RateLimited => too_many(fault.retry_after_s.unwrap_or(1)),
        Kind::Error => {
            let code = fault.code.and_then(|code| u16::try_from(code).ok()).unwrap_or(400);
            let known = plain(code);
            let answer = match &fault.description {
                Some(description) => error(code, description),
                None => known,
            };
            answer.retry_after(fault.retry_after_s)
        }
        Kind::Page => page(fault),
        Kind::Status => plain(fault.status.unwrap_or(500)).retry_after(fault.retry_after_s),
        _ => Answer::HangUp { after_ms: 0 },
    }
}

/// An error with the standard description of its status.
fn plain(status: u16) -> Answer {
    let words = http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason());
    error(status, words.unwrap_or("Error"))
}

#[cfg(test)]
mod tests;
