//! Writes of one item: put, update, delete and condition check.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::evaluate::{self, Scope};
use super::expression::{Condition, Expression, Expressions, Kind, Update};
use super::item::{self, Attribute, Item, write_item};
use super::partition::{self, Needs};
use super::table::{Key, State, Stored, Table, read_halves, write_units};
use super::{
    Charge, Dynamo, capacity, choice, invalid, known, not_modelled, required, required_text, text,
};
use crate::cloud::Refusal;

/// Largest size of an item in bytes.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
const LARGEST: usize = 400 * 1024;

/// Largest number of writes in a batch.
const MOST_OF_A_BATCH: usize = 25;

/// The kind of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Put,
    Update,
    Delete,
    Check,
}

#[derive(Debug)]
enum Action {
    Put(Item),
    Update(Option<Arc<Expression<Update>>>),
    Delete,
    Check,
}

/// A write, validated as far as possible without the item.
#[derive(Debug)]
pub(super) struct Write<'a> {
    pub(super) table: &'a str,
    pub(super) key: Key<'a>,
    action: Action,
    condition: Option<Arc<Expression<Condition>>>,
    scope: Scope<'a>,
    /// Whether a failed condition returns the item.
    returns_item: bool,
}

/// The effect of a write on an item.
#[derive(Debug)]
pub(super) struct Effect {
    pub(super) before: State,
    /// `None` if nothing is written.
    pub(super) after: Option<State>,
    pub(super) charge: Charge,
}

/// The reason why a write is not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The condition does not hold.
    Condition { before: State, charge: Charge },
    /// The write is invalid for this item.
    Refused(Refusal),
}

impl<'a> Write<'a> {
    pub(super) fn read(
        sort: Sort,
        body: &'a Value,
        tables: &BTreeMap<String, Table>,
        expressions: &mut Expressions,
    ) -> Result<Self, Refusal> {
        let name = required_text(body, "TableName")?;
        let table = super::table(tables, name)?;
        let scope = Scope::read(body)?;
        let mut used: Option<BTreeSet<&str>> = None;
        let condition = match text(body, "ConditionExpression")? {
            Some(text) => Some(expressions.condition(Kind::Condition, text)?),
            None if sort == Sort::Check => required(body, "ConditionExpression").map(|_| None)?,
            None => None,
        };
        if let Some(condition) = &condition {
            evaluate::check(condition, &scope)?;
            note(&mut used, condition);
        }
        let update = match text(body, "UpdateExpression")? {
            Some(text) => Some(expressions.update(text)?),
            None => None,
        };
        if let Some(update) = &update {
            super::update::check(update, &scope, [&table.schema.pk, &table.schema.sk])?;
            note(&mut used, update);
        }
        scope.all_used(used.as_ref())?;
        let (key, action) = match sort {
            Sort::Put => {
                let wire = required(body, "Item")?;
                let item = item::read_item(wire)?;
                let key = table.key_of_item(wire, &item)?;
                table.check_index(&item, false)?;
                if item::size(&item) > LARGEST {
                    return Err(invalid("Item size has exceeded the maximum allowed size"));
                }
                (key, Action::Put(item))
            }
            Sort::Update => (table.key(required(body, "Key")?)?, Action::Update(update.clone())),
            Sort::Delete => (table.key(required(body, "Key")?)?, Action::Delete),
            Sort::Check => (table.key(required(body, "Key")?)?, Action::Check),
        };
        let returned = choice(body, "ReturnValuesOnConditionCheckFailure", &["ALL_OLD", "NONE"])?;
        let returns_item = returned == "ALL_OLD";
        Ok(Self { table: name, key, action, condition, scope, returns_item })
    }

