//! Cost of a message in a small table and in one with a million messages.

use std::{path::Path, sync::Arc};

use serde_json::Value;

use crate::{
    Bench,
    error::{Error, Result},
    figure::{Figure, Goal, Unit},
    functions::{Function, known, named},
    model::Model,
    records::batch,
    sandbox::Sandbox,
    stats::Runs,
    world::{World, megabytes},
};

/// Table of a new hub: enough for a full page of every list.
const FEW: Size = Size { conversations: 100, messages: 1_000 };
/// Table of a busy hub.
const MANY: Size = Size { conversations: 100_000, messages: 1_000_000 };
/// Measured invocations, each with a different message.
const ROUNDS: u32 = 90;

/// Size of a table.
#[derive(Clone, Copy)]
struct Size {
    conversations: u32,
    messages: u32,
}

/// An operation of the hub for a message.
pub(crate) struct Operation {
    subject: &'static str,
    what: &'static str,
    function: &'static str,
    event: &'static str,
    answer: &'static str,
    /// Request that each invocation must make: one without work would look cheap.
    asks: &'static str,
}

impl Operation {
    /// The function with the operation's event.
    pub(crate) fn function(&self) -> Result<Function> {
        Ok(named(self.function)?.on(self.event, self.answer))
    }
}

/// The operations in order: a receipt needs a sent message.
pub(crate) const OPERATIONS: [Operation; 6] = [
    Operation {
        subject: "a message in",
        what: "its record",
        function: "consumer-inbound",
        event: "consumer-inbound/text",
        answer: DONE,
        asks: "sqs.",
    },
    Operation {
        subject: "a message out",
        what: "its request",
        function: "api-messages",
        event: "api-messages/send_text",
        answer: "\"statusCode\":202",
        asks: "sqs.",
    },
    Operation {
        subject: "a message out",
        what: "its record",
        function: "sender-whatsapp",
        event: "sender-whatsapp/text",
        answer: DONE,
        asks: "provider.send",
    },
    Operation {
        subject: "a receipt",
        what: "its record",
        function: "consumer-receipts",
        event: "consumer-receipts/failed",
        answer: DONE,
        asks: "sqs.",
    },
    Operation {
        subject: "conversations",
        what: "a page of them",
        function: "api-conversations",
        event: "api-conversations/list",
        answer: "\"statusCode\":200",
        asks: "dynamodb.Query",
    },
    Operation {
        subject: "messages",
        what: "a page of them",
        function: "api-conversations",
        event: "api-conversations/messages",
        answer: "\"statusCode\":200",
        asks: "dynamodb.Query",
    },
];

/// Response of a consumer or a sender.
const DONE: &str = "\"batchItemFailures\":[]";

/// Cost of an operation.
#[derive(Default)]
struct Cost {
    writes: Runs,
    reads: Runs,
    /// Time of the function, in ms.
    took: Runs,
    /// Time of the table alone, in microseconds.
    table: Runs,
}

/// Measures every operation with a small and with a full table.
pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let program = bench.table.clone().ok_or_else(|| {
        Error::step("growth", "the table model is missing. Run `cargo xtask bench`")
    })?;
    let (small, _) = sized(bench, &program, FEW)?;
    let (full, memory) = sized(bench, &program, MANY)?;
    bench.note(&format!(
        "Growth is measured with the table model, which the functions reach over HTTP: with {} \
         messages in {} conversations of one tenant, and with {} in {}, for which the model uses \
         {memory:.0} MB. Its times show how the work grows, not how fast DynamoDB is.",
        FEW.messages, FEW.conversations, MANY.messages, MANY.conversations
    ));
    let mut figures = Vec::new();
    for ((operation, small), full) in OPERATIONS.iter().zip(small).zip(full) {
        figures.extend(compared(operation.subject, operation.what, small, full));
    }
    Ok(figures)
}

