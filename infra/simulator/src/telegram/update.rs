//! The actions of users, and the updates that report them to the bot.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Bot, File, Waiting, method};
use crate::fields::{self, MediaUpload};
use crate::log::ProviderContext;

/// The control call for an action of a user.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerWrites {
    /// The chat.
    pub chat_id: i64,
    /// The chat's type: `private`, `group`, `supergroup` or `channel`.
    #[serde(default = "private")]
    pub chat_type: String,
    /// The user's name.
    #[serde(default = "fields::customer")]
    pub name: String,
    /// The user's id; in a private chat the same as the chat's.
    pub from_id: Option<i64>,
    /// The user name, without the @.
    pub username: Option<String>,
    /// The text.
    pub text: Option<String>,
    /// A type of content or update ...
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// ... with its object.
    pub object: Option<Value>,
    /// The caption of a file.
    pub caption: Option<String>,
    /// A file.
    pub media: Option<MediaUpload>,
    /// The id of the message that this one replies to.
    pub reply_to: Option<i64>,
    /// The id of the edited message, or an id to use in place of a generated one.
    pub message_id: Option<i64>,
    /// An id to use in place of a generated one.
    pub update_id: Option<i64>,
    /// Number of copies of the update.
    #[serde(default = "fields::once")]
    pub repeat: usize,
    /// Whether the caller waits for the first attempt.
    #[serde(default = "fields::yes")]
    pub wait: bool,
}

/// A raw update.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawUpdate {
    /// The update.
    pub update: Value,
    /// Number of copies.
    #[serde(default = "fields::once")]
    pub repeat: usize,
}

fn private() -> String {
    "private".into()
}

/// The result of an action.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The id of the update.
    pub update_id: i64,
    /// The id of the message.
    pub message_id: i64,
    /// The id of the file.
    pub file_id: Option<String>,
    /// Whether the bot receives updates of this type.
    pub delivered: bool,
}

impl Bot {
    /// Simulates an action of a user.
    ///
    /// # Errors
    /// If the order is wrong.
    pub fn customer_writes(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &CustomerWrites,
    ) -> Result<Written, String> {
        let kind = match (&order.text, &order.kind) {
            (_, Some(kind)) => kind.as_str(),
            (Some(_), None) => "text",
            (None, None) => return Err("give either text, or type and object".into()),
        };
        let chat = self.chats.entry(order.chat_id).or_default();
        chat.kind.clone_from(&order.chat_type);
        chat.name.clone_from(&order.name);
        let user_id = order.from_id.unwrap_or(order.chat_id);
        let mut user = json!({"id": user_id, "is_bot": false, "first_name": order.name,
                              "language_code": "en"});
        if let (Some(user), Some(name)) = (user.as_object_mut(), &order.username) {
            user.insert("username".into(), json!(name));
        }
        let (file_id, mut fields) = self.content(context, order, kind)?;
        let message_id = match order.message_id {
            Some(id) => {
                self.chats.entry(order.chat_id).or_default().messages.insert(id);
                id
            }
            None if kind == "message_reaction" => 0,
            None => self.new_message(order.chat_id),
        };
        let date = context.now_ms / 1000;
        let chat = self.chat_object(order.chat_id);
        if let Some(reply_to) = order.reply_to {
            let original = json!({"message_id": reply_to, "date": date, "chat": chat});
            fields.insert("reply_to_message".into(), original);
        }
        let mut message =
            json!({"message_id": message_id, "from": user, "chat": chat, "date": date});
        if let Some(message) = message.as_object_mut() {
            message.extend(fields.clone());
        }
        let (field, body) = match kind {
            "callback_query" => (
                "callback_query",
                json!({"id": context.ids.serial().to_string(), "from": user, "chat_instance": "1",
                       "message": {"message_id": message_id, "date": date, "chat": chat,
                                   "from": self.user(), "text": "?"},
                       "data": fields.get("data")}),
            ),
            "edited_message" => {
                if let Some(message) = message.as_object_mut() {
                    message.insert("edit_date".into(), json!(date));
                    message.insert("text".into(), json!(order.text));
                }
                ("edited_message", message)
            }
            "message_reaction" => {
                let emoji = fields.get("emoji").and_then(Value::as_str).unwrap_or_default();
                let new: Vec<Value> = (!emoji.is_empty())
                    .then(|| json!({"type": "emoji", "emoji": emoji}))
                    .into_iter()
                    .collect();
                let id = fields.get("message_id").cloned().unwrap_or(json!(message_id));
                let body = json!({"chat": chat, "message_id": id, "user": user, "date": date,
                                  "old_reaction": [], "new_reaction": new});
                ("message_reaction", body)
            }
            _ => ("message", message),
        };
        let update = json!({field: body});
        let update_id = self.number_update(order.update_id);
        let written = json!({"update_id": update_id, "message_id": message_id,
            "chat_id": order.chat_id, "type": kind, "text": order.text});
        self.event(context, "customer.wrote", written);
        let delivered = self.matches_filter(field);
        if delivered {
            self.enqueue(order.chat_id, update_id, update, order.repeat);
        }
        Ok(Written { update_id, message_id, file_id, delivered })
    }