    /// The effect of the write on the current item; nothing is written yet.
    pub(super) fn evaluate(&self, table: &Table) -> Result<Effect, Failure> {
        let before = table.get(self.key);
        let item = before.map(|stored| &stored.item);
        if let Some(condition) = &self.condition
            && !evaluate::holds(&condition.tree, &self.scope, item)
        {
            // A failed condition costs as much as a write.
            // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
            let write = write_units(before.map_or(0, |stored| stored.size));
            let charge = Charge { write, ..Charge::default() };
            return Err(Failure::Condition { before: before.cloned(), charge });
        }
        let after = match &self.action {
            Action::Put(item) => Some(Some(Arc::new(Stored::new(item.clone())))),
            // An update that only removes attributes does not create an item.
            // https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateItem.html
            Action::Update(Some(update)) if item.is_none() && update.tree.only_deletes() => None,
            Action::Update(update) => {
                let after = self.updated(table, update.as_deref(), item);
                Some(Some(Arc::new(after.map_err(Failure::Refused)?)))
            }
            Action::Delete => Some(None),
            Action::Check => None,
        };
        let before = before.cloned();
        let size = |state: &State| state.as_ref().map_or(0, |stored| stored.size);
        let larger = after.as_ref().map_or(0, size).max(size(&before));
        let changes = |after| table.index_units(self.key, &before, after);
        let index_write = after.as_ref().map_or(0, changes);
        let charge = Charge { write: write_units(larger), index_write, ..Charge::default() };
        Ok(Effect { before, after, charge })
    }

    fn updated(
        &self,
        table: &Table,
        update: Option<&Expression<Update>>,
        before: Option<&Item>,
    ) -> Result<Stored, Refusal> {
        let new;
        let before = if let Some(before) = before {
            before
        } else {
            let part = |name: &String, text: &str| (name.clone(), Attribute::S(text.to_owned()));
            let schema = &table.schema;
            new = Item::from([part(&schema.pk, self.key.pk), part(&schema.sk, self.key.sk)]);
            &new
        };
        let after = match update {
            Some(update) => super::update::apply(&update.tree, &self.scope, before)?,
            None => before.clone(),
        };
        table.check_index(&after, true)?;
        let after = Stored::new(after);
        if after.size > LARGEST {
            return Err(invalid("Item size to update has exceeded the maximum allowed size"));
        }
        Ok(after)
    }

    /// The item that a failed condition returns, if the request asks for it.
    pub(super) fn returned_item(&self, before: &State) -> Option<Value> {
        let stored = before.as_ref().filter(|_| self.returns_item)?;
        Some(write_item(&stored.item))
    }

    /// Halves of read units for a repetition of this write in a repeated transaction.
    pub(super) fn read_halves(&self, table: &Table) -> u32 {
        read_halves(table.get(self.key).map_or(0, |stored| stored.size), true)
    }

    /// Adds the partition throughput that the write needs, `factor` times.
    pub(super) fn add_needs(
        &self,
        needs: &mut Needs,
        table: &Table,
        judged: &Result<Effect, Failure>,
        factor: u32,
    ) {
        match judged {
            Ok(effect) => {
                partition::add(needs, self.table, self.key.pk, effect.charge.times(factor));
                if let Some(after) = &effect.after {
                    table.add_index_writes(needs, self.key, (&effect.before, after), factor);
                }
            }
            Err(Failure::Condition { charge, .. }) => {
                partition::add(needs, self.table, self.key.pk, charge.times(factor));
            }
            Err(Failure::Refused(_)) => {}
        }
    }

    /// The size in bytes that counts for the limit of a transaction.
    pub(super) fn size(&self) -> usize {
        match &self.action {
            Action::Put(item) => item::size(item),
            _ => 0,
        }
    }
}

fn note<'e, T>(used: &mut Option<BTreeSet<&'e str>>, expression: &'e Expression<T>) {
    let used = used.get_or_insert_default();
    used.extend(expression.names.iter().chain(&expression.values).map(String::as_str));
}

const COMMON: [&str; 8] = [
    "TableName",
    "ConditionExpression",
    "ExpressionAttributeNames",
    "ExpressionAttributeValues",
    "ReturnValues",
    "ReturnValuesOnConditionCheckFailure",
    "ReturnConsumedCapacity",
    "ReturnItemCollectionMetrics",
];

impl Dynamo {
    pub(super) fn put_item(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        self.write_one(Sort::Put, body, now_ms)
    }

