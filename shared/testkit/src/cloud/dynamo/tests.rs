//! Tests of what only the model has: its clock, its lag, its counters, and what it does not
//! support.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Attribute, Dynamo, Item, Lag, PartitionLimits, TableSchema, Total, Units};
use crate::cloud::Refusal;

const TABLE: &str = "table";
const NOW: i64 = 1_700_000_000_000;

fn dynamo() -> Dynamo {
    let mut dynamo = Dynamo::new();
    dynamo.create_table(TableSchema::of_the_hub(TABLE));
    dynamo
}

fn key(sk: &str) -> Value {
    json!({ "pk": { "S": "p" }, "sk": { "S": sk } })
}

fn child(sk: &str, place: &str) -> Value {
    json!({
        "pk": { "S": "p" },
        "sk": { "S": sk },
        "gsi1pk": { "S": "parent" },
        "gsi1sk": { "S": place },
    })
}

fn put(dynamo: &mut Dynamo, item: &Value, now_ms: i64) {
    let body = json!({ "TableName": TABLE, "Item": item });
    dynamo.call("PutItem", &body, now_ms).unwrap();
}

fn delete(dynamo: &mut Dynamo, sk: &str, now_ms: i64) {
    let body = json!({ "TableName": TABLE, "Key": key(sk) });
    dynamo.call("DeleteItem", &body, now_ms).unwrap();
}

fn places(dynamo: &mut Dynamo, now_ms: i64) -> String {
    let body = json!({
        "TableName": TABLE,
        "IndexName": "by_parent",
        "KeyConditionExpression": "gsi1pk = :p",
        "ExpressionAttributeValues": { ":p": { "S": "parent" } },
    });
    let answer = dynamo.call("Query", &body, now_ms).unwrap();
    let items = answer["Items"].as_array().unwrap().iter();
    items.map(|item| item["gsi1sk"]["S"].as_str().unwrap()).collect()
}

fn sort_keys(dynamo: &mut Dynamo, is_consistent: bool, now_ms: i64) -> String {
    let body = json!({
        "TableName": TABLE,
        "ConsistentRead": is_consistent,
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": { ":p": { "S": "p" } },
    });
    let answer = dynamo.call("Query", &body, now_ms).unwrap();
    let items = answer["Items"].as_array().unwrap().iter();
    items.map(|item| item["sk"]["S"].as_str().unwrap()).collect()
}

fn get(dynamo: &mut Dynamo, sk: &str, is_consistent: bool, now_ms: i64) -> Value {
    let body = json!({ "TableName": TABLE, "Key": key(sk), "ConsistentRead": is_consistent });
    dynamo.call("GetItem", &body, now_ms).unwrap()["Item"].take()
}

fn refused(answer: Result<Value, Refusal>) -> String {
    answer.unwrap_err().code
}

#[test]
fn the_index_shows_a_write_after_its_lag() {
    let mut dynamo = dynamo();
    dynamo.set_lag(Lag { index_ms: 100, read_ms: 0 });
    put(&mut dynamo, &child("a", "1"), NOW);
    assert_eq!(places(&mut dynamo, NOW + 99), "");
    put(&mut dynamo, &child("a", "2"), NOW + 99);
    assert_eq!(places(&mut dynamo, NOW + 100), "1");
    delete(&mut dynamo, "a", NOW + 150);
    assert_eq!(places(&mut dynamo, NOW + 198), "1");
    assert_eq!(places(&mut dynamo, NOW + 199), "2");
    assert_eq!(places(&mut dynamo, NOW + 250), "");
}

#[test]
fn the_index_applies_writes_in_order_even_if_its_lag_decreases() {
    let mut dynamo = dynamo();
    dynamo.set_lag(Lag { index_ms: 1000, read_ms: 0 });
    put(&mut dynamo, &child("a", "1"), NOW);
    dynamo.set_lag(Lag::default());
    put(&mut dynamo, &child("a", "2"), NOW);
    assert_eq!(places(&mut dynamo, NOW + 999), "");
    assert_eq!(places(&mut dynamo, NOW + 1000), "2");
}

