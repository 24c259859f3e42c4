//! The table model as a process: reads one request per line and writes one response per line.
//!
//! An input line is an operation, a space, and a JSON body. An output line is JSON with the status,
//! the body, the capacity units, and the time spent in the table in nanoseconds. The operation
//! `Fill` is not DynamoDB's: it stores the requested numbers of conversations and messages.

use std::{
    error::Error,
    io::{self, BufRead, Write},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use testkit::cloud::{
    Refusal,
    dynamo::{Dynamo, TableSchema},
};

const TABLE: &str = "switchboard";

fn main() -> Result<(), Box<dyn Error>> {
    let mut dynamo = Dynamo::new();
    dynamo.create_table(TableSchema::of_the_hub(TABLE));
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (operation, body) = line.split_once(' ').ok_or("a line without a body")?;
        let answer = if operation == "Fill" {
            let request = serde_json::from_str(body)?;
            json!({ "status": 200, "body": { "items": fill(&mut dynamo, &request)? } })
        } else {
            answer(&mut dynamo, operation, &serde_json::from_str(body)?)
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(dynamo: &mut Dynamo, operation: &str, body: &Value) -> Value {
    let begun = Instant::now();
    let answer = dynamo.call(operation, body, now_ms());
    let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let units = dynamo.consumed().last;
    let (status, body) = match answer {
        Ok(body) => (200, body),
        Err(Refusal { status, code, message, more }) => {
            let mut body = json!({ "__type": code, "message": message });
            if let Some(fields) = body.as_object_mut() {
                fields.extend(more);
            }
            (status, body)
        }
    };
    json!({ "status": status, "body": body, "nanoseconds": took,
        "read_halves": units.read_halves, "write": units.write })
}

/// Stores conversations and messages. Returns the number of items in the table.
fn fill(dynamo: &mut Dynamo, request: &Value) -> Result<usize, Box<dyn Error>> {
    let number = |name: &str| request.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (conversations, messages) = (number("conversations"), number("messages"));
    let text = |name: &str| request.get(name).map(Value::to_string).unwrap_or_default();
    let (conversation, message) = (text("conversation"), text("message"));
    for place in 0..conversations {
        let text = conversation.replace("{c}", &format!("{place:06}"));
        put(dynamo, &text)?;
    }
    for place in 0..messages {
        let owner = place.checked_rem(conversations).unwrap_or_default();
        let text =
            message.replace("{c}", &format!("{owner:06}")).replace("{m}", &format!("{place:07}"));
        put(dynamo, &text)?;
    }
    dynamo.reset_consumed();
    Ok(dynamo.keys(TABLE).count())
}

fn put(dynamo: &mut Dynamo, item: &str) -> Result<(), Box<dyn Error>> {
    let item: Value = serde_json::from_str(item)?;
    let body = json!({ "TableName": TABLE, "Item": item });
    match dynamo.call("PutItem", &body, now_ms()) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(format!("{}: {}", refusal.code, refusal.message).into()),
    }
}

fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the functions run on the real clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
