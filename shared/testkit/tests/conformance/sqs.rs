//! Conformance of queues.

use std::time::Duration;

use serde_json::{Value, json};

use crate::endpoint::{Difference, Endpoint, Service, cases};

/// Longer than the visibility timeout of [`SHORT`].
const LATER: Duration = Duration::from_millis(1200);
/// Attributes of a queue with a visibility timeout of one second.
const SHORT: [(&str, &str); 1] = [("VisibilityTimeout", "1")];
/// The same for a FIFO queue, with deduplication as in the hub's queues.
const FIFO: [(&str, &str); 4] = [
    ("FifoQueue", "true"),
    ("VisibilityTimeout", "1"),
    ("DeduplicationScope", "messageGroup"),
    ("FifoThroughputLimit", "perMessageGroupId"),
];

// ---- Helpers -----------------------------------------------------------------------------------

#[track_caller]
fn ask(cloud: &dyn Endpoint, operation: &str, asked: &Value) -> Value {
    cloud.call(Service::Sqs, operation, asked).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

/// The error code of a refused request.
#[track_caller]
fn refused(cloud: &dyn Endpoint, operation: &str, asked: &Value) -> String {
    match cloud.call(Service::Sqs, operation, asked) {
        Ok(answer) => panic!("not refused: {answer}"),
        Err(refusal) => {
            assert_eq!(refusal.status, 400, "{refusal:?}");
            refusal.code
        }
    }
}

/// Ids and error codes of the entries that failed.
fn failed(answer: &Value) -> Vec<(&str, &str)> {
    let entries = answer["Failed"].as_array().into_iter().flatten();
    entries.map(|entry| (entry["Id"].as_str().unwrap(), entry["Code"].as_str().unwrap())).collect()
}

fn succeeded(answer: &Value) -> Vec<&str> {
    let entries = answer["Successful"].as_array().into_iter().flatten();
    entries.map(|entry| entry["Id"].as_str().unwrap()).collect()
}

/// Sends to a standard queue.
#[track_caller]
fn send(cloud: &dyn Endpoint, url: &str, body: &str) -> Value {
    ask(cloud, "SendMessage", &json!({"QueueUrl": url, "MessageBody": body}))
}

/// Sends to a FIFO queue. The body is also the deduplication id.
#[track_caller]
fn put(cloud: &dyn Endpoint, url: &str, group: &str, body: &str) -> Value {
    let asked = json!({"QueueUrl": url, "MessageBody": body, "MessageGroupId": group,
                       "MessageDeduplicationId": body});
    ask(cloud, "SendMessage", &asked)
}

/// Receives up to `most` messages with all their attributes.
#[track_caller]
fn receive(cloud: &dyn Endpoint, url: &str, most: u32) -> Vec<Value> {
    receive_as(cloud, url, &json!({"MaxNumberOfMessages": most}))
}

#[track_caller]
fn receive_as(cloud: &dyn Endpoint, url: &str, asked: &Value) -> Vec<Value> {
    let mut all = json!({"QueueUrl": url, "MessageSystemAttributeNames": ["All"],
                         "MessageAttributeNames": ["All"]});
    for (name, value) in asked.as_object().unwrap() {
        all[name] = value.clone();
    }
    let mut answer = ask(cloud, "ReceiveMessage", &all);
    serde_json::from_value(answer["Messages"].take()).unwrap_or_default()
}

fn bodies(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["Body"].as_str().unwrap()).collect()
}

fn sorted(mut texts: Vec<&str>) -> Vec<&str> {
    texts.sort_unstable();
    texts
}

fn receipt_of(url: &str, message: &Value) -> Value {
    json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]})
}

#[track_caller]
fn delete(cloud: &dyn Endpoint, url: &str, message: &Value) {
    ask(cloud, "DeleteMessage", &receipt_of(url, message));
}

fn hide_for(url: &str, message: &Value, seconds: i64) -> Value {
    json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"],
           "VisibilityTimeout": seconds})
}

/// A queue that dead-letters a message after `most` receives, and its dead-letter queue.
fn with_dead_letters(cloud: &dyn Endpoint, base: &[(&str, &str)], most: u32) -> (String, String) {
    let fifo = base.iter().find(|(name, _)| *name == "FifoQueue");
    let dead = cloud.fresh_queue(&fifo.copied().into_iter().collect::<Vec<_>>());
    let arn = attribute(cloud, &dead, "QueueArn");
    let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": most}).to_string();
    let mut attributes = base.to_vec();
    attributes.push(("RedrivePolicy", &policy));
    (cloud.fresh_queue(&attributes), dead)
}

#[track_caller]
fn attribute(cloud: &dyn Endpoint, url: &str, name: &str) -> String {
    let asked = json!({"QueueUrl": url, "AttributeNames": [name]});
    let answer = ask(cloud, "GetQueueAttributes", &asked);
    answer["Attributes"][name].as_str().unwrap_or_else(|| panic!("{name}: {answer}")).to_owned()
}

/// The given number of message attributes.
fn attributes(count: usize) -> Value {
    let attribute = |n| (format!("a{n}"), json!({"DataType": "String", "StringValue": "x"}));
    (0..count).map(attribute).collect::<serde_json::Map<_, _>>().into()
}

// ---- A standard queue --------------------------------------------------------------------------

fn a_sent_message_is_received(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let sent = send(cloud, &url, "hello");
    let messages = receive(cloud, &url, 10);
    assert_eq!(bodies(&messages), ["hello"]);
    assert_eq!(messages[0]["MessageId"], sent["MessageId"]);
    assert!(sent.get("SequenceNumber").is_none(), "{sent}");
}

fn a_receive_returns_one_message_by_default(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "a");
    send(cloud, &url, "b");
    assert_eq!(receive_as(cloud, &url, &json!({})).len(), 1);
}

fn a_receive_returns_at_most_ten_messages(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    for asked in [0, 11] {
        let asked = json!({"QueueUrl": url, "MaxNumberOfMessages": asked});
        assert_eq!(refused(cloud, "ReceiveMessage", &asked), "InvalidParameterValue");
    }
}

fn a_receive_from_an_empty_queue_returns_nothing(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    assert_eq!(receive(cloud, &url, 10).len(), 0);
}

fn a_received_message_is_hidden_for_the_visibility_timeout(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "hello");
    let first = receive(cloud, &url, 10);
    assert_eq!(receive(cloud, &url, 10).len(), 0);
    cloud.wait(LATER);
    let second = receive(cloud, &url, 10);
    assert_eq!(bodies(&second), ["hello"]);
    assert_eq!(first[0]["MessageId"], second[0]["MessageId"]);
    assert_ne!(first[0]["ReceiptHandle"], second[0]["ReceiptHandle"]);
}

