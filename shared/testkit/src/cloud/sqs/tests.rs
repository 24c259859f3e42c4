//! Tests that only the model allows: days that pass, and the choices that SQS leaves open.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const MINUTE_MS: i64 = 60 * 1000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// SQS with a clock.
struct Bench {
    sqs: Sqs,
    now_ms: i64,
}

impl Bench {
    fn new() -> Self {
        Self { sqs: Sqs::new(), now_ms: 1_700_000_000_000 }
    }

    fn queue(&mut self, name: &str, settings: QueueSettings) -> String {
        self.sqs.create_queue(name, settings, self.now_ms).unwrap()
    }

    fn call(&mut self, operation: &str, body: &Value) -> Value {
        self.call_with(operation, body, &mut NoChaos)
    }

    fn call_with(&mut self, operation: &str, body: &Value, chaos: &mut dyn Chaos) -> Value {
        self.sqs.call(operation, body, self.now_ms, chaos).unwrap()
    }

    fn send(&mut self, url: &str, body: &str) -> Value {
        self.call("SendMessage", &json!({"QueueUrl": url, "MessageBody": body}))
    }

    fn put(&mut self, url: &str, group: &str, id: &str) -> Value {
        let asked = json!({"QueueUrl": url, "MessageBody": id, "MessageGroupId": group,
                           "MessageDeduplicationId": id});
        self.call("SendMessage", &asked)
    }

    fn receive(&mut self, url: &str, chaos: &mut dyn Chaos) -> Vec<Value> {
        let asked = json!({"QueueUrl": url, "MaxNumberOfMessages": 10});
        let mut answer = self.call_with("ReceiveMessage", &asked, chaos);
        serde_json::from_value(answer["Messages"].take()).unwrap_or_default()
    }

    fn delete(&mut self, url: &str, message: &Value, chaos: &mut dyn Chaos) {
        let asked = json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]});
        self.call_with("DeleteMessage", &asked, chaos);
    }
}

fn bodies(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["Body"].as_str().unwrap()).collect()
}

fn fifo() -> QueueSettings {
    QueueSettings { fifo: true, deduplication_scope_message_group: true, ..Default::default() }
}

/// Makes the given choices.
#[derive(Default)]
struct Script {
    returned: Option<usize>,
    next: VecDeque<usize>,
    again: Option<usize>,
    older: bool,
}

impl Chaos for Script {
    fn returned(&mut self, available: usize) -> usize {
        self.returned.unwrap_or(available)
    }

    fn next(&mut self, _: usize) -> usize {
        self.next.pop_front().unwrap_or(0)
    }

    fn again(&mut self, _: usize) -> Option<usize> {
        self.again
    }

    fn older_receipt_counts(&mut self) -> bool {
        self.older
    }
}

// ---- Time --------------------------------------------------------------------------------------

#[test]
fn a_deduplication_id_expires_five_minutes_after_the_first_send() {
    let mut bench = Bench::new();
    let url = bench.queue("q.fifo", fifo());
    bench.put(&url, "g", "a");
    bench.now_ms += 5 * MINUTE_MS - 1;
    bench.put(&url, "g", "a");
    assert_eq!(bench.sqs.messages(&url).count(), 1);
    // The second send did not restart the five minutes.
    bench.now_ms += 1;
    bench.put(&url, "g", "a");
    assert_eq!(bench.sqs.messages(&url).count(), 2);
}

#[test]
fn a_message_is_kept_for_the_retention_period() {
    let mut bench = Bench::new();
    let url = bench.queue("q", QueueSettings { retention_s: 60, ..Default::default() });
    bench.send(&url, "a");
    bench.now_ms += MINUTE_MS - 1;
    bench.send(&url, "b");
    assert!(bench.sqs.is_receivable(&url, bench.now_ms));
    assert_eq!(bench.sqs.messages(&url).count(), 2);
    bench.now_ms += 1;
    assert_eq!(bodies(&bench.receive(&url, &mut NoChaos)), ["b"]);
}

