//! Evaluation of condition expressions on an item.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::expression::{Comparator, Condition, Expression, Kind, Operand, Path, Step};
use super::item::{Attribute, Item};
use super::number::Number;
use super::{invalid, not_modelled};
use crate::cloud::Refusal;

/// The type names that `attribute_type` accepts.
const TYPES: [&str; 10] = ["B", "BOOL", "BS", "L", "M", "N", "NS", "NULL", "S", "SS"];

/// The values of the placeholders of a request.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    names: Option<&'a Map<String, Value>>,
    values: BTreeMap<&'a str, Attribute>,
    has_values: bool,
}

impl<'a> Scope<'a> {
    /// Parses a request's `ExpressionAttributeNames` and `ExpressionAttributeValues`.
    pub(super) fn read(request: &'a Value) -> Result<Self, Refusal> {
        let names = members(request, "ExpressionAttributeNames", '#')?;
        if names.is_some_and(|names| names.values().any(|name| !name.is_string())) {
            return Err(Refusal::new("SerializationException", "A name is not a text"));
        }
        let given = members(request, "ExpressionAttributeValues", ':')?;
        let values = given.into_iter().flatten().map(|(name, value)| {
            let value = Attribute::read(value).map_err(|refusal| {
                let reason = format!(
                    "ExpressionAttributeValues contains invalid value: {} for key {name}",
                    refusal.message
                );
                Refusal { message: reason, ..refusal }
            });
            Ok((name.as_str(), value?))
        });
        let values = values.collect::<Result<_, Refusal>>()?;
        Ok(Self { names, values, has_values: given.is_some() })
    }

    /// Refuses placeholders that are defined and not used.
    ///
    /// `used` holds the placeholders of all expressions of the request; `None` if it has no
    /// expression.
    pub(super) fn all_used(&self, used: Option<&BTreeSet<&str>>) -> Result<(), Refusal> {
        let Some(used) = used else {
            let given = match (self.names, self.has_values) {
                (Some(_), _) => "ExpressionAttributeNames",
                (None, true) => "ExpressionAttributeValues",
                (None, false) => return Ok(()),
            };
            return Err(invalid(format!("{given} can only be specified when using expressions")));
        };
        let unused = |what: &str, given: &mut dyn Iterator<Item = &str>| {
            let unused: Vec<_> = given.filter(|name| !used.contains(name)).collect();
            if unused.is_empty() {
                return Ok(());
            }
            Err(invalid(format!(
                "Value provided in {what} unused in expressions: keys: {{{}}}",
                unused.join(", ")
            )))
        };
        let mut names = self.names.into_iter().flat_map(Map::keys).map(String::as_str);
        unused("ExpressionAttributeNames", &mut names)?;
        unused("ExpressionAttributeValues", &mut self.values.keys().copied())
    }

    /// Refuses placeholders that are used and not defined.
    pub(super) fn all_given<T>(&self, expression: &Expression<T>) -> Result<(), Refusal> {
        for name in &expression.names {
            if self.names.is_none_or(|names| !names.contains_key(name)) {
                return Err(expression.kind.invalid(format!(
                    "An expression attribute name used in the document path is not defined; \
                     attribute name: {name}"
                )));
            }
        }
        for value in &expression.values {
            if !self.values.contains_key(value.as_str()) {
                return Err(expression.kind.invalid(format!(
                    "An expression attribute value used in expression is not defined; attribute \
                     value: {value}"
                )));
            }
        }
        Ok(())
    }

    /// The value of a placeholder.
    pub(super) fn value(&self, name: &str) -> Option<&Attribute> {
        self.values.get(name)
    }

    /// The attribute name of a step of a path; `None` for an index.
    pub(super) fn name<'s>(&'s self, step: &'s Step) -> Option<&'s str> {
        match step {
            Step::Name(name) => Some(name),
            Step::Placeholder(name) => self.names?.get(name)?.as_str(),
            Step::Index(_) => None,
        }
    }

    /// The first attribute of a path.
    pub(super) fn root<'s>(&'s self, path: &'s Path) -> &'s str {
        path.first().and_then(|step| self.name(step)).unwrap_or_default()
    }

