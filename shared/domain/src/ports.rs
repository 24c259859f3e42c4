//! What the handlers need from outside, in our words. One narrow trait a permission: a
//! handler that takes only [`Outbox`] needs no other right, and its policy gives none.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

use crate::automation::{Automation, Notice};
use crate::circuit::Circuit;
use crate::conversation::Conversation;
use crate::event::Receipt;
use crate::fault::{Classify, Fault};
use crate::job::{HandedOver, SendTask};
use crate::message::{Message, Step};
use crate::provider::Channel;
use crate::pull::{Job, JobEnding, JobTicket, Pulse, QueueFigures};
use crate::record::{Direction, EventFilter, EventRecord, Kept, Replay, ReplayPage, ReplayPlace};
use crate::route::Route;
use crate::sender::Pace;
use crate::tenant::{ApiKey, Tenant};
use crate::{
    ConversationId, Credentials, DeliveryId, EventId, Integration, IntegrationId, JobId, KeyId,
    MessageId, Provider, ReplayId, TenantId,
};

/// Something outside did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {reason}")]
pub struct PortError {
    /// What was asked of it.
    pub operation: &'static str,
    /// What it said: a code, never data.
    pub reason: String,
    /// May it be asked again?
    pub fault: Fault,
}

impl Classify for PortError {
    fn fault(&self) -> Fault {
        self.fault
    }
}

/// The result of asking something outside.
pub type PortResult<T> = Result<T, PortError>;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Throws dice.
pub trait Dice: Send + Sync {
    /// 128 random bits, from a source fit for keys.
    fn bits(&self) -> u128;

    /// Uniform in `0.0..1.0`.
    fn fraction(&self) -> f64 {
        // 53 bits fill a float's fraction exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let fraction = (self.bits() >> 75) as f64 / (1_u64 << 53) as f64;
        fraction
    }
}

/// Finds integrations for an edge or a sender.
pub trait Directory: Send + Sync {
    /// The integration of that id.
    fn integration(
        &self,
        id: IntegrationId,
    ) -> impl Future<Output = PortResult<Option<Integration>>> + Send;

    /// The operator's own integration at `provider`.
    fn platform(
        &self,
        provider: Provider,
    ) -> impl Future<Output = PortResult<Option<Integration>>> + Send;

    /// Who holds `account` at `provider`.
    fn account(
        &self,
        provider: Provider,
        account: &str,
    ) -> impl Future<Output = PortResult<Option<Holder>>> + Send;

    /// The integration whose webhook secret, hashed, is `hash`.
    fn by_path_secret(
        &self,
        provider: Provider,
        hash: &str,
    ) -> impl Future<Output = PortResult<Option<IntegrationId>>> + Send;
}

/// Knows the tenants, and what each of them has at providers.
pub trait Accounts: Send + Sync {
    /// Whether there is such a tenant.
    fn is_tenant(&self, tenant: &TenantId) -> impl Future<Output = PortResult<bool>> + Send;

    /// The tenant's integrations.
    fn accounts_of(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = PortResult<Vec<Integration>>> + Send;
}

/// Who holds an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The tenant.
    pub tenant: TenantId,
    /// Their integration.
    pub integration: IntegrationId,
}

/// How old a secret may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// A few minutes old will do.
    Cached,
    /// Read it again, unless that was done within the last minute.
    Fresh,
}

/// Reads credentials.
pub trait Vault: Send + Sync {
    /// The credentials of an integration; empty if none were stored.
    fn credentials(
        &self,
        integration: &Integration,
        freshness: Freshness,
    ) -> impl Future<Output = PortResult<Credentials>> + Send;

    /// The secrets that sign `tenant`'s outgoing webhooks, newest first, as they were after
    /// `changed_at`.
    fn signing_secrets(
        &self,
        tenant: &TenantId,
        changed_at: Timestamp,
    ) -> impl Future<Output = PortResult<Vec<secrecy::SecretString>>> + Send;
}

/// One record for a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// JSON. Too large for the queue is no concern of the caller's.
    pub body: String,
    /// Records of one group keep their order in a FIFO queue, and share fairly in a
    /// standard one.
    pub group: String,
    /// FIFO queues drop a second record with this id for five minutes; standard queues do
    /// not look at it. At most 128 letters, digits and punctuation.
    pub deduplication_id: String,
    /// Hidden for so long, at most 15 minutes. Standard queues only.
    pub delay: Option<Duration>,
    /// Why the record is where it is. Dead-letter queues only.
    pub reason: Option<String>,
}

