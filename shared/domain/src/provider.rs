//! The companies whose webhooks we take and through whom we send.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A company whose webhooks we take, or through whom we send.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Meta's WhatsApp Cloud API.
    Whatsapp,
    /// The Telegram Bot API.
    Telegram,
}

impl Provider {
    /// Every provider, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::Whatsapp, Self::Telegram];

    /// The name in URLs, folders, queues and keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Telegram => "telegram",
        }
    }

    /// The channel its messages travel on.
    #[must_use]
    pub const fn channel(self) -> Channel {
        match self {
            Self::Whatsapp => Channel::Whatsapp,
            Self::Telegram => Channel::Telegram,
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is no provider of ours.
#[derive(Debug, thiserror::Error)]
#[error("unknown provider; known are: whatsapp, telegram")]
pub struct UnknownProvider;

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|p| p.as_str() == name).ok_or(UnknownProvider)
    }
}

/// What a person uses to talk to us. Several providers may carry one channel.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// WhatsApp, whoever carries it.
    Whatsapp,
    /// Telegram.
    Telegram,
}

impl Channel {
    /// The name in the API and in keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Telegram => "telegram",
        }
    }

    /// How long after a person's last message we may send freely; `None` if always.
    ///
    /// WhatsApp: 24 hours, then only templates.
    /// <https://developers.facebook.com/docs/whatsapp/cloud-api/guides/send-messages#customer-service-windows>
    #[must_use]
    pub const fn service_window(self) -> Option<std::time::Duration> {
        match self {
            Self::Whatsapp => Some(std::time::Duration::from_hours(24)),
            Self::Telegram => None,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
