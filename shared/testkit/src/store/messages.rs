//! Messages, conversations, and the ledger of what is sent.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use domain::conversation::{CLOCK_SKEW, Conversation};
use domain::event::Receipt;
use domain::integration::Integration;
use domain::message::{Message, Status, Step};
use domain::ports::{
    Claim, Inbox, MediaLog, MediaState, MessageReader, Outbox, Outgoing, Page, PortResult,
    Receipts, Recorded, Reservation, StatusUpdate,
};
use domain::sender::Pace;
use domain::task::{HandedOver, SendTask};
use domain::{ConversationId, IntegrationId, MessageId, Provider, TenantId};
use jiff::Timestamp;

use super::{MemoryStore, Tables, ms};

/// How long an idempotency key stands for its message.
const KEEP_IDEMPOTENCY: i64 = 24 * 3600;

/// A message as it is kept: what never changes, and what does.
#[derive(Clone, Debug)]
pub(super) struct Row {
    doc: Message,
    status: Status,
    history: Vec<Step>,
    /// By rank, so in the order of progress.
    receipts: BTreeMap<u8, Step>,
    provider_message_id: Option<String>,
    token: Option<String>,
    lease_until: Option<Timestamp>,
    claimed_at: Option<Timestamp>,
    attempt: u32,
    media: Option<MediaState>,
    handed_over: Option<HandedOver>,
}

impl Row {
    fn new(message: &Message) -> Self {
        Self {
            doc: Message { history: Vec::new(), ..message.clone() },
            status: message.status,
            history: message.history.clone(),
            receipts: BTreeMap::new(),
            provider_message_id: message.provider_message_id.clone(),
            token: None,
            lease_until: None,
            claimed_at: None,
            attempt: 0,
            media: None,
            handed_over: None,
        }
    }

    /// How often it was handed over.
    pub(super) fn generations(&self) -> u32 {
        self.handed_over.as_ref().map_or(0, |to| to.failover.generation)
    }

    pub(super) fn read(&self) -> Message {
        let mut message = self.doc.clone();
        message.status = self.status;
        if let Some(id) = &self.provider_message_id {
            message.provider_message_id = Some(id.clone());
        }
        if let Some(to) = &self.handed_over {
            message.provider = to.provider;
            message.integration = to.integration;
        }
        message.history.clone_from(&self.history);
        if self.status == Status::Sending
            && let Some(at) = self.claimed_at
        {
            let attempt = Some(self.attempt);
            message.history.push(Step { attempt, ..Step::plain(Status::Sending, at) });
        }
        message.history.extend(self.receipts.values().cloned());
        message
    }

    /// Gives the right to send back; `false` if it was not the holder's.
    fn return_to_queue(&mut self, token: &str, steps: &[Step], counted: bool) -> bool {
        if self.status != Status::Sending || self.token.as_deref() != Some(token) {
            return false;
        }
        self.status = Status::Queued;
        self.history.extend_from_slice(steps);
        if !counted {
            self.attempt -= 1;
        }
        self.release_claim();
        true
    }

    fn release_claim(&mut self) {
        self.token = None;
        self.lease_until = None;
        self.claimed_at = None;
    }
}

/// A conversation as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    doc: Conversation,
    integration: IntegrationId,
    last_activity_at: Timestamp,
    last_inbound_at: Option<Timestamp>,
    last_inbound_message: Option<String>,
    contact_name: Option<String>,
}

impl Talk {
    fn new(conversation: &Conversation) -> Self {
        Self {
            doc: conversation.clone(),
            integration: conversation.integration,
            last_activity_at: ms(conversation.last_activity_at),
            last_inbound_at: None,
            last_inbound_message: None,
            contact_name: None,
        }
    }

    fn enliven(&mut self, conversation: &Conversation) {
        self.integration = conversation.integration;
        self.last_activity_at = ms(conversation.last_activity_at);
    }

    fn place(&self) -> String {
        format!("{:07}#{}", self.last_activity_at.as_second() / 3600, self.doc.id)
    }

