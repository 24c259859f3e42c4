//! A table in memory, with the conditions of the real one.

mod deliveries;
mod events;
mod jobs;
mod messages;
mod registry;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use domain::automation::Automation;
use domain::circuit::Circuit;
use domain::conversation::Conversation;
use domain::integration::Integration;
use domain::message::Message;
use domain::ports::{Holder, PortResult};
use domain::provider::Channel;
use domain::record::{ReplayPlace, StoredEvent};
use domain::route::Route;
use domain::tenant::{ApiKey, Tenant};
use domain::{
    ConversationId, EventId, IntegrationId, KeyId, MessageId, NotificationId, Provider, ReplayId,
    TenantId,
};
use jiff::Timestamp;

use crate::{Faults, lock};

pub use deliveries::{NoticeState, Notification};

/// The table, behind every port that is about records. Copies are one.
///
/// Each call is one look and one change under one lock, as a conditional write is at the
/// table: nothing can come in between.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Tables {
    tenants: BTreeMap<TenantId, Tenant>,
    automations: BTreeMap<TenantId, (Automation, Option<Timestamp>)>,
    keys: BTreeMap<KeyId, (ApiKey, String)>,
    keys_of: BTreeMap<(TenantId, KeyId), ApiKey>,
    integrations: BTreeMap<(TenantId, IntegrationId), Integration>,
    found: BTreeMap<IntegrationId, TenantId>,
    claims: BTreeMap<registry::Place, Holder>,
    conversations: BTreeMap<(TenantId, ConversationId), messages::Talk>,
    messages: BTreeMap<(TenantId, MessageId), messages::Row>,
    references: BTreeMap<(TenantId, Provider, String), MessageId>,
    idempotency: BTreeMap<(TenantId, String), messages::Reserved>,
    paces: BTreeMap<(TenantId, String, i64), u32>,
    deliveries: BTreeMap<(TenantId, NotificationId), deliveries::Row>,
    due: BTreeSet<(i64, TenantId, NotificationId)>,
    routes: BTreeMap<(TenantId, Channel), Route>,
    circuits: BTreeMap<(TenantId, IntegrationId), (Circuit, u32)>,
    locks: BTreeMap<(TenantId, Provider), Timestamp>,
    events: BTreeMap<(TenantId, EventId), events::Row>,
    once: BTreeMap<(TenantId, Provider, String), EventId>,
    replays: BTreeMap<(TenantId, ReplayId), ReplayPlace>,
    book: jobs::Book,
}

impl MemoryStore {
    /// The same table with trouble from `faults`.
    #[must_use]
    pub fn with_faults(self, faults: &Faults) -> Self {
        Self { faults: faults.clone(), ..self }
    }

    /// Its trouble.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Every message of every tenant.
    #[must_use]
    pub fn all_messages(&self) -> Vec<Message> {
        lock(&self.tables).messages.values().map(messages::Row::read).collect()
    }

    /// How often the messages of every tenant were handed over, in all.
    #[must_use]
    pub fn hand_overs(&self) -> u32 {
        lock(&self.tables).messages.values().map(messages::Row::generations).sum()
    }

    /// Every conversation of every tenant.
    #[must_use]
    pub fn all_conversations(&self) -> Vec<Conversation> {
        lock(&self.tables).conversations.values().map(messages::Talk::read).collect()
    }

    /// Every notification to every tenant's automation.
    #[must_use]
    pub fn all_notifications(&self) -> Vec<Notification> {
        lock(&self.tables).deliveries.iter().map(|((_, id), row)| row.show(*id)).collect()
    }

    /// Every event of every tenant.
    #[must_use]
    pub fn all_events(&self) -> Vec<StoredEvent> {
        lock(&self.tables).events.values().map(events::Row::read).collect()
    }

    /// Every job of every tenant.
    #[must_use]
    pub fn all_jobs(&self) -> Vec<domain::pull::Job> {
        lock(&self.tables).all_jobs()
    }

    /// How many retries are in the schedule.
    #[must_use]
    pub fn scheduled(&self) -> usize {
        lock(&self.tables).due.len()
    }

    /// Writes an integration with its claims, past every condition.
    pub fn insert_integration(&self, integration: &Integration, path_secrets: &[String]) {
        let mut tables = lock(&self.tables);
        tables.write_integration(integration, path_secrets);
    }

    /// Says how a tenant's automation is told.
    pub fn insert_automation(&self, tenant: &TenantId, automation: Automation) {
        let mut tables = lock(&self.tables);
        tables.note_pulling(tenant, &automation);
        tables.automations.insert(tenant.clone(), (automation, None));
    }

    /// One call of a port.
    async fn pass<T>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut Tables) -> T + Send,
    ) -> PortResult<T> {
        self.faults.pass(operation, || act(&mut lock(&self.tables))).await
    }
}

/// The table keeps milliseconds.
fn ms(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// One page of what sorts after `cursor`, with the key of its last item as the next cursor.
/// The table cannot know that nothing follows a full page.
fn page<T>(
    sorted: impl Iterator<Item = (String, T)>,
    limit: u32,
    after: impl Fn(&str) -> bool,
) -> domain::ports::Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let taken: Vec<(String, T)> = sorted.filter(|(place, _)| after(place)).take(limit).collect();
    let full = taken.len() == limit;
    let next = taken.last().map(|(place, _)| place.clone()).filter(|_| full);
    domain::ports::Page { items: taken.into_iter().map(|(_, item)| item).collect(), next }
}