    pub(super) fn update_item(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        self.write_one(Sort::Update, body, now_ms)
    }

    pub(super) fn delete_item(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        self.write_one(Sort::Delete, body, now_ms)
    }

    fn write_one(&mut self, sort: Sort, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        let own: &[&str] = match sort {
            Sort::Put => &["Item"],
            Sort::Update => &["Key", "UpdateExpression"],
            Sort::Delete | Sort::Check => &["Key"],
        };
        known(body, &[&COMMON, own].concat())?;
        let returned = choice(
            body,
            "ReturnValues",
            &["ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"],
        )?;
        if sort != Sort::Update && !matches!(returned, "NONE" | "ALL_OLD") {
            return Err(invalid("Return values set to invalid value"));
        }
        let write = Write::read(sort, body, &self.tables, &mut self.expressions)?;
        let table = super::table(&self.tables, write.table)?;
        let judged = write.evaluate(table);
        let needs = |needs: &mut Needs| write.add_needs(needs, table, &judged, 1);
        self.partitions.take(now_ms, needs).map_err(|keys| partition::throttled(&keys))?;
        let effect = match judged {
            Ok(effect) => effect,
            Err(Failure::Refused(refusal)) => return Err(refusal),
            Err(Failure::Condition { before, charge }) => {
                let item = write.returned_item(&before);
                self.charge(charge);
                return Err(condition_failed(item));
            }
        };
        let attributes = write.returned(returned, &effect)?;
        let consumed = capacity(body, table, effect.charge, false)?;
        self.charge(effect.charge);
        self.commit(&write, effect.after, now_ms);
        let mut answer = Map::new();
        answer.extend(attributes.map(|attributes| ("Attributes".to_owned(), attributes)));
        answer.extend(consumed.map(|consumed| ("ConsumedCapacity".to_owned(), consumed)));
        Ok(Value::Object(answer))
    }

    pub(super) fn commit(&mut self, write: &Write<'_>, after: Option<State>, now_ms: i64) {
        if let (Some(after), Some(table)) = (after, self.tables.get_mut(write.table)) {
            table.put(write.key, after, self.lag, now_ms);
        }
    }

