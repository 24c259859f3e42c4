//! Failover after acceptance: a message that its provider accepted, and then could not deliver for a
//! reason of its own, is sent through the next provider once.

use std::time::Duration;

use domain::Provider;
use domain::event::Receipt;
use domain::integration::Integration;
use domain::message::{Message, Status};
use domain::ports::Clock;
use domain::task::{FailoverPlan, OutboundAction, OutboundTask, SendTask, VERSION};
use messaging::handlers::receipts::ApplyReceipt;
use messaging::handlers::sender::Sender;
use messaging::outbound::Outbound;
use testkit::{FakeQueue, sample};

use crate::common::{World, faults_at_each_call, inject};
use crate::env::TestEnv;
use crate::failover::hub;
use crate::sender::sender;

/// Meta could not charge the account: another provider may deliver the message.
const OF_THE_ACCOUNT: &str = "131042";
/// The recipient is not on WhatsApp.
const OF_THE_RECIPIENT: &str = "131026";

/// A tenant with WhatsApp numbers and a Telegram bot in its route, with a queue for each of their
/// senders and one for receipts.
struct Hub {
    whatsapp: World,
    telegram: World,
    receipts: World,
    integrations: Vec<Integration>,
}

impl Hub {
    /// A hub whose first number has accepted a message.
    async fn new(numbers: &[&str], after_acceptance: bool) -> Self {
        let (whatsapp, mut integrations) = hub(numbers).await;
        integrations.push(whatsapp.telegram.clone());
        let telegram = World { own: FakeQueue::fifo(&whatsapp.clock), ..whatsapp.copy() };
        let receipts = World { own: FakeQueue::standard(&whatsapp.clock), ..whatsapp.copy() };
        let hub = Self { whatsapp, telegram, receipts, integrations };
        let message = sample::outbound(&hub.integrations[0], "hello", hub.whatsapp.clock.now());
        let remaining = hub.integrations.iter().skip(1).map(|integration| integration.id);
        let failover = FailoverPlan {
            remaining: remaining.collect(),
            after_acceptance,
            ..FailoverPlan::default()
        };
        let task = SendTask { failover, ..sample::task(&message) };
        let task = OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task)) };
        let (group, id) = (message.conversation.to_string(), message.id.to_string());
        hub.whatsapp.put(&group, &id, &task).await;
        hub.send().await;
        assert_eq!(hub.message().await.status, Status::Accepted);
        hub
    }

    async fn message(&self) -> Message {
        self.whatsapp.message().await
    }

    fn outbound(&self) -> Outbound<FakeQueue> {
        let with_faults = |world: &World| world.own.clone().with_faults(&self.whatsapp.faults);
        Outbound::of_all([
            (Provider::WhatsappCloud, with_faults(&self.whatsapp)),
            (Provider::Telegram, with_faults(&self.telegram)),
        ])
    }

    /// Processes the queues of both senders.
    async fn send(&self) {
        for (world, provider) in
            [(&self.whatsapp, Provider::WhatsappCloud), (&self.telegram, Provider::Telegram)]
        {
            let sender = Sender { outbound: self.outbound(), ..sender(world, provider) };
            world.run_until_empty(&sender, true).await;
        }
    }

    fn consumer(&self) -> ApplyReceipt<TestEnv> {
        ApplyReceipt { outbound: self.outbound(), ..crate::receipts::worker(&self.receipts) }
    }

    async fn put(&self, from: &Integration, status: Status, code: Option<&str>) {
        let message = self.message().await;
        let receipt = Receipt {
            reference: Some(message.id),
            code: code.map(str::to_owned),
            ..sample::receipt(status, &format!("of {}", from.id))
        };
        let event = sample::receipt_event(from, receipt, self.receipts.clock.now());
        self.receipts.put("acme", &format!("{status:?}"), &event).await;
    }

    /// Applies a receipt of an integration.
    async fn receive(&self, from: &Integration, status: Status, code: Option<&str>) {
        self.put(from, status, code).await;
        self.receipts.run_until_empty(&self.consumer(), false).await;
    }

    /// The number of messages that providers accepted.
    fn accepted(&self) -> usize {
        self.whatsapp.provider.accepted().len()
    }

    fn notified(&self) -> Vec<Status> {
        self.whatsapp.notifications().into_iter().map(|(_, status)| status).collect()
    }
}

#[tokio::test]
async fn a_message_that_its_account_could_not_deliver_is_sent_through_the_next_provider() {
    let hub = Hub::new(&["111"], true).await;
    let [first, second] = &hub.integrations[..] else { panic!("two integrations") };
    hub.receive(first, Status::Sent, None).await;
    hub.receive(first, Status::Failed, Some(OF_THE_ACCOUNT)).await;
    let moved = hub.message().await;
    assert_eq!((moved.status, moved.integration), (Status::Queued, second.id));
    hub.send().await;
    let message = hub.message().await;
    assert_eq!((message.status, hub.accepted()), (Status::Accepted, 2));
    let steps: Vec<_> = message
        .history
        .iter()
        .map(|step| (step.status, step.attempt, step.code.as_deref()))
        .collect();
    let expected = [
        (Status::Queued, None, None),
        (Status::Sending, Some(1), None),
        (Status::Accepted, Some(1), None),
        (Status::Sent, None, None),
        (Status::Failed, None, Some(OF_THE_ACCOUNT)),
        (Status::Queued, None, None),
        (Status::Sending, Some(2), None),
        (Status::Accepted, Some(2), None),
    ];
    assert_eq!(steps, expected);
    let why = message.history[5].detail.as_deref().unwrap();
    assert!(why.contains(&first.id.to_string()) && why.contains(&second.id.to_string()), "{why}");
    assert_eq!(hub.notified(), [Status::Sent], "the message did not fail");
    hub.receive(second, Status::Delivered, None).await;
    assert_eq!(hub.message().await.status, Status::Delivered);
    assert!(hub.notified().contains(&Status::Delivered));
}

