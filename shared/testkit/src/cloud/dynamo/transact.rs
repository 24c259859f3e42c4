//! Transactions, which take effect as a whole or not at all.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html>

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::partition::{self, Needs, PartitionUse};
use super::table::Table;
use super::write::{Failure, Sort, Write};
use super::{Charge, Dynamo, invalid, known, not_modelled, required, text};
use crate::cloud::Refusal;

/// Largest number of actions in a transaction.
const MOST: usize = 100;

/// Largest total size of the items of a transaction, in bytes.
const LARGEST: usize = 4 * 1024 * 1024;

/// How long a client request token identifies its transaction.
const TOKEN_MS: i64 = 10 * 60 * 1000;

/// A transaction has two parts for each item: prepare and commit. AWS does not document the cost of
/// a cancelled transaction, nor that of index entries in a transaction: here both count twice.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-capacity-handling>
const PARTS: u32 = 2;

/// Recent transactions, by their client request tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens(BTreeMap<String, Done>);

#[derive(Clone, Debug)]
struct Done {
    actions: Value,
    until_ms: i64,
}

impl Dynamo {
    pub(super) fn transact_write_items(
        &mut self,
        body: &Value,
        now_ms: i64,
    ) -> Result<Value, Refusal> {
        known(
            body,
            &[
                "TransactItems",
                "ClientRequestToken",
                "ReturnConsumedCapacity",
                "ReturnItemCollectionMetrics",
            ],
        )?;
        let wire = required(body, "TransactItems")?;
        let actions = actions(wire)?;
        let mut writes = Vec::with_capacity(actions.len());
        for action in actions {
            let (sort, body) = write_action(action)?;
            let write = Write::read(sort, body, &self.tables, &mut self.expressions)?;
            writes.push(write);
        }
        let mut seen = BTreeSet::new();
        if !writes.iter().all(|write| seen.insert((write.table, write.key))) {
            return Err(invalid(
                "Transaction request cannot include multiple operations on one item",
            ));
        }
        if writes.iter().map(Write::size).sum::<usize>() > LARGEST {
            return Err(invalid("Transaction request size has exceeded the maximum allowed size"));
        }
        if let Some(token) = text(body, "ClientRequestToken")?
            && self.is_done(token, wire, now_ms)?
        {
            return self.repeat(body, &writes);
        }
        self.write_all(body, &writes, now_ms)
    }

    /// Whether the transaction of this token was recently done.
    fn is_done(&mut self, token: &str, actions: &Value, now_ms: i64) -> Result<bool, Refusal> {
        if token.is_empty() || token.len() > 36 {
            return Err(invalid(format!(
                "1 validation error detected: Value '{token}' at 'clientRequestToken' failed to \
                 satisfy constraint: Member must have length between 1 and 36"
            )));
        }
        self.tokens.0.retain(|_, done| done.until_ms > now_ms);
        match self.tokens.0.get(token) {
            None => Ok(false),
            Some(done) if done.actions == *actions => Ok(true),
            Some(_) => Err(Refusal::new(
                "IdempotentParameterMismatchException",
                "The token was used for another request in the last 10 minutes",
            )),
        }
    }

