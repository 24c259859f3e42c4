//! AWS requests of a message in all functions, counted with batches of ten.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    Bench,
    error::{Error, Result},
    figure::{Figure, Goal, Unit},
    functions::{Function, named},
    records::{Usage, batch, measure_usage},
    stats::Runs,
    world::Subject,
};

/// Largest batch of an SQS event source.
pub(crate) const FULL: u32 = 10;

/// Resource use per record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Needs {
    pub(crate) invocations: f64,
    pub(crate) writes: f64,
    pub(crate) reads: f64,
    /// Requests to FIFO queues, including the receive and the delete.
    pub(crate) fifo: f64,
    /// Requests to standard queues.
    pub(crate) standard: f64,
    /// S3 objects written.
    pub(crate) objects: f64,
    /// Bytes of log output.
    pub(crate) log: f64,
}

impl Needs {
    fn plus(self, other: Self) -> Self {
        Self {
            invocations: self.invocations + other.invocations,
            writes: self.writes + other.writes,
            reads: self.reads + other.reads,
            fifo: self.fifo + other.fifo,
            standard: self.standard + other.standard,
            objects: self.objects + other.objects,
            log: self.log + other.log,
        }
    }

    pub(crate) const fn queue(self) -> f64 {
        self.fifo + self.standard
    }
}

/// Resource use of an inbound message, an outbound message, a receipt, and the notifications.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flows {
    pub(crate) inbound: Needs,
    pub(crate) outbound: Needs,
    pub(crate) receipt: Needs,
    /// Notification of a message, with its conversation.
    pub(crate) notification: Needs,
    /// Notification of a receipt.
    pub(crate) status: Needs,
}

/// Type of a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queue {
    Fifo,
    Standard,
}

