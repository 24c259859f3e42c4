//! Reads: `GetItem`, `BatchGetItem` and `Query`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::evaluate::{self, Scope};
use super::expression::{Comparator, Condition, Expression, Kind, Operand, Path};
use super::item::{self, Attribute, Item, write_item};
use super::partition::{self, Needs, PartitionUse};
use super::table::{Key, Place, Stored, Table, read_halves, text_of};
use super::{
    Charge, Dynamo, capacity, flag, invalid, known, not_modelled, required, required_text, text,
};
use crate::cloud::Refusal;

/// Largest number of keys in a batch.
const MOST_OF_A_BATCH: usize = 100;

/// Largest size of the answer to a batch, in bytes.
const LARGEST_BATCH: usize = 16 * 1024 * 1024;

/// Largest number of bytes that a query reads.
const LARGEST_PAGE: usize = 1024 * 1024;

/// The requested parts of an item.
#[derive(Default)]
struct Projection<'a> {
    paths: Option<Arc<Expression<Vec<Path>>>>,
    scope: Scope<'a>,
}

impl Projection<'_> {
    fn of(&self, item: &Item) -> Result<Value, Refusal> {
        match &self.paths {
            None => Ok(write_item(item)),
            Some(paths) => evaluate::project(item, paths.tree.iter(), &self.scope)
                .map(|part| write_item(&part)),
        }
    }
}

