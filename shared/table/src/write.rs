//! Conditional writes of one item, alone or in a transaction.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValue, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};
use domain::ports::{PortError, PortResult, Recorded};

use crate::{Item, Key, Table, corrupt, failed};

/// A write of one item: its expressions, condition and values.
///
/// Clauses that are added several times are joined. Attribute names that are reserved words are
/// written as `#name`.
#[derive(Clone, Debug)]
#[must_use = "a write does nothing until it is applied or becomes part of a transaction"]
pub struct Write {
    client: Client,
    table: String,
    kind: Kind,
    set: Vec<String>,
    remove: Vec<String>,
    add: Vec<String>,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
    returns: Option<ReturnValue>,
    returns_refused: bool,
}

/// What the write does.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Put(Item),
    Update(Key),
    Delete(Key),
}

/// Result of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// The item was written. It contains the attributes that the write returns.
    Done(Item),
    /// The condition failed and nothing was written. It contains the item, if the write returns it;
    /// it is empty if the item does not exist.
    Refused(Item),
}

impl Written {
    /// Returns whether the item was written.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// Returns whether the item is new, for a write on the condition that it does not exist.
    #[must_use]
    pub const fn recorded(&self) -> Recorded {
        if self.is_done() { Recorded::New } else { Recorded::Duplicate }
    }
}

/// Why a write failed other than by its condition.
enum Failure {
    /// A transaction writes the same item.
    Conflict(PortError),
    Other(PortError),
}

impl Write {
    pub(crate) fn new(table: &Table, kind: Kind) -> Self {
        Self {
            client: table.client.clone(),
            table: table.name.clone(),
            kind,
            set: Vec::new(),
            remove: Vec::new(),
            add: Vec::new(),
            conditions: Vec::new(),
            names: HashMap::new(),
            values: HashMap::new(),
            returns: None,
            returns_refused: false,
        }
    }

    /// Adds assignments to an update, such as `a = :a, b = if_not_exists(b, :b)`.
    pub fn set(mut self, clause: impl Into<String>) -> Self {
        self.set.push(clause.into());
        self
    }

    /// Adds attributes to remove in an update, such as `a, b`.
    pub fn remove(mut self, clause: impl Into<String>) -> Self {
        self.remove.push(clause.into());
        self
    }

    /// Adds additions to an update, such as `counter :one`.
    pub fn add_to(mut self, clause: impl Into<String>) -> Self {
        self.add.push(clause.into());
        self
    }

    /// Adds a condition. All conditions must hold.
    pub fn only_if(mut self, condition: impl Into<String>) -> Self {
        self.conditions.push(condition.into());
        self
    }

