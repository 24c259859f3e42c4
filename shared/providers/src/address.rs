//! Customer addresses in formats that several providers use.

use domain::sender::SendError;

use crate::http::invalid;

/// Normalizes a phone number to the format that the hub stores: digits with the country code, and
/// nothing else. E.164 allows at most 15.
///
/// # Errors
/// [`SendError::Invalid`] for the field `to`.
pub(crate) fn phone_number(to: &str) -> Result<String, SendError> {
    let number: String =
        to.trim().chars().filter(|c| !matches!(c, '+' | ' ' | '-' | '(' | ')' | '.')).collect();
    if is_number(&number) {
        return Ok(number);
    }
    Err(invalid("to", "must be a phone number with country code, such as +16505551234"))
}

/// Whether the text is a normalized phone number already.
pub(crate) fn is_number(text: &str) -> bool {
    (6..=15).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_of_a_phone_number_gives_the_same_digits() {
        for to in ["+49 (155) 500-09.99", "49155500 0999", " 491555000999 "] {
            assert_eq!(phone_number(to).unwrap(), "491555000999", "{to}");
        }
        for to in ["", "12345", "1234567890123456", "a@example.com", "49155x"] {
            assert!(
                matches!(phone_number(to), Err(SendError::Invalid { field: "to", .. })),
                "{to}"
            );
        }
    }
}