impl Dynamo {
    /// Parses the projection of a request that has no other expression.
    fn projection<'a>(&mut self, body: &'a Value) -> Result<Projection<'a>, Refusal> {
        let scope = Scope::read(body)?;
        let paths = match text(body, "ProjectionExpression")? {
            Some(text) => Some(self.expressions.projection(text)?),
            None => None,
        };
        if let Some(paths) = &paths {
            scope.all_given(paths)?;
        }
        let used = paths.as_ref().map(|paths| paths.names.iter().map(String::as_str).collect());
        scope.all_used(used.as_ref())?;
        Ok(Projection { paths, scope })
    }

    pub(super) fn get_item(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        known(
            body,
            &[
                "TableName",
                "Key",
                "ConsistentRead",
                "ProjectionExpression",
                "ExpressionAttributeNames",
                "ReturnConsumedCapacity",
            ],
        )?;
        let is_consistent = flag(body, "ConsistentRead")?.unwrap_or_default();
        let (name, key, charge, item) = self.read_one(body, is_consistent)?;
        let needs = |needs: &mut Needs| partition::add(needs, name, key.pk, charge);
        self.partitions.take(now_ms, needs).map_err(|keys| partition::throttled(&keys))?;
        self.charge(charge);
        let mut answer = Map::new();
        answer.extend(item.map(|item| ("Item".to_owned(), item)));
        let consumed = capacity(body, super::table(&self.tables, name)?, charge, false)?;
        answer.extend(consumed.map(|consumed| ("ConsumedCapacity".to_owned(), consumed)));
        Ok(Value::Object(answer))
    }

    /// One item, and its cost; nothing is charged yet.
    pub(super) fn read_one<'a>(
        &mut self,
        body: &'a Value,
        is_consistent: bool,
    ) -> Result<(&'a str, Key<'a>, Charge, Option<Value>), Refusal> {
        let name = required_text(body, "TableName")?;
        let projection = self.projection(body)?;
        let table = super::table(&self.tables, name)?;
        let key = table.key(required(body, "Key")?)?;
        let (charge, stored) = look_up(table, key, is_consistent);
        let item = stored.map(|stored| projection.of(&stored.item)).transpose()?;
        Ok((name, key, charge, item))
    }

    pub(super) fn batch_get_item(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        known(body, &["RequestItems", "ReturnConsumedCapacity"])?;
        let requests = required(body, "RequestItems")?.as_object();
        let requests = requests.filter(|tables| !tables.is_empty()).ok_or_else(|| {
            invalid("1 validation error detected: Value at 'requestItems' must not be empty")
        })?;
        let mut responses = Map::new();
        let mut rest = Map::new();
        let mut charges: BTreeMap<&str, Charge> = BTreeMap::new();
        let (mut asked, mut read, mut size) = (0, 0, 0);
        let mut exceeded = Vec::new();
        let part = self.batch_part.unwrap_or(usize::MAX);
        for (name, request) in requests {
            known(
                request,
                &["Keys", "ConsistentRead", "ProjectionExpression", "ExpressionAttributeNames"],
            )?;
            let projection = self.projection(request)?;
            let table = super::table(&self.tables, name)?;
            let is_consistent = flag(request, "ConsistentRead")?.unwrap_or_default();
            let wire = required(request, "Keys")?.as_array();
            let wire = wire.filter(|keys| !keys.is_empty()).ok_or_else(|| {
                invalid("1 validation error detected: a list of keys must not be empty")
            })?;
            asked += wire.len();
            if asked > MOST_OF_A_BATCH {
                return Err(invalid("Too many items requested for the BatchGetItem call"));
            }
            let mut keys = BTreeMap::new();
            for key in wire {
                if keys.insert(table.key(key)?, key).is_some() {
                    return Err(invalid("Provided list of item keys contains duplicates"));
                }
            }
            let (mut found, mut unread) = (Vec::new(), Vec::new());
            let total = charges.entry(name.as_str()).or_default();
            // AWS guarantees no order; the model uses the order of the keys, which is not that of
            // the request.
            for (key, wire) in keys {
                if read >= part || size > LARGEST_BATCH {
                    unread.push(wire.clone());
                    continue;
                }
                let (charge, stored) = look_up(table, key, is_consistent);
                let needs = |needs: &mut Needs| partition::add(needs, name, key.pk, charge);
                if let Err(keys) = self.partitions.take(now_ms, needs) {
                    exceeded.extend(keys);
                    unread.push(wire.clone());
                    continue;
                }
                read += 1;
                *total = total.plus(charge);
                if let Some(stored) = stored {
                    size += stored.size;
                    found.push(projection.of(&stored.item)?);
                }
            }
            responses.insert(name.clone(), Value::Array(found));
            if !unread.is_empty() {
                let mut request = request.as_object().cloned().unwrap_or_default();
                request.insert("Keys".to_owned(), unread.into());
                rest.insert(name.clone(), request.into());
            }
        }
        if read == 0 && !exceeded.is_empty() {
            return Err(partition::throttled(&exceeded));
        }
        let mut answer = Map::from_iter([
            ("Responses".to_owned(), responses.into()),
            ("UnprocessedKeys".to_owned(), rest.into()),
        ]);
        self.add_capacities(body, &mut answer, charges, false)?;
        Ok(answer.into())
    }

    pub(super) fn query(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        known(
            body,
            &[
                "TableName",
                "IndexName",
                "KeyConditionExpression",
                "FilterExpression",
                "ProjectionExpression",
                "ExpressionAttributeNames",
                "ExpressionAttributeValues",
                "ScanIndexForward",
                "Limit",
                "ExclusiveStartKey",
                "ConsistentRead",
                "Select",
                "ReturnConsumedCapacity",
            ],
        )?;
        let condition = text(body, "KeyConditionExpression")?.ok_or_else(|| {
            invalid(
                "Either the KeyConditions or KeyConditionExpression parameter must be specified \
                 in the request.",
            )
        })?;
        let scope = Scope::read(body)?;
        let condition = self.expressions.condition(Kind::KeyCondition, condition)?;
        let filter = match text(body, "FilterExpression")? {
            Some(text) => Some(self.expressions.condition(Kind::Filter, text)?),
            None => None,
        };
        let paths = match text(body, "ProjectionExpression")? {
            Some(text) => Some(self.expressions.projection(text)?),
            None => None,
        };
        let mut used: BTreeSet<&str> = BTreeSet::new();
        for condition in [Some(&condition), filter.as_ref()].into_iter().flatten() {
            evaluate::check(condition, &scope)?;
            used.extend(condition.names.iter().chain(&condition.values).map(String::as_str));
        }
        if let Some(paths) = &paths {
            scope.all_given(paths)?;
            used.extend(paths.names.iter().map(String::as_str));
        }
        scope.all_used(Some(&used))?;

        let table = super::table(&self.tables, required_text(body, "TableName")?)?;
        let is_consistent = flag(body, "ConsistentRead")?.unwrap_or_default();
        let source = Source::read(table, body, is_consistent)?;
        let keys = source.keys();
        let range = key_range(&condition.tree, &scope, keys)?;
        if let Some(filter) = &filter {
            check_filter(&filter.tree, &scope, keys)?;
        }
        let start = match body.get("ExclusiveStartKey") {
            Some(start) => Some(source.start(start, &range)?),
            None => None,
        };
        let is_count = match text(body, "Select")? {
            None | Some("ALL_ATTRIBUTES" | "ALL_PROJECTED_ATTRIBUTES" | "SPECIFIC_ATTRIBUTES") => {
                false
            }
            Some("COUNT") => true,
            Some(other) => return Err(not_modelled(other)),
        };
        let mut page = Page {
            filter: filter.as_deref(),
            projection: Projection { paths, scope },
            is_count,
            limit: limit(body)?,
            ..Page::default()
        };
        let is_forward = flag(body, "ScanIndexForward")?.unwrap_or(true);
        source.visit(&range, start, is_forward, &mut |row| page.take(row))?;
        let halves = read_halves(page.size, is_consistent);
        let charge = match &source {
            Source::Table { .. } => Charge { read_halves: halves, ..Charge::default() },
            Source::Index { .. } => Charge { index_read_halves: halves, ..Charge::default() },
        };
        let needs = |needs: &mut Needs| {
            needs.insert(source.partition_use(&range), halves);
        };
        self.partitions.take(now_ms, needs).map_err(|keys| partition::throttled(&keys))?;
        let mut answer = Map::from_iter([
            ("Count".to_owned(), page.count.into()),
            ("ScannedCount".to_owned(), page.scanned.into()),
        ]);
        if !is_count {
            answer.insert("Items".to_owned(), page.items.into());
        }
        if let Some(last) = page.last.filter(|_| page.is_cut) {
            answer.insert("LastEvaluatedKey".to_owned(), source.key_of(&last.item));
        }
        let consumed = capacity(body, table, charge, false)?;
        answer.extend(consumed.map(|consumed| ("ConsumedCapacity".to_owned(), consumed)));
        self.charge(charge);
        Ok(answer.into())
    }
}

