//! Items: their values in wire format, and their sizes.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::invalid;
use super::number::Number;
use crate::cloud::Refusal;

/// Maximum nesting depth of lists and maps.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html>
const DEEPEST: usize = 32;

/// An item: its attributes by name.
pub type Item = BTreeMap<String, Attribute>;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Text.
    S(String),
    /// A number.
    N(Number),
    /// Bytes.
    B(Vec<u8>),
    /// A Boolean.
    Bool(bool),
    /// Null.
    Null,
    /// A list.
    L(Vec<Attribute>),
    /// A map.
    M(Item),
    /// A set of strings.
    Ss(BTreeSet<String>),
    /// A set of numbers.
    Ns(BTreeSet<Number>),
    /// A set of binary values.
    Bs(BTreeSet<Vec<u8>>),
}

impl Attribute {
    /// The text, if it is a string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::S(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is a whole number in the range.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::N(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The list, if it is a list.
    #[must_use]
    pub fn list(&self) -> Option<&[Attribute]> {
        match self {
            Self::L(list) => Some(list),
            _ => None,
        }
    }

    /// The type's name on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::S(_) => "S",
            Self::N(_) => "N",
            Self::B(_) => "B",
            Self::Bool(_) => "BOOL",
            Self::Null => "NULL",
            Self::L(_) => "L",
            Self::M(_) => "M",
            Self::Ss(_) => "SS",
            Self::Ns(_) => "NS",
            Self::Bs(_) => "BS",
        }
    }

    /// Parses a value in wire format.
    pub(super) fn read(value: &Value) -> Result<Self, Refusal> {
        Self::read_at(value, 0)
    }

    fn read_at(value: &Value, depth: usize) -> Result<Self, Refusal> {
        if depth > DEEPEST {
            return Err(invalid("Nesting Levels have exceeded supported limits"));
        }
        let several = "Supplied AttributeValue has more than one datatypes set, must contain \
                       exactly one of the supported datatypes";
        let none = "Supplied AttributeValue is empty, must contain exactly one of the supported \
                    datatypes";
        let value = value.as_object().ok_or_else(|| invalid(none))?;
        let mut members = value.iter();
        let (kind, content) = members.next().ok_or_else(|| invalid(none))?;
        if members.next().is_some() {
            return Err(invalid(several));
        }
        match (kind.as_str(), content) {
            ("S", Value::String(text)) => Ok(Self::S(text.clone())),
            ("N", Value::String(number)) => Number::read(number).map(Self::N),
            ("B", Value::String(bytes)) => decode(bytes).map(Self::B),
            ("BOOL", Value::Bool(bool)) => Ok(Self::Bool(*bool)),
            ("NULL", Value::Bool(true)) => Ok(Self::Null),
            ("NULL", Value::Bool(false)) => {
                Err(parameter("Null attribute value types must have the value of true"))
            }
            ("L", Value::Array(list)) => {
                let list = list.iter().map(|element| Self::read_at(element, depth + 1));
                list.collect::<Result<_, _>>().map(Self::L)
            }
            ("M", Value::Object(map)) => read_item_at(map, depth + 1).map(Self::M),
            ("SS", Value::Array(set)) => {
                read_set(set, "An string set  may not be empty", |text| Ok(text.to_owned()))
                    .map(Self::Ss)
            }
            ("NS", Value::Array(set)) => {
                read_set(set, "An number set  may not be empty", Number::read).map(Self::Ns)
            }
            ("BS", Value::Array(set)) => {
                read_set(set, "Binary sets should not be empty", decode).map(Self::Bs)
            }
            _ => Err(Refusal::new(
                "SerializationException",
                format!("Unexpected value type in payload for {kind}"),
            )),
        }
    }

    /// The value in wire format.
    #[must_use]
    pub fn write(&self) -> Value {
        match self {
            Self::S(text) => json!({ "S": text }),
            Self::N(number) => json!({ "N": number.to_string() }),
            Self::B(bytes) => json!({ "B": STANDARD.encode(bytes) }),
            Self::Bool(bool) => json!({ "BOOL": bool }),
            Self::Null => json!({ "NULL": true }),
            Self::L(list) => json!({ "L": list.iter().map(Self::write).collect::<Vec<_>>() }),
            Self::M(map) => json!({ "M": write_item(map) }),
            Self::Ss(set) => json!({ "SS": set }),
            Self::Ns(set) => {
                json!({ "NS": set.iter().map(ToString::to_string).collect::<Vec<_>>() })
            }
            Self::Bs(set) => {
                json!({ "BS": set.iter().map(|bytes| STANDARD.encode(bytes)).collect::<Vec<_>>() })
            }
        }
    }

    /// Size in bytes.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
    pub(super) fn size(&self) -> usize {
        // A list or a map adds three bytes, and one for each of its elements.
        match self {
            Self::S(text) => text.len(),
            Self::N(number) => number.size(),
            Self::B(bytes) => bytes.len(),
            Self::Bool(_) | Self::Null => 1,
            Self::L(list) => 3 + list.iter().map(|element| 1 + element.size()).sum::<usize>(),
            Self::M(map) => 3 + map.len() + size(map),
            Self::Ss(set) => set.iter().map(String::len).sum(),
            Self::Ns(set) => set.iter().map(|number| number.size()).sum(),
            Self::Bs(set) => set.iter().map(Vec::len).sum(),
        }
    }
}

