//! Failover tests: a message that one integration cannot send now is sent through the next, and
//! never twice.

use std::time::Duration;

use accounts::model::circuit::{Circuit, State};
use accounts::ports::Circuits;
use domain::circuit::Breaker;
use domain::integration::{Integration, Settings};
use domain::message::{Message, Status};
use domain::ports::Clock;
use domain::task::{FailoverPlan, OutboundAction, OutboundTask, VERSION};
use domain::{IntegrationId, Provider};
use messaging::handlers::sender::Sender;
use messaging::ports::Inbox;
use serde_json::{Value, json};
use testkit::sample;

use crate::common::{Behavior, World, faults_at_each_call, inject};
use crate::env::TestEnv;
use crate::sender::sender;

/// A world whose tenant has these WhatsApp numbers.
pub(crate) async fn hub(accounts: &[&str]) -> (World, Vec<Integration>) {
    let world = World::fifo().await;
    let numbers = accounts.iter().map(|account| sample::whatsapp(&world.acme, Some(account)));
    let numbers: Vec<_> = numbers.collect();
    for number in &numbers {
        world.table.insert_integration(number, &[]).await;
        world.credential_store.rotate(number.id, providers::whatsapp_cloud::example::credentials());
    }
    for integration in numbers.iter().chain([&world.telegram]) {
        open_service_window(&world, integration).await;
    }
    (world, numbers)
}

/// Opens the WhatsApp service window of `integration`: most tests here are not about the window.
async fn open_service_window(world: &World, integration: &Integration) {
    let now = world.clock.now();
    let channel = domain::provider::Channel::Whatsapp;
    let (tenant, account) = (&world.acme, integration.conversation_account());
    let counterpart = providers::address(integration.provider, sample::PERSON).unwrap();
    let parties = domain::conversation::Parties {
        tenant,
        channel,
        account: &account,
        counterpart: &counterpart,
    };
    let conversation = domain::conversation::Conversation {
        id: parties.conversation(),
        channel,
        last_inbound_at: Some(now),
        ..sample::conversation(integration, sample::PERSON, now)
    };
    // Not a call of the handler: it does not count for fault injection.
    world.table.without_faults().messages.upsert_conversation(&conversation, now).await.unwrap();
}

/// Queues a text for the first integration, with the others as its failover plan.
async fn enqueue(
    world: &World,
    integrations: &[Integration],
    text: &str,
    patience: u32,
) -> Message {
    let (first, remaining) = integrations.split_first().unwrap();
    let message = sample::outbound(first, text, world.clock.now());
    let remaining: Vec<IntegrationId> =
        remaining.iter().map(|integration| integration.id).collect();
    let failover = FailoverPlan { remaining, patience, ..FailoverPlan::default() };
    let task = domain::task::SendTask { failover, ..sample::task(&message) };
    let job = OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task)) };
    world.put(&message.conversation.to_string(), &message.id.to_string(), &job).await;
    message
}

/// Sends one text over numbers in these conditions.
async fn send_in(conditions: &[Condition]) -> World {
    let accounts: Vec<String> = (1..=conditions.len()).map(|n| n.to_string().repeat(3)).collect();
    let names: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let (world, integrations) = hub(&names).await;
    for (account, condition) in accounts.iter().zip(conditions) {
        world.provider.always(account, condition.behavior());
    }
    enqueue(&world, &integrations, "hello", 60).await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    world
}

fn error(status: u16, code: i64, wait: Option<u64>) -> Behavior {
    Behavior::Refuse(status, json!({ "error": { "code": code, "message": "no" } }), wait)
}

/// Whether the detail of any step of the history contains `text`.
fn history_contains(message: &Message, text: &str) -> bool {
    let mut details = message.history.iter().filter_map(|step| step.detail.as_deref());
    details.any(|detail| detail.contains(text))
}

