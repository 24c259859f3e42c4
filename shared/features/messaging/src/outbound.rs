//! Outbound queues and their records.

use std::collections::BTreeMap;

use domain::Provider;
use domain::failpoint::{self, Failpoint};
use domain::ports::{PortResult, Record};
use domain::task::{OutboundAction, OutboundTask, SendTask, VERSION};
use queue::{Bucket, SqsQueue};
use runtime::{AwsEnv, Error, Kit};

/// Outbound queues, one per provider.
#[derive(Debug)]
pub struct Outbound<P>(BTreeMap<Provider, P>);

impl<P> Outbound<P> {
    /// Creates the collection from queues.
    pub fn of_all(queues: impl IntoIterator<Item = (Provider, P)>) -> Self {
        Self(queues.into_iter().collect())
    }

    /// Returns the outbound queue of `provider`, if the hub sends through it.
    pub(crate) fn of(&self, provider: Provider) -> Option<&P> {
        self.0.get(&provider)
    }

    /// Returns any of the queues.
    pub(crate) fn any(&self) -> Option<&P> {
        self.0.values().next()
    }
}

/// The environment variable with the URL of every outbound queue up to the provider's name.
const PREFIX: &str = "OUTBOUND_QUEUE_PREFIX";

impl Outbound<SqsQueue> {
    /// Returns the queues of all providers.
    pub(crate) fn new<E: AwsEnv>(kit: &Kit<E>, bucket: Option<&Bucket>) -> Result<Self, Error> {
        Self::opened(kit, bucket, Provider::senders())
    }

    /// Returns the queues of the providers that messages can fail over to from `provider`. They
    /// have no bucket, because messages that are handed over are small.
    pub(crate) fn failover<E: AwsEnv>(kit: &Kit<E>, provider: Provider) -> Result<Self, Error> {
        let reached = Provider::senders().filter(|other| provider.shares_channel_with(*other));
        Self::opened(kit, None, reached)
    }

    fn opened<E: AwsEnv>(
        kit: &Kit<E>,
        bucket: Option<&Bucket>,
        providers: impl Iterator<Item = Provider>,
    ) -> Result<Self, Error> {
        let prefix = kit.var(PREFIX)?;
        let queue = |provider: Provider| {
            (provider, kit.queue_at(provider.outbound_queue_url(&prefix), bucket))
        };
        Ok(Self::of_all(providers.map(queue)))
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
