//! Consumer of inbound messages: stores the message, its conversation and its media, and notifies
//! the tenant or queues a job.

use domain::MessageId;
use domain::automation::{Automation, Notification, NotificationData, NotificationKind};
use domain::content::{Content, Media};
use domain::conversation::{Contact, Conversation, Parties};
use domain::event::{EventKind, InboundEvent, InboundMessage};
use domain::failpoint::{self, Failpoint};
use domain::fault::Fault;
use domain::message::{Direction, Message, Status, Step};
use domain::ports::{
    Archive, Automations, Clock, Inbox, JobIntake, MediaLog, MediaShelf, MediaState, PortResult,
    Publisher, Record, Recorded, Rng,
};
use domain::pull::Job;
use domain::task::{MediaTask, NotificationTask, VERSION};
use queue::{Bucket, SqsQueue};
use store::DynamoStore;

use crate::batch::{Failure, ReceiveContext, Worker};
use crate::telemetry::{self, Metric};
use crate::{Consumer, Error, Kit};

/// Maximum size of a content in the table: an item may have 400 KB, and a notification with the
/// content must fit into a queue record. A larger content is stored as the message's media.
const MAX_CONTENT_BYTES: usize = 150 * 1024;

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct Inbound<S, A, P> {
    /// DynamoDB table.
    pub store: S,
    /// Archive of raw events, and storage for contents that are too large for the table.
    pub bucket: A,
    /// Notification queue.
    pub automation: P,
    /// Queue of media to download.
    pub media: P,
}

impl<S, A, P> Worker for Inbound<S, A, P>
where
    S: Inbox + Automations + MediaLog + JobIntake,
    A: Archive + MediaShelf,
    P: Publisher,
{
    type Task = InboundEvent;

    async fn process_batch(&self, tasks: &[&InboundEvent]) -> Result<(), Failure> {
        let archived = archive(&self.bucket, tasks).await;
        if failpoint::is_active(Failpoint::ArchiveSkipped) { Ok(()) } else { archived }
    }

    async fn work(&self, event: &InboundEvent, context: ReceiveContext<'_>) -> Result<(), Failure> {
        let EventKind::Message(inbound) = &event.kind else {
            let reason = "the queue accepts only messages".to_owned();
            return Err(Failure { fault: Fault::Permanent, reason, wait: None });
        };
        let Some(parties) = event.parties(inbound) else {
            let reason = "the provider has no message channel".to_owned();
            return Err(Failure { fault: Fault::Permanent, reason, wait: None });
        };
        let (message, file) = message(event, inbound, &parties)?;
        let conversation = conversation(event, inbound, &parties);
        if let Some(file) = &file {
            let key = self.bucket.key(&event.tenant, message.id);
            let bytes = bytes::Bytes::copy_from_slice(file.as_bytes());
            self.bucket.put(&key, Some("application/json"), bytes).await?;
        }
        // Store the message first: it is the deduplication record. Everything after it is
        // idempotent, so a crash in between loses nothing.
        let recorded = match self.store.record(&message).await {
            Err(_) if failpoint::is_active(Failpoint::DoneBeforeTheWrite) => return Ok(()),
            recorded => recorded?,
        };
        if recorded == Recorded::New {
            telemetry::count(Metric::MessageReceived, event.provider.as_str(), 1);
        }
        tracing::info!(
            tenant = %event.tenant, message_id = %message.id, conversation = %message.conversation,
            kind = message.content.kind(), new = recorded == Recorded::New, "message received"
        );
        if recorded == Recorded::Duplicate
            && failpoint::is_active(Failpoint::EffectSkippedOnDuplicate)
        {
            return Ok(());
        }
        if file.is_some() {
            let key = self.bucket.key(&event.tenant, message.id);
            let state = MediaState::Stored { key };
            self.store.set_media(&event.tenant, message.id, &state).await?;
        }
        let (conversation, automation) = futures::join!(
            self.store.touch(&conversation, context.now),
            self.store.automation(&event.tenant),
        );
        let (conversation, automation) = (conversation?, automation?);
        let (dispatched, fetched) = futures::join!(
            self.dispatch(&automation, &message, conversation),
            queue_media(&self.media, event, &message),
        );
        dispatched?;
        if failpoint::is_active(Failpoint::FileForgotten) { Ok(()) } else { Ok(fetched?) }
    }
}

