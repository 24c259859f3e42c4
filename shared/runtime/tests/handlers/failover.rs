//! Messages that one carrier cannot carry now: they go to the next, and never twice.

use std::time::Duration;

use domain::circuit::{Breaker, Circuit, State};
use domain::integration::{DeliveryPolicy, Integration, Settings};
use domain::message::{Message, Status};
use domain::ports::{Circuits, Clock, Inbox};
use domain::task::{FailoverPlan, OutboundAction, OutboundTask, VERSION};
use domain::{IntegrationId, Provider};
use serde_json::{Value, json};
use testkit::sample;

use crate::common::{Act, World, order, troubles};
use crate::sender::sender;

/// A hub whose tenant has these numbers.
async fn hub(accounts: &[&str]) -> (World, Vec<Integration>) {
    let world = World::fifo().await;
    let numbers = accounts.iter().map(|account| sample::whatsapp(&world.acme, Some(account)));
    let numbers: Vec<_> = numbers.collect();
    for number in &numbers {
        world.table.insert_integration(number, &[]).await;
        world.vault.rotate(number.id, providers::whatsapp_cloud::example::credentials());
    }
    for carrier in numbers.iter().chain([&world.telegram]) {
        wrote_to(&world, carrier).await;
    }
    (world, numbers)
}

/// The person has just written over WhatsApp to `carrier`: most tests here are not about what
/// may be written.
async fn wrote_to(world: &World, carrier: &Integration) {
    let now = world.clock.now();
    let channel = domain::provider::Channel::Whatsapp;
    let (tenant, account) = (&world.acme, carrier.conversation_account());
    let counterpart = providers::address(carrier.provider, sample::PERSON).unwrap();
    let parties = domain::conversation::Parties {
        tenant,
        channel,
        account: &account,
        counterpart: &counterpart,
    };
    let talk = domain::conversation::Conversation {
        id: parties.conversation(),
        channel,
        last_inbound_at: Some(now),
        ..sample::conversation(carrier, sample::PERSON, now)
    };
    // It is no call of the handler's.
    world.table.quiet().touch(&talk, now).await.unwrap();
}

/// Asks the first carrier to send a text, and the others if it cannot.
async fn ask(world: &World, carriers: &[Integration], text: &str, patience: u32) -> Message {
    let (first, remaining) = carriers.split_first().unwrap();
    let message = sample::outbound(first, text, world.clock.now());
    let remaining: Vec<IntegrationId> = remaining.iter().map(|carrier| carrier.id).collect();
    let failover = FailoverPlan { remaining, patience, ..FailoverPlan::default() };
    let task = domain::task::SendTask { failover, ..sample::task(&message) };
    let job = OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task)) };
    world.put(&message.conversation.to_string(), &message.id.to_string(), &job).await;
    message
}

/// Sends one text over numbers in these moods.
async fn sent(moods: &[Mood]) -> World {
    let accounts: Vec<String> = (1..=moods.len()).map(|n| n.to_string().repeat(3)).collect();
    let names: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let (world, carriers) = hub(&names).await;
    for (account, mood) in accounts.iter().zip(moods) {
        world.provider.mood(account, mood.act());
    }
    ask(&world, &carriers, "hello", 60).await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    world
}

fn error(status: u16, code: i64, wait: Option<u64>) -> Act {
    Act::Refuse(status, json!({ "error": { "code": code, "message": "no" } }), wait)
}

/// Whether some step of the history says so.
fn tells(message: &Message, words: &str) -> bool {
    let mut said = message.history.iter().filter_map(|step| step.detail.as_deref());
    said.any(|detail| detail.contains(words))
}

/// How a carrier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Cannot be reached.
    Dead,
    /// Says that it is down.
    Down,
    /// Does not know the token.
    Locked,
    /// Asks for an hour's patience.
    Throttled,
    /// Takes the message and does not say so.
    Lying,
    /// Does not answer, and takes nothing.
    Slow,
}

impl Mood {
    const ALL: [Self; 7] = [
        Self::Well,
        Self::Dead,
        Self::Down,
        Self::Locked,
        Self::Throttled,
        Self::Lying,
        Self::Slow,
    ];

