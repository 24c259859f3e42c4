//! Part 3: cost of a record in consumers and senders, and their AWS requests.

use std::{fmt::Write as _, sync::Arc};

use serde_json::Value;

use crate::{
    Bench, callgrind,
    cloud::Meter,
    error::{Error, Result},
    figure::{Figure, Unit},
    functions::{Function, named},
    sandbox::Sandbox,
    stats::Runs,
    world::Subject,
};

/// The measured consumers and senders.
const WORKERS: [&str; 5] = [
    "consumer-inbound",
    "consumer-receipts",
    "consumer-automation",
    "sender-whatsapp",
    "sender-telegram",
];
/// The functions of a short run.
const FEW: [&str; 2] = ["consumer-inbound", "sender-whatsapp"];
/// Batch sizes: one record, and a full batch.
const BATCHES: [u32; 2] = [1, 10];
/// Fewest batches that are counted.
const FEWEST: u32 = 4;

/// Measures every consumer and sender, or two in a short run.
pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let workers = if bench.short { &FEW[..] } else { &WORKERS };
    for name in workers {
        let function = named(name)?;
        for size in BATCHES {
            figures.extend(of(bench, &function, size)?);
        }
    }
    Ok(figures)
}

fn of(bench: &Bench, function: &Function, size: u32) -> Result<Vec<Figure>> {
    let records = f64::from(size);
    let mut subject = bench.subject(function, &bench.plain)?;
    subject.event = Arc::new(batch(&subject.event, size, 0)?);
    let name = |what: &str| {
        if size == 1 {
            format!("a record alone, {what}")
        } else {
            format!("a record of {size}, {what}")
        }
    };
    let figure = |what: &str, unit, runs| Figure::new(&function.name, name(what), unit, runs);
    let mut figures = Vec::new();
    if !bench.short {
        let warm = subject.warm(bench.rounds, bench.invocations / (2 * size))?;
        figures.push(figure("CPU", Unit::CpuMicroseconds, warm.divided(records)));
    }
    let times = bench.counted.div_ceil(size).max(FEWEST);
    let counted = callgrind::each(&subject, times)?;
    let work = Runs::once(counted.instructions / records);
    let work = figure("work", Unit::Instructions, work);
    figures.extend([
        if size == 1 { work } else { work.unsteady() },
        figure("heap", Unit::Allocations, Runs::once(counted.allocations / records)),
    ]);
    let usage = measure_usage(&subject, size)?;
    figures.extend([
        figure("writes", Unit::Units, Runs::once(usage.meter.units.write / records)),
        figure("reads", Unit::Units, Runs::once(usage.meter.units.read / records)),
        figure("queue", Unit::Requests, Runs::once(usage.queue(1) / records)),
        figure("log", Unit::Bytes, Runs::once(usage.printed / records)),
    ]);
    Ok(figures)
}

/// Resource use of a warm invocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) meter: Meter,
    /// Bytes of log output.
    pub(crate) printed: f64,
}

impl Usage {
    /// Number of queue requests: the function's own, and two by Lambda for each batch, to receive
    /// and to delete it.
    pub(crate) fn queue(&self, batches: u32) -> f64 {
        count(self.meter.of("sqs.")) + 2.0 * f64::from(batches)
    }

    /// Number of requests whose operation starts with `prefix`.
    pub(crate) fn of(&self, prefix: &str) -> f64 {
        count(self.meter.of(prefix))
    }
}

fn count(requests: u64) -> f64 {
    f64::from(u32::try_from(requests).unwrap_or(u32::MAX))
}

/// Measures a warm invocation that processes the customers' second messages.
pub(crate) fn measure_usage(subject: &Subject<'_>, size: u32) -> Result<Usage> {
    let mut sandbox = Sandbox::start(&subject.program)?;
    sandbox.ready()?;
    subject.invoke(&mut sandbox)?;
    subject.world.cloud.take();
    let before = sandbox.printed()?;
    // The next messages of the same customers, whose conversations exist.
    let next = if is_batch(&subject.event) {
        batch(&subject.event, size, 1)?
    } else {
        subject.event.to_vec()
    };
    let answer = sandbox.invoke(&Arc::new(next))?.answer;
    subject.function.check(&answer)?;
    let (meter, unknown) = subject.world.cloud.take();
    if let Some(unknown) = unknown.first() {
        return Err(Error::step(&subject.function.name, format!("unexpected request: {unknown}")));
    }
    let printed = u32::try_from(sandbox.printed()? - before).unwrap_or(u32::MAX);
    Ok(Usage { meter, printed: f64::from(printed) })
}