#[test]
fn an_eventually_consistent_read_may_be_stale_and_a_consistent_read_never_is() {
    let mut dynamo = dynamo();
    put(&mut dynamo, &key("a"), NOW);
    dynamo.set_lag(Lag { index_ms: 0, read_ms: 100 });
    put(&mut dynamo, &key("b"), NOW);
    delete(&mut dynamo, "a", NOW + 50);
    put(&mut dynamo, &key("a"), NOW + 60);
    delete(&mut dynamo, "a", NOW + 70);
    for (at, eventually) in [(80, "a"), (99, "a"), (100, "ab"), (149, "ab"), (150, "b")] {
        assert_eq!(sort_keys(&mut dynamo, true, NOW + at), "b");
        assert_eq!(sort_keys(&mut dynamo, false, NOW + at), eventually, "{at}");
        let is_there = !get(&mut dynamo, "a", false, NOW + at).is_null();
        assert_eq!(is_there, eventually.contains('a'), "{at}");
        assert!(get(&mut dynamo, "a", true, NOW + at).is_null());
    }
    assert_eq!(sort_keys(&mut dynamo, false, NOW + 170), "b");
}

#[test]
fn an_expired_item_stays_until_it_is_deleted() {
    let mut dynamo = dynamo();
    for (sk, ttl) in [("a", NOW / 1000 - 1), ("b", NOW / 1000), ("c", NOW / 1000 + 60)] {
        let mut item = child(sk, sk);
        item["ttl"] = json!({ "N": ttl.to_string() });
        put(&mut dynamo, &item, NOW);
    }
    put(&mut dynamo, &child("d", "d"), NOW);
    assert_eq!(sort_keys(&mut dynamo, true, NOW), "abcd");
    assert_eq!(dynamo.delete_expired(TABLE, NOW), 1);
    assert_eq!(dynamo.delete_expired(TABLE, NOW), 0);
    assert_eq!(sort_keys(&mut dynamo, true, NOW), "bcd");
    assert_eq!(places(&mut dynamo, NOW), "bcd");
    assert_eq!(dynamo.delete_expired(TABLE, NOW + 61_000), 2);
    assert_eq!(sort_keys(&mut dynamo, true, NOW), "d");
}

#[test]
fn a_batch_may_be_processed_in_part() {
    let mut dynamo = dynamo();
    dynamo.set_batch_part(Some(2));
    let puts = ["a", "b", "c"].map(|sk| json!({ "PutRequest": { "Item": key(sk) } }));
    let body = json!({ "RequestItems": { TABLE: puts } });
    let answer = dynamo.call("BatchWriteItem", &body, NOW).unwrap();
    assert_eq!(answer["UnprocessedItems"], json!({ TABLE: [puts[2]] }));
    let rest = json!({ "RequestItems": answer["UnprocessedItems"] });
    let answer = dynamo.call("BatchWriteItem", &rest, NOW).unwrap();
    assert_eq!(answer["UnprocessedItems"], json!({}));
    assert_eq!(sort_keys(&mut dynamo, true, NOW), "abc");

    let keys = ["c", "b", "a"].map(key);
    let body = json!({ "RequestItems": { TABLE: { "Keys": keys, "ConsistentRead": true } } });
    let answer = dynamo.call("BatchGetItem", &body, NOW).unwrap();
    assert_eq!(answer["Responses"], json!({ TABLE: [key("a"), key("b")] }));
    let rest = json!({ TABLE: { "Keys": [key("c")], "ConsistentRead": true } });
    assert_eq!(answer["UnprocessedKeys"], rest);
}

#[test]
fn a_client_request_token_expires_after_ten_minutes() {
    let mut dynamo = dynamo();
    let body = |number: &str| {
        json!({
            "ClientRequestToken": "token",
            "TransactItems": [{ "Update": {
                "TableName": TABLE,
                "Key": key("a"),
                "UpdateExpression": "ADD n :n",
                "ExpressionAttributeValues": { ":n": { "N": number } },
            } }],
        })
    };
    let minutes = |minutes: i64| NOW + minutes * 60_000;
    dynamo.call("TransactWriteItems", &body("1"), NOW).unwrap();
    dynamo.call("TransactWriteItems", &body("1"), minutes(9)).unwrap();
    let mismatch = "IdempotentParameterMismatchException";
    assert_eq!(refused(dynamo.call("TransactWriteItems", &body("2"), minutes(9))), mismatch);
    dynamo.call("TransactWriteItems", &body("2"), minutes(10)).unwrap();
    assert_eq!(dynamo.item(TABLE, "p", "a").unwrap()["n"].number(), Some(3));
}

