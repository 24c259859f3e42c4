//! What only the model has: its clock, its lag, its counters, and what it leaves out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Attribute, Dynamo, Item, Lag, TableSchema, Total, Units};
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
fn the_index_shows_a_write_when_its_lag_is_over() {
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
fn the_index_takes_writes_in_their_order_even_if_its_lag_shrinks() {
    let mut dynamo = dynamo();
    dynamo.set_lag(Lag { index_ms: 1000, read_ms: 0 });
    put(&mut dynamo, &child("a", "1"), NOW);
    dynamo.set_lag(Lag::default());
    put(&mut dynamo, &child("a", "2"), NOW);
    assert_eq!(places(&mut dynamo, NOW + 999), "");
    assert_eq!(places(&mut dynamo, NOW + 1000), "2");
}

#[test]
fn an_eventually_consistent_read_may_be_behind_and_a_consistent_one_never_is() {
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
fn what_is_expired_stays_until_it_is_forgotten() {
    let mut dynamo = dynamo();
    for (sk, ttl) in [("a", NOW / 1000 - 1), ("b", NOW / 1000), ("c", NOW / 1000 + 60)] {
        let mut item = child(sk, sk);
        item["ttl"] = json!({ "N": ttl.to_string() });
        put(&mut dynamo, &item, NOW);
    }
    put(&mut dynamo, &child("d", "d"), NOW);
    assert_eq!(sort_keys(&mut dynamo, true, NOW), "abcd");
    assert_eq!(dynamo.forget_expired(TABLE, NOW), 1);
    assert_eq!(dynamo.forget_expired(TABLE, NOW), 0);
    assert_eq!(sort_keys(&mut dynamo, true, NOW), "bcd");
    assert_eq!(places(&mut dynamo, NOW), "bcd");
    assert_eq!(dynamo.forget_expired(TABLE, NOW + 61_000), 2);
    assert_eq!(sort_keys(&mut dynamo, true, NOW), "d");
}

#[test]
fn a_batch_may_be_done_in_part() {
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
fn a_token_is_forgotten_after_ten_minutes() {
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
fn what_is_consumed_is_counted_by_operation_even_if_it_is_refused() {
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
fn what_is_not_modelled_is_refused_by_name() {
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
fn items_and_keys_are_told_in_the_order_of_the_keys() {
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
fn a_copy_goes_its_own_way() {
    let mut dynamo = dynamo();
    put(&mut dynamo, &key("a"), NOW);
    let mut copy = dynamo.clone();
    put(&mut copy, &key("b"), NOW);
    assert_eq!((dynamo.items(TABLE).count(), copy.items(TABLE).count()), (1, 2));
}

/// What is done to one of a few items: `None` takes it away, a place puts it there.
fn writes() -> impl Strategy<Value = Vec<(usize, Option<u8>, i64)>> {
    let write = (0..4_usize, proptest::option::of(0..3_u8), 0..200_i64);
    proptest::collection::vec(write, 0..40)
}

proptest! {
    #[test]
    fn the_index_becomes_what_the_items_say(writes in writes(), lag in 0..300_i64) {
        let mut dynamo = dynamo();
        dynamo.set_lag(Lag { index_ms: lag, read_ms: lag });
        let mut now_ms = NOW;
        for (item, place, wait) in writes {
            let sk = ["a", "b", "c", "d"][item];
            match place {
                // The last place is none.
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
    fn pages_of_any_size_give_what_one_query_gives(
        sort_keys in proptest::collection::btree_set("[a-c]{1,3}", 0..12),
        limit in 1..5_u8,
        is_forward in any::<bool>(),
        in_index in any::<bool>(),
    ) {
        let mut dynamo = dynamo();
        for sk in &sort_keys {
            // Many items share a place in the index.
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
