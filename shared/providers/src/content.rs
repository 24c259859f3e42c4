//! Content that a provider cannot send, and the errors that say so.

use domain::content::Content;
use domain::sender::SendError;

use crate::http::invalid;

/// Returns the text of `content`, for a provider that sends nothing else.
///
/// # Errors
/// [`SendError::Invalid`] for any other content, naming its field.
pub fn text_only(content: &Content) -> Result<&str, SendError> {
    let field = match content {
        Content::Text { text } => return Ok(text),
        Content::Image { .. }
        | Content::Video { .. }
        | Content::Audio { .. }
        | Content::Document { .. }
        | Content::Sticker { .. } => "media",
        Content::Location { .. } => "location",
        Content::Contacts { .. } => "contacts",
        Content::Reaction { .. } => "reaction",
        Content::Template { .. } => "template",
        Content::Interactive { .. } => "interactive",
        Content::Call { .. } => "call",
        Content::Button { .. }
        | Content::ButtonReply { .. }
        | Content::ListReply { .. }
        | Content::Unsupported { .. } => return Err(receive_only()),
    };
    Err(invalid(field, "is not supported: this provider only sends texts"))
}

/// Returns the error for content that only a customer can send.
pub(crate) fn receive_only() -> SendError {
    invalid("type", "is a content type that can only be received, not sent")
}

#[cfg(test)]
mod tests {
    use domain::content::{Media, Reaction};

    use super::*;

    fn field(content: &Content) -> &'static str {
        match text_only(content) {
            Err(SendError::Invalid { field, reason }) => {
                assert!(reason.starts_with("is "), "{reason}");
                field
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_text_is_returned_and_any_other_content_is_named() {
        assert_eq!(text_only(&Content::Text { text: "hi".into() }).unwrap(), "hi");
        let media = Media::default();
        assert_eq!(field(&Content::Image { media }), "media");
        let reaction = Reaction { message_id: "1".into(), emoji: "👍".into() };
        assert_eq!(field(&Content::Reaction { reaction }), "reaction");
        assert_eq!(field(&Content::Contacts { contacts: Vec::new() }), "contacts");
        assert_eq!(field(&Content::Unsupported { raw: serde_json::Value::Null }), "type");
    }
}