#[test]
fn consumed_capacity_is_counted_by_operation_including_refused_requests() {
    let mut dynamo = dynamo();
    put(&mut dynamo, &child("a", "1"), NOW);
    assert_eq!(dynamo.consumed().last, Units { read_halves: 0, write: 2 });
    get(&mut dynamo, "a", true, NOW);
    get(&mut dynamo, "a", false, NOW);
    assert_eq!(dynamo.consumed().last, Units { read_halves: 1, write: 0 });
    let body = json!({
        "TableName": TABLE,
        "Item": key("a"),
        "ConditionExpression": "attribute_not_exists(pk)",
    });
    assert_eq!(refused(dynamo.call("PutItem", &body, NOW)), "ConditionalCheckFailedException");
    assert_eq!(dynamo.consumed().last, Units { read_halves: 0, write: 1 });
    let transaction = |sk: &str| {
        json!({ "TransactItems": [
            { "ConditionCheck": {
                "TableName": TABLE,
                "Key": key(sk),
                "ConditionExpression": "attribute_exists(pk)",
            } },
            { "Put": { "TableName": TABLE, "Item": key("b") } },
        ] })
    };
    let answer = dynamo.call("TransactWriteItems", &transaction("absent"), NOW);
    assert_eq!(refused(answer), "TransactionCanceledException");
    assert_eq!(dynamo.consumed().last, Units { read_halves: 0, write: 4 });
    dynamo.call("TransactWriteItems", &transaction("a"), NOW).unwrap();
    assert_eq!(dynamo.consumed().last, Units { read_halves: 0, write: 4 });

    let puts = dynamo.consumed().by_operation["PutItem"];
    assert_eq!(puts, Total { calls: 2, units: Units { read_halves: 0, write: 3 } });
    let total = dynamo.consumed().total();
    assert_eq!(total, Total { calls: 6, units: Units { read_halves: 3, write: 11 } });
    dynamo.reset_consumed();
    assert_eq!(dynamo.consumed().total(), Total::default());
}

#[test]
fn an_unmodelled_request_is_refused_by_name() {
    let mut dynamo = dynamo();
    let scan = dynamo.call("Scan", &json!({ "TableName": TABLE }), NOW).unwrap_err();
    assert_eq!(scan.code, "NotModelled");
    assert!(scan.message.contains("the hub never scans"));
    assert_eq!(refused(dynamo.call("ExecuteStatement", &json!({}), NOW)), "NotModelled");
    let body = json!({ "TableName": TABLE, "Item": key("a"), "Expected": {} });
    assert_eq!(refused(dynamo.call("PutItem", &body, NOW)), "NotModelled");
    assert_eq!(refused(dynamo.call("PutItem", &json!([]), NOW)), "SerializationException");
}

#[test]
fn items_and_keys_are_listed_in_key_order() {
    let mut dynamo = dynamo();
    for sk in ["b", "a", "c"] {
        put(&mut dynamo, &key(sk), NOW);
    }
    let keys: Vec<_> = dynamo.keys(TABLE).collect();
    assert_eq!(keys, [("p", "a"), ("p", "b"), ("p", "c")]);
    let items: Vec<&Item> = dynamo.items(TABLE).collect();
    assert_eq!(items[1]["sk"], Attribute::S("b".to_owned()));
    assert_eq!(dynamo.items("another").count(), 0);
    assert_eq!(dynamo.item(TABLE, "p", "d"), None);
}

#[test]
fn a_clone_is_independent() {
    let mut dynamo = dynamo();
    put(&mut dynamo, &key("a"), NOW);
    let mut copy = dynamo.clone();
    put(&mut copy, &key("b"), NOW);
    assert_eq!((dynamo.items(TABLE).count(), copy.items(TABLE).count()), (1, 2));
}

/// Writes to one of a few items: `None` deletes it, a number puts it there.
fn writes() -> impl Strategy<Value = Vec<(usize, Option<u8>, i64)>> {
    let write = (0..4_usize, proptest::option::of(0..3_u8), 0..200_i64);
    proptest::collection::vec(write, 0..40)
}