    fn act(self) -> Act {
        match self {
            Self::Well => Act::Take,
            Self::Dead => Act::Unreachable,
            Self::Down => error(503, 131_016, None),
            Self::Locked => error(401, 190, None),
            Self::Throttled => error(429, 130_429, Some(3600)),
            Self::Lying => Act::TakeInSilence,
            Self::Slow => Act::Silence,
        }
    }

    /// Whether it certainly has not taken the message.
    fn certainly_not(self) -> bool {
        matches!(self, Self::Dead | Self::Down | Self::Locked | Self::Throttled)
    }
}

/// How a message over carriers in these moods may end, and how many of it arrive.
fn expected(moods: &[Mood]) -> (&'static [Status], usize) {
    let locked = |mood: &Mood| *mood == Mood::Locked;
    let throttled = |mood: &Mood| *mood == Mood::Throttled;
    match moods.iter().find(|mood| !mood.certainly_not()) {
        Some(Mood::Well) => (&[Status::Accepted], 1),
        Some(Mood::Lying) => (&[Status::Unknown], 1),
        Some(_) => (&[Status::Unknown], 0),
        None if !moods.iter().any(throttled) => (&[Status::Failed], 0),
        // Who is throttled is waited for as long as the message is worth it.
        None if moods.iter().all(|mood| locked(mood) || throttled(mood)) => (&[Status::Expired], 0),
        // It depends on who is asked last.
        None => (&[Status::Expired, Status::Failed], 0),
    }
}

/// Each account that was asked to send, in order.
fn asked(world: &World) -> Vec<String> {
    let calls = world.provider.calls();
    calls.iter().filter(|(_, body)| !body.is_null()).map(|(path, _)| account(path)).collect()
}

/// The account that a call to this path is for.
fn account(path: &str) -> String {
    path.split('/').nth(2).unwrap_or_default().to_owned()
}

#[test]
fn in_every_order_of_troubles_nothing_is_lost_and_nothing_doubled() {
    // The longest of these tests: its cases run on all cores.
    std::thread::scope(|scope| {
        for first in Mood::ALL {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            scope.spawn(move || runtime.unwrap().block_on(every_order_after(first)));
        }
    });
}

async fn every_order_after(first: Mood) {
    for second in Mood::ALL {
        for third in Mood::ALL {
            let moods = [first, second, third];
            let world = sent(&moods).await;
            let message = world.message().await;
            let taken = world.provider.taken().len();
            let (ends, arrive) = expected(&moods);
            assert!(ends.contains(&message.status), "{moods:?} {:?}", message.status);
            assert_eq!(taken, arrive, "{moods:?}");
            assert!(world.dead.is_empty(), "{moods:?}");
            // Integrations are tried in order, each once before any is tried again.
            let reached = moods.iter().position(|mood| !mood.certainly_not()).unwrap_or(2);
            let order: Vec<_> = ["111", "222", "333"].iter().take(reached + 1).collect();
            let calls = asked(&world);
            assert!(calls.iter().zip(&order).all(|(call, wanted)| call == *wanted), "{moods:?}");
            // The history says what happened.
            let moved = message.history.iter().filter(|step| {
                step.detail.as_deref().is_some_and(|detail| detail.contains("handed over to"))
            });
            assert!(moved.count() >= reached.min(2), "{moods:?} {:?}", message.history);
            let notified = usize::from(message.status != Status::Accepted);
            assert_eq!(world.notifications().len(), notified, "{moods:?}");
        }
    }
}

#[tokio::test]
async fn the_history_says_why_it_moved_and_the_message_who_carried_it() {
    let world = sent(&[Mood::Locked, Mood::Well]).await;
    let message = world.message().await;
    let second = sample::whatsapp(&world.acme, Some("222"));
    assert_eq!((message.integration, message.provider), (second.id, Provider::WhatsappCloud));
    let story: Vec<_> = message
        .history
        .iter()
        .map(|step| (step.status, step.attempt, step.code.as_deref()))
        .collect();
    let story: [_; 5] = story.try_into().unwrap();
    assert_eq!(story[0], (Status::Queued, None, None));
    assert_eq!(story[1], (Status::Sending, Some(1), None));
    assert_eq!(story[2], (Status::Queued, Some(1), Some("190")));
    assert_eq!(story[3], (Status::Sending, Some(2), None));
    assert_eq!(story[4], (Status::Accepted, Some(2), None));
    let why = message.history[2].detail.as_deref().unwrap();
    assert!(why.contains("token") && why.contains(&second.id.to_string()), "{why}");
}