    pub(super) fn read(&self) -> Conversation {
        let mut conversation = self.doc.clone();
        conversation.integration = self.integration;
        conversation.last_activity_at = self.last_activity_at;
        conversation.last_inbound_at = self.last_inbound_at;
        conversation.last_inbound_message.clone_from(&self.last_inbound_message);
        if let Some(name) = &self.contact_name {
            conversation.contact.name = Some(name.clone());
        }
        conversation.repaired()
    }
}

/// What an idempotency key stands for.
#[derive(Clone, Debug)]
pub(super) struct Reserved {
    request: String,
    message: MessageId,
    ttl: i64,
}

impl Reserved {
    fn stands_for(&self, request: &str) -> Reservation {
        if self.request == request { Reservation::Same(self.message) } else { Reservation::Other }
    }
}

impl Tables {
    fn row(&mut self, tenant: &TenantId, id: MessageId) -> Option<&mut Row> {
        self.messages.get_mut(&(tenant.clone(), id))
    }
}

impl Inbox for MemoryStore {
    async fn record(&self, message: &Message) -> PortResult<Recorded> {
        self.pass("record an inbound message", |tables| {
            let key = (message.tenant.clone(), message.id);
            if tables.messages.contains_key(&key) {
                return Recorded::Duplicate;
            }
            let mut row = Row::new(message);
            let media = message.content.media();
            if media.is_some_and(|media| media.provider_media_id.is_some()) {
                row.media = Some(MediaState::Pending);
            }
            tables.messages.insert(key, row);
            Recorded::New
        })
        .await
    }

    async fn touch(&self, conversation: &Conversation, now: Timestamp) -> PortResult<Conversation> {
        self.pass("bring a conversation up to date", |tables| {
            let key = (conversation.tenant.clone(), conversation.id);
            let talk = tables.conversations.entry(key).or_insert_with(|| Talk::new(conversation));
            let inbound = conversation.last_inbound_at.map(ms);
            let later = talk.last_inbound_at.filter(|later| *later <= ms(now + CLOCK_SKEW));
            if later.is_some_and(|later| inbound.is_some_and(|inbound| later > inbound)) {
                return talk.read();
            }
            talk.enliven(conversation);
            if inbound.is_some() {
                talk.last_inbound_at = inbound;
                let message = conversation.last_inbound_message.clone();
                talk.last_inbound_message = Some(message.unwrap_or_default());
            }
            if let Some(name) = &conversation.contact.name {
                talk.contact_name = Some(name.clone());
            }
            talk.read()
        })
        .await
    }
}

impl MediaLog for MemoryStore {
    async fn set_media(
        &self,
        tenant: &TenantId,
        message: MessageId,
        state: &MediaState,
    ) -> PortResult<()> {
        self.pass("note how a file stands", |tables| {
            if let Some(row) = tables.row(tenant, message) {
                row.media = Some(state.clone());
            }
        })
        .await
    }
}

impl Receipts for MemoryStore {
    async fn resolve(
        &self,
        tenant: &TenantId,
        provider: Provider,
        provider_message_id: &str,
    ) -> PortResult<Option<MessageId>> {
        let key = (tenant.clone(), provider, provider_message_id.to_owned());
        self.pass("find a message by the provider's id", |tables| {
            tables.references.get(&key).copied()
        })
        .await
    }

    async fn advance(
        &self,
        tenant: &TenantId,
        message: MessageId,
        receipt: &Receipt,
        at: Timestamp,
    ) -> PortResult<StatusUpdate> {
        self.pass("move a message up", |tables| {
            let Some(row) = tables.row(tenant, message) else { return StatusUpdate::Missing };
            let (code, detail) = (receipt.code.clone(), receipt.detail.clone());
            let step = Step { code, detail, ..Step::plain(receipt.status, at) };
            if !row.status.may_become(receipt.status) {
                let behind = row.read();
                if let Entry::Vacant(place) = row.receipts.entry(receipt.status.rank()) {
                    place.insert(step);
                    let theirs = || receipt.provider_message_id.clone();
                    row.provider_message_id.get_or_insert_with(theirs);
                }
                return StatusUpdate::Stale(Box::new(behind));
            }
            row.status = receipt.status;
            row.receipts.insert(receipt.status.rank(), step);
            row.provider_message_id.get_or_insert_with(|| receipt.provider_message_id.clone());
            StatusUpdate::Moved(Box::new(row.read()))
        })
        .await
    }
}

