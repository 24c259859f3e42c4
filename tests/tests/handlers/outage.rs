//! Outage tests: after a provider recovers, waiting messages are sent within seconds.

use std::time::Duration;

use accounts::model::circuit::State;
use accounts::ports::Circuits;
use domain::message::Status;
use domain::ports::Clock;
use domain::task::{FailoverPlan, OutboundAction, OutboundTask, SendTask, VERSION};
use domain::{Integration, IntegrationId, Provider};
use jiff::Timestamp;
use messaging::handlers::sender::Sender;
use providers::example::{self, Answers};
use serde_json::json;
use testkit::sample;

use crate::common::{Behavior, World};
use crate::env::TestEnv;
use crate::sender::sender;

/// The maximum time from the end of a ten-second outage until the last message is sent: one probe,
/// and the rate limit of the account for the waiting messages.
const MAX_RECOVERY: Duration = Duration::from_secs(5);

/// The behavior of a provider during an outage.
#[derive(Clone, Copy, Debug)]
enum Down {
    /// Returns its documented error.
    Refuses,
    /// Refuses connections.
    Unreachable,
}

impl Down {
    const ALL: [Self; 2] = [Self::Refuses, Self::Unreachable];

    fn behavior(self, provider: Provider) -> Behavior {
        match self {
            Self::Unreachable => Behavior::Unreachable,
            Self::Refuses => refusal(provider),
        }
    }
}

/// An error of the provider after which the message was certainly not accepted.
fn refusal(provider: Provider) -> Behavior {
    let refused = answers(provider).refused;
    let errors = [500, 503].map(|status| (status, refused(status).into_iter().next()));
    let first = errors.into_iter().find_map(|(status, error)| Some((status, error?)));
    let (status, error) = first.unwrap_or_else(|| panic!("{provider} documents no error"));
    Behavior::Refuse(status, error, None)
}

fn answers(provider: Provider) -> Answers {
    example::of(provider).answers.unwrap()
}

/// Inserts an integration that sends as fast as the others of the world, and to whose messages the
/// provider responds as documented.
async fn insert_account(world: &World, provider: Provider) -> Integration {
    let id = IntegrationId::derived(&[provider.as_str()]);
    let account = example::sending_integration(provider, id, world.acme.clone());
    let mut account = account.unwrap().unwrap();
    account.settings.0.insert("messages_per_second".to_owned(), json!(80));
    world.provider.accept_with((answers(provider).accepted)());
    world.table.insert_integration(&account, &[]).await;
    world.credential_store.rotate(id, (example::of(provider).credentials)());
    account
}

/// A world with waiting messages, and the Lambda sandboxes that send them.
struct Outage {
    world: World,
    account: Integration,
    /// The part of the request path that identifies the account, or the empty part that every path
    /// begins with.
    name: &'static str,
    senders: Vec<Sender<TestEnv>>,
    began: Timestamp,
}

impl Outage {
    /// Queues `waiting` messages, each to its own recipient, while `provider` is down.
    async fn with(provider: Provider, waiting: u32, down: Down) -> Self {
        let world = World::fifo().await;
        let (account, name) = match provider {
            Provider::WhatsappCloud => (world.whatsapp.clone(), "111"),
            Provider::Telegram => (world.telegram.clone(), ""),
            _ => (insert_account(&world, provider).await, ""),
        };
        world.provider.always(name, down.behavior(provider));
        let began = world.clock.now();
        let senders = (0..3).map(|_| sender(&world, provider)).collect();
        let outage = Self { world, account, name, senders, began };
        outage.enqueue(waiting).await;
        outage
    }

    async fn enqueue(&self, messages: u32) {
        for n in 0..messages {
            let message = sample::outbound(&self.account, &format!("m{n}"), self.began);
            let to = format!("4915550{n:06}");
            let task = SendTask { to, ..sample::task(&message) };
            let job = OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task)) };
            self.world.put(&format!("person-{n}"), &message.id.to_string(), &job).await;
        }
    }

    /// Processes visible records until `end`, a batch in each sandbox in turn; returns the times of
    /// the provider calls.
    async fn process_until(&self, end: Timestamp) -> Vec<Timestamp> {
        let (world, mut called) = (&self.world, Vec::new());
        loop {
            let mut processed = 0;
            for worker in &self.senders {
                let before = world.provider.calls().len();
                processed += world.batch(worker, true).await;
                let now = world.clock.now();
                called.extend((before..world.provider.calls().len()).map(|_| now));
            }
            if processed > 0 {
                continue;
            }
            match world.own.next_visible().filter(|next| *next <= end) {
                Some(next) => {
                    let now = world.clock.now();
                    world.clock.set(next.max(now + Duration::from_millis(1)));
                }
                None => break,
            }
        }
        world.clock.set(end.max(world.clock.now()));
        called
    }

    /// Ends the outage; returns the time until the last message is sent.
    async fn end_and_drain(&self) -> Duration {
        self.world.provider.always(self.name, Behavior::Accept);
        let (end, mut last_sent) = (self.world.clock.now(), self.world.clock.now());
        while self.world.own.next_visible().is_some() {
            let accepted = self.world.provider.accepted().len();
            let next = self.world.own.next_visible().unwrap_or(last_sent);
            self.process_until(next.max(self.world.clock.now())).await;
            if self.world.provider.accepted().len() > accepted {
                last_sent = self.world.clock.now();
            }
        }
        last_sent.duration_since(end).unsigned_abs()
    }

    async fn all_accepted_once(&self, messages: u32) -> bool {
        let stored = self.world.table.messages().await;
        let accepted = stored.iter().filter(|message| message.status == Status::Accepted).count();
        let messages = usize::try_from(messages).unwrap();
        accepted == messages && self.world.provider.accepted().len() == messages
    }

    async fn state(&self) -> State {
        let circuit =
            self.world.store.accounts.circuit(&self.account.tenant, self.account.id).await;
        circuit.unwrap().0.state(self.world.clock.now())
    }
}

