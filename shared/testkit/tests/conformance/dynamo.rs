//! Conformance of tables: the behaviour that the hub relies on, and the errors that it must expect.

#![expect(clippy::needless_pass_by_value, reason = "what is asked is written where it is passed")]

use serde_json::{Map, Value, json};
use testkit::cloud::Refusal;

use crate::endpoint::{Difference, Endpoint, Service, cases};

cases! {
    an_item_is_read_back_as_it_was_put,
    reading_a_missing_item_is_not_an_error,
    a_put_replaces_the_whole_item_and_returns_the_old_one,
    a_conditional_put_succeeds_once,
    a_failed_condition_returns_the_item_only_on_request,
    a_delete_returns_the_old_item_and_can_be_repeated,
    a_conditional_delete_removes_an_item_only_if_the_condition_holds,
    an_update_creates_a_missing_item,
    an_update_that_only_removes_does_not_create_an_item,
    an_update_without_an_expression_creates_an_item_with_only_its_key,
    an_update_reads_the_item_as_it_was_before,
    if_not_exists_keeps_an_existing_value,
    a_counter_starts_from_a_missing_attribute,
    list_append_adds_at_either_end,
    elements_are_removed_by_their_position_before_the_update,
    an_element_beyond_the_end_is_appended,
    elements_beyond_the_end_are_appended_in_order,
    members_of_a_map_are_set_and_removed,
    set_elements_are_added_and_deleted_and_an_empty_set_is_removed,
    an_update_returns_the_requested_values,
    an_update_whose_condition_fails_changes_nothing,
    an_update_of_a_missing_path_is_refused,
    an_update_of_the_wrong_type_is_refused,
    overlapping_paths_are_refused,
    separate_paths_are_updated_together,
    a_key_cannot_be_updated,
    reserved_words_are_refused_without_a_placeholder,
    reserved_words_are_refused_in_conditions,
    reserved_words_are_accepted_through_a_placeholder,
    a_placeholder_must_be_defined,
    a_placeholder_must_be_used,
    placeholders_without_an_expression_are_refused,
    conditions_are_evaluated_on_the_item,
    conditions_are_evaluated_on_a_missing_item,
    not_takes_precedence_over_and_which_takes_precedence_over_or,
    malformed_conditions_are_refused,
    constants_of_the_wrong_type_are_refused,
    bounds_in_the_wrong_order_are_refused,
    malformed_updates_are_refused,
    numbers_are_compared_by_value_and_returned_in_normal_form,
    numbers_beyond_their_limits_are_refused,
    an_item_needs_both_keys_as_strings,
    a_key_has_exactly_the_key_attributes,
    an_empty_key_is_refused,
    an_empty_string_is_a_value,
    an_attribute_has_one_type_and_a_set_has_no_duplicates,
    index_keys_are_nonempty_strings,
    an_item_can_have_400_kilobytes,
    a_query_returns_a_partition_in_the_order_of_its_sort_keys,
    a_query_supports_every_kind_of_range,
    a_query_stops_at_its_limit_and_continues_after_it,
    a_query_that_ends_at_its_limit_returns_a_last_key,
    a_query_reads_at_most_a_megabyte,
    a_filter_applies_after_the_limit,
    a_query_can_return_only_the_count,
    a_query_needs_the_whole_partition_key,
    the_keys_of_a_query_are_strings,
    a_query_cannot_start_outside_its_range,
    a_filter_cannot_use_key_attributes,
    the_index_returns_keys_in_its_own_order,
    the_index_follows_every_write,
    a_query_of_the_index_continues_after_a_page,
    the_index_does_not_support_consistent_reads,
    an_index_must_exist,
    a_projection_returns_the_named_parts,
    a_batch_returns_the_existing_items,
    the_keys_of_a_batch_are_distinct_and_at_most_100,
    a_batch_writes_and_deletes,
    the_writes_of_a_batch_are_distinct_and_at_most_25,
    a_transaction_takes_effect_as_a_whole_or_not_at_all,
    a_cancelled_transaction_returns_a_reason_for_each_action,
    a_transaction_has_at_most_one_action_per_item,
    an_action_of_a_transaction_has_one_operation,
    a_transaction_has_at_most_100_actions,
    a_transaction_that_is_invalid_for_an_item_is_cancelled,
    a_client_request_token_identifies_its_transaction,
    the_token_of_a_cancelled_transaction_can_be_reused,
    a_transaction_returns_items_in_the_requested_order,
    a_table_must_exist,
    reads_cost_by_size_and_consistency,
    a_query_rounds_the_total_size,
    a_write_costs_by_the_larger_of_the_old_and_the_new_item,
    a_write_that_moves_an_index_entry_costs_more,
    a_transaction_costs_twice_the_units,
}

/// Known differences between the local cloud and AWS.
pub(crate) const KNOWN_DIFFERENCES: &[Difference] = &[
    Difference {
        case: "an_update_that_only_removes_does_not_create_an_item",
        source: "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateItem.html",
        instead: |cloud| {
            let made = ["REMOVE n", "REMOVE m.n", "DELETE s :s"];
            assert_eq!(items_created_by_removals(cloud), made);
        },
    },
    Difference {
        case: "elements_are_removed_by_their_position_before_the_update",
        source: UPDATES,
        // The first element is removed before the third is counted.
        instead: |cloud| assert_eq!(left_of_a_list(cloud), ["1", "2"]),
    },
    Difference {
        case: "elements_beyond_the_end_are_appended_in_order",
        source: UPDATES,
        instead: |cloud| {
            let appended = json!({ "L": [{ "N": "20" }, { "N": "10" }] });
            assert_eq!(appended_beyond_the_end(cloud), appended);
        },
    },
    Difference {
        case: "an_update_of_a_missing_path_is_refused",
        source: UPDATES,
        instead: |cloud| assert_eq!(updates_of_missing_paths(cloud), ["REMOVE absent.x"]),
    },
    Difference {
        case: "an_update_of_the_wrong_type_is_refused",
        source: UPDATES,
        instead: |cloud| {
            let taken = [
                "SET n = words + :v",
                "SET n = n + :v",
                "SET n = list_append(n, :v)",
                "SET l = list_append(:v, :v)",
            ];
            assert_eq!(updates_of_the_wrong_type(cloud), taken);
        },
    },
    Difference {
        case: "overlapping_paths_are_refused",
        source: UPDATES,
        instead: |cloud| assert_eq!(overlapping_paths(cloud), OVERLAPPING),
    },
    Difference {
        case: "malformed_updates_are_refused",
        source: UPDATES,
        instead: |cloud| {
            let taken = [
                "SET n :v",
                "SET n = :v SET m = :v",
                "SET n = :v, REMOVE m",
                "SET n = :v * :v",
                "ADD n = :v",
                "ADD n m, o :v",
                "SET n = if_not_exists(:v, :v)",
                "SET n = if_not_exists(n, :v + :v)",
                "SET n = :v + :v + :v",
                "set n = IF_NOT_EXISTS(n, :v)",
                "SET _n = :v",
            ];
            assert_eq!(malformed_updates(cloud), taken);
        },
    },
    Difference {
        case: "reserved_words_are_refused_without_a_placeholder",
        source: RESERVED_WORDS,
        instead: |cloud| assert_eq!(reserved_words_in(cloud, "SET {} = :v"), ["size"]),
    },
    Difference {
        case: "reserved_words_are_refused_in_conditions",
        source: RESERVED_WORDS,
        instead: |cloud| assert_eq!(reserved_words_in(cloud, "{} = :v"), ["size"]),
    },
    Difference {
        case: "conditions_are_evaluated_on_the_item",
        source: CONDITIONS,
        // The local cloud refuses `begins_with` on a number, and gives the wrong result for
        // `contains` of a string in a set of numbers.
        instead: |cloud| {
            assert_eq!(wrong_conditions(cloud), ["begins_with(n, :v)", "contains(ns, :v)"]);
        },
    },
    Difference {
        case: "malformed_conditions_are_refused",
        source: CONDITIONS,
        instead: |cloud| {
            assert_eq!(malformed_conditions(cloud), ["attribute_type(n, m) OR n = :v"]);
        },
    },
    Difference {
        case: "constants_of_the_wrong_type_are_refused",
        source: CONDITIONS,
        instead: |cloud| {
            let taken = [
                "n < :v",
                "n >= :v",
                "begins_with(n, :v)",
                "attribute_type(n, :v)",
                "attribute_type(n, :v)",
            ];
            assert_eq!(constants_of_the_wrong_type(cloud), taken);
        },
    },
    Difference {
        case: "a_query_needs_the_whole_partition_key",
        source: "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.KeyConditionExpressions.html",
        instead: |cloud| {
            let taken = [
                "pk = :v OR sk = :v",
                "NOT pk = :v",
                "pk = :v AND sk <> :v",
                "pk = :v AND contains(sk, :v)",
                "pk = :v AND attribute_exists(sk)",
            ];
            assert_eq!(malformed_queries(cloud), taken);
        },
    },
    Difference {
        case: "a_filter_cannot_use_key_attributes",
        source: "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.FilterExpression.html",
        instead: |cloud| assert_eq!(filters_on_keys(cloud), FILTERS_BY_KEYS),
    },
    Difference {
        case: "an_action_of_a_transaction_has_one_operation",
        source: "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItem.html",
        instead: |cloud| assert_eq!(actions_with_several_operations(cloud), ["two"]),
    },
    Difference {
        case: "reads_cost_by_size_and_consistency",
        source: CAPACITY,
        instead: |cloud| {
            let costs = [("small", 0.5, 1.0), ("large", 0.5, 1.0), ("absent", 0.5, 1.0)];
            assert_eq!(costs_of_reads(cloud), costs);
        },
    },
    Difference {
        case: "a_query_rounds_the_total_size",
        source: CAPACITY,
        instead: |cloud| assert_eq!(costs_of_a_query(cloud), (0.5, 1.0)),
    },
];

const UPDATES: &str = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html";
const CONDITIONS: &str = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html";
const RESERVED_WORDS: &str =
    "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html";
const CAPACITY: &str = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html";

type Answer = Result<Value, Refusal>;

/// A table of a case.
struct Table<'c> {
    cloud: &'c dyn Endpoint,
    name: String,
}

impl<'c> Table<'c> {
    #[track_caller]
    fn new(cloud: &'c dyn Endpoint) -> Self {
        Self { cloud, name: cloud.fresh_table() }
    }