/// Puts records into one queue.
pub trait Publisher: Send + Sync {
    /// Puts all `records` into the queue, in order. Once it returns `Ok` they are durable;
    /// after an error some may be.
    fn publish(&self, records: Vec<Record>) -> impl Future<Output = PortResult<()>> + Send;
}

/// Hides received records for longer or shorter than the queue would.
pub trait Postpone: Send + Sync {
    /// Hides each record, named by its receipt handle, for so long from now; at most 12
    /// hours.
    fn postpone(
        &self,
        records: &[(String, Duration)],
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Gets back what was too large for a queue.
pub trait ClaimCheck: Send + Sync {
    /// The whole body behind a record's `body`: itself, unless it is a pointer.
    fn redeem<'a>(
        &self,
        body: &'a str,
    ) -> impl Future<Output = PortResult<std::borrow::Cow<'a, str>>> + Send;
}

/// Keeps the raw events.
pub trait Archive: Send + Sync {
    /// Keeps `lines` (one event each) of `tenant` from `provider`, received at `at`.
    fn keep(
        &self,
        tenant: &TenantId,
        provider: Provider,
        at: Timestamp,
        lines: &[String],
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Whether something was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was written now.
    New,
    /// It was there already; nothing changed.
    Duplicate,
}

/// What became of an event that was to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It was written now.
    New,
    /// It was there already; nothing changed.
    Duplicate,
    /// What may prove one event only has proved another: nothing was written.
    Forged,
}

/// Writes down everything that happened.
pub trait EventLog: Send + Sync {
    /// Writes the event down, once. The record and the proof that it was seen are one item.
    /// `single_use` is what may prove no other event.
    fn enter(
        &self,
        event: &Kept,
        single_use: Option<&str>,
    ) -> impl Future<Output = PortResult<Entered>> + Send;

    /// Notes that `replay` brought the event again, once.
    fn note_replay(
        &self,
        tenant: &TenantId,
        event: EventId,
        replay: ReplayId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;
}

/// Reads what was written down, for its tenant.
pub trait EventReader: Send + Sync {
    /// An event of the tenant's.
    fn event(
        &self,
        tenant: &TenantId,
        id: EventId,
    ) -> impl Future<Output = PortResult<Option<Kept>>> + Send;

    /// Events of the tenant's that fit `filter`. A page may hold fewer than `limit`, even
    /// none, though another follows: a call looks at a bounded part of the list.
    fn events(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        direction: Direction,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<Kept>>> + Send;
}

/// Keeps the bodies of events that are too large for the table.
pub trait EventBodies: Send + Sync {
    /// Stores the body of `record`, and gives its key. The same body has the same key, and
    /// another never takes its place.
    fn put_body(
        &self,
        record: &EventRecord,
        body: String,
    ) -> impl Future<Output = PortResult<String>> + Send;
}

/// Reads the bodies of events that are too large for the table.
pub trait EventBodyReader: Send + Sync {
    /// The body under `key`; `None` if it is gone.
    fn body(&self, key: &str) -> impl Future<Output = PortResult<Option<String>>> + Send;
}

/// Begins replays, and shows them.
pub trait Replays: Send + Sync {
    /// Writes a replay down; `Duplicate` if there is one of that id.
    fn begin(&self, replay: &Replay) -> impl Future<Output = PortResult<Recorded>> + Send;

