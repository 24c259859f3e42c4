//! Numbers: decimals of up to 38 digits.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html#HowItWorks.DataTypes.Number>

use std::cmp::Ordering;
use std::fmt::{self, Display};

use super::invalid;
use crate::cloud::Refusal;

/// Largest number of digits of a number.
const DIGITS: u32 = 38;

/// Largest exponent of ten of a number's first digit.
const LARGEST: i32 = 125;

/// Smallest exponent of ten of a number's first digit.
const SMALLEST: i32 = -130;

/// A decimal in normal form: `digits` times ten to the `exponent`, without trailing zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    negative: bool,
    digits: u128,
    exponent: i32,
}

impl Number {
    const ZERO: Self = Self { negative: false, digits: 0, exponent: 0 };

    /// Parses a number in wire format.
    ///
    /// # Errors
    /// `ValidationException`, if it is not a number, or too large, too small or too precise.
    pub(super) fn read(text: &str) -> Result<Self, Refusal> {
        let no_number =
            || invalid(format!("The parameter cannot be converted to a numeric value: {text}"));
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, power) = match rest.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, power.parse().map_err(|_| no_number())?),
            None => (rest, 0_i32),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
            return Err(no_number());
        }
        let all = format!("{whole}{fraction}");
        let all = all.trim_start_matches('0');
        let significant = all.trim_end_matches('0');
        if significant.is_empty() {
            return Ok(Self::ZERO);
        }
        let count = |part: &str| i32::try_from(part.len()).map_err(|_| no_number());
        let exponent = power - count(fraction)? + count(all)? - count(significant)?;
        if count(significant)? > DIGITS.cast_signed() {
            return Err(too_precise());
        }
        let digits = significant.parse().map_err(|_| no_number())?;
        Self { negative, digits, exponent }.checked()
    }

    /// The sum.
    ///
    /// # Errors
    /// `ValidationException`, if it is too large, too small or too precise.
    pub(super) fn plus(self, other: Self) -> Result<Self, Refusal> {
        let exponent = self.exponent.min(other.exponent);
        let at = |number: Self| {
            let shift = u32::try_from(number.exponent - exponent).ok()?;
            number.digits.checked_mul(10_u128.checked_pow(shift)?)
        };
        if self.digits == 0 {
            return Ok(other);
        }
        if other.digits == 0 {
            return Ok(self);
        }
        let (Some(ours), Some(other_digits)) = (at(self), at(other)) else {
            return Err(too_precise());
        };
        let (negative, digits) = if self.negative == other.negative {
            (self.negative, ours.checked_add(other_digits).ok_or_else(too_precise)?)
        } else if ours >= other_digits {
            (self.negative, ours - other_digits)
        } else {
            (other.negative, other_digits - ours)
        };
        Self { negative, digits, exponent }.trimmed().checked()
    }

    /// The number with the opposite sign.
    pub(super) fn negated(self) -> Self {
        Self { negative: !self.negative && self.digits != 0, ..self }
    }

    /// The value, if it is a whole number in the range.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        let power = 10_i128.checked_pow(u32::try_from(self.exponent).ok()?)?;
        let value = i128::try_from(self.digits).ok()?.checked_mul(power)?;
        i64::try_from(if self.negative { -value } else { value }).ok()
    }

    /// Size in bytes: one for two digits, and one more.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
    pub(super) fn size(self) -> usize {
        usize::try_from(self.count().div_ceil(2)).unwrap_or_default() + 1
    }

    /// Number of digits.
    fn count(self) -> u32 {
        self.digits.checked_ilog10().map_or(0, |log| log + 1)
    }

    fn trimmed(mut self) -> Self {
        if self.digits == 0 {
            return Self::ZERO;
        }
        while self.digits.is_multiple_of(10) {
            self.digits /= 10;
            self.exponent += 1;
        }
        self
    }

    fn checked(self) -> Result<Self, Refusal> {
        if self.count() > DIGITS {
            return Err(too_precise());
        }
        let first = self.exponent + self.count().cast_signed() - 1;
        if self.digits != 0 && first > LARGEST {
            let reason = "Attempting to store a number with magnitude larger than supported range";
            return Err(invalid(format!("Number overflow. {reason}")));
        }
        if self.digits != 0 && first < SMALLEST {
            let reason = "Attempting to store a number with magnitude smaller than supported range";
            return Err(invalid(format!("Number underflow. {reason}")));
        }
        Ok(self)
    }

    /// The exponent of ten of its first digit, and its digits extended to 38.
    fn magnitude(self) -> (i32, u128) {
        if self.digits == 0 {
            return (i32::MIN, 0);
        }
        let count = self.count();
        let missing = DIGITS.saturating_sub(count);
        let digits = self.digits.saturating_mul(10_u128.saturating_pow(missing));
        (self.exponent + count.cast_signed(), digits)
    }
}