    /// Sends a request about this table.
    fn ask(&self, operation: &str, mut body: Value) -> Answer {
        body["TableName"] = self.name.clone().into();
        self.cloud.call(Service::Dynamo, operation, &body)
    }

    #[track_caller]
    fn put(&self, item: Value) {
        self.ask("PutItem", json!({ "Item": item })).unwrap();
    }

    /// The item with this sort key; null if there is none.
    #[track_caller]
    fn get(&self, sk: &str) -> Value {
        let asked = json!({ "Key": key(sk), "ConsistentRead": true });
        self.ask("GetItem", asked).unwrap()["Item"].take()
    }

    /// An attribute of the item.
    #[track_caller]
    fn attribute(&self, sk: &str, name: &str) -> Value {
        self.get(sk)[name].take()
    }

    fn update(&self, sk: &str, expression: &str, values: Value) -> Answer {
        self.ask("UpdateItem", update(sk, expression, values))
    }

    /// Whether the item with this sort key meets the condition, by an update that changes nothing.
    fn meets(&self, sk: &str, condition: &str, values: &Value) -> Result<bool, Refusal> {
        let mut body = json!({ "Key": key(sk), "ConditionExpression": condition });
        body["ExpressionAttributeValues"] = values.clone();
        if values.as_object().is_none_or(Map::is_empty) {
            body.as_object_mut().unwrap().remove("ExpressionAttributeValues");
        }
        match self.ask("DeleteItem", body) {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.code == FAILED => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    fn query(&self, condition: &str, values: Value, more: Value) -> Answer {
        let mut body = json!({ "KeyConditionExpression": condition });
        body["ExpressionAttributeValues"] = values;
        let more = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        self.ask("Query", body)
    }

    /// The sort keys that a query of the partition returns.
    #[track_caller]
    fn sort_keys(&self, condition: &str, mut values: Value, more: Value) -> Vec<String> {
        values[":pk"] = json!({ "S": "p" });
        sort_keys(&self.query(condition, values, more).unwrap())
    }

    fn transact(&self, actions: Value) -> Answer {
        self.cloud.call(Service::Dynamo, "TransactWriteItems", &json!({ "TransactItems": actions }))
    }

    /// An action of a transaction that puts an item with its key and this number.
    fn put_action(&self, sk: &str, number: i64) -> Value {
        json!({ "Put": { "TableName": self.name, "Item": counted(sk, number) } })
    }

    /// An action of a transaction that checks that the item exists.
    fn check_action(&self, sk: &str) -> Value {
        json!({ "ConditionCheck": {
            "TableName": self.name,
            "Key": key(sk),
            "ConditionExpression": "attribute_exists(pk)",
        } })
    }
}

const FAILED: &str = "ConditionalCheckFailedException";
const INVALID: &str = "ValidationException";

fn key(sk: &str) -> Value {
    json!({ "pk": { "S": "p" }, "sk": { "S": sk } })
}

fn item(sk: &str, more: Value) -> Value {
    let mut item = key(sk);
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    item
}

fn counted(sk: &str, number: i64) -> Value {
    item(sk, json!({ "n": { "N": number.to_string() } }))
}

/// An item that is in the index.
fn child(sk: &str, parent: &str, place: &str) -> Value {
    item(sk, json!({ "gsi1pk": { "S": parent }, "gsi1sk": { "S": place } }))
}

fn update(sk: &str, expression: &str, values: Value) -> Value {
    let mut body = json!({ "Key": key(sk), "UpdateExpression": expression });
    if values.as_object().is_some_and(|values| !values.is_empty()) {
        body["ExpressionAttributeValues"] = values;
    }
    body
}

fn sort_keys(answer: &Value) -> Vec<String> {
    let items = answer["Items"].as_array().unwrap().iter();
    items.map(|item| item["sk"]["S"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Refusal>, code: &str) -> Refusal {
    let refusal = answer.unwrap_err();
    assert_eq!(refusal.code, code, "{refusal:?}");
    assert_eq!(refusal.status, 400);
    refusal
}

/// The requests that are not refused as invalid.
fn taken<'a>(asked: impl IntoIterator<Item = (&'a str, Answer)>) -> Vec<&'a str> {
    let is_taken =
        |answer: &Answer| answer.as_ref().map_err(|refusal| &*refusal.code) != Err(INVALID);
    asked.into_iter().filter(|(_, answer)| is_taken(answer)).map(|(what, _)| what).collect()
}

const NONE: [&str; 0] = [];

// ---- One item

fn an_item_is_read_back_as_it_was_put(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let item = item(
        "a",
        json!({
            "s": { "S": "Grüße 🎈" },
            "n": { "N": "-12.5" },
            "b": { "B": "AAECAw==" },
            "yes": { "BOOL": true },
            "nothing": { "NULL": true },
            "l": { "L": [{ "S": "x" }, { "N": "1" }, { "L": [] }] },
            "m": { "M": { "inner": { "M": {} } } },
            "ss": { "SS": ["x"] },
            "ns": { "NS": ["1"] },
            "bs": { "BS": ["AA=="] },
        }),
    );
    table.put(item.clone());
    assert_eq!(table.get("a"), item);
}

fn reading_a_missing_item_is_not_an_error(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let answer = table.ask("GetItem", json!({ "Key": key("a") })).unwrap();
    assert_eq!(answer.get("Item"), None);
}

fn a_put_replaces_the_whole_item_and_returns_the_old_one(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let (one, two) = (counted("a", 1), item("a", json!({ "text": { "S": "two" } })));
    let put = |item: &Value| json!({ "Item": item, "ReturnValues": "ALL_OLD" });
    assert_eq!(table.ask("PutItem", put(&one)).unwrap().get("Attributes"), None);
    assert_eq!(table.ask("PutItem", put(&two)).unwrap()["Attributes"], one);
    assert_eq!(table.get("a"), two);
    let new = json!({ "Item": one, "ReturnValues": "ALL_NEW" });
    refused(table.ask("PutItem", new), INVALID);
}

fn a_conditional_put_succeeds_once(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let put = |number| {
        let free = "attribute_not_exists(pk)";
        json!({ "Item": counted("a", number), "ConditionExpression": free })
    };
    table.ask("PutItem", put(1)).unwrap();
    let refusal = refused(table.ask("PutItem", put(2)), FAILED);
    assert_eq!(refusal.message, "The conditional request failed");
    assert_eq!(table.get("a"), counted("a", 1));
}

fn a_failed_condition_returns_the_item_only_on_request(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    table.put(counted("a", 1));
    let bodies = [
        ("PutItem", json!({ "Item": counted("a", 2) })),
        ("UpdateItem", json!({ "Key": key("a"), "UpdateExpression": "REMOVE n" })),
        ("DeleteItem", json!({ "Key": key("a") })),
    ];
    for (operation, mut body) in bodies {
        body["ConditionExpression"] = "attribute_not_exists(pk)".into();
        let refusal = refused(table.ask(operation, body.clone()), FAILED);
        assert_eq!(refusal.more.get("Item"), None);
        body["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD".into();
        let refusal = refused(table.ask(operation, body), FAILED);
        assert_eq!(refusal.more.get("Item"), Some(&counted("a", 1)), "{operation}");
    }
    let mut body = update("b", "REMOVE n", json!({}));
    body["ConditionExpression"] = "attribute_exists(pk)".into();
    body["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD".into();
    assert_eq!(refused(table.ask("UpdateItem", body), FAILED).more.get("Item"), None);
}

fn a_delete_returns_the_old_item_and_can_be_repeated(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    table.put(counted("a", 1));
    let delete = json!({ "Key": key("a"), "ReturnValues": "ALL_OLD" });
    assert_eq!(table.ask("DeleteItem", delete.clone()).unwrap()["Attributes"], counted("a", 1));
    assert_eq!(table.ask("DeleteItem", delete).unwrap().get("Attributes"), None);
    assert_eq!(table.get("a"), Value::Null);
}

fn a_conditional_delete_removes_an_item_only_if_the_condition_holds(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    table.put(counted("a", 1));
    assert_eq!(table.meets("a", "n = :n", &json!({ ":n": { "N": "2" } })), Ok(false));
    assert_eq!(table.get("a"), counted("a", 1));
    assert_eq!(table.meets("a", "n = :n", &json!({ ":n": { "N": "1" } })), Ok(true));
    assert_eq!(table.get("a"), Value::Null);
}

// ---- Updates

fn an_update_creates_a_missing_item(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    table.update("a", "SET n = :n", json!({ ":n": { "N": "1" } })).unwrap();
    assert_eq!(table.get("a"), counted("a", 1));
}

fn an_update_that_only_removes_does_not_create_an_item(cloud: &dyn Endpoint) {
    assert_eq!(items_created_by_removals(cloud), NONE);
}

/// The updates that create a missing item although they only remove attributes.
fn items_created_by_removals(cloud: &dyn Endpoint) -> Vec<&'static str> {
    let table = Table::new(cloud);
    let makes_one = |(expression, values): &(&str, Value)| {
        table.update(expression, expression, values.clone()).unwrap();
        !table.get(expression).is_null()
    };
    let set = json!({ ":s": { "SS": ["x"] } });
    let updates = [("REMOVE n", json!({})), ("REMOVE m.n", json!({})), ("DELETE s :s", set)];
    updates.into_iter().filter(makes_one).map(|(expression, _)| expression).collect()
}

fn an_update_without_an_expression_creates_an_item_with_only_its_key(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    table.ask("UpdateItem", json!({ "Key": key("a") })).unwrap();
    assert_eq!(table.get("a"), key("a"));
}

fn an_update_reads_the_item_as_it_was_before(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    table.put(item("a", json!({ "x": { "S": "left" }, "y": { "S": "right" } })));
    table.update("a", "SET x = y, y = x, z = x", json!({})).unwrap();
    let swapped = json!({ "x": { "S": "right" }, "y": { "S": "left" }, "z": { "S": "left" } });
    assert_eq!(table.get("a"), item("a", swapped));
}

fn if_not_exists_keeps_an_existing_value(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let set = "SET x = if_not_exists(x, :x), y = if_not_exists(x, :x)";
    table.update("a", set, json!({ ":x": { "S": "first" } })).unwrap();
    table.update("a", set, json!({ ":x": { "S": "second" } })).unwrap();
    let kept = json!({ "x": { "S": "first" }, "y": { "S": "first" } });
    assert_eq!(table.get("a"), item("a", kept));
}

fn a_counter_starts_from_a_missing_attribute(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let values = json!({ ":zero": { "N": "0" }, ":one": { "N": "1" } });
    for _ in 0..3 {
        table.update("a", "SET n = if_not_exists(n, :zero) + :one", values.clone()).unwrap();
    }
    assert_eq!(table.attribute("a", "n"), json!({ "N": "3" }));
    table.update("a", "SET n = n - :d", json!({ ":d": { "N": "4.5" } })).unwrap();
    assert_eq!(table.attribute("a", "n"), json!({ "N": "-1.5" }));
    for _ in 0..2 {
        table.update("b", "ADD n :d", json!({ ":d": { "N": "0.1" } })).unwrap();
    }
    assert_eq!(table.attribute("b", "n"), json!({ "N": "0.2" }));
}

fn list_append_adds_at_either_end(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let list = |texts: &[&str]| json!({ "L": texts.iter().map(|text| json!({ "S": text })).collect::<Vec<_>>() });
    table.put(item("a", json!({ "l": list(&["b"]) })));
    table.update("a", "SET l = list_append(l, :l)", json!({ ":l": list(&["c"]) })).unwrap();
    table.update("a", "SET l = list_append(:l, l)", json!({ ":l": list(&["a"]) })).unwrap();
    table.update("a", "SET l = list_append(l, :l)", json!({ ":l": list(&[]) })).unwrap();
    assert_eq!(table.attribute("a", "l"), list(&["a", "b", "c"]));
    let set = "SET m = list_append(if_not_exists(m, :none), :l)";
    table.update("a", set, json!({ ":none": list(&[]), ":l": list(&["x"]) })).unwrap();
    assert_eq!(table.attribute("a", "m"), list(&["x"]));
}

fn elements_are_removed_by_their_position_before_the_update(cloud: &dyn Endpoint) {
    assert_eq!(left_of_a_list(cloud), ["1", "3"]);
}

/// The rest of 0, 1, 2, 3 after the first and the third are removed in one update.
fn left_of_a_list(cloud: &dyn Endpoint) -> Vec<String> {
    let table = Table::new(cloud);
    let numbers = ["0", "1", "2", "3"].map(|number| json!({ "N": number }));
    table.put(item("a", json!({ "l": { "L": numbers } })));
    table.update("a", "REMOVE l[0], l[2], l[9]", json!({})).unwrap();
    let left = table.attribute("a", "l");
    let left = left["L"].as_array().unwrap().iter();
    left.map(|number| number["N"].as_str().unwrap().to_owned()).collect()
}

fn an_element_beyond_the_end_is_appended(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let list = |table: &Table<'_>, expression: &str| {
        table.put(item("a", json!({ "l": { "L": [{ "N": "0" }] } })));
        let values = json!({ ":x": { "N": "10" }, ":y": { "N": "20" } });
        table.update("a", expression, values).unwrap();
        table.attribute("a", "l")
    };
    let expected = json!({ "L": [{ "N": "0" }, { "N": "10" }, { "N": "20" }] });
    assert_eq!(list(&table, "SET l[10] = :x, l[20] = :y"), expected);
    let expected = json!({ "L": [{ "N": "20" }, { "N": "10" }] });
    assert_eq!(list(&table, "SET l[0] = :y, l[1] = :x"), expected);
}

fn elements_beyond_the_end_are_appended_in_order(cloud: &dyn Endpoint) {
    assert_eq!(appended_beyond_the_end(cloud), json!({ "L": [{ "N": "10" }, { "N": "20" }] }));
}

fn appended_beyond_the_end(cloud: &dyn Endpoint) -> Value {
    let table = Table::new(cloud);
    table.put(item("a", json!({ "l": { "L": [] } })));
    let values = json!({ ":x": { "N": "10" }, ":y": { "N": "20" } });
    table.update("a", "SET l[20] = :y, l[10] = :x", values).unwrap();
    table.attribute("a", "l")
}

fn members_of_a_map_are_set_and_removed(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let map = json!({ "M": { "x": { "S": "old" }, "y": { "L": [{ "M": {} }] } } });
    table.put(item("a", json!({ "m": map })));
    let values = json!({ ":v": { "S": "new" } });
    table.update("a", "SET m.x = :v, m.y[0].z = :v, m.w = :v", values).unwrap();
    table.update("a", "REMOVE m.w, m.nothing", json!({})).unwrap();
    let expected = json!({ "M": {
        "x": { "S": "new" },
        "y": { "L": [{ "M": { "z": { "S": "new" } } }] },
    } });
    assert_eq!(table.attribute("a", "m"), expected);
}

fn set_elements_are_added_and_deleted_and_an_empty_set_is_removed(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let set = |texts: &[&str]| json!({ ":s": { "SS": texts } });
    let elements = |table: &Table<'_>| {
        let mut elements: Vec<_> = match table.attribute("a", "s")["SS"].as_array() {
            Some(texts) => texts.clone(),
            None => return None,
        };
        elements.sort_by_key(|text| text.as_str().map(str::to_owned));
        Some(Value::Array(elements))
    };
    table.update("a", "ADD s :s", set(&["x", "y"])).unwrap();
    table.update("a", "ADD s :s", set(&["y", "z"])).unwrap();
    assert_eq!(elements(&table), Some(json!(["x", "y", "z"])));
    table.update("a", "DELETE s :s", set(&["y", "w"])).unwrap();
    assert_eq!(elements(&table), Some(json!(["x", "z"])));
    table.update("a", "DELETE s :s", set(&["x", "z"])).unwrap();
    assert_eq!(elements(&table), None);
    table.update("a", "DELETE s :s", set(&["x"])).unwrap();
    assert_eq!(table.get("a"), key("a"));
}