    /// The value at `path` in `item`.
    pub(super) fn find<'i>(&self, item: Option<&'i Item>, path: &Path) -> Option<&'i Attribute> {
        let (first, rest) = path.split_first()?;
        let mut found = item?.get(self.name(first)?)?;
        for step in rest {
            found = match (step, found) {
                (Step::Index(index), Attribute::L(list)) => list.get(*index)?,
                (Step::Index(_), _) => return None,
                (step, Attribute::M(map)) => map.get(self.name(step)?)?,
                _ => return None,
            };
        }
        Some(found)
    }

    /// The path as error messages show it: `[a, b, [0]]`.
    pub(super) fn shown(&self, path: &Path) -> String {
        let step = |step| match step {
            &Step::Index(index) => format!("[{index}]"),
            step => self.name(step).unwrap_or_default().to_owned(),
        };
        format!("[{}]", path.iter().map(step).collect::<Vec<_>>().join(", "))
    }
}

fn members<'a>(
    request: &'a Value,
    field: &str,
    prefix: char,
) -> Result<Option<&'a Map<String, Value>>, Refusal> {
    let Some(members) = request.get(field) else { return Ok(None) };
    let members = members
        .as_object()
        .ok_or_else(|| Refusal::new("SerializationException", format!("{field} is not a map")))?;
    if members.is_empty() {
        return Err(invalid(format!("{field} must not be empty")));
    }
    let is_placeholder = |name: &String| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
    };
    match members.keys().find(|name| !is_placeholder(name)) {
        None => Ok(Some(members)),
        Some(name) => {
            Err(invalid(format!("{field} contains invalid key: Syntax error; key: \"{name}\"")))
        }
    }
}

/// Refuses a condition that is invalid for every item: undefined placeholders, wrong types.
pub(super) fn check(expression: &Expression<Condition>, scope: &Scope<'_>) -> Result<(), Refusal> {
    scope.all_given(expression)?;
    check_tree(expression.kind, &expression.tree, scope)
}

fn check_tree(kind: Kind, condition: &Condition, scope: &Scope<'_>) -> Result<(), Refusal> {
    let constant = |operand: &Operand| match operand {
        Operand::Value(name) => scope.value(name).map(Attribute::kind),
        _ => None,
    };
    match condition {
        Condition::Or(left, right) | Condition::And(left, right) => {
            check_tree(kind, left, scope)?;
            check_tree(kind, right, scope)
        }
        Condition::Not(inner) => check_tree(kind, inner, scope),
        Condition::Compare(left, comparator, right) => {
            check_size(kind, left, scope)?;
            check_size(kind, right, scope)?;
            if matches!(comparator, Comparator::Equal | Comparator::NotEqual) {
                return Ok(());
            }
            for operand in [left, right] {
                ordered(kind, "operator", comparator.symbol(), constant(operand))?;
            }
            Ok(())
        }
        Condition::Between(operand, lower, upper) => {
            for operand in [operand, lower, upper] {
                check_size(kind, operand, scope)?;
                ordered(kind, "operator", "BETWEEN", constant(operand))?;
            }
            check_bounds(kind, lower, upper, scope)
        }
        Condition::In(operand, alternatives) => {
            check_size(kind, operand, scope)?;
            alternatives.iter().try_for_each(|operand| check_size(kind, operand, scope))
        }
        Condition::Exists(_) | Condition::NotExists(_) => Ok(()),
        Condition::Type(_, operand) => {
            let Operand::Value(name) = operand else { return Ok(()) };
            match scope.value(name) {
                Some(Attribute::S(name)) if TYPES.contains(&name.as_str()) => Ok(()),
                Some(Attribute::S(name)) => Err(kind.invalid(format!(
                    "Invalid attribute type name found; type: {name}, valid types: {{{}}}",
                    TYPES.join(",")
                ))),
                other => {
                    let found = other.map_or("", Attribute::kind);
                    Err(wrong_operand(kind, "operator or function", "attribute_type", found))
                }
            }
        }
        Condition::BeginsWith(left, right) => {
            for operand in [left, right] {
                check_size(kind, operand, scope)?;
                if let Some(found) = constant(operand)
                    && !matches!(found, "S" | "B")
                {
                    let role = "operator or function";
                    return Err(wrong_operand(kind, role, "begins_with", found));
                }
            }
            Ok(())
        }
        Condition::Contains(left, right) => {
            check_size(kind, left, scope)?;
            check_size(kind, right, scope)
        }
    }
}