impl Outbox for MemoryStore {
    async fn claim(
        &self,
        task: &SendTask,
        token: &str,
        now: Timestamp,
        lease: Duration,
        retake: bool,
    ) -> PortResult<Claim> {
        self.pass("claim a message", |tables| {
            let message = &task.message;
            let key = (message.tenant.clone(), message.id);
            let now = ms(now);
            if let Some(row) = tables.messages.get(&key) {
                let generation = row.generations();
                let open = matches!(row.status, Status::Queued | Status::Sending);
                if let Some(to) = &row.handed_over
                    && open
                    && generation > task.failover.generation
                {
                    return Claim::HandedOver(Box::new(to.clone()));
                }
                let until = row.lease_until.unwrap_or(now);
                let lapsed = row.status == Status::Sending && until < now;
                if row.status != Status::Queued && !(retake && lapsed) {
                    let attempt = row.attempt;
                    let holder = row.token.clone().unwrap_or_default();
                    return match row.status {
                        Status::Sending if holder == token => Claim::Granted { attempt },
                        Status::Sending if lapsed => Claim::Interrupted { attempt, token: holder },
                        Status::Sending => Claim::Held { until },
                        _ => Claim::Settled(Box::new(row.read())),
                    };
                }
            }
            let row = tables.messages.entry(key).or_insert_with(|| Row::new(message));
            row.status = Status::Sending;
            row.token = Some(token.to_owned());
            row.lease_until = Some(ms(now + lease));
            row.claimed_at = Some(now);
            row.attempt += 1;
            Claim::Granted { attempt: row.attempt }
        })
        .await
    }

    async fn release(&self, message: &Message, token: &str, steps: &[Step]) -> PortResult<()> {
        self.pass("release a message", |tables| {
            if let Some(row) = tables.row(&message.tenant, message.id) {
                row.return_to_queue(token, steps, !steps.is_empty());
            }
        })
        .await
    }

    async fn hand_over(
        &self,
        message: &Message,
        token: &str,
        steps: &[Step],
        counted: bool,
        to: &HandedOver,
    ) -> PortResult<bool> {
        self.pass("hand a message over", |tables| {
            let Some(row) = tables.row(&message.tenant, message.id) else { return false };
            let was_theirs = row.return_to_queue(token, steps, counted);
            if was_theirs {
                row.handed_over = Some(to.clone());
            }
            was_theirs
        })
        .await
    }

    async fn settle(
        &self,
        message: &Message,
        token: &str,
        steps: &[Step],
        provider_message_id: Option<&str>,
    ) -> PortResult<Option<Message>> {
        self.pass("settle a message", |tables| {
            if let Some(theirs) = provider_message_id {
                let key = (message.tenant.clone(), message.provider, theirs.to_owned());
                tables.references.insert(key, message.id);
            }
            let row = tables.row(&message.tenant, message.id)?;
            if row.token.as_deref() != Some(token) {
                return None;
            }
            let ended = steps.last().map_or(Status::Unknown, |step| step.status);
            if row.status.may_become(ended) {
                row.status = ended;
            }
            row.history.extend_from_slice(steps);
            if let Some(theirs) = provider_message_id {
                row.provider_message_id = Some(theirs.to_owned());
            }
            row.release_claim();
            Some(row.read())
        })
        .await
    }

    async fn take_turn(
        &self,
        tenant: &TenantId,
        pace: &Pace,
        now: Timestamp,
    ) -> PortResult<Option<Duration>> {
        self.pass("count a message against a limit", |tables| {
            let length = i64::try_from(pace.per.as_secs()).unwrap_or(1).max(1);
            let window = now.as_second() - now.as_second().rem_euclid(length);
            let key = (tenant.clone(), pace.identity.clone(), window);
            let count = tables.paces.get(&key).copied();
            if count.is_some_and(|count| count >= pace.messages) {
                let wait = (window + length) * 1000 - now.as_millisecond();
                return Some(Duration::from_millis(u64::try_from(wait).unwrap_or(1).max(1)));
            }
            tables.paces.insert(key, count.unwrap_or_default() + 1);
            None
        })
        .await
    }
}