    /// Answers a repeated transaction: it costs reads, and writes nothing.
    fn repeat(&mut self, body: &Value, writes: &[Write<'_>]) -> Result<Value, Refusal> {
        let mut charges: BTreeMap<&str, Charge> = BTreeMap::new();
        for write in writes {
            let read_halves = write.read_halves(super::table(&self.tables, write.table)?);
            let total = charges.entry(write.table).or_default();
            *total = total.plus(Charge { read_halves, ..Charge::default() }.times(PARTS));
        }
        let mut answer = Map::new();
        self.add_capacities(body, &mut answer, charges, true)?;
        Ok(answer.into())
    }

    fn write_all(
        &mut self,
        body: &Value,
        writes: &[Write<'_>],
        now_ms: i64,
    ) -> Result<Value, Refusal> {
        let mut effects = Vec::with_capacity(writes.len());
        let mut reasons: Vec<Value> = Vec::with_capacity(writes.len());
        let mut charges: BTreeMap<&str, Charge> = BTreeMap::new();
        let mut judged = Vec::with_capacity(writes.len());
        for write in writes {
            let table = super::table(&self.tables, write.table)?;
            judged.push((write, table, write.evaluate(table)));
        }
        let add = |needs: &mut Needs, (write, table, judged): &(&Write<'_>, &Table, _)| {
            write.add_needs(needs, table, judged, PARTS);
        };
        let needs = |needs: &mut Needs| judged.iter().for_each(|one| add(needs, one));
        if let Err(exceeded) = self.partitions.take(now_ms, needs) {
            let reasons = judged.iter().map(|one| {
                let mut own = Needs::new();
                add(&mut own, one);
                partition::cancellation(own.keys().any(|of| exceeded.contains(of)))
            });
            return Err(cancelled(reasons.collect()));
        }
        for (write, _, judged) in judged {
            let (charge, reason) = match judged {
                Ok(effect) => {
                    let charge = effect.charge;
                    effects.push(effect);
                    (charge, json!({ "Code": "None" }))
                }
                Err(Failure::Condition { before, charge }) => {
                    let mut reason = Map::from_iter([
                        ("Code".to_owned(), "ConditionalCheckFailed".into()),
                        ("Message".to_owned(), "The conditional request failed".into()),
                    ]);
                    let item = write.returned_item(&before);
                    reason.extend(item.map(|item| ("Item".to_owned(), item)));
                    (charge, reason.into())
                }
                Err(Failure::Refused(refusal)) => {
                    let reason = json!({ "Code": "ValidationError", "Message": refusal.message });
                    (Charge::default(), reason)
                }
            };
            let total = charges.entry(write.table).or_default();
            *total = total.plus(charge.times(PARTS));
            reasons.push(reason);
        }
        let mut answer = Map::new();
        self.add_capacities(body, &mut answer, charges, true)?;
        if effects.len() < writes.len() {
            return Err(cancelled(reasons));
        }
        for (write, effect) in writes.iter().zip(effects) {
            self.commit(write, effect.after, now_ms);
        }
        if let Some(token) = text(body, "ClientRequestToken")? {
            let actions = required(body, "TransactItems")?.clone();
            let until_ms = now_ms + TOKEN_MS;
            self.tokens.0.insert(token.to_owned(), Done { actions, until_ms });
        }
        Ok(answer.into())
    }

    pub(super) fn transact_get_items(
        &mut self,
        body: &Value,
        now_ms: i64,
    ) -> Result<Value, Refusal> {
        known(body, &["TransactItems", "ReturnConsumedCapacity"])?;
        let mut responses = Vec::new();
        let mut charges: BTreeMap<&str, Charge> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut read = Vec::new();
        for action in actions(required(body, "TransactItems")?)? {
            let get = action.get("Get").ok_or_else(|| not_modelled("a transaction without Get"))?;
            let (name, key, charge, item) = self.read_one(get, true)?;
            if !seen.insert((name, key)) {
                return Err(invalid(
                    "Transaction request cannot include multiple operations on one item",
                ));
            }
            read.push((name, key.pk, charge.times(PARTS)));
            let total = charges.entry(name).or_default();
            *total = total.plus(charge.times(PARTS));
            let mut response = Map::new();
            response.extend(item.map(|item| ("Item".to_owned(), item)));
            responses.push(Value::Object(response));
        }
        let needs = |needs: &mut Needs| {
            for (table, key, charge) in &read {
                partition::add(needs, table, key, *charge);
            }
        };
        if let Err(exceeded) = self.partitions.take(now_ms, needs) {
            let reasons = read.iter().map(|(table, key, _)| {
                let is_of = |of: &PartitionUse| of.table == *table && of.key == *key;
                partition::cancellation(exceeded.iter().any(is_of))
            });
            return Err(cancelled(reasons.collect()));
        }
        let mut answer = Map::from_iter([("Responses".to_owned(), responses.into())]);
        self.add_capacities(body, &mut answer, charges, true)?;
        Ok(answer.into())
    }
}

fn actions(wire: &Value) -> Result<&Vec<Value>, Refusal> {
    let actions = wire
        .as_array()
        .ok_or_else(|| Refusal::new("SerializationException", "TransactItems is not a list"))?;
    if actions.is_empty() || actions.len() > MOST {
        return Err(invalid(format!(
            "1 validation error detected: Value at 'transactItems' failed to satisfy constraint: \
             Member must have length between 1 and {MOST}"
        )));
    }
    Ok(actions)
}

fn write_action(action: &Value) -> Result<(Sort, &Value), Refusal> {
    let mut members = action.as_object().into_iter().flatten();
    let (Some((name, body)), None) = (members.next(), members.next()) else {
        return Err(invalid("TransactItems can only contain one of Check, Put, Update or Delete"));
    };
    let sort = match name.as_str() {
        "Put" => Sort::Put,
        "Update" => Sort::Update,
        "Delete" => Sort::Delete,
        "ConditionCheck" => Sort::Check,
        other => return Err(not_modelled(other)),
    };
    known(
        body,
        &[
            "TableName",
            if sort == Sort::Put { "Item" } else { "Key" },
            if sort == Sort::Update { "UpdateExpression" } else { "Key" },
            "ConditionExpression",
            "ExpressionAttributeNames",
            "ExpressionAttributeValues",
            "ReturnValuesOnConditionCheckFailure",
        ],
    )?;
    if sort == Sort::Update {
        required(body, "UpdateExpression")?;
    }
    Ok((sort, body))
}

fn cancelled(reasons: Vec<Value>) -> Refusal {
    let codes = reasons.iter().filter_map(|reason| reason.get("Code")?.as_str());
    let codes = codes.collect::<Vec<_>>().join(", ");
    let mut refusal = Refusal::new(
        "TransactionCanceledException",
        format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons \
             [{codes}]"
        ),
    );
    refusal.more.insert("CancellationReasons".to_owned(), Value::Array(reasons));
    refusal
}