fn too_precise() -> Refusal {
    invalid("Attempting to store more than 38 significant digits in a Number")
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self { negative: false, digits: number.into(), exponent: 0 }.trimmed()
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.magnitude().cmp(&other.magnitude()),
            (true, true) => other.magnitude().cmp(&self.magnitude()),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let digits = self.digits.to_string();
        let Ok(places) = usize::try_from(-self.exponent) else {
            let zeros = usize::try_from(self.exponent).unwrap_or_default();
            return write!(formatter, "{sign}{digits}{}", "0".repeat(zeros));
        };
        match digits.split_at_checked(digits.len().wrapping_sub(places)) {
            _ if places == 0 => write!(formatter, "{sign}{digits}"),
            Some((whole, fraction)) if !whole.is_empty() => {
                write!(formatter, "{sign}{whole}.{fraction}")
            }
            _ => write!(formatter, "{sign}0.{digits:0>places$}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Number;

    fn number(text: &str) -> Number {
        Number::read(text).unwrap()
    }

    #[test]
    fn a_number_is_written_in_its_shortest_plain_notation() {
        for (read, written) in [
            ("0", "0"),
            ("-0.00", "0"),
            ("007", "7"),
            ("1.50", "1.5"),
            ("-0.05", "-0.05"),
            ("100", "100"),
            ("1e3", "1000"),
            ("12.5E-3", "0.0125"),
            (".5", "0.5"),
            ("1795176000123", "1795176000123"),
        ] {
            assert_eq!(number(read).to_string(), written);
        }
    }

    #[test]
    fn an_invalid_or_out_of_range_number_is_refused() {
        let digits = |count: usize| "1".repeat(count);
        assert_eq!(number(&digits(38)).to_string(), digits(38));
        for text in ["", "-", ".", "abc", "1,5", "1e", "0x10", "1e126", "1e-131", &digits(39)] {
            assert_eq!(Number::read(text).unwrap_err().code, "ValidationException", "{text}");
        }
    }

    #[test]
    fn numbers_are_ordered_by_value() {
        let order = ["-1e30", "-10", "-9.5", "-0.1", "0", "1e-9", "0.2", "1", "9", "10", "1e30"];
        let numbers = order.map(number);
        assert!(numbers.is_sorted());
        assert_eq!(number("10"), number("1.0e1"));
    }

    #[test]
    fn sums_are_exact_or_refused() {
        for (left, right, sum) in [
            ("1", "2", "3"),
            ("0.1", "0.2", "0.3"),
            ("5", "-7", "-2"),
            ("-5", "5", "0"),
            ("9.5", "0.5", "10"),
            ("1e37", "1", "10000000000000000000000000000000000001"),
        ] {
            assert_eq!(number(left).plus(number(right)).unwrap().to_string(), sum);
            assert_eq!(number(right).plus(number(left)).unwrap().to_string(), sum);
        }
        assert!(number("1e39").plus(number("1")).is_err());
        assert!(number("9e125").plus(number("9e125")).is_err());
    }

    #[test]
    fn a_number_has_one_byte_for_two_digits_and_one_more() {
        let sizes = [("0", 1), ("7", 2), ("42", 2), ("100", 2), ("123", 3), ("1795176000123", 8)];
        for (text, size) in sizes {
            assert_eq!(number(text).size(), size);
        }
    }

    #[test]
    fn whole_numbers_convert_to_integers() {
        assert_eq!(number("-1200").as_i64(), Some(-1200));
        assert_eq!(number("1.5").as_i64(), None);
        assert_eq!(number("1e30").as_i64(), None);
    }
}
