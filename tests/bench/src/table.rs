//! Fake table that executes requests and counts their capacity units.
//!
//! It does not check conditions: each invocation starts with the same items, so a condition that
//! holds once holds in every run.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// An item in DynamoDB's JSON.
pub(crate) type Item = Map<String, Value>;

/// Capacity units, as DynamoDB bills them.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Units {
    pub(crate) read: f64,
    pub(crate) write: f64,
}

/// Items by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(HashMap<(String, String), Item>);

impl Table {
    /// Adds an item without cost.
    pub(crate) fn seed(&mut self, item: Item) {
        self.0.insert(key(&item), item);
    }

    /// Executes a request, or returns `None` if its operation is not supported.
    pub(crate) fn answer(&mut self, operation: &str, request: &Value) -> Option<(Value, Units)> {
        match operation {
            "GetItem" => Some(self.get(request)),
            "PutItem" => Some(self.put(request)),
            "UpdateItem" => Some(self.update(request)),
            "Query" => Some(self.query(request)),
            "BatchGetItem" => Some(self.get_all(request)),
            "BatchWriteItem" => Some(self.delete_all(request)),
            "TransactWriteItems" => Some(self.put_all(request)),
            _ => None,
        }
    }

    fn get(&self, request: &Value) -> (Value, Units) {
        let found = self.0.get(&key(object(request, "Key")));
        let units = Units { read: reads(found.map_or(0, size), request), write: 0.0 };
        (found.map_or_else(|| json!({}), |item| json!({ "Item": item })), units)
    }

    fn put(&mut self, request: &Value) -> (Value, Units) {
        let new = object(request, "Item").clone();
        let old = self.0.insert(key(&new), new.clone());
        (json!({}), Units { read: 0.0, write: writes(old.as_ref(), &new) })
    }

    fn update(&mut self, request: &Value) -> (Value, Units) {
        let place = object(request, "Key");
        let old = self.0.get(&key(place)).cloned();
        let base = old.clone().unwrap_or_else(|| place.clone());
        let new = Update {
            old: &base,
            names: object(request, "ExpressionAttributeNames"),
            values: object(request, "ExpressionAttributeValues"),
        }
        .apply(request.get("UpdateExpression").and_then(Value::as_str).unwrap_or_default());
        let units = Units { read: 0.0, write: writes(old.as_ref(), &new) };
        let answer = match request.get("ReturnValues").and_then(Value::as_str) {
            Some("ALL_NEW") => json!({ "Attributes": new }),
            Some("UPDATED_NEW") => {
                let changed = new.iter().filter(|(name, value)| base.get(*name) != Some(*value));
                let changed: Item = changed.map(|(n, v)| (n.clone(), v.clone())).collect();
                json!({ "Attributes": changed })
            }
            _ => json!({}),
        };
        self.0.insert(key(&new), new);
        (answer, units)
    }

