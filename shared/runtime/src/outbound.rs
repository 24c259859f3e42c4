//! The senders' queues, and what is put into them.

use std::collections::BTreeMap;

use domain::Provider;
use domain::failpoint::{self, Failpoint};
use domain::job::{OutboundJob, OutboundTask, SendTask, VERSION};
use domain::ports::{PortResult, Publisher, Record};
use queue::{Bucket, SqsQueue};

use crate::{Error, Kit};

/// Finds a provider's queue.
pub trait OutboundQueues: Send + Sync {
    /// The kind of queue.
    type Queue: Publisher;

    /// The queue of `provider`'s sender, if the hub sends through it.
    fn of(&self, provider: Provider) -> Option<&Self::Queue>;
}

/// The senders' queues, one a provider.
#[derive(Debug)]
pub struct Outbound<P>(BTreeMap<Provider, P>);

impl<P> Outbound<P> {
    /// These queues.
    pub fn of_all(queues: impl IntoIterator<Item = (Provider, P)>) -> Self {
        Self(queues.into_iter().collect())
    }

    /// Any of them.
    pub(crate) fn any(&self) -> Option<&P> {
        self.0.values().next()
    }
}

impl<P: Publisher> OutboundQueues for Outbound<P> {
    type Queue = P;

    fn of(&self, provider: Provider) -> Option<&P> {
        self.0.get(&provider)
    }
}

impl Outbound<SqsQueue> {
    /// The queues the environment names: `OUTBOUND_<PROVIDER>_QUEUE_URL` for each provider
    /// through whom the hub sends.
    pub(crate) fn new<N, C, R>(kit: &Kit<N, C, R>, bucket: Option<&Bucket>) -> Result<Self, Error> {
        let queues = Provider::senders()
            .map(|provider| Ok((provider, kit.queue(&provider.queue_variable(), bucket)?)));
        queues.collect::<Result<_, Error>>().map(Self)
    }
}

/// The record that asks a sender to send a message. One of each hop is enough.
pub(crate) fn record(task: SendTask) -> PortResult<Record> {
    let (group, id, hop) = (task.message.conversation, task.message.id, task.relay.hop);
    let job = OutboundJob { v: VERSION, task: OutboundTask::Send(Box::new(task)) };
    Ok(Record {
        body: serde_json::to_string(&job).map_err(|_| crate::unwritable())?,
        group: if failpoint::is_active(Failpoint::GroupPerMessage) {
            id.to_string()
        } else {
            group.to_string()
        },
        deduplication_id: if hop == 0 { id.to_string() } else { format!("{id}:{hop}") },
        ..Record::default()
    })
}