fn an_update_returns_the_requested_values(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let old = item("a", json!({ "n": { "N": "1" }, "keep": { "S": "k" }, "gone": { "S": "g" } }));
    let new = item("a", json!({ "n": { "N": "2" }, "keep": { "S": "k" }, "made": { "S": "m" } }));
    for (which, expected) in [
        ("NONE", None),
        ("ALL_OLD", Some(old.clone())),
        ("ALL_NEW", Some(new)),
        ("UPDATED_OLD", Some(json!({ "n": { "N": "1" }, "gone": { "S": "g" } }))),
        ("UPDATED_NEW", Some(json!({ "n": { "N": "2" }, "made": { "S": "m" } }))),
    ] {
        table.put(old.clone());
        let values = json!({ ":m": { "S": "m" }, ":one": { "N": "1" } });
        let mut body = update("a", "SET made = :m REMOVE gone ADD n :one", values);
        body["ReturnValues"] = which.into();
        let answer = table.ask("UpdateItem", body).unwrap();
        assert_eq!(answer.get("Attributes"), expected.as_ref(), "{which}");
    }
}

fn an_update_whose_condition_fails_changes_nothing(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    table.put(counted("a", 1));
    for sk in ["a", "b"] {
        let mut body = update(sk, "SET n = :n", json!({ ":n": { "N": "5" } }));
        body["ConditionExpression"] = "n > :n".into();
        refused(table.ask("UpdateItem", body), FAILED);
    }
    assert_eq!(table.get("a"), counted("a", 1));
    assert_eq!(table.get("b"), Value::Null);
}

fn an_update_of_a_missing_path_is_refused(cloud: &dyn Endpoint) {
    assert_eq!(updates_of_missing_paths(cloud), NONE);
}

fn updates_of_missing_paths(cloud: &dyn Endpoint) -> Vec<&'static str> {
    let table = Table::new(cloud);
    table.put(item("a", json!({ "n": { "N": "1" }, "m": { "M": {} } })));
    let one = || json!({ ":v": { "N": "1" } });
    let updates = [
        ("SET n = absent", json!({})),
        ("SET n = absent + :v", one()),
        ("SET l = list_append(absent, :v)", json!({ ":v": { "L": [] } })),
        ("SET absent.x = :v", one()),
        ("SET m.x.y = :v", one()),
        ("SET absent[0] = :v", one()),
        ("SET n.x = :v", one()),
        ("REMOVE absent.x", json!({})),
    ];
    taken(updates.map(|(expression, values)| (expression, table.update("a", expression, values))))
}

fn an_update_of_the_wrong_type_is_refused(cloud: &dyn Endpoint) {
    assert_eq!(updates_of_the_wrong_type(cloud), NONE);
}

fn updates_of_the_wrong_type(cloud: &dyn Endpoint) -> Vec<&'static str> {
    let table = Table::new(cloud);
    let updates = [
        ("SET n = words + :v", json!({ "N": "1" })),
        ("SET n = n + :v", json!({ "S": "1" })),
        ("SET n = list_append(n, :v)", json!({ "L": [] })),
        ("SET l = list_append(:v, :v)", json!({ "S": "x" })),
        ("ADD words :v", json!({ "N": "1" })),
        ("ADD n :v", json!({ "SS": ["x"] })),
        ("ADD absent :v", json!({ "S": "1" })),
        ("ADD other :v", json!({ "L": [] })),
        ("DELETE s :v", json!({ "NS": ["1"] })),
        ("DELETE n :v", json!({ "N": "1" })),
    ];
    taken(updates.map(|(expression, value)| {
        table.put(item(
            "a",
            json!({ "words": { "S": "t" }, "n": { "N": "1" }, "s": { "SS": ["x"] } }),
        ));
        (expression, table.update("a", expression, json!({ ":v": value })))
    }))
}

fn overlapping_paths_are_refused(cloud: &dyn Endpoint) {
    assert_eq!(overlapping_paths(cloud), NONE);
}

const OVERLAPPING: [&str; 5] = [
    "SET n = :v, n = :v",
    "SET n = :v REMOVE n",
    "SET m.x = :v REMOVE m",
    "SET l[0] = :v ADD l[0] :v",
    "SET m.x = :v, m[0] = :v",
];

fn overlapping_paths(cloud: &dyn Endpoint) -> Vec<&'static str> {
    let table = Table::new(cloud);
    let value = || json!({ ":v": { "N": "1" } });
    taken(OVERLAPPING.map(|expression| {
        table.put(item("a", json!({ "m": { "M": { "x": { "N": "1" } } }, "l": { "L": [] } })));
        (expression, table.update("a", expression, value()))
    }))
}