#[tokio::test]
async fn who_cannot_take_the_person_is_not_asked_to_be_replaced() {
    let (world, carriers) = hub(&["111", "222"]).await;
    world.provider.mood("111", error(400, 131_026, None));
    ask(&world, &carriers, "hello", 60).await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Failed);
    assert_eq!(asked(&world), ["111"]);
}

#[tokio::test]
async fn who_the_person_never_wrote_to_is_passed_over_unless_it_is_a_template() {
    for is_template in [false, true] {
        let (world, carriers) = hub(&["111"]).await;
        let stranger = sample::whatsapp(&world.acme, Some("222"));
        world.table.insert_integration(&stranger, &[]).await;
        world.vault.rotate(stranger.id, providers::whatsapp_cloud::example::credentials());
        world.provider.script([Act::Unreachable]);
        let mut message = sample::outbound(&carriers[0], "hello", world.clock.now());
        if is_template {
            let (name, language) = ("hello_world".to_owned(), "en_US".to_owned());
            let template = domain::content::Template { name, language, components: Vec::new() };
            message.content = domain::Content::Template { template };
        }
        let failover =
            FailoverPlan { remaining: vec![stranger.id], patience: 60, ..FailoverPlan::default() };
        let task = domain::task::SendTask { failover, ..sample::task(&message) };
        let job = OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task)) };
        world.put(&message.conversation.to_string(), "m", &job).await;
        world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
        assert_eq!(world.message().await.status, Status::Accepted);
        // WhatsApp would refuse the text there; its own number is well a moment later.
        assert_eq!(asked(&world), ["111", if is_template { "222" } else { "111" }]);
    }
}

#[tokio::test]
async fn a_window_that_is_shut_at_one_carrier_is_no_reason_to_fail() {
    let (world, carriers) = hub(&["111", "222"]).await;
    world.provider.mood("111", error(400, 131_047, None));
    ask(&world, &carriers, "hello", 60).await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(asked(&world), ["111", "222"]);
    assert_eq!(state(&world, &carriers[0]).await, State::Closed);
}

#[tokio::test]
async fn a_message_is_not_pinned_to_a_dead_carrier_while_its_own_is_well() {
    let (world, mut carriers) = hub(&["111", "222"]).await;
    for carrier in &mut carriers {
        carrier.circuit = BREAKER;
        world.table.insert_integration(carrier, &[]).await;
    }
    world.provider.mood("222", Act::Unreachable);
    // Both are shut: the second for ever, the first until its next probe.
    for (carrier, is_dead) in carriers.iter().zip([false, true]) {
        let mut circuit = domain::circuit::Circuit::default();
        for _ in 0..3 {
            circuit = circuit.failed(BREAKER, world.clock.now(), "503");
        }
        if is_dead {
            circuit.open_until = Some(world.clock.now() + Duration::from_hours(24));
        }
        world.store.set_circuit(&world.acme, carrier.id, &circuit, 0).await.unwrap();
    }
    let began = world.clock.now();
    ask(&world, &carriers, "hello", 60).await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(asked(&world), ["111"]);
    assert!(world.clock.now().duration_since(began).as_secs() <= 10);
}

#[tokio::test]
async fn a_short_wait_is_no_reason_to_move() {
    let (world, carriers) = hub(&["111", "222"]).await;
    world.provider.script([error(429, 130_429, Some(20))]);
    ask(&world, &carriers, "hello", 60).await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(asked(&world), ["111", "111"]);
}

