//! Receives Telegram's webhooks.

use domain::content::{ContactCard, Content, Location, Media, Reaction, Reply};
use domain::event::{EventKind, InboundMessage, ParsedEvent};
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, IntegrationId, Provider};
use http::Method;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire;
use crate::raw::{fit, unsupported};
use crate::signature;

/// Telegram's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Telegram
    }

    fn source(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Box<dyn WebhookSource> {
        Box::new(Source {
            secrets: credentials.all(super::WEBHOOK_SECRET).to_vec(),
            account: integration.account.clone().unwrap_or_default(),
        })
    }
}

struct Source {
    secrets: Vec<SecretString>,
    /// Id of the bot: an update does not name it.
    account: String,
}

impl WebhookSource for Source {
    /// Source: README, facts 1. The secret header is always required; a secret in the path is
    /// checked in addition.
    fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        let token = request.header("x-telegram-bot-api-secret-token")?;
        if !signature::is_one_of(&self.secrets, token) {
            return Err(Rejection::Unauthenticated("secret token does not match"));
        }
        match request.path_suffix.as_deref() {
            Some(suffix)
                if !suffix.starts_with(IntegrationId::PREFIX)
                    && !signature::is_one_of(&self.secrets, suffix) =>
            {
                Err(Rejection::Unauthenticated("secret in the path does not match"))
            }
            _ => Ok(()),
        }
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let raw: &RawValue = serde_json::from_slice(&request.body)?;
        let update: wire::Update<'_> = serde_json::from_str(raw.get())?;
        let id = update.get("update_id").and_then(|id| id.get().parse::<i64>().ok());
        let id = id.ok_or_else(|| Rejection::Unreadable("update_id is missing".into()))?;
        let what = update.iter().find(|(name, _)| *name != "update_id");
        let (name, part) = what.map_or(("empty", raw), |(name, part)| (name.as_ref(), *part));
        let (occurred_at, kind) = match name {
            "message" => read_message(part)?,
            "callback_query" => read_button_press(part)?,
            "message_reaction" => read_reaction(part, id)?,
            _ => (time_of(part), EventKind::Other { name: name.to_owned() }),
        };
        Ok(ParsedWebhook::Events(vec![ParsedEvent {
            account: self.account.clone(),
            id: id.to_string(),
            occurred_at,
            kind,
            ordering_key: None,
            single_use: None,
            raw: raw.to_owned(),
        }]))
    }
}

/// Parses a time; `None` for 0, the date of a message that the bot can no longer access.
fn timestamp(second: i64) -> Option<Timestamp> {
    Timestamp::from_second(second).ok().filter(|_| second != 0)
}

/// Returns the time of an event that is only recorded, if it has one.
fn time_of(part: &RawValue) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Dated {
        edit_date: Option<i64>,
        date: Option<i64>,
    }
    let dated = fit::<Dated>(Some(part));
    timestamp(dated.and_then(|dated| dated.edit_date.or(dated.date))?)
}

fn name_of(chat: &wire::Chat) -> Option<String> {
    let person = || join(chat.first_name.as_deref(), chat.last_name.as_deref());
    chat.title.clone().or_else(person)
}

fn join(first: Option<&str>, last: Option<&str>) -> Option<String> {
    match (first, last) {
        (Some(first), Some(last)) => Some(format!("{first} {last}")),
        (first, last) => first.or(last).map(str::to_owned),
    }
}

fn read_message(raw: &RawValue) -> Result<(Option<Timestamp>, EventKind), Rejection> {
    let message: wire::Message<'_> = serde_json::from_str(raw.get())?;
    let chat = message.chat.id;
    let replied_to = fit::<wire::MessageRef>(message.reply_to_message);
    let kind = EventKind::Message(InboundMessage {
        channel: None,
        provider_message_id: format!("{chat}:{}", message.message_id),
        from: chat.to_string(),
        name: name_of(&message.chat),
        content: read_content(&message).unwrap_or_else(|| unsupported(raw)),
        reply_to: replied_to.map(|replied_to| format!("{chat}:{}", replied_to.message_id)),
    });
    Ok((timestamp(message.date), kind))
}

