//! Items of messages.

use domain::message::{Message, Status, Step};
use domain::ports::PortResult;
use domain::task::HandedOver;
use table::{AttributeValue, Item, corrupt, item, json, n, number, parse, s, text, time};

use super::keys;
use crate::ports::MediaState;

/// Returns the item of a message: the immutable part as one document, the mutable part as
/// attributes.
pub(crate) fn message_item(operation: &'static str, message: &Message) -> PortResult<Item> {
    let key = keys::message(&message.tenant, message.id);
    let mut item = item(
        &key,
        [
            ("doc", document(operation, message)?),
            ("status", s(message.status.as_str())),
            ("rank", n(message.status.rank())),
            ("gsi1pk", s(keys::messages_of(&message.tenant, message.conversation))),
            ("gsi1sk", s(keys::message_sort_key(message.created_at, message.id))),
            ("history", steps(operation, &message.history)?),
        ],
    );
    if let Some(id) = &message.provider_message_id {
        item.insert("provider_message_id".to_owned(), s(id));
    }
    Ok(item)
}

/// Returns the immutable part of a message.
pub(crate) fn document(operation: &'static str, message: &Message) -> PortResult<AttributeValue> {
    json(operation, &Message { history: Vec::new(), ..message.clone() })
}

/// Returns the steps of a history as a list.
pub(crate) fn steps(operation: &'static str, steps: &[Step]) -> PortResult<AttributeValue> {
    let steps = steps.iter().map(|step| json(operation, step));
    Ok(AttributeValue::L(steps.collect::<PortResult<_>>()?))
}

/// Returns the name of the attribute that holds a receipt of `status`.
pub(crate) fn receipt_attribute(status: Status) -> String {
    format!("r_{}", status.as_str())
}

/// Parses the item of a message.
pub(crate) fn read_message(operation: &'static str, item: &Item) -> PortResult<Message> {
    let mut message: Message = parse(operation, item, "doc")?;
    let status = text(item, "status").and_then(Status::from_name);
    message.status = status.ok_or_else(|| corrupt(operation, "status"))?;
    if let Some(id) = text(item, "provider_message_id") {
        message.provider_message_id = Some(id.to_owned());
    }
    if let Some(to) = handed_over(operation, item)? {
        message.provider = to.provider;
        message.integration = to.integration;
    }
    let history = item.get("history").and_then(|list| list.as_l().ok());
    for step in history.into_iter().flatten() {
        let step = step.as_s().ok().and_then(|step| serde_json::from_str(step).ok());
        message.history.push(step.ok_or_else(|| corrupt(operation, "history"))?);
    }
    // A claim is added to the history when it ends. Until then, show it as a step.
    if message.status == Status::Sending
        && let Some(at) = time(item, "claimed_at")
    {
        let attempt = number(item, "attempt").and_then(|attempt| attempt.try_into().ok());
        message.history.push(Step { attempt, ..Step::plain(Status::Sending, at) });
    }
    // Receipts arrive in any order and are shown in the order of progress.
    for status in Status::ALL {
        if let Some(step) = text(item, &receipt_attribute(status)) {
            let step = serde_json::from_str(step).map_err(|_| corrupt(operation, "receipt"))?;
            message.history.push(step);
        }
    }
    Ok(message.repaired())
}

/// Returns the integration that the message was handed over to, if it was.
pub(crate) fn handed_over(operation: &'static str, item: &Item) -> PortResult<Option<HandedOver>> {
    item.contains_key("handed_over").then(|| parse(operation, item, "handed_over")).transpose()
}

/// Parses the state of a message's media.
pub(crate) fn read_media(item: &Item) -> Option<MediaState> {
    let value = || text(item, "media_value").unwrap_or_default().to_owned();
    match text(item, "media_state")? {
        "pending" => Some(MediaState::Pending),
        "stored" => {
            let content_type = text(item, "media_type").unwrap_or_default().to_owned();
            Some(MediaState::Stored { key: value(), content_type })
        }
        _ => Some(MediaState::Failed { code: value() }),
    }
}
