//! Update expressions.

use std::collections::BTreeSet;

use super::evaluate::Scope;
use super::expression::{Expression, Kind, Path, SetOperand, SetValue, Step, Update};
use super::invalid;
use super::item::{Attribute, Item};
use crate::cloud::Refusal;

/// Refuses an update that is invalid for every item: undefined placeholders, wrong types,
/// overlapping paths, keys.
pub(super) fn check(
    expression: &Expression<Update>,
    scope: &Scope<'_>,
    keys: [&str; 2],
) -> Result<(), Refusal> {
    scope.all_given(expression)?;
    let update = &expression.tree;
    for (sort, (_, name)) in [("ADD", &update.add), ("DELETE", &update.delete)]
        .into_iter()
        .flat_map(|(sort, actions)| actions.iter().map(move |action| (sort, action)))
    {
        let found = scope.value(name).map_or("", Attribute::kind);
        let is_allowed = matches!(found, "SS" | "NS" | "BS") || (sort == "ADD" && found == "N");
        if !is_allowed {
            return Err(wrong_operand(sort, found));
        }
    }
    for (_, value) in &update.set {
        let (operator, operands) = match value {
            SetValue::Is(operand) => (None, [Some(operand), None]),
            SetValue::Plus(left, right) => (Some("+"), [Some(left), Some(right)]),
            SetValue::Minus(left, right) => (Some("-"), [Some(left), Some(right)]),
        };
        for operand in operands.into_iter().flatten() {
            check_operand(operand, operator, scope)?;
        }
    }
    for path in update.paths() {
        let root = scope.root(path);
        if keys.contains(&root) {
            return Err(super::item::parameter(&format!(
                "Cannot update attribute {root}. This attribute is part of the key"
            )));
        }
    }
    let paths: Vec<&Path> = update.paths().collect();
    for (at, one) in paths.iter().enumerate() {
        for two in paths.iter().skip(at + 1) {
            check_pair(one, two, scope)?;
        }
    }
    Ok(())
}

/// `typeSet` is AWS's name for the type of an operand in these messages.
fn wrong_operand(operator: &str, found: &str) -> Refusal {
    let name = match found {
        "S" => "STRING",
        "N" => "NUMBER",
        "B" => "BINARY",
        "BOOL" => "BOOLEAN",
        "L" => "LIST",
        "M" => "MAP",
        other => other,
    };
    Kind::Update.invalid(format!(
        "Incorrect operand type for operator or function; operator: {operator}, operand type: \
         {name}, typeSet: ALLOWED_FOR_{operator}_OPERAND"
    ))
}

/// Refuses a constant of a type that is not allowed at its position.
fn check_operand(
    operand: &SetOperand,
    operator: Option<&str>,
    scope: &Scope<'_>,
) -> Result<(), Refusal> {
    match operand {
        SetOperand::Path(_) => Ok(()),
        SetOperand::Value(name) => {
            let found = scope.value(name).map_or("", Attribute::kind);
            let wanted = match operator {
                None => return Ok(()),
                Some("list_append") => "L",
                Some(_) => "N",
            };
            if found == wanted {
                return Ok(());
            }
            Err(Kind::Update.invalid(format!(
                "Incorrect operand type for operator or function; operator or function: {}, \
                 operand type: {found}",
                operator.unwrap_or_default()
            )))
        }
        SetOperand::IfNotExists(_, otherwise) => check_operand(otherwise, operator, scope),
        SetOperand::ListAppend(left, right) => {
            check_operand(left, Some("list_append"), scope)?;
            check_operand(right, Some("list_append"), scope)
        }
    }
}

/// Refuses two paths of which one contains the other, or that use one value as two types.
fn check_pair(one: &Path, two: &Path, scope: &Scope<'_>) -> Result<(), Refusal> {
    let shown = || format!("path one: {}, path two: {}", scope.shown(one), scope.shown(two));
    for (left, right) in one.iter().zip(two) {
        match (left, right) {
            (Step::Index(left), Step::Index(right)) if left == right => {}
            (Step::Index(_), Step::Index(_)) => return Ok(()),
            (Step::Index(_), _) | (_, Step::Index(_)) => {
                return Err(Kind::Update.invalid(format!(
                    "Two document paths conflict with each other; must remove or rewrite one of \
                     these paths; {}",
                    shown()
                )));
            }
            (left, right) if scope.name(left) == scope.name(right) => {}
            _ => return Ok(()),
        }
    }
    Err(Kind::Update.invalid(format!(
        "Two document paths overlap with each other; must remove or rewrite one of these paths; {}",
        shown()
    )))
}

/// The item `before` after the update. All operands are read before anything is written.
pub(super) fn apply(update: &Update, scope: &Scope<'_>, before: &Item) -> Result<Item, Refusal> {
    let mut writes: Vec<(&Path, Attribute)> = Vec::with_capacity(update.set.len());
    for (path, value) in &update.set {
        writes.push((path, set_value(value, scope, before)?));
    }
    let mut removals: Vec<&Path> = update.remove.iter().collect();
    for (path, name) in &update.add {
        let operand = scope.value(name).ok_or_else(wrong_type)?;
        let sum = match scope.find(Some(before), path) {
            None => operand.clone(),
            Some(found) => united(found, operand)?,
        };
        writes.push((path, sum));
    }
    for (path, name) in &update.delete {
        let operand = scope.value(name).ok_or_else(wrong_type)?;
        if let Some(found) = scope.find(Some(before), path) {
            match without(found, operand)? {
                Some(rest) => writes.push((path, rest)),
                None => removals.push(path),
            }
        }
    }
    // Values written beyond the end of a list are appended in the order of the indices; removed
    // elements are counted by their positions before the update.
    writes.sort_by_cached_key(|(path, _)| indices(path));
    removals.sort_by_cached_key(|path| std::cmp::Reverse(indices(path)));
    let mut after = before.clone();
    for (path, value) in writes {
        write(&mut after, path, value, scope)?;
    }
    for path in removals {
        remove(&mut after, path, scope)?;
    }
    Ok(after)
}

