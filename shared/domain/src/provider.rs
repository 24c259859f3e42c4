//! Providers and channels.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

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
            WhatsappCloud whatsapp_cloud [Channel::Whatsapp],
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
            X x [],
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
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema,
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

    /// Whether messages can fail over from `self` to `other`, which is only possible within a
    /// channel.
    #[must_use]
    pub fn shares_channel_with(self, other: Self) -> bool {
        self.channels().iter().any(|channel| other.supports(*channel))
    }

    /// The name in functions and queues: that of the webhook's path, because `whatsapp_cloud` has
    /// an underscore, which names of functions do not have.
    #[must_use]
    pub const fn resource_name(self) -> &'static str {
        match self {
            Self::WhatsappCloud => "whatsapp",
            other => other.as_str(),
        }
    }

    /// Returns the URL of its sender's queue. `prefix` is the URL up to the provider's name, which
    /// all outbound queues have in common.
    #[must_use]
    pub fn outbound_queue_url(self, prefix: &str) -> String {
        format!("{prefix}{}.fifo", self.resource_name())
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

    /// Other names that a provider is known by are accepted, too.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let name = match name {
            "whatsapp" | "meta" => "whatsapp_cloud",
            "twitter" => "x",
            name => name,
        };
        Self::ALL.iter().copied().find(|p| p.as_str() == name).ok_or(UnknownProvider)
    }
}

impl<'de> Deserialize<'de> for Provider {
    /// As [`Provider::from_str`], so that other names are accepted in JSON, too.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        name.parse().map_err(de::Error::custom)
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

    /// Whether the addresses of customers are phone numbers.
    #[must_use]
    pub const fn uses_phone_numbers(self) -> bool {
        match self {
            Self::Whatsapp | Self::Sms | Self::Voice => true,
            Self::Telegram => false,
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
    fn messages_fail_over_only_within_a_channel() {
        assert!(Provider::Twilio.shares_channel_with(Provider::Infobip));
        assert!(Provider::Telegram.shares_channel_with(Provider::Telegram));
        assert!(!Provider::Telegram.shares_channel_with(Provider::Twilio));
        assert!(!Provider::Stripe.shares_channel_with(Provider::Stripe));
    }

    #[test]
    fn a_providers_name_is_the_same_in_urls_and_json() {
        for provider in Provider::ALL {
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.as_str());
            assert_eq!(provider.as_str().parse::<Provider>().unwrap(), *provider);
        }
    }

    #[test]
    fn other_names_of_a_provider_are_accepted_as_text_and_in_json() {
        let cloud = Provider::WhatsappCloud;
        for (name, provider) in [("whatsapp", cloud), ("meta", cloud), ("twitter", Provider::X)] {
            assert_eq!(name.parse::<Provider>().unwrap(), provider);
            let json = serde_json::Value::from(name);
            assert_eq!(serde_json::from_value::<Provider>(json).unwrap(), provider);
        }
        assert_eq!(serde_json::to_value(cloud).unwrap(), "whatsapp_cloud");
        let prefix = "https://sqs.eu-central-1.amazonaws.com/123456789012/hub-outbound-";
        assert_eq!(cloud.outbound_queue_url(prefix), format!("{prefix}whatsapp.fifo"));
    }
}