    /// Returns the whole partition of the table or its index, because the initial items match every
    /// sort key condition.
    fn query(&self, request: &Value) -> (Value, Units) {
        let values = object(request, "ExpressionAttributeValues");
        let partition = [":pk", ":parent"].into_iter().find_map(|name| string(values.get(name)));
        let index = request.get("IndexName").is_some();
        let attribute = if index { "gsi1pk" } else { "pk" };
        let ours =
            |item: &&Item| partition.is_some_and(|name| string(item.get(attribute)) == Some(name));
        // The index projects only keys.
        let kept = |name: &str| !index || ["pk", "sk", "gsi1pk", "gsi1sk"].contains(&name);
        let seen = |item: &Item| -> Item {
            let attributes = item.iter().filter(|(name, _)| kept(name));
            attributes.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let items: Vec<Item> = self.0.values().filter(ours).map(seen).collect();
        let bytes = items.iter().map(size).sum();
        let units = Units { read: reads(bytes, request), write: 0.0 };
        (json!({ "Items": items, "Count": items.len(), "ScannedCount": items.len() }), units)
    }

    /// Reads a batch. Each item is rounded up separately.
    fn get_all(&self, request: &Value) -> (Value, Units) {
        let (mut responses, mut read) = (Item::new(), 0.0);
        for (table, asked) in object(request, "RequestItems") {
            let keys = asked.get("Keys").and_then(Value::as_array).into_iter().flatten();
            let found: Vec<_> = keys.map(|place| self.0.get(&key_of(place))).collect();
            read += found.iter().map(|item| reads(item.map_or(0, size), asked)).sum::<f64>();
            responses.insert(table.clone(), found.into_iter().flatten().cloned().collect());
        }
        let answer = json!({ "Responses": responses, "UnprocessedKeys": {} });
        (answer, Units { read, write: 0.0 })
    }

    /// Executes a transaction of puts, which costs twice as much as single puts.
    fn put_all(&mut self, request: &Value) -> (Value, Units) {
        let writes = request.get("TransactItems").and_then(Value::as_array).into_iter().flatten();
        let puts = writes.filter_map(|write| write.get("Put"));
        let write: f64 = puts.map(|put| 2.0 * self.put(put).1.write).sum();
        (json!({}), Units { read: 0.0, write })
    }

    fn delete_all(&mut self, request: &Value) -> (Value, Units) {
        let requests = object(request, "RequestItems").values();
        let keys = requests.filter_map(Value::as_array).flatten();
        let mut write = 0.0;
        for delete in keys.filter_map(|request| request.get("DeleteRequest")) {
            let old = self.0.remove(&key(object(delete, "Key")));
            write += units(old.as_ref().map_or(0, size), 1024);
        }
        (json!({ "UnprocessedItems": {} }), Units { read: 0.0, write })
    }
}

fn key(item: &Item) -> (String, String) {
    let part = |name: &str| string(item.get(name)).unwrap_or_default().to_owned();
    (part("pk"), part("sk"))
}

fn key_of(place: &Value) -> (String, String) {
    place.as_object().map(key).unwrap_or_default()
}

fn string(value: Option<&Value>) -> Option<&str> {
    value?.get("S")?.as_str()
}

fn object<'a>(value: &'a Value, name: &str) -> &'a Item {
    static NONE: std::sync::LazyLock<Item> = std::sync::LazyLock::new(Item::new);
    value.get(name).and_then(Value::as_object).unwrap_or(&NONE)
}

/// An update expression for one item.
struct Update<'a> {
    old: &'a Item,
    names: &'a Item,
    values: &'a Item,
}

impl Update<'_> {
    fn apply(&self, expression: &str) -> Item {
        let mut new = self.old.clone();
        for (action, list) in clauses(expression) {
            for part in split(&list, ',') {
                match action {
                    "SET" => {
                        if let Some((name, value)) = part.split_once('=') {
                            new.insert(self.name(name), self.value(value));
                        }
                    }
                    "REMOVE" => {
                        new.remove(&self.name(&part));
                    }
                    _ => {
                        if let Some((name, value)) = part.trim().split_once(' ') {
                            let name = self.name(name);
                            let sum =
                                number(self.old.get(&name)) + number(Some(&self.value(value)));
                            new.insert(name, json!({ "N": sum.to_string() }));
                        }
                    }
                }
            }
        }
        new
    }

    fn name(&self, name: &str) -> String {
        let name = name.trim();
        self.names.get(name).and_then(Value::as_str).unwrap_or(name).to_owned()
    }

    fn value(&self, term: &str) -> Value {
        for sign in ['+', '-'] {
            if let [left, right] = split(term, sign).as_slice() {
                let (left, right) =
                    (number(Some(&self.value(left))), number(Some(&self.value(right))));
                let sum = if sign == '+' { left + right } else { left - right };
                return json!({ "N": sum.to_string() });
            }
        }
        let term = term.trim();
        let call = |name: &str| {
            let inner = term.strip_prefix(name)?.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(split(inner, ','))
        };
        if let Some([name, value]) = call("if_not_exists").as_deref() {
            let found = self.old.get(&self.name(name)).cloned();
            return found.unwrap_or_else(|| self.value(value));
        }
        if let Some([first, second]) = call("list_append").as_deref() {
            let list = |term: &str| {
                let value = self.value(term);
                value.get("L").and_then(Value::as_array).cloned().unwrap_or_default()
            };
            let both = [list(first), list(second)].concat();
            return json!({ "L": both });
        }
        let value = self.values.get(term).or_else(|| self.old.get(&self.name(term)));
        value.cloned().unwrap_or(Value::Null)
    }
}