/// A queue that dead-letters a message after one receive, three days later, and its dead-letter
/// queue, which retains messages for four days.
fn dead_after_three_days(settings: &QueueSettings, names: [&str; 2]) -> (Bench, String) {
    let mut bench = Bench::new();
    let [name, dead] = names;
    let dead = bench.queue(dead, settings.clone());
    let settings = QueueSettings {
        retention_s: 14 * 86_400,
        max_receive_count: Some(1),
        dead_letter_queue: Some(dead.clone()),
        ..settings.clone()
    };
    let url = bench.queue(name, settings.clone());
    if settings.fifo {
        bench.put(&url, "g", "poison");
    } else {
        bench.send(&url, "poison");
    }
    assert_eq!(bench.receive(&url, &mut NoChaos).len(), 1);
    bench.now_ms += 3 * DAY_MS;
    assert!(bench.receive(&url, &mut NoChaos).is_empty());
    assert_eq!(bench.sqs.messages(&url).count(), 0);
    assert_eq!(bench.sqs.messages(&dead).count(), 1);
    (bench, dead)
}

#[test]
fn the_retention_of_a_dead_letter_counts_from_the_send_in_a_standard_queue() {
    let (mut bench, dead) = dead_after_three_days(&QueueSettings::default(), ["q", "dead"]);
    bench.now_ms += DAY_MS;
    assert!(bench.receive(&dead, &mut NoChaos).is_empty());
}

#[test]
fn the_retention_of_a_dead_letter_counts_from_the_move_in_a_fifo_queue() {
    let (mut bench, dead) = dead_after_three_days(&fifo(), ["q.fifo", "dead.fifo"]);
    bench.now_ms += DAY_MS;
    assert_eq!(bench.receive(&dead, &mut NoChaos).len(), 1);
}

#[test]
fn max_receive_count_counts_only_the_receives_in_the_same_queue() {
    let mut bench = Bench::new();
    let last = bench.queue("last", QueueSettings::default());
    let giving_up = |to: &str| QueueSettings {
        max_receive_count: Some(1),
        dead_letter_queue: Some(to.to_owned()),
        ..QueueSettings::default()
    };
    let dead = bench.queue("dead", giving_up(&last));
    let url = bench.queue("q", giving_up(&dead));
    bench.send(&url, "poison");
    for (queue, received) in [(&url, 1), (&url, 0), (&dead, 1), (&dead, 0), (&last, 1)] {
        assert_eq!(bench.receive(queue, &mut NoChaos).len(), received, "{queue}");
        bench.now_ms += MINUTE_MS;
    }
    let message = bench.sqs.messages(&last).next().unwrap();
    assert_eq!(message.receives, 3);
    assert!(message.dead_letter_source.as_deref().unwrap().ends_with(":dead"));
}

#[test]
fn a_message_can_be_hidden_for_at_most_twelve_hours_after_its_receive() {
    let mut bench = Bench::new();
    let url = bench.queue("q", QueueSettings::default());
    bench.send(&url, "a");
    let receipt = bench.receive(&url, &mut NoChaos)[0]["ReceiptHandle"].take();
    let hide = |seconds: i64| json!({"QueueUrl": url, "ReceiptHandle": receipt, "VisibilityTimeout": seconds});
    bench.call("ChangeMessageVisibility", &hide(43_200));
    bench.now_ms += 10_000;
    let now_ms = bench.now_ms;
    let refused = bench.sqs.call("ChangeMessageVisibility", &hide(43_191), now_ms, &mut NoChaos);
    assert_eq!(refused.unwrap_err().code, "InvalidParameterValue");
    bench.call("ChangeMessageVisibility", &hide(43_190));
    assert_eq!(bench.sqs.next_visible_ms(&url), Some(now_ms + 43_190_000));
}

#[test]
fn the_time_of_the_next_visible_message_is_known() {
    let mut bench = Bench::new();
    let url = bench.queue("q", QueueSettings::default());
    assert_eq!(bench.sqs.next_visible_ms(&url), None);
    let asked = json!({"QueueUrl": url, "MessageBody": "a", "DelaySeconds": 5});
    bench.call("SendMessage", &asked);
    assert!(!bench.sqs.is_receivable(&url, bench.now_ms));
    let shows_ms = bench.sqs.next_visible_ms(&url).unwrap();
    assert_eq!(shows_ms, bench.now_ms + 5000);
    assert!(bench.sqs.is_receivable(&url, shows_ms));
}

#[test]
fn the_messages_of_a_queue_can_be_listed() {
    let mut bench = Bench::new();
    let url = bench.queue("q.fifo", fifo());
    bench.put(&url, "g", "a");
    bench.put(&url, "h", "b");
    let asked = json!({"QueueUrl": url, "VisibilityTimeout": 7});
    bench.call("ReceiveMessage", &asked);
    let now_ms = bench.now_ms;
    let shown = bench.sqs.messages(&url).map(|message| {
        let group = message.group.as_deref().unwrap();
        (&*message.body, group, message.receives, message.hidden_until_ms - now_ms)
    });
    assert_eq!(shown.collect::<Vec<_>>(), [("a", "g", 1, 7000), ("b", "h", 0, 0)]);
}