impl<S: JobIntake, A, P: Publisher> Inbound<S, A, P> {
    /// Dispatches the message to the tenant's automation: as a notification or as a job.
    async fn dispatch(
        &self,
        automation: &Automation,
        message: &Message,
        conversation: Conversation,
    ) -> PortResult<()> {
        if let Automation::Pull(pull) = automation {
            let task = Job::new(message, pull.time_to_live());
            let queued = self.store.queue_job(&task).await?;
            let new = queued == Recorded::New;
            tracing::info!(tenant = %task.tenant, job_id = %task.id, new, "job queued");
            return Ok(());
        }
        let data = NotificationData {
            tenant: message.tenant.clone(),
            message: message.clone(),
            conversation: Some(conversation),
            job: None,
        };
        notify(&self.automation, automation, NotificationKind::MessageReceived, data).await
    }
}

/// Archives the raw events of a batch: one object per tenant and provider.
pub(crate) async fn archive<A: Archive>(
    archive: &A,
    events: &[&InboundEvent],
) -> Result<(), Failure> {
    let mut remaining: Vec<&InboundEvent> = events.to_vec();
    let mut objects = Vec::new();
    while let Some(first) = remaining.first().copied() {
        let in_object = |event: &&InboundEvent| {
            event.tenant == first.tenant && event.provider == first.provider
        };
        let lines =
            remaining.iter().filter(|event| in_object(event)).map(|event| archive_line(event));
        let lines = lines.collect::<Result<Vec<String>, Failure>>()?;
        objects.push(async move {
            archive.keep(&first.tenant, first.provider, first.received_at, &lines).await
        });
        remaining.retain(|event| !in_object(event));
    }
    futures::future::try_join_all(objects).await?;
    Ok(())
}

/// Returns an event as one line of JSON, complete, so that it can be replayed. Line breaks occur
/// only between the tokens of the raw event, never inside its strings.
fn archive_line(event: &InboundEvent) -> Result<String, Failure> {
    let line = serde_json::to_string(event)
        .map_err(|_| Failure::retry("the event cannot be written as JSON"))?;
    Ok(if line.contains(['\n', '\r']) { line.replace(['\n', '\r'], " ") } else { line })
}

/// Returns the message of an event, and its content as a file if it is too large for the table.
fn message(
    event: &InboundEvent,
    inbound: &InboundMessage,
    parties: &Parties<'_>,
) -> Result<(Message, Option<String>), Failure> {
    let id = message_id(event, &inbound.provider_message_id);
    let content = serde_json::to_string(&inbound.content)
        .map_err(|_| Failure::retry("the content cannot be written as JSON"))?;
    let (content, file) = if content.len() > MAX_CONTENT_BYTES {
        let media = Media {
            mime_type: Some("application/json".to_owned()),
            filename: Some(format!("{}.json", inbound.content.kind())),
            size: Some(content.len() as u64),
            ..Media::default()
        };
        (Content::Document { media }, Some(content))
    } else {
        (inbound.content.clone(), None)
    };
    let content = with_media_url(content, id);
    let message = Message {
        id,
        tenant: event.tenant.clone(),
        conversation: parties.conversation(),
        channel: parties.channel,
        provider: event.provider,
        integration: event.integration,
        direction: Direction::Inbound,
        content,
        status: Status::Received,
        provider_message_id: Some(inbound.provider_message_id.clone()),
        reply_to: inbound.reply_to.clone(),
        created_at: if failpoint::is_active(Failpoint::PlaceByTheirClock) {
            event.occurred_at
        } else {
            event.received_at
        },
        occurred_at: event.provider_time(),
        history: vec![Step::plain(Status::Received, event.received_at)],
    };
    Ok((message, file))
}

/// Sets the URL at which the hub serves the message's media.
fn with_media_url(mut content: Content, id: MessageId) -> Content {
    if let Content::Image { media }
    | Content::Video { media }
    | Content::Audio { media }
    | Content::Document { media }
    | Content::Sticker { media } = &mut content
    {
        media.url = Some(format!("/messages/{id}/media"));
    }
    content
}