/// Returns the content of a message; `None` if the hub does not support it.
fn read_content(message: &wire::Message<'_>) -> Option<Content> {
    let file = |part| fit(part).map(|file| media(file, message));
    if message.text.is_some() {
        return Some(Content::Text { text: fit(message.text)? });
    }
    if message.photo.is_some() {
        let sizes: Vec<wire::File> = fit(message.photo)?;
        let largest =
            sizes.into_iter().max_by_key(|size| size.width.saturating_mul(size.height))?;
        return Some(Content::Image { media: media(largest, message) });
    }
    // An animation is also a document, and a venue also a location: the more specific field comes
    // first.
    if let Some(part) = message.animation.or(message.video).or(message.video_note) {
        return Some(Content::Video { media: file(Some(part))? });
    }
    if let Some(part) = message.voice.or(message.audio) {
        return Some(Content::Audio { media: file(Some(part))? });
    }
    if message.sticker.is_some() {
        return Some(Content::Sticker { media: file(message.sticker)? });
    }
    if message.document.is_some() {
        return Some(Content::Document { media: file(message.document)? });
    }
    if message.venue.is_some() {
        let venue: wire::Venue = fit(message.venue)?;
        return Some(location_content(&venue.location, Some(venue.title), Some(venue.address)));
    }
    if message.location.is_some() {
        return Some(location_content(&fit(message.location)?, None, None));
    }
    let contact: wire::Contact = fit(message.contact)?;
    let name = join(Some(&contact.first_name), contact.last_name.as_deref()).unwrap_or_default();
    let phones = vec![contact.phone_number];
    Some(Content::Contacts { contacts: vec![ContactCard { name, phones, emails: Vec::new() }] })
}

fn media(file: wire::File, message: &wire::Message<'_>) -> Media {
    Media {
        url: None,
        provider_media_id: Some(file.file_id),
        mime_type: file.mime_type,
        caption: fit(message.caption),
        filename: file.file_name,
        size: file.file_size,
    }
}

fn location_content(at: &wire::Location, name: Option<String>, address: Option<String>) -> Content {
    let (latitude, longitude) = (at.latitude, at.longitude);
    Content::Location { location: Location { latitude, longitude, name, address } }
}

/// Reads a button press. It has no time of its own, so it gets the time of the message with the
/// button: unlike the time of receipt, it is equal for every redelivery.
fn read_button_press(raw: &RawValue) -> Result<(Option<Timestamp>, EventKind), Rejection> {
    let query: wire::CallbackQuery<'_> = serde_json::from_str(raw.get())?;
    let message = fit::<wire::Message<'_>>(query.message);
    let (Some(message), Some(data)) = (message, query.data) else {
        // A game, or a button outside a chat: there is no conversation to reply in.
        return Ok((None, EventKind::Other { name: "callback_query".into() }));
    };
    let keyboard = fit::<wire::Keyboard>(message.reply_markup);
    let buttons = keyboard.into_iter().flat_map(|keyboard| keyboard.inline_keyboard).flatten();
    let label = buttons.into_iter().find(|button| button.callback_data.as_ref() == Some(&data));
    let title = label.map_or_else(|| data.clone(), |button| button.text);
    let chat = message.chat.id;
    let kind = EventKind::Message(InboundMessage {
        channel: None,
        provider_message_id: format!("cb:{}", query.id),
        from: chat.to_string(),
        name: name_of(&message.chat),
        content: Content::ButtonReply {
            text: title.clone(),
            reply: Reply { id: data, title, description: None },
        },
        reply_to: Some(format!("{chat}:{}", message.message_id)),
    });
    Ok((timestamp(message.date), kind))
}

