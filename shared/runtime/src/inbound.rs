//! What people wrote: message, conversation, file, and the tenant's automation told.

use domain::MessageId;
use domain::automation::{Automation, Notice, NoticeData, NoticeKind};
use domain::content::{Content, Media};
use domain::conversation::{Contact, Conversation, Parties};
use domain::event::{EventKind, InboundEvent, InboundMessage};
use domain::failpoint::{self, Failpoint};
use domain::fault::Fault;
use domain::job::{DeliveryJob, MediaJob, VERSION};
use domain::message::{Direction, Message, Status, Step};
use domain::ports::{
    Archive, Automations, Clock, Dice, Inbox, JobIntake, MediaLog, MediaShelf, MediaState,
    PortResult, Publisher, Record, Recorded,
};
use domain::pull::Job;
use queue::{Bucket, SqsQueue};
use store::DynamoStore;

use crate::batch::{Delivery, Failure, Worker};
use crate::telemetry::{self, Metric};
use crate::{Consumer, Error, Kit};

/// The largest content the table keeps; an item may have 400 KB in all, and a notice with it
/// must fit a queue. What is larger is kept as a file of the message.
const LARGEST_CONTENT: usize = 150 * 1024;

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct Inbound<S, A, P> {
    /// DynamoDB table.
    pub store: S,
    /// The archive, and the shelf for what is too large for the table.
    pub bucket: A,
    /// Notification queue.
    pub automation: P,
    /// Files to fetch.
    pub media: P,
}

impl<S, A, P> Worker for Inbound<S, A, P>
where
    S: Inbox + Automations + MediaLog + JobIntake,
    A: Archive + MediaShelf,
    P: Publisher,
{
    type Job = InboundEvent;

    async fn whole(&self, jobs: &[&InboundEvent]) -> Result<(), Failure> {
        let archived = archive(&self.bucket, jobs).await;
        if failpoint::is_active(Failpoint::ArchiveSkipped) { Ok(()) } else { archived }
    }

    async fn work(&self, event: &InboundEvent, delivery: Delivery<'_>) -> Result<(), Failure> {
        let EventKind::Message(inbound) = &event.kind else {
            let reason = "only messages belong into this queue".to_owned();
            return Err(Failure { fault: Fault::Permanent, reason, wait: None });
        };
        let Some(parties) = event.parties(inbound) else {
            let reason = "the hub has no conversations with this provider".to_owned();
            return Err(Failure { fault: Fault::Permanent, reason, wait: None });
        };
        let (message, file) = message(event, inbound, &parties)?;
        let conversation = conversation(event, inbound, &parties);
        if let Some(file) = &file {
            let key = self.bucket.key(&event.tenant, message.id);
            let bytes = bytes::Bytes::copy_from_slice(file.as_bytes());
            self.bucket.put(&key, Some("application/json"), bytes).await?;
        }
        // The message first: it is the proof that the event was seen. Everything after it
        // is harmless to repeat, so a consumer that dies in between loses nothing.
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
            self.store.touch(&conversation, delivery.now),
            self.store.automation(&event.tenant),
        );
        let (conversation, automation) = (conversation?, automation?);
        let (told, fetched) = futures::join!(
            self.bring(&automation, &message, conversation),
            fetch(&self.media, event, &message),
        );
        told?;
        if failpoint::is_active(Failpoint::FileForgotten) { Ok(()) } else { Ok(fetched?) }
    }
}

impl<S: JobIntake, A, P: Publisher> Inbound<S, A, P> {
    /// Brings the message before the tenant's automation: told, or as a job.
    async fn bring(
        &self,
        automation: &Automation,
        message: &Message,
        conversation: Conversation,
    ) -> PortResult<()> {
        if let Automation::Pull(pull) = automation {
            let job = Job::new(message, pull.time_to_live());
            let queued = self.store.queue_job(&job).await?;
            let new = queued == Recorded::New;
            tracing::info!(tenant = %job.tenant, job_id = %job.id, new, "job queued");
            return Ok(());
        }
        let data = NoticeData {
            tenant: message.tenant.clone(),
            message: message.clone(),
            conversation: Some(conversation),
            job: None,
        };
        tell(&self.automation, automation, NoticeKind::MessageReceived, data).await
    }
}

/// Keeps the raw events of a batch: one object a tenant and provider.
pub(crate) async fn archive<A: Archive>(
    archive: &A,
    events: &[&InboundEvent],
) -> Result<(), Failure> {
    let mut left: Vec<&InboundEvent> = events.to_vec();
    let mut objects = Vec::new();
    while let Some(first) = left.first().copied() {
        let ours = |event: &&InboundEvent| {
            event.tenant == first.tenant && event.provider == first.provider
        };
        let lines = left.iter().filter(|event| ours(event)).map(|event| line(event));
        let lines = lines.collect::<Result<Vec<String>, Failure>>()?;
        objects.push(async move {
            archive.keep(&first.tenant, first.provider, first.received_at, &lines).await
        });
        left.retain(|event| !ours(event));
    }
    futures::future::try_join_all(objects).await?;
    Ok(())
}

