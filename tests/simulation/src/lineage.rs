//! Recursive loop detection of Lambda: how many times a chain of requests has invoked each function.
//!
//! AWS keeps the counts in the X-Ray trace header: an invocation sends it with its requests, SQS
//! stores it with the messages, and the event source mapping passes it to the next invocation.
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>

#![expect(clippy::indexing_slicing, reason = "indexing a JSON value returns null if absent")]

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

/// Number of invocations of a function in one chain after which Lambda stops the next one. AWS
/// says "approximately 16".
pub const MAX_PASSES: u32 = 16;

/// System attribute of an SQS message with its trace header.
pub(crate) const ATTRIBUTE: &str = "AWSTraceHeader";

/// Number of invocations of each function in a chain of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(BTreeMap<String, u32>);

impl Lineage {
    /// Reads the lineage of a trace header. A header without one begins a chain.
    #[must_use]
    pub fn of_header(header: &str) -> Self {
        let lineage = header.split(';').find_map(|part| part.strip_prefix("Lineage="));
        let passes = lineage.unwrap_or_default().split('|').filter_map(|pass| {
            let (function, count) = pass.rsplit_once(':')?;
            Some((function.to_owned(), count.parse().ok()?))
        });
        Self(passes.collect())
    }

    /// Returns the lineage of a batch of messages: the longest chain of each function. AWS does not
    /// document how it counts a batch, so this stops no chain later than AWS does.
    pub(crate) fn of_batch(messages: &[Value]) -> Self {
        let mut batch = Self::default();
        for message in messages {
            let header = message["Attributes"][ATTRIBUTE].as_str().unwrap_or_default();
            for (function, count) in Self::of_header(header).0 {
                let longest = batch.0.entry(function).or_default();
                *longest = count.max(*longest);
            }
        }
        batch
    }

    /// Returns the lineage with one more invocation of `function`.
    #[must_use]
    pub fn passed(mut self, function: &str) -> Self {
        *self.0.entry(function.to_owned()).or_default() += 1;
        self
    }

    /// Returns whether Lambda stops the next invocation of `function`, unless the function may run
    /// in a recursive loop.
    #[must_use]
    pub fn is_recursive_loop(&self, function: &str) -> bool {
        self.0.get(function).is_some_and(|passes| *passes >= MAX_PASSES)
    }
}

impl fmt::Display for Lineage {
    /// Formats the trace header. AWS names a function by a hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Root=1-00000000-000000000000000000000000;Lineage=")?;
        for (number, (function, passes)) in self.0.iter().enumerate() {
            let separator = if number > 0 { "|" } else { "" };
            write!(f, "{separator}{function}:{passes}")?;
        }
        Ok(())
    }
}

/// Adds the sender's trace header to the messages of a request, as SQS does.
pub(crate) fn annotate(operation: &str, body: &mut Value, header: &str) {
    let set = |message: &mut Value| {
        let attribute = json!({ ATTRIBUTE: { "DataType": "String", "StringValue": header } });
        message["MessageSystemAttributes"] = attribute;
    };
    match operation {
        "SendMessage" => set(body),
        "SendMessageBatch" => {
            let entries = body.get_mut("Entries").and_then(Value::as_array_mut);
            entries.into_iter().flatten().for_each(set);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seventeenth_invocation_of_a_function_in_a_chain_is_a_recursive_loop() {
        let mut lineage = Lineage::default().passed("api");
        for _pass in 0..MAX_PASSES {
            assert!(!lineage.is_recursive_loop("consumer"));
            lineage = Lineage::of_header(&lineage.passed("consumer").to_string());
        }
        assert!(lineage.is_recursive_loop("consumer"));
        assert!(!lineage.is_recursive_loop("api") && !lineage.is_recursive_loop("other"));
    }

    #[test]
    fn a_batch_has_the_longest_chain_of_each_function() {
        let message = |lineage: &str| json!({ "Attributes": { ATTRIBUTE: format!("Root=1-0-0;Lineage={lineage}") } });
        let messages = [message("a:3|b:1"), message("a:2|b:5"), json!({})];
        let batch = Lineage::of_batch(&messages);
        assert_eq!(batch, Lineage::of_header("Lineage=a:3|b:5"));
        assert_eq!(Lineage::of_header("Root=1-0-0"), Lineage::default());
    }
}