fn separate_paths_are_updated_together(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    table.put(item("a", json!({ "m": { "M": { "x": { "N": "1" } } }, "l": { "L": [] } })));
    let value = json!({ ":v": { "N": "1" } });
    table.update("a", "SET m.x = :v, m.y = :v, l[0] = :v, l[1] = :v", value).unwrap();
    assert_eq!(table.attribute("a", "l"), json!({ "L": [{ "N": "1" }, { "N": "1" }] }));
}

fn a_key_cannot_be_updated(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    for expression in ["SET pk = :v", "SET sk = :v"] {
        refused(table.update("a", expression, json!({ ":v": { "S": "x" } })), INVALID);
    }
    refused(table.update("a", "REMOVE sk", json!({})), INVALID);
}

// ---- Names and values

fn reserved_words_are_refused_without_a_placeholder(cloud: &dyn Endpoint) {
    assert_eq!(reserved_words_in(cloud, "SET {} = :v"), NONE);
    assert_eq!(reserved_words_in(cloud, "SET m.{} = :v"), NONE);
    assert_eq!(reserved_words_in(cloud, "REMOVE n, {}"), NONE);
}

fn reserved_words_are_refused_in_conditions(cloud: &dyn Endpoint) {
    assert_eq!(reserved_words_in(cloud, "{} = :v"), NONE);
    assert_eq!(reserved_words_in(cloud, "attribute_exists(m.{})"), NONE);
}

const RESERVED: [&str; 20] = [
    "status",
    "state",
    "name",
    "token",
    "ttl",
    "until",
    "count",
    "data",
    "type",
    "value",
    "time",
    "user",
    "Status",
    "CONNECTION",
    "timestamp",
    "size",
    "hash",
    "key",
    "role",
    "rank",
];

fn reserved_words_in(cloud: &dyn Endpoint, expression: &str) -> Vec<&'static str> {
    let table = Table::new(cloud);
    let is_update = expression.starts_with("SET") || expression.starts_with("REMOVE");
    let values = if expression.contains(":v") { json!({ ":v": { "N": "1" } }) } else { json!({}) };
    taken(RESERVED.map(|word| {
        let expression = expression.replace("{}", word);
        table.put(item("a", json!({ "m": { "M": {} } })));
        let answer = if is_update {
            table.update("a", &expression, values.clone())
        } else {
            table.meets("a", &expression, &values).map(Value::from)
        };
        (word, answer)
    }))
}

fn reserved_words_are_accepted_through_a_placeholder(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    for word in RESERVED {
        let mut body = update("a", "SET #w = :v", json!({ ":v": { "N": "1" } }));
        body["ExpressionAttributeNames"] = json!({ "#w": word });
        body["ConditionExpression"] = "attribute_not_exists(#w)".into();
        table.ask("UpdateItem", body).unwrap();
    }
    for word in ["ranked", "attempt", "doc", "history", "v", "n", "lease_until", "message"] {
        table.update("a", &format!("SET {word} = :v"), json!({ ":v": { "N": "1" } })).unwrap();
    }
}

fn a_placeholder_must_be_defined(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let value = json!({ ":v": { "N": "1" } });
    refused(table.update("a", "SET n = :other", value.clone()), INVALID);
    refused(table.update("a", "SET n = :v", json!({})), INVALID);
    refused(table.update("a", "SET #n = :v", value), INVALID);
    refused(table.meets("a", "#n = :n", &json!({ ":n": { "N": "1" } })), INVALID);
}

fn a_placeholder_must_be_used(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let values = json!({ ":v": { "N": "1" }, ":x": { "N": "1" } });
    let refusal = refused(table.update("a", "SET n = :v", values), INVALID);
    let expected = "Value provided in ExpressionAttributeValues unused in expressions: keys: {:x}";
    assert_eq!(refusal.message, expected);
    let mut body = update("a", "SET n = :v", json!({ ":v": { "N": "1" } }));
    body["ExpressionAttributeNames"] = json!({ "#x": "x" });
    let refusal = refused(table.ask("UpdateItem", body), INVALID);
    let expected = "Value provided in ExpressionAttributeNames unused in expressions: keys: {#x}";
    assert_eq!(refusal.message, expected);
}

fn placeholders_without_an_expression_are_refused(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let mut put = json!({ "Item": key("a"), "ExpressionAttributeNames": { "#x": "x" } });
    refused(table.ask("PutItem", put.clone()), INVALID);
    put.as_object_mut().unwrap().remove("ExpressionAttributeNames");
    put["ExpressionAttributeValues"] = json!({ ":x": { "S": "x" } });
    refused(table.ask("PutItem", put.clone()), INVALID);
    put["ConditionExpression"] = "attribute_not_exists(pk)".into();
    put["ExpressionAttributeValues"] = json!({});
    refused(table.ask("PutItem", put), INVALID);
}

// ---- Conditions

fn conditions_are_evaluated_on_the_item(cloud: &dyn Endpoint) {
    assert_eq!(wrong_conditions(cloud), NONE);
}

/// The conditions with the wrong result.
fn wrong_conditions(cloud: &dyn Endpoint) -> Vec<&'static str> {
    let table = Table::new(cloud);
    let whole = item(
        "a",
        json!({
            "words": { "S": "hello" },
            "n": { "N": "9" },
            "yes": { "BOOL": true },
            "b": { "B": "AAEC" },
            "l": { "L": [{ "S": "x" }, { "N": "1" }] },
            "m": { "M": { "x": { "N": "1" } } },
            "ss": { "SS": ["x", "y"] },
            "ns": { "NS": ["1", "2"] },
        }),
    );
    let (s, n) = (|s: &str| json!({ "S": s }), |n: &str| json!({ "N": n }));
    let cases = [
        ("n = :v", n("9"), true),
        ("n = :v", n("9.0"), true),
        ("n = :v", s("9"), false),
        ("n <> :v", s("9"), true),
        ("n <> :v", n("9"), false),
        ("absent = :v", n("9"), false),
        ("absent <> :v", n("9"), true),
        ("n < :v", n("10"), true),
        ("n <= :v", n("9"), true),
        ("n > :v", n("10"), false),
        ("n >= :v", n("9"), true),
        ("n < :v", s("z"), false),
        ("n >= :v", s("a"), false),
        ("absent < :v", n("1"), false),
        (":v < n", n("1"), true),
        ("words < :v", s("help"), true),
        ("words > :v", s("Hello"), true),
        ("b < :v", json!({ "B": "AAED" }), true),
        ("yes = :v", json!({ "BOOL": true }), true),
        ("l = :v", json!({ "L": [{ "S": "x" }, { "N": "1" }] }), true),
        ("m = :v", json!({ "M": { "x": { "N": "1" } } }), true),
        ("ss = :v", json!({ "SS": ["y", "x"] }), true),
        ("m.x = :v", n("1"), true),
        ("l[0] = :v", s("x"), true),
        ("l[5] = :v", s("x"), false),
        ("m.x.y = :v", s("x"), false),
        ("begins_with(words, :v)", s("hel"), true),
        ("begins_with(words, :v)", s("ello"), false),
        ("begins_with(n, :v)", s("9"), false),
        ("begins_with(absent, :v)", s("9"), false),
        ("contains(words, :v)", s("ell"), true),
        ("contains(ss, :v)", s("x"), true),
        ("contains(ss, :v)", s("z"), false),
        ("contains(ns, :v)", n("2.0"), true),
        ("contains(l, :v)", n("1"), true),
        ("contains(l, :v)", s("1"), false),
        ("contains(absent, :v)", s("1"), false),
        ("size(words) = :v", n("5"), true),
        ("size(l) = :v", n("2"), true),
        ("size(m) = :v", n("1"), true),
        ("size(ss) = :v", n("2"), true),
        ("size(b) = :v", n("3"), true),
        ("size(absent) = :v", n("0"), false),
        ("attribute_type(words, :v)", s("S"), true),
        ("attribute_type(words, :v)", s("N"), false),
        ("attribute_type(absent, :v)", s("S"), false),
        ("n BETWEEN :v AND :v", n("9"), true),
        ("n IN (:v)", n("9"), true),
        ("n IN (:v, words)", s("9"), false),
        ("attribute_exists(l[1]) AND n = :v", n("9"), true),
        ("attribute_not_exists(m.y) AND n = :v", n("9"), true),
        ("attribute_exists(m.y) OR n <> :v", n("9"), false),
    ];
    let is_wrong = |(condition, value, expected): &(&str, Value, bool)| {
        table.put(whole.clone());
        table.meets("a", condition, &json!({ ":v": value })) != Ok(*expected)
    };
    cases.into_iter().filter(is_wrong).map(|(condition, ..)| condition).collect()
}

fn conditions_are_evaluated_on_a_missing_item(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let value = json!({ ":v": { "N": "1" } });
    for (condition, values, expected) in [
        ("attribute_exists(pk)", &json!({}), false),
        ("attribute_not_exists(pk)", &json!({}), true),
        ("n = :v", &value, false),
        ("n <> :v", &value, true),
        ("NOT n = :v", &value, true),
        ("n < :v", &value, false),
        ("attribute_not_exists(pk) OR n < :v", &value, true),
    ] {
        assert_eq!(table.meets("a", condition, values), Ok(expected), "{condition}");
    }
}

fn not_takes_precedence_over_and_which_takes_precedence_over_or(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    // Whether x, y and z hold, as one bit each.
    let answer = |condition: &str, bits: u8| {
        let bit = |place: u8| json!({ "BOOL": bits & (1 << place) > 0 });
        table.put(item("a", json!({ "x": bit(0), "y": bit(1), "z": bit(2) })));
        let condition = ["x", "y", "z"].iter().fold(condition.to_owned(), |condition, name| {
            condition.replace(&name.to_uppercase(), &format!("{name} = :v"))
        });
        table.meets("a", &condition, &json!({ ":v": { "BOOL": true } })).unwrap()
    };
    for bits in 0..8 {
        let (x, y, z) = (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0);
        assert_eq!(answer("X or Y and Z", bits), x || (y && z));
        assert_eq!(answer("X and Y or not Z", bits), (x && y) || !z);
        assert_eq!(answer("not X and Y or Z", bits), (!x && y) || z);
        assert_eq!(answer("not (X or Y) and Z", bits), !(x || y) && z);
        assert_eq!(answer("(X or Y) and (not Y or Z)", bits), (x || y) && (!y || z));
    }
}