// ---- Choices that SQS leaves open --------------------------------------------------------------

#[test]
fn a_standard_queue_returns_any_number_of_messages_in_any_order() {
    let mut bench = Bench::new();
    let url = bench.queue("q", QueueSettings::default());
    for body in ["a", "b", "c", "d"] {
        bench.send(&url, body);
    }
    let mut chaos = Script { returned: Some(2), next: [3, 1].into(), ..Script::default() };
    assert_eq!(bodies(&bench.receive(&url, &mut chaos)), ["d", "b"]);
    let mut chaos = Script { returned: Some(0), ..Script::default() };
    assert!(bench.receive(&url, &mut chaos).is_empty());
    assert_eq!(bodies(&bench.receive(&url, &mut NoChaos)), ["a", "c"]);
}

#[test]
fn a_fifo_queue_chooses_among_groups_but_not_within_a_group() {
    let mut bench = Bench::new();
    let url = bench.queue("q.fifo", fifo());
    for (group, id) in [("g", "g1"), ("h", "h1"), ("g", "g2"), ("h", "h2")] {
        bench.put(&url, group, id);
    }
    let mut chaos = Script { returned: Some(3), next: [1].into(), ..Script::default() };
    assert_eq!(bodies(&bench.receive(&url, &mut chaos)), ["h1", "h2", "g1"]);
    // `g2` waits for `g1`.
    assert!(bench.receive(&url, &mut Script { again: Some(0), ..Script::default() }).is_empty());
}

#[test]
fn a_hidden_message_of_a_standard_queue_can_be_delivered_again() {
    let mut bench = Bench::new();
    let url = bench.queue("q", QueueSettings::default());
    bench.send(&url, "a");
    let first = bench.receive(&url, &mut NoChaos);
    let mut chaos = Script { again: Some(0), ..Script::default() };
    let second = bench.receive(&url, &mut chaos);
    assert_eq!(bodies(&second), ["a"]);
    // The older receipt handle has no effect, unless the choices allow it.
    bench.delete(&url, &first[0], &mut NoChaos);
    assert_eq!(bench.sqs.messages(&url).count(), 1);
    bench.delete(&url, &first[0], &mut Script { older: true, ..Script::default() });
    assert_eq!(bench.sqs.messages(&url).count(), 0);
}

#[test]
fn a_deleted_message_of_a_standard_queue_can_be_delivered_again() {
    let mut bench = Bench::new();
    let url = bench.queue("q", QueueSettings::default());
    bench.send(&url, "a");
    let messages = bench.receive(&url, &mut NoChaos);
    bench.delete(&url, &messages[0], &mut NoChaos);
    assert!(bench.receive(&url, &mut NoChaos).is_empty());
    let mut chaos = Script { again: Some(0), ..Script::default() };
    let again = bench.receive(&url, &mut chaos);
    assert_eq!(bodies(&again), ["a"]);
    assert_eq!(again[0]["MessageId"], messages[0]["MessageId"]);
    bench.delete(&url, &again[0], &mut NoChaos);
    assert_eq!(bench.sqs.messages(&url).count(), 0);
}

#[test]
fn a_fifo_queue_delivers_no_message_twice() {
    let mut bench = Bench::new();
    let url = bench.queue("q.fifo", fifo());
    bench.put(&url, "g", "a");
    let mut chaos = Script { again: Some(0), ..Script::default() };
    let messages = bench.receive(&url, &mut chaos);
    assert!(bench.receive(&url, &mut chaos).is_empty());
    bench.delete(&url, &messages[0], &mut chaos);
    assert!(bench.receive(&url, &mut chaos).is_empty());
}

// ---- Trace header ------------------------------------------------------------------------------