impl Outgoing for MemoryStore {
    async fn reserved(
        &self,
        tenant: &TenantId,
        key: &str,
        request: &str,
        now: Timestamp,
    ) -> PortResult<Reservation> {
        self.pass("look up an idempotency key", |tables| {
            match tables.idempotency.get(&(tenant.clone(), key.to_owned())) {
                Some(reserved) if reserved.ttl >= now.as_second() => reserved.stands_for(request),
                _ => Reservation::New,
            }
        })
        .await
    }

    async fn reserve(
        &self,
        tenant: &TenantId,
        key: &str,
        request: &str,
        message: MessageId,
        now: Timestamp,
    ) -> PortResult<Reservation> {
        self.pass("reserve an idempotency key", |tables| {
            let place = (tenant.clone(), key.to_owned());
            if let Some(reserved) = tables.idempotency.get(&place)
                && reserved.ttl >= now.as_second()
            {
                return reserved.stands_for(request);
            }
            let ttl = now.as_second() + KEEP_IDEMPOTENCY;
            let reserved = Reserved { request: request.to_owned(), message, ttl };
            tables.idempotency.insert(place, reserved);
            Reservation::New
        })
        .await
    }

    async fn enqueue(&self, message: &Message) -> PortResult<()> {
        self.pass("write down a queued message", |tables| {
            let key = (message.tenant.clone(), message.id);
            tables.messages.entry(key).or_insert_with(|| Row::new(message));
        })
        .await
    }

    async fn touch_outbound(&self, conversation: &Conversation) -> PortResult<()> {
        self.pass("note that a message leaves", |tables| {
            let key = (conversation.tenant.clone(), conversation.id);
            let talk = tables.conversations.entry(key).or_insert_with(|| Talk::new(conversation));
            talk.enliven(conversation);
        })
        .await
    }
}

impl MessageReader for MemoryStore {
    async fn message(
        &self,
        tenant: &TenantId,
        id: MessageId,
    ) -> PortResult<Option<(Message, Option<MediaState>)>> {
        self.pass("read a message", |tables| {
            let row = tables.row(tenant, id)?;
            Some((row.read(), row.media.clone()))
        })
        .await
    }

    async fn conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
    ) -> PortResult<Option<Conversation>> {
        let key = (tenant.clone(), id);
        self.pass("read a conversation", |tables| tables.conversations.get(&key).map(Talk::read))
            .await
    }

    async fn messages(
        &self,
        tenant: &TenantId,
        conversation: ConversationId,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<Message>> {
        self.pass("list messages", |tables| {
            let own = tables
                .messages
                .values()
                .filter(|row| row.doc.tenant == *tenant && row.doc.conversation == conversation);
            let place =
                |row: &Row| format!("{:016}#{}", row.doc.created_at.as_microsecond(), row.doc.id);
            let mut sorted: Vec<_> = own.map(|row| (place(row), row.read())).collect();
            sorted.sort_by(|(a, _), (b, _)| b.cmp(a));
            super::page(sorted.into_iter(), limit, |place| cursor.is_none_or(|c| place < c))
        })
        .await
    }

    async fn conversations(
        &self,
        tenant: &TenantId,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<Conversation>> {
        self.pass("list conversations", |tables| {
            let own = tables.conversations.values().filter(|talk| talk.doc.tenant == *tenant);
            let mut sorted: Vec<_> = own.map(|talk| (talk.place(), talk.read())).collect();
            sorted.sort_by(|(a, _), (b, _)| b.cmp(a));
            let mut page =
                super::page(sorted.into_iter(), limit, |place| cursor.is_none_or(|c| place < c));
            page.items.sort_by_key(|talk| std::cmp::Reverse(talk.last_activity_at));
            page
        })
        .await
    }

    async fn integrations(&self, tenant: &TenantId) -> PortResult<Vec<Integration>> {
        domain::ports::Registry::integrations(self, tenant).await
    }
}
