//! Receives Meta's webhooks.

use domain::content::{ButtonPress, ContactCard, Content, Location, Media, Reaction, Reply};
use domain::event::{EventKind, InboundMessage, ParsedEvent, Receipt};
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider, Status};
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::wire;
use crate::meta::{self, SignatureVerifier};
use crate::raw::{fit, unsupported};
use crate::signature;
use crate::time::seconds;

/// Meta's webhooks for WhatsApp.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::WhatsappCloud
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(Source(SignatureVerifier {
            app_secrets: credentials.all(super::APP_SECRET).to_vec(),
            verify_tokens: credentials.all(super::VERIFY_TOKEN).to_vec(),
        }))
    }
}

struct Source(SignatureVerifier);

impl WebhookSource for Source {
    /// Source: README, facts 1.
    fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        self.0.verify(request)
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        if let Some(handshake) = meta::handshake(request) {
            return Ok(handshake);
        }
        let envelope: wire::Envelope<'_> = serde_json::from_slice(&request.body)?;
        if envelope.object != "whatsapp_business_account" {
            return Err(Rejection::Unreadable("object is not whatsapp_business_account".into()));
        }
        let mut events = Vec::new();
        for entry in &envelope.entry {
            for change in &entry.changes {
                read_change(change, entry.time, &mut events);
            }
        }
        Ok(ParsedWebhook::Events(events))
    }
}

/// Adds the events of one change. Unknown parts are kept as [`EventKind::Other`].
fn read_change(change: &wire::Change<'_>, time: Option<&RawValue>, events: &mut Vec<ParsedEvent>) {
    let value: wire::Value<'_> = fit(Some(change.value)).unwrap_or_default();
    let account = fit::<wire::Metadata>(value.metadata).map(|metadata| metadata.phone_number_id);
    let account = account.unwrap_or_default();
    let before = events.len();
    if change.field == "messages" {
        let contacts: Vec<&RawValue> = fit(value.contacts).unwrap_or_default();
        let contacts: Vec<wire::Contact<'_>> =
            contacts.into_iter().filter_map(|contact| fit(Some(contact))).collect();
        for message in value.messages.unwrap_or_default() {
            events.push(read_message(&account, &contacts, message));
        }
        for status in value.statuses.unwrap_or_default() {
            events.push(read_status(&account, status));
        }
        for error in value.errors.unwrap_or_default() {
            events.push(other(&account, "errors", time, error));
        }
    }
    if events.len() == before {
        events.push(other(&account, &change.field, time, change.value));
    }
}

/// Returns an event that is recorded without further processing. It has no id of its own, so its id
/// is the hash of its bytes.
fn other(account: &str, name: &str, time: Option<&RawValue>, raw: &RawValue) -> ParsedEvent {
    ParsedEvent {
        account: account.to_owned(),
        id: signature::fingerprint(raw.get().as_bytes()),
        occurred_at: seconds(time),
        kind: EventKind::Other { name: name.to_owned() },
        ordering_key: None,
        single_use: None,
        raw: raw.to_owned(),
    }
}