fn a_receive_can_set_the_visibility_timeout(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "hello");
    let asked = json!({"VisibilityTimeout": 60});
    assert_eq!(receive_as(cloud, &url, &asked).len(), 1);
    cloud.wait(LATER);
    assert_eq!(receive(cloud, &url, 10).len(), 0);
}

fn a_receive_with_a_visibility_timeout_of_zero_leaves_the_message_visible(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "hello");
    let asked = json!({"VisibilityTimeout": 0, "MaxNumberOfMessages": 10});
    assert_eq!(receive_as(cloud, &url, &asked).len(), 1);
    assert_eq!(receive(cloud, &url, 10).len(), 1);
}

fn the_visibility_timeout_of_a_receive_is_at_most_twelve_hours(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = json!({"QueueUrl": url, "VisibilityTimeout": 43_201});
    assert_eq!(refused(cloud, "ReceiveMessage", &asked), "InvalidParameterValue");
}

fn a_deleted_message_is_not_received_again(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "hello");
    delete(cloud, &url, &receive(cloud, &url, 1)[0]);
    cloud.wait(LATER);
    assert_eq!(receive(cloud, &url, 10).len(), 0);
}

fn a_message_can_be_deleted_after_its_visibility_timeout(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "hello");
    let messages = receive(cloud, &url, 1);
    cloud.wait(LATER);
    delete(cloud, &url, &messages[0]);
    assert_eq!(receive(cloud, &url, 10).len(), 0);
}

fn deleting_twice_is_not_refused(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "hello");
    let messages = receive(cloud, &url, 1);
    delete(cloud, &url, &messages[0]);
    delete(cloud, &url, &messages[0]);
    assert_eq!(receive(cloud, &url, 10).len(), 0);
}

fn an_older_receipt_handle_is_accepted_but_may_not_delete(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "hello");
    let first = receive(cloud, &url, 1);
    cloud.wait(LATER);
    let second = receive(cloud, &url, 1);
    delete(cloud, &url, &first[0]);
    delete(cloud, &url, &second[0]);
    cloud.wait(LATER);
    assert_eq!(receive(cloud, &url, 10).len(), 0);
}

fn an_invented_receipt_handle_is_refused(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = json!({"QueueUrl": url, "ReceiptHandle": "nonsense"});
    assert_eq!(refused(cloud, "DeleteMessage", &asked), "ReceiptHandleIsInvalid");
    let asked = json!({"QueueUrl": url, "ReceiptHandle": "nonsense", "VisibilityTimeout": 1});
    assert_eq!(refused(cloud, "ChangeMessageVisibility", &asked), "ReceiptHandleIsInvalid");
}

fn a_receipt_handle_of_another_queue_is_refused(cloud: &dyn Endpoint) {
    let (url, other) = (cloud.fresh_queue(&SHORT), cloud.fresh_queue(&SHORT));
    send(cloud, &url, "hello");
    send(cloud, &other, "hello");
    let messages = receive(cloud, &url, 1);
    let asked = receipt_of(&other, &messages[0]);
    assert_eq!(refused(cloud, "DeleteMessage", &asked), "ReceiptHandleIsInvalid");
    assert_eq!(receive(cloud, &other, 1).len(), 1);
}

fn a_message_can_be_made_visible_at_once(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&[("VisibilityTimeout", "60")]);
    send(cloud, &url, "hello");
    let messages = receive(cloud, &url, 1);
    ask(cloud, "ChangeMessageVisibility", &hide_for(&url, &messages[0], 0));
    assert_eq!(receive(cloud, &url, 10).len(), 1);
}

fn a_message_can_be_hidden_for_longer(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "hello");
    let messages = receive(cloud, &url, 1);
    ask(cloud, "ChangeMessageVisibility", &hide_for(&url, &messages[0], 60));
    cloud.wait(LATER);
    assert_eq!(receive(cloud, &url, 10).len(), 0);
    delete(cloud, &url, &messages[0]);
}

fn a_new_visibility_timeout_counts_from_the_change(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&[("VisibilityTimeout", "60")]);
    send(cloud, &url, "hello");
    let messages = receive(cloud, &url, 1);
    ask(cloud, "ChangeMessageVisibility", &hide_for(&url, &messages[0], 1));
    assert_eq!(receive(cloud, &url, 10).len(), 0);
    cloud.wait(LATER);
    assert_eq!(receive(cloud, &url, 10).len(), 1);
}

fn a_message_cannot_be_hidden_for_more_than_twelve_hours(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&[("VisibilityTimeout", "60")]);
    send(cloud, &url, "hello");
    let messages = receive(cloud, &url, 1);
    let asked = hide_for(&url, &messages[0], 43_201);
    assert_eq!(refused(cloud, "ChangeMessageVisibility", &asked), "InvalidParameterValue");
}

fn the_twelve_hours_count_from_the_receive(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&[("VisibilityTimeout", "60")]);
    send(cloud, &url, "hello");
    let messages = receive(cloud, &url, 1);
    cloud.wait(LATER);
    let asked = hide_for(&url, &messages[0], 43_200);
    assert_eq!(refused(cloud, "ChangeMessageVisibility", &asked), "InvalidParameterValue");
    ask(cloud, "ChangeMessageVisibility", &hide_for(&url, &messages[0], 43_100));
}

fn a_visible_message_cannot_be_hidden_by_its_old_receipt_handle(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "hello");
    let messages = receive(cloud, &url, 1);
    cloud.wait(LATER);
    // AWS leaves open whether the request is refused or does nothing.
    let asked = hide_for(&url, &messages[0], 60);
    drop(cloud.call(Service::Sqs, "ChangeMessageVisibility", &asked));
    assert_eq!(receive(cloud, &url, 10).len(), 1);
}

fn a_deleted_message_cannot_be_hidden(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "hello");
    let messages = receive(cloud, &url, 1);
    delete(cloud, &url, &messages[0]);
    // AWS leaves the error code open.
    refused(cloud, "ChangeMessageVisibility", &hide_for(&url, &messages[0], 60));
}

fn a_delayed_message_becomes_visible_later(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&[]);
    let asked = json!({"QueueUrl": url, "MessageBody": "later", "DelaySeconds": 1});
    ask(cloud, "SendMessage", &asked);
    assert_eq!(receive(cloud, &url, 10).len(), 0);
    assert_eq!(attribute(cloud, &url, "ApproximateNumberOfMessagesDelayed"), "1");
    cloud.wait(LATER);
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["later"]);
}

fn the_delay_of_a_queue_applies_unless_a_message_sets_its_own(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&[("DelaySeconds", "1")]);
    send(cloud, &url, "later");
    ask(cloud, "SendMessage", &json!({"QueueUrl": url, "MessageBody": "now", "DelaySeconds": 0}));
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["now"]);
    cloud.wait(LATER);
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["later"]);
}

