//! Customer addresses in formats that several providers use.

use domain::address::Address;
use domain::sender::SendError;

use crate::http::invalid;

/// Returns a phone number in digits, as most providers write it in webhooks: the country code and
/// the number. One without a country code is accepted, too, because some providers may know it.
///
/// # Errors
/// [`SendError::Invalid`] for the field `to`.
pub(crate) fn phone_number(to: &str) -> Result<String, SendError> {
    match Address::phone(to) {
        Some(number) => Ok(number.without_plus().to_owned()),
        None => {
            Err(invalid("to", "must be a phone number with country code, such as +16505551234"))
        }
    }
}

/// Whether the text is a phone number in digits already.
pub(crate) fn is_number(text: &str) -> bool {
    (6..=15).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_of_a_phone_number_gives_the_same_digits() {
        for to in ["+49 (155) 500-09.99", "49155500 0999", " 491555000999 ", "0049 1555000999"] {
            assert_eq!(phone_number(to).unwrap(), "491555000999", "{to}");
        }
        assert_eq!(phone_number("0155 500-0999").unwrap(), "01555000999");
        for to in ["", "12345", "1234567890123456", "a@example.com", "49155x"] {
            assert!(
                matches!(phone_number(to), Err(SendError::Invalid { field: "to", .. })),
                "{to}"
            );
        }
    }
}
