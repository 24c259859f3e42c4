//! Addresses of customers: phone numbers in E.164, and other identities.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::provider::Channel;

/// The number of digits of a phone number, country code included. E.164 allows at most 15; the
/// shortest numbers in use have 6.
const LENGTH: RangeInclusive<usize> = 6..=15;

/// A phone number in E.164: the country code and the number in it.
///
/// It displays with `+`. It parses from any notation: with `+`, `00` or neither before the country
/// code, and with spaces and punctuation.
///
/// <https://www.itu.int/rec/T-REC-E.164>
///
/// ```
/// use domain::address::E164;
///
/// let number: E164 = "001 (555) 123-45.67".parse()?;
/// assert_eq!(number.to_string(), "+15551234567");
/// assert_eq!(number.digits(), "15551234567");
/// # Ok::<(), domain::address::InvalidNumber>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct E164(String);

/// The text is not a phone number with a country code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an E.164 phone number such as +15551234567")]
pub struct InvalidNumber;

impl E164 {
    /// Returns the country code and the number, in digits only.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl FromStr for E164 {
    type Err = InvalidNumber;

    fn from_str(text: &str) -> Result<Self, InvalidNumber> {
        let digits = digits(text).ok_or(InvalidNumber)?;
        // The prefix for calls abroad, in most countries: it stands for the `+`.
        let number = digits.strip_prefix("00").unwrap_or(&digits);
        // No country code begins with a 0.
        if LENGTH.contains(&number.len()) && !number.starts_with('0') {
            Ok(Self(number.to_owned()))
        } else {
            Err(InvalidNumber)
        }
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

/// What a conversation is with, on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A phone number: the same person on every channel that uses phone numbers.
    Phone(E164),
    /// Another identity, which only its own channel knows: a chat id, a group's id, a short code, a
    /// number without a country code.
    Identity(String),
}

impl Address {
    /// Reads an address on `channel`, in any notation.
    #[must_use]
    pub fn on(channel: Channel, text: &str) -> Self {
        let number = if channel.uses_phone_numbers() { Self::phone(text) } else { None };
        number.unwrap_or_else(|| Self::Identity(text.to_owned()))
    }

    /// Reads a phone number in any notation; `None` if the text is not one. A number that begins
    /// with a single 0 is an identity, in digits: its country is not known.
    #[must_use]
    pub fn phone(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Some(Self::Phone(number));
        }
        digits(text).filter(|digits| LENGTH.contains(&digits.len())).map(Self::Identity)
    }

    /// Returns the digits of a phone number, without `+`; another identity unchanged.
    #[must_use]
    pub fn without_plus(&self) -> &str {
        match self {
            Self::Phone(number) => number.digits(),
            Self::Identity(identity) => identity,
        }
    }
}

/// Returns a number without its punctuation; `None` if anything but digits is left.
fn digits(text: &str) -> Option<String> {
    let is_punctuation = |c: &char| matches!(c, '+' | ' ' | '-' | '(' | ')' | '.');
    let digits: String = text.trim().chars().filter(|c| !is_punctuation(c)).collect();
    digits.bytes().all(|c| c.is_ascii_digit()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_of_a_phone_number_is_the_same_number() {
        for text in [
            "+491555000999",
            "491555000999",
            "00491555000999",
            "+49 (155) 500-09.99",
            " 0049 155500 0999 ",
        ] {
            let number: E164 = text.parse().unwrap();
            assert_eq!(number.digits(), "491555000999", "{text}");
            assert_eq!(number.to_string(), "+491555000999", "{text}");
            assert_eq!(number.to_string().parse(), Ok(number), "{text}");
        }
    }

    #[test]
    fn a_text_without_a_country_code_and_6_to_15_digits_is_not_in_e164() {
        for text in ["", "+", "12345", "0012345", "1234567890123456", "015550009999", "000123456"] {
            assert_eq!(text.parse::<E164>(), Err(InvalidNumber), "{text}");
        }
        for text in ["a@example.com", "49155x", "4915550009999@lid", "٤٩١٥٥٥٠٠٠٩٩٩"] {
            assert_eq!(text.parse::<E164>(), Err(InvalidNumber), "{text}");
            assert_eq!(Address::phone(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_without_a_country_code_is_an_identity_in_digits() {
        let national = Address::phone("0155 500-09.99").unwrap();
        assert_eq!(national, Address::Identity("01555000999".to_owned()));
        assert_eq!(national.without_plus(), "01555000999");
    }

    #[test]
    fn digits_are_a_phone_number_only_on_channels_that_use_phone_numbers() {
        let number = Address::Phone("15551234567".parse().unwrap());
        for channel in [Channel::Whatsapp, Channel::Sms, Channel::Voice] {
            assert_eq!(Address::on(channel, "+15551234567"), number, "{channel}");
        }
        let chat = Address::on(Channel::Telegram, "15551234567");
        assert_eq!(chat, Address::Identity("15551234567".to_owned()));
        for group in ["120363025246125486@g.us", "Y2FwaV9ncm91cDo"] {
            let address = Address::on(Channel::Whatsapp, group);
            assert_eq!(address.without_plus(), group);
        }
    }
}