fn a_delay_is_at_most_fifteen_minutes(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&[]);
    let asked = json!({"QueueUrl": url, "MessageBody": "later", "DelaySeconds": 901});
    assert_eq!(refused(cloud, "SendMessage", &asked), "InvalidParameterValue");
}

fn receives_are_counted(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "hello");
    let first = receive(cloud, &url, 1).remove(0)["Attributes"].take();
    assert_eq!(first["ApproximateReceiveCount"], "1");
    cloud.wait(LATER);
    let second = receive(cloud, &url, 1).remove(0)["Attributes"].take();
    assert_eq!(second["ApproximateReceiveCount"], "2");
    let at = |name: &str, of: &Value| of[name].as_str().unwrap().parse::<i64>().unwrap();
    let received = "ApproximateFirstReceiveTimestamp";
    assert_eq!(at(received, &first), at(received, &second));
    assert!(at("SentTimestamp", &second) <= at(received, &second));
}

fn a_receive_returns_only_the_requested_attributes(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = json!({"QueueUrl": url, "MessageBody": "hello", "MessageAttributes": {
        "reason": {"DataType": "String", "StringValue": "because"}}});
    ask(cloud, "SendMessage", &asked);
    let asked = json!({"MessageSystemAttributeNames": ["ApproximateReceiveCount"],
                       "MessageAttributeNames": [], "VisibilityTimeout": 0});
    let message = receive_as(cloud, &url, &asked).remove(0);
    assert_eq!(message["Attributes"], json!({"ApproximateReceiveCount": "1"}));
    assert!(message.get("MessageAttributes").is_none(), "{message}");
    assert!(message.get("MD5OfMessageAttributes").is_none(), "{message}");
    let asked = json!({"MessageSystemAttributeNames": []});
    let message = receive_as(cloud, &url, &asked).remove(0);
    assert!(message.get("Attributes").is_none(), "{message}");
}

fn attributes_are_requested_by_name_or_prefix(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let text = |text: &str| json!({"DataType": "String", "StringValue": text});
    let attributes = json!({"hub.a": text("1"), "hub.b": text("2"), "other": text("3")});
    let asked = json!({"QueueUrl": url, "MessageBody": "x", "MessageAttributes": attributes});
    ask(cloud, "SendMessage", &asked);
    for (wanted, found) in [
        (json!(["All"]), vec!["hub.a", "hub.b", "other"]),
        (json!([".*"]), vec!["hub.a", "hub.b", "other"]),
        (json!(["hub.*"]), vec!["hub.a", "hub.b"]),
        (json!(["other", "hub.b", "none"]), vec!["hub.b", "other"]),
    ] {
        let asked = json!({"MessageAttributeNames": wanted, "VisibilityTimeout": 0});
        let message = receive_as(cloud, &url, &asked).remove(0);
        let names = message["MessageAttributes"].as_object().unwrap().keys();
        assert_eq!(sorted(names.map(String::as_str).collect()), found, "{wanted}");
    }
}

fn digests_cover_the_body_and_the_attributes(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = json!({"QueueUrl": url, "MessageBody": "hello", "MessageAttributes": {
        "b": {"DataType": "Binary", "BinaryValue": "AAEC"},
        "a": {"DataType": "String", "StringValue": "because"}}});
    let sent = ask(cloud, "SendMessage", &asked);
    let body = "5d41402abc4b2a76b9719d911017c592";
    let attributes = "21010231d5ff3002f824e75d5535dc1b";
    assert_eq!(sent["MD5OfMessageBody"], body);
    assert_eq!(sent["MD5OfMessageAttributes"], attributes);
    let message = receive(cloud, &url, 1).remove(0);
    assert_eq!(message["MD5OfBody"], body);
    assert_eq!(message["MD5OfMessageAttributes"], attributes);
    assert_eq!(message["MessageAttributes"]["b"]["BinaryValue"], "AAEC");
}

fn an_attribute_must_have_a_value(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = json!({"QueueUrl": url, "MessageBody": "hello", "MessageAttributes": {
        "reason": {"DataType": "String", "StringValue": ""}}});
    assert_eq!(refused(cloud, "SendMessage", &asked), "InvalidParameterValue");
}

fn a_message_has_at_most_ten_attributes(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = |attributes: Value| json!({"QueueUrl": url, "MessageBody": "hello", "MessageAttributes": attributes});
    ask(cloud, "SendMessage", &asked(attributes(10)));
    let code = refused(cloud, "SendMessage", &asked(attributes(11)));
    assert_eq!(code, "InvalidParameterValue");
}

fn a_message_must_have_a_body(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = json!({"QueueUrl": url, "MessageBody": ""});
    assert_eq!(refused(cloud, "SendMessage", &asked), "MissingParameter");
}

fn a_body_cannot_contain_control_characters(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    for body in ["a\u{0}b", "a\u{1f}b", "a\u{fffe}b", "a\u{ffff}b"] {
        let asked = json!({"QueueUrl": url, "MessageBody": body});
        assert_eq!(refused(cloud, "SendMessage", &asked), "InvalidMessageContents", "{body:?}");
    }
    for body in ["a\tb\r\nc", "a\u{7f}b", "\u{e000}\u{fffd}", "\u{1f600}"] {
        send(cloud, &url, body);
        let messages = receive(cloud, &url, 1);
        assert_eq!(bodies(&messages), [body]);
        delete(cloud, &url, &messages[0]);
    }
}

fn a_message_is_at_most_a_mebibyte(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = |size: usize| json!({"QueueUrl": url, "MessageBody": "x".repeat(size)});
    ask(cloud, "SendMessage", &asked(1_048_576));
    assert_eq!(refused(cloud, "SendMessage", &asked(1_048_577)), "InvalidParameterValue");
}

fn attributes_count_towards_the_mebibyte(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    // `a0`, `String` and `x` are nine bytes.
    let asked = |body: usize| json!({"QueueUrl": url, "MessageBody": "x".repeat(body), "MessageAttributes": attributes(1)});
    ask(cloud, "SendMessage", &asked(1_048_576 - 9));
    let code = refused(cloud, "SendMessage", &asked(1_048_576 - 8));
    assert_eq!(code, "InvalidParameterValue");
}

fn a_standard_queue_returns_the_group_of_a_message(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    for body in ["a", "b"] {
        let asked = json!({"QueueUrl": url, "MessageBody": body, "MessageGroupId": "tenant-1"});
        ask(cloud, "SendMessage", &asked);
    }
    let messages = receive(cloud, &url, 1);
    assert_eq!(messages[0]["Attributes"]["MessageGroupId"], "tenant-1");
    // The group is for fairness only: no message is blocked.
    assert_eq!(receive(cloud, &url, 1).len(), 1);
}