#[tokio::test]
async fn after_an_outage_of_ten_seconds_every_message_is_sent_within_five_seconds() {
    for provider in Provider::senders() {
        for down in Down::ALL {
            for waiting in [1, 50] {
                let outage = Outage::with(provider, waiting, down).await;
                outage.process_until(outage.began + Duration::from_secs(10)).await;
                let took = outage.end_and_drain().await;
                let what = format!("{provider} {down:?}, {waiting} waiting: {took:?}");
                assert!(took <= MAX_RECOVERY, "{what}");
                assert!(outage.all_accepted_once(waiting).await, "{what}");
                assert!(outage.world.dead.is_empty(), "{what}");
                assert_eq!(outage.state().await, State::Closed, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn fifty_messages_in_three_sandboxes_cause_one_probe_every_two_seconds() {
    let outage = Outage::with(Provider::WhatsappCloud, 50, Down::Refuses).await;
    // Requests that were running when the circuit opened are not probes.
    outage.process_until(outage.began + Duration::from_secs(1)).await;
    let before = outage.world.faults.log().len();
    let probes = outage.process_until(outage.began + Duration::from_secs(61)).await;
    assert!((20..=30).contains(&probes.len()), "{probes:?}");
    let apart = |pair: &[Timestamp]| pair[1].duration_since(pair[0]).unsigned_abs();
    let shortest = probes.windows(2).map(apart).min().unwrap();
    assert!(shortest >= Duration::from_secs(2), "{shortest:?}: {probes:?}");
    // Waiting messages cause no writes, and each sandbox reads the circuit occasionally.
    let log = outage.world.faults.log();
    let count = |name: &str| log[before..].iter().filter(|called| called.contains(name)).count();
    let claims = count("UpdateItem T#acme#MSG#");
    assert!(claims <= outage.senders.len() * probes.len(), "{}", claims);
    let reads = count("GetItem T#acme#CIRCUIT#");
    assert!(reads <= 20 * outage.senders.len() * probes.len(), "{reads}");
}

#[tokio::test]
async fn an_outage_of_ten_minutes_loses_no_message_and_adds_few_steps() {
    for waiting in [1, 50] {
        for down in Down::ALL {
            let outage = Outage::with(Provider::WhatsappCloud, waiting, down).await;
            outage.process_until(outage.began + Duration::from_mins(10)).await;
            let took = outage.end_and_drain().await;
            let what = format!("{down:?}, {waiting} waiting: {took:?}");
            // The longest pause between two probes, and the wait for the probe's result.
            assert!(took <= Duration::from_secs(33), "{what}");
            assert!(outage.all_accepted_once(waiting).await, "{what}");
            let stored = outage.world.table.messages().await;
            let longest = stored.iter().map(|message| message.history.len()).max().unwrap();
            assert!(longest <= 20, "{what}: {longest}");
        }
    }
}

#[tokio::test]
async fn after_a_short_outage_of_every_integration_messages_are_sent_within_seconds() {
    for down in Down::ALL {
        let outage = Outage::with(Provider::WhatsappCloud, 0, down).await;
        let spare = sample::whatsapp(&outage.world.acme, Some("222"));
        outage.world.table.insert_integration(&spare, &[]).await;
        outage
            .world
            .credential_store
            .rotate(spare.id, providers::whatsapp_cloud::example::credentials());
        outage.world.provider.always("222", down.behavior(Provider::WhatsappCloud));
        let mut message = sample::outbound(&outage.account, "hello", outage.began);
        // Templates may be sent from every account.
        let (name, language) = ("hello_world".to_owned(), "en_US".to_owned());
        let template = domain::content::Template { name, language, components: Vec::new() };
        message.content = domain::Content::Template { template };
        let remaining = vec![spare.id];
        let failover = FailoverPlan { remaining, patience: 60, ..FailoverPlan::default() };
        let task = SendTask { failover, ..sample::task(&message) };
        let job = OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task)) };
        outage.world.put("person", &message.id.to_string(), &job).await;
        outage.process_until(outage.began + Duration::from_secs(10)).await;
        outage.world.provider.always("222", Behavior::Accept);
        let took = outage.end_and_drain().await;
        assert!(took <= Duration::from_secs(8), "{down:?}: {took:?}");
        assert!(outage.all_accepted_once(1).await, "{down:?}");
    }
}