fn malformed_conditions_are_refused(cloud: &dyn Endpoint) {
    assert_eq!(malformed_conditions(cloud), NONE);
}

fn malformed_conditions(cloud: &dyn Endpoint) -> Vec<&'static str> {
    let table = Table::new(cloud);
    let conditions = [
        "",
        "n",
        "n = :v AND",
        "n == :v",
        "n = :v n = :v",
        "(n = :v",
        "n = 'text' OR n = :v",
        "n = 5 OR n = :v",
        "exists(n) OR n = :v",
        "size(n) OR n = :v",
        "attribute_exists(:v)",
        "attribute_exists(n, m) OR n = :v",
        "begins_with(n) OR n = :v",
        "n IN () OR n = :v",
        "n BETWEEN :v",
        "n[x] = :v",
        "((n = :v))",
        "attribute_type(n, m) OR n = :v",
        "if_not_exists(n, m) = :v",
    ];
    taken(conditions.map(|condition| {
        let answer = table.meets("a", condition, &json!({ ":v": { "S": "1" } }));
        (condition, answer.map(Value::from))
    }))
}

fn constants_of_the_wrong_type_are_refused(cloud: &dyn Endpoint) {
    assert_eq!(constants_of_the_wrong_type(cloud), NONE);
}

fn constants_of_the_wrong_type(cloud: &dyn Endpoint) -> Vec<&'static str> {
    let table = Table::new(cloud);
    let conditions = [
        ("n < :v", json!({ "BOOL": true })),
        ("n >= :v", json!({ "L": [] })),
        ("begins_with(n, :v)", json!({ "N": "1" })),
        ("attribute_type(n, :v)", json!({ "S": "STRING" })),
        ("attribute_type(n, :v)", json!({ "N": "1" })),
        ("size(:v) = n", json!({ "N": "1" })),
    ];
    taken(conditions.map(|(condition, value)| {
        let answer = table.meets("a", condition, &json!({ ":v": value }));
        (condition, answer.map(Value::from))
    }))
}

fn bounds_in_the_wrong_order_are_refused(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let bounds = json!({ ":low": { "N": "2" }, ":high": { "N": "1" } });
    refused(table.meets("a", "n BETWEEN :low AND :high", &bounds), INVALID);
}

fn malformed_updates_are_refused(cloud: &dyn Endpoint) {
    assert_eq!(malformed_updates(cloud), NONE);
}

fn malformed_updates(cloud: &dyn Endpoint) -> Vec<&'static str> {
    let table = Table::new(cloud);
    let updates = [
        "",
        "n = :v",
        "SET n",
        "SET n :v",
        "SET n = :v SET m = :v",
        "SET n = :v, REMOVE m",
        "SET n = :v * :v",
        "SET n = size(m), m = :v",
        "ADD n = :v",
        "ADD n m, o :v",
        "SET n = unknown(:v)",
        "SET n = if_not_exists(:v, :v)",
        "SET n = if_not_exists(n, :v + :v)",
        "SET n = :v + :v + :v",
        "set n = IF_NOT_EXISTS(n, :v)",
        "SET _n = :v",
    ];
    taken(updates.map(|expression| {
        table.put(counted("a", 1));
        (expression, table.update("a", expression, json!({ ":v": { "N": "1" } })))
    }))
}

// ---- Values

fn numbers_are_compared_by_value_and_returned_in_normal_form(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    for (put, returned) in
        [("1.50", "1.5"), ("007", "7"), ("-0", "0"), ("1e2", "100"), ("100", "100")]
    {
        table.put(item("a", json!({ "n": { "N": put } })));
        assert_eq!(table.attribute("a", "n"), json!({ "N": returned }));
    }
    let answer = table.meets("a", "n < :v", &json!({ ":v": { "N": "1000.5" } }));
    assert_eq!(answer, Ok(true));
}

fn numbers_beyond_their_limits_are_refused(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let widest = "1".repeat(38);
    table.put(item("a", json!({ "n": { "N": widest } })));
    assert_eq!(table.attribute("a", "n"), json!({ "N": widest }));
    for number in ["1".repeat(39), "1e126".to_owned(), "1e-131".to_owned(), "one".to_owned()] {
        let answer =
            table.ask("PutItem", json!({ "Item": item("a", json!({ "n": { "N": number } })) }));
        refused(answer.map(|_| number), INVALID);
    }
}

fn an_item_needs_both_keys_as_strings(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    for item in [
        json!({ "pk": { "S": "p" } }),
        json!({ "sk": { "S": "a" } }),
        json!({ "pk": { "S": "p" }, "sk": { "N": "1" } }),
        json!({}),
    ] {
        refused(table.ask("PutItem", json!({ "Item": item })), INVALID);
    }
}

fn a_key_has_exactly_the_key_attributes(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    for key in [
        json!({ "pk": { "S": "p" } }),
        json!({ "pk": { "S": "p" }, "sk": { "N": "1" } }),
        json!({ "pk": { "S": "p" }, "sk": { "S": "a" }, "n": { "N": "1" } }),
    ] {
        for operation in ["GetItem", "DeleteItem", "UpdateItem"] {
            refused(table.ask(operation, json!({ "Key": key })), INVALID);
        }
    }
}

fn an_empty_key_is_refused(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    refused(table.ask("PutItem", json!({ "Item": key("") })), INVALID);
    refused(table.ask("UpdateItem", json!({ "Key": key("") })), INVALID);
    refused(table.ask("GetItem", json!({ "Key": key("") })), INVALID);
    let batch = json!({ "RequestItems": { table.name.as_str(): { "Keys": [key("")] } } });
    refused(cloud.call(Service::Dynamo, "BatchGetItem", &batch), INVALID);
}

fn an_empty_string_is_a_value(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let empty = item("a", json!({ "s": { "S": "" }, "b": { "B": "" }, "l": { "L": [] } }));
    table.put(empty.clone());
    assert_eq!(table.get("a"), empty);
}

fn an_attribute_has_one_type_and_a_set_has_no_duplicates(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    for value in [
        json!({}),
        json!({ "S": "x", "N": "1" }),
        json!({ "SS": [] }),
        json!({ "NS": [] }),
        json!({ "SS": ["x", "x"] }),
        json!({ "NS": ["1", "1.0"] }),
        json!({ "NULL": false }),
    ] {
        let answer = table.ask("PutItem", json!({ "Item": item("a", json!({ "x": value })) }));
        refused(answer.map(|_| value), INVALID);
    }
}

fn index_keys_are_nonempty_strings(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    for wrong in [json!({ "S": "" }), json!({ "N": "1" })] {
        let put = item("a", json!({ "gsi1pk": wrong, "gsi1sk": { "S": "1" } }));
        refused(table.ask("PutItem", json!({ "Item": put })), INVALID);
        refused(table.update("a", "SET gsi1sk = :v", json!({ ":v": wrong })), INVALID);
    }
    // An item with only one of the two keys is valid and not in the index.
    table.put(item("a", json!({ "gsi1pk": { "S": "parent" } })));
}

fn an_item_can_have_400_kilobytes(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    // Names and values count.
    let fits = 400 * 1024 - "pkpskatext".len();
    table.put(item("a", json!({ "text": { "S": "x".repeat(fits) } })));
    let put = item("a", json!({ "text": { "S": "x".repeat(fits + 1) } }));
    let refusal = refused(table.ask("PutItem", json!({ "Item": put })), INVALID);
    assert_eq!(refusal.message, "Item size has exceeded the maximum allowed size");
    let refusal = table.update("a", "SET x = :v", json!({ ":v": { "BOOL": true } }));
    let expected = "Item size to update has exceeded the maximum allowed size";
    assert_eq!(refused(refusal, INVALID).message, expected);
}

// ---- Queries

/// A table with items of one partition, and one item of another.
fn filled<'c>(cloud: &'c dyn Endpoint, sort_keys: &[&str]) -> Table<'c> {
    let table = Table::new(cloud);
    for (number, sk) in (0..).zip(sort_keys) {
        table.put(counted(sk, number));
    }
    table.put(json!({ "pk": { "S": "other" }, "sk": { "S": "b" } }));
    table
}

fn a_query_returns_a_partition_in_the_order_of_its_sort_keys(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["b", "10", "é", "a", "9", "B", "ab"]);
    let all = ["10", "9", "B", "a", "ab", "b", "é"];
    let found = table.sort_keys("pk = :pk", json!({}), json!({ "ConsistentRead": true }));
    assert_eq!(found, all);
    let back = json!({ "ScanIndexForward": false });
    let mut found = table.sort_keys("pk = :pk", json!({}), back);
    found.reverse();
    assert_eq!(found, all);
    let none = table.query("pk = :pk", json!({ ":pk": { "S": "nobody" } }), json!({})).unwrap();
    assert_eq!((none["Count"].as_i64(), none.get("LastEvaluatedKey")), (Some(0), None));
}

fn a_query_supports_every_kind_of_range(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a", "b", "b1", "b2", "c"]);
    for (condition, expected) in [
        ("sk = :v", &["b"][..]),
        ("sk < :v", &["a"]),
        ("sk <= :v", &["a", "b"]),
        ("sk > :v", &["b1", "b2", "c"]),
        ("sk >= :v", &["b", "b1", "b2", "c"]),
        (":v < sk", &["b1", "b2", "c"]),
        ("begins_with(sk, :v)", &["b", "b1", "b2"]),
        ("sk BETWEEN :v AND :w", &["b", "b1"]),
    ] {
        let mut values = json!({ ":v": { "S": "b" } });
        if condition.contains(":w") {
            values[":w"] = json!({ "S": "b1" });
        }
        let condition = format!("pk = :pk AND {condition}");
        assert_eq!(table.sort_keys(&condition, values, json!({})), expected, "{condition}");
    }
}