fn a_standard_queue_does_not_support_deduplication_ids(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = json!({"QueueUrl": url, "MessageBody": "a", "MessageDeduplicationId": "1"});
    assert_eq!(refused(cloud, "SendMessage", &asked), "InvalidParameterValue");
}

fn a_missing_queue_is_refused(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let url = format!("{url}-not");
    let asked = json!({"QueueUrl": url, "MessageBody": "a"});
    assert_eq!(refused(cloud, "SendMessage", &asked), "QueueDoesNotExist");
    assert_eq!(refused(cloud, "ReceiveMessage", &json!({"QueueUrl": url})), "QueueDoesNotExist");
    let asked = json!({"QueueName": cloud.fresh_name()});
    assert_eq!(refused(cloud, "GetQueueUrl", &asked), "QueueDoesNotExist");
}

// ---- Batches -----------------------------------------------------------------------------------

fn a_batch_of_messages_is_sent(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let entries = ["a", "b", "c"].map(|id| json!({"Id": id, "MessageBody": format!("body {id}")}));
    let asked = json!({"QueueUrl": url, "Entries": entries});
    let answer = ask(cloud, "SendMessageBatch", &asked);
    assert_eq!(succeeded(&answer), ["a", "b", "c"]);
    assert_eq!(failed(&answer), []);
    assert_eq!(answer["Successful"][0]["MD5OfMessageBody"], "dd9cbadc64b69f5b5f698ed84210a68d");
    let messages = receive(cloud, &url, 10);
    assert_eq!(sorted(bodies(&messages)), ["body a", "body b", "body c"]);
}

fn a_batch_has_one_to_ten_entries(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = json!({"QueueUrl": url, "Entries": []});
    assert_eq!(refused(cloud, "SendMessageBatch", &asked), "EmptyBatchRequest");
    let entries: Vec<Value> =
        (0..11).map(|n| json!({"Id": n.to_string(), "MessageBody": "x"})).collect();
    let asked = json!({"QueueUrl": url, "Entries": entries});
    assert_eq!(refused(cloud, "SendMessageBatch", &asked), "TooManyEntriesInBatchRequest");
    assert_eq!(receive(cloud, &url, 10).len(), 0);
}

fn the_ids_of_a_batch_are_valid_and_distinct(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = |first: &str, second: &str| {
        json!({"QueueUrl": url, "Entries": [{"Id": first, "MessageBody": "x"},
                                            {"Id": second, "MessageBody": "y"}]})
    };
    let code = refused(cloud, "SendMessageBatch", &asked("a", "a"));
    assert_eq!(code, "BatchEntryIdsNotDistinct");
    for id in ["", "a b", "ä", &"x".repeat(81)] {
        let code = refused(cloud, "SendMessageBatch", &asked("a", id));
        assert_eq!(code, "InvalidBatchEntryId", "{id}");
    }
    assert_eq!(receive(cloud, &url, 10).len(), 0);
}

fn a_batch_is_at_most_a_mebibyte(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = |size: usize| {
        let body = "x".repeat(size);
        json!({"QueueUrl": url, "Entries": [{"Id": "a", "MessageBody": body},
                                            {"Id": "b", "MessageBody": body}]})
    };
    assert_eq!(refused(cloud, "SendMessageBatch", &asked(524_289)), "BatchRequestTooLong");
    assert_eq!(succeeded(&ask(cloud, "SendMessageBatch", &asked(524_288))), ["a", "b"]);
}

fn an_entry_of_a_batch_can_fail_alone(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = json!({"QueueUrl": url, "Entries": [
        {"Id": "a", "MessageBody": "good"}, {"Id": "b", "MessageBody": "\u{ffff}"}]});
    let answer = ask(cloud, "SendMessageBatch", &asked);
    assert_eq!(succeeded(&answer), ["a"]);
    assert_eq!(failed(&answer), [("b", "InvalidMessageContents")]);
    assert_eq!(answer["Failed"][0]["SenderFault"], true);
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["good"]);
}

fn a_batch_deletes_what_it_can(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    send(cloud, &url, "hello");
    let messages = receive(cloud, &url, 1);
    let asked = json!({"QueueUrl": url, "Entries": [
        {"Id": "a", "ReceiptHandle": messages[0]["ReceiptHandle"]},
        {"Id": "b", "ReceiptHandle": "nonsense"}]});
    let answer = ask(cloud, "DeleteMessageBatch", &asked);
    assert_eq!(succeeded(&answer), ["a"]);
    assert_eq!(failed(&answer), [("b", "ReceiptHandleIsInvalid")]);
    cloud.wait(LATER);
    assert_eq!(receive(cloud, &url, 10).len(), 0);
}

fn a_batch_hides_what_it_can(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&[("VisibilityTimeout", "60")]);
    send(cloud, &url, "hello");
    let messages = receive(cloud, &url, 1);
    let asked = json!({"QueueUrl": url, "Entries": [
        {"Id": "a", "ReceiptHandle": messages[0]["ReceiptHandle"], "VisibilityTimeout": 0},
        {"Id": "b", "ReceiptHandle": "nonsense", "VisibilityTimeout": 0}]});
    let answer = ask(cloud, "ChangeMessageVisibilityBatch", &asked);
    assert_eq!(succeeded(&answer), ["a"]);
    assert_eq!(failed(&answer), [("b", "ReceiptHandleIsInvalid")]);
    assert_eq!(receive(cloud, &url, 10).len(), 1);
}

// ---- Dead letters ------------------------------------------------------------------------------

fn a_message_that_was_received_too_often_is_dead_lettered(cloud: &dyn Endpoint) {
    let (url, dead) = with_dead_letters(cloud, &SHORT, 2);
    let sent = send(cloud, &url, "poison");
    for _ in 0..2 {
        assert_eq!(receive(cloud, &url, 1).len(), 1);
        assert_eq!(receive(cloud, &dead, 1).len(), 0);
        cloud.wait(LATER);
    }
    assert_eq!(receive(cloud, &url, 1).len(), 0);
    let messages = receive(cloud, &dead, 1);
    assert_eq!(bodies(&messages), ["poison"]);
    assert_eq!(messages[0]["MessageId"], sent["MessageId"]);
    let attributes = &messages[0]["Attributes"];
    assert_eq!(attributes["DeadLetterQueueSourceArn"], attribute(cloud, &url, "QueueArn"));
    // The receive count is "across all queues".
    assert_eq!(attributes["ApproximateReceiveCount"], "3");
}