    pub(super) fn batch_write_item(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        known(body, &["RequestItems", "ReturnConsumedCapacity", "ReturnItemCollectionMetrics"])?;
        let requests = required(body, "RequestItems")?.as_object();
        let requests = requests.filter(|tables| !tables.is_empty()).ok_or_else(|| {
            invalid("1 validation error detected: the batch write request list is empty")
        })?;
        let mut writes: Vec<(&str, &Value, Key<'_>, State)> = Vec::new();
        for (name, requests) in requests {
            let table = super::table(&self.tables, name)?;
            let requests = requests.as_array().filter(|requests| !requests.is_empty());
            let requests = requests.ok_or_else(|| {
                invalid("The batch write request list for a table cannot be null or empty")
            })?;
            for request in requests {
                let (key, after) = batched(table, request)?;
                let is_twice = |(other, _, known, _): &(&str, &Value, Key<'_>, State)| {
                    *other == name && *known == key
                };
                if writes.iter().any(is_twice) {
                    return Err(invalid("Provided list of item keys contains duplicates"));
                }
                writes.push((name, request, key, after));
            }
        }
        if writes.len() > MOST_OF_A_BATCH {
            return Err(invalid("Too many items requested for the BatchWriteItem call"));
        }
        let part = self.batch_part.unwrap_or(usize::MAX);
        let mut charges: BTreeMap<&str, Charge> = BTreeMap::new();
        let mut rest: Map<String, Value> = Map::new();
        let (mut done, mut exceeded) = (0, Vec::new());
        let mut put_back = |name: &str, request: &Value| {
            let rest = rest.entry(name).or_insert_with(|| json!([]));
            if let Value::Array(rest) = rest {
                rest.push(request.clone());
            }
        };
        for (at, (name, request, key, after)) in writes.into_iter().enumerate() {
            if at >= part {
                put_back(name, request);
                continue;
            }
            let Some(table) = self.tables.get_mut(name) else { continue };
            let before = table.get(key).cloned();
            let size = |state: &State| state.as_ref().map_or(0, |stored| stored.size);
            let charge = Charge {
                write: write_units(size(&before).max(size(&after))),
                index_write: table.index_units(key, &before, &after),
                ..Charge::default()
            };
            let needs = |needs: &mut Needs| {
                partition::add(needs, name, key.pk, charge);
                table.add_index_writes(needs, key, (&before, &after), 1);
            };
            if let Err(keys) = self.partitions.take(now_ms, needs) {
                exceeded.extend(keys);
                put_back(name, request);
                continue;
            }
            done += 1;
            let total = charges.entry(name).or_default();
            *total = total.plus(charge);
            table.put(key, after, self.lag, now_ms);
        }
        if done == 0 && !exceeded.is_empty() {
            return Err(partition::throttled(&exceeded));
        }
        let mut answer = Map::from_iter([("UnprocessedItems".to_owned(), rest.into())]);
        self.add_capacities(body, &mut answer, charges, false)?;
        Ok(answer.into())
    }

    /// Charges several tables, and adds `ConsumedCapacity` to an answer if the request asks for it.
    pub(super) fn add_capacities(
        &mut self,
        body: &Value,
        answer: &mut Map<String, Value>,
        charges: BTreeMap<&str, Charge>,
        is_transaction: bool,
    ) -> Result<(), Refusal> {
        let mut consumed = Vec::new();
        for (name, charge) in charges {
            let table = super::table(&self.tables, name)?;
            consumed.extend(capacity(body, table, charge, is_transaction)?);
            self.charge(charge);
        }
        if !consumed.is_empty() {
            answer.insert("ConsumedCapacity".to_owned(), consumed.into());
        }
        Ok(())
    }
}

/// A write of a batch: the new state of the item.
fn batched<'a>(table: &Table, request: &'a Value) -> Result<(Key<'a>, State), Refusal> {
    let put = request.get("PutRequest").and_then(|put| put.get("Item"));
    let delete = request.get("DeleteRequest").and_then(|delete| delete.get("Key"));
    match (put, delete) {
        (Some(wire), None) => {
            let item = item::read_item(wire)?;
            let key = table.key_of_item(wire, &item)?;
            table.check_index(&item, false)?;
            let stored = Stored::new(item);
            if stored.size > LARGEST {
                return Err(invalid("Item size has exceeded the maximum allowed size"));
            }
            Ok((key, Some(Arc::new(stored))))
        }
        (None, Some(key)) => Ok((table.key(key)?, None)),
        _ => Err(invalid(
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one \
             of the supported datatypes",
        )),
    }
}

impl Write<'_> {
    /// `Attributes` of the answer.
    fn returned(&self, which: &str, effect: &Effect) -> Result<Option<Value>, Refusal> {
        let before = effect.before.as_deref().map(|stored| &stored.item);
        let after = effect.after.as_ref().and_then(Option::as_deref).map(|stored| &stored.item);
        let item = match which {
            "ALL_OLD" => before.map(write_item),
            "ALL_NEW" => after.map(write_item),
            "UPDATED_OLD" => self.updated_part(before)?,
            "UPDATED_NEW" => self.updated_part(after)?,
            _ => None,
        };
        Ok(item)
    }

    fn updated_part(&self, item: Option<&Item>) -> Result<Option<Value>, Refusal> {
        let (Action::Update(Some(update)), Some(item)) = (&self.action, item) else {
            return Ok(None);
        };
        let part =
            evaluate::project(item, update.tree.paths(), &self.scope).map_err(|refusal| {
                if refusal.code == "NotModelled" {
                    return not_modelled("UPDATED_OLD and UPDATED_NEW of an element of a list");
                }
                refusal
            })?;
        Ok((!part.is_empty()).then(|| write_item(&part)))
    }
}

fn condition_failed(item: Option<Value>) -> Refusal {
    let mut refusal =
        Refusal::new("ConditionalCheckFailedException", "The conditional request failed");
    refusal.more.extend(item.map(|item| ("Item".to_owned(), item)));
    refusal
}