#[tokio::test]
async fn a_message_fails_without_the_setting_or_for_a_reason_of_the_message() {
    for (after_acceptance, code) in
        [(false, Some(OF_THE_ACCOUNT)), (true, Some(OF_THE_RECIPIENT)), (true, None)]
    {
        let hub = Hub::new(&["111"], after_acceptance).await;
        hub.receive(&hub.integrations[0], Status::Failed, code).await;
        hub.send().await;
        let message = hub.message().await;
        assert_eq!((message.status, hub.accepted()), (Status::Failed, 1), "{code:?}");
        assert_eq!(message.history.last().unwrap().code.as_deref(), code);
        assert_eq!(hub.notified(), [Status::Failed], "{code:?}");
    }
}

#[tokio::test]
async fn a_message_moves_once_however_many_receipts_report_failures() {
    let hub = Hub::new(&["111"], true).await;
    let [first, second] = &hub.integrations[..] else { panic!("two integrations") };
    for _receipt in 0..3 {
        hub.receive(first, Status::Failed, Some(OF_THE_ACCOUNT)).await;
    }
    hub.send().await;
    for code in [OF_THE_ACCOUNT, OF_THE_RECIPIENT] {
        hub.receive(first, Status::Failed, Some(code)).await;
    }
    hub.send().await;
    let message = hub.message().await;
    assert_eq!((message.status, hub.accepted()), (Status::Accepted, 2));
    // The failure of the second attempt is the end, whatever its reason.
    hub.receive(second, Status::Failed, Some(OF_THE_ACCOUNT)).await;
    hub.send().await;
    assert_eq!((hub.message().await.status, hub.accepted()), (Status::Failed, 2));
    assert_eq!(hub.notified(), [Status::Failed]);
}

#[tokio::test]
async fn a_message_that_was_delivered_or_read_does_not_move() {
    for status in [Status::Delivered, Status::Read] {
        let hub = Hub::new(&["111"], true).await;
        let first = &hub.integrations[0];
        hub.receive(first, status, None).await;
        hub.receive(first, Status::Failed, Some(OF_THE_ACCOUNT)).await;
        hub.send().await;
        assert_eq!((hub.message().await.status, hub.accepted()), (status, 1));
    }
}

#[tokio::test]
async fn a_late_receipt_of_the_first_provider_does_not_harm_the_second_attempt() {
    for (late, accepted) in [(Status::Sent, 2), (Status::Delivered, 1), (Status::Read, 1)] {
        let hub = Hub::new(&["111"], true).await;
        let first = &hub.integrations[0];
        hub.receive(first, Status::Failed, Some(OF_THE_ACCOUNT)).await;
        hub.receive(first, late, None).await;
        hub.send().await;
        let status = if accepted == 1 { late } else { Status::Accepted };
        assert_eq!((hub.message().await.status, hub.accepted()), (status, accepted), "{late:?}");
    }
}

#[tokio::test]
async fn the_next_attempt_is_at_another_provider_that_can_reach_the_recipient_in_time() {
    let hub = Hub::new(&["111", "222"], true).await;
    hub.receive(&hub.integrations[0], Status::Failed, Some(OF_THE_ACCOUNT)).await;
    assert_eq!(hub.message().await.provider, Provider::Telegram, "not the same provider again");
    // After a day the message, and the service window, has expired.
    let hub = Hub::new(&["111"], true).await;
    hub.receipts.clock.advance(Duration::from_hours(25));
    hub.receive(&hub.integrations[0], Status::Failed, Some(OF_THE_ACCOUNT)).await;
    assert_eq!(hub.message().await.status, Status::Failed);
}

#[tokio::test]
async fn with_a_fault_at_any_call_a_message_moves_once_and_is_sent() {
    let undisturbed = Hub::new(&["111"], true).await;
    let before = undisturbed.whatsapp.faults.calls();
    undisturbed.receive(&undisturbed.integrations[0], Status::Failed, Some(OF_THE_ACCOUNT)).await;
    let calls = undisturbed.whatsapp.faults.calls() - before;
    assert!(calls > 4, "{:?}", undisturbed.whatsapp.faults.log());
    for fault in faults_at_each_call(calls) {
        let hub = Hub::new(&["111"], true).await;
        let faults = &hub.whatsapp.faults;
        hub.put(&hub.integrations[0], Status::Failed, Some(OF_THE_ACCOUNT)).await;
        inject(faults, fault);
        hub.receipts.batch(&hub.consumer(), false).await;
        assert!(faults.has_triggered(), "{fault:?}");
        faults.clear();
        hub.receipts.run_until_empty(&hub.consumer(), false).await;
        hub.send().await;
        let (message, accepted) = (hub.message().await, hub.accepted());
        let why = format!("{fault:?} {:?}", message.history);
        assert_eq!((message.status, accepted), (Status::Accepted, 2), "{why}");
        assert!(hub.whatsapp.dead.is_empty() && hub.notified().is_empty(), "{why}");
    }
}