#[tokio::test]
async fn an_unknown_outcome_moves_only_where_twice_is_accepted() {
    let (world, mut carriers) = hub(&["111", "222"]).await;
    if let Settings::WhatsappCloud(settings) = &mut carriers[0].settings {
        settings.delivery = DeliveryPolicy::AtLeastOnce;
    }
    world.table.insert_integration(&carriers[0], &[]).await;
    world.provider.mood("111", Act::TakeInSilence);
    ask(&world, &carriers, "hello", 60).await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(asked(&world), ["111", "222"]);
    assert_eq!(world.provider.taken().len(), 2, "which is what was chosen");
}

#[tokio::test]
async fn carriers_that_are_all_down_are_asked_again_in_turn_until_one_is_well() {
    let (world, carriers) = hub(&["111", "222"]).await;
    world.provider.script(std::iter::repeat_n(Act::Unreachable, 3));
    ask(&world, &carriers, "hello", 60).await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(asked(&world), ["111", "222", "111", "222"]);
}

#[tokio::test]
async fn a_message_that_everybody_passes_over_is_handed_over_some_hundred_times_and_expires() {
    let (world, carriers) = hub(&["111", "222"]).await;
    let open = Circuit {
        opened_at: Some(world.clock.now()),
        open_until: Some(world.clock.now() + Duration::from_hours(48)),
        ..Circuit::default()
    };
    for carrier in &carriers {
        world.store.set_circuit(&world.acme, carrier.id, &open, 0).await.unwrap();
    }
    ask(&world, &carriers, "hello", 60).await;
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
    let passes = world.table.hand_overs();
    assert!(passes > 100 && passes <= 460, "{passes} passes");
    assert!(message.history.len() < 10, "{:?}", message.history);
}

#[tokio::test]
async fn a_conversation_that_moves_keeps_its_order() {
    let (world, carriers) = hub(&["111", "222"]).await;
    world.provider.mood("111", Act::Unreachable);
    for text in ["one", "two", "three"] {
        ask(&world, &carriers, text, 60).await;
    }
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    let taken = world.provider.taken();
    let texts: Vec<_> = taken.iter().map(|body| body["text"]["body"].as_str().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
}

#[tokio::test]
async fn a_carrier_at_another_provider_is_asked_through_its_own_queue() {
    let (world, mut carriers) = hub(&["111"]).await;
    carriers.push(world.telegram.clone());
    world.provider.mood("111", Act::Unreachable);
    let asked = ask(&world, &carriers, "hello", 60).await;
    let other = testkit::FakeQueue::fifo(&world.clock);
    let queues =
        [(Provider::WhatsappCloud, world.own.clone()), (Provider::Telegram, other.clone())];
    let worker = runtime::sender::Sender {
        outbound: runtime::outbound::Outbound::of_all(queues),
        ..sender(&world, Provider::WhatsappCloud)
    };
    world.run_dry(&worker, true).await;
    assert_eq!(world.message().await.status, Status::Queued);
    let records = other.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].group, asked.conversation.to_string());
    assert_eq!(records[0].deduplication_id, format!("{}:1", asked.id));
    let there = World { own: other, ..world.copy() };
    there.run_dry(&sender(&there, Provider::Telegram), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(world.message().await.provider, Provider::Telegram);
}

#[tokio::test]
async fn a_carrier_that_was_deleted_since_is_passed_over() {
    let (world, mut carriers) = hub(&["111", "333"]).await;
    carriers.insert(1, sample::whatsapp(&world.acme, Some("never-stored")));
    world.provider.mood("111", Act::Unreachable);
    ask(&world, &carriers, "hello", 60).await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(asked(&world), ["111", "333"]);
}

#[tokio::test]
async fn a_carrier_of_another_tenant_is_never_asked() {
    let (world, mut carriers) = hub(&["111"]).await;
    let foreign = sample::whatsapp(&sample::tenant("other"), Some("999"));
    world.table.insert_integration(&foreign, &[]).await;
    carriers.push(foreign);
    world.provider.mood("111", error(401, 190, None));
    ask(&world, &carriers, "hello", 60).await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Failed);
    assert_eq!(asked(&world), ["111"]);
}

