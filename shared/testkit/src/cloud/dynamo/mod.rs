//! DynamoDB: tables with at most one index, and the operations that the hub uses.
//!
//! Keys are strings. The index projects the keys only (`KEYS_ONLY`). Expressions are modelled in
//! full; the legacy parameters that they replaced, and scans, are refused.

mod evaluate;
mod expression;
mod item;
mod number;
mod partition;
mod read;
mod reserved;
mod table;
#[cfg(test)]
mod tests;
mod transact;
mod update;
mod write;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::expression::Expressions;
pub use self::item::{Attribute, Item, write_item};
pub use self::number::Number;
use self::partition::Partitions;
pub use self::partition::{PartitionLimits, PartitionUse};
use self::table::{Key, Table};
use self::transact::Tokens;
use super::Refusal;

/// The schema of a table. All keys are strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSchema {
    /// Its name.
    pub name: String,
    /// The attribute that is the partition key.
    pub pk: String,
    /// The attribute that is the sort key.
    pub sk: String,
    /// The index, if there is one.
    pub index: Option<IndexSchema>,
    /// The TTL attribute, in seconds since the Unix epoch.
    pub ttl: Option<String>,
}

impl TableSchema {
    /// The hub's table as in `template.yaml`, with the name `name`.
    #[must_use]
    pub fn of_the_hub(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            pk: "pk".to_owned(),
            sk: "sk".to_owned(),
            index: Some(IndexSchema {
                name: "by_parent".to_owned(),
                pk: "gsi1pk".to_owned(),
                sk: "gsi1sk".to_owned(),
            }),
            ttl: Some("ttl".to_owned()),
        }
    }
}

impl TableSchema {
    /// Parses a `CreateTable` request for a table that the model supports.
    fn read(body: &Value) -> Result<Self, Refusal> {
        known(
            body,
            &[
                "TableName",
                "BillingMode",
                "KeySchema",
                "AttributeDefinitions",
                "GlobalSecondaryIndexes",
            ],
        )?;
        let keys = |body: &Value| {
            let part = |kind: &str| {
                let parts = body.get("KeySchema")?.as_array()?;
                let part = parts.iter().find(|part| part.get("KeyType") == Some(&kind.into()))?;
                part.get("AttributeName")?.as_str().map(str::to_owned)
            };
            let (pk, sk) = (part("HASH"), part("RANGE"));
            pk.zip(sk).ok_or_else(|| not_modelled("a table or an index without two keys"))
        };
        let definitions = body.get("AttributeDefinitions").and_then(Value::as_array);
        let is_text = |definition: &Value| definition.get("AttributeType") == Some(&"S".into());
        if !definitions.into_iter().flatten().all(is_text) {
            return Err(not_modelled("keys that are no texts"));
        }
        let index = match body.get("GlobalSecondaryIndexes").and_then(Value::as_array) {
            None => None,
            Some(indexes) => {
                let [index] = indexes.as_slice() else {
                    return Err(not_modelled("several indexes"));
                };
                if index.get("Projection") != Some(&json!({ "ProjectionType": "KEYS_ONLY" })) {
                    return Err(not_modelled("an index that holds more than keys"));
                }
                let (pk, sk) = keys(index)?;
                Some(IndexSchema { name: required_text(index, "IndexName")?.to_owned(), pk, sk })
            }
        };
        let (pk, sk) = keys(body)?;
        Ok(Self { name: required_text(body, "TableName")?.to_owned(), pk, sk, index, ttl: None })
    }
}

/// A global secondary index that projects the keys only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSchema {
    /// Its name.
    pub name: String,
    /// The attribute that is its partition key.
    pub pk: String,
    /// The attribute that is its sort key.
    pub sk: String,
}

/// The replication lag, which `DynamoDB` leaves open, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Delay until the index shows a write.
    pub index_ms: i64,
    /// Delay until an eventually consistent read of the table shows a write.
    pub read_ms: i64,
}

/// Capacity units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Halves of read units: an eventually consistent read of up to 4 KB uses one.
    pub read_halves: u64,
    /// Write units.
    pub write: u64,
}

impl std::ops::AddAssign for Units {
    fn add_assign(&mut self, other: Self) {
        self.read_halves += other.read_halves;
        self.write += other.write;
    }
}

/// The total consumption of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Number of calls.
    pub calls: u64,
    /// The units that the calls consumed.
    pub units: Units,
}

/// Consumed capacity, by the rules of
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// The units of the last call.
    pub last: Units,
    /// The totals of all calls since the last reset, by operation.
    pub by_operation: BTreeMap<&'static str, Total>,
}

impl Consumed {
    /// The total of all calls since the last reset.
    #[must_use]
    pub fn total(&self) -> Total {
        let mut total = Total::default();
        for one in self.by_operation.values() {
            total.calls += one.calls;
            total.units += one.units;
        }
        total
    }
}

/// The consumption of one request from one table and its index.
#[derive(Clone, Copy, Debug, Default)]
struct Charge {
    read_halves: u32,
    write: u32,
    index_read_halves: u32,
    index_write: u32,
}