/// The condition of a provider account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Healthy,
    /// Refuses connections.
    Unreachable,
    /// Returns 503.
    Unavailable,
    /// Rejects the token.
    Unauthorized,
    /// Returns 429 with a `Retry-After` of one hour.
    RateLimited,
    /// Accepts the message; its response is lost.
    AcceptsWithoutResponse,
    /// Does not respond, and does not accept the message.
    TimesOut,
}

impl Condition {
    const ALL: [Self; 7] = [
        Self::Healthy,
        Self::Unreachable,
        Self::Unavailable,
        Self::Unauthorized,
        Self::RateLimited,
        Self::AcceptsWithoutResponse,
        Self::TimesOut,
    ];

    fn behavior(self) -> Behavior {
        match self {
            Self::Healthy => Behavior::Accept,
            Self::Unreachable => Behavior::Unreachable,
            Self::Unavailable => error(503, 131_016, None),
            Self::Unauthorized => error(401, 190, None),
            Self::RateLimited => error(429, 130_429, Some(3600)),
            Self::AcceptsWithoutResponse => Behavior::AcceptWithoutResponse,
            Self::TimesOut => Behavior::Timeout,
        }
    }

    /// Whether the message was certainly not accepted.
    fn certainly_not_accepted(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Unavailable | Self::Unauthorized | Self::RateLimited
        )
    }
}

/// The final statuses that a message over accounts in these conditions may have, and how often it
/// is accepted.
fn expected(conditions: &[Condition]) -> (&'static [Status], usize) {
    let unauthorized = |condition: &Condition| *condition == Condition::Unauthorized;
    let rate_limited = |condition: &Condition| *condition == Condition::RateLimited;
    match conditions.iter().find(|condition| !condition.certainly_not_accepted()) {
        Some(Condition::Healthy) => (&[Status::Accepted], 1),
        Some(Condition::AcceptsWithoutResponse) => (&[Status::Unknown], 1),
        Some(_) => (&[Status::Unknown], 0),
        None if !conditions.iter().any(rate_limited) => (&[Status::Failed], 0),
        // A rate-limited account is waited for until the message expires.
        None if conditions
            .iter()
            .all(|condition| unauthorized(condition) || rate_limited(condition)) =>
        {
            (&[Status::Expired], 0)
        }
        // The account tried last decides.
        None => (&[Status::Expired, Status::Failed], 0),
    }
}

/// The account of each send request, in order.
fn tried(world: &World) -> Vec<String> {
    let calls = world.provider.calls();
    calls.iter().filter(|(_, body)| !body.is_null()).map(|(path, _)| account(path)).collect()
}

/// The account in a request path.
fn account(path: &str) -> String {
    path.split('/').nth(2).unwrap_or_default().to_owned()
}

#[test]
fn in_every_order_of_failures_no_message_is_lost_or_duplicated() {
    // The longest of these tests: its cases run on all cores.
    std::thread::scope(|scope| {
        for first in Condition::ALL {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            scope.spawn(move || runtime.unwrap().block_on(every_order_after(first)));
        }
    });
}

async fn every_order_after(first: Condition) {
    for second in Condition::ALL {
        for third in Condition::ALL {
            let conditions = [first, second, third];
            let world = send_in(&conditions).await;
            let message = world.message().await;
            let accepted = world.provider.accepted().len();
            let (statuses, count) = expected(&conditions);
            assert!(statuses.contains(&message.status), "{conditions:?} {:?}", message.status);
            assert_eq!(accepted, count, "{conditions:?}");
            assert!(world.dead.is_empty(), "{conditions:?}");
            // Integrations are tried in order, each once before any is tried again.
            let reached = conditions
                .iter()
                .position(|condition| !condition.certainly_not_accepted())
                .unwrap_or(2);
            let order: Vec<_> = ["111", "222", "333"].iter().take(reached + 1).collect();
            let calls = tried(&world);
            assert!(
                calls.iter().zip(&order).all(|(call, wanted)| call == *wanted),
                "{conditions:?}"
            );
            // The history has each failover.
            let failovers = message.history.iter().filter(|step| {
                step.detail.as_deref().is_some_and(|detail| detail.contains("handed over to"))
            });
            assert!(failovers.count() >= reached.min(2), "{conditions:?} {:?}", message.history);
            let notified = usize::from(message.status != Status::Accepted);
            assert_eq!(world.notifications().len(), notified, "{conditions:?}");
        }
    }
}