fn look_up<'t>(
    table: &'t Table,
    key: Key<'_>,
    is_consistent: bool,
) -> (Charge, Option<&'t Arc<Stored>>) {
    let stored = if is_consistent { table.get(key) } else { table.get_eventually(key) };
    let read_halves = read_halves(stored.map_or(0, |stored| stored.size), is_consistent);
    (Charge { read_halves, ..Charge::default() }, stored)
}

fn limit(body: &Value) -> Result<usize, Refusal> {
    let Some(limit) = body.get("Limit") else { return Ok(usize::MAX) };
    let limit = limit
        .as_i64()
        .ok_or_else(|| Refusal::new("SerializationException", "Limit is not a number"))?;
    usize::try_from(limit).ok().filter(|limit| *limit > 0).ok_or_else(|| {
        invalid(format!(
            "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: \
             Member must have value greater than or equal to 1"
        ))
    })
}

/// The result of a query so far.
#[derive(Default)]
struct Page<'a> {
    filter: Option<&'a Expression<Condition>>,
    projection: Projection<'a>,
    is_count: bool,
    limit: usize,
    items: Vec<Value>,
    count: usize,
    scanned: usize,
    size: usize,
    /// The last item that was evaluated.
    last: Option<Arc<Stored>>,
    /// Whether there may be more items.
    is_cut: bool,
}

impl Page<'_> {
    /// Adds an item, and returns whether the query continues.
    fn take(&mut self, row: Arc<Stored>) -> Result<bool, Refusal> {
        if self.size + row.size > LARGEST_PAGE && self.scanned > 0 {
            self.is_cut = true;
            return Ok(false);
        }
        self.size += row.size;
        self.scanned += 1;
        let scope = &self.projection.scope;
        if self.filter.is_none_or(|f| evaluate::holds(&f.tree, scope, Some(&row.item))) {
            self.count += 1;
            if !self.is_count {
                self.items.push(self.projection.of(&row.item)?);
            }
        }
        self.last = Some(row);
        // A query that reaches its limit does not check whether there are more items.
        self.is_cut = self.scanned == self.limit;
        Ok(!self.is_cut)
    }
}