/// Returns the message id, which is the same for each redelivery and so deduplicates messages.
pub(crate) fn message_id(event: &InboundEvent, provider_message_id: &str) -> MessageId {
    let parts =
        [event.tenant.as_str(), event.provider.as_str(), &event.account, provider_message_id];
    if event.ingested || has_no_integration(event) {
        // A program may send another time when it retries.
        return MessageId::derived(&parts);
    }
    let at = if failpoint::is_active(Failpoint::IdFromTheClock) {
        event.received_at
    } else {
        event.identity_time()
    };
    MessageId::derived_at(at, &parts)
}

/// Returns whether a message has no integration: then no provider has verified its sender.
fn has_no_integration(event: &InboundEvent) -> bool {
    event.integration == crate::api::inbound::ingest_integration(&event.tenant)
}

fn conversation(
    event: &InboundEvent,
    inbound: &InboundMessage,
    parties: &Parties<'_>,
) -> Conversation {
    let verified = !has_no_integration(event);
    Conversation {
        id: parties.conversation(),
        tenant: event.tenant.clone(),
        channel: parties.channel,
        provider: event.provider,
        integration: event.integration,
        account: parties.account.to_owned(),
        contact: Contact {
            id: parties.contact(),
            address: inbound.from.clone(),
            name: inbound.name.clone(),
        },
        created_at: event.received_at,
        last_activity_at: event.received_at,
        // Some events have no time. An unverified message opens no service window, not even that
        // of an integration that gets the account later.
        last_inbound_at: verified.then(|| event.provider_time().unwrap_or(event.received_at)),
        last_inbound_message: verified.then(|| inbound.provider_message_id.clone()),
    }
}

/// Queues a notification, if the tenant has a webhook endpoint.
pub(crate) async fn notify<P: Publisher>(
    queue: &P,
    automation: &Automation,
    kind: NotificationKind,
    data: NotificationData,
) -> PortResult<()> {
    if automation.listener().is_none() {
        return Ok(());
    }
    let id = data.notification_id(kind);
    let timestamp = data.message.history.last().map_or(data.message.created_at, |step| step.at);
    let tenant = data.tenant.clone();
    let group = tenant.to_string();
    let notification = Some(Box::new(Notification { kind, timestamp, data }));
    let task = NotificationTask { v: VERSION, id, tenant, notification };
    let body = serde_json::to_string(&task).map_err(|_| crate::unwritable())?;
    let deduplication_id = id.to_string();
    queue.publish(vec![Record { body, group, deduplication_id, ..Record::default() }]).await
}

/// Queues the download of the message's media, if the provider has any.
async fn queue_media<P: Publisher>(
    queue: &P,
    event: &InboundEvent,
    message: &Message,
) -> PortResult<()> {
    let Some(media) = message.content.media() else { return Ok(()) };
    let Some(provider_media_id) = media.provider_media_id.clone() else { return Ok(()) };
    let task = MediaTask {
        v: VERSION,
        tenant: event.tenant.clone(),
        message: message.id,
        integration: event.integration,
        provider_media_id,
        mime_type: media.mime_type.clone(),
    };
    let body = serde_json::to_string(&task).map_err(|_| crate::unwritable())?;
    let group = event.tenant.to_string();
    let deduplication_id = message.id.to_string();
    queue.publish(vec![Record { body, group, deduplication_id, ..Record::default() }]).await
}

/// The worker with its production dependencies.
pub type OwnInbound = Inbound<DynamoStore, Bucket, SqsQueue>;

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<N, C: Clock + Clone, R: Rng + Clone>(
    kit: &Kit<N, C, R>,
) -> Result<Consumer<OwnInbound, C, R>, Error> {
    let bucket = kit.bucket()?;
    bucket.prepare();
    let worker = Inbound {
        store: kit.store()?,
        automation: kit.queue("AUTOMATION_QUEUE_URL", Some(&bucket))?,
        // A media id is small and never needs the bucket.
        media: kit.queue("MEDIA_QUEUE_URL", None)?,
        bucket,
    };
    crate::consumer(kit, worker, 12, false)
}

/// Serves the consumer until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let consumer = consumer(&kit)?;
        consumer.worker.store.prewarm().await;
        crate::consume(consumer).await
    })
}
