//! Segments of an SMS, which is what networks transport and providers charge for.
//!
//! An SMS has 140 octets: 160 characters of GSM's own alphabet with 7 bits each, or 70 UTF-16 code
//! units. Each part of a longer text gives up 6 octets for a header, which leaves 153 or 67.
//! Sources: 3GPP TS 23.038, sections 6.2.1 and 6.2.3 (the alphabet and its extension table), and
//! 3GPP TS 23.040, section 9.2.3.24.1 (the header of a part).
//!
//! A provider that limits the length of an SMS itself, in characters, is checked with that limit;
//! this module is for those that limit or charge segments.

/// Alphabet that a text is encoded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// GSM's default alphabet with its extension table: 7 bits a unit.
    Gsm7,
    /// UTF-16, of which networks say UCS-2: 16 bits a unit.
    Ucs2,
}

impl Encoding {
    /// Returns the units that fit into a text of one segment.
    const fn single(self) -> usize {
        match self {
            Self::Gsm7 => 160,
            Self::Ucs2 => 70,
        }
    }

    /// Returns the units that fit into each segment of a longer text.
    const fn part(self) -> usize {
        match self {
            Self::Gsm7 => 153,
            Self::Ucs2 => 67,
        }
    }

    /// Returns the units of a character, which stay in one segment.
    fn units(self, character: char) -> usize {
        match self {
            // A character of the extension table follows an escape.
            Self::Gsm7 => 1 + usize::from(is_extended(character)),
            Self::Ucs2 => character.len_utf16(),
        }
    }
}

/// Encoding and size of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// The alphabet: GSM's, if it has every character.
    pub encoding: Encoding,
    /// Number of units of that alphabet: septets, or UTF-16 code units.
    pub units: usize,
    /// Number of segments. An empty text has one.
    pub count: usize,
}

/// Returns the segments of `text`. No character is split between two: neither an escape and the
/// character after it, nor a surrogate pair.
#[must_use]
pub fn segments(text: &str) -> Segments {
    let is_gsm = text.chars().all(|character| is_basic(character) || is_extended(character));
    let encoding = if is_gsm { Encoding::Gsm7 } else { Encoding::Ucs2 };
    let units = text.chars().map(|character| encoding.units(character)).sum();
    let count = if units <= encoding.single() { 1 } else { parts(text, encoding) };
    Segments { encoding, units, count }
}

/// Returns the number of segments of a text that does not fit into one.
fn parts(text: &str, encoding: Encoding) -> usize {
    let (mut count, mut left) = (0, 0);
    for character in text.chars() {
        let units = encoding.units(character);
        if units > left {
            count += 1;
            left = encoding.part();
        }
        left -= units;
    }
    count
}

/// Whether GSM's default alphabet has the character.
fn is_basic(character: char) -> bool {
    matches!(character, ' '..='#' | '%'..='?' | 'A'..='Z' | 'a'..='z' | '\n' | '\r')
        || "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà".contains(character)
}

/// Whether the alphabet's extension table has the character.
fn is_extended(character: char) -> bool {
    matches!(character, '\u{c}' | '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' | '€')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> (Encoding, usize, usize) {
        let Segments { encoding, units, count } = segments(text);
        (encoding, units, count)
    }

    #[test]
    fn the_default_alphabet_has_127_characters_and_its_extension_10() {
        let count = |has: fn(char) -> bool| ('\0'..=char::MAX).filter(|c| has(*c)).count();
        // 128 codes, one of which is the escape.
        assert_eq!((count(is_basic), count(is_extended)), (127, 10));
        assert!(!('\0'..=char::MAX).any(|c| is_basic(c) && is_extended(c)));
    }

    #[test]
    fn a_text_has_one_segment_up_to_160_septets_and_then_one_for_each_153() {
        assert_eq!(of(""), (Encoding::Gsm7, 0, 1));
        assert_eq!(of(&"a".repeat(160)), (Encoding::Gsm7, 160, 1));
        assert_eq!(of(&"ä".repeat(161)), (Encoding::Gsm7, 161, 2));
        assert_eq!(of(&"a".repeat(306)), (Encoding::Gsm7, 306, 2));
        assert_eq!(of(&"a".repeat(307)), (Encoding::Gsm7, 307, 3));
    }

    #[test]
    fn a_character_of_the_extension_table_takes_two_septets_which_are_never_split() {
        assert_eq!(of(&"€".repeat(80)), (Encoding::Gsm7, 160, 1));
        // 76 fit into the 153 septets of a segment, of which one stays empty.
        assert_eq!(of(&"€".repeat(152)), (Encoding::Gsm7, 304, 2));
        assert_eq!(of(&"€".repeat(153)), (Encoding::Gsm7, 306, 3));
    }

    #[test]
    fn any_other_character_makes_the_text_ucs_2_and_a_surrogate_pair_is_never_split() {
        assert_eq!(of(&"ç".repeat(70)), (Encoding::Ucs2, 70, 1));
        assert_eq!(of(&"ç".repeat(71)), (Encoding::Ucs2, 71, 2));
        assert_eq!(of(&"ç".repeat(135)), (Encoding::Ucs2, 135, 3));
        assert_eq!(of(&"👍".repeat(35)), (Encoding::Ucs2, 70, 1));
        // 33 fit into the 67 units of a segment, of which one stays empty.
        assert_eq!(of(&"👍".repeat(66)), (Encoding::Ucs2, 132, 2));
        assert_eq!(of(&"👍".repeat(67)), (Encoding::Ucs2, 134, 3));
        assert_eq!(of("`"), (Encoding::Ucs2, 1, 1));
    }

    /// Texts of GSM's alphabet, with many characters of its extension table.
    fn gsm_text() -> impl Strategy<Value = String> {
        "[a-z€\\[\\]ÄΩ\n]{0,700}"
    }

    proptest! {
        #[test]
        fn units_are_those_of_the_encoding(text in "\\PC{0,300}") {
            let Segments { encoding, units, .. } = segments(&text);
            match encoding {
                Encoding::Gsm7 => {
                    let extended = text.chars().filter(|c| is_extended(*c)).count();
                    prop_assert_eq!(units, text.chars().count() + extended);
                }
                Encoding::Ucs2 => prop_assert_eq!(units, text.encode_utf16().count()),
            }
        }

        #[test]
        fn segments_are_as_few_as_whole_characters_allow(
            text in prop_oneof![gsm_text(), "[aç👍]{0,300}"],
        ) {
            let Segments { encoding, units, count } = segments(&text);
            let (single, part) = (encoding.single(), encoding.part());
            prop_assert_eq!(count == 1, units <= single);
            if count > 1 {
                prop_assert!(count >= units.div_ceil(part));
                // Each segment but the last leaves at most one unit empty.
                prop_assert!(count <= units.div_ceil(part - 1));
            }
        }

        #[test]
        fn a_longer_text_never_has_fewer_segments(text in gsm_text(), more in "[a€ç👍]") {
            let longer = segments(&[text.as_str(), &more].concat());
            prop_assert!(longer.count >= segments(&text).count);
        }
    }
}
