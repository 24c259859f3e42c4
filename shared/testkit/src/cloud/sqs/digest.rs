//! MD5 digests of messages, with which a sender can check what SQS received.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html#sqs-attributes-md5-message-digest-calculation>

use std::collections::BTreeMap;

use md5::{Digest as _, Md5};

use super::entry::{Attribute, Content};

/// The digest of a body.
pub(super) fn of_body(body: &str) -> String {
    hex::encode(Md5::digest(body.as_bytes()))
}

/// The digest of attributes, in the order of their names; `None` if there are none.
pub(super) fn of_attributes<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a Attribute)>,
) -> Option<String> {
    let attributes: BTreeMap<_, _> = attributes.into_iter().collect();
    if attributes.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    for (name, attribute) in attributes {
        add(&mut digest, name.as_bytes());
        add(&mut digest, attribute.data_type.as_bytes());
        match &attribute.content {
            Content::Text(text) => {
                digest.update([1]);
                add(&mut digest, text.as_bytes());
            }
            Content::Binary(bytes) => {
                digest.update([2]);
                add(&mut digest, bytes);
            }
        }
    }
    Some(hex::encode(digest.finalize()))
}

/// Adds a part, preceded by its length.
fn add(digest: &mut Md5, part: &[u8]) {
    digest.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    digest.update(part);
}