#[tokio::test]
async fn the_history_has_the_reason_for_failover_and_the_message_its_integration() {
    let world = send_in(&[Condition::Unauthorized, Condition::Healthy]).await;
    let message = world.message().await;
    let second = sample::whatsapp(&world.acme, Some("222"));
    assert_eq!((message.integration, message.provider), (second.id, Provider::WhatsappCloud));
    let steps: Vec<_> = message
        .history
        .iter()
        .map(|step| (step.status, step.attempt, step.code.as_deref()))
        .collect();
    let steps: [_; 5] = steps.try_into().unwrap();
    assert_eq!(steps[0], (Status::Queued, None, None));
    assert_eq!(steps[1], (Status::Sending, Some(1), None));
    assert_eq!(steps[2], (Status::Queued, Some(1), Some("190")));
    assert_eq!(steps[3], (Status::Sending, Some(2), None));
    assert_eq!(steps[4], (Status::Accepted, Some(2), None));
    let why = message.history[2].detail.as_deref().unwrap();
    assert!(why.contains("token") && why.contains(&second.id.to_string()), "{why}");
}

#[tokio::test]
async fn a_recipient_who_cannot_be_reached_causes_no_failover() {
    let (world, integrations) = hub(&["111", "222"]).await;
    world.provider.always("111", error(400, 131_026, None));
    enqueue(&world, &integrations, "hello", 60).await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Failed);
    assert_eq!(tried(&world), ["111"]);
}

#[tokio::test]
async fn an_integration_with_a_closed_service_window_is_skipped_except_for_templates() {
    for is_template in [false, true] {
        let (world, integrations) = hub(&["111"]).await;
        let closed = sample::whatsapp(&world.acme, Some("222"));
        world.table.insert_integration(&closed, &[]).await;
        world.credential_store.rotate(closed.id, providers::whatsapp_cloud::example::credentials());
        world.provider.script([Behavior::Unreachable]);
        let mut message = sample::outbound(&integrations[0], "hello", world.clock.now());
        if is_template {
            let (name, language) = ("hello_world".to_owned(), "en_US".to_owned());
            let template = domain::content::Template { name, language, components: Vec::new() };
            message.content = domain::Content::Template { template };
        }
        let failover =
            FailoverPlan { remaining: vec![closed.id], patience: 60, ..FailoverPlan::default() };
        let task = domain::task::SendTask { failover, ..sample::task(&message) };
        let job = OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task)) };
        world.put(&message.conversation.to_string(), "m", &job).await;
        world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
        assert_eq!(world.message().await.status, Status::Accepted);
        // WhatsApp would reject the text from the other number; the first number recovers.
        assert_eq!(tried(&world), ["111", if is_template { "222" } else { "111" }]);
    }
}

#[tokio::test]
async fn a_closed_service_window_at_one_integration_fails_over() {
    let (world, integrations) = hub(&["111", "222"]).await;
    world.provider.always("111", error(400, 131_047, None));
    enqueue(&world, &integrations, "hello", 60).await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(tried(&world), ["111", "222"]);
    assert_eq!(state(&world, &integrations[0]).await, State::Closed);
}