/// Size of an item in bytes: names and values.
pub(super) fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value.size()).sum()
}

/// Parses an item in wire format.
pub(super) fn read_item(value: &Value) -> Result<Item, Refusal> {
    let map = value.as_object().ok_or_else(|| {
        Refusal::new("SerializationException", "An item is not a map of attributes")
    })?;
    read_item_at(map, 0)
}

fn read_item_at(map: &Map<String, Value>, depth: usize) -> Result<Item, Refusal> {
    let read = |(name, value): (&String, &Value)| {
        if name.is_empty() {
            return Err(parameter("Item attribute names must not be empty"));
        }
        Ok((name.clone(), Attribute::read_at(value, depth)?))
    };
    map.iter().map(read).collect()
}

/// The item in wire format.
#[must_use]
pub fn write_item(item: &Item) -> Value {
    let members = item.iter().map(|(name, value)| (name.clone(), value.write()));
    Value::Object(members.collect())
}

/// An error for the invalid value of a parameter.
pub(super) fn parameter(reason: &str) -> Refusal {
    invalid(format!("One or more parameter values were invalid: {reason}"))
}

fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text).map_err(|_| Refusal::new("SerializationException", "not Base64"))
}

fn read_set<T: Ord>(
    set: &[Value],
    empty: &str,
    read: impl Fn(&str) -> Result<T, Refusal>,
) -> Result<BTreeSet<T>, Refusal> {
    if set.is_empty() {
        return Err(parameter(empty));
    }
    let mut elements = BTreeSet::new();
    for element in set {
        let text = element.as_str().ok_or_else(|| {
            Refusal::new("SerializationException", "A set has an element of another type")
        })?;
        if !elements.insert(read(text)?) {
            return Err(parameter("Input collection contains duplicates"));
        }
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Attribute, read_item, size, write_item};

    #[test]
    fn a_parsed_value_is_written_in_the_same_wire_format() {
        let item = json!({
            "s": { "S": "text" },
            "n": { "N": "12.5" },
            "b": { "B": "AAECAw==" },
            "yes": { "BOOL": true },
            "nothing": { "NULL": true },
            "l": { "L": [{ "S": "a" }, { "N": "1" }] },
            "m": { "M": { "x": { "S": "y" } } },
            "ss": { "SS": ["a", "b"] },
            "ns": { "NS": ["1", "2"] },
            "bs": { "BS": ["AA=="] },
        });
        assert_eq!(write_item(&read_item(&item).unwrap()), item);
    }

    #[test]
    fn a_value_has_one_type_and_a_set_has_no_duplicates() {
        for value in [
            json!({}),
            json!({ "S": "a", "N": "1" }),
            json!({ "NULL": false }),
            json!({ "SS": [] }),
            json!({ "SS": ["a", "a"] }),
            json!({ "NS": ["1", "1.0"] }),
            json!({ "N": "one" }),
        ] {
            let refusal = Attribute::read(&value).unwrap_err();
            assert_eq!(refusal.code, "ValidationException", "{value}");
        }
        assert_eq!(Attribute::read(&json!({ "S": 1 })).unwrap_err().code, "SerializationException");
    }

    #[test]
    fn sizes_follow_the_documented_rules() {
        let sized = |value| size(&read_item(&json!({ "name": value })).unwrap()) - "name".len();
        assert_eq!(sized(json!({ "S": "Grüße" })), 7);
        assert_eq!(sized(json!({ "N": "1234" })), 3);
        assert_eq!(sized(json!({ "B": "AAECAw==" })), 4);
        assert_eq!(sized(json!({ "BOOL": true })), 1);
        assert_eq!(sized(json!({ "NULL": true })), 1);
        assert_eq!(sized(json!({ "L": [] })), 3);
        assert_eq!(sized(json!({ "L": [{ "S": "ab" }, { "NULL": true }] })), 8);
        assert_eq!(sized(json!({ "M": { "k": { "S": "ab" } } })), 7);
        assert_eq!(sized(json!({ "SS": ["a", "bc"] })), 3);
        assert_eq!(sized(json!({ "NS": ["1", "123"] })), 5);
    }

    #[test]
    fn a_value_nested_too_deeply_is_refused() {
        let mut value = json!({ "S": "bottom" });
        for _ in 0..40 {
            value = json!({ "L": [value] });
        }
        assert_eq!(Attribute::read(&value).unwrap_err().code, "ValidationException");
    }
}