fn read_message(account: &str, contacts: &[wire::Contact<'_>], raw: &RawValue) -> ParsedEvent {
    let message = fit::<wire::Message<'_>>(Some(raw));
    let named = message.filter(|message| !message.id.is_empty() && !message.from.is_empty());
    let Some(message) = named else { return other(account, "message", None, raw) };
    let content = read_content(&message).unwrap_or_else(|| unsupported(raw));
    let contact = contacts.iter().find(|contact| contact.wa_id == message.from.as_str());
    // A group conversation is not named after its latest sender.
    let contact = contact.filter(|_| message.group_id.is_none());
    let reply_to = fit::<wire::Context>(message.context).and_then(|context| context.id);
    ParsedEvent {
        account: account.to_owned(),
        occurred_at: seconds(message.timestamp),
        kind: EventKind::Message(InboundMessage {
            channel: None,
            provider_message_id: message.id.clone(),
            from: message.group_id.unwrap_or(message.from),
            name: contact.map(|contact| contact.profile.name.clone()),
            content,
            reply_to,
        }),
        id: message.id,
        ordering_key: None,
        single_use: None,
        raw: raw.to_owned(),
    }
}

/// Returns the content of a message; `None` if the hub does not support it.
fn read_content(message: &wire::Message<'_>) -> Option<Content> {
    Some(match &*message.kind {
        "text" => Content::Text { text: fit::<wire::Text>(message.text)?.body },
        "image" => Content::Image { media: media(message.image)? },
        "video" => Content::Video { media: media(message.video)? },
        "audio" => Content::Audio { media: media(message.audio)? },
        "document" => Content::Document { media: media(message.document)? },
        "sticker" => Content::Sticker { media: media(message.sticker)? },
        "location" => {
            let wire::Location { latitude, longitude, name, address } = fit(message.location)?;
            Content::Location { location: Location { latitude, longitude, name, address } }
        }
        "contacts" => {
            let cards: Vec<wire::Card> = fit(message.contacts)?;
            Content::Contacts { contacts: cards.into_iter().map(card).collect() }
        }
        "reaction" => {
            let wire::Reaction { message_id, emoji } = fit(message.reaction)?;
            Content::Reaction { reaction: Reaction { message_id, emoji } }
        }
        "button" => {
            let wire::Button { text, payload } = fit(message.button)?;
            Content::Button { text, button: ButtonPress { payload } }
        }
        "interactive" => match fit(message.interactive)? {
            wire::Interactive::ButtonReply { button_reply: choice } => {
                Content::ButtonReply { text: choice.title.clone(), reply: reply(choice) }
            }
            wire::Interactive::ListReply { list_reply: choice } => {
                Content::ListReply { text: choice.title.clone(), reply: reply(choice) }
            }
        },
        _ => return None,
    })
}

fn media(raw: Option<&RawValue>) -> Option<Media> {
    let media: wire::Media = fit(raw)?;
    Some(Media {
        url: None,
        provider_media_id: Some(media.id),
        mime_type: media.mime_type,
        caption: media.caption,
        filename: media.filename,
        size: None,
    })
}

fn card(card: wire::Card) -> ContactCard {
    let parts = [card.name.first_name, card.name.last_name].into_iter().flatten();
    let name = card.name.formatted_name.unwrap_or_else(|| parts.collect::<Vec<_>>().join(" "));
    ContactCard {
        name,
        phones: card.phones.into_iter().filter_map(|phone| phone.phone).collect(),
        emails: card.emails.into_iter().filter_map(|email| email.email).collect(),
    }
}

fn reply(choice: wire::Choice) -> Reply {
    Reply { id: choice.id, title: choice.title, description: choice.description }
}

fn read_status(account: &str, raw: &RawValue) -> ParsedEvent {
    let status = fit::<wire::Status<'_>>(Some(raw)).filter(|status| !status.id.is_empty());
    let Some(wire) = status else { return other(account, "status", None, raw) };
    let status = match &*wire.status {
        "sent" => Status::Sent,
        "delivered" => Status::Delivered,
        "read" | "played" => Status::Read,
        "failed" => Status::Failed,
        unknown => return other(account, &format!("status.{unknown}"), wire.timestamp, raw),
    };
    let reference: Option<String> = fit(wire.biz_opaque_callback_data);
    let errors: Vec<wire::StatusError> = fit(wire.errors).unwrap_or_default();
    let error = errors.into_iter().next();
    ParsedEvent {
        account: account.to_owned(),
        id: format!("{}:{}", wire.id, wire.status),
        occurred_at: seconds(wire.timestamp),
        kind: EventKind::Receipt(Receipt {
            provider_message_id: wire.id,
            reference: reference.and_then(|reference| reference.parse().ok()),
            status,
            code: error.as_ref().map(|error| error.code.to_string()),
            detail: error.and_then(|error| {
                super::sender::remedy(error.code).map(str::to_owned).or(error.title)
            }),
        }),
        ordering_key: None,
        single_use: None,
        raw: raw.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whatsapp_cloud::{WEBHOOK, example};
    use bytes::Bytes;
    use domain::MessageId;
    use domain::webhook::receive;
    use http::{Method, StatusCode};
    use serde_json::{Value, json};

    fn integration() -> Integration {
        let id = domain::IntegrationId::derived(&["test"]);
        let tenant = "acme".parse().unwrap();
        crate::example::integration(Provider::WhatsappCloud, id, tenant).unwrap()
    }

    fn receive_request(request: &WebhookRequest) -> Result<ParsedWebhook, Rejection> {
        let source = WEBHOOK.source(&integration(), &example::credentials());
        receive(&*source, request, Timestamp::UNIX_EPOCH)
    }

    fn parse_bytes(body: Bytes) -> Vec<ParsedEvent> {
        match receive_request(&example::request(body)).unwrap() {
            ParsedWebhook::Events(events) => events,
            ParsedWebhook::Handshake(_) | ParsedWebhook::Confirm(_) => panic!("a handshake"),
        }
    }

    fn parse(changes: &[Value]) -> Vec<ParsedEvent> {
        parse_bytes(example::escaped(&example::envelope(changes)))
    }

    fn parse_message(content: &Value) -> InboundMessage {
        let change = example::messages("1", &[example::message("wamid.1", content)]);
        let mut events = parse(&[change]);
        assert_eq!(events.len(), 1);
        match events.remove(0).kind {
            EventKind::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn parse_receipt(status: Value) -> Receipt {
        match parse(&[example::statuses("1", &[status])]).remove(0).kind {
            EventKind::Receipt(receipt) => receipt,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_text_has_its_id_account_time_sender_and_name() {
        let change = example::messages("1555", &[example::text("wamid.A", "Grüße / 👋")]);
        let events = parse(&[change]);
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(event.account, "1555");
        assert_eq!(event.id, "wamid.A");
        assert_eq!(event.occurred_at.unwrap().as_second(), example::AT);
        let EventKind::Message(message) = &event.kind else { panic!("{event:?}") };
        assert_eq!(message.provider_message_id, "wamid.A");
        assert_eq!(message.from, example::WA_ID);
        assert_eq!(message.name.as_deref(), Some(example::NAME));
        assert_eq!(message.content, Content::Text { text: "Grüße / 👋".into() });
        assert_eq!(message.reply_to, None);
    }

    #[test]
    fn the_raw_message_is_kept_byte_for_byte() {
        let change = example::messages("1", &[example::text("wamid.A", "Grüße / 👋")]);
        let body = example::escaped(&example::envelope(&[change]));
        let events = parse_bytes(body.clone());
        let raw = events[0].raw.get();
        assert!(raw.contains(r"\u00fc\u00df") && raw.contains(r"\/ \ud83d\udc4b"), "{raw}");
        assert!(std::str::from_utf8(&body).unwrap().contains(raw));
    }

    #[test]
    fn every_entry_change_message_and_status_becomes_an_event_in_order() {
        let receipts =
            [example::status("wamid.C", "sent", None), example::failed("wamid.D", 1, "x", None)];
        let mut body = example::envelope(&[
            example::messages("1", &[example::text("wamid.A", "a"), example::text("wamid.B", "b")]),
            example::statuses("2", &receipts),
        ]);
        body["entry"][0]["changes"]
            .as_array_mut()
            .unwrap()
            .push(example::messages("3", &[example::text("wamid.E", "e")]));
        let events = parse_bytes(example::escaped(&body));
        let ids: Vec<_> = events.iter().map(|e| (e.account.as_str(), e.id.as_str())).collect();
        let expected = [
            ("1", "wamid.A"),
            ("1", "wamid.B"),
            ("3", "wamid.E"),
            ("2", "wamid.C:sent"),
            ("2", "wamid.D:failed"),
        ];
        assert_eq!(ids, expected);
    }

    #[test]
    fn every_media_type_keeps_its_id_type_caption_and_filename() {
        for kind in ["image", "video", "audio", "document", "sticker"] {
            let part = json!({ "id": "77", "mime_type": "a/b", "caption": "c", "filename": "f" });
            let message = parse_message(&json!({ "type": kind, (kind): part }));
            assert_eq!(message.content.kind(), kind);
            let media = message.content.media().unwrap();
            assert_eq!(media.provider_media_id.as_deref(), Some("77"));
            assert_eq!(media.mime_type.as_deref(), Some("a/b"));
            assert_eq!(media.caption.as_deref(), Some("c"));
            assert_eq!(media.filename.as_deref(), Some("f"));
        }
    }

    #[test]
    fn locations_contacts_reactions_and_choices_are_parsed() {
        let place = json!({ "latitude": 52.5, "longitude": 13.4, "name": "n", "url": "https://x" });
        let message = parse_message(&json!({ "type": "location", "location": place }));
        let Content::Location { location } = message.content else { panic!() };
        assert_eq!((location.latitude, location.name.as_deref()), (52.5, Some("n")));

        let cards = json!([{ "name": { "first_name": "A", "last_name": "B" },
            "phones": [{ "phone": "+1" }, {}], "emails": [{ "email": "a@b" }] }]);
        let message = parse_message(&json!({ "type": "contacts", "contacts": cards }));
        let Content::Contacts { contacts } = message.content else { panic!() };
        assert_eq!(contacts[0].name, "A B");
        assert_eq!(contacts[0].phones, ["+1"]);

        let removed = json!({ "type": "reaction", "reaction": { "message_id": "wamid.9" } });
        let Content::Reaction { reaction } = parse_message(&removed).content else { panic!() };
        assert_eq!((reaction.message_id.as_str(), reaction.emoji.as_str()), ("wamid.9", ""));

        let press = json!({ "type": "button", "button": { "payload": "p", "text": "t" } });
        let Content::Button { text, button } = parse_message(&press).content else { panic!() };
        assert_eq!((text.as_str(), button.payload.as_str()), ("t", "p"));

        for kind in ["button_reply", "list_reply"] {
            let choice = json!({ "type": kind, (kind): { "id": "i", "title": "t" } });
            let message = parse_message(&json!({ "type": "interactive", "interactive": choice }));
            assert_eq!(message.content.kind(), kind);
        }
    }

    #[test]
    fn a_reply_names_the_message_it_answers_and_a_forward_does_not() {
        let answer =
            json!({ "type": "text", "text": { "body": "b" }, "context": { "id": "wamid.0" } });
        assert_eq!(parse_message(&answer).reply_to.as_deref(), Some("wamid.0"));
        let forward =
            json!({ "type": "text", "text": { "body": "b" }, "context": { "forwarded": true } });
        assert_eq!(parse_message(&forward).reply_to, None);
    }

    #[test]
    fn a_message_in_a_group_belongs_to_the_group() {
        let content =
            json!({ "type": "text", "text": { "body": "b" }, "group_id": "Y2FwaV9ncm91" });
        let message = parse_message(&content);
        assert_eq!(message.from, "Y2FwaV9ncm91");
        assert_eq!(message.name, None);
    }

    #[test]
    fn an_unknown_message_does_not_affect_the_others() {
        let odd = [
            json!({ "type": "order", "order": { "catalog_id": "1" } }),
            json!({ "type": "text", "text": "no object" }),
            json!({ "type": "image" }),
            json!({ "type": "interactive", "interactive": { "type": "nfm_reply" } }),
            json!({ "type": "from_the_future" }),
            json!({ "type": "location", "location": { "latitude": "north" } }),
        ];
        for odd in odd {
            let messages = [
                example::text("wamid.A", "a"),
                example::message("wamid.B", &odd),
                example::text("wamid.C", "c"),
            ];
            let events = parse(&[example::messages("1", &messages)]);
            let kinds = events.iter().map(|event| match &event.kind {
                EventKind::Message(message) => message.content.kind(),
                other => panic!("{other:?}"),
            });
            assert_eq!(kinds.collect::<Vec<_>>(), ["text", "unsupported", "text"], "{odd}");
        }
    }

    #[test]
    fn a_message_without_an_id_is_recorded_under_the_hash_of_its_bytes() {
        let nameless = json!({ "type": "text", "text": { "body": "b" } });
        let changes = [example::messages("1", &[nameless, example::text("wamid.A", "a")])];
        let (events, again) = (parse(&changes), parse(&changes));
        assert_eq!(events[0].kind, EventKind::Other { name: "message".into() });
        assert_eq!(events[0].id.len(), 64);
        assert_eq!(events[0].id, again[0].id);
        assert_eq!(events[1].id, "wamid.A");
    }

    #[test]
    fn unsupported_content_keeps_the_providers_form() {
        let order = json!({ "type": "order", "order": { "catalog_id": "1" } });
        let Content::Unsupported { raw } = parse_message(&order).content else { panic!() };
        assert_eq!(raw["order"]["catalog_id"], "1");
    }

    #[test]
    fn statuses_become_receipts_with_the_message_id() {
        let id = MessageId::derived(&["a"]);
        let names = [
            ("sent", Status::Sent),
            ("delivered", Status::Delivered),
            ("read", Status::Read),
            ("played", Status::Read),
            ("failed", Status::Failed),
        ];
        for (name, status) in names {
            let receipt = parse_receipt(example::status("wamid.A", name, Some(&id.to_string())));
            assert_eq!(receipt.status, status);
            assert_eq!(receipt.provider_message_id, "wamid.A");
            assert_eq!(receipt.reference, Some(id));
        }
        let foreign = example::status("wamid.A", "sent", Some("somebody else's"));
        assert_eq!(parse_receipt(foreign).reference, None);
    }

    #[test]
    fn a_failure_has_its_code_and_remedy() {
        let receipt = parse_receipt(example::failed("wamid.A", 131_047, "Re-engagement", None));
        assert_eq!(receipt.code.as_deref(), Some("131047"));
        assert!(receipt.detail.unwrap().contains("template"));
        let receipt = parse_receipt(example::failed("wamid.A", 999_999, "Their words", None));
        assert_eq!(receipt.detail.as_deref(), Some("Their words"));
    }

    #[test]
    fn unknown_statuses_and_fields_are_recorded_only() {
        let events =
            parse(&[example::statuses("7", &[example::status("wamid.A", "deleted", None)])]);
        assert_eq!(events[0].kind, EventKind::Other { name: "status.deleted".into() });
        assert_eq!(events[0].account, "7");

        let change = json!({ "field": "account_update", "value": { "event": "VERIFIED" } });
        let mut body = example::envelope(&[change]);
        body["entry"][0]["time"] = json!(example::AT);
        let events = parse_bytes(example::escaped(&body));
        assert_eq!(events[0].kind, EventKind::Other { name: "account_update".into() });
        assert_eq!(
            (events[0].account.as_str(), events[0].occurred_at.map(Timestamp::as_second)),
            ("", Some(example::AT))
        );
    }

    #[test]
    fn account_errors_are_recorded() {
        let mut change = example::messages("7", &[]);
        change["value"] =
            json!({ "metadata": { "phone_number_id": "7" }, "errors": [{ "code": 130_429 }] });
        let events = parse(&[change]);
        assert_eq!(events[0].kind, EventKind::Other { name: "errors".into() });
        assert_eq!(events[0].account, "7");
    }

    #[test]
    fn a_change_without_known_parts_is_still_recorded() {
        let events = parse(&[json!({ "field": "messages", "value": { "messages": "none" } })]);
        assert_eq!(events[0].kind, EventKind::Other { name: "messages".into() });
    }

    #[test]
    fn a_verified_body_that_cannot_be_parsed_is_unreadable_not_unauthenticated() {
        for body in ["", "{", "[]", "{}", r#"{"object":"page","entry":[]}"#, r#"{"object":1}"#] {
            let result = receive_request(&example::request(Bytes::from_static(body.as_bytes())));
            assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body}");
        }
    }

    #[test]
    fn a_forged_unsigned_or_changed_body_is_rejected() {
        let good = example::request(example::escaped(&example::envelope(&[])));
        assert!(receive_request(&good).is_ok());
        let with = |value: Option<&str>| {
            let mut request = good.clone();
            request.headers.clear();
            if let Some(value) = value {
                request.headers.insert("x-hub-signature-256", value.parse().unwrap());
            }
            request
        };
        let own = example::signature(example::APP_SECRET, &good.body);
        let other = example::signature("another-secret", &good.body);
        let bare = own.trim_start_matches("sha256=");
        for value in [None, Some(""), Some("sha256="), Some(bare), Some(&*other), Some(&own[..70])]
        {
            let result = receive_request(&with(value));
            assert!(matches!(result, Err(Rejection::Unauthenticated(_))), "{value:?}");
        }
        let mut twice = good.clone();
        twice.headers.append("x-hub-signature-256", own.parse().unwrap());
        assert!(receive_request(&twice).is_err());
        let mut put = good;
        put.method = Method::PUT;
        assert!(receive_request(&put).is_err());
    }

    #[test]
    fn a_reencoded_body_does_not_verify() {
        let body = example::envelope(&[example::messages("1", &[example::text("wamid.A", "ü")])]);
        let mut request = example::request(example::escaped(&body));
        assert!(receive_request(&request).is_ok());
        request.body = Bytes::from(body.to_string());
        assert!(receive_request(&request).is_err());
    }

    #[test]
    fn both_app_secrets_verify_during_rotation_and_nothing_verifies_without_one() {
        let body = example::escaped(&example::envelope(&[]));
        let request = example::request(body);
        let source = |values: &[&str]| {
            let values = values.iter().map(|value| (*value).into()).collect();
            let credentials = Credentials::new([(super::super::APP_SECRET.to_owned(), values)]);
            WEBHOOK.source(&integration(), &credentials)
        };
        let verify = |values: &[&str]| source(values).verify(&request, Timestamp::UNIX_EPOCH);
        assert!(verify(&["new", example::APP_SECRET]).is_ok());
        assert!(verify(&["new"]).is_err());
        assert!(verify(&[""]).is_err());
        assert!(verify(&[]).is_err());
    }

    #[test]
    fn a_handshake_returns_its_challenge_and_a_wrong_token_is_rejected_with_403() {
        let good = example::handshake(example::VERIFY_TOKEN, "1158201444");
        let ParsedWebhook::Handshake(reply) = receive_request(&good).unwrap() else { panic!() };
        assert_eq!((reply.status, reply.body.as_str()), (StatusCode::OK, "1158201444"));

        for request in [example::handshake("wrong", "1"), example::handshake("", "1")] {
            assert!(matches!(receive_request(&request), Err(Rejection::Forbidden(_))));
        }
        for left_out in 0..3 {
            let mut request = good.clone();
            request.query.remove(left_out);
            assert!(matches!(receive_request(&request), Err(Rejection::Forbidden(_))));
        }
    }

    #[test]
    fn nothing_matches_an_unset_verify_token() {
        let source = WEBHOOK.source(&integration(), &Credentials::default());
        let request = example::handshake("", "1");
        assert!(source.verify(&request, Timestamp::UNIX_EPOCH).is_err());
    }
}