#[tokio::test]
async fn an_open_circuit_does_not_hold_a_message_while_another_integration_recovers() {
    let (world, mut integrations) = hub(&["111", "222"]).await;
    for integration in &mut integrations {
        integration.circuit = BREAKER;
        world.table.insert_integration(integration, &[]).await;
    }
    world.provider.always("222", Behavior::Unreachable);
    // Both circuits are open: the second for a day, the first until its next probe.
    for (integration, is_failing) in integrations.iter().zip([false, true]) {
        let mut circuit = accounts::model::circuit::Circuit::default();
        for _ in 0..3 {
            circuit = circuit.failed(BREAKER, world.clock.now(), "503");
        }
        if is_failing {
            circuit.open_until = Some(world.clock.now() + Duration::from_hours(24));
        }
        world.store.accounts.set_circuit(&world.acme, integration.id, &circuit, 0).await.unwrap();
    }
    let began = world.clock.now();
    enqueue(&world, &integrations, "hello", 60).await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(tried(&world), ["111"]);
    assert!(world.clock.now().duration_since(began).as_secs() <= 10);
}

#[tokio::test]
async fn a_short_retry_after_causes_no_failover() {
    let (world, integrations) = hub(&["111", "222"]).await;
    world.provider.script([error(429, 130_429, Some(20))]);
    enqueue(&world, &integrations, "hello", 60).await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(tried(&world), ["111", "111"]);
}

#[tokio::test]
async fn an_unknown_outcome_fails_over_only_with_at_least_once_delivery() {
    let (world, mut integrations) = hub(&["111", "222"]).await;
    integrations[0] = sample::at_least_once(integrations[0].clone());
    world.table.insert_integration(&integrations[0], &[]).await;
    world.provider.always("111", Behavior::AcceptWithoutResponse);
    enqueue(&world, &integrations, "hello", 60).await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(tried(&world), ["111", "222"]);
    assert_eq!(world.provider.accepted().len(), 2, "at-least-once delivery allows a duplicate");
}

#[tokio::test]
async fn a_refusal_after_a_failover_in_doubt_ends_as_unknown() {
    let (world, mut integrations) = hub(&["111", "222"]).await;
    integrations[0] = sample::at_least_once(integrations[0].clone());
    world.table.insert_integration(&integrations[0], &[]).await;
    world.provider.always("111", Behavior::AcceptWithoutResponse);
    world.provider.always("222", error(400, 131_026, None));
    enqueue(&world, &integrations, "hello", 60).await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    let message = world.message().await;
    assert_eq!(
        (message.status, tried(&world)),
        (Status::Unknown, vec!["111".into(), "222".into()])
    );
    assert_eq!(message.history.last().unwrap().code.as_deref(), Some("131026"));
    assert_eq!(world.notifications().len(), 1);
}

#[tokio::test]
async fn integrations_that_are_all_down_are_retried_in_turn_until_one_recovers() {
    let (world, integrations) = hub(&["111", "222"]).await;
    world.provider.script(std::iter::repeat_n(Behavior::Unreachable, 3));
    enqueue(&world, &integrations, "hello", 60).await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(tried(&world), ["111", "222", "111", "222"]);
}

#[tokio::test]
async fn a_message_that_every_integration_skips_fails_over_at_most_460_times_and_expires() {
    let (world, integrations) = hub(&["111", "222"]).await;
    let open = Circuit {
        opened_at: Some(world.clock.now()),
        open_until: Some(world.clock.now() + Duration::from_hours(48)),
        ..Circuit::default()
    };
    for integration in &integrations {
        world.store.accounts.set_circuit(&world.acme, integration.id, &open, 0).await.unwrap();
    }
    enqueue(&world, &integrations, "hello", 60).await;
    let worker = sender(&world, Provider::WhatsappCloud);
    for _receive in 0..20_000 {
        if world.batch(&worker, true).await == 0 {
            let Some(next) = world.own.next_visible() else { break };
            let now = world.clock.now();
            world.clock.set(next.max(now + Duration::from_millis(1)));
        }
    }
    let message = world.message().await;
    assert_eq!((message.status, world.provider.calls().len()), (Status::Expired, 0));
    let failovers = world.table.failovers();
    assert!(failovers > 100 && failovers <= 460, "{failovers} failovers");
    assert!(message.history.len() < 10, "{:?}", message.history);
}

