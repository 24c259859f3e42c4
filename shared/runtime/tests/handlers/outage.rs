//! A provider that is down for a while: when it is well again, messages leave within seconds.

use std::time::Duration;

use domain::circuit::State;
use domain::message::Status;
use domain::ports::{Circuits, Clock};
use domain::task::{FailoverPlan, OutboundAction, OutboundTask, SendTask, VERSION};
use domain::{Integration, Provider};
use jiff::Timestamp;
use serde_json::{Value, json};
use testkit::sample;

use crate::common::{Behavior, World};
use crate::sender::{TestSender, sender};

/// How long after an outage of ten seconds the last message may leave: a probe, and the pace of
/// the account for those that waited.
const SOON: Duration = Duration::from_secs(5);

/// How a provider is down.
#[derive(Clone, Copy, Debug)]
enum Down {
    /// It refuses in its documented form.
    Refuses,
    /// It cannot be reached.
    Unreachable,
}

impl Down {
    const ALL: [Self; 2] = [Self::Refuses, Self::Unreachable];

    fn behavior(self, provider: Provider) -> Behavior {
        match (self, provider) {
            (Self::Unreachable, _) => Behavior::Unreachable,
            (Self::Refuses, Provider::Telegram) => {
                let words = "Internal Server Error";
                let body = json!({ "ok": false, "error_code": 500, "description": words });
                Behavior::Refuse(500, body, None)
            }
            (Self::Refuses, _) => Behavior::Refuse(500, graph(1), None),
        }
    }
}

/// Graph's own error.
fn graph(code: i64) -> Value {
    json!({ "error": { "message": "An unknown error occurred", "type": "OAuthException",
        "code": code, "fbtrace_id": "AeX1y2z3" } })
}

/// A hub with messages that wait, and the sandboxes that send them.
struct Outage {
    world: World,
    account: Integration,
    /// The part of a call's path by which the provider knows the account.
    name: &'static str,
    senders: Vec<TestSender>,
    began: Timestamp,
}

impl Outage {
    /// So many messages, each to a person of its own, while `provider` is down.
    async fn with(provider: Provider, waiting: u32, down: Down) -> Self {
        let world = World::fifo().await;
        let (account, name) = match provider {
            Provider::Telegram => (world.telegram.clone(), "bot700000001:test-telegram-token"),
            _ => (world.whatsapp.clone(), "111"),
        };
        world.provider.always(name, down.behavior(provider));
        let began = world.clock.now();
        let senders = (0..3).map(|_| sender(&world, provider)).collect();
        let outage = Self { world, account, name, senders, began };
        outage.ask(waiting).await;
        outage
    }