/// A request to a function: the function's name, the event, and text that the response must contain.
type Request = (&'static str, &'static str, &'static str);

/// The requests of an inbound message, an outbound message and a receipt.
pub(crate) const REQUESTS: [Request; 3] = [
    ("webhook-whatsapp", "whatsapp/text", "\"statusCode\":200"),
    ("api-messages", "api-messages/send_text", "\"statusCode\":202"),
    ("webhook-whatsapp", "whatsapp/failed", "\"statusCode\":200"),
];

/// The function with the event of the request.
pub(crate) fn function((name, event, answer): Request) -> Result<Function> {
    Ok(named(name)?.on(event, answer))
}

/// Measures each flow, with `size` records in a batch.
pub(crate) fn flows(bench: &Bench, size: u32) -> Result<Flows> {
    let edge = |request: Request, to: Queue| {
        let function = function(request)?;
        let event = function.event(&bench.paths)?;
        needs(bench, &function, event, None, to)
    };
    let worker = |name: &str, from: Queue| {
        let function = named(name)?;
        let event = Arc::new(batch(&function.event(&bench.paths)?, size, 0)?);
        needs(bench, &function, event, Some((size, from)), Queue::Standard)
    };
    let automation = named("consumer-automation")?;
    let status = Arc::new(batch(&as_status(&automation.event(&bench.paths)?)?, size, 0)?);
    let [inbound, outbound, receipt] = REQUESTS;
    Ok(Flows {
        inbound: edge(inbound, Queue::Fifo)?.plus(worker("consumer-inbound", Queue::Fifo)?),
        outbound: edge(outbound, Queue::Fifo)?.plus(worker("sender-whatsapp", Queue::Fifo)?),
        receipt: edge(receipt, Queue::Standard)?
            .plus(worker("consumer-receipts", Queue::Standard)?),
        notification: worker("consumer-automation", Queue::Standard)?,
        status: needs(bench, &automation, status, Some((size, Queue::Standard)), Queue::Standard)?,
    })
}

/// Turns the notification of a message into one of a receipt, which has no conversation.
fn as_status(event: &[u8]) -> Result<Vec<u8>> {
    let mut event: Value = serde_json::from_slice(event)?;
    let wrong = || Error::step("notification", "the event is not in the expected format");
    let body = event.pointer_mut("/Records/0/body").ok_or_else(wrong)?;
    let mut job: Value = serde_json::from_str(body.as_str().unwrap_or_default())?;
    let kind = job.pointer_mut("/notification/type").ok_or_else(wrong)?;
    *kind = "message.status".into();
    let data =
        job.pointer_mut("/notification/data").and_then(Value::as_object_mut).ok_or_else(wrong)?;
    data.remove("conversation");
    *body = job.to_string().into();
    Ok(serde_json::to_vec(&event)?)
}

/// Resource use per record or request. `from` is the queue and the batch size of the function's
/// event source, and `to` is the type of the queue that the function sends to.
fn needs(
    bench: &Bench,
    function: &Function,
    event: Arc<Vec<u8>>,
    from: Option<(u32, Queue)>,
    to: Queue,
) -> Result<Needs> {
    let subject = Subject { event, ..bench.subject(function, &bench.plain)? };
    let usage = measure_usage(&subject, from.map_or(1, |(size, _)| size))?;
    Ok(per_record(&usage, from, to))
}

/// Divides the resource use of a batch by its records.
fn per_record(usage: &Usage, from: Option<(u32, Queue)>, to: Queue) -> Needs {
    let records = f64::from(from.map_or(1, |(size, _)| size));
    let mut needs = Needs {
        invocations: 1.0 / records,
        writes: usage.meter.units.write / records,
        reads: usage.meter.units.read / records,
        fifo: 0.0,
        standard: 0.0,
        objects: usage.of("s3.") / records,
        log: usage.printed / records,
    };
    let mut add = |queue: Queue, requests: f64| match queue {
        Queue::Fifo => needs.fifo += requests / records,
        Queue::Standard => needs.standard += requests / records,
    };
    add(to, usage.queue(0));
    if let Some((_, queue)) = from {
        // Lambda receives the batch and deletes it.
        add(queue, 2.0);
    }
    needs
}

/// Figures of each flow.
pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let flows = flows(bench, FULL)?;
    bench.note(
        "Queue requests include two by Lambda for each batch, to receive and to delete it. \
         Capacity units follow from the sizes of the items. The customer has already written this \
         hour.",
    );
    let mut figures = Vec::new();
    for (subject, needs, writes, reads) in [
        ("a message in", flows.inbound, Some(4.0), Some(2.0)),
        ("a message out", flows.outbound, None, None),
        ("a receipt", flows.receipt, None, None),
        ("a notification of a message", flows.notification, None, None),
        ("a notification of a receipt", flows.status, None, None),
    ] {
        let figure = |name: &str, unit, value| Figure::new(subject, name, unit, Runs::once(value));
        let goal = |figure: Figure, most: Option<f64>| match most {
            Some(most) => figure.with(Goal::AtMost(most)),
            None => figure,
        };
        figures.extend([
            goal(figure("writes", Unit::Units, needs.writes), writes),
            goal(figure("reads", Unit::Units, needs.reads), reads),
            figure("queues", Unit::Requests, needs.queue()).with(Goal::AtMost(3.0)),
            figure("objects", Unit::Requests, needs.objects),
            figure("log", Unit::Bytes, needs.log),
        ]);
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_its_share_of_its_batch() {
        let mut usage = Usage { printed: 5000.0, ..Usage::default() };
        usage.meter.units.write = 40.0;
        usage.meter.requests.insert("sqs.SendMessageBatch".to_owned(), 10);
        usage.meter.requests.insert("s3.PutObject".to_owned(), 1);
        let needs = per_record(&usage, Some((10, Queue::Fifo)), Queue::Standard);
        let expected = Needs {
            invocations: 0.1,
            writes: 4.0,
            fifo: 0.2,
            standard: 1.0,
            objects: 0.1,
            log: 500.0,
            ..Needs::default()
        };
        assert_eq!(needs, expected);
        assert!((needs.plus(needs).queue() - 2.4).abs() < 1e-9);
    }
}