    /// A replay of the tenant's, and where it is.
    fn replay(
        &self,
        tenant: &TenantId,
        id: ReplayId,
    ) -> impl Future<Output = PortResult<Option<ReplayPlace>>> + Send;
}

/// Moves replays on.
pub trait ReplayProgress: Send + Sync {
    /// Counts a page and moves the replay behind it; `Duplicate` if it is not where the page
    /// began.
    fn turn_page(
        &self,
        tenant: &TenantId,
        id: ReplayId,
        page: &ReplayPage,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;

    /// Notes why the page that begins at `from` could not be worked.
    fn stand_still(
        &self,
        tenant: &TenantId,
        id: ReplayId,
        from: &str,
        reason: &str,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Says how automations are told.
pub trait Automations: Send + Sync {
    /// How the tenant's automation is told.
    fn automation(&self, tenant: &TenantId) -> impl Future<Output = PortResult<Automation>> + Send;
}

/// Writes down what people wrote.
pub trait Inbox: Send + Sync {
    /// Writes the message down, once. The message and the proof that it was seen are one
    /// item, so one cannot be without the other.
    fn record(&self, message: &Message) -> impl Future<Output = PortResult<Recorded>> + Send;

    /// Makes the conversation, or brings it up to date with a message that came in; returns
    /// it as it stands. Harmless to repeat; an older message changes nothing, except a time
    /// that is still to come at `now`: no message can have come then.
    fn touch(
        &self,
        conversation: &Conversation,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Conversation>> + Send;
}

/// What became of a receipt.
#[derive(Clone, Debug, PartialEq)]
pub enum Advanced {
    /// The message moved; this is how it stands now.
    Moved(Box<Message>),
    /// The message had come at least as far already.
    Behind(Box<Message>),
    /// There is no such message.
    Missing,
}

/// Moves our messages up.
pub trait Receipts: Send + Sync {
    /// Our id of the message the provider calls `provider_message_id`.
    fn resolve(
        &self,
        tenant: &TenantId,
        provider: Provider,
        provider_message_id: &str,
    ) -> impl Future<Output = PortResult<Option<MessageId>>> + Send;

    /// Writes the receipt down, and moves the message up if it is further.
    fn advance(
        &self,
        tenant: &TenantId,
        message: MessageId,
        receipt: &Receipt,
        at: Timestamp,
    ) -> impl Future<Output = PortResult<Advanced>> + Send;
}

/// The right to send a message, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// It is ours until the lease ends; this is attempt number `attempt`.
    Granted {
        /// Counted from 1.
        attempt: u32,
    },
    /// Somebody else's lease runs until then.
    Held {
        /// When it ends.
        until: Timestamp,
    },
    /// A lease ran out and nobody settled: whether the request left is not known.
    Interrupted {
        /// The attempt that was broken off.
        attempt: u32,
        /// Its token, to settle it with.
        token: String,
    },
    /// Its fate is written down; this is how it stands.
    Settled(Box<Message>),
    /// It was handed over to another carrier: this record is from before that.
    HandedOver(Box<HandedOver>),
}

/// The record of outbound messages, as a sender sees it.
pub trait Outbox: Send + Sync {
    /// Takes the right to send the message until `now + lease`. `token` names this holder:
    /// a claim whose answer was lost is known again by it. Writes the message down if
    /// nothing did yet. `retake` also takes over a lease that ran out.
    ///
    /// The claim itself is no step of the history; what ends it brings that step along, so
    /// that a long wait does not fill the history.
    fn claim(
        &self,
        task: &SendTask,
        token: &str,
        now: Timestamp,
        lease: Duration,
        retake: bool,
    ) -> impl Future<Output = PortResult<Claim>> + Send;

    /// Gives the right back. With `steps` the attempt counts and is written down; without,
    /// it is as if it had not been made.
    fn release(
        &self,
        message: &Message,
        token: &str,
        steps: &[Step],
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Gives the right to the carrier `to`, and writes `steps` down: records of the message that
    /// are older than `to` claim nothing from then on. The attempt counts if `counted`. `false`
    /// if the right was no longer the holder's.
    fn hand_over(
        &self,
        message: &Message,
        token: &str,
        steps: &[Step],
        counted: bool,
        to: &HandedOver,
    ) -> impl Future<Output = PortResult<bool>> + Send;

    /// Writes down how the attempt ended: the last of `steps` is its state. The provider's
    /// id leads back to the message from then on. A receipt that came first is not
    /// overwritten. Returns the message as it stands, or `None` if another holder settled
    /// it.
    fn settle(
        &self,
        message: &Message,
        token: &str,
        steps: &[Step],
        provider_message_id: Option<&str>,
    ) -> impl Future<Output = PortResult<Option<Message>>> + Send;

    /// Counts one message against `pace`; the wait until it fits, or `None` if it does.
    fn take_turn(
        &self,
        tenant: &TenantId,
        pace: &Pace,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Option<Duration>>> + Send;
}

/// Remembers how integrations fared.
pub trait Circuits: Send + Sync {
    /// How an integration fared, with the version to change it by; version 0 if it never
    /// failed.
    fn circuit(
        &self,
        tenant: &TenantId,
        integration: IntegrationId,
    ) -> impl Future<Output = PortResult<(Circuit, u32)>> + Send;

    /// Writes `circuit` down in the place of version `seen`; `Duplicate` if another was faster.
    fn set_circuit(
        &self,
        tenant: &TenantId,
        integration: IntegrationId,
        circuit: &Circuit,
        seen: u32,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;
}

/// Shows whether a person can be written to freely.
pub trait Talks: Send + Sync {
    /// A conversation of the tenant's.
    fn talk(
        &self,
        tenant: &TenantId,
        id: ConversationId,
    ) -> impl Future<Output = PortResult<Option<Conversation>>> + Send;
}

/// Says which integrations carry a tenant's messages.
pub trait Routes: Send + Sync {
    /// The tenant's route on a channel; `None` if they set none.
    fn route(
        &self,
        tenant: &TenantId,
        channel: Channel,
    ) -> impl Future<Output = PortResult<Option<Route>>> + Send;
}

/// The right to tell an automation, or why there is none.
#[derive(Clone, Debug)]
pub enum DeliveryClaim {
    /// It is ours; this is attempt number `attempt`.
    Granted {
        /// Counted from 1.
        attempt: u32,
        /// What to tell.
        notice: Box<Notice>,
    },
    /// Somebody else's lease runs.
    Held {
        /// When it ends.
        until: Timestamp,
    },
    /// It waits for its next attempt: whoever comes before has no right to one.
    Early {
        /// When that is due.
        until: Timestamp,
    },
    /// It was told, or given up.
    Settled,
}

/// How a delivery stands after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It was told.
    Delivered,
    /// It will be tried again then.
    RetryAt(Timestamp),
    /// The schedule ended, or the receiver is gone.
    GivenUp,
}

/// The record of notices to automations.
pub trait Deliveries: Send + Sync {
    /// Takes the right to tell. `notice` is what to tell; without it the table must have it
    /// from an attempt that failed. A lease that ran out is taken over by who tells the very
    /// same: receivers know a notice by its id.
    fn claim(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        notice: Option<&Notice>,
        now: Timestamp,
        lease: Duration,
    ) -> impl Future<Output = PortResult<DeliveryClaim>> + Send;

    /// Writes down how the attempt ended, and with a retry the notice itself: the record that
    /// brings it back has only its id. `status` is the receiver's HTTP status, if any.
    fn settle(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        outcome: DeliveryOutcome,
        notice: &Notice,
        status: Option<u16>,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Remembers durably to try again at `at`.
    fn schedule(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        at: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Stops telling the tenant's automation, with the time as notice.
    fn disable(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// A retry whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which notice.
    pub id: DeliveryId,
    /// Its place in the schedule, to take it out by.
    pub place: String,
}

/// The schedule of retries that are too far off for a queue.
pub trait Schedule: Send + Sync {
    /// Up to `limit` retries whose time has come at `now`.
    fn due(&self, now: Timestamp, limit: u32) -> impl Future<Output = PortResult<Vec<Due>>> + Send;

    /// Takes them out of the schedule.
    fn done(&self, due: &[Due]) -> impl Future<Output = PortResult<()>> + Send;
}

/// Takes in jobs for workers to pull.
pub trait JobIntake: Send + Sync {
    /// Puts the job behind the others of its conversation, once.
    fn queue_job(&self, job: &Job) -> impl Future<Output = PortResult<Recorded>> + Send;
}

/// Knows how many jobs there are.
pub trait JobFigures: Send + Sync {
    /// The tenant's figures at `now`. They are kept, not counted.
    fn figures(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<QueueFigures>> + Send;
}

/// Shows jobs.
pub trait JobReader: Send + Sync {
    /// A job of the tenant's.
    fn job(
        &self,
        tenant: &TenantId,
        id: JobId,
    ) -> impl Future<Output = PortResult<Option<Job>>> + Send;
}

/// A job that no worker has and none will get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverdueJob {
    /// The job, with the status and the reason it is to end with.
    pub job: Job,
    /// Its conversation's place in the list it was found in, to end it by.
    pub place: String,
}

/// What a worker gets that asks for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// This job, until its lease lapses.
    Job(Box<Job>),
    /// Nothing yet: these stand in the way and are to be ended first.
    Overdue(Vec<OverdueJob>),
    /// Nothing: no conversation has a job that may be begun.
    Nothing,
}

/// What became of a worker's word about its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobAnswer {
    /// It holds, or held already; this is how the job stands.
    Done(Box<Job>),
    /// The attempt is not the worker's any more: nothing was changed.
    Refused(Box<Job>),
    /// There is no such job.
    Missing,
}

/// Gives jobs to workers.
pub trait Jobs: Send + Sync {
    /// Takes the oldest job that may be begun, for `lease`. A conversation is worked in order,
    /// one job at a time. `chance` chooses among jobs when several workers want one.
    fn offer(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        lease: Duration,
        chance: u128,
    ) -> impl Future<Output = PortResult<Offer>> + Send;

    /// Makes a lease that runs last until `now + lease` at least.
    fn extend(
        &self,
        tenant: &TenantId,
        ticket: JobTicket,
        now: Timestamp,
        lease: Duration,
    ) -> impl Future<Output = PortResult<JobAnswer>> + Send;

    /// Ends an attempt whose lease runs, and lets the conversation go on; with `notice` in the
    /// same write. A repetition changes nothing and is no error.
    fn settle_job(
        &self,
        tenant: &TenantId,
        ticket: JobTicket,
        ending: &JobEnding,
        notice: Option<&Notice>,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<JobAnswer>> + Send;
}

/// Ends jobs that nobody did.
pub trait JobEnds: Send + Sync {
    /// Ends the job as it says, and lets the conversation go on; with `notice` in the same
    /// write. `Duplicate` if it is not where it was found.
    fn end(
        &self,
        overdue: &OverdueJob,
        notice: Option<&Notice>,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;
}

/// Finds what time has done to jobs.
pub trait JobSweep: Send + Sync {
    /// Tenants whose workers pull, or may have left jobs, by id.
    fn pulling(
        &self,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<TenantId>>> + Send;

    /// Jobs of the tenant's that are to be ended at `now`: a bounded part of them.
    fn overdue(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Vec<OverdueJob>>> + Send;

    /// Takes the tenant out of the list, unless its automation pulls.
    fn retire(&self, tenant: &TenantId) -> impl Future<Output = PortResult<()>> + Send;

    /// Writes down how the hub is, unless something newer stands there.
    fn beat(&self, pulse: &Pulse) -> impl Future<Output = PortResult<()>> + Send;
}

/// Tells how the hub is.
pub trait PulseReader: Send + Sync {
    /// The last beat; `None` before the first.
    fn pulse(&self) -> impl Future<Output = PortResult<Option<Pulse>>> + Send;
}

/// Files of messages, on their way in.
pub trait MediaShelf: Send + Sync {
    /// Where the file of a message would stand.
    fn key(&self, tenant: &TenantId, message: MessageId) -> String;

    /// Stores a file.
    fn put(
        &self,
        key: &str,
        mime_type: Option<&str>,
        bytes: bytes::Bytes,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// A link to the file that works for `lifetime`.
    fn link(
        &self,
        key: &str,
        lifetime: Duration,
    ) -> impl Future<Output = PortResult<String>> + Send;
}

/// How a message's file stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaState {
    /// It is being fetched.
    Pending,
    /// It is stored under this key.
    Stored {
        /// The key.
        key: String,
    },
    /// The provider does not give it.
    Failed {
        /// Why, in a code.
        code: String,
    },
}

/// The record of messages' files.
pub trait MediaLog: Send + Sync {
    /// Writes down how a message's file stands.
    fn set_media(
        &self,
        tenant: &TenantId,
        message: MessageId,
        state: &MediaState,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one begins; `None` on the last.
    pub next: Option<String>,
}

/// Reads messages and conversations for their tenant.
pub trait Library: Send + Sync {
    /// A message of the tenant's, and how its file stands.
    fn message(
        &self,
        tenant: &TenantId,
        id: MessageId,
    ) -> impl Future<Output = PortResult<Option<(Message, Option<MediaState>)>>> + Send;

    /// A conversation of the tenant's.
    fn conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
    ) -> impl Future<Output = PortResult<Option<Conversation>>> + Send;

    /// Messages of a conversation, newest first.
    fn messages(
        &self,
        tenant: &TenantId,
        conversation: ConversationId,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<Message>>> + Send;

    /// Conversations of the tenant, latest activity first, exact to the hour between pages.
    fn conversations(
        &self,
        tenant: &TenantId,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<Conversation>>> + Send;

    /// The tenant's integrations.
    fn integrations(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = PortResult<Vec<Integration>>> + Send;
}

/// What an idempotency key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// It is new; the message has this id.
    New,
    /// The same request was made before, for this message.
    Same(MessageId),
    /// Another request was made with this key.
    Other,
}

/// Takes in what callers want sent.
pub trait Outgoing: Send + Sync {
    /// What the caller's `key` stands for already; `New` if for nothing.
    fn reserved(
        &self,
        tenant: &TenantId,
        key: &str,
        request: &str,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Reservation>> + Send;

    /// Remembers for 24 h that the caller's `key` stands for `message`, made from a request
    /// whose hash is `request`.
    fn reserve(
        &self,
        tenant: &TenantId,
        key: &str,
        request: &str,
        message: MessageId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Reservation>> + Send;

    /// Writes the message down as queued, unless something did already.
    fn enqueue(&self, message: &Message) -> impl Future<Output = PortResult<()>> + Send;

    /// Makes the conversation, or notes that a message leaves.
    fn touch_outbound(
        &self,
        conversation: &Conversation,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Finds keys for the authorizer.
pub trait Keys: Send + Sync {
    /// The key of that id, and the hash of the whole key.
    fn key(&self, id: KeyId) -> impl Future<Output = PortResult<Option<(ApiKey, String)>>> + Send;
}

/// Whether something could be claimed for oneself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is ours now, or was ours before.
    Ours,
    /// The account, or the operator's place at the provider, is another's.
    Taken,
}

/// Keeps tenants, their keys, integrations and automations.
pub trait Registry: Send + Sync {
    /// Makes a tenant; `Duplicate` if there is one of that id.
    fn create_tenant(&self, tenant: &Tenant) -> impl Future<Output = PortResult<Recorded>> + Send;

    /// The tenant of that id.
    fn tenant(&self, id: &TenantId) -> impl Future<Output = PortResult<Option<Tenant>>> + Send;

    /// Every tenant, by id.
    fn tenants(
        &self,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<Tenant>>> + Send;

    /// Keeps a key by the hash of the whole key.
    fn create_key(&self, key: &ApiKey, hash: &str) -> impl Future<Output = PortResult<()>> + Send;

    /// The tenant's keys.
    fn keys(&self, tenant: &TenantId) -> impl Future<Output = PortResult<Vec<ApiKey>>> + Send;

    /// Ends a key of the tenant's; `false` if it has none of that id.
    fn revoke_key(
        &self,
        tenant: &TenantId,
        id: KeyId,
    ) -> impl Future<Output = PortResult<bool>> + Send;

    /// Says how the tenant's automation is told.
    fn set_automation(
        &self,
        tenant: &TenantId,
        automation: &Automation,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Says which integrations carry the tenant's messages on a channel.
    fn set_route(
        &self,
        tenant: &TenantId,
        channel: Channel,
        route: &Route,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// The integration of that id, whoever's it is.
    fn integration(
        &self,
        id: IntegrationId,
    ) -> impl Future<Output = PortResult<Option<Integration>>> + Send;

    /// The tenant's integrations.
    fn integrations(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = PortResult<Vec<Integration>>> + Send;

    /// Writes an integration and claims its account, its webhook path and, for the
    /// operator, its place at the provider; all or nothing. `before` is what it replaces,
    /// whose claims are given up. `path_secrets` are hashes.
    fn put_integration(
        &self,
        integration: &Integration,
        path_secrets: &[String],
        before: Option<(&Integration, &[String])>,
    ) -> impl Future<Output = PortResult<Claimed>> + Send;

    /// Keeps others from changing the tenant's credentials at `provider` until `until`, for
    /// they share one secret; `false` if another does so at `now`.
    fn lock_credentials(
        &self,
        tenant: &TenantId,
        provider: Provider,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = PortResult<bool>> + Send;

    /// Lets others again, if the lock is still the one that ends at `until`.
    fn unlock_credentials(
        &self,
        tenant: &TenantId,
        provider: Provider,
        until: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Removes an integration and all its claims.
    fn delete_integration(
        &self,
        integration: &Integration,
        path_secrets: &[String],
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Writes credentials; nothing here reads them back to a caller.
pub trait Safe: Send + Sync {
    /// Puts `credentials` in the place of the integration's; `None` removes them.
    fn store(
        &self,
        integration: &Integration,
        credentials: Option<&Credentials>,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Puts `secret` before the tenant's signing secrets, and drops all but the newest two.
    fn add_signing_secret(
        &self,
        tenant: &TenantId,
        secret: secrecy::SecretString,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Looks up the addresses of host names.
pub trait Resolver: Send + Sync {
    /// The addresses of `host`; `None` if the name cannot be resolved now.
    fn resolve(&self, host: &str) -> impl Future<Output = Option<Vec<std::net::IpAddr>>> + Send;
}