fn is_batch(event: &[u8]) -> bool {
    event.windows(9).any(|window| window == b"\"Records\"")
}

/// Creates a batch of `size` records from the first of `event`, with different customers and
/// messages. Each `round` has different messages of the same customers.
pub(crate) fn batch(event: &[u8], size: u32, round: u32) -> Result<Vec<u8>> {
    let mut event: Value = serde_json::from_slice(event)?;
    let records = event.get_mut("Records").and_then(Value::as_array_mut);
    let records = records.ok_or_else(|| Error::step("batch", "the event is not a batch"))?;
    let first = records.first().ok_or_else(|| Error::step("batch", "the batch is empty"))?;
    let first = first.to_string();
    *records = (0..size).map(|place| copy(&first, place, round)).collect::<Result<_>>()?;
    Ok(serde_json::to_vec(&event)?)
}

/// Copies a record with different ids of the same length.
fn copy(record: &str, place: u32, round: u32) -> Result<Value> {
    let message = place + 100 * round;
    let changed = record
        .replace(
            "00000000-0000-4000-8000-000000000000",
            &format!("00000000-0000-4000-8000-{message:012}"),
        )
        .replace("receipt-0", &format!("receipt-{message}"))
        .replace("example-0", &format!("example-{message}"))
        .replace("5550009999", &format!("5550{place:06}"))
        .replace("wamid.TEXT", &format!("wamid.TEXT{message:04}"))
        .replace("wamid.OUT", &format!("wamid.OUT{message:04}"));
    let changed = renumbered(&changed, "conv_", place);
    let changed = renumbered(&changed, "msg_", message);
    Ok(serde_json::from_str(&renumbered(&changed, "ntf_", message))?)
}

/// Replaces the end of each id with this prefix by a number.
fn renumbered(text: &str, prefix: &str, number: u32) -> String {
    /// Length of an id after its prefix.
    const LENGTH: usize = 26;
    let mut parts = text.split(prefix);
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        changed.push_str(prefix);
        match (part.get(..LENGTH - 4), part.get(LENGTH..)) {
            (Some(id), Some(rest)) if id.bytes().all(|c| c.is_ascii_alphanumeric()) => {
                let _written = write!(changed, "{id}{number:04}{rest}");
            }
            _ => changed.push_str(part),
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_different_customers_and_a_round_different_messages() {
        let event = br#"{"Records":[{"messageId":"00000000-0000-4000-8000-000000000000",
            "body":"{\"id\":\"wamid.TEXT\",\"from\":\"4915550009999\"}"}]}"#;
        let bodies = |round| {
            let event: Value = serde_json::from_slice(&batch(event, 2, round).unwrap()).unwrap();
            let records = event["Records"].as_array().unwrap().clone();
            records.iter().map(|r| r["body"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            bodies(0),
            [
                r#"{"id":"wamid.TEXT0000","from":"4915550000000"}"#,
                r#"{"id":"wamid.TEXT0001","from":"4915550000001"}"#,
            ]
        );
        assert_eq!(bodies(1)[1], r#"{"id":"wamid.TEXT0101","from":"4915550000001"}"#);
    }

    #[test]
    fn ids_of_one_type_are_renumbered() {
        let text = "a msg_01M7WD7TG02AT5KWJJMQWTVVXM, conv_01M7WD7TG02AT5KWJJMQWTVVXM, msg_short";
        assert_eq!(
            renumbered(text, "msg_", 7),
            "a msg_01M7WD7TG02AT5KWJJMQWT0007, conv_01M7WD7TG02AT5KWJJMQWTVVXM, msg_short"
        );
    }

    #[test]
    fn receiving_and_deleting_a_batch_are_counted() {
        let mut usage = Usage::default();
        usage.meter.requests.insert("sqs.SendMessageBatch".to_owned(), 10);
        usage.meter.requests.insert("s3.PutObject".to_owned(), 1);
        assert!((usage.queue(1) - 12.0).abs() < 1e-9);
    }
}