    /// The fields of the message, and the id of its file.
    fn content(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &CustomerWrites,
        kind: &str,
    ) -> Result<(Option<String>, Map<String, Value>), String> {
        let mut fields = Map::new();
        if let Some(caption) = &order.caption {
            fields.insert("caption".into(), json!(caption));
        }
        if let Some(upload) = &order.media {
            let bytes = upload.bytes()?;
            let id = context.ids.file();
            let described = method::describe(kind, &id, Some(&upload.mime_type), bytes.len());
            fields.insert(kind.into(), described);
            let ending = upload.mime_type.rsplit('/').next().unwrap_or("bin");
            let path = format!("{kind}s/file_{}.{ending}", context.ids.serial());
            let file = File { path, mime: upload.mime_type.clone(), bytes };
            if kind == "photo" {
                self.files.insert(format!("{id}s"), file.clone());
            }
            self.files.insert(id.clone(), file);
            return Ok((Some(id), fields));
        }
        match (kind, &order.object) {
            ("text", _) => {
                fields.insert("text".into(), json!(order.text));
            }
            ("edited_message", _) => {}
            ("callback_query" | "message_reaction", Some(Value::Object(object))) => {
                fields.extend(object.clone());
            }
            (_, Some(object)) => {
                fields.insert(kind.into(), object.clone());
            }
            (_, None) => return Err(format!("{kind}: object or media is missing")),
        }
        Ok((None, fields))
    }

    /// Queues a raw update.
    ///
    /// # Errors
    /// If the order is wrong.
    pub fn raw_update(&mut self, order: &RawUpdate) -> Result<(i64, i64), String> {
        if !order.update.is_object() {
            return Err("update: must be a JSON object".into());
        }
        let update_id = self.number_update(order.update.get("update_id").and_then(Value::as_i64));
        // Updates of one chat are delivered in order; those without a chat share a queue.
        let chat = ["message", "edited_message", "channel_post", "message_reaction"]
            .iter()
            .find_map(|kind| order.update.get(kind)?.get("chat")?.get("id")?.as_i64())
            .unwrap_or(0);
        self.enqueue(chat, update_id, order.update.clone(), order.repeat);
        Ok((chat, update_id))
    }

    fn number_update(&mut self, given: Option<i64>) -> i64 {
        given.unwrap_or_else(|| {
            self.next_update += 1;
            self.next_update
        })
    }

    fn enqueue(&mut self, chat: i64, update_id: i64, mut update: Value, copies: usize) {
        if let Some(update) = update.as_object_mut() {
            update.insert("update_id".into(), json!(update_id));
        }
        self.first_attempts.remove(&update_id);
        let body: Bytes = update.to_string().into_bytes().into();
        let queue: &mut VecDeque<Waiting> = &mut self.queues.entry(chat).or_default().updates;
        queue.push_back(Waiting { update_id, body, copies: copies.max(1) });
    }
}