fn ordered(kind: Kind, role: &str, operator: &str, found: Option<&str>) -> Result<(), Refusal> {
    match found {
        None | Some("S" | "N" | "B") => Ok(()),
        Some(found) => Err(wrong_operand(kind, role, operator, found)),
    }
}

fn wrong_operand(kind: Kind, role: &str, operator: &str, found: &str) -> Refusal {
    kind.invalid(format!(
        "Incorrect operand type for operator or function; {role}: {operator}, operand type: \
         {found}"
    ))
}

fn check_size(kind: Kind, operand: &Operand, scope: &Scope<'_>) -> Result<(), Refusal> {
    let Operand::Size(inner) = operand else { return Ok(()) };
    let Operand::Value(name) = inner.as_ref() else { return Ok(()) };
    match scope.value(name).map(Attribute::kind) {
        Some(found @ ("N" | "BOOL" | "NULL")) => {
            Err(wrong_operand(kind, "operator or function", "size", found))
        }
        _ => Ok(()),
    }
}

fn check_bounds(
    kind: Kind,
    lower: &Operand,
    upper: &Operand,
    scope: &Scope<'_>,
) -> Result<(), Refusal> {
    let (Operand::Value(lower), Operand::Value(upper)) = (lower, upper) else { return Ok(()) };
    let (Some(lower), Some(upper)) = (scope.value(lower), scope.value(upper)) else {
        return Ok(());
    };
    let refused = |rule: &str| {
        kind.invalid(format!(
            "The BETWEEN operator requires {rule}; lower bound operand: AttributeValue: {}, upper \
             bound operand: AttributeValue: {}",
            lower.write(),
            upper.write()
        ))
    };
    match order(lower, upper) {
        None => Err(refused("same data type for lower and upper bounds")),
        Some(std::cmp::Ordering::Greater) => {
            Err(refused("upper bound to be greater than or equal to lower bound"))
        }
        Some(_) => Ok(()),
    }
}

/// Whether the condition holds for `item`; `None` if there is no item.
pub(super) fn holds(condition: &Condition, scope: &Scope<'_>, item: Option<&Item>) -> bool {
    let operand = |operand| resolve(operand, scope, item);
    match condition {
        Condition::Or(left, right) => holds(left, scope, item) || holds(right, scope, item),
        Condition::And(left, right) => holds(left, scope, item) && holds(right, scope, item),
        Condition::Not(inner) => !holds(inner, scope, item),
        Condition::Compare(left, comparator, right) => {
            compare(operand(left).as_deref(), *comparator, operand(right).as_deref())
        }
        Condition::Between(value, lower, upper) => {
            let value = operand(value);
            compare(value.as_deref(), Comparator::GreaterOrEqual, operand(lower).as_deref())
                && compare(value.as_deref(), Comparator::LessOrEqual, operand(upper).as_deref())
        }
        Condition::In(value, alternatives) => {
            let value = operand(value);
            value.is_some() && alternatives.iter().any(|other| operand(other) == value)
        }
        Condition::Exists(path) => scope.find(item, path).is_some(),
        Condition::NotExists(path) => scope.find(item, path).is_none(),
        Condition::Type(value, kind) => match (operand(value), operand(kind).as_deref()) {
            (Some(found), Some(Attribute::S(kind))) => found.kind() == kind,
            _ => false,
        },
        Condition::BeginsWith(value, prefix) => {
            match (operand(value).as_deref(), operand(prefix).as_deref()) {
                (Some(Attribute::S(text)), Some(Attribute::S(prefix))) => text.starts_with(prefix),
                (Some(Attribute::B(bytes)), Some(Attribute::B(prefix))) => {
                    bytes.starts_with(prefix)
                }
                _ => false,
            }
        }
        Condition::Contains(value, part) => match (operand(value), operand(part)) {
            (Some(value), Some(part)) => contains(&value, &part),
            _ => false,
        },
    }
}

