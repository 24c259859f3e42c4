//! Client of the table model, which runs in a separate process because it holds a million messages.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    functions, process,
    table::{Item, Units},
};

/// The table model.
pub(crate) struct Model {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Response of the table to a request.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) units: Units,
    /// Time spent in the table.
    pub(crate) microseconds: f64,
}

impl Model {
    /// Starts a model with an empty table.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::file(program))?;
        let ends = child.stdin.take().zip(child.stdout.take());
        let (requests, answers) = ends.ok_or_else(|| Error::step("table", "it has no pipes"))?;
        Ok(Self { child, requests, answers: BufReader::new(answers) })
    }

    /// Sends a request.
    pub(crate) fn call(&mut self, operation: &str, body: &Value) -> Result<Reply> {
        writeln!(self.requests, "{operation} {body}")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(Error::step("table", format!("the model exited at {operation}")));
        }
        Ok(reply(serde_json::from_str(&line)?))
    }

    /// Stores an item.
    pub(crate) fn put(&mut self, item: &Item) -> Result<()> {
        let body = json!({ "TableName": "switchboard", "Item": item });
        let reply = self.call("PutItem", &body)?;
        if reply.status == 200 { Ok(()) } else { Err(Error::step("table", reply.body.to_string())) }
    }

    /// Stores this many conversations and messages. Returns the number of items in the table.
    pub(crate) fn fill(&mut self, conversations: u32, messages: u32) -> Result<u64> {
        let (conversation, message) = functions::templates();
        let reply = self.call(
            "Fill",
            &json!({ "conversations": conversations, "messages": messages,
                "conversation": conversation, "message": message }),
        )?;
        let items = reply.body.get("items").and_then(Value::as_u64);
        items.ok_or_else(|| Error::step("table", "the table was not filled"))
    }

    /// Peak memory of the model, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        process::peak_memory(self.child.id())
    }
}

fn reply(mut line: Value) -> Reply {
    let number = |name: &str| line.get(name).and_then(Value::as_f64).unwrap_or_default();
    let status = line.get("status").and_then(Value::as_u64).unwrap_or_default();
    let (status, units, microseconds) = (
        u16::try_from(status).unwrap_or_default(),
        Units { read: number("read_halves") / 2.0, write: number("write") },
        number("nanoseconds") / 1e3,
    );
    let body = line.get_mut("body").map(Value::take).unwrap_or_default();
    Reply { status, body, units, microseconds }
}

impl Drop for Model {
    fn drop(&mut self) {
        // It may have exited already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_response_its_units_and_its_time() {
        let reply = reply(json!({ "status": 400, "body": { "__type": "X" }, "nanoseconds": 1500,
            "read_halves": 3, "write": 2 }));
        assert_eq!((reply.status, &reply.body), (400, &json!({ "__type": "X" })));
        assert_eq!(reply.units, Units { read: 1.5, write: 2.0 });
        assert!((reply.microseconds - 1.5).abs() < 1e-9);
    }
}