proptest! {
    #[test]
    fn the_index_becomes_consistent_with_the_items(writes in writes(), lag in 0..300_i64) {
        let mut dynamo = dynamo();
        dynamo.set_lag(Lag { index_ms: lag, read_ms: lag });
        let mut now_ms = NOW;
        for (item, place, wait) in writes {
            let sk = ["a", "b", "c", "d"][item];
            match place {
                // The last place means no place in the index.
                Some(2) => put(&mut dynamo, &key(sk), now_ms),
                Some(place) => put(&mut dynamo, &child(sk, &place.to_string()), now_ms),
                None => delete(&mut dynamo, sk, now_ms),
            }
            now_ms += wait;
        }
        now_ms += lag;
        let text = |item: &Item| item.get("gsi1sk").and_then(Attribute::text).map(str::to_owned);
        let mut expected: Vec<_> = dynamo.items(TABLE).filter_map(text).collect();
        expected.sort();
        prop_assert_eq!(places(&mut dynamo, now_ms), expected.concat());
        let consistent = sort_keys(&mut dynamo, true, now_ms);
        prop_assert_eq!(sort_keys(&mut dynamo, false, now_ms), consistent);
    }

    #[test]
    fn pages_of_any_size_return_what_one_query_returns(
        sort_keys in proptest::collection::btree_set("[a-c]{1,3}", 0..12),
        limit in 1..5_u8,
        is_forward in any::<bool>(),
        in_index in any::<bool>(),
    ) {
        let mut dynamo = dynamo();
        for sk in &sort_keys {
            // Many items share a partition key of the index.
            put(&mut dynamo, &child(sk, &sk[..1]), NOW);
        }
        let mut body = json!({
            "TableName": TABLE,
            "KeyConditionExpression": if in_index { "gsi1pk = :p" } else { "pk = :p" },
            "ExpressionAttributeValues": { ":p": { "S": if in_index { "parent" } else { "p" } } },
            "ScanIndexForward": is_forward,
        });
        if in_index {
            body["IndexName"] = "by_parent".into();
        }
        let whole = dynamo.call("Query", &body, NOW).unwrap()["Items"].take();
        prop_assert_eq!(whole.as_array().unwrap().len(), sort_keys.len());
        body["Limit"] = limit.into();
        let mut pages = Vec::new();
        loop {
            let mut answer = dynamo.call("Query", &body, NOW).unwrap();
            pages.extend(answer["Items"].as_array().unwrap().clone());
            match answer.get_mut("LastEvaluatedKey") {
                Some(last) => body["ExclusiveStartKey"] = last.take(),
                None => break,
            }
        }
        prop_assert_eq!(Value::Array(pages), whole);
    }
}

/// A table with AWS's throughput limits.
fn limited() -> Dynamo {
    let mut dynamo = dynamo();
    dynamo.set_partition_limits(Some(PartitionLimits::AWS));
    dynamo
}

fn item(pk: &str, sk: &str) -> Value {
    json!({ "pk": { "S": pk }, "sk": { "S": sk } })
}

fn try_put(dynamo: &mut Dynamo, item: &Value, now_ms: i64) -> Result<Value, Refusal> {
    dynamo.call("PutItem", &json!({ "TableName": TABLE, "Item": item }), now_ms)
}

/// Number of puts of small items under `pk`, out of `most`, that are accepted at once.
fn taken(dynamo: &mut Dynamo, pk: &str, most: usize, now_ms: i64) -> usize {
    (0..most).take_while(|n| try_put(dynamo, &item(pk, &format!("{n}")), now_ms).is_ok()).count()
}

/// The throttling reasons of an error.
fn reasons(refusal: &Refusal) -> Vec<&str> {
    assert_eq!((refusal.status, refusal.code.as_str()), (400, "ThrottlingException"));
    let reasons = refusal.more["throttlingReasons"].as_array().unwrap().iter();
    reasons.map(|reason| reason["reason"].as_str().unwrap()).collect()
}

#[test]
fn without_limits_a_partition_key_is_never_throttled() {
    let mut dynamo = dynamo();
    assert_eq!(taken(&mut dynamo, "p", 5000, NOW), 5000);
    assert!(dynamo.throttled().is_empty());
    let mut dynamo = limited();
    dynamo.set_partition_limits(None);
    assert_eq!(taken(&mut dynamo, "p", 5000, NOW), 5000);
}