/// An event as one line: whole, so that it can be replayed. Line breaks stand only between the
/// raw event's tokens, never inside its strings.
fn line(event: &InboundEvent) -> Result<String, Failure> {
    let line = serde_json::to_string(event)
        .map_err(|_| Failure::retry("the event cannot be written as JSON"))?;
    Ok(if line.contains(['\n', '\r']) { line.replace(['\n', '\r'], " ") } else { line })
}

/// The message an event brings, and its content as a file if it is too large for the table.
fn message(
    event: &InboundEvent,
    inbound: &InboundMessage,
    parties: &Parties<'_>,
) -> Result<(Message, Option<String>), Failure> {
    let id = message_id(event, &inbound.provider_message_id);
    let content = serde_json::to_string(&inbound.content)
        .map_err(|_| Failure::retry("the content cannot be written as JSON"))?;
    let (content, file) = if content.len() > LARGEST_CONTENT {
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
    let content = with_link(content, id);
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
        occurred_at: event.told_at(),
        history: vec![Step::plain(Status::Received, event.received_at)],
    };
    Ok((message, file))
}

/// Says where the hub serves the file of a message.
fn with_link(mut content: Content, id: MessageId) -> Content {
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

/// The same for each redelivery: it is what makes a message one.
pub(crate) fn message_id(event: &InboundEvent, theirs: &str) -> MessageId {
    let parts = [event.tenant.as_str(), event.provider.as_str(), &event.account, theirs];
    if event.ingested || stands_alone(event) {
        // A program that tries again may well give another time.
        return MessageId::derived(&parts);
    }
    let at = if failpoint::is_active(Failpoint::IdFromTheClock) {
        event.received_at
    } else {
        event.identity_time()
    };
    MessageId::derived_at(at, &parts)
}

/// Whether no integration stands behind a message: then nobody has proved that the person wrote
/// it.
fn stands_alone(event: &InboundEvent) -> bool {
    event.integration == crate::api::inbound::ingest_integration(&event.tenant)
}

fn conversation(
    event: &InboundEvent,
    inbound: &InboundMessage,
    parties: &Parties<'_>,
) -> Conversation {
    let proved = !stands_alone(event);
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
        // Some events carry no time. What nobody has proved opens no window, not even that of
        // an integration that comes to hold the account later.
        last_inbound_at: proved.then(|| event.told_at().unwrap_or(event.received_at)),
        last_inbound_message: proved.then(|| inbound.provider_message_id.clone()),
    }
}

/// Puts a notice into the automation's queue, if the tenant has one that listens.
pub(crate) async fn tell<P: Publisher>(
    queue: &P,
    automation: &Automation,
    kind: NoticeKind,
    data: NoticeData,
) -> PortResult<()> {
    if automation.listener().is_none() {
        return Ok(());
    }
    let id = data.delivery_id(kind);
    let timestamp = data.message.history.last().map_or(data.message.created_at, |step| step.at);
    let tenant = data.tenant.clone();
    let group = tenant.to_string();
    let notice = Some(Box::new(Notice { kind, timestamp, data }));
    let job = DeliveryJob { v: VERSION, id, tenant, notice };
    let body = serde_json::to_string(&job).map_err(|_| crate::unwritable())?;
    let deduplication_id = id.to_string();
    queue.publish(vec![Record { body, group, deduplication_id, ..Record::default() }]).await
}

/// Asks for the message's file, if it has one at the provider.
async fn fetch<P: Publisher>(queue: &P, event: &InboundEvent, message: &Message) -> PortResult<()> {
    let Some(media) = message.content.media() else { return Ok(()) };
    let Some(provider_media_id) = media.provider_media_id.clone() else { return Ok(()) };
    let job = MediaJob {
        v: VERSION,
        tenant: event.tenant.clone(),
        message: message.id,
        integration: event.integration,
        provider_media_id,
        mime_type: media.mime_type.clone(),
    };
    let body = serde_json::to_string(&job).map_err(|_| crate::unwritable())?;
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
pub fn consumer<N, C: Clock + Clone, R: Dice + Clone>(
    kit: &Kit<N, C, R>,
) -> Result<Consumer<OwnInbound, C, R>, Error> {
    let bucket = kit.bucket()?;
    bucket.prepare();
    let worker = Inbound {
        store: kit.store()?,
        automation: kit.queue("AUTOMATION_QUEUE_URL", Some(&bucket))?,
        // A file's id is small.
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