#[tokio::test]
async fn wherever_a_sender_breaks_off_a_message_that_moves_is_taken_once() {
    let moods = [Mood::Down, Mood::Locked, Mood::Well];
    let calls = sent(&moods).await.faults.calls();
    for trouble in troubles(calls) {
        let (world, carriers) = hub(&["111", "222", "333"]).await;
        for (carrier, mood) in ["111", "222", "333"].iter().zip(moods) {
            world.provider.mood(carrier, mood.act());
        }
        ask(&world, &carriers, "hello", 60).await;
        let worker = sender(&world, Provider::WhatsappCloud);
        order(&world.faults, trouble);
        world.work_until_trouble(&worker).await;
        assert!(world.faults.happened(), "{trouble:?}");
        world.faults.mend();
        world.run_dry(&worker, true).await;
        let (message, taken) = (world.message().await, world.provider.taken().len());
        let why = format!("{trouble:?} {:?} {:?}", message.history, world.faults.log());
        assert!(world.dead.is_empty(), "{why}");
        assert!(taken <= 1, "{why}");
        match message.status {
            Status::Accepted => assert_eq!(taken, 1, "{why}"),
            Status::Unknown => {}
            status => panic!("{status:?}: {why}"),
        }
    }
}

/// A hub whose tenant's first number is dead and whose bot is well, with a queue and a sender
/// for each.
struct Two {
    world: World,
    there: World,
}

impl Two {
    async fn asked() -> Self {
        let (world, mut carriers) = hub(&["111"]).await;
        carriers.push(world.telegram.clone());
        world.provider.mood("111", Act::Unreachable);
        ask(&world, &carriers, "hello", 60).await;
        let there = World { own: testkit::FakeQueue::fifo(&world.clock), ..world.copy() };
        Self { world, there }
    }

    /// Works a batch of each queue; gives whether there was anything.
    async fn batch(&self) -> bool {
        let queues = || {
            let there = self.there.own.clone().with_faults(&self.world.faults);
            let here = self.world.own.clone().with_faults(&self.world.faults);
            [(Provider::WhatsappCloud, here), (Provider::Telegram, there)]
        };
        let mut worked = 0;
        for (hub, provider) in
            [(&self.world, Provider::WhatsappCloud), (&self.there, Provider::Telegram)]
        {
            let outbound = runtime::outbound::Outbound::of_all(queues());
            let sender = runtime::sender::Sender { outbound, ..sender(hub, provider) };
            worked += hub.batch(&sender, true).await;
            if self.world.faults.is_dead() {
                // A process that died is followed by another.
                self.world.faults.mend();
            }
        }
        worked > 0
    }

    async fn run_dry(&self) {
        for _batch in 0..500 {
            if self.batch().await {
                continue;
            }
            let next = [&self.world, &self.there].map(|hub| hub.own.next_visible());
            let Some(next) = next.into_iter().flatten().min() else { return };
            let now = self.world.clock.now();
            self.world.clock.set(next.max(now + Duration::from_millis(1)));
        }
        panic!("the queues do not become empty");
    }
}

#[tokio::test]
async fn wherever_senders_break_off_a_message_that_moves_between_them_is_taken_once() {
    let calm = Two::asked().await;
    calm.run_dry().await;
    assert_eq!(calm.world.message().await.status, Status::Accepted);
    for trouble in troubles(calm.world.faults.calls()) {
        let two = Two::asked().await;
        order(&two.world.faults, trouble);
        two.run_dry().await;
        let (message, taken) = (two.world.message().await, two.world.provider.taken().len());
        let why = format!("{trouble:?} {:?} {:?}", message.history, two.world.faults.log());
        assert!(two.world.faults.happened() && two.world.dead.is_empty(), "{why}");
        assert!(taken <= 1, "{why}");
        match message.status {
            Status::Accepted => assert_eq!(taken, 1, "{why}"),
            Status::Unknown => {}
            status => panic!("{status:?}: {why}"),
        }
    }
}

/// A breaker that opens after three failures.
const BREAKER: Breaker = Breaker { failures: 3, window_seconds: 600, open_seconds: 30 };

async fn state(world: &World, integration: &Integration) -> State {
    let (circuit, _) = world.store.circuit(&world.acme, integration.id).await.unwrap();
    circuit.state(world.clock.now())
}