/// The table or the index that a query reads.
enum Source<'t> {
    Table { table: &'t Table, is_consistent: bool },
    Index { table: &'t Table, keys: [&'t str; 2] },
}

/// The range of sort keys of a query: from the first, up to and excluding the second.
struct Range {
    partition: String,
    from: String,
    until: Option<String>,
}

impl Range {
    fn has(&self, sort: &str) -> bool {
        sort >= self.from.as_str() && self.until.as_deref().is_none_or(|until| sort < until)
    }
}

/// The string that follows `text` immediately.
fn after(text: &str) -> String {
    format!("{text}\0")
}

impl<'t> Source<'t> {
    fn read(table: &'t Table, body: &Value, is_consistent: bool) -> Result<Self, Refusal> {
        let Some(name) = text(body, "IndexName")? else {
            return Ok(Self::Table { table, is_consistent });
        };
        let index = table.schema.index.as_ref().filter(|index| index.name == name);
        let index = index.ok_or_else(|| {
            invalid(format!("The table does not have the specified index: {name}"))
        })?;
        if is_consistent {
            return Err(invalid("Consistent reads are not supported on global secondary indexes"));
        }
        if text(body, "Select")? == Some("ALL_ATTRIBUTES") {
            return Err(super::item::parameter(&format!(
                "Select type ALL_ATTRIBUTES is not supported for global secondary index {name} \
                 because its projection type is not ALL"
            )));
        }
        Ok(Self::Index { table, keys: [&index.pk, &index.sk] })
    }

    fn keys(&self) -> [&'t str; 2] {
        match self {
            Self::Table { table, .. } => [&table.schema.pk, &table.schema.sk],
            Self::Index { keys, .. } => *keys,
        }
    }

    /// The partition key whose throughput a query of `range` uses.
    fn partition_use(&self, range: &Range) -> PartitionUse {
        let (table, index) = match self {
            Self::Table { table, .. } => (table, None),
            Self::Index { table, .. } => (table, table.schema.index.as_ref()),
        };
        PartitionUse {
            table: table.schema.name.clone(),
            index: index.map(|index| index.name.clone()),
            key: range.partition.clone(),
            is_write: false,
        }
    }

    /// All attributes of a start key.
    fn names(&self) -> Vec<&'t str> {
        match self {
            Self::Table { table, .. } => vec![&table.schema.pk, &table.schema.sk],
            Self::Index { table, keys: [pk, sk] } => {
                vec![&table.schema.pk, &table.schema.sk, pk, sk]
            }
        }
    }

    fn key_of(&self, item: &Item) -> Value {
        let member = |name: &str| Some((name.to_owned(), item.get(name)?.write()));
        Value::Object(self.names().into_iter().filter_map(member).collect())
    }

    /// Parses `ExclusiveStartKey`: the position after which the query starts.
    fn start(&self, start: &Value, range: &Range) -> Result<Place, Refusal> {
        let wrong = || invalid("The provided starting key is invalid");
        let names = self.names();
        if start.as_object().is_none_or(|start| start.len() != names.len()) {
            return Err(wrong());
        }
        let part = |name: &str| text_of(start, name).ok_or_else(wrong);
        let [pk, sk] = self.keys();
        let (partition, sort) = (part(pk)?, part(sk)?);
        if partition != range.partition || !range.has(sort) {
            return Err(invalid(
                "The provided starting key is outside query boundaries based on provided \
                 conditions",
            ));
        }
        match self {
            Self::Table { .. } => Ok((sort.to_owned(), String::new(), String::new())),
            Self::Index { table, .. } => {
                let (pk, sk) = (part(&table.schema.pk)?, part(&table.schema.sk)?);
                Ok((sort.to_owned(), pk.to_owned(), sk.to_owned()))
            }
        }
    }

    /// Visits the rows of a range in order, as long as `take` returns true.
    fn visit(
        &self,
        range: &Range,
        start: Option<Place>,
        is_forward: bool,
        take: &mut dyn FnMut(Arc<Stored>) -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        match self {
            Self::Table { table, is_consistent } => {
                let Some(rows) = table.partition(&range.partition, *is_consistent) else {
                    return Ok(());
                };
                let (mut from, mut until) = (range.from.clone(), range.until.clone());
                match start {
                    Some((sort, ..)) if is_forward => from = after(&sort),
                    Some((sort, ..)) => until = Some(sort),
                    None => {}
                }
                if until.as_ref().is_some_and(|until| *until <= from) {
                    return Ok(());
                }
                let until = until.map_or(Bound::Unbounded, Bound::Excluded);
                let rows: &BTreeMap<_, _> = match &rows {
                    Cow::Borrowed(rows) => rows,
                    Cow::Owned(rows) => rows,
                };
                let rows = rows.range((Bound::Included(from), until)).map(|(_, row)| row);
                each(rows, is_forward, &mut |row| take(Arc::clone(row)))
            }
            Self::Index { table, .. } => {
                let Some(places) = table.places(&range.partition) else { return Ok(()) };
                let edge = |sort: String| (sort, String::new(), String::new());
                let (mut from, mut until) =
                    (edge(range.from.clone()), range.until.clone().map(edge));
                match start {
                    Some((sort, pk, sk)) if is_forward => from = (sort, pk, after(&sk)),
                    Some(start) => until = Some(start),
                    None => {}
                }
                if until.as_ref().is_some_and(|until| *until <= from) {
                    return Ok(());
                }
                let until = until.map_or(Bound::Unbounded, Bound::Excluded);
                let places = places.range((Bound::Included(from), until));
                each(places, is_forward, &mut |place| {
                    take(Arc::new(table.entry_item(&range.partition, place)))
                })
            }
        }
    }
}

