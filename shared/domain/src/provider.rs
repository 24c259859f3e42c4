//! Providers and channels.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Calls the macro `$then` with every provider, in the order of the documentation: a description,
/// the variant, the name in URLs, folders, queues and keys, and the channels on which the hub sends
/// and receives messages through it: none if the hub only receives its events.
///
/// This is the only list of providers; code with one item per provider is generated from it.
#[macro_export]
macro_rules! for_each_provider {
    ($then:ident) => {
        $then! {
            /// The WhatsApp Cloud API of Meta.
            Whatsapp whatsapp [Channel::Whatsapp],
            /// The Telegram Bot API.
            Telegram telegram [Channel::Telegram],
            /// The Evolution API: WhatsApp.
            Evolution evolution [Channel::Whatsapp],
            /// GoHighLevel, also known as LeadConnector.
            Ghl ghl [],
            /// Workflows in n8n.
            N8n n8n [],
            /// Twilio: SMS, voice and WhatsApp.
            Twilio twilio [Channel::Sms, Channel::Whatsapp, Channel::Voice],
            /// Infobip: WhatsApp.
            Infobip infobip [Channel::Whatsapp],
            /// Twilio SendGrid.
            Sendgrid sendgrid [],
            /// Mailgun.
            Mailgun mailgun [],
            /// Resend.
            Resend resend [],
            /// Amazon SES, through SNS.
            Ses ses [],
            /// Stripe.
            Stripe stripe [],
            /// Shopify.
            Shopify shopify [],
            /// Facebook Pages and Instagram.
            Facebook facebook [],
            /// X, formerly Twitter.
            Twitter twitter [],
            /// LinkedIn.
            Linkedin linkedin [],
            /// TikTok.
            Tiktok tiktok [],
            /// A custom webhook, with the authentication scheme that its integration declares.
            Custom custom [Channel::Whatsapp],
        }
    };
}

macro_rules! provider {
    ($($(#[$doc:meta])* $variant:ident $name:ident $channels:expr,)*) => {
        /// A provider: a service that sends webhooks to the hub or through which the hub sends.
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

            /// Returns the name used in URLs, folders, queues and keys.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)*
                }
            }

            /// Returns the channels of its messages; none if the hub only receives events from it.
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
    /// Whether messages on `channel` can be sent through it.
    #[must_use]
    pub fn supports(self, channel: Channel) -> bool {
        self.channels().contains(&channel)
    }

    /// Returns the name of the environment variable with the URL of its sender's queue.
    #[must_use]
    pub fn queue_variable(self) -> String {
        format!("OUTBOUND_{}_QUEUE_URL", self.as_str().to_uppercase())
    }

    /// Returns the providers through which the hub sends.
    pub fn senders() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|provider| !provider.channels().is_empty())
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is not the name of a provider.
#[derive(Debug, thiserror::Error)]
#[error("unknown provider; must be one of: {}", Provider::ALL.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", "))]
pub struct UnknownProvider;

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|p| p.as_str() == name).ok_or(UnknownProvider)
    }
}

/// A channel: the service that a customer uses to exchange messages. Several providers may offer
/// it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// WhatsApp, through any provider.
    Whatsapp,
    /// Telegram.
    Telegram,
    /// SMS and MMS.
    Sms,
    /// Phone calls.
    Voice,
}

impl Channel {
    /// Returns the name used in the API and in keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Telegram => "telegram",
            Self::Sms => "sms",
            Self::Voice => "voice",
        }
    }

    /// Returns the service window: how long after a customer's last message any content may be
    /// sent;
    /// `None` if always.
    ///
    /// WhatsApp: 24 hours, then only message templates.
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
    fn a_providers_name_is_the_same_in_urls_and_json() {
        for provider in Provider::ALL {
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.as_str());
            assert_eq!(provider.as_str().parse::<Provider>().unwrap(), *provider);
        }
    }
}
