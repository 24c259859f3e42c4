//! What a message asks of AWS on its whole way: counted, at a batch of ten.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    Bench,
    error::{Error, Result},
    figure::{Figure, Goal, Unit},
    functions::{Function, named},
    records::{Asked, asked, batch},
    stats::Runs,
    world::Subject,
};

/// As many records as a queue gives at once.
pub(crate) const FULL: u32 = 10;

/// What one of something asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Needs {
    pub(crate) invocations: f64,
    pub(crate) writes: f64,
    pub(crate) reads: f64,
    /// Requests to queues that keep an order, fetching and deleting included.
    pub(crate) fifo: f64,
    /// Requests to other queues.
    pub(crate) standard: f64,
    /// Objects written.
    pub(crate) objects: f64,
    /// Bytes of log.
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

/// A message in, one out, a receipt, and what the automation is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ways {
    pub(crate) inbound: Needs,
    pub(crate) outbound: Needs,
    pub(crate) receipt: Needs,
    /// A notice of a message, with its conversation.
    pub(crate) notice: Needs,
    /// A notice of a receipt.
    pub(crate) status: Needs,
}

/// Whether a queue keeps an order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queue {
    Fifo,
    Standard,
}

/// What each way asks for, with `size` records a batch.
pub(crate) fn ways(bench: &Bench, size: u32) -> Result<Ways> {
    let edge = |name: &str, event: &'static str, answer: &'static str, to: Queue| {
        let function = named(name)?.on(event, answer);
        let event = function.event(&bench.places)?;
        needs(bench, &function, event, None, to)
    };
    let worker = |name: &str, from: Queue| {
        let function = named(name)?;
        let event = Arc::new(batch(&function.event(&bench.places)?, size, 0)?);
        needs(bench, &function, event, Some((size, from)), Queue::Standard)
    };
    let taken = "\"statusCode\":200";
    let notices = named("consumer-automation")?;
    let status = Arc::new(batch(&of_a_status(&notices.event(&bench.places)?)?, size, 0)?);
    Ok(Ways {
        inbound: edge("webhook-whatsapp", "whatsapp/text", taken, Queue::Fifo)?
            .plus(worker("consumer-inbound", Queue::Fifo)?),
        outbound: edge(
            "api-messages",
            "api-messages/send_text",
            "\"statusCode\":202",
            Queue::Fifo,
        )?
        .plus(worker("sender-whatsapp", Queue::Fifo)?),
        receipt: edge("webhook-whatsapp", "whatsapp/failed", taken, Queue::Standard)?
            .plus(worker("consumer-receipts", Queue::Standard)?),
        notice: worker("consumer-automation", Queue::Standard)?,
        status: needs(bench, &notices, status, Some((size, Queue::Standard)), Queue::Standard)?,
    })
}

/// A notice of a message as a notice of a receipt, which tells no conversation.
fn of_a_status(event: &[u8]) -> Result<Vec<u8>> {
    let mut event: Value = serde_json::from_slice(event)?;
    let wrong = || Error::step("notice", "the event is not in the expected shape");
    let body = event.pointer_mut("/Records/0/body").ok_or_else(wrong)?;
    let mut job: Value = serde_json::from_str(body.as_str().unwrap_or_default())?;
    let kind = job.pointer_mut("/notice/type").ok_or_else(wrong)?;
    *kind = "message.status".into();
    let data = job.pointer_mut("/notice/data").and_then(Value::as_object_mut).ok_or_else(wrong)?;
    data.remove("conversation");
    *body = job.to_string().into();
    Ok(serde_json::to_vec(&event)?)
}

/// What one record or request asks for: `from` is the queue it comes out of, `to` the kind of
/// queue the function puts something into.
fn needs(
    bench: &Bench,
    function: &Function,
    event: Arc<Vec<u8>>,
    from: Option<(u32, Queue)>,
    to: Queue,
) -> Result<Needs> {
    let subject = Subject { event, ..bench.subject(function, &bench.plain)? };
    let asked = asked(&subject, from.map_or(1, |(size, _)| size))?;
    Ok(shared(&asked, from, to))
}

/// Each record's part of what its batch asked for.
fn shared(asked: &Asked, from: Option<(u32, Queue)>, to: Queue) -> Needs {
    let records = f64::from(from.map_or(1, |(size, _)| size));
    let mut needs = Needs {
        invocations: 1.0 / records,
        writes: asked.meter.units.write / records,
        reads: asked.meter.units.read / records,
        fifo: 0.0,
        standard: 0.0,
        objects: asked.of("s3.") / records,
        log: asked.printed / records,
    };
    let mut add = |queue: Queue, requests: f64| match queue {
        Queue::Fifo => needs.fifo += requests / records,
        Queue::Standard => needs.standard += requests / records,
    };
    add(to, asked.queue(0));
    if let Some((_, queue)) = from {
        // Lambda fetches the batch and deletes it.
        add(queue, 2.0);
    }
    needs
}

/// The figures of each way.
pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let ways = ways(bench, FULL)?;
    bench.note(
        "Requests to queues include Lambda's own two a batch, to fetch and to delete it; units \
         are by the items' sizes; a message comes from a person who wrote this hour already.",
    );
    let mut figures = Vec::new();
    for (subject, needs, writes, reads) in [
        ("a message in", ways.inbound, Some(4.0), Some(2.0)),
        ("a message out", ways.outbound, None, None),
        ("a receipt", ways.receipt, None, None),
        ("a notice of a message", ways.notice, None, None),
        ("a notice of a receipt", ways.status, None, None),
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
    fn a_record_has_its_part_of_its_batch() {
        let mut asked = Asked { printed: 5000.0, ..Asked::default() };
        asked.meter.units.write = 40.0;
        asked.meter.requests.insert("sqs.SendMessageBatch".to_owned(), 10);
        asked.meter.requests.insert("s3.PutObject".to_owned(), 1);
        let needs = shared(&asked, Some((10, Queue::Fifo)), Queue::Standard);
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