#[test]
fn a_partition_key_allows_1000_write_units_a_second_and_does_not_affect_others() {
    let mut dynamo = limited();
    assert_eq!(taken(&mut dynamo, "p", 2000, NOW), 1000);
    let refusal = try_put(&mut dynamo, &item("p", "one more"), NOW).unwrap_err();
    assert_eq!(reasons(&refusal), ["TableWriteKeyRangeThroughputExceeded"]);
    let table = "arn:aws:dynamodb:eu-central-1:000000000000:table/table";
    assert_eq!(refusal.more["throttlingReasons"][0]["resource"], table);
    assert!(dynamo.item(TABLE, "p", "one more").is_none());
    assert_eq!(taken(&mut dynamo, "q", 1000, NOW), 1000);
    // A unit is refilled each millisecond, up to the units of a second.
    assert_eq!(taken(&mut dynamo, "p", 2000, NOW + 1), 1);
    assert_eq!(taken(&mut dynamo, "p", 2000, NOW + 251), 250);
    assert_eq!(taken(&mut dynamo, "p", 2000, NOW + 60_000), 1000);
    let throttled: Vec<_> =
        dynamo.throttled().iter().map(|(of, count)| (of.key.as_str(), *count)).collect();
    assert_eq!(throttled, [("p", 5)]);
}

#[test]
fn a_partition_key_allows_3000_read_units_a_second_independent_of_its_writes() {
    for (is_consistent, most) in [(true, 3000), (false, 6000)] {
        let mut dynamo = limited();
        assert_eq!(taken(&mut dynamo, "p", 2000, NOW), 1000);
        let get = json!({
            "TableName": TABLE, "Key": item("p", "1"), "ConsistentRead": is_consistent,
        });
        let count = (0..9000).take_while(|_| dynamo.call("GetItem", &get, NOW).is_ok()).count();
        assert_eq!(count, most);
        let refusal = dynamo.call("GetItem", &get, NOW).unwrap_err();
        assert_eq!(reasons(&refusal), ["TableReadKeyRangeThroughputExceeded"]);
        let query = json!({
            "TableName": TABLE, "KeyConditionExpression": "pk = :p",
            "ExpressionAttributeValues": { ":p": { "S": "p" } },
        });
        let refusal = dynamo.call("Query", &query, NOW).unwrap_err();
        assert_eq!(reasons(&refusal), ["TableReadKeyRangeThroughputExceeded"]);
    }
}

#[test]
fn a_partition_key_of_the_index_throttles_writes_under_many_keys_of_the_table() {
    let mut dynamo = limited();
    let child = |n: usize| {
        let mut child = item(&format!("p{n}"), "s");
        child["gsi1pk"] = json!({ "S": "parent" });
        child["gsi1sk"] = json!({ "S": format!("{n}") });
        child
    };
    let taken = (0..2000).take_while(|n| try_put(&mut dynamo, &child(*n), NOW).is_ok()).count();
    assert_eq!(taken, 1000);
    let refusal = try_put(&mut dynamo, &child(5000), NOW).unwrap_err();
    assert_eq!(reasons(&refusal), ["IndexWriteKeyRangeThroughputExceeded"]);
    let of = dynamo.throttled().keys().next().unwrap().clone();
    assert_eq!((of.index.as_deref(), of.key.as_str()), (Some("by_parent"), "parent"));
    // An item that is not in the index uses none of its units.
    assert!(try_put(&mut dynamo, &item("p5000", "s"), NOW).is_ok());
    let again = |n: usize, dynamo: &mut Dynamo| {
        let mut same = child(n);
        same["more"] = json!({ "S": "text" });
        try_put(dynamo, &same, NOW)
    };
    assert!(again(7, &mut dynamo).is_ok());
    let query = json!({
        "TableName": TABLE, "IndexName": "by_parent", "KeyConditionExpression": "gsi1pk = :p",
        "ExpressionAttributeValues": { ":p": { "S": "parent" } },
    });
    let reads = (0..9000).take_while(|_| dynamo.call("Query", &query, NOW).is_ok()).count();
    assert!((1..1000).contains(&reads), "a query costs by what it reads: {reads}");
    let refusal = dynamo.call("Query", &query, NOW).unwrap_err();
    assert_eq!(reasons(&refusal), ["IndexReadKeyRangeThroughputExceeded"]);
}

#[test]
fn a_request_that_costs_more_than_a_second_is_admitted_once_and_leaves_a_debt() {
    let mut dynamo = dynamo();
    dynamo.set_partition_limits(Some(PartitionLimits { write_units: 100, read_units: 100 }));
    let mut large = item("p", "large");
    large["text"] = json!({ "S": "x".repeat(300 * 1024 - 20) });
    assert!(try_put(&mut dynamo, &large, NOW).is_ok());
    assert_eq!(taken(&mut dynamo, "p", 1, NOW + 2000), 0);
    assert_eq!(taken(&mut dynamo, "p", 10, NOW + 2050), 5);
}