fn each<T>(
    rows: impl DoubleEndedIterator<Item = T>,
    is_forward: bool,
    take: &mut dyn FnMut(T) -> Result<bool, Refusal>,
) -> Result<(), Refusal> {
    let rows: &mut dyn Iterator<Item = T> =
        if is_forward { &mut { rows } } else { &mut rows.rev() };
    for row in rows {
        if !take(row)? {
            break;
        }
    }
    Ok(())
}

/// Parses the key condition of a query.
fn key_range(
    condition: &Condition,
    scope: &Scope<'_>,
    [pk, sk]: [&str; 2],
) -> Result<Range, Refusal> {
    let mut parts = Vec::new();
    conjuncts(condition, &mut parts)?;
    let (mut partition, mut sort) = (None, None);
    for part in parts {
        let (name, bounds) = key_part(part, scope)?;
        let place = if name == pk {
            &mut partition
        } else if name == sk {
            &mut sort
        } else {
            return Err(missing(if partition.is_none() { pk } else { sk }));
        };
        if place.replace(bounds).is_some() {
            return Err(Kind::KeyCondition
                .invalid("KeyConditionExpressions must only contain one condition per key"));
        }
    }
    let Bounds { from: partition, is_equal, .. } = partition.ok_or_else(|| missing(pk))?;
    if !is_equal {
        return Err(invalid("Query key condition not supported"));
    }
    let (from, until) = sort.map_or((String::new(), None), |sort| (sort.from, sort.until));
    Ok(Range { partition, from, until })
}

fn missing(name: &str) -> Refusal {
    invalid(format!("Query condition missed key schema element: {name}"))
}

fn conjuncts<'c>(condition: &'c Condition, parts: &mut Vec<&'c Condition>) -> Result<(), Refusal> {
    let operator = match condition {
        Condition::And(left, right) => {
            conjuncts(left, parts)?;
            return conjuncts(right, parts);
        }
        Condition::Compare(_, Comparator::NotEqual, _) => "<>",
        Condition::Or(..) => "OR",
        Condition::Not(_) => "NOT",
        Condition::In(..) => "IN",
        Condition::Exists(_) => "attribute_exists",
        Condition::NotExists(_) => "attribute_not_exists",
        Condition::Type(..) => "attribute_type",
        Condition::Contains(..) => "contains",
        Condition::Compare(..) | Condition::Between(..) | Condition::BeginsWith(..) => {
            parts.push(condition);
            return Ok(());
        }
    };
    let reason = format!("Invalid operator used in KeyConditionExpression: {operator}");
    Err(invalid(reason))
}

struct Bounds {
    from: String,
    until: Option<String>,
    is_equal: bool,
}

