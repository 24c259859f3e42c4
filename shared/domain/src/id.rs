//! Ids: a prefix that states the type, and a ULID.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

/// The text is not an id of the expected type.
#[derive(Debug, thiserror::Error)]
#[error("expected an id such as {0}01J9ZQ4J9T0000000000000000")]
pub struct InvalidId(
    /// The prefix of ids of the expected type.
    pub &'static str,
);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// The prefix of every id of this type.
            pub const PREFIX: &'static str = $prefix;

            /// Creates an id from the time `now` and 80 random bits.
            #[must_use]
            pub fn new(now: Timestamp, random: u128) -> Self {
                Self(Ulid::from_parts(millis(now), random))
            }

            /// Derives the id from `parts`; it sorts by `at`.
            ///
            /// The same parts at the same time give the same id, so that a repeated event is
            /// written to the same item.
            #[must_use]
            pub fn derived_at(at: Timestamp, parts: &[&str]) -> Self {
                Self(Ulid::from_parts(millis(at), hash(parts)))
            }

            /// Derives the id from `parts`, independent of time.
            #[must_use]
            pub fn derived(parts: &[&str]) -> Self {
                Self(Ulid(hash(parts)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let ulid = text.strip_prefix($prefix).ok_or(InvalidId($prefix))?;
                Ulid::from_string(ulid).map(Self).map_err(|_| InvalidId($prefix))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": concat!("^", $prefix, "[0-9A-HJKMNP-TV-Z]{26}$"),
                })
            }
        }
    };
}

id!(
    /// The id of a message.
    MessageId, "msg_"
);
id!(
    /// The id of a conversation.
    ConversationId, "conv_"
);
id!(
    /// The id of a contact: a customer.
    ContactId, "ct_"
);
id!(
    /// The id of an integration.
    IntegrationId, "int_"
);
id!(
    /// The id of an API key.
    KeyId, "key_"
);
id!(
    /// The id of a record in the audit log.
    AuditId, "aud_"
);
id!(
    /// The id of a notification; the same for every delivery attempt.
    NotificationId, "ntf_"
);

id!(
    /// The id of an event; the same for every redelivery.
    EventId, "evt_"
);
id!(
    /// The id of a replay.
    ReplayId, "replay_"
);
id!(
    /// The id of a job.
    JobId, "job_"
);

impl JobId {
    /// Derives the job id from the id of its message.
    #[must_use]
    pub const fn of(message: MessageId) -> Self {
        Self(message.0)
    }

    /// Returns the id of the job's message.
    #[must_use]
    pub const fn message(self) -> MessageId {
        MessageId(self.0)
    }
}

fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

/// Returns 128 bits that depend on every part and on the boundaries between them.
pub(crate) fn hash(parts: &[&str]) -> u128 {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    u128::from_be_bytes(bytes)
}

/// The id of a tenant. Everything that belongs to a tenant is isolated from other tenants by it.
///
/// 1 to 63 of `a-z`, `0-9`, `-` and `_`, beginning with a letter or digit. It is part of keys and
/// secret names, so no other characters are allowed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TenantId(String);

impl TenantId {
    /// Returns the id of the operator of the hub, who owns the provider apps that serve many
    /// tenants.
    #[must_use]
    pub fn platform() -> Self {
        Self("platform".to_owned())
    }

    /// Whether this is the id of the operator of the hub.
    #[must_use]
    pub fn is_platform(&self) -> bool {
        self.0 == "platform"
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a valid tenant id.
#[derive(Debug, thiserror::Error)]
#[error("a tenant id must be 1 to 63 of a-z, 0-9, - and _, and begin with a letter or digit")]
pub struct InvalidTenantId;

impl FromStr for TenantId {
    type Err = InvalidTenantId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let first = text.bytes().next().is_some_and(plain);
        let rest = text.bytes().all(|c| plain(c) || c == b'-' || c == b'_');
        if first && rest && text.len() <= 63 {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidTenantId)
        }
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for TenantId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TenantId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$" })
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_parses_back() {
        let id = MessageId::derived_at(Timestamp::UNIX_EPOCH, &["a", "b"]);
        assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
        assert!(id.to_string().parse::<KeyId>().is_err(), "the prefix states the type");
    }

    #[test]
    fn the_same_parts_give_the_same_id_and_a_moved_boundary_gives_another() {
        let id = ConversationId::derived(&["acme", "whatsapp"]);
        assert_eq!(id, ConversationId::derived(&["acme", "whatsapp"]));
        assert_ne!(id, ConversationId::derived(&["acmew", "hatsapp"]));
    }

    #[test]
    fn a_tenant_id_that_could_break_tenant_isolation_is_refused() {
        for bad in ["", "A", "a#b", "a/b", "-a", "a b", &"a".repeat(64)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad}");
        }
        assert!("acme-2_x".parse::<TenantId>().is_ok());
    }
}