    async fn ask(&self, messages: u32) {
        for n in 0..messages {
            let message = sample::outbound(&self.account, &format!("m{n}"), self.began);
            let to = format!("4915550{n:06}");
            let task = SendTask { to, ..sample::task(&message) };
            let job = OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task)) };
            self.world.put(&format!("person-{n}"), &message.id.to_string(), &job).await;
        }
    }

    /// Works what is visible, a batch in each sandbox in turn, until `end`; gives the moments
    /// at which the provider was called.
    async fn work_until(&self, end: Timestamp) -> Vec<Timestamp> {
        let (world, mut called) = (&self.world, Vec::new());
        loop {
            let mut worked = 0;
            for worker in &self.senders {
                let before = world.provider.calls().len();
                worked += world.batch(worker, true).await;
                let now = world.clock.now();
                called.extend((before..world.provider.calls().len()).map(|_| now));
            }
            if worked > 0 {
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

    /// The provider is well from now on; gives how long it took until the last message left.
    async fn ends(&self) -> Duration {
        self.world.provider.always(self.name, Behavior::Accept);
        let (end, mut left) = (self.world.clock.now(), self.world.clock.now());
        while self.world.own.next_visible().is_some() {
            let taken = self.world.provider.accepted().len();
            let next = self.world.own.next_visible().unwrap_or(left);
            self.work_until(next.max(self.world.clock.now())).await;
            if self.world.provider.accepted().len() > taken {
                left = self.world.clock.now();
            }
        }
        left.duration_since(end).unsigned_abs()
    }

    async fn all_accepted_once(&self, messages: u32) -> bool {
        let stored = self.world.table.messages().await;
        let accepted = stored.iter().filter(|message| message.status == Status::Accepted).count();
        let messages = usize::try_from(messages).unwrap();
        accepted == messages && self.world.provider.accepted().len() == messages
    }

    async fn state(&self) -> State {
        let circuit = self.world.store.circuit(&self.account.tenant, self.account.id).await;
        circuit.unwrap().0.state(self.world.clock.now())
    }
}

#[tokio::test]
async fn after_an_outage_of_ten_seconds_every_message_leaves_within_seconds() {
    for provider in [Provider::WhatsappCloud, Provider::Telegram] {
        for down in Down::ALL {
            for waiting in [1, 50] {
                let outage = Outage::with(provider, waiting, down).await;
                outage.work_until(outage.began + Duration::from_secs(10)).await;
                let took = outage.ends().await;
                let what = format!("{provider} {down:?}, {waiting} waiting: {took:?}");
                assert!(took <= SOON, "{what}");
                assert!(outage.all_accepted_once(waiting).await, "{what}");
                assert!(outage.world.dead.is_empty(), "{what}");
                assert_eq!(outage.state().await, State::Closed, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn however_many_messages_wait_in_however_many_sandboxes_there_is_one_probe_in_two_seconds() {
    let outage = Outage::with(Provider::WhatsappCloud, 50, Down::Refuses).await;
    // What was under way when it opened is no probe.
    outage.work_until(outage.began + Duration::from_secs(1)).await;
    let before = outage.world.faults.log().len();
    let probes = outage.work_until(outage.began + Duration::from_secs(61)).await;
    assert!((20..=30).contains(&probes.len()), "{probes:?}");
    let apart = |pair: &[Timestamp]| pair[1].duration_since(pair[0]).unsigned_abs();
    let shortest = probes.windows(2).map(apart).min().unwrap();
    assert!(shortest >= Duration::from_secs(2), "{shortest:?}: {probes:?}");
    // Those that wait write nothing, and each sandbox looks at the circuit now and then.
    let log = outage.world.faults.log();
    let count = |name: &str| log[before..].iter().filter(|called| called.contains(name)).count();
    let claims = count("UpdateItem T#acme#MSG#");
    assert!(claims <= outage.senders.len() * probes.len(), "{}", claims);
    let looks = count("GetItem T#acme#CIRCUIT#");
    assert!(looks <= 20 * outage.senders.len() * probes.len(), "{looks}");
}

#[tokio::test]
async fn an_outage_of_ten_minutes_costs_no_message_and_fills_no_history() {
    for waiting in [1, 50] {
        for down in Down::ALL {
            let outage = Outage::with(Provider::WhatsappCloud, waiting, down).await;
            outage.work_until(outage.began + Duration::from_mins(10)).await;
            let took = outage.ends().await;
            let what = format!("{down:?}, {waiting} waiting: {took:?}");
            // The longest pause between two probes, and what waits for the probe's answer.
            assert!(took <= Duration::from_secs(33), "{what}");
            assert!(outage.all_accepted_once(waiting).await, "{what}");
            let stored = outage.world.table.messages().await;
            let longest = stored.iter().map(|message| message.history.len()).max().unwrap();
            assert!(longest <= 20, "{what}: {longest}");
        }
    }
}

#[tokio::test]
async fn a_short_outage_of_every_carrier_is_over_within_seconds_too() {
    for down in Down::ALL {
        let outage = Outage::with(Provider::WhatsappCloud, 0, down).await;
        let spare = sample::whatsapp(&outage.world.acme, Some("222"));
        outage.world.table.insert_integration(&spare, &[]).await;
        outage.world.vault.rotate(spare.id, providers::whatsapp_cloud::example::credentials());
        outage.world.provider.always("222", down.behavior(Provider::WhatsappCloud));
        let mut message = sample::outbound(&outage.account, "hello", outage.began);
        // Templates go over every account.
        let (name, language) = ("hello_world".to_owned(), "en_US".to_owned());
        let template = domain::content::Template { name, language, components: Vec::new() };
        message.content = domain::Content::Template { template };
        let remaining = vec![spare.id];
        let failover = FailoverPlan { remaining, patience: 60, ..FailoverPlan::default() };
        let task = SendTask { failover, ..sample::task(&message) };
        let job = OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task)) };
        outage.world.put("person", &message.id.to_string(), &job).await;
        outage.work_until(outage.began + Duration::from_secs(10)).await;
        outage.world.provider.always("222", Behavior::Accept);
        let took = outage.ends().await;
        assert!(took <= Duration::from_secs(8), "{down:?}: {took:?}");
        assert!(outage.all_accepted_once(1).await, "{down:?}");
    }
}