#[tokio::test]
async fn a_conversation_that_fails_over_keeps_its_order() {
    let (world, integrations) = hub(&["111", "222"]).await;
    world.provider.always("111", Behavior::Unreachable);
    for text in ["one", "two", "three"] {
        enqueue(&world, &integrations, text, 60).await;
    }
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    let accepted = world.provider.accepted();
    let texts: Vec<_> =
        accepted.iter().map(|body| body["text"]["body"].as_str().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
}

#[tokio::test]
async fn failover_to_another_provider_uses_its_queue() {
    let (world, mut integrations) = hub(&["111"]).await;
    integrations.push(world.telegram.clone());
    world.provider.always("111", Behavior::Unreachable);
    let message = enqueue(&world, &integrations, "hello", 60).await;
    let other = testkit::FakeQueue::fifo(&world.clock);
    let queues =
        [(Provider::WhatsappCloud, world.own.clone()), (Provider::Telegram, other.clone())];
    let worker = Sender {
        outbound: messaging::outbound::Outbound::of_all(queues),
        ..sender(&world, Provider::WhatsappCloud)
    };
    world.run_until_empty(&worker, true).await;
    assert_eq!(world.message().await.status, Status::Queued);
    let records = other.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].group, message.conversation.to_string());
    assert_eq!(records[0].deduplication_id, format!("{}:1", message.id));
    let telegram = World { own: other, ..world.copy() };
    telegram.run_until_empty(&sender(&telegram, Provider::Telegram), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(world.message().await.provider, Provider::Telegram);
}

#[tokio::test]
async fn a_deleted_integration_is_skipped() {
    let (world, mut integrations) = hub(&["111", "333"]).await;
    integrations.insert(1, sample::whatsapp(&world.acme, Some("never-stored")));
    world.provider.always("111", Behavior::Unreachable);
    enqueue(&world, &integrations, "hello", 60).await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(tried(&world), ["111", "333"]);
}

#[tokio::test]
async fn an_integration_of_another_tenant_is_never_tried() {
    let (world, mut integrations) = hub(&["111"]).await;
    let foreign = sample::whatsapp(&sample::tenant("other"), Some("999"));
    world.table.insert_integration(&foreign, &[]).await;
    integrations.push(foreign);
    world.provider.always("111", error(401, 190, None));
    enqueue(&world, &integrations, "hello", 60).await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Failed);
    assert_eq!(tried(&world), ["111"]);
}

#[tokio::test]
async fn with_a_fault_at_any_call_a_message_that_fails_over_is_accepted_at_most_once() {
    let conditions = [Condition::Unavailable, Condition::Unauthorized, Condition::Healthy];
    let calls = send_in(&conditions).await.faults.calls();
    for fault in faults_at_each_call(calls) {
        let (world, integrations) = hub(&["111", "222", "333"]).await;
        for (account, condition) in ["111", "222", "333"].iter().zip(conditions) {
            world.provider.always(account, condition.behavior());
        }
        enqueue(&world, &integrations, "hello", 60).await;
        let worker = sender(&world, Provider::WhatsappCloud);
        inject(&world.faults, fault);
        world.run_until_fault(&worker).await;
        assert!(world.faults.has_triggered(), "{fault:?}");
        world.faults.clear();
        world.run_until_empty(&worker, true).await;
        let (message, accepted) = (world.message().await, world.provider.accepted().len());
        let why = format!("{fault:?} {:?} {:?}", message.history, world.faults.log());
        assert!(world.dead.is_empty(), "{why}");
        assert!(accepted <= 1, "{why}");
        match message.status {
            Status::Accepted => assert_eq!(accepted, 1, "{why}"),
            Status::Unknown => {}
            status => panic!("{status:?}: {why}"),
        }
    }
}

