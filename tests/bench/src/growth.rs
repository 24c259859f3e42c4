//! What a message costs when there are few others, and when there are a million.

use std::{path::Path, sync::Arc};

use serde_json::Value;

use crate::{
    Bench,
    error::{Error, Result},
    figure::{Figure, Goal, Unit},
    functions::{known, named},
    model::Model,
    records::batch,
    sandbox::Sandbox,
    stats::Runs,
    world::{World, megabytes},
};

/// What a new hub has in its table: enough for a full page of everything.
const FEW: Size = Size { conversations: 100, messages: 1_000 };
/// What a busy hub has.
const MANY: Size = Size { conversations: 100_000, messages: 1_000_000 };
/// Invocations that are measured, each of another message.
const ROUNDS: u32 = 90;

/// How full a table is.
#[derive(Clone, Copy)]
struct Size {
    conversations: u32,
    messages: u32,
}

/// Something the hub does for a message.
struct Way {
    subject: &'static str,
    what: &'static str,
    function: &'static str,
    event: &'static str,
    answer: &'static str,
    /// What it must have asked for each time: one that found nothing to do would look cheap.
    asks: &'static str,
}

/// In this order: a receipt is for what has been sent.
const WAYS: [Way; 6] = [
    Way {
        subject: "a message in",
        what: "its record",
        function: "consumer-inbound",
        event: "consumer-inbound/text",
        answer: DONE,
        asks: "sqs.",
    },
    Way {
        subject: "a message out",
        what: "its request",
        function: "api-messages",
        event: "api-messages/send_text",
        answer: "\"statusCode\":202",
        asks: "sqs.",
    },
    Way {
        subject: "a message out",
        what: "its record",
        function: "sender-whatsapp",
        event: "sender-whatsapp/text",
        answer: DONE,
        asks: "provider.send",
    },
    Way {
        subject: "a receipt",
        what: "its record",
        function: "consumer-receipts",
        event: "consumer-receipts/failed",
        answer: DONE,
        asks: "sqs.",
    },
    Way {
        subject: "conversations",
        what: "a page of them",
        function: "api-conversations",
        event: "api-conversations/list",
        answer: "\"statusCode\":200",
        asks: "dynamodb.Query",
    },
    Way {
        subject: "messages",
        what: "a page of them",
        function: "api-conversations",
        event: "api-conversations/messages",
        answer: "\"statusCode\":200",
        asks: "dynamodb.Query",
    },
];

/// What a consumer or a sender answers.
const DONE: &str = "\"batchItemFailures\":[]";

/// What one way cost.
#[derive(Default)]
struct Cost {
    writes: Runs,
    reads: Runs,
    /// Of the whole function, in ms.
    took: Runs,
    /// Of the table alone, in microseconds.
    table: Runs,
}

/// Every way, with a small table and with a full one.
pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let program = bench.table.clone().ok_or_else(|| {
        Error::step("growth", "the model of the table is missing: start `cargo xtask bench`")
    })?;
    let (small, _) = sized(bench, &program, FEW)?;
    let (full, memory) = sized(bench, &program, MANY)?;
    bench.note(&format!(
        "Growth is measured with the model of the table, which the functions reach over HTTP: \
         with {} messages in {} conversations of one tenant, and with {} in {}, for which the \
         model takes {memory:.0} MB. Its times say how the work grows, not how fast DynamoDB is.",
        FEW.messages, FEW.conversations, MANY.messages, MANY.conversations
    ));
    let mut figures = Vec::new();
    for ((way, small), full) in WAYS.iter().zip(small).zip(full) {
        figures.extend(compared(way.subject, way.what, small, full));
    }
    Ok(figures)
}

/// The figures of one way: no request unit more may be needed when the table is full.
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

/// What every way costs in a table of this size, and the megabytes the model takes.
fn sized(bench: &Bench, program: &Path, size: Size) -> Result<(Vec<Cost>, f64)> {
    let world = World::over(Model::start(program)?)?;
    // The messages that the rounds are about.
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
        return Err(Error::step("growth", format!("the table holds {items} items only")));
    }
    let costs = costs(bench, &world)?;
    Ok((costs, megabytes(model(&|model| model.memory())?)))
}

fn costs(bench: &Bench, world: &World) -> Result<Vec<Cost>> {
    WAYS.iter().map(|way| cost(bench, world, way)).collect()
}

fn cost(bench: &Bench, world: &World, way: &Way) -> Result<Cost> {
    let function = named(way.function)?.on(way.event, way.answer);
    let event = function.event(&bench.places)?;
    let mut sandbox = Sandbox::start(&world.program(&function, &bench.places))?;
    sandbox.ready()?;
    let (mut writes, mut reads, mut took, mut table) = (vec![], vec![], vec![], vec![]);
    for round in 0..=ROUNDS {
        let event = match batch(&event, 1, round) {
            Ok(next) => Arc::new(next),
            // A request is no batch.
            Err(_) => Arc::clone(&event),
        };
        let invocation = sandbox.invoke(&event)?;
        function.check(&invocation.answer)?;
        let (meter, unknown) = world.cloud.take();
        if let Some(unknown) = unknown.first() {
            return Err(Error::step(&function.name, format!("asked for {unknown}")));
        }
        if meter.of(way.asks) == 0 {
            return Err(Error::step(&function.name, format!("did not ask for {}", way.asks)));
        }
        // The first invocation reads what the others remember.
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
    fn a_unit_more_in_a_full_table_misses_the_goal() {
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
