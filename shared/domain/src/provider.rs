//! The companies whose webhooks we take and through whom we send.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Calls the macro `$then` with every provider, in the order of the documentation: what it is,
/// its variant, its name in URLs, folders, queues and keys, and the channels on which the hub
/// talks through it: none if it only takes its events.
///
/// The one list of providers: whoever needs one item a provider is called with it.
#[macro_export]
macro_rules! for_each_provider {
    ($then:ident) => {
        $then! {
            /// Meta's WhatsApp Cloud API.
            Whatsapp whatsapp [Channel::Whatsapp],
            /// The Telegram Bot API.
            Telegram telegram [Channel::Telegram],
            /// The Evolution API, which carries WhatsApp.
            Evolution evolution [Channel::Whatsapp],
            /// GoHighLevel, also known as LeadConnector.
            Ghl ghl [],
            /// n8n's workflows.
            N8n n8n [],
            /// Twilio: SMS, voice and WhatsApp.
            Twilio twilio [Channel::Sms, Channel::Whatsapp, Channel::Voice],
            /// Infobip, which carries WhatsApp.
            Infobip infobip [Channel::Whatsapp],
            /// Twilio SendGrid.
            Sendgrid sendgrid [],
            /// Mailgun.
            Mailgun mailgun [],
            /// Resend.
            Resend resend [],
            /// Amazon SES, by way of SNS.
            Ses ses [],
            /// Stripe.
            Stripe stripe [],
            /// Shopify.
            Shopify shopify [],
            /// Facebook's Pages and Instagram.
            Facebook facebook [],
            /// X, which was Twitter.
            Twitter twitter [],
            /// LinkedIn.
            Linkedin linkedin [],
            /// TikTok.
            Tiktok tiktok [],
            /// Whatever speaks a scheme its integration declares.
            Custom custom [Channel::Whatsapp],
        }
    };
}

macro_rules! provider {
    ($($(#[$doc:meta])* $variant:ident $name:ident $channels:expr,)*) => {
        /// A company whose webhooks we take, or through whom we send.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
            JsonSchema,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum Provider {
            $($(#[$doc])* $variant,)*
        }

        impl Provider {
            /// Every provider, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in URLs, folders, queues and keys.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)*
                }
            }

            /// The channels its messages travel on; none if the hub does not talk through it,
            /// but only takes its events.
            #[must_use]
            pub const fn channels(self) -> &'static [Channel] {
                match self {
                    $(Self::$variant => &$channels,)*
                }
            }
        }
    };
}

for_each_provider!(provider);

impl Provider {
    /// Whether messages on `channel` can leave through it.
    #[must_use]
    pub fn carries(self, channel: Channel) -> bool {
        self.channels().contains(&channel)
    }

    /// The environment variable with the address of its sender's queue.
    #[must_use]
    pub fn queue_variable(self) -> String {
        format!("OUTBOUND_{}_QUEUE_URL", self.as_str().to_uppercase())
    }

    /// The providers through whom the hub sends.
    pub fn senders() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|provider| !provider.channels().is_empty())
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is no provider of ours.
#[derive(Debug, thiserror::Error)]
#[error("unknown provider; known are: {}", Provider::ALL.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", "))]
pub struct UnknownProvider;

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|p| p.as_str() == name).ok_or(UnknownProvider)
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
    /// Text messages of the telephone network, with and without files.
    Sms,
    /// Telephone calls.
    Voice,
}

impl Channel {
    /// The name in the API and in keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Telegram => "telegram",
            Self::Sms => "sms",
            Self::Voice => "voice",
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
            Self::Telegram | Self::Sms | Self::Voice => None,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_providers_name_is_the_same_in_urls_and_in_json() {
        for provider in Provider::ALL {
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.as_str());
            assert_eq!(provider.as_str().parse::<Provider>().unwrap(), *provider);
        }
    }
}