impl Charge {
    fn times(self, factor: u32) -> Self {
        Self {
            read_halves: self.read_halves * factor,
            write: self.write * factor,
            index_read_halves: self.index_read_halves * factor,
            index_write: self.index_write * factor,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            read_halves: self.read_halves + other.read_halves,
            write: self.write + other.write,
            index_read_halves: self.index_read_halves + other.index_read_halves,
            index_write: self.index_write + other.index_write,
        }
    }
}

/// The tables of an account in a region.
#[derive(Clone, Debug, Default)]
pub struct Dynamo {
    tables: BTreeMap<String, Table>,
    expressions: Expressions,
    tokens: Tokens,
    consumed: Consumed,
    lag: Lag,
    batch_part: Option<usize>,
    partitions: Partitions,
}

type Run = fn(&mut Dynamo, &Value, i64) -> Result<Value, Refusal>;

impl Dynamo {
    /// Creates DynamoDB without a table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a table, and replaces a table of the same name with all its items.
    pub fn create_table(&mut self, schema: TableSchema) {
        self.tables.insert(schema.name.clone(), Table::new(schema));
    }

    /// Sets the lag of eventually consistent reads behind writes from now on.
    pub fn set_lag(&mut self, lag: Lag) {
        self.lag = lag;
    }

    /// Limits batches to this number of items; the rest is returned as unprocessed, as `DynamoDB`
    /// may do at any time. `None` processes all items.
    pub fn set_batch_part(&mut self, items: Option<usize>) {
        self.batch_part = items;
    }

    /// Throttles requests that exceed these limits of a partition key from now on. `None`, the
    /// default, throttles nothing.
    pub fn set_partition_limits(&mut self, limits: Option<PartitionLimits>) {
        self.partitions.limits = limits;
        self.partitions.forget();
    }

    /// Number of throttled requests of each partition key since the limits were set.
    #[must_use]
    pub fn throttled(&self) -> &BTreeMap<PartitionUse, u64> {
        &self.partitions.throttled
    }

    /// Handles a request at `now_ms`, in milliseconds since the Unix epoch. `operation` and `body`
    /// are in wire format: `GetItem`, without the version in front, and its JSON.
    ///
    /// # Errors
    /// The errors of AWS, with its texts where they are known; `NotModelled` for a request that AWS
    /// may support but the model does not.
    pub fn call(&mut self, operation: &str, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        let (name, run): (&'static str, Run) = match operation {
            "CreateTable" => return self.make_table(body),
            "GetItem" => ("GetItem", Self::get_item),
            "PutItem" => ("PutItem", Self::put_item),
            "UpdateItem" => ("UpdateItem", Self::update_item),
            "DeleteItem" => ("DeleteItem", Self::delete_item),
            "Query" => ("Query", Self::query),
            "BatchGetItem" => ("BatchGetItem", Self::batch_get_item),
            "BatchWriteItem" => ("BatchWriteItem", Self::batch_write_item),
            "TransactGetItems" => ("TransactGetItems", Self::transact_get_items),
            "TransactWriteItems" => ("TransactWriteItems", Self::transact_write_items),
            "Scan" => return Err(not_modelled("Scan: the hub never scans")),
            other => return Err(not_modelled(other)),
        };
        self.settle(now_ms);
        self.consumed.last = Units::default();
        let answer = run(self, body, now_ms);
        let total = self.consumed.by_operation.entry(name).or_default();
        total.calls += 1;
        total.units += self.consumed.last;
        answer
    }

    /// The consumed capacity.
    #[must_use]
    pub fn consumed(&self) -> &Consumed {
        &self.consumed
    }

    /// Resets the counts.
    pub fn reset_consumed(&mut self) {
        self.consumed = Consumed::default();
    }

    /// The items of a table, in the order of their keys.
    pub fn items(&self, table: &str) -> impl Iterator<Item = &Item> {
        self.tables.get(table).into_iter().flat_map(Table::all).map(|stored| &stored.item)
    }

    /// The partition and sort keys of all items of a table, in their order.
    pub fn keys(&self, table: &str) -> impl Iterator<Item = (&str, &str)> {
        self.tables.get(table).into_iter().flat_map(Table::keys)
    }

    /// The item after the last write to it.
    #[must_use]
    pub fn item(&self, table: &str, pk: &str, sk: &str) -> Option<&Item> {
        self.tables.get(table)?.get(Key { pk, sk }).map(|stored| &stored.item)
    }

    /// Deletes expired items of a table at `now_ms`, which AWS does within days, without a request
    /// and at no cost. Returns the number of deleted items.
    pub fn delete_expired(&mut self, table: &str, now_ms: i64) -> usize {
        self.settle(now_ms);
        let Some(table) = self.tables.get_mut(table) else { return 0 };
        let Some(ttl) = table.schema.ttl.clone() else { return 0 };
        let is_expired = |item: &Item| {
            let until = item.get(&ttl).and_then(Attribute::number);
            until.is_some_and(|until| until < now_ms.div_euclid(1000))
        };
        let expired = table.keys().zip(table.all()).filter(|(_, stored)| is_expired(&stored.item));
        let expired = expired.map(|((pk, sk), _)| (pk.to_owned(), sk.to_owned()));
        let expired: Vec<_> = expired.collect();
        for (pk, sk) in &expired {
            table.put(Key { pk, sk }, None, self.lag, now_ms);
        }
        expired.len()
    }