#[test]
fn a_trace_header_is_delivered_with_its_message_and_does_not_count_toward_its_size() {
    let mut bench = Bench::new();
    let url = bench.queue("q", QueueSettings::default());
    let header = "Root=1-00000000-000000000000000000000000;Lineage=a87bd80c:1";
    let attribute =
        |data_type: &str| json!({"AWSTraceHeader": {"DataType": data_type, "StringValue": header}});
    let body = "x".repeat(1_048_576);
    let message = |data_type: &str| {
        let system = attribute(data_type);
        json!({"QueueUrl": url, "MessageBody": body, "MessageSystemAttributes": system})
    };
    let sent = bench.call("SendMessage", &message("String"));
    assert_eq!(sent["MD5OfMessageSystemAttributes"].as_str().unwrap().len(), 32);
    assert!(sent.get("MD5OfMessageAttributes").is_none());
    let asked = json!({"QueueUrl": url, "MessageSystemAttributeNames": ["AWSTraceHeader"]});
    let received = bench.call("ReceiveMessage", &asked);
    assert_eq!(received["Messages"][0]["Attributes"], json!({ "AWSTraceHeader": header }));
    let refused =
        bench.sqs.call("SendMessage", &message("Number"), bench.now_ms, &mut NoChaos).unwrap_err();
    assert_eq!(refused.code, "InvalidParameterValue");
}

// ---- Unsupported requests and billing ----------------------------------------------------------

#[test]
fn an_unmodelled_request_is_refused_by_name() {
    let mut bench = Bench::new();
    let url = bench.queue("q", QueueSettings::default());
    for (operation, body) in [
        ("PurgeQueue", json!({"QueueUrl": url})),
        ("ReceiveMessage", json!({"QueueUrl": url, "ReceiveRequestAttemptId": "x"})),
        (
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "x", "MessageSystemAttributes": {
            "Other": {"DataType": "String", "StringValue": "x"}}}),
        ),
    ] {
        let refused = bench.sqs.call(operation, &body, bench.now_ms, &mut NoChaos).unwrap_err();
        assert_eq!(refused.code, "UnsupportedOperation", "{refused:?}");
        assert!(refused.message.starts_with("the model of SQS has no "), "{refused:?}");
    }
}

#[test]
fn each_64_kibibytes_are_billed_as_a_request() {
    let mut bench = Bench::new();
    let url = bench.queue("q", QueueSettings::default());
    bench.send(&url, &"x".repeat(65_536));
    bench.send(&url, &"x".repeat(65_537));
    let entries = ["a", "b"].map(|id| json!({"Id": id, "MessageBody": "x".repeat(65_536)}));
    bench.call("SendMessageBatch", &json!({"QueueUrl": url, "Entries": entries}));
    assert_eq!(bench.receive(&url, &mut NoChaos).len(), 4);
    assert!(bench.receive(&url, &mut NoChaos).is_empty());
    let billed = |operation: &str, requests: u64| (operation.to_owned(), requests);
    let expected = [
        // 256 KiB and a byte, then an empty receive, which is billed as one request too.
        billed("ReceiveMessage", 5 + 1),
        billed("SendMessage", 1 + 2),
        billed("SendMessageBatch", 2),
    ];
    assert_eq!(*bench.sqs.requests(), BTreeMap::from(expected));
    bench.sqs.reset_requests();
    assert!(bench.sqs.requests().is_empty());
}

#[test]
fn error_codes_have_the_query_protocol_names_that_sdks_match() {
    assert_eq!(query_code("QueueDoesNotExist"), "AWS.SimpleQueueService.NonExistentQueue");
    assert_eq!(query_code("BatchRequestTooLong"), "AWS.SimpleQueueService.BatchRequestTooLong");
    assert_eq!(query_code("ReceiptHandleIsInvalid"), "ReceiptHandleIsInvalid");
}

// ---- Properties under any choices --------------------------------------------------------------

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Send { group: u8, id: u8 },
    Receive { most: u8, seconds: u8 },
    Delete { which: usize },
    Hide { which: usize, seconds: u8 },
    Wait { seconds: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_u8, 0..20_u8).prop_map(|(group, id)| Step::Send { group, id }),
        4 => (1..=10_u8, 0..30_u8).prop_map(|(most, seconds)| Step::Receive { most, seconds }),
        3 => any::<usize>().prop_map(|which| Step::Delete { which }),
        1 => (any::<usize>(), 0..30_u8).prop_map(|(which, seconds)| Step::Hide { which, seconds }),
        2 => (1..20_u8).prop_map(|seconds| Step::Wait { seconds }),
    ];
    prop::collection::vec(step, 1..120)
}

/// Random choices from a list, repeated.
#[derive(Debug)]
struct RandomChaos {
    choices: Vec<usize>,
    next: usize,
}

