//! Addresses of people, as several providers write them.

use domain::sender::SendError;

use crate::http::invalid;

/// A telephone number in the one form that the hub keeps: digits with the country's code, and
/// nothing else. E.164 has 15 at most.
///
/// # Errors
/// [`SendError::Invalid`] for the field `to`.
pub(crate) fn telephone(to: &str) -> Result<String, SendError> {
    let number: String =
        to.trim().chars().filter(|c| !matches!(c, '+' | ' ' | '-' | '(' | ')' | '.')).collect();
    if is_number(&number) {
        return Ok(number);
    }
    Err(invalid("to", "must be a telephone number with the country's code, such as 16505551234"))
}

/// Whether a text is such a number already.
pub(crate) fn is_number(text: &str) -> bool {
    (6..=15).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_number_is_one_number() {
        for to in ["+49 (155) 500-09.99", "49155500 0999", " 491555000999 "] {
            assert_eq!(telephone(to).unwrap(), "491555000999", "{to}");
        }
        for to in ["", "12345", "1234567890123456", "a@example.com", "49155x"] {
            assert!(matches!(telephone(to), Err(SendError::Invalid { field: "to", .. })), "{to}");
        }
    }
}