fn a_dead_lettered_message_is_replaced_by_the_next_in_the_same_receive(cloud: &dyn Endpoint) {
    let (url, dead) = with_dead_letters(cloud, &SHORT, 1);
    send(cloud, &url, "poison");
    assert_eq!(receive(cloud, &url, 1).len(), 1);
    cloud.wait(LATER);
    send(cloud, &url, "good");
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["good"]);
    assert_eq!(bodies(&receive(cloud, &dead, 10)), ["poison"]);
}

fn a_message_that_is_deleted_in_time_is_not_dead_lettered(cloud: &dyn Endpoint) {
    let (url, dead) = with_dead_letters(cloud, &SHORT, 1);
    send(cloud, &url, "hello");
    delete(cloud, &url, &receive(cloud, &url, 1)[0]);
    cloud.wait(LATER);
    assert_eq!(receive(cloud, &url, 1).len(), 0);
    assert_eq!(receive(cloud, &dead, 1).len(), 0);
}

fn dead_letters_of_a_fifo_queue_keep_group_and_attributes(cloud: &dyn Endpoint) {
    let (url, dead) = with_dead_letters(cloud, &FIFO, 1);
    let asked = json!({"QueueUrl": url, "MessageBody": "poison", "MessageGroupId": "g",
        "MessageDeduplicationId": "1", "MessageAttributes": {
            "reason": {"DataType": "String", "StringValue": "because"}}});
    ask(cloud, "SendMessage", &asked);
    put(cloud, &url, "g", "next");
    assert_eq!(bodies(&receive(cloud, &url, 1)), ["poison"]);
    cloud.wait(LATER);
    // The first message of the group is dead-lettered; the next one is no longer blocked.
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["next"]);
    let messages = receive(cloud, &dead, 10);
    assert_eq!(bodies(&messages), ["poison"]);
    assert_eq!(messages[0]["Attributes"]["MessageGroupId"], "g");
    assert_eq!(messages[0]["Attributes"]["MessageDeduplicationId"], "1");
    assert_eq!(messages[0]["MessageAttributes"]["reason"]["StringValue"], "because");
}

// ---- A FIFO queue ------------------------------------------------------------------------------

fn messages_of_a_group_are_received_in_order(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    let all: Vec<String> = (0..25).map(|n| format!("m{n:02}")).collect();
    for body in &all {
        put(cloud, &url, "g", body);
    }
    let mut seen = Vec::new();
    for most in [10, 3, 10, 10] {
        for message in receive(cloud, &url, most) {
            seen.push(message["Body"].as_str().unwrap().to_owned());
            delete(cloud, &url, &message);
        }
    }
    assert_eq!(seen, all);
}

fn a_group_is_blocked_while_one_of_its_messages_is_in_flight(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    put(cloud, &url, "g", "a");
    put(cloud, &url, "g", "b");
    put(cloud, &url, "h", "c");
    let first = receive(cloud, &url, 1);
    assert_eq!(bodies(&first), ["a"]);
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["c"]);
    assert_eq!(receive(cloud, &url, 10).len(), 0);
    delete(cloud, &url, &first[0]);
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["b"]);
}

fn a_group_is_blocked_until_all_messages_received_together_are_done(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    for body in ["a", "b", "c"] {
        put(cloud, &url, "g", body);
    }
    let asked = json!({"MaxNumberOfMessages": 2, "VisibilityTimeout": 60});
    let messages = receive_as(cloud, &url, &asked);
    assert_eq!(bodies(&messages), ["a", "b"]);
    delete(cloud, &url, &messages[0]);
    assert_eq!(receive(cloud, &url, 10).len(), 0);
    // The first message could be visible again, but not before the second is done.
    ask(cloud, "ChangeMessageVisibility", &hide_for(&url, &messages[1], 0));
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["b", "c"]);
}

fn a_message_made_visible_early_waits_for_the_others_of_its_group(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    put(cloud, &url, "g", "a");
    put(cloud, &url, "g", "b");
    let asked = json!({"MaxNumberOfMessages": 2, "VisibilityTimeout": 60});
    let messages = receive_as(cloud, &url, &asked);
    ask(cloud, "ChangeMessageVisibility", &hide_for(&url, &messages[0], 0));
    assert_eq!(receive(cloud, &url, 10).len(), 0);
    ask(cloud, "ChangeMessageVisibility", &hide_for(&url, &messages[1], 0));
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["a", "b"]);
}

fn a_group_starts_again_with_its_first_message_after_the_visibility_timeout(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    put(cloud, &url, "g", "a");
    put(cloud, &url, "g", "b");
    assert_eq!(bodies(&receive(cloud, &url, 2)), ["a", "b"]);
    put(cloud, &url, "g", "c");
    cloud.wait(LATER);
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["a", "b", "c"]);
}

fn a_receive_returns_as_many_messages_of_one_group_as_possible(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    for (group, body) in [("g", "g1"), ("h", "h1"), ("g", "g2"), ("h", "h2")] {
        put(cloud, &url, group, body);
    }
    let messages = receive(cloud, &url, 2);
    let groups: Vec<&Value> =
        messages.iter().map(|message| &message["Attributes"]["MessageGroupId"]).collect();
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0], groups[1]);
}

fn a_duplicate_send_within_five_minutes_is_dropped(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    let first = put(cloud, &url, "g", "a");
    let second = put(cloud, &url, "g", "a");
    assert_eq!(first["MessageId"], second["MessageId"]);
    assert_eq!(first["SequenceNumber"], second["SequenceNumber"]);
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["a"]);
}

fn a_duplicate_send_is_dropped_even_after_the_first_message_was_deleted(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    put(cloud, &url, "g", "a");
    delete(cloud, &url, &receive(cloud, &url, 1)[0]);
    put(cloud, &url, "g", "a");
    assert_eq!(receive(cloud, &url, 10).len(), 0);
}

fn a_duplicate_in_the_same_batch_is_dropped(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    let entry = |id: &str, body: &str| json!({"Id": id, "MessageBody": body, "MessageGroupId": "g", "MessageDeduplicationId": "1"});
    let asked = json!({"QueueUrl": url, "Entries": [entry("a", "first"), entry("b", "second")]});
    let answer = ask(cloud, "SendMessageBatch", &asked);
    assert_eq!(succeeded(&answer), ["a", "b"]);
    let sent = &answer["Successful"];
    assert_eq!(sent[0]["MessageId"], sent[1]["MessageId"]);
    // The digest is that of the duplicate.
    assert_ne!(sent[0]["MD5OfMessageBody"], sent[1]["MD5OfMessageBody"]);
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["first"]);
}

fn deduplication_can_apply_within_a_group(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    put(cloud, &url, "g", "a");
    put(cloud, &url, "h", "a");
    assert_eq!(receive(cloud, &url, 10).len(), 2);
}