impl RandomChaos {
    fn below(&mut self, number: usize) -> usize {
        self.next += 1;
        self.choices.get(self.next % self.choices.len()).map_or(0, |choice| choice % number)
    }
}

impl Chaos for RandomChaos {
    fn returned(&mut self, available: usize) -> usize {
        self.below(available + 1)
    }

    fn next(&mut self, candidates: usize) -> usize {
        self.below(candidates)
    }

    fn again(&mut self, candidates: usize) -> Option<usize> {
        (self.below(3) == 0).then(|| self.below(candidates))
    }

    fn older_receipt_counts(&mut self) -> bool {
        self.below(2) == 0
    }
}

fn random_chaos() -> impl Strategy<Value = RandomChaos> {
    prop::collection::vec(any::<usize>(), 1..50)
        .prop_map(|choices| RandomChaos { choices, next: 0 })
}

/// The fields of a received message that these tests check.
struct Seen {
    message: Value,
    group: String,
    number: String,
}

/// Runs a history on a FIFO queue and checks each step.
fn run_fifo(steps: &[Step], chaos: &mut RandomChaos) {
    let mut bench = Bench::new();
    let url = bench.queue("q.fifo", QueueSettings { retention_s: 1_209_600, ..fifo() });
    let mut seen: Vec<Seen> = Vec::new();
    let mut deleted: BTreeSet<String> = BTreeSet::new();
    let mut stored: BTreeMap<String, String> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Send { group, id } => {
                let sent = bench.put(&url, &group.to_string(), &id.to_string());
                let number = sent["SequenceNumber"].as_str().unwrap();
                stored.entry(number.to_owned()).or_insert_with(|| group.to_string());
            }
            Step::Receive { most, seconds } => {
                let now_ms = bench.now_ms;
                bench.sqs.is_receivable(&url, now_ms);
                let in_flight: BTreeSet<String> = bench
                    .sqs
                    .messages(&url)
                    .filter(|message| message.in_flight)
                    .filter_map(|message| message.group.clone())
                    .collect();
                let asked = json!({"QueueUrl": url, "MaxNumberOfMessages": most,
                    "VisibilityTimeout": seconds, "MessageSystemAttributeNames": ["All"]});
                let answer = bench.call_with("ReceiveMessage", &asked, chaos);
                let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
                let mut firsts: BTreeMap<String, Vec<String>> = BTreeMap::new();
                for message in messages {
                    let attribute =
                        |name: &str| message["Attributes"][name].as_str().unwrap().to_owned();
                    let (group, number) =
                        (attribute("MessageGroupId"), attribute("SequenceNumber"));
                    assert!(!deleted.contains(&number), "{number} was deleted");
                    assert!(!in_flight.contains(&group), "{group} has one in flight");
                    firsts.entry(group.clone()).or_default().push(number.clone());
                    seen.push(Seen { message, group, number });
                }
                // The first messages of the group that are still there, in order and without a gap.
                for (group, numbers) in firsts {
                    let there = stored
                        .iter()
                        .filter(|(number, of)| **of == group && !deleted.contains(*number));
                    let there: Vec<&String> = there.map(|(number, _)| number).collect();
                    assert!(there.into_iter().zip(&numbers).all(|(one, other)| one == other));
                }
            }
            Step::Delete { which } if !seen.is_empty() => {
                let Seen { message, number, .. } = &seen[which % seen.len()];
                let asked = json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]});
                let answer = bench.sqs.call("DeleteMessage", &asked, bench.now_ms, chaos);
                if answer.is_ok() {
                    deleted.insert(number.clone());
                }
            }
            Step::Hide { which, seconds } if !seen.is_empty() => {
                let Seen { message, group, .. } = &seen[which % seen.len()];
                let asked = json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"],
                                   "VisibilityTimeout": seconds});
                let answer = bench.sqs.call("ChangeMessageVisibility", &asked, bench.now_ms, chaos);
                assert!(answer.is_ok() || !group.is_empty());
            }
            Step::Wait { seconds } => bench.now_ms += i64::from(*seconds) * 1000,
            Step::Delete { .. } | Step::Hide { .. } => {}
        }
        // Every message that was sent and not deleted is still there, and no other.
        let there = bench.sqs.messages(&url).filter_map(|message| message.sequence_number.clone());
        let expected = stored.keys().filter(|number| !deleted.contains(*number)).cloned();
        assert!(there.eq(expected));
    }
    // With the default choices the rest arrives, each group in order.
    bench.now_ms += DAY_MS;
    let mut left: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, group) in stored.iter().filter(|(number, _)| !deleted.contains(*number)) {
        left.entry(group.clone()).or_default().push(number.clone());
    }
    let mut came: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        let asked = json!({"QueueUrl": url, "MessageSystemAttributeNames": ["All"]});
        let answer = bench.call("ReceiveMessage", &asked);
        let Some(message) = answer["Messages"].get(0) else { break };
        let attribute = |name: &str| message["Attributes"][name].as_str().unwrap().to_owned();
        came.entry(attribute("MessageGroupId")).or_default().push(attribute("SequenceNumber"));
        bench.delete(&url, message, &mut NoChaos);
    }
    assert_eq!(came, left);
}