fn a_query_stops_at_its_limit_and_continues_after_it(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a", "b", "c", "d", "e"]);
    for (is_forward, pages) in [
        (true, [&["a", "b"][..], &["c", "d"], &["e"]]),
        (false, [&["e", "d"][..], &["c", "b"], &["a"]]),
    ] {
        let mut more = json!({ "Limit": 2, "ScanIndexForward": is_forward });
        for page in pages {
            let answer = table.query("pk = :pk", json!({ ":pk": { "S": "p" } }), more.clone());
            let answer = answer.unwrap();
            assert_eq!(sort_keys(&answer), page);
            assert_eq!(answer["Count"], page.len());
            let last = answer.get("LastEvaluatedKey").cloned();
            let expected = page.last().filter(|_| page.len() == 2).map(|sk| key(sk));
            assert_eq!(last, expected);
            more["ExclusiveStartKey"] = last.unwrap_or_default();
        }
    }
    let none = table.query("pk = :pk", json!({ ":pk": { "S": "p" } }), json!({ "Limit": 0 }));
    refused(none, INVALID);
}

fn a_query_that_ends_at_its_limit_returns_a_last_key(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a", "b"]);
    let values = json!({ ":pk": { "S": "p" } });
    let answer = table.query("pk = :pk", values.clone(), json!({ "Limit": 2 })).unwrap();
    assert_eq!(answer["LastEvaluatedKey"], key("b"));
    let more = json!({ "Limit": 2, "ExclusiveStartKey": key("b") });
    let answer = table.query("pk = :pk", values, more).unwrap();
    assert_eq!((answer["Count"].as_i64(), answer.get("LastEvaluatedKey")), (Some(0), None));
}

fn a_query_reads_at_most_a_megabyte(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    for sk in ["a", "b", "c"] {
        table.put(item(sk, json!({ "text": { "S": "x".repeat(380_000) } })));
    }
    let values = json!({ ":pk": { "S": "p" } });
    let answer = table.query("pk = :pk", values.clone(), json!({})).unwrap();
    assert_eq!(sort_keys(&answer), ["a", "b"]);
    assert_eq!(answer["LastEvaluatedKey"], key("b"));
    let more = json!({ "ExclusiveStartKey": key("b") });
    let answer = table.query("pk = :pk", values, more).unwrap();
    assert_eq!(sort_keys(&answer), ["c"]);
    assert_eq!(answer.get("LastEvaluatedKey"), None);
}

fn a_filter_applies_after_the_limit(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a", "b", "c", "d"]);
    let values = json!({ ":pk": { "S": "p" }, ":n": { "N": "2" } });
    let more = json!({ "FilterExpression": "n >= :n", "Limit": 3 });
    let answer = table.query("pk = :pk", values, more).unwrap();
    assert_eq!(sort_keys(&answer), ["c"]);
    assert_eq!((answer["Count"].as_i64(), answer["ScannedCount"].as_i64()), (Some(1), Some(3)));
    assert_eq!(answer["LastEvaluatedKey"], key("c"));
}

fn a_query_can_return_only_the_count(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a", "b"]);
    let values = json!({ ":pk": { "S": "p" } });
    let answer = table.query("pk = :pk", values, json!({ "Select": "COUNT" })).unwrap();
    assert_eq!((answer["Count"].as_i64(), answer.get("Items")), (Some(2), None));
}

fn a_query_needs_the_whole_partition_key(cloud: &dyn Endpoint) {
    assert_eq!(malformed_queries(cloud), NONE);
}

fn malformed_queries(cloud: &dyn Endpoint) -> Vec<&'static str> {
    let table = filled(cloud, &["a"]);
    let conditions = [
        "sk = :v",
        "pk > :v",
        "begins_with(pk, :v)",
        "pk = :v OR sk = :v",
        "NOT pk = :v",
        "pk = :v AND pk = :v",
        "pk = :v AND n = :v",
        "pk = :v AND sk <> :v",
        "pk = :v AND contains(sk, :v)",
        "pk = :v AND attribute_exists(sk)",
        "pk = :v AND sk = :v AND sk = :v",
        "pk IN (:v)",
    ];
    let value = || json!({ ":v": { "S": "p" } });
    taken(conditions.map(|condition| (condition, table.query(condition, value(), json!({})))))
}

fn the_keys_of_a_query_are_strings(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a"]);
    let number = json!({ ":pk": { "S": "p" }, ":v": { "N": "1" } });
    refused(table.query("pk = :pk AND sk = :v", number, json!({})), INVALID);
    refused(table.query("pk = :pk", json!({ ":pk": { "S": "" } }), json!({})), INVALID);
    refused(table.ask("Query", json!({})), INVALID);
}

fn a_query_cannot_start_outside_its_range(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a", "b", "c"]);
    let values = || json!({ ":pk": { "S": "p" }, ":v": { "S": "b" } });
    let other = json!({ "pk": { "S": "other" }, "sk": { "S": "b" } });
    for start in [other, json!({ "pk": { "S": "p" } }), key("a")] {
        let more = json!({ "ExclusiveStartKey": start });
        refused(table.query("pk = :pk AND sk >= :v", values(), more), INVALID);
    }
}

fn a_filter_cannot_use_key_attributes(cloud: &dyn Endpoint) {
    assert_eq!(filters_on_keys(cloud), NONE);
}

const FILTERS_BY_KEYS: [&str; 4] =
    ["sk = :v", "n = :v OR pk = :v", "begins_with(sk, :v)", "attribute_exists(pk)"];

fn filters_on_keys(cloud: &dyn Endpoint) -> Vec<&'static str> {
    let table = filled(cloud, &["a"]);
    taken(FILTERS_BY_KEYS.map(|filter| {
        let mut values = json!({ ":pk": { "S": "p" } });
        if filter.contains(":v") {
            values[":v"] = json!({ "S": "a" });
        }
        (filter, table.query("pk = :pk", values, json!({ "FilterExpression": filter })))
    }))
}

// ---- The index

/// The entries of the index under `parent`.
#[track_caller]
fn children(table: &Table<'_>, more: Value) -> Value {
    let mut all = json!({ "IndexName": "by_parent" });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    table.query("gsi1pk = :p", json!({ ":p": { "S": "parent" } }), all).unwrap()
}

fn the_index_returns_keys_in_its_own_order(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    for (sk, place) in [("a", "3"), ("b", "1"), ("c", "2")] {
        let mut item = child(sk, "parent", place);
        item["n"] = json!({ "N": "1" });
        table.put(item);
    }
    table.put(child("d", "another", "0"));
    table.put(counted("e", 1));
    let answer = children(&table, json!({}));
    let expected =
        [("b", "1"), ("c", "2"), ("a", "3")].map(|(sk, place)| child(sk, "parent", place));
    assert_eq!(answer["Items"], json!(expected));
    let answer = children(&table, json!({ "ScanIndexForward": false }));
    assert_eq!(sort_keys(&answer), ["a", "c", "b"]);
    let values = json!({ ":p": { "S": "parent" }, ":place": { "S": "3" } });
    let more = json!({ "IndexName": "by_parent", "ScanIndexForward": false });
    let answer = table.query("gsi1pk = :p AND gsi1sk < :place", values, more).unwrap();
    assert_eq!(sort_keys(&answer), ["c", "b"]);
}

fn the_index_follows_every_write(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let places = || {
        let answer = children(&table, json!({}));
        let items = answer["Items"].as_array().unwrap().iter();
        let place = |item: &Value| format!("{}{}", item["gsi1sk"]["S"], item["sk"]["S"]);
        items.map(place).collect::<String>().replace('"', "")
    };
    table.put(child("a", "parent", "1"));
    table.put(child("b", "parent", "2"));
    assert_eq!(places(), "1a2b");
    table.update("a", "SET gsi1sk = :v", json!({ ":v": { "S": "3" } })).unwrap();
    assert_eq!(places(), "2b3a");
    table.update("b", "REMOVE gsi1sk", json!({})).unwrap();
    assert_eq!(places(), "3a");
    table.put(child("a", "another", "3"));
    assert_eq!(places(), "");
    table
        .transact(
            json!([{ "Put": { "TableName": table.name, "Item": child("c", "parent", "4") } }]),
        )
        .unwrap();
    assert_eq!(places(), "4c");
    table.ask("DeleteItem", json!({ "Key": key("c") })).unwrap();
    assert_eq!(places(), "");
}

fn a_query_of_the_index_continues_after_a_page(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    for (sk, place) in [("a", "1"), ("b", "2"), ("c", "3")] {
        table.put(child(sk, "parent", place));
    }
    let answer = children(&table, json!({ "Limit": 2, "ScanIndexForward": false }));
    assert_eq!(sort_keys(&answer), ["c", "b"]);
    let last = answer["LastEvaluatedKey"].clone();
    assert_eq!(last, child("b", "parent", "2"));
    let more = json!({ "Limit": 2, "ScanIndexForward": false, "ExclusiveStartKey": last });
    let answer = children(&table, more);
    assert_eq!((sort_keys(&answer), answer.get("LastEvaluatedKey")), (vec!["a".to_owned()], None));
}

fn the_index_does_not_support_consistent_reads(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let more = json!({ "IndexName": "by_parent", "ConsistentRead": true });
    let answer = table.query("gsi1pk = :p", json!({ ":p": { "S": "parent" } }), more);
    refused(answer, INVALID);
}

fn an_index_must_exist(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let values = json!({ ":p": { "S": "parent" } });
    refused(table.query("gsi1pk = :p", values, json!({ "IndexName": "by_child" })), INVALID);
}

fn a_projection_returns_the_named_parts(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let map = json!({ "M": { "x": { "N": "1" }, "y": { "N": "2" } } });
    table.put(item("a", json!({ "n": { "N": "1" }, "m": map, "name": { "S": "x" } })));
    let body = json!({
        "Key": key("a"),
        "ProjectionExpression": "n, m.y, #name, absent",
        "ExpressionAttributeNames": { "#name": "name" },
    });
    let expected =
        json!({ "n": { "N": "1" }, "m": { "M": { "y": { "N": "2" } } }, "name": { "S": "x" } });
    assert_eq!(table.ask("GetItem", body).unwrap()["Item"], expected);
    let more = json!({ "ProjectionExpression": "n" });
    let answer = table.query("pk = :pk", json!({ ":pk": { "S": "p" } }), more).unwrap();
    assert_eq!(answer["Items"], json!([{ "n": { "N": "1" } }]));
}

// ---- Batches

fn a_batch_returns_the_existing_items(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a", "b", "c"]);
    let keys = [key("c"), key("absent"), key("a")];
    let batch = json!({ "RequestItems": { table.name.as_str(): { "Keys": keys } } });
    let answer = cloud.call(Service::Dynamo, "BatchGetItem", &batch).unwrap();
    // In any order.
    let mut found = answer["Responses"][&table.name].as_array().unwrap().clone();
    found.sort_by_key(|item| item["sk"]["S"].as_str().map(str::to_owned));
    assert_eq!(found, [counted("a", 0), counted("c", 2)]);
    assert_eq!(answer["UnprocessedKeys"], json!({}));
}