fn deduplication_applies_to_the_whole_queue_by_default(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&[("FifoQueue", "true")]);
    put(cloud, &url, "g", "a");
    put(cloud, &url, "h", "a");
    assert_eq!(receive(cloud, &url, 10).len(), 1);
}

fn a_message_of_a_fifo_queue_needs_a_group_and_a_deduplication_id(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    let asked = json!({"QueueUrl": url, "MessageBody": "a", "MessageDeduplicationId": "1"});
    assert_eq!(refused(cloud, "SendMessage", &asked), "MissingParameter");
    let asked = json!({"QueueUrl": url, "MessageBody": "a", "MessageGroupId": "g"});
    assert_eq!(refused(cloud, "SendMessage", &asked), "InvalidParameterValue");
}

fn a_group_id_has_valid_characters(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    for group in ["a b", "ü", &"x".repeat(129)] {
        let asked = json!({"QueueUrl": url, "MessageBody": "a", "MessageGroupId": group,
                           "MessageDeduplicationId": "1"});
        assert_eq!(refused(cloud, "SendMessage", &asked), "InvalidParameterValue", "{group}");
    }
    put(cloud, &url, &format!("T#acme/{}", "x".repeat(121)), "a");
}

fn a_message_of_a_fifo_queue_cannot_set_a_delay(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    let asked = json!({"QueueUrl": url, "MessageBody": "a", "MessageGroupId": "g",
                       "MessageDeduplicationId": "1", "DelaySeconds": 5});
    assert_eq!(refused(cloud, "SendMessage", &asked), "InvalidParameterValue");
}

fn an_entry_that_is_invalid_for_the_queue_fails_alone(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    let asked = json!({"QueueUrl": url, "Entries": [
        {"Id": "a", "MessageBody": "a", "MessageGroupId": "g", "MessageDeduplicationId": "1"},
        {"Id": "b", "MessageBody": "b", "MessageDeduplicationId": "2"}]});
    let answer = ask(cloud, "SendMessageBatch", &asked);
    assert_eq!(succeeded(&answer), ["a"]);
    assert_eq!(failed(&answer), [("b", "MissingParameter")]);
}

fn sequence_numbers_increase(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    let numbers = ["a", "b", "c"].map(|body| {
        let number = put(cloud, &url, "g", body)["SequenceNumber"].take();
        number.as_str().unwrap().to_owned()
    });
    assert!(numbers.iter().all(|number| number.len() == 20), "{numbers:?}");
    assert!(numbers.is_sorted() && numbers[0] < numbers[2], "{numbers:?}");
    let messages = receive(cloud, &url, 10);
    let received = messages.iter().map(|message| &message["Attributes"]["SequenceNumber"]);
    assert!(received.eq(numbers.iter()));
}

fn a_receipt_handle_of_a_fifo_queue_does_not_delete_after_the_visibility_timeout(
    cloud: &dyn Endpoint,
) {
    let url = cloud.fresh_queue(&FIFO);
    put(cloud, &url, "g", "a");
    let messages = receive(cloud, &url, 1);
    cloud.wait(LATER);
    let asked = receipt_of(&url, &messages[0]);
    assert_eq!(refused(cloud, "DeleteMessage", &asked), "InvalidParameterValue");
    assert_eq!(receive(cloud, &url, 1).len(), 1);
}

fn an_older_receipt_handle_of_a_fifo_queue_is_refused(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&FIFO);
    put(cloud, &url, "g", "a");
    let first = receive(cloud, &url, 1);
    cloud.wait(LATER);
    assert_eq!(receive(cloud, &url, 1).len(), 1);
    let asked = receipt_of(&url, &first[0]);
    assert_eq!(refused(cloud, "DeleteMessage", &asked), "InvalidParameterValue");
    cloud.wait(LATER);
    assert_eq!(receive(cloud, &url, 1).len(), 1);
}

fn a_fifo_queue_can_delay_all_its_messages(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&[("FifoQueue", "true"), ("DelaySeconds", "1")]);
    put(cloud, &url, "g", "a");
    put(cloud, &url, "g", "b");
    assert_eq!(receive(cloud, &url, 10).len(), 0);
    cloud.wait(LATER);
    assert_eq!(bodies(&receive(cloud, &url, 10)), ["a", "b"]);
}

// ---- Attributes of queues ----------------------------------------------------------------------

fn a_queue_counts_its_messages(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&[("VisibilityTimeout", "60")]);
    for body in ["a", "b", "c"] {
        send(cloud, &url, body);
    }
    ask(cloud, "SendMessage", &json!({"QueueUrl": url, "MessageBody": "d", "DelaySeconds": 60}));
    receive(cloud, &url, 1);
    let names =
        ["", "NotVisible", "Delayed"].map(|end| format!("ApproximateNumberOfMessages{end}"));
    let counts = names.each_ref().map(|name| attribute(cloud, &url, name));
    assert_eq!(counts, ["2", "1", "1"]);
}

fn a_queue_returns_its_settings(cloud: &dyn Endpoint) {
    let (url, dead) = with_dead_letters(cloud, &FIFO, 3);
    let policy: Value = serde_json::from_str(&attribute(cloud, &url, "RedrivePolicy")).unwrap();
    assert_eq!(policy["deadLetterTargetArn"], attribute(cloud, &dead, "QueueArn"));
    assert_eq!(policy["maxReceiveCount"], 3);
    for (name, value) in [
        ("VisibilityTimeout", "1"),
        ("FifoQueue", "true"),
        ("DeduplicationScope", "messageGroup"),
        ("FifoThroughputLimit", "perMessageGroupId"),
        ("MessageRetentionPeriod", "345600"),
        ("DelaySeconds", "0"),
        ("MaximumMessageSize", "1048576"),
    ] {
        assert_eq!(attribute(cloud, &url, name), value, "{name}");
    }
}

fn an_unknown_queue_attribute_is_refused(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let asked = json!({"QueueUrl": url, "AttributeNames": ["Nonsense"]});
    assert_eq!(refused(cloud, "GetQueueAttributes", &asked), "InvalidAttributeName");
}

fn the_url_of_a_queue_is_found_by_its_name(cloud: &dyn Endpoint) {
    let url = cloud.fresh_queue(&SHORT);
    let name = url.rsplit('/').next().unwrap();
    let answer = ask(cloud, "GetQueueUrl", &json!({"QueueName": name}));
    assert_eq!(answer["QueueUrl"], url);
    // Creating the queue again changes nothing, unless the settings differ.
    let again =
        |seconds: &str| json!({"QueueName": name, "Attributes": {"VisibilityTimeout": seconds}});
    assert_eq!(ask(cloud, "CreateQueue", &again("1"))["QueueUrl"], url);
    assert_eq!(refused(cloud, "CreateQueue", &again("2")), "QueueNameExists");
}