/// A world whose tenant's first number is unreachable and whose Telegram bot is healthy, with a
/// queue and a sender for each.
struct TwoSenders {
    world: World,
    telegram: World,
}

impl TwoSenders {
    async fn new() -> Self {
        let (world, mut integrations) = hub(&["111"]).await;
        integrations.push(world.telegram.clone());
        world.provider.always("111", Behavior::Unreachable);
        enqueue(&world, &integrations, "hello", 60).await;
        let telegram = World { own: testkit::FakeQueue::fifo(&world.clock), ..world.copy() };
        Self { world, telegram }
    }

    /// Processes a batch of each queue; returns whether there was a record.
    async fn batch(&self) -> bool {
        let queues = || {
            let telegram = self.telegram.own.clone().with_faults(&self.world.faults);
            let whatsapp = self.world.own.clone().with_faults(&self.world.faults);
            [(Provider::WhatsappCloud, whatsapp), (Provider::Telegram, telegram)]
        };
        let mut processed = 0;
        for (hub, provider) in
            [(&self.world, Provider::WhatsappCloud), (&self.telegram, Provider::Telegram)]
        {
            let outbound = messaging::outbound::Outbound::of_all(queues());
            let sender = Sender { outbound, ..sender(hub, provider) };
            processed += hub.batch(&sender, true).await;
            if self.world.faults.is_failing() {
                // Start a new process after a crash.
                self.world.faults.clear();
            }
        }
        processed > 0
    }

    async fn run_until_empty(&self) {
        for _batch in 0..500 {
            if self.batch().await {
                continue;
            }
            let next = [&self.world, &self.telegram].map(|hub| hub.own.next_visible());
            let Some(next) = next.into_iter().flatten().min() else { return };
            let now = self.world.clock.now();
            self.world.clock.set(next.max(now + Duration::from_millis(1)));
        }
        panic!("the queues did not become empty");
    }
}

#[tokio::test]
async fn with_a_fault_at_any_call_failover_to_another_sender_delivers_at_most_once() {
    let undisturbed = TwoSenders::new().await;
    undisturbed.run_until_empty().await;
    assert_eq!(undisturbed.world.message().await.status, Status::Accepted);
    for fault in faults_at_each_call(undisturbed.world.faults.calls()) {
        let senders = TwoSenders::new().await;
        inject(&senders.world.faults, fault);
        senders.run_until_empty().await;
        let (message, accepted) =
            (senders.world.message().await, senders.world.provider.accepted().len());
        let why = format!("{fault:?} {:?} {:?}", message.history, senders.world.faults.log());
        assert!(senders.world.faults.has_triggered() && senders.world.dead.is_empty(), "{why}");
        assert!(accepted <= 1, "{why}");
        match message.status {
            Status::Accepted => assert_eq!(accepted, 1, "{why}"),
            Status::Unknown => {}
            status => panic!("{status:?}: {why}"),
        }
    }
}

/// A circuit breaker that opens after three failures.
const BREAKER: Breaker = Breaker { failures: 3, window_seconds: 600, open_seconds: 30 };

async fn state(world: &World, integration: &Integration) -> State {
    let (circuit, _) = world.store.accounts.circuit(&world.acme, integration.id).await.unwrap();
    circuit.state(world.clock.now())
}

/// Sends a text to a new recipient, and processes the queue until it is empty; returns the accounts
/// tried.
async fn send_alone(world: &World, integrations: &[Integration], text: &str) -> Value {
    enqueue(world, integrations, text, 60).await;
    let before = tried(world).len();
    world.run_until_empty(&sender(world, Provider::WhatsappCloud), true).await;
    json!(tried(world)[before..])
}

