//! Times as providers write them. A time that cannot be read is `None`: the event that contains it
//! is kept without one.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::value::RawValue;

use crate::raw::{fit, text_or_number};

/// From this number on, a time is in milliseconds: in seconds it is the year 5138, in milliseconds
/// it is 1973.
const FIRST_MILLISECOND: u64 = 100_000_000_000;

/// Reads RFC 3339, also with an offset without a colon, such as `2025-01-01T10:10:00.000+0000`.
#[must_use]
pub fn rfc3339(raw: Option<&RawValue>) -> Option<Timestamp> {
    fit::<String>(raw)?.parse().ok()
}

/// Parses RFC 2822, such as `Fri, 20 Nov 2026 12:00:00 +0000`.
#[must_use]
pub fn parse_rfc2822(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// Reads whole seconds since the Unix epoch, as a number or as text.
#[must_use]
pub fn seconds(raw: Option<&RawValue>) -> Option<Timestamp> {
    Timestamp::from_second(number(raw)?).ok()
}

/// Reads milliseconds since the Unix epoch, as a number or as text.
#[must_use]
pub fn milliseconds(raw: Option<&RawValue>) -> Option<Timestamp> {
    Timestamp::from_millisecond(number(raw)?).ok()
}

/// Reads seconds or milliseconds since the Unix epoch, whichever is plausible, as a number or as
/// text.
#[must_use]
pub fn seconds_or_milliseconds(raw: Option<&RawValue>) -> Option<Timestamp> {
    from_seconds_or_milliseconds(number(raw)?)
}

/// Returns the time of a number of seconds or milliseconds since the Unix epoch, whichever is
/// plausible.
#[must_use]
pub fn from_seconds_or_milliseconds(number: i64) -> Option<Timestamp> {
    let at = if number.unsigned_abs() < FIRST_MILLISECOND {
        Timestamp::from_second(number)
    } else {
        Timestamp::from_millisecond(number)
    };
    at.ok()
}

fn number(raw: Option<&RawValue>) -> Option<i64> {
    text_or_number(raw)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_795_176_000;

    fn read(reader: fn(Option<&RawValue>) -> Option<Timestamp>, json: &str) -> Option<i64> {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        assert_eq!(reader(None), None);
        reader(Some(&raw)).map(Timestamp::as_millisecond)
    }

    #[test]
    fn a_number_of_seconds_or_milliseconds_is_read_as_a_number_or_as_text() {
        let milliseconds_at_noon = NOON * 1000;
        for quote in ["", "\""] {
            let second = format!("{quote}{NOON}{quote}");
            let millisecond = format!("{quote}{milliseconds_at_noon}{quote}");
            let noon = Some(milliseconds_at_noon);
            assert_eq!(read(seconds, &second), noon);
            assert_eq!(read(milliseconds, &millisecond), noon);
            assert_eq!(read(seconds_or_milliseconds, &second), noon);
            assert_eq!(read(seconds_or_milliseconds, &millisecond), noon);
        }
        for bad in ["null", "true", "[]", "{}", "\"\"", "\"soon\"", "1e3", "9223372036854775807"] {
            for reader in [seconds, milliseconds, seconds_or_milliseconds] {
                assert_eq!(read(reader, bad), None, "{bad}");
            }
        }
        assert_eq!(read(seconds_or_milliseconds, "-1"), Some(-1000));
    }

    #[test]
    fn dates_are_read_with_any_offset() {
        let noon = Some(NOON * 1000);
        for date in ["2026-11-20T12:00:00Z", "2026-11-20T13:00:00.000+0100", "2026-11-20 12:00:00Z"]
        {
            assert_eq!(read(rfc3339, &format!("\"{date}\"")), noon, "{date}");
        }
        assert_eq!(read(rfc3339, "\"2026-11-20\""), None);
        assert_eq!(read(rfc3339, &NOON.to_string()), None);
        let at = |text| parse_rfc2822(text).map(Timestamp::as_millisecond);
        assert_eq!(at("Fri, 20 Nov 2026 12:00:00 +0000"), noon);
        assert_eq!(at("Fri, 20 Nov 2026 07:00:00 -0500"), noon);
        assert_eq!(at("2026-11-20T12:00:00Z"), None);
    }
}