fn the_keys_of_a_batch_are_distinct_and_at_most_100(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let many = |count: usize| (0..count).map(|n| key(&n.to_string())).collect::<Vec<_>>();
    let ask = |keys: Vec<Value>| {
        let batch = json!({ "RequestItems": { table.name.as_str(): { "Keys": keys } } });
        cloud.call(Service::Dynamo, "BatchGetItem", &batch)
    };
    ask(many(100)).unwrap();
    refused(ask(many(101)), INVALID);
    refused(ask(vec![key("a"), key("b"), key("a")]), INVALID);
    refused(ask(vec![]), INVALID);
}

fn a_batch_writes_and_deletes(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a", "b"]);
    let writes = json!([
        { "DeleteRequest": { "Key": key("a") } },
        { "PutRequest": { "Item": counted("b", 7) } },
        { "PutRequest": { "Item": counted("c", 8) } },
        { "DeleteRequest": { "Key": key("absent") } },
    ]);
    let batch = json!({ "RequestItems": { table.name.as_str(): writes } });
    let answer = cloud.call(Service::Dynamo, "BatchWriteItem", &batch).unwrap();
    assert_eq!(answer["UnprocessedItems"], json!({}));
    assert_eq!(table.get("a"), Value::Null);
    assert_eq!((table.get("b"), table.get("c")), (counted("b", 7), counted("c", 8)));
}

fn the_writes_of_a_batch_are_distinct_and_at_most_25(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let delete = |sk: &str| json!({ "DeleteRequest": { "Key": key(sk) } });
    let ask = |writes: Vec<Value>| {
        let batch = json!({ "RequestItems": { table.name.as_str(): writes } });
        cloud.call(Service::Dynamo, "BatchWriteItem", &batch)
    };
    let many = |count: usize| (0..count).map(|n| delete(&n.to_string())).collect::<Vec<_>>();
    ask(many(25)).unwrap();
    refused(ask(many(26)), INVALID);
    refused(ask(vec![delete("a"), json!({ "PutRequest": { "Item": key("a") } })]), INVALID);
    refused(ask(vec![]), INVALID);
}

// ---- Transactions

fn a_transaction_takes_effect_as_a_whole_or_not_at_all(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a", "b"]);
    let name = table.name.as_str();
    let all = |check: &str| {
        json!([
            table.put_action("c", 3),
            { "Update": {
                "TableName": name,
                "Key": key("a"),
                "UpdateExpression": "ADD n :n",
                "ExpressionAttributeValues": { ":n": { "N": "10" } },
            } },
            { "Delete": { "TableName": name, "Key": key("b") } },
            table.check_action(check),
        ])
    };
    refused(table.transact(all("absent")), "TransactionCanceledException");
    assert_eq!(table.get("c"), Value::Null);
    assert_eq!((table.get("a"), table.get("b")), (counted("a", 0), counted("b", 1)));
    table.put(key("there"));
    table.transact(all("there")).unwrap();
    assert_eq!((table.get("a"), table.get("b")), (counted("a", 10), Value::Null));
    assert_eq!(table.get("c"), counted("c", 3));
}

fn a_cancelled_transaction_returns_a_reason_for_each_action(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a", "b"]);
    let unless_there = |sk: &str, return_values: &str| {
        json!({ "Put": {
            "TableName": table.name,
            "Item": counted(sk, 9),
            "ConditionExpression": "attribute_not_exists(pk)",
            "ReturnValuesOnConditionCheckFailure": return_values,
        } })
    };
    let actions = json!([
        unless_there("a", "ALL_OLD"),
        unless_there("b", "NONE"),
        unless_there("c", "ALL_OLD"),
        table.check_action("d"),
    ]);
    let refusal = refused(table.transact(actions), "TransactionCanceledException");
    let codes = "[ConditionalCheckFailed, ConditionalCheckFailed, None, ConditionalCheckFailed]";
    let expected = format!(
        "Transaction cancelled, please refer cancellation reasons for specific reasons {codes}"
    );
    assert_eq!(refusal.message, expected);
    let failed = json!({
        "Code": "ConditionalCheckFailed",
        "Message": "The conditional request failed",
    });
    let mut with_item = failed.clone();
    with_item["Item"] = counted("a", 0);
    let expected = json!([with_item, failed, { "Code": "None" }, failed]);
    assert_eq!(refusal.more.get("CancellationReasons"), Some(&expected));
}

fn a_transaction_has_at_most_one_action_per_item(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a"]);
    let actions = json!([table.put_action("a", 1), table.check_action("a")]);
    refused(table.transact(actions), INVALID);
    assert_eq!(table.get("a"), counted("a", 0));
}

fn an_action_of_a_transaction_has_one_operation(cloud: &dyn Endpoint) {
    assert_eq!(actions_with_several_operations(cloud), NONE);
}

fn actions_with_several_operations(cloud: &dyn Endpoint) -> Vec<&'static str> {
    let table = Table::new(cloud);
    let two = json!([{
        "Put": { "TableName": table.name, "Item": key("b") },
        "Delete": { "TableName": table.name, "Key": key("c") },
    }]);
    taken([("two", table.transact(two)), ("none", table.transact(json!([{}])))])
}

fn a_transaction_has_at_most_100_actions(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let many = |count: u8| {
        (0..count).map(|n| table.put_action(&n.to_string(), n.into())).collect::<Vec<_>>()
    };
    table.transact(many(100).into()).unwrap();
    refused(table.transact(many(101).into()), INVALID);
    refused(table.transact(json!([])), INVALID);
}

fn a_transaction_that_is_invalid_for_an_item_is_cancelled(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    table.put(item("a", json!({ "text": { "S": "t" } })));
    let add = json!({ "Update": {
        "TableName": table.name,
        "Key": key("a"),
        "UpdateExpression": "ADD #text :n",
        "ExpressionAttributeNames": { "#text": "text" },
        "ExpressionAttributeValues": { ":n": { "N": "1" } },
    } });
    let answer = table.transact(json!([table.put_action("b", 1), add]));
    let refusal = refused(answer, "TransactionCanceledException");
    let reasons = refusal.more["CancellationReasons"].as_array().unwrap();
    assert_eq!(reasons[0], json!({ "Code": "None" }));
    assert_eq!(reasons[1]["Code"], "ValidationError");
    assert_eq!(table.get("b"), Value::Null);
}

fn a_client_request_token_identifies_its_transaction(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let token = cloud.fresh_name();
    let ask = |number: &str| {
        let actions = json!([{ "Update": {
            "TableName": table.name,
            "Key": key("a"),
            "UpdateExpression": "ADD n :n",
            "ExpressionAttributeValues": { ":n": { "N": number } },
        } }]);
        let body = json!({ "TransactItems": actions, "ClientRequestToken": token });
        cloud.call(Service::Dynamo, "TransactWriteItems", &body)
    };
    ask("1").unwrap();
    ask("1").unwrap();
    assert_eq!(table.get("a"), counted("a", 1));
    refused(ask("2"), "IdempotentParameterMismatchException");
    assert_eq!(table.get("a"), counted("a", 1));
}

fn the_token_of_a_cancelled_transaction_can_be_reused(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let body = json!({
        "TransactItems": [table.put_action("b", 1), table.check_action("a")],
        "ClientRequestToken": cloud.fresh_name(),
    });
    let ask = || cloud.call(Service::Dynamo, "TransactWriteItems", &body);
    refused(ask(), "TransactionCanceledException");
    table.put(key("a"));
    ask().unwrap();
    assert_eq!(table.get("b"), counted("b", 1));
}

fn a_transaction_returns_items_in_the_requested_order(cloud: &dyn Endpoint) {
    let table = filled(cloud, &["a", "b"]);
    let get = |sk: &str| json!({ "Get": { "TableName": table.name, "Key": key(sk) } });
    let body = json!({ "TransactItems": [get("b"), get("absent"), get("a")] });
    let answer = cloud.call(Service::Dynamo, "TransactGetItems", &body).unwrap();
    let expected = json!([{ "Item": counted("b", 1) }, {}, { "Item": counted("a", 0) }]);
    assert_eq!(answer["Responses"], expected);
}

fn a_table_must_exist(cloud: &dyn Endpoint) {
    let table = Table { cloud, name: cloud.fresh_name() };
    let code = "ResourceNotFoundException";
    refused(table.ask("GetItem", json!({ "Key": key("a") })), code);
    refused(table.ask("PutItem", json!({ "Item": key("a") })), code);
    refused(table.ask("DeleteItem", json!({ "Key": key("a") })), code);
    refused(table.query("pk = :pk", json!({ ":pk": { "S": "p" } }), json!({})), code);
    refused(table.transact(json!([table.put_action("a", 1)])), code);
}

// ---- Costs

/// The request units in an answer.
#[track_caller]
fn units(answer: &Answer) -> f64 {
    let capacity = &answer.as_ref().unwrap()["ConsumedCapacity"];
    capacity.get(0).unwrap_or(capacity)["CapacityUnits"].as_f64().unwrap()
}

/// Sends a request and returns its request units.
#[track_caller]
fn cost(table: &Table<'_>, operation: &str, mut body: Value) -> f64 {
    body["ReturnConsumedCapacity"] = "TOTAL".into();
    units(&table.ask(operation, body))
}

#[track_caller]
fn same(left: f64, right: f64) {
    assert!((left - right).abs() < 0.01, "{left} and {right}");
}

fn reads_cost_by_size_and_consistency(cloud: &dyn Endpoint) {
    let expected = [("small", 0.5, 1.0), ("large", 1.0, 2.0), ("absent", 0.5, 1.0)];
    assert_eq!(costs_of_reads(cloud), expected);
}