#[tokio::test]
async fn an_integration_with_an_open_circuit_is_skipped_until_a_probe_succeeds() {
    let (world, mut integrations) = hub(&["111", "222"]).await;
    integrations[0].circuit = BREAKER;
    world.table.insert_integration(&integrations[0], &[]).await;
    world.provider.always("111", Behavior::Unreachable);
    for text in ["one", "two", "three"] {
        assert_eq!(send_alone(&world, &integrations, text).await, json!(["111", "222"]));
    }
    assert_eq!(state(&world, &integrations[0]).await, State::Open);
    assert_eq!(
        send_alone(&world, &integrations, "four").await,
        json!(["222"]),
        "the open circuit is skipped"
    );
    let four = world.table.messages().await.into_iter().find(|message| {
        message.history.iter().any(|step| step.code.as_deref() == Some("circuit_open"))
    });
    let four = four.expect("the history has the code");
    assert_eq!(
        four.history.last().unwrap().attempt,
        Some(1),
        "a skipped integration does not count as an attempt"
    );

    // A failed probe opens the circuit again. The probe requests the account, so that no message
    // is risked.
    world.clock.advance(Duration::from_secs(2));
    let calls = world.provider.calls().len();
    assert_eq!(send_alone(&world, &integrations, "five").await, json!(["222"]));
    let (path, probe) = world.provider.calls()[calls].clone();
    assert_eq!((&*account(&path), probe), ("111", Value::Null));
    assert_eq!(state(&world, &integrations[0]).await, State::Open);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(send_alone(&world, &integrations, "six").await, json!(["222"]));

    world.provider.always("111", Behavior::Accept);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(state(&world, &integrations[0]).await, State::HalfOpen);
    assert_eq!(send_alone(&world, &integrations, "seven").await, json!(["111"]));
    assert_eq!(state(&world, &integrations[0]).await, State::Closed);
    assert_eq!(world.provider.accepted().len(), 7);
}

#[tokio::test]
async fn without_another_integration_messages_wait_for_the_circuit_and_are_sent_once() {
    let (world, mut integrations) = hub(&["111"]).await;
    integrations[0].circuit = Breaker { failures: 1, ..BREAKER };
    world.table.insert_integration(&integrations[0], &[]).await;
    world.provider.script([Behavior::Unreachable]);
    for text in ["one", "two", "three"] {
        enqueue(&world, &integrations, text, 60).await;
    }
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    let messages = world.table.messages().await;
    assert!(messages.iter().all(|message| message.status == Status::Accepted));
    assert_eq!(tried(&world).len(), 4, "no request was made while the circuit was open");
}

#[tokio::test]
async fn one_message_probes_an_open_circuit_and_the_others_fail_over() {
    let (world, mut integrations) = hub(&["111", "222"]).await;
    integrations[0].circuit = Breaker { failures: 1, ..BREAKER };
    world.table.insert_integration(&integrations[0], &[]).await;
    world.provider.script([Behavior::Unreachable]);
    send_alone(&world, &integrations, "one").await;
    world.clock.advance(Duration::from_secs(31));
    // Each has its own recipient; the senders run at once and share only the table.
    let workers: Vec<_> = (0..8).map(|_| sender(&world, Provider::WhatsappCloud)).collect();
    let calls = world.provider.calls().len();
    world.provider.always("111", Behavior::Timeout);
    let attempts = workers.iter().enumerate().map(|(n, worker)| {
        let message = sample::outbound(&integrations[0], &format!("m{n}"), world.clock.now());
        let failover = FailoverPlan {
            remaining: vec![integrations[1].id],
            patience: 60,
            ..FailoverPlan::default()
        };
        let task = domain::task::SendTask { failover, ..sample::task(&message) };
        let job = OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task)) };
        let (record, now) = (n.to_string(), world.clock.now());
        async move {
            use runtime::batch::Worker;
            let delivery = runtime::batch::ReceiveContext {
                record: &record,
                receives: 1,
                now,
                is_last: false,
            };
            worker.work(&job, delivery).await
        }
    });
    futures::future::join_all(attempts).await;
    let probes = world.provider.calls();
    let probes = probes[calls..].iter().filter(|(path, _)| account(path) == "111");
    // The probe requests the account: no message is risked on one that does not respond.
    let probes: Vec<_> = probes.map(|(_, body)| body.clone()).collect();
    assert_eq!(probes, [Value::Null]);
}