/// Figures of an operation. The goal of a full table is to need no more capacity units than a small
/// one.
fn compared(subject: &str, what: &str, small: Cost, full: Cost) -> Vec<Figure> {
    let figure = |name: &str, of: &str, unit, runs| {
        Figure::new(subject, format!("{what}, {name}, {of}"), unit, runs)
    };
    let mut figures = Vec::new();
    for (name, unit, few, many, goal) in [
        ("writes", Unit::Units, small.writes, full.writes, true),
        ("reads", Unit::Units, small.reads, full.reads, true),
        ("the table's time", Unit::Microseconds, small.table, full.table, false),
        ("the function's time", Unit::Milliseconds, small.took, full.took, false),
    ] {
        let most = few.median();
        figures.push(figure(name, "small table", unit, few));
        let many = figure(name, "a million messages", unit, many);
        figures.push(if goal { many.with(Goal::AtMost(most)) } else { many });
    }
    figures
}

/// Measures every operation with a table of this size, and the model's memory in megabytes.
fn sized(bench: &Bench, program: &Path, size: Size) -> Result<(Vec<Cost>, f64)> {
    let world = World::over(Model::start(program)?)?;
    // The messages that the rounds use.
    for item in (0..=ROUNDS).flat_map(|round| known(100 * round, "queued")) {
        if let Value::Object(item) = item {
            world.cloud.seed(item)?;
        }
    }
    let model = |what: &dyn Fn(&mut Model) -> Result<u64>| {
        world.cloud.model(what).unwrap_or_else(|| Err(Error::step("growth", "no model")))
    };
    let items = model(&|model| model.fill(size.conversations, size.messages))?;
    if items < u64::from(size.conversations + size.messages) {
        return Err(Error::step("growth", format!("the table has only {items} items")));
    }
    let costs = costs(bench, &world)?;
    Ok((costs, megabytes(model(&|model| model.memory())?)))
}

fn costs(bench: &Bench, world: &World) -> Result<Vec<Cost>> {
    OPERATIONS.iter().map(|operation| cost(bench, world, operation)).collect()
}

fn cost(bench: &Bench, world: &World, operation: &Operation) -> Result<Cost> {
    let function = operation.function()?;
    let event = function.event(&bench.paths)?;
    let mut sandbox = Sandbox::start(&world.program(&function, &bench.paths))?;
    sandbox.ready()?;
    let (mut writes, mut reads, mut took, mut table) = (vec![], vec![], vec![], vec![]);
    for round in 0..=ROUNDS {
        let event = match batch(&event, 1, round) {
            Ok(next) => Arc::new(next),
            // A request is not a batch.
            Err(_) => Arc::clone(&event),
        };
        let invocation = sandbox.invoke(&event)?;
        function.check(&invocation.answer)?;
        let (meter, unknown) = world.cloud.take();
        if let Some(unknown) = unknown.first() {
            return Err(Error::step(&function.name, format!("unexpected request: {unknown}")));
        }
        if meter.of(operation.asks) == 0 {
            return Err(Error::step(
                &function.name,
                format!("missing request: {}", operation.asks),
            ));
        }
        // The first invocation reads what later ones cache.
        if round > 0 {
            writes.push(meter.units.write);
            reads.push(meter.units.read);
            table.push(meter.microseconds);
            took.push(invocation.took.as_secs_f64() * 1e3);
        }
    }
    let [writes, reads, took, table] = [writes, reads, took, table].map(Runs::new);
    Ok(Cost { writes, reads, took, table })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_additional_unit_in_a_full_table_misses_the_goal() {
        let cost = |writes| Cost {
            writes: Runs::once(writes),
            reads: Runs::once(1.0),
            took: Runs::once(1.0),
            table: Runs::once(1.0),
        };
        let verdicts = |full| {
            let figures = compared("a message", "a record", cost(4.0), cost(full));
            figures.iter().map(Figure::passes).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(4.0).get(..4), Some(&[None, Some(true), None, Some(true)][..]));
        assert_eq!(verdicts(5.0).get(1), Some(&Some(false)));
    }
}