fn resolve<'v>(
    operand: &Operand,
    scope: &'v Scope<'_>,
    item: Option<&'v Item>,
) -> Option<Cow<'v, Attribute>> {
    match operand {
        Operand::Path(path) => scope.find(item, path).map(Cow::Borrowed),
        Operand::Value(name) => scope.value(name).map(Cow::Borrowed),
        Operand::Size(inner) => {
            let size = match resolve(inner, scope, item)?.as_ref() {
                Attribute::S(text) => text.chars().count(),
                Attribute::B(bytes) => bytes.len(),
                Attribute::L(list) => list.len(),
                Attribute::M(map) => map.len(),
                Attribute::Ss(set) => set.len(),
                Attribute::Ns(set) => set.len(),
                Attribute::Bs(set) => set.len(),
                Attribute::N(_) | Attribute::Bool(_) | Attribute::Null => return None,
            };
            Some(Cow::Owned(Attribute::N(Number::from(u32::try_from(size).ok()?))))
        }
    }
}

fn compare(left: Option<&Attribute>, comparator: Comparator, right: Option<&Attribute>) -> bool {
    match comparator {
        // A missing value is not equal to anything.
        Comparator::Equal => left.is_some() && left == right,
        Comparator::NotEqual => left.is_none() || left != right,
        _ => {
            let (Some(left), Some(right)) = (left, right) else { return false };
            let Some(order) = order(left, right) else { return false };
            match comparator {
                Comparator::Less => order.is_lt(),
                Comparator::LessOrEqual => order.is_le(),
                Comparator::Greater => order.is_gt(),
                _ => order.is_ge(),
            }
        }
    }
}

/// The order of two values of the same ordered type.
fn order(left: &Attribute, right: &Attribute) -> Option<std::cmp::Ordering> {
    match (left, right) {
        (Attribute::S(left), Attribute::S(right)) => Some(left.cmp(right)),
        (Attribute::N(left), Attribute::N(right)) => Some(left.cmp(right)),
        (Attribute::B(left), Attribute::B(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn contains(value: &Attribute, part: &Attribute) -> bool {
    match (value, part) {
        (Attribute::S(text), Attribute::S(part)) => text.contains(part.as_str()),
        (Attribute::B(bytes), Attribute::B(part)) => {
            part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
        }
        (Attribute::Ss(set), Attribute::S(part)) => set.contains(part),
        (Attribute::Ns(set), Attribute::N(part)) => set.contains(part),
        (Attribute::Bs(set), Attribute::B(part)) => set.contains(part),
        (Attribute::L(list), part) => list.contains(part),
        _ => false,
    }
}

/// The parts of `item` at those `paths` that exist in it.
///
/// # Errors
/// List elements are not modelled.
pub(super) fn project<'p>(
    item: &Item,
    paths: impl Iterator<Item = &'p Path>,
    scope: &Scope<'_>,
) -> Result<Item, Refusal> {
    let mut projected = Item::new();
    for path in paths {
        let Some(found) = scope.find(Some(item), path) else { continue };
        let mut names = Vec::with_capacity(path.len());
        for step in path {
            let Some(name) = scope.name(step) else {
                return Err(not_modelled("an element of a list in a projection"));
            };
            names.push(name);
        }
        let Some((last, parents)) = names.split_last() else { continue };
        let mut place = &mut projected;
        for parent in parents {
            let entry = place.entry((*parent).to_owned());
            let Attribute::M(map) = entry.or_insert_with(|| Attribute::M(Item::new())) else {
                return Err(not_modelled("paths that overlap in a projection"));
            };
            place = map;
        }
        place.insert((*last).to_owned(), found.clone());
    }
    Ok(projected)
}