/// A message for a custom provider that deduplicates by message id for `seconds`, with a WhatsApp
/// number as its failover.
async fn world_with_deduplication(seconds: u64) -> World {
    let (world, numbers) = hub(&["222"]).await;
    let mut custom = sample::receive_only(&world.acme, Provider::Custom, None);
    let mut settings = providers::custom::example::sending_settings("https://graph.test");
    settings["send"]["remembers_id_seconds"] = json!(seconds);
    custom.settings = Settings(settings);
    let key = (providers::custom::API_KEY.to_owned(), vec!["key".into()]);
    world.credential_store.rotate(custom.id, domain::Credentials::new([key]));
    world.table.insert_integration(&custom, &[]).await;
    enqueue(&world, &[custom, numbers[0].clone()], "hello", 60).await;
    world
}

fn custom_sender(world: &World) -> Sender<TestEnv> {
    let queues = [Provider::Custom, Provider::WhatsappCloud].map(|p| (p, world.own.clone()));
    let outbound = messaging::outbound::Outbound::of_all(queues);
    Sender { outbound, ..sender(world, Provider::Custom) }
}

/// The same, after the queue was processed while the provider showed these behaviors.
async fn run_with_deduplication(seconds: u64, behaviors: Vec<Behavior>) -> World {
    let world = world_with_deduplication(seconds).await;
    world.provider.script(behaviors);
    world.run_until_empty(&custom_sender(&world), true).await;
    assert!(world.dead.is_empty());
    assert!(
        !tried(&world).contains(&"222".to_owned()),
        "the first may have accepted it: {:?}",
        tried(&world)
    );
    world
}

#[tokio::test]
async fn a_message_that_may_have_been_accepted_is_retried_with_its_id_without_failover() {
    let world =
        run_with_deduplication(3600, vec![Behavior::AcceptWithoutResponse, Behavior::Unreachable])
            .await;
    let message = world.message().await;
    assert_eq!(message.status, Status::Accepted);
    assert_eq!(world.provider.calls().len(), 3);
    let accepted = world.provider.accepted();
    assert!(accepted.iter().all(|body| body["biz_opaque_callback_data"] == message.id.to_string()));
}

#[tokio::test]
async fn a_message_that_may_have_been_accepted_is_unknown_after_the_deduplication_period() {
    // The deduplication period ends before the outage; or the outage lasts for all attempts.
    for seconds in [2, 86_400] {
        let world = world_with_deduplication(seconds).await;
        world.provider.script([Behavior::AcceptWithoutResponse]);
        world.provider.always("messages", Behavior::Unreachable);
        world.run_until_empty(&custom_sender(&world), true).await;
        assert!(!tried(&world).contains(&"222".to_owned()));
        assert_eq!(world.message().await.status, Status::Unknown, "{seconds}");
        assert_eq!(world.provider.accepted().len(), 1);
        assert_eq!(world.notifications().len(), 1);
    }
}

#[tokio::test]
async fn with_a_fault_at_any_call_a_deduplicating_provider_is_retried_without_failover() {
    let calls = run_with_deduplication(3600, Vec::new()).await.faults.calls();
    for fault in faults_at_each_call(calls) {
        let world = world_with_deduplication(3600).await;
        let worker = custom_sender(&world);
        inject(&world.faults, fault);
        world.batch(&worker, true).await;
        world.faults.clear();
        world.run_until_empty(&worker, true).await;
        let why = format!("{fault:?} {:?}", world.message().await.history);
        if history_contains(&world.message().await, "could not connect") {
            // The provider certainly has not accepted it, so failover is allowed.
            continue;
        }
        assert_eq!(world.message().await.status, Status::Accepted, "{why}");
        assert!(!tried(&world).contains(&"222".to_owned()), "{why}");
    }
}