fn the_name_of_a_fifo_queue_ends_in_fifo(cloud: &dyn Endpoint) {
    let asked = json!({"QueueName": cloud.fresh_name(), "Attributes": {"FifoQueue": "true"}});
    assert_eq!(refused(cloud, "CreateQueue", &asked), "InvalidParameterValue");
}

fn the_name_of_a_standard_queue_cannot_end_in_fifo(cloud: &dyn Endpoint) {
    let asked = json!({"QueueName": format!("{}.fifo", cloud.fresh_name())});
    assert_eq!(refused(cloud, "CreateQueue", &asked), "InvalidParameterValue");
}

fn the_dead_letter_queue_of_a_fifo_queue_is_a_fifo_queue(cloud: &dyn Endpoint) {
    let dead = cloud.fresh_queue(&[]);
    let policy = json!({"deadLetterTargetArn": attribute(cloud, &dead, "QueueArn"),
                        "maxReceiveCount": 3});
    let asked = json!({"QueueName": format!("{}.fifo", cloud.fresh_name()),
        "Attributes": {"FifoQueue": "true", "RedrivePolicy": policy.to_string()}});
    assert_eq!(refused(cloud, "CreateQueue", &asked), "InvalidParameterValue");
}

// ---- Differences between the local cloud and AWS -----------------------------------------------

/// A link to the API reference.
macro_rules! reference {
    ($page:literal) => {
        concat!("https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/", $page)
    };
}

/// A link to the developer guide.
macro_rules! guide {
    ($page:literal) => {
        concat!(
            "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/",
            $page
        )
    };
}

const KNOWN_DIFFERENCES: &[Difference] = &[
    Difference {
        case: "the_visibility_timeout_of_a_receive_is_at_most_twelve_hours",
        source: reference!("API_ReceiveMessage.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&SHORT);
            send(cloud, &url, "hello");
            assert_eq!(receive_as(cloud, &url, &json!({"VisibilityTimeout": 43_201})).len(), 1);
        },
    },
    Difference {
        case: "a_message_cannot_be_hidden_for_more_than_twelve_hours",
        source: reference!("API_ChangeMessageVisibility.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&SHORT);
            send(cloud, &url, "hello");
            let messages = receive(cloud, &url, 1);
            ask(cloud, "ChangeMessageVisibility", &hide_for(&url, &messages[0], 43_201));
        },
    },
    Difference {
        case: "the_twelve_hours_count_from_the_receive",
        source: guide!("sqs-visibility-timeout.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&[("VisibilityTimeout", "60")]);
            send(cloud, &url, "hello");
            let messages = receive(cloud, &url, 1);
            cloud.wait(LATER);
            ask(cloud, "ChangeMessageVisibility", &hide_for(&url, &messages[0], 43_200));
        },
    },
    Difference {
        case: "a_visible_message_cannot_be_hidden_by_its_old_receipt_handle",
        source: reference!("API_ChangeMessageVisibility.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&SHORT);
            send(cloud, &url, "hello");
            let messages = receive(cloud, &url, 1);
            cloud.wait(LATER);
            ask(cloud, "ChangeMessageVisibility", &hide_for(&url, &messages[0], 60));
            assert_eq!(receive(cloud, &url, 10).len(), 0);
        },
    },
    Difference {
        case: "deleting_twice_is_not_refused",
        source: reference!("API_DeleteMessage.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&SHORT);
            send(cloud, &url, "hello");
            let messages = receive(cloud, &url, 1);
            delete(cloud, &url, &messages[0]);
            let asked = receipt_of(&url, &messages[0]);
            assert_eq!(refused(cloud, "DeleteMessage", &asked), "ReceiptHandleIsInvalid");
        },
    },
    Difference {
        case: "an_older_receipt_handle_is_accepted_but_may_not_delete",
        source: reference!("API_DeleteMessage.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&SHORT);
            send(cloud, &url, "hello");
            let first = receive(cloud, &url, 1);
            cloud.wait(LATER);
            assert_eq!(receive(cloud, &url, 1).len(), 1);
            let asked = receipt_of(&url, &first[0]);
            assert_eq!(refused(cloud, "DeleteMessage", &asked), "ReceiptHandleIsInvalid");
        },
    },
    Difference {
        case: "a_receipt_handle_of_a_fifo_queue_does_not_delete_after_the_visibility_timeout",
        source: "https://repost.aws/knowledge-center/sqs-receipt-handle-error",
        instead: |cloud| {
            let url = cloud.fresh_queue(&FIFO);
            put(cloud, &url, "g", "a");
            let messages = receive(cloud, &url, 1);
            cloud.wait(LATER);
            delete(cloud, &url, &messages[0]);
            assert_eq!(receive(cloud, &url, 1).len(), 0);
        },
    },
    Difference {
        case: "an_older_receipt_handle_of_a_fifo_queue_is_refused",
        source: "https://repost.aws/knowledge-center/sqs-receipt-handle-error",
        instead: |cloud| {
            let url = cloud.fresh_queue(&FIFO);
            put(cloud, &url, "g", "a");
            let first = receive(cloud, &url, 1);
            cloud.wait(LATER);
            assert_eq!(receive(cloud, &url, 1).len(), 1);
            let asked = receipt_of(&url, &first[0]);
            assert_eq!(refused(cloud, "DeleteMessage", &asked), "ReceiptHandleIsInvalid");
        },
    },
    Difference {
        case: "a_delay_is_at_most_fifteen_minutes",
        source: reference!("API_SendMessage.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&[]);
            let asked = json!({"QueueUrl": url, "MessageBody": "later", "DelaySeconds": 901});
            ask(cloud, "SendMessage", &asked);
        },
    },
    Difference {
        case: "an_attribute_must_have_a_value",
        source: reference!("API_MessageAttributeValue.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&SHORT);
            let asked = json!({"QueueUrl": url, "MessageBody": "hello", "MessageAttributes": {
                "reason": {"DataType": "String", "StringValue": ""}}});
            ask(cloud, "SendMessage", &asked);
        },
    },
    Difference {
        case: "a_message_has_at_most_ten_attributes",
        source: guide!("sqs-message-metadata.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&SHORT);
            let asked = json!({"QueueUrl": url, "MessageBody": "hello",
                               "MessageAttributes": attributes(11)});
            ask(cloud, "SendMessage", &asked);
        },
    },
    Difference {
        case: "attributes_count_towards_the_mebibyte",
        source: guide!("quotas-messages.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&SHORT);
            let asked = json!({"QueueUrl": url, "MessageBody": "x".repeat(1_048_576 - 2),
                               "MessageAttributes": attributes(1)});
            ask(cloud, "SendMessage", &asked);
        },
    },
    Difference {
        case: "a_standard_queue_does_not_support_deduplication_ids",
        source: reference!("API_SendMessage.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&SHORT);
            let asked = json!({"QueueUrl": url, "MessageBody": "a", "MessageDeduplicationId": "1"});
            ask(cloud, "SendMessage", &asked);
            ask(cloud, "SendMessage", &asked);
            assert_eq!(receive(cloud, &url, 10).len(), 2);
        },
    },
    Difference {
        case: "a_group_id_has_valid_characters",
        source: reference!("API_SendMessage.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&FIFO);
            put(cloud, &url, "a b", "a");
            put(cloud, &url, "ü", "b");
            put(cloud, &url, &"x".repeat(129), "c");
        },
    },
    Difference {
        case: "a_receive_returns_as_many_messages_of_one_group_as_possible",
        source: guide!("FIFO-queues-understanding-logic.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&FIFO);
            for (group, body) in [("g", "g1"), ("h", "h1"), ("g", "g2"), ("h", "h2")] {
                put(cloud, &url, group, body);
            }
            assert_eq!(bodies(&receive(cloud, &url, 2)), ["g1", "h1"]);
        },
    },
    Difference {
        case: "an_unknown_queue_attribute_is_refused",
        source: reference!("API_GetQueueAttributes.html"),
        instead: |cloud| {
            let url = cloud.fresh_queue(&SHORT);
            let asked = json!({"QueueUrl": url, "AttributeNames": ["Nonsense"]});
            assert_eq!(ask(cloud, "GetQueueAttributes", &asked), json!({"Attributes": {}}));
        },
    },
    Difference {
        case: "the_name_of_a_standard_queue_cannot_end_in_fifo",
        source: reference!("API_CreateQueue.html"),
        instead: |cloud| {
            let asked = json!({"QueueName": format!("{}.fifo", cloud.fresh_name())});
            ask(cloud, "CreateQueue", &asked);
        },
    },
    Difference {
        case: "the_dead_letter_queue_of_a_fifo_queue_is_a_fifo_queue",
        source: guide!("sqs-dead-letter-queues.html"),
        instead: |cloud| {
            let dead = cloud.fresh_queue(&[]);
            let policy = json!({"deadLetterTargetArn": attribute(cloud, &dead, "QueueArn"),
                                "maxReceiveCount": 3});
            cloud.fresh_queue(&[("FifoQueue", "true"), ("RedrivePolicy", &policy.to_string())]);
        },
    },
];

