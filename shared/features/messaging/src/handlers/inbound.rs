//! Consumer of inbound messages: stores the message, its conversation and its media, and notifies
//! the tenant or queues a job.

use accounts::model::automation::Automation;
use accounts::ports::Automations;
use domain::content::{Content, Media};
use domain::conversation::{Contact, Conversation, Parties};
use domain::event::{EventKind, InboundEvent, InboundMessage};
use domain::failpoint::{self, Failpoint};
use domain::fault::Fault;
use domain::message::{Direction, Message, Status, Step};
use domain::notification::{NotificationData, NotificationKind};
use domain::ports::{MediaStore, PortResult, Publisher, Record, Recorded};
use domain::task::{MediaTask, VERSION};
use domain::{IntegrationId, JobId, MessageId, TenantId};
use runtime::batch::{Failure, ReceiveContext, Worker};
use runtime::telemetry::{self, Metric};
use runtime::{AwsEnv, Consumer, Env, Error, FeatureRepository, Kit, archive};

use crate::Repository;
use crate::notify::notify;
use crate::ports::{EnqueueJob, Inbox, MediaLog, MediaState};

/// Maximum size of a content in the table: an item may have 400 KB, and a notification with the
/// content must fit into a queue record. A larger content is stored as the message's media.
const MAX_CONTENT_BYTES: usize = 150 * 1024;
/// Content type of a content that is stored as media.
const CONTENT_TYPE: &str = "application/json";

/// Consumer worker and its dependencies. `J` queues jobs.
#[derive(Debug)]
pub struct Inbound<J, E: Env> {
    /// Messages and conversations.
    pub store: Repository,
    /// Automations of the tenants.
    pub accounts: accounts::Repository,
    /// Jobs for the tenants' workers.
    pub jobs: J,
    /// Archive of raw events, and storage for contents that are too large for the table.
    pub bucket: E::Bucket,
    /// Notification queue.
    pub automation: E::Queue,
    /// Queue of media to download.
    pub media: E::Queue,
}

impl<J: EnqueueJob, E: Env> Worker for Inbound<J, E> {
    type Task = InboundEvent;

    async fn process_batch(&self, tasks: &[&InboundEvent]) -> Result<(), Failure> {
        let archived = archive::keep(&self.bucket, tasks).await;
        if failpoint::is_active(Failpoint::ArchiveSkipped) { Ok(()) } else { archived }
    }

    async fn work(&self, event: &InboundEvent, context: ReceiveContext<'_>) -> Result<(), Failure> {
        let EventKind::Message(inbound) = &event.kind else {
            let reason = "the queue accepts only messages".to_owned();
            return Err(Failure { fault: Fault::Permanent, reason });
        };
        let Some(parties) = event.parties(inbound) else {
            let reason = "the provider has no message channel".to_owned();
            return Err(Failure { fault: Fault::Permanent, reason });
        };
        let (message, file) = message(event, inbound, &parties)?;
        let conversation = conversation(event, inbound, &parties);
        if let Some(file) = &file {
            let key = self.bucket.key(&event.tenant, message.id);
            let bytes = bytes::Bytes::copy_from_slice(file.as_bytes());
            self.bucket.put(&key, CONTENT_TYPE, bytes).await?;
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
            let state = MediaState::Stored { key, content_type: CONTENT_TYPE.to_owned() };
            self.store.set_media(&event.tenant, message.id, &state).await?;
        }
        let (conversation, automation) = futures::join!(
            self.store.upsert_conversation(&conversation, context.now),
            // Consistently: from an automation of a moment ago, a message could become a notification
            // without an endpoint, or a job without a worker.
            self.accounts.automation(&event.tenant),
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

impl<J: EnqueueJob, E: Env> Inbound<J, E> {
    /// Dispatches the message to the tenant's automation: as a notification or as a job.
    async fn dispatch(
        &self,
        automation: &Automation,
        message: &Message,
        conversation: Conversation,
    ) -> PortResult<()> {
        if let Automation::Pull(pull) = automation {
            let queued = self.jobs.enqueue_job(message, pull.time_to_live()).await?;
            let new = queued == Recorded::New;
            let job_id = JobId::of(message.id);
            tracing::info!(tenant = %message.tenant, %job_id, new, "job queued");
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
            mime_type: Some(CONTENT_TYPE.to_owned()),
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
            event.occurred_at.unwrap_or(event.received_at)
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
#[must_use]
pub fn message_id(event: &InboundEvent, provider_message_id: &str) -> MessageId {
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

/// Returns the id that ingested messages without an integration have as their integration.
#[must_use]
pub fn ingest_integration(tenant: &TenantId) -> IntegrationId {
    IntegrationId::derived(&[tenant.as_str(), "webhook/inbound"])
}

/// Returns whether a message has no integration: then no provider has verified its sender.
fn has_no_integration(event: &InboundEvent) -> bool {
    event.integration == ingest_integration(&event.tenant)
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
    let body = serde_json::to_string(&task).map_err(|_| runtime::unwritable())?;
    let group = event.tenant.to_string();
    let deduplication_id = message.id.to_string();
    queue.publish(vec![Record { body, group, deduplication_id, ..Record::default() }]).await
}

/// Builds the consumer from the kit. `J` queues jobs for the tenants' workers.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<J: EnqueueJob + FeatureRepository, E: AwsEnv>(
    kit: &Kit<E>,
) -> Result<Consumer<Inbound<J, E>, E>, Error> {
    let bucket = kit.bucket()?;
    bucket.prepare();
    let worker = Inbound {
        store: kit.repository()?,
        accounts: kit.repository()?,
        jobs: kit.repository()?,
        automation: kit.queue("AUTOMATION_QUEUE_URL", Some(&bucket))?,
        // A media id is small and never needs the bucket.
        media: kit.queue("MEDIA_QUEUE_URL", None)?,
        bucket,
    };
    runtime::consumer(kit, worker, 12, false)
}

/// Serves the consumer until Lambda stops the process. `J` queues jobs for the tenants' workers.
///
/// # Errors
/// If an environment variable is missing.
pub fn run<J: EnqueueJob + FeatureRepository>() -> Result<(), Error> {
    runtime::consume(consumer::<J, _>, async |worker| worker.store.prewarm().await)
}