/// Sends a text to a person of its own, and works until the queue is empty.
async fn send_alone(world: &World, carriers: &[Integration], text: &str) -> Value {
    ask(world, carriers, text, 60).await;
    let before = asked(world).len();
    world.run_dry(&sender(world, Provider::WhatsappCloud), true).await;
    json!(asked(world)[before..])
}

#[tokio::test]
async fn a_carrier_that_fails_too_often_is_not_asked_until_a_probe_finds_it_well() {
    let (world, mut carriers) = hub(&["111", "222"]).await;
    carriers[0].circuit = BREAKER;
    world.table.insert_integration(&carriers[0], &[]).await;
    world.provider.mood("111", Act::Unreachable);
    for text in ["one", "two", "three"] {
        assert_eq!(send_alone(&world, &carriers, text).await, json!(["111", "222"]));
    }
    assert_eq!(state(&world, &carriers[0]).await, State::Open);
    assert_eq!(send_alone(&world, &carriers, "four").await, json!(["222"]), "it is passed over");
    let four = world.table.messages().await.into_iter().find(|message| {
        message.history.iter().any(|step| step.code.as_deref() == Some("circuit_open"))
    });
    let four = four.expect("the history says why");
    assert_eq!(four.history.last().unwrap().attempt, Some(1), "who was not asked is no attempt");

    // A probe that fails shuts it again. The account is asked about itself before a message is
    // risked.
    world.clock.advance(Duration::from_secs(2));
    let calls = world.provider.calls().len();
    assert_eq!(send_alone(&world, &carriers, "five").await, json!(["222"]));
    let (path, question) = world.provider.calls()[calls].clone();
    assert_eq!((&*account(&path), question), ("111", Value::Null));
    assert_eq!(state(&world, &carriers[0]).await, State::Open);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(send_alone(&world, &carriers, "six").await, json!(["222"]));

    world.provider.mood("111", Act::Take);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(state(&world, &carriers[0]).await, State::HalfOpen);
    assert_eq!(send_alone(&world, &carriers, "seven").await, json!(["111"]));
    assert_eq!(state(&world, &carriers[0]).await, State::Closed);
    assert_eq!(world.provider.taken().len(), 7);
}

#[tokio::test]
async fn without_another_carrier_messages_wait_for_the_circuit_and_are_sent_once() {
    let (world, mut carriers) = hub(&["111"]).await;
    carriers[0].circuit = Breaker { failures: 1, ..BREAKER };
    world.table.insert_integration(&carriers[0], &[]).await;
    world.provider.script([Act::Unreachable]);
    for text in ["one", "two", "three"] {
        ask(&world, &carriers, text, 60).await;
    }
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    let messages = world.table.messages().await;
    assert!(messages.iter().all(|message| message.status == Status::Accepted));
    assert_eq!(asked(&world).len(), 4, "nothing was asked in vain while it was open");
}

#[tokio::test]
async fn one_message_probes_and_the_others_pass_over() {
    let (world, mut carriers) = hub(&["111", "222"]).await;
    carriers[0].circuit = Breaker { failures: 1, ..BREAKER };
    world.table.insert_integration(&carriers[0], &[]).await;
    world.provider.script([Act::Unreachable]);
    send_alone(&world, &carriers, "one").await;
    world.clock.advance(Duration::from_secs(31));
    // Each to a person of its own, at once, and by senders that know nothing of one another.
    let workers: Vec<_> = (0..8).map(|_| sender(&world, Provider::WhatsappCloud)).collect();
    let calls = world.provider.calls().len();
    world.provider.mood("111", Act::Silence);
    let works = workers.iter().enumerate().map(|(n, worker)| {
        let message = sample::outbound(&carriers[0], &format!("m{n}"), world.clock.now());
        let failover = FailoverPlan {
            remaining: vec![carriers[1].id],
            patience: 60,
            ..FailoverPlan::default()
        };
        let task = domain::task::SendTask { failover, ..sample::task(&message) };
        let job = OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task)) };
        let (record, now) = (n.to_string(), world.clock.now());
        async move {
            use runtime::batch::Worker;
            let delivery = runtime::batch::ReceiveContext { record: &record, receives: 1, now };
            worker.work(&job, delivery).await
        }
    });
    futures::future::join_all(works).await;
    let probes = world.provider.calls();
    let probes = probes[calls..].iter().filter(|(path, _)| account(path) == "111");
    // A question about the account: no message is risked on one that does not answer.
    let probes: Vec<_> = probes.map(|(_, body)| body.clone()).collect();
    assert_eq!(probes, [Value::Null]);
}