#[test]
fn a_failed_condition_uses_units_and_a_throttled_request_costs_nothing() {
    let mut dynamo = limited();
    put(&mut dynamo, &item("p", "s"), NOW);
    let body = json!({
        "TableName": TABLE, "Item": item("p", "s"), "ConditionExpression": "attribute_not_exists(pk)",
    });
    let mut failed = 0;
    let refusal = loop {
        let refusal = dynamo.call("PutItem", &body, NOW).unwrap_err();
        if refusal.code != "ConditionalCheckFailedException" {
            break refusal;
        }
        failed += 1;
    };
    assert_eq!((failed, reasons(&refusal).len()), (999, 1));
    assert_eq!(dynamo.consumed().last, Units::default());
}

#[test]
fn a_batch_returns_throttled_items_and_is_refused_if_all_are_throttled() {
    let mut dynamo = limited();
    assert_eq!(taken(&mut dynamo, "p", 999, NOW), 999);
    let writes = ["a", "b", "c"].map(|sk| json!({ "PutRequest": { "Item": item("p", sk) } }));
    let other = json!({ "PutRequest": { "Item": item("q", "a") } });
    let body = json!({ "RequestItems": { TABLE: [writes[0], writes[1], writes[2], other] } });
    let answer = dynamo.call("BatchWriteItem", &body, NOW).unwrap();
    assert_eq!(answer["UnprocessedItems"][TABLE], json!([writes[1], writes[2]]));
    assert!(dynamo.item(TABLE, "q", "a").is_some() && dynamo.item(TABLE, "p", "b").is_none());
    let body = json!({ "RequestItems": answer["UnprocessedItems"] });
    let refusal = dynamo.call("BatchWriteItem", &body, NOW).unwrap_err();
    assert_eq!(reasons(&refusal), ["TableWriteKeyRangeThroughputExceeded"; 2]);
    assert!(dynamo.call("BatchWriteItem", &body, NOW + 2).is_ok());

    dynamo.set_partition_limits(Some(PartitionLimits { write_units: 1000, read_units: 1 }));
    let keys = ["a", "b"].map(|sk| item("p", sk));
    let body = json!({ "RequestItems": { TABLE: {
        "Keys": [keys[0], keys[1], item("q", "a")], "ConsistentRead": true,
    } } });
    let answer = dynamo.call("BatchGetItem", &body, NOW).unwrap();
    assert_eq!(answer["Responses"][TABLE].as_array().unwrap().len(), 2);
    assert_eq!(answer["UnprocessedKeys"][TABLE]["Keys"], json!([keys[1]]));
    let body = json!({ "RequestItems": answer["UnprocessedKeys"] });
    let refusal = dynamo.call("BatchGetItem", &body, NOW).unwrap_err();
    assert_eq!(reasons(&refusal), ["TableReadKeyRangeThroughputExceeded"]);
}

#[test]
fn a_throttled_transaction_is_cancelled_and_names_the_throttled_action() {
    let mut dynamo = limited();
    // An action of a transaction costs twice the units.
    assert_eq!(taken(&mut dynamo, "p", 999, NOW), 999);
    let put = |pk: &str| json!({ "Put": { "TableName": TABLE, "Item": item(pk, "new") } });
    let body = json!({ "TransactItems": [put("q"), put("p")] });
    let refusal = dynamo.call("TransactWriteItems", &body, NOW).unwrap_err();
    let codes = |refusal: &Refusal| -> Vec<String> {
        assert_eq!(refusal.code, "TransactionCanceledException");
        let reasons = refusal.more["CancellationReasons"].as_array().unwrap().iter();
        reasons.map(|reason| reason["Code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(codes(&refusal), ["None", "ThrottlingError"]);
    assert!(dynamo.item(TABLE, "q", "new").is_none());
    assert!(dynamo.call("TransactWriteItems", &body, NOW + 1).is_ok());

    dynamo.set_partition_limits(Some(PartitionLimits { write_units: 1000, read_units: 3 }));
    let get = |pk: &str| json!({ "Get": { "TableName": TABLE, "Key": item(pk, "new") } });
    let body = json!({ "TransactItems": [get("p"), get("q")] });
    assert!(dynamo.call("TransactGetItems", &body, NOW).is_ok());
    let body = json!({ "TransactItems": [get("p"), get("r")] });
    let refusal = dynamo.call("TransactGetItems", &body, NOW).unwrap_err();
    assert_eq!(codes(&refusal), ["ThrottlingError", "None"]);
}
