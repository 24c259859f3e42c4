//! Outbound queues and their records.

use std::collections::BTreeMap;

use domain::Provider;
use domain::failpoint::{self, Failpoint};
use domain::ports::{PortResult, Publisher, Record};
use domain::task::{OutboundAction, OutboundTask, SendTask, VERSION};
use queue::{Bucket, SqsQueue};
use runtime::{Error, Kit};

/// Outbound queues by provider.
pub trait OutboundQueues: Send + Sync {
    /// Queue type.
    type Queue: Publisher;

    /// Returns the outbound queue of `provider`, if the hub sends through it.
    fn of(&self, provider: Provider) -> Option<&Self::Queue>;
}

/// Outbound queues, one per provider.
#[derive(Debug)]
pub struct Outbound<P>(BTreeMap<Provider, P>);

impl<P> Outbound<P> {
    /// Creates the collection from queues.
    pub fn of_all(queues: impl IntoIterator<Item = (Provider, P)>) -> Self {
        Self(queues.into_iter().collect())
    }

    /// Returns any of the queues.
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
    /// Returns the queues in the environment variables `OUTBOUND_<PROVIDER>_QUEUE_URL`. A function
    /// has those of the providers that it may send to: a sender only fails over within a channel.
    pub(crate) fn new<N, C, R>(kit: &Kit<N, C, R>, bucket: Option<&Bucket>) -> Result<Self, Error> {
        let queues = Provider::senders()
            .map(|provider| (provider, provider.queue_variable()))
            .filter(|(_, variable)| kit.environment.optional(variable).is_some())
            .map(|(provider, variable)| Ok((provider, kit.queue(&variable, bucket)?)));
        queues.collect::<Result<_, Error>>().map(Self)
    }
}

/// Returns the queue record that sends a message. It is deduplicated by message id and failover
/// generation.
pub(crate) fn record(task: SendTask) -> PortResult<Record> {
    let (group, id, generation) =
        (task.message.conversation, task.message.id, task.failover.generation);
    let job = OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task)) };
    Ok(Record {
        body: serde_json::to_string(&job).map_err(|_| runtime::unwritable())?,
        group: if failpoint::is_active(Failpoint::GroupPerMessage) {
            id.to_string()
        } else {
            group.to_string()
        },
        deduplication_id: if generation == 0 {
            id.to_string()
        } else {
            format!("{id}:{generation}")
        },
        ..Record::default()
    })
}