cases! {
    a_sent_message_is_received,
    a_receive_returns_one_message_by_default,
    a_receive_returns_at_most_ten_messages,
    a_receive_from_an_empty_queue_returns_nothing,
    a_received_message_is_hidden_for_the_visibility_timeout,
    a_receive_can_set_the_visibility_timeout,
    a_receive_with_a_visibility_timeout_of_zero_leaves_the_message_visible,
    the_visibility_timeout_of_a_receive_is_at_most_twelve_hours,
    a_deleted_message_is_not_received_again,
    a_message_can_be_deleted_after_its_visibility_timeout,
    deleting_twice_is_not_refused,
    an_older_receipt_handle_is_accepted_but_may_not_delete,
    an_invented_receipt_handle_is_refused,
    a_receipt_handle_of_another_queue_is_refused,
    a_message_can_be_made_visible_at_once,
    a_message_can_be_hidden_for_longer,
    a_new_visibility_timeout_counts_from_the_change,
    a_message_cannot_be_hidden_for_more_than_twelve_hours,
    the_twelve_hours_count_from_the_receive,
    a_visible_message_cannot_be_hidden_by_its_old_receipt_handle,
    a_deleted_message_cannot_be_hidden,
    a_delayed_message_becomes_visible_later,
    the_delay_of_a_queue_applies_unless_a_message_sets_its_own,
    a_delay_is_at_most_fifteen_minutes,
    receives_are_counted,
    a_receive_returns_only_the_requested_attributes,
    attributes_are_requested_by_name_or_prefix,
    digests_cover_the_body_and_the_attributes,
    an_attribute_must_have_a_value,
    a_message_has_at_most_ten_attributes,
    a_message_must_have_a_body,
    a_body_cannot_contain_control_characters,
    a_message_is_at_most_a_mebibyte,
    attributes_count_towards_the_mebibyte,
    a_standard_queue_returns_the_group_of_a_message,
    a_standard_queue_does_not_support_deduplication_ids,
    a_missing_queue_is_refused,
    a_batch_of_messages_is_sent,
    a_batch_has_one_to_ten_entries,
    the_ids_of_a_batch_are_valid_and_distinct,
    a_batch_is_at_most_a_mebibyte,
    an_entry_of_a_batch_can_fail_alone,
    a_batch_deletes_what_it_can,
    a_batch_hides_what_it_can,
    a_message_that_was_received_too_often_is_dead_lettered,
    a_dead_lettered_message_is_replaced_by_the_next_in_the_same_receive,
    a_message_that_is_deleted_in_time_is_not_dead_lettered,
    dead_letters_of_a_fifo_queue_keep_group_and_attributes,
    messages_of_a_group_are_received_in_order,
    a_group_is_blocked_while_one_of_its_messages_is_in_flight,
    a_group_is_blocked_until_all_messages_received_together_are_done,
    a_message_made_visible_early_waits_for_the_others_of_its_group,
    a_group_starts_again_with_its_first_message_after_the_visibility_timeout,
    a_receive_returns_as_many_messages_of_one_group_as_possible,
    a_duplicate_send_within_five_minutes_is_dropped,
    a_duplicate_send_is_dropped_even_after_the_first_message_was_deleted,
    a_duplicate_in_the_same_batch_is_dropped,
    deduplication_can_apply_within_a_group,
    deduplication_applies_to_the_whole_queue_by_default,
    a_message_of_a_fifo_queue_needs_a_group_and_a_deduplication_id,
    a_group_id_has_valid_characters,
    a_message_of_a_fifo_queue_cannot_set_a_delay,
    an_entry_that_is_invalid_for_the_queue_fails_alone,
    sequence_numbers_increase,
    a_receipt_handle_of_a_fifo_queue_does_not_delete_after_the_visibility_timeout,
    an_older_receipt_handle_of_a_fifo_queue_is_refused,
    a_fifo_queue_can_delay_all_its_messages,
    a_queue_counts_its_messages,
    a_queue_returns_its_settings,
    an_unknown_queue_attribute_is_refused,
    the_url_of_a_queue_is_found_by_its_name,
    the_name_of_a_fifo_queue_ends_in_fifo,
    the_name_of_a_standard_queue_cannot_end_in_fifo,
    the_dead_letter_queue_of_a_fifo_queue_is_a_fifo_queue,
}