fn number(value: Option<&Value>) -> i64 {
    let number = value.and_then(|value| value.get("N")).and_then(Value::as_str);
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Splits an expression such as `SET a = :a REMOVE b` into its clauses.
fn clauses(expression: &str) -> Vec<(&'static str, String)> {
    let mut clauses: Vec<(&'static str, String)> = Vec::new();
    for word in expression.split_whitespace() {
        match ["SET", "REMOVE", "ADD"].into_iter().find(|action| *action == word) {
            Some(action) => clauses.push((action, String::new())),
            None => {
                if let Some((_, list)) = clauses.last_mut() {
                    list.push_str(word);
                    list.push(' ');
                }
            }
        }
    }
    clauses
}

/// Splits outside parentheses.
fn split(text: &str, at: char) -> Vec<String> {
    let mut depth = 0_usize;
    let mut parts = vec![String::new()];
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == at && depth == 0 {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

/// Units for `bytes` in steps of `step`, at least one.
fn units(bytes: usize, step: usize) -> f64 {
    let units = bytes.div_ceil(step).max(1);
    u32::try_from(units).map_or(f64::INFINITY, f64::from)
}

fn reads(bytes: usize, request: &Value) -> f64 {
    let consistent = request.get("ConsistentRead").and_then(Value::as_bool).unwrap_or(false);
    units(bytes, 4096) * if consistent { 1.0 } else { 0.5 }
}

/// Cost of a write including the index: one unit if an index entry is added or removed, two if it
/// moves, none if it stays.
fn writes(old: Option<&Item>, new: &Item) -> f64 {
    let place = |item: &Item| {
        Some((string(item.get("gsi1pk"))?.to_owned(), string(item.get("gsi1sk"))?.to_owned()))
    };
    let index = match (old.and_then(place), place(new)) {
        (old, new) if old == new => 0.0,
        (Some(_), Some(_)) => 2.0,
        _ => 1.0,
    };
    units(old.map_or(0, size).max(size(new)), 1024) + index
}

/// Size of an item, as DynamoDB counts it.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + size_of_value(value)).sum()
}

fn size_of_value(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else {
        return 0;
    };
    match (kind.as_str(), value) {
        ("S", Value::String(text)) => text.len(),
        ("N", Value::String(digits)) => digits.len().div_ceil(2) + 1,
        ("L", Value::Array(list)) => 3 + list.iter().map(|v| 1 + size_of_value(v)).sum::<usize>(),
        ("M", Value::Object(map)) => 3 + map.len() + size(map),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(value: &Value) -> Item {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn an_update_sets_adds_appends_and_removes() {
        let mut table = Table::default();
        table.seed(item(&json!({ "pk": {"S": "p"}, "sk": {"S": "s"}, "n": {"N": "1"},
            "old": {"S": "x"}, "list": {"L": [{"S": "a"}]} })));
        let (answer, _) = table
            .answer("UpdateItem", &json!({
                "Key": { "pk": {"S": "p"}, "sk": {"S": "s"} },
                "UpdateExpression": "SET #a = if_not_exists(old, :v), b = if_not_exists(c, :v), \
                    n = if_not_exists(n, :one) + :one, list = list_append(list, :list) REMOVE old",
                "ExpressionAttributeNames": { "#a": "a" },
                "ExpressionAttributeValues": {
                    ":v": {"S": "v"}, ":one": {"N": "1"}, ":list": {"L": [{"S": "b"}]} },
                "ReturnValues": "ALL_NEW",
            }))
            .unwrap();
        assert_eq!(
            answer,
            json!({ "Attributes": { "pk": {"S": "p"}, "sk": {"S": "s"}, "a": {"S": "x"},
                "b": {"S": "v"}, "n": {"N": "2"}, "list": {"L": [{"S": "a"}, {"S": "b"}]} } })
        );
    }

    #[test]
    fn add_creates_a_missing_item() {
        let mut table = Table::default();
        let request = json!({
            "Key": { "pk": {"S": "p"}, "sk": {"S": "s"} },
            "UpdateExpression": "SET #t = :t ADD #n :one",
            "ExpressionAttributeNames": { "#t": "ttl", "#n": "n" },
            "ExpressionAttributeValues": { ":t": {"N": "9"}, ":one": {"N": "1"} },
        });
        table.answer("UpdateItem", &request).unwrap();
        table.answer("UpdateItem", &request).unwrap();
        let (answer, units) = table
            .answer("GetItem", &json!({ "Key": request["Key"], "ConsistentRead": true }))
            .unwrap();
        assert_eq!(answer["Item"]["n"], json!({ "N": "2" }));
        assert_eq!(units, Units { read: 1.0, write: 0.0 });
    }

    #[test]
    fn a_write_costs_the_larger_item_and_the_index_costs_moved_entries() {
        let put = |table: &mut Table, place: &str, text: usize| {
            let item = json!({ "pk": {"S": "p"}, "sk": {"S": "s"}, "gsi1pk": {"S": "g"},
                "gsi1sk": {"S": place}, "doc": {"S": "x".repeat(text)} });
            table.answer("PutItem", &json!({ "Item": item })).unwrap().1
        };
        let mut table = Table::default();
        assert_eq!(put(&mut table, "1", 2000), Units { read: 0.0, write: 3.0 });
        assert_eq!(put(&mut table, "1", 10), Units { read: 0.0, write: 2.0 });
        assert_eq!(put(&mut table, "2", 10), Units { read: 0.0, write: 3.0 });
    }

    #[test]
    fn the_index_returns_keys_and_a_batch_returns_items() {
        let mut table = Table::default();
        table.seed(item(&json!({ "pk": {"S": "p"}, "sk": {"S": "s"}, "gsi1pk": {"S": "g"},
            "gsi1sk": {"S": "1"}, "doc": {"S": "x"} })));
        let listed = json!({ "IndexName": "by_parent",
            "ExpressionAttributeValues": { ":parent": {"S": "g"} } });
        let (answer, _) = table.answer("Query", &listed).unwrap();
        let keys = json!({ "pk": {"S": "p"}, "sk": {"S": "s"}, "gsi1pk": {"S": "g"},
            "gsi1sk": {"S": "1"} });
        assert_eq!(answer["Items"], json!([keys]));
        let place = |sk: &str| json!({ "pk": {"S": "p"}, "sk": {"S": sk} });
        let request =
            json!({ "RequestItems": { "t": { "Keys": [place("s"), place("nothing")] } } });
        let (answer, units) = table.answer("BatchGetItem", &request).unwrap();
        assert_eq!(answer["Responses"]["t"].as_array().unwrap().len(), 1);
        assert_eq!(answer["Responses"]["t"][0]["doc"], json!({ "S": "x" }));
        assert_eq!(units, Units { read: 1.0, write: 0.0 });
    }

    #[test]
    fn a_transaction_costs_twice_as_much_as_its_writes() {
        let mut table = Table::default();
        let put = |sk: &str| json!({ "Put": { "Item": { "pk": {"S": "p"}, "sk": {"S": sk} } } });
        let request = json!({ "TransactItems": [put("1"), put("2")] });
        let (_, units) = table.answer("TransactWriteItems", &request).unwrap();
        assert_eq!(units, Units { read: 0.0, write: 4.0 });
        let place = json!({ "Key": { "pk": {"S": "p"}, "sk": {"S": "2"} } });
        assert!(table.answer("GetItem", &place).unwrap().0.get("Item").is_some());
    }
}