/// A condition on one key.
fn key_part<'s>(
    condition: &'s Condition,
    scope: &'s Scope<'_>,
) -> Result<(&'s str, Bounds), Refusal> {
    let unsupported = || invalid("Query key condition not supported");
    let name = |operand: &'s Operand| match operand {
        Operand::Path(path) if path.len() == 1 => Ok(scope.root(path)),
        Operand::Path(_) => Err(Kind::KeyCondition
            .invalid("KeyConditionExpressions cannot have conditions on nested attributes")),
        _ => Err(unsupported()),
    };
    let value = |operand: &Operand, key: &str| {
        let Operand::Value(value) = operand else { return Err(unsupported()) };
        match scope.value(value) {
            Some(Attribute::S(text)) if text.is_empty() => Err(invalid(format!(
                "One or more parameter values are not valid. The AttributeValue for a key \
                 attribute cannot contain an empty string value. Key: {key}"
            ))),
            Some(Attribute::S(text)) => Ok(text.clone()),
            _ => Err(item::parameter("Condition parameter type does not match schema type")),
        }
    };
    let from = |from, until| Bounds { from, until, is_equal: false };
    match condition {
        Condition::Compare(left, comparator, right) => {
            // The key may be on either side.
            let (left, comparator, right) = match left {
                Operand::Value(_) => (right, comparator.mirrored(), left),
                _ => (left, *comparator, right),
            };
            let name = name(left)?;
            let value = value(right, name)?;
            let bounds = match comparator {
                Comparator::Equal => {
                    let until = Some(after(&value));
                    Bounds { from: value, until, is_equal: true }
                }
                Comparator::Less => from(String::new(), Some(value)),
                Comparator::LessOrEqual => from(String::new(), Some(after(&value))),
                Comparator::Greater => from(after(&value), None),
                Comparator::GreaterOrEqual => from(value, None),
                Comparator::NotEqual => return Err(unsupported()),
            };
            Ok((name, bounds))
        }
        Condition::Between(operand, lower, upper) => {
            let name = name(operand)?;
            let upper = after(&value(upper, name)?);
            Ok((name, from(value(lower, name)?, Some(upper))))
        }
        Condition::BeginsWith(operand, prefix) => {
            let name = name(operand)?;
            let prefix = value(prefix, name)?;
            let until = behind_prefix(&prefix);
            Ok((name, from(prefix, until)))
        }
        _ => Err(unsupported()),
    }
}

/// The first string after all strings that begin with `prefix`.
fn behind_prefix(prefix: &str) -> Option<String> {
    let mut letters: Vec<char> = prefix.chars().collect();
    while let Some(last) = letters.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}

/// Refuses a filter on key attributes.
fn check_filter(condition: &Condition, scope: &Scope<'_>, keys: [&str; 2]) -> Result<(), Refusal> {
    let operand = |operand: &Operand| check_filtered(operand, scope, keys);
    let path = |path: &Path| {
        let root = scope.root(path);
        if keys.contains(&root) {
            return Err(invalid(format!(
                "Filter Expression can only contain non-primary key attributes: Primary key \
                 attribute: {root}"
            )));
        }
        Ok(())
    };
    match condition {
        Condition::Or(left, right) | Condition::And(left, right) => {
            check_filter(left, scope, keys)?;
            check_filter(right, scope, keys)
        }
        Condition::Not(inner) => check_filter(inner, scope, keys),
        Condition::Compare(left, _, right)
        | Condition::BeginsWith(left, right)
        | Condition::Contains(left, right) => {
            operand(left)?;
            operand(right)
        }
        Condition::Between(value, lower, upper) => {
            [value, lower, upper].into_iter().try_for_each(operand)
        }
        Condition::In(value, alternatives) => {
            operand(value)?;
            alternatives.iter().try_for_each(operand)
        }
        Condition::Exists(found) | Condition::NotExists(found) => path(found),
        Condition::Type(value, _) => operand(value),
    }
}

fn check_filtered(operand: &Operand, scope: &Scope<'_>, keys: [&str; 2]) -> Result<(), Refusal> {
    match operand {
        Operand::Path(path) => {
            let exists = Condition::Exists(path.clone());
            check_filter(&exists, scope, keys)
        }
        Operand::Size(inner) => check_filtered(inner, scope, keys),
        Operand::Value(_) => Ok(()),
    }
}