    /// Creates a table from a request.
    fn make_table(&mut self, body: &Value) -> Result<Value, Refusal> {
        let schema = TableSchema::read(body)?;
        if self.tables.contains_key(&schema.name) {
            let reason = format!("Table already exists: {}", schema.name);
            return Err(Refusal::new("ResourceInUseException", reason));
        }
        let name = schema.name.clone();
        self.create_table(schema);
        Ok(json!({ "TableDescription": { "TableName": name, "TableStatus": "ACTIVE" } }))
    }

    fn settle(&mut self, now_ms: i64) {
        for table in self.tables.values_mut() {
            table.settle(now_ms);
        }
    }

    fn charge(&mut self, charge: Charge) {
        self.consumed.last += Units {
            read_halves: u64::from(charge.read_halves + charge.index_read_halves),
            write: u64::from(charge.write + charge.index_write),
        };
    }
}

fn table<'a>(tables: &'a BTreeMap<String, Table>, name: &str) -> Result<&'a Table, Refusal> {
    tables
        .get(name)
        .ok_or_else(|| Refusal::new("ResourceNotFoundException", "Requested resource not found"))
}

/// Refuses parameters that are not modelled.
fn known(body: &Value, fields: &[&str]) -> Result<(), Refusal> {
    let members = body.as_object().ok_or_else(|| {
        Refusal::new("SerializationException", "The request is not a JSON object")
    })?;
    match members.keys().find(|name| !fields.contains(&name.as_str())) {
        Some(other) => Err(not_modelled(other)),
        None => Ok(()),
    }
}

fn text<'a>(body: &'a Value, field: &str) -> Result<Option<&'a str>, Refusal> {
    match body.get(field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::new("SerializationException", format!("{field} is not a text"))),
    }
}

fn flag(body: &Value, field: &str) -> Result<Option<bool>, Refusal> {
    match body.get(field) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Refusal::new("SerializationException", format!("{field} is not a flag"))),
    }
}

fn required<'a>(body: &'a Value, field: &str) -> Result<&'a Value, Refusal> {
    body.get(field).ok_or_else(|| {
        let field = uncapitalised(field);
        invalid(format!(
            "1 validation error detected: Value null at '{field}' failed to satisfy constraint: \
             Member must not be null"
        ))
    })
}

fn required_text<'a>(body: &'a Value, field: &str) -> Result<&'a str, Refusal> {
    required(body, field)?;
    text(body, field).map(Option::unwrap_or_default)
}

/// A string that must be one of `choices`.
fn choice<'a>(body: &'a Value, field: &str, choices: &[&str]) -> Result<&'a str, Refusal> {
    match text(body, field)? {
        None => Ok("NONE"),
        Some(choice) if choices.contains(&choice) => Ok(choice),
        Some(other) => Err(invalid(format!(
            "1 validation error detected: Value '{other}' at '{}' failed to satisfy constraint: \
             Member must satisfy enum value set: [{}]",
            uncapitalised(field),
            choices.join(", ")
        ))),
    }
}

fn uncapitalised(field: &str) -> String {
    let mut letters = field.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// `ConsumedCapacity` of one table, if the request asks for it.
fn capacity(
    body: &Value,
    table: &Table,
    charge: Charge,
    is_transaction: bool,
) -> Result<Option<Value>, Refusal> {
    let units = |halves: u32, write: u32| f64::from(halves) / 2.0 + f64::from(write);
    let detail = choice(body, "ReturnConsumedCapacity", &["INDEXES", "TOTAL", "NONE"])?;
    if detail == "NONE" {
        return Ok(None);
    }
    let own = units(charge.read_halves, charge.write);
    let of_index = units(charge.index_read_halves, charge.index_write);
    let mut consumed = Map::new();
    consumed.insert("TableName".to_owned(), table.schema.name.clone().into());
    consumed.insert("CapacityUnits".to_owned(), (own + of_index).into());
    if is_transaction {
        let is_read = charge.read_halves > 0;
        let name = if is_read { "ReadCapacityUnits" } else { "WriteCapacityUnits" };
        consumed.insert(name.to_owned(), (own + of_index).into());
    }
    if detail == "INDEXES" {
        consumed.insert("Table".to_owned(), json!({ "CapacityUnits": own }));
        if let Some(index) = &table.schema.index
            && charge.index_read_halves + charge.index_write > 0
        {
            let of_index = json!({ index.name.as_str(): { "CapacityUnits": of_index } });
            consumed.insert("GlobalSecondaryIndexes".to_owned(), of_index);
        }
    }
    Ok(Some(Value::Object(consumed)))
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("ValidationException", message)
}

/// An error for a request that AWS may support but the model does not.
fn not_modelled(what: &str) -> Refusal {
    Refusal::new("NotModelled", format!("the model of DynamoDB does not know {what}"))
}