/// A message to send over a carrier that knows it by its id for so long, with a number of Meta's
/// behind it.
async fn asked_of_one_who_remembers(seconds: u64) -> World {
    let (world, numbers) = hub(&["222"]).await;
    let mut custom = sample::taking(&world.acme, Provider::Custom, None);
    let mut settings = providers::custom::example::sending("https://graph.test");
    settings["send"]["remembers_id_seconds"] = json!(seconds);
    custom.settings = Settings::Own(settings);
    let key = (providers::custom::API_KEY.to_owned(), vec!["key".into()]);
    world.vault.rotate(custom.id, domain::Credentials::new([key]));
    world.table.insert_integration(&custom, &[]).await;
    ask(&world, &[custom, numbers[0].clone()], "hello", 60).await;
    world
}

fn over_custom(world: &World) -> crate::sender::TestSender {
    let queues = [Provider::Custom, Provider::WhatsappCloud].map(|p| (p, world.own.clone()));
    let outbound = runtime::outbound::Outbound::of_all(queues);
    runtime::sender::Sender { outbound, ..sender(world, Provider::Custom) }
}

/// The same, after everything was worked while it did so.
async fn remembering(seconds: u64, acts: Vec<Act>) -> World {
    let world = asked_of_one_who_remembers(seconds).await;
    world.provider.script(acts);
    world.run_dry(&over_custom(&world), true).await;
    assert!(world.dead.is_empty());
    assert!(
        !asked(&world).contains(&"222".to_owned()),
        "the first may have it: {:?}",
        asked(&world)
    );
    world
}

#[tokio::test]
async fn what_may_have_been_taken_is_asked_again_under_its_id_and_of_nobody_else() {
    let world = remembering(3600, vec![Act::TakeInSilence, Act::Unreachable]).await;
    let message = world.message().await;
    assert_eq!(message.status, Status::Accepted);
    assert_eq!(world.provider.calls().len(), 3);
    let taken = world.provider.taken();
    assert!(taken.iter().all(|body| body["biz_opaque_callback_data"] == message.id.to_string()));
}

#[tokio::test]
async fn what_may_have_been_taken_and_is_remembered_no_more_is_unknown_and_never_failed() {
    // Its memory ends before its trouble does; or its trouble lasts for all attempts.
    for seconds in [2, 86_400] {
        let world = asked_of_one_who_remembers(seconds).await;
        world.provider.script([Act::TakeInSilence]);
        world.provider.mood("messages", Act::Unreachable);
        world.run_dry(&over_custom(&world), true).await;
        assert!(!asked(&world).contains(&"222".to_owned()));
        assert_eq!(world.message().await.status, Status::Unknown, "{seconds}");
        assert_eq!(world.provider.taken().len(), 1);
        assert_eq!(world.notifications().len(), 1);
    }
}

#[tokio::test]
async fn a_sender_that_dies_while_it_asks_who_remembers_asks_again_and_nobody_else() {
    let calls = remembering(3600, Vec::new()).await.faults.calls();
    for trouble in troubles(calls) {
        let world = asked_of_one_who_remembers(3600).await;
        let worker = over_custom(&world);
        order(&world.faults, trouble);
        world.batch(&worker, true).await;
        world.faults.mend();
        world.run_dry(&worker, true).await;
        let why = format!("{trouble:?} {:?}", world.message().await.history);
        if tells(&world.message().await, "could not connect") {
            // It certainly has it not, so another may be asked.
            continue;
        }
        assert_eq!(world.message().await.status, Status::Accepted, "{why}");
        assert!(!asked(&world).contains(&"222".to_owned()), "{why}");
    }
}