fn indices(path: &Path) -> Vec<usize> {
    let index = |step: &Step| match step {
        Step::Index(index) => *index,
        _ => 0,
    };
    path.iter().map(index).collect()
}

fn set_value(value: &SetValue, scope: &Scope<'_>, item: &Item) -> Result<Attribute, Refusal> {
    let number = |operand| match set_operand(operand, scope, item)? {
        Attribute::N(number) => Ok(number),
        _ => Err(wrong_type()),
    };
    match value {
        SetValue::Is(operand) => set_operand(operand, scope, item),
        SetValue::Plus(left, right) => number(left)?.plus(number(right)?).map(Attribute::N),
        SetValue::Minus(left, right) => {
            number(left)?.plus(number(right)?.negated()).map(Attribute::N)
        }
    }
}

fn set_operand(operand: &SetOperand, scope: &Scope<'_>, item: &Item) -> Result<Attribute, Refusal> {
    match operand {
        SetOperand::Path(path) => scope.find(Some(item), path).cloned().ok_or_else(|| {
            invalid(
                "The provided expression refers to an attribute that does not exist in the item",
            )
        }),
        SetOperand::Value(name) => scope.value(name).cloned().ok_or_else(wrong_type),
        SetOperand::IfNotExists(path, otherwise) => match scope.find(Some(item), path) {
            Some(found) => Ok(found.clone()),
            None => set_operand(otherwise, scope, item),
        },
        SetOperand::ListAppend(left, right) => {
            let left = set_operand(left, scope, item)?;
            let right = set_operand(right, scope, item)?;
            let (Attribute::L(mut list), Attribute::L(more)) = (left, right) else {
                return Err(wrong_type());
            };
            list.extend(more);
            Ok(Attribute::L(list))
        }
    }
}

fn united(found: &Attribute, more: &Attribute) -> Result<Attribute, Refusal> {
    match (found, more) {
        (Attribute::N(found), Attribute::N(more)) => found.plus(*more).map(Attribute::N),
        (Attribute::Ss(found), Attribute::Ss(more)) => Ok(Attribute::Ss(found | more)),
        (Attribute::Ns(found), Attribute::Ns(more)) => Ok(Attribute::Ns(found | more)),
        (Attribute::Bs(found), Attribute::Bs(more)) => Ok(Attribute::Bs(found | more)),
        _ => Err(wrong_type()),
    }
}

/// `None` if no element remains.
fn without(found: &Attribute, less: &Attribute) -> Result<Option<Attribute>, Refusal> {
    match (found, less) {
        (Attribute::Ss(found), Attribute::Ss(less)) => Ok(rest(found, less).map(Attribute::Ss)),
        (Attribute::Ns(found), Attribute::Ns(less)) => Ok(rest(found, less).map(Attribute::Ns)),
        (Attribute::Bs(found), Attribute::Bs(less)) => Ok(rest(found, less).map(Attribute::Bs)),
        _ => Err(wrong_type()),
    }
}

fn rest<T: Clone + Ord>(found: &BTreeSet<T>, less: &BTreeSet<T>) -> Option<BTreeSet<T>> {
    let rest = found - less;
    (!rest.is_empty()).then_some(rest)
}

fn write(item: &mut Item, path: &Path, value: Attribute, scope: &Scope<'_>) -> Result<(), Refusal> {
    let (end, way) = path.split_last().ok_or_else(no_place)?;
    match (end, parent(item, way, scope)?) {
        (Step::Index(index), Parent::List(list)) => match list.get_mut(*index) {
            Some(place) => *place = value,
            None => list.push(value),
        },
        (step, Parent::Map(map)) => {
            let name = scope.name(step).ok_or_else(no_place)?;
            map.insert(name.to_owned(), value);
        }
        _ => return Err(no_place()),
    }
    Ok(())
}

fn remove(item: &mut Item, path: &Path, scope: &Scope<'_>) -> Result<(), Refusal> {
    let (end, way) = path.split_last().ok_or_else(no_place)?;
    match (end, parent(item, way, scope)?) {
        (Step::Index(index), Parent::List(list)) => {
            if *index < list.len() {
                list.remove(*index);
            }
        }
        (step, Parent::Map(map)) => {
            map.remove(scope.name(step).ok_or_else(no_place)?);
        }
        _ => return Err(no_place()),
    }
    Ok(())
}

enum Parent<'a> {
    Map(&'a mut Item),
    List(&'a mut Vec<Attribute>),
}

/// The value that contains the last step of a path.
fn parent<'a>(
    item: &'a mut Item,
    steps: &[Step],
    scope: &Scope<'_>,
) -> Result<Parent<'a>, Refusal> {
    let mut parent = Parent::Map(item);
    for step in steps {
        let found = match (step, parent) {
            (Step::Index(index), Parent::List(list)) => list.get_mut(*index),
            (step, Parent::Map(map)) => scope.name(step).and_then(|name| map.get_mut(name)),
            _ => None,
        };
        parent = match found {
            Some(Attribute::M(map)) => Parent::Map(map),
            Some(Attribute::L(list)) => Parent::List(list),
            _ => return Err(no_place()),
        };
    }
    Ok(parent)
}

fn no_place() -> Refusal {
    invalid("The document path provided in the update expression is invalid for update")
}

fn wrong_type() -> Refusal {
    invalid("An operand in the update expression has an incorrect data type")
}