/// Runs a history on a standard queue, and then receives until it is empty.
fn run_standard(steps: &[Step], chaos: &mut RandomChaos) {
    let mut bench = Bench::new();
    let url = bench.queue("q", QueueSettings { retention_s: 1_209_600, ..Default::default() });
    let mut receipts: Vec<Value> = Vec::new();
    let mut sent: BTreeSet<String> = BTreeSet::new();
    let mut received: BTreeSet<String> = BTreeSet::new();
    for step in steps {
        match step {
            Step::Send { group, id } => {
                let asked = json!({"QueueUrl": url, "MessageBody": "x", "DelaySeconds": id,
                                   "MessageGroupId": group.to_string()});
                let answer = bench.call("SendMessage", &asked);
                sent.insert(answer["MessageId"].as_str().unwrap().to_owned());
            }
            Step::Receive { most, seconds } => {
                let asked = json!({"QueueUrl": url, "MaxNumberOfMessages": most,
                                   "VisibilityTimeout": seconds});
                let answer = bench.call_with("ReceiveMessage", &asked, chaos);
                let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
                assert!(messages.len() <= usize::from(*most));
                let ids = messages.iter().map(|message| message["MessageId"].as_str().unwrap());
                let distinct: BTreeSet<&str> = ids.collect();
                assert_eq!(distinct.len(), messages.len(), "one message twice in an answer");
                received.extend(distinct.into_iter().map(str::to_owned));
                receipts.extend(messages);
            }
            Step::Delete { which } if !receipts.is_empty() => {
                bench.delete(&url, &receipts[which % receipts.len()], chaos);
            }
            Step::Hide { which, seconds } if !receipts.is_empty() => {
                let receipt = &receipts[which % receipts.len()]["ReceiptHandle"];
                let asked = json!({"QueueUrl": url, "ReceiptHandle": receipt,
                                   "VisibilityTimeout": seconds});
                let now_ms = bench.now_ms;
                if let Err(refusal) =
                    bench.sqs.call("ChangeMessageVisibility", &asked, now_ms, chaos)
                {
                    assert_eq!(refusal.code, "InvalidParameterValue");
                }
            }
            Step::Wait { seconds } => bench.now_ms += i64::from(*seconds) * 1000,
            Step::Delete { .. } | Step::Hide { .. } => {}
        }
        let counts = ["", "NotVisible", "Delayed"].map(|end| {
            let name = format!("ApproximateNumberOfMessages{end}");
            let asked = json!({"QueueUrl": url, "AttributeNames": [name]});
            let answer = bench.call("GetQueueAttributes", &asked);
            answer["Attributes"][&name].as_str().unwrap().parse::<usize>().unwrap()
        });
        assert_eq!(counts.iter().sum::<usize>(), bench.sqs.messages(&url).count());
    }
    // With the default choices the rest arrives, and then the queue is empty.
    bench.now_ms += DAY_MS;
    loop {
        let messages = bench.receive(&url, &mut NoChaos);
        if messages.is_empty() {
            break;
        }
        for message in messages {
            received.insert(message["MessageId"].as_str().unwrap().to_owned());
            bench.delete(&url, &message, &mut NoChaos);
        }
    }
    assert_eq!(received, sent);
    assert_eq!(bench.sqs.messages(&url).count(), 0);
}

proptest! {
    #[test]
    fn a_fifo_queue_keeps_order_and_exclusion_under_any_choices(
        steps in steps(),
        mut chaos in random_chaos(),
    ) {
        run_fifo(&steps, &mut chaos);
    }

    #[test]
    fn a_standard_queue_delivers_every_message_at_least_once(
        steps in steps(),
        mut chaos in random_chaos(),
    ) {
        run_standard(&steps, &mut chaos);
    }
}