    /// Sets the value that the expressions call `name`, such as `:now`.
    pub fn value(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// Sets the attribute that the expressions call `name`, such as `#receipt`. A name that is not
    /// set stands for the attribute of that name.
    pub fn name(mut self, name: &str, attribute: &str) -> Self {
        self.names.insert(name.to_owned(), attribute.to_owned());
        self
    }

    /// Makes an update return the attributes that it changed.
    pub fn return_updated(mut self) -> Self {
        self.returns = Some(ReturnValue::UpdatedNew);
        self
    }

    /// Makes an update return the item after it.
    pub fn return_item(mut self) -> Self {
        self.returns = Some(ReturnValue::AllNew);
        self
    }

    /// Makes the write return the item for which its condition failed.
    pub fn return_refused(mut self) -> Self {
        self.returns_refused = true;
        self
    }

    /// Sends the write.
    ///
    /// # Errors
    /// If the request fails other than by its condition.
    pub async fn apply(self, operation: &'static str) -> PortResult<Written> {
        self.send(operation).await.map_err(|failure| match failure {
            Failure::Conflict(error) | Failure::Other(error) => error,
        })
    }

    /// Sends the write; returns `None` if a transaction writes the same item at the same time.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub async fn try_apply(self, operation: &'static str) -> PortResult<Option<Written>> {
        match self.send(operation).await {
            Ok(written) => Ok(Some(written)),
            Err(Failure::Conflict(_)) => Ok(None),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    // The clients' futures are large. On the heap they are not moved with each future around them.
    async fn send(mut self, operation: &'static str) -> Result<Written, Failure> {
        let refused = self.returns_refused.then_some(ReturnValuesOnConditionCheckFailure::AllOld);
        let (expression, condition) = (self.expression(), self.condition());
        let (names, values) = (self.names(), filled(self.values));
        match self.kind {
            Kind::Put(item) => {
                let request = self.client.put_item().table_name(self.table).set_item(Some(item));
                let answer = request
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .set_return_values_on_condition_check_failure(refused)
                    .send();
                match Box::pin(answer).await {
                    Ok(_) => Ok(Written::Done(Item::new())),
                    Err(error) => match error.as_service_error() {
                        Some(PutItemError::ConditionalCheckFailedException(refusal)) => {
                            Ok(Written::Refused(refusal.item().cloned().unwrap_or_default()))
                        }
                        _ => Err(failure(operation, &error)),
                    },
                }
            }
            Kind::Update(key) => {
                let request = self.client.update_item().table_name(self.table);
                let answer = request
                    .set_key(Some(key.attributes()))
                    .set_update_expression(expression)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .set_return_values(self.returns)
                    .set_return_values_on_condition_check_failure(refused)
                    .send();
                match Box::pin(answer).await {
                    Ok(answer) => Ok(Written::Done(answer.attributes.unwrap_or_default())),
                    Err(error) => match error.as_service_error() {
                        Some(UpdateItemError::ConditionalCheckFailedException(refusal)) => {
                            Ok(Written::Refused(refusal.item().cloned().unwrap_or_default()))
                        }
                        _ => Err(failure(operation, &error)),
                    },
                }
            }
            Kind::Delete(key) => {
                let request = self.client.delete_item().table_name(self.table);
                let answer = request
                    .set_key(Some(key.attributes()))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .set_return_values_on_condition_check_failure(refused)
                    .send();
                match Box::pin(answer).await {
                    Ok(_) => Ok(Written::Done(Item::new())),
                    Err(error) => match error.as_service_error() {
                        Some(DeleteItemError::ConditionalCheckFailedException(refusal)) => {
                            Ok(Written::Refused(refusal.item().cloned().unwrap_or_default()))
                        }
                        _ => Err(failure(operation, &error)),
                    },
                }
            }
        }
    }

    /// Makes the write part of a transaction.
    ///
    /// # Errors
    /// If an update has no assignment, which is a bug.
    pub fn in_transaction(mut self, operation: &'static str) -> PortResult<TransactWriteItem> {
        let (expression, condition) = (self.expression(), self.condition());
        let (names, values) = (self.names(), filled(self.values));
        let (write, incomplete) = (TransactWriteItem::builder(), || corrupt(operation, "keys"));
        let write = match self.kind {
            Kind::Put(item) => write.put(
                Put::builder()
                    .table_name(self.table)
                    .set_item(Some(item))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .build()
                    .map_err(|_| incomplete())?,
            ),
            Kind::Update(key) => write.update(
                Update::builder()
                    .table_name(self.table)
                    .set_key(Some(key.attributes()))
                    .set_update_expression(expression)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .build()
                    .map_err(|_| incomplete())?,
            ),
            Kind::Delete(key) => write.delete(
                Delete::builder()
                    .table_name(self.table)
                    .set_key(Some(key.attributes()))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .build()
                    .map_err(|_| incomplete())?,
            ),
        };
        Ok(write.build())
    }

    fn expression(&self) -> Option<String> {
        let sections = [("SET", &self.set), ("REMOVE", &self.remove), ("ADD", &self.add)];
        let sections = sections.into_iter().filter(|(_, clauses)| !clauses.is_empty());
        let sections: Vec<_> =
            sections.map(|(word, clauses)| format!("{word} {}", clauses.join(", "))).collect();
        (!sections.is_empty()).then(|| sections.join(" "))
    }

    fn condition(&self) -> Option<String> {
        match self.conditions.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            all => Some(format!("({})", all.join(") AND ("))),
        }
    }

    /// Returns the attribute names that the expressions write as `#name`.
    fn names(&mut self) -> Option<HashMap<String, String>> {
        let mut names = std::mem::take(&mut self.names);
        let clauses = [&self.set, &self.remove, &self.add, &self.conditions].into_iter().flatten();
        for (word, name) in clauses.flat_map(|clause| reserved(clause)) {
            names.entry(word.to_owned()).or_insert_with(|| name.to_owned());
        }
        filled(names)
    }
}

/// DynamoDB rejects empty maps.
fn filled<T>(map: HashMap<String, T>) -> Option<HashMap<String, T>> {
    (!map.is_empty()).then_some(map)
}

fn failure<E: ProvideErrorMetadata, R>(
    operation: &'static str,
    error: &aws_sdk_dynamodb::error::SdkError<E, R>,
) -> Failure {
    let is_conflict = error
        .as_service_error()
        .is_some_and(|error| error.code() == Some("TransactionConflictException"));
    let failed = failed(operation, error);
    if is_conflict { Failure::Conflict(failed) } else { Failure::Other(failed) }
}

/// Returns the attribute names in an expression that are written as `#name`, with the name itself.
fn reserved(expression: &str) -> impl Iterator<Item = (&str, &str)> {
    let words = expression.split([' ', ',', '(', ')']);
    words.filter_map(|word| Some((word, word.strip_prefix('#')?)))
}