/// The costs of an eventually consistent and of a consistent read of several items.
fn costs_of_reads(cloud: &dyn Endpoint) -> [(&'static str, f64, f64); 3] {
    let table = Table::new(cloud);
    let sized = |size: usize| json!({ "words": { "S": "x".repeat(size) } });
    table.put(item("small", sized(100)));
    table.put(item("large", sized(4096)));
    ["small", "large", "absent"].map(|sk| {
        let get = |is_consistent: bool| {
            cost(&table, "GetItem", json!({ "Key": key(sk), "ConsistentRead": is_consistent }))
        };
        (sk, get(false), get(true))
    })
}

fn a_query_rounds_the_total_size(cloud: &dyn Endpoint) {
    assert_eq!(costs_of_a_query(cloud), (1.0, 2.0));
}

/// The costs of an eventually consistent and of a consistent query of about 5 KB.
fn costs_of_a_query(cloud: &dyn Endpoint) -> (f64, f64) {
    let table = Table::new(cloud);
    for sk in ["a", "b", "c", "d", "e"] {
        table.put(item(sk, json!({ "words": { "S": "x".repeat(1000) } })));
    }
    let query = |is_consistent: bool| {
        cost(
            &table,
            "Query",
            json!({
                "KeyConditionExpression": "pk = :pk",
                "ExpressionAttributeValues": { ":pk": { "S": "p" } },
                "ConsistentRead": is_consistent,
            }),
        )
    };
    (query(false), query(true))
}

fn a_write_costs_by_the_larger_of_the_old_and_the_new_item(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let text = |size: usize| json!({ "text": { "S": "x".repeat(size) } });
    let put = |size: usize| cost(&table, "PutItem", json!({ "Item": item("a", text(size)) }));
    same(put(100), 1.0);
    same(put(2000), 2.0);
    same(put(100), 2.0);
    same(put(1024), 2.0);
    let small = update("a", "SET n = :n", json!({ ":n": { "N": "1" } }));
    same(cost(&table, "UpdateItem", small), 2.0);
    same(cost(&table, "DeleteItem", json!({ "Key": key("a") })), 2.0);
    same(cost(&table, "DeleteItem", json!({ "Key": key("a") })), 1.0);
}

fn a_write_that_moves_an_index_entry_costs_more(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let put = |item: Value| cost(&table, "PutItem", json!({ "Item": item }));
    same(put(key("a")), 1.0);
    same(put(child("a", "parent", "1")), 2.0);
    same(put(child("a", "parent", "1")), 1.0);
    same(put(child("a", "parent", "2")), 3.0);
    let keep = update("a", "SET n = :n", json!({ ":n": { "N": "1" } }));
    same(cost(&table, "UpdateItem", keep), 1.0);
    let leave = update("a", "REMOVE gsi1pk", json!({}));
    same(cost(&table, "UpdateItem", leave), 2.0);
    let body = json!({ "Item": child("b", "parent", "1"), "ReturnConsumedCapacity": "INDEXES" });
    let capacity = table.ask("PutItem", body).unwrap()["ConsumedCapacity"].take();
    same(capacity["Table"]["CapacityUnits"].as_f64().unwrap(), 1.0);
    let of_index = &capacity["GlobalSecondaryIndexes"]["by_parent"]["CapacityUnits"];
    same(of_index.as_f64().unwrap(), 1.0);
}

fn a_transaction_costs_twice_the_units(cloud: &dyn Endpoint) {
    let table = Table::new(cloud);
    let body = json!({
        "TransactItems": [table.put_action("a", 1), table.put_action("b", 1)],
        "ReturnConsumedCapacity": "TOTAL",
    });
    same(units(&cloud.call(Service::Dynamo, "TransactWriteItems", &body)), 4.0);
    let get = |sk: &str| json!({ "Get": { "TableName": table.name, "Key": key(sk) } });
    let body = json!({ "TransactItems": [get("a"), get("b")], "ReturnConsumedCapacity": "TOTAL" });
    same(units(&cloud.call(Service::Dynamo, "TransactGetItems", &body)), 4.0);
}

// ---- Any sequence of writes

/// Compares the model with the local cloud.
#[cfg(feature = "emulator")]
mod sequences {
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Map, Value, json};

    use super::{Answer, Table, children, item, key};
    use crate::emulator::Emulator;
    use crate::endpoint::{Endpoint, Model, Service};

    const CONDITIONS: [&str; 14] = [
        "",
        "attribute_exists(pk)",
        "attribute_not_exists(pk)",
        "attribute_not_exists(pk) OR n < :n",
        "attribute_exists(n) AND NOT n = :n",
        "n = :n",
        "n <> :n",
        "n >= :n",
        "n IN (:n, :one)",
        "begins_with(words, :s)",
        "contains(l, :s) OR contains(tags, :s)",
        "size(l) > :n",
        "attribute_type(l, :type)",
        "(words = :s OR n = :n) AND attribute_exists(gsi1pk)",
    ];

    // Expressions without known differences.
    const UPDATES: [&str; 12] = [
        "SET n = :n",
        "SET n = if_not_exists(n, :zero) + :n",
        "SET n = n - :one",
        "SET words = :s REMOVE n",
        "SET former = words, words = :s",
        "SET l = list_append(if_not_exists(l, :none), :l)",
        "SET l = list_append(:l, l)",
        "SET l[0] = :s",
        "SET gsi1pk = :parent, gsi1sk = :s",
        "SET n = :n REMOVE gsi1sk",
        "ADD n :n, tags :tags",
        "SET words = :s DELETE tags :tags",
    ];

    /// The values that these expressions use.
    fn values(expressions: &[&str], number: u8, text: &str) -> Value {
        let all = [
            (":n", json!({ "N": number.to_string() })),
            (":one", json!({ "N": "1" })),
            (":zero", json!({ "N": "0" })),
            (":s", json!({ "S": text })),
            (":type", json!({ "S": "L" })),
            (":none", json!({ "L": [] })),
            (":l", json!({ "L": [{ "S": text }] })),
            (":parent", json!({ "S": "parent" })),
            (":tags", json!({ "SS": [text] })),
        ];
        let has = |expression: &&str, name: &str| {
            let mut words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'));
            words.any(|word| word == name)
        };
        let used = all.into_iter().filter(|(name, _)| expressions.iter().any(|e| has(e, name)));
        Value::Object(used.map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// A write: its operation, and its body without the table.
    fn write() -> impl Strategy<Value = (&'static str, Value)> {
        let parts = (
            select(&["PutItem", "UpdateItem", "UpdateItem", "DeleteItem"][..]),
            select(&["a", "b", "c"][..]),
            select(&CONDITIONS[..]),
            select(&UPDATES[..]),
            0..4_u8,
            select(&["x", "xy", "y"][..]),
            any::<bool>(),
            select(&["NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"][..]),
        );
        parts.prop_map(|(operation, sk, condition, update, number, text, on_failure, returned)| {
            let mut body = match operation {
                "PutItem" => {
                    let n = json!({ "N": number.to_string() });
                    json!({ "Item": item(sk, json!({ "n": n, "words": { "S": text } })) })
                }
                _ => json!({ "Key": key(sk) }),
            };
            let mut expressions = Vec::new();
            if !condition.is_empty() {
                expressions.push(condition);
                body["ConditionExpression"] = condition.into();
            }
            // An element of a list is not returned on its own.
            let returns_whole_item = matches!(returned, "NONE" | "ALL_OLD");
            if operation == "UpdateItem" {
                expressions.push(update);
                body["UpdateExpression"] = update.into();
            }
            if returns_whole_item || (operation == "UpdateItem" && !update.contains('[')) {
                body["ReturnValues"] = returned.into();
            }
            let values = values(&expressions, number, text);
            if values.as_object().is_some_and(|values| !values.is_empty()) {
                body["ExpressionAttributeValues"] = values;
            }
            if on_failure {
                body["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD".into();
            }
            (operation, body)
        })
    }

    /// A write, or several as a transaction.
    fn step() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
        prop_oneof![
            3 => write().prop_map(|write| vec![write]),
            1 => prop::collection::vec(write(), 2..4),
        ]
    }

    fn ask(table: &Table<'_>, step: &[(&'static str, Value)]) -> Answer {
        if let [(operation, body)] = step {
            return table.ask(operation, body.clone());
        }
        let action = |(operation, body): &(&'static str, Value)| {
            let mut body = body.clone();
            body["TableName"] = table.name.clone().into();
            body.as_object_mut().unwrap().remove("ReturnValues");
            let has_condition = body.get("ConditionExpression").is_some();
            let name = match *operation {
                "DeleteItem" if has_condition => "ConditionCheck",
                operation => operation.strip_suffix("Item").unwrap(),
            };
            Value::Object(Map::from_iter([(name.to_owned(), body)]))
        };
        table.transact(step.iter().map(action).collect())
    }

    /// The content of an answer, without its texts and with sets in order.
    fn essence(answer: Answer) -> Value {
        let mut essence = match answer {
            Ok(answer) => answer,
            Err(refusal) => json!({ "refused": refusal.code, "more": refusal.more }),
        };
        simplify(&mut essence);
        essence
    }

    fn simplify(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.remove("Message");
                // No value and an empty map are equivalent.
                if members.get("Attributes") == Some(&json!({})) {
                    members.remove("Attributes");
                }
                if let Some(Value::Array(set)) = members.get_mut("SS") {
                    set.sort_by_key(ToString::to_string);
                }
                members.values_mut().for_each(simplify);
            }
            Value::Array(elements) => elements.iter_mut().for_each(simplify),
            _ => {}
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 200,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn the_model_and_the_local_cloud_give_the_same_answers(
            steps in prop::collection::vec(step(), 1..12)
        ) {
            let model = Model::new();
            let clouds: [&dyn Endpoint; 2] = [&model, &Emulator];
            let [modelled, emulated] = clouds.map(Table::new);
            for step in &steps {
                let (left, right) = (ask(&modelled, step), ask(&emulated, step));
                prop_assert_eq!(essence(left), essence(right), "{:?}", step);
            }
            let everything = |table: &Table<'_>| {
                let asked = json!({
                    "TableName": table.name,
                    "KeyConditionExpression": "pk = :pk",
                    "ExpressionAttributeValues": { ":pk": { "S": "p" } },
                    "ConsistentRead": true,
                });
                essence(table.cloud.call(Service::Dynamo, "Query", &asked))
            };
            prop_assert_eq!(everything(&modelled), everything(&emulated));
            let index = |table: &Table<'_>| {
                let mut found = children(table, json!({}))["Items"].take();
                // Items with the same position have no order.
                found.as_array_mut().unwrap().sort_by_key(ToString::to_string);
                found
            };
            prop_assert_eq!(index(&modelled), index(&emulated));
        }
    }
}
