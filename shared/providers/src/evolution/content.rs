//! Reads the content of a WhatsApp message, in the shape Evolution passes on.

use domain::content::{ContactCard, Content, Location, Media, Reaction, Reply};
use serde_json::value::RawValue;

use super::wire;
use crate::raw::{self, fit};

/// Maximum nesting of messages; `WhatsApp` uses two levels.
const MAX_DEPTH: usize = 4;

/// Returns the content of an incoming message and the message it answers; `None` if it is a
/// protocol message.
pub(super) fn read<'a>(
    message: &wire::Message<'a>,
    id: &str,
) -> Option<(Content, Option<wire::Answered<'a>>)> {
    let body = inner(message.message);
    let content = read_body(&body, id);
    if content.is_none() && body.protocol_message.is_some() {
        return None;
    }
    let content = content.unwrap_or_else(|| unsupported(message.message));
    Some((content, fit(message.context_info)))
}

/// Returns the message inside its wrappers.
fn inner(message: Option<&RawValue>) -> wire::Body<'_> {
    let mut body: wire::Body<'_> = fit(message).unwrap_or_default();
    for _ in 0..MAX_DEPTH {
        let outer = body
            .ephemeral_message
            .or(body.view_once_message)
            .or(body.view_once_message_v2)
            .or(body.document_with_caption_message);
        match fit::<wire::Wrapper<'_>>(outer).and_then(|outer| fit(Some(outer.message))) {
            Some(inner) => body = inner,
            None => break,
        }
    }
    body
}

fn unsupported(raw: Option<&RawValue>) -> Content {
    raw::unsupported(raw.unwrap_or(RawValue::NULL))
}

/// Returns the content of a message; `None` if the hub does not support it.
fn read_body(body: &wire::Body<'_>, id: &str) -> Option<Content> {
    if body.conversation.is_some() {
        return Some(Content::Text { text: fit(body.conversation)? });
    }
    if body.extended_text_message.is_some() {
        return Some(Content::Text { text: fit::<wire::Text>(body.extended_text_message)?.text });
    }
    if body.image_message.is_some() {
        return Some(Content::Image { media: media(body.image_message, id)? });
    }
    if let Some(video) = body.video_message.or(body.ptv_message) {
        return Some(Content::Video { media: media(Some(video), id)? });
    }
    if body.audio_message.is_some() {
        return Some(Content::Audio { media: media(body.audio_message, id)? });
    }
    if body.document_message.is_some() {
        return Some(Content::Document { media: media(body.document_message, id)? });
    }
    if body.sticker_message.is_some() {
        return Some(Content::Sticker { media: media(body.sticker_message, id)? });
    }
    if let Some(location) = body.location_message.or(body.live_location_message) {
        let at: wire::Location = fit(Some(location))?;
        let (latitude, longitude) = (at.degrees_latitude, at.degrees_longitude);
        let (name, address) = (at.name, at.address);
        return Some(Content::Location {
            location: Location { latitude, longitude, name, address },
        });
    }
    if body.contact_message.is_some() {
        return Some(Content::Contacts { contacts: vec![card(fit(body.contact_message)?)] });
    }
    if body.contacts_array_message.is_some() {
        let cards: wire::Cards<'_> = fit(body.contacts_array_message)?;
        return Some(Content::Contacts {
            contacts: cards.contacts.into_iter().map(card).collect(),
        });
    }
    if body.reaction_message.is_some() {
        let wire::Reaction { key, text } = fit(body.reaction_message)?;
        let (message_id, emoji) = (key.id.into_owned(), text.unwrap_or_default());
        return Some(Content::Reaction { reaction: Reaction { message_id, emoji } });
    }
    choice(body)
}

/// A pressed button or a selected row.
fn choice(body: &wire::Body<'_>) -> Option<Content> {
    let button = |id: String, title: Option<String>| {
        let title = title.unwrap_or_else(|| id.clone());
        let reply = Reply { id, title: title.clone(), description: None };
        Content::ButtonReply { text: title, reply }
    };
    if let Some(pressed) = body.buttons_response_message.or(body.template_button_reply_message) {
        let pressed: wire::Pressed = fit(Some(pressed))?;
        return Some(button(pressed.selected_id, pressed.selected_display_text));
    }
    if body.list_response_message.is_some() {
        let chosen: wire::Chosen = fit(body.list_response_message)?;
        let id = chosen.single_select_reply.selected_row_id;
        let title = chosen.title.unwrap_or_else(|| id.clone());
        let reply = Reply { id, title: title.clone(), description: chosen.description };
        return Some(Content::ListReply { text: title, reply });
    }
    let flow: wire::Flow<'_> = fit(body.interactive_response_message)?;
    let params = &flow.native_flow_response_message.params_json;
    let choice: wire::FlowChoice = serde_json::from_str(params).ok()?;
    Some(button(choice.id, fit::<wire::Text>(flow.body).map(|body| body.text)))
}

/// A file. Evolution serves it by the message's id.
fn media(raw: Option<&RawValue>, id: &str) -> Option<Media> {
    let file: wire::File<'_> = fit(raw)?;
    let size = fit::<wire::Number>(file.file_length).and_then(|size| size.value());
    Some(Media {
        url: None,
        provider_media_id: Some(id.to_owned()),
        mime_type: fit(file.mimetype),
        caption: fit(file.caption),
        filename: fit(file.file_name),
        size: size.and_then(|size| size.try_into().ok()),
    })
}

/// A contact card: its phone numbers and email addresses are in a vCard.
///
/// <https://www.rfc-editor.org/rfc/rfc6350>
fn card(card: wire::Card<'_>) -> ContactCard {
    let (mut phones, mut emails) = (Vec::new(), Vec::new());
    for line in card.vcard.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        // A property may be grouped (`item1.TEL`) and have parameters (`TEL;type=CELL`).
        let property = name.split(';').next().unwrap_or_default();
        let property = property.rsplit('.').next().unwrap_or_default();
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        if property.eq_ignore_ascii_case("TEL") {
            phones.push(value.trim_start_matches("tel:").to_owned());
        } else if property.eq_ignore_ascii_case("EMAIL") {
            emails.push(value.to_owned());
        }
    }
    ContactCard { name: card.display_name, phones, emails }
}