fn read_reaction(raw: &RawValue, update: i64) -> Result<(Option<Timestamp>, EventKind), Rejection> {
    let wire::ReactionUpdate { chat, message_id, date, new_reaction } =
        serde_json::from_str(raw.get())?;
    let was_removed = new_reaction.is_empty();
    let emoji = new_reaction.into_iter().find_map(|reaction| reaction.emoji);
    let content = match emoji {
        None if !was_removed => unsupported(raw),
        emoji => Content::Reaction {
            reaction: Reaction {
                message_id: format!("{}:{message_id}", chat.id),
                emoji: emoji.unwrap_or_default(),
            },
        },
    };
    let kind = EventKind::Message(InboundMessage {
        channel: None,
        provider_message_id: format!("reaction:{update}"),
        from: chat.id.to_string(),
        name: name_of(&chat),
        content,
        reply_to: None,
    });
    Ok((timestamp(date), kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telegram::{WEBHOOK, example};
    use bytes::Bytes;
    use domain::webhook::receive;
    use serde_json::{Value, json};

    fn integration() -> Integration {
        let id = domain::IntegrationId::derived(&["test"]);
        let tenant = "acme".parse().unwrap();
        crate::example::integration(Provider::Telegram, id, tenant).unwrap()
    }

    fn receive_request(request: &WebhookRequest) -> Result<ParsedWebhook, Rejection> {
        let source = WEBHOOK.source(&integration(), &example::credentials());
        receive(&*source, request, Timestamp::UNIX_EPOCH)
    }

    fn parse(update: &Value) -> ParsedEvent {
        match receive_request(&example::request(update)).unwrap() {
            ParsedWebhook::Events(mut events) if events.len() == 1 => events.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn parse_kind(kind: &str, what: &Value) -> InboundMessage {
        match parse(&example::update(5, kind, what)).kind {
            EventKind::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn parse_message(content: &Value) -> InboundMessage {
        parse_kind("message", &example::message(9, content))
    }

    #[test]
    fn a_text_has_its_id_account_time_sender_and_name() {
        let event = parse(&example::text(5, 9, "hi"));
        assert_eq!((event.id.as_str(), event.account.as_str()), ("5", example::BOT_ID));
        assert_eq!(event.occurred_at.unwrap().as_second(), example::AT);
        let EventKind::Message(message) = event.kind else { panic!() };
        assert_eq!(message.from, "5550009999");
        assert_eq!(message.provider_message_id, "5550009999:9");
        assert_eq!(message.name.as_deref(), Some("Zoë Müller"));
        assert_eq!(message.content, Content::Text { text: "hi".into() });
    }

    #[test]
    fn the_raw_update_is_kept_byte_for_byte() {
        let mut request = example::request(&Value::Null);
        request.body = Bytes::from_static(b" {\"update_id\" : 5, \"poll\":{\"id\":\"1\"}} \n");
        let ParsedWebhook::Events(events) = receive_request(&request).unwrap() else { panic!() };
        assert_eq!(events[0].raw.get(), "{\"update_id\" : 5, \"poll\":{\"id\":\"1\"}}");
    }

    #[test]
    fn in_a_group_the_sender_is_the_group() {
        let group = json!({ "id": -100_200, "type": "supergroup", "title": "Team" });
        let content = json!({ "text": "hi", "chat": group });
        let message = parse_message(&content);
        assert_eq!((message.from.as_str(), message.name.as_deref()), ("-100200", Some("Team")));
        assert_eq!(message.provider_message_id, "-100200:9");
    }

    #[test]
    fn the_largest_photo_is_used() {
        let sizes = json!([
            { "file_id": "s", "width": 90, "height": 60, "file_size": 10 },
            { "file_id": "l", "width": 900, "height": 600, "file_size": 1000 },
            { "file_id": "m", "width": 300, "height": 200 },
        ]);
        let content = parse_message(&json!({ "photo": sizes, "caption": "c" })).content;
        let Content::Image { media } = content else { panic!() };
        assert_eq!(media.provider_media_id.as_deref(), Some("l"));
        assert_eq!((media.caption.as_deref(), media.size), (Some("c"), Some(1000)));
    }

    #[test]
    fn files_of_every_type_are_parsed() {
        let kinds = [
            ("video", "video"),
            ("video_note", "video"),
            ("audio", "audio"),
            ("voice", "audio"),
            ("document", "document"),
            ("sticker", "sticker"),
        ];
        for (field, kind) in kinds {
            let file =
                json!({ "file_id": "f", "mime_type": "a/b", "file_name": "n", "file_size": 5 });
            let content = parse_message(&json!({ (field): file })).content;
            assert_eq!(content.kind(), kind, "{field}");
            let media = content.media().unwrap();
            assert_eq!(media.provider_media_id.as_deref(), Some("f"));
            assert_eq!(
                (media.mime_type.as_deref(), media.filename.as_deref()),
                (Some("a/b"), Some("n"))
            );
        }
    }

    #[test]
    fn an_animation_is_a_video_and_a_venue_is_a_location_with_a_name() {
        let file = json!({ "file_id": "f" });
        let both = parse_message(&json!({ "animation": file, "document": file }));
        assert_eq!(both.content.kind(), "video");
        let at = json!({ "latitude": 1.5, "longitude": 2.5 });
        let venue = json!({ "location": at, "title": "t", "address": "a" });
        let content = parse_message(&json!({ "location": at, "venue": venue })).content;
        let Content::Location { location } = content else { panic!() };
        assert_eq!((location.name.as_deref(), location.latitude), (Some("t"), 1.5));
        let content = parse_message(&json!({ "location": at })).content;
        assert_eq!(content.kind(), "location");
    }

    #[test]
    fn a_contact_has_a_name_and_a_number() {
        let contact = json!({ "phone_number": "+1", "first_name": "A", "last_name": "B" });
        let Content::Contacts { contacts } = parse_message(&json!({ "contact": contact })).content
        else {
            panic!()
        };
        assert_eq!((contacts[0].name.as_str(), contacts[0].phones[0].as_str()), ("A B", "+1"));
    }

    #[test]
    fn a_reply_names_the_message_it_answers() {
        let content = json!({ "text": "hi", "reply_to_message": example::message(3, &json!({})) });
        assert_eq!(parse_message(&content).reply_to.as_deref(), Some("5550009999:3"));
    }

    #[test]
    fn a_button_press_has_the_buttons_data_and_label() {
        let keyboard = json!({ "inline_keyboard": [[{ "text": "Yes", "callback_data": "y" }, { "text": "x" }]] });
        let message = example::message(3, &json!({ "text": "?", "reply_markup": keyboard }));
        let query = json!({ "id": "42", "from": example::user(), "data": "y", "message": message });
        let pressed = parse_kind("callback_query", &query);
        assert_eq!(pressed.provider_message_id, "cb:42");
        assert_eq!(pressed.from, "5550009999");
        assert_eq!(pressed.reply_to.as_deref(), Some("5550009999:3"));
        let reply = Reply { id: "y".into(), title: "Yes".into(), description: None };
        assert_eq!(pressed.content, Content::ButtonReply { text: "Yes".into(), reply });

        let old = json!({ "chat": example::chat(), "message_id": 3, "date": 0 });
        let query = json!({ "id": "42", "from": example::user(), "data": "y", "message": old });
        let Content::ButtonReply { reply, .. } = parse_kind("callback_query", &query).content
        else {
            panic!()
        };
        assert_eq!(reply.title, "y");
        let event = parse(&example::update(5, "callback_query", &query));
        assert_eq!(event.occurred_at, None, "the message is no longer accessible");
    }

    #[test]
    fn a_button_press_outside_a_chat_is_recorded_only() {
        let query = json!({ "id": "42", "from": example::user(), "game_short_name": "g" });
        let event = parse(&example::update(5, "callback_query", &query));
        assert_eq!(event.kind, EventKind::Other { name: "callback_query".into() });
        assert_eq!(event.occurred_at, None);
    }

    #[test]
    fn a_reaction_is_added_removed_or_unsupported() {
        let update = |new: Value| {
            json!({ "chat": example::chat(), "message_id": 3,
            "date": example::AT, "old_reaction": [], "new_reaction": new })
        };
        let emoji = |new: Value| match parse_kind("message_reaction", &update(new)).content {
            Content::Reaction { reaction } => {
                assert_eq!(reaction.message_id, "5550009999:3");
                reaction.emoji
            }
            other => other.kind().to_owned(),
        };
        assert_eq!(emoji(json!([{ "type": "emoji", "emoji": "👍" }])), "👍");
        assert_eq!(emoji(json!([])), "");
        assert_eq!(
            emoji(json!([{ "type": "custom_emoji", "custom_emoji_id": "1" }])),
            "unsupported"
        );
    }

    #[test]
    fn unknown_content_is_unsupported_and_other_updates_are_recorded_only() {
        for content in
            [json!({ "game": { "title": "Chess" } }), json!({ "text": 5 }), json!({ "photo": [] })]
        {
            assert_eq!(parse_message(&content).content.kind(), "unsupported", "{content}");
        }
        let edited = example::message(9, &json!({ "text": "hi", "edit_date": example::AT + 1 }));
        let event = parse(&example::update(5, "edited_message", &edited));
        assert_eq!(event.kind, EventKind::Other { name: "edited_message".into() });
        assert_eq!(event.occurred_at.unwrap().as_second(), example::AT + 1);
        let event = parse(&example::update(5, "my_chat_member", &json!({ "date": example::AT })));
        assert_eq!(event.kind, EventKind::Other { name: "my_chat_member".into() });
        assert_eq!(
            parse(&json!({ "update_id": 5 })).kind,
            EventKind::Other { name: "empty".into() }
        );
    }

    #[test]
    fn a_verified_body_that_cannot_be_parsed_is_unreadable() {
        for body in ["", "{", "[]", "{}", r#"{"update_id":"x"}"#, r#"{"update_id":1,"message":{}}"#]
        {
            let mut request = example::request(&Value::Null);
            request.body = Bytes::from_static(body.as_bytes());
            let result = receive_request(&request);
            assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body}");
        }
    }

    #[test]
    fn the_secret_header_is_always_required() {
        let good = example::request(&example::text(1, 1, "t"));
        for value in [None, Some(""), Some("test-telegram"), Some("Test-telegram-secret")] {
            let mut request = good.clone();
            request.headers.clear();
            if let Some(value) = value {
                request.headers.insert("x-telegram-bot-api-secret-token", value.parse().unwrap());
            }
            // A valid secret in the path does not replace the header.
            request.path_suffix = Some(example::WEBHOOK_SECRET.into());
            let result = receive_request(&request);
            assert!(matches!(result, Err(Rejection::Unauthenticated(_))), "{value:?}");
        }
    }

    #[test]
    fn a_path_ends_with_an_integration_or_the_secret() {
        let mut request = example::request(&example::text(1, 1, "t"));
        let integration = IntegrationId::derived(&["x"]).to_string();
        for (suffix, good) in
            [(&*integration, true), (example::WEBHOOK_SECRET, true), ("other", false), ("", false)]
        {
            request.path_suffix = Some(suffix.to_owned());
            assert_eq!(receive_request(&request).is_ok(), good, "{suffix}");
        }
    }

    #[test]
    fn nothing_verifies_without_a_configured_secret() {
        let source = WEBHOOK.source(&integration(), &Credentials::default());
        let mut request = example::request(&example::text(1, 1, "t"));
        assert!(source.verify(&request, Timestamp::UNIX_EPOCH).is_err());
        request.headers.insert("x-telegram-bot-api-secret-token", "".parse().unwrap());
        assert!(source.verify(&request, Timestamp::UNIX_EPOCH).is_err());
    }
}
