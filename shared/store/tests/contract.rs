//! What the repository promises, on the simulated table always, and with the feature `emulator` on
//! the local cloud: the table `TABLE_NAME` that the environment's `AWS_*` lead to.
//!
//! Each test has tenants of its own, so that all can share one table.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by it"
)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::automation::{Automation, Notification, NotificationData, NotificationKind};
use domain::circuit::{Breaker, Circuit};
use domain::event::Receipt;
use domain::integration::Integration;
use domain::message::{Message, Status, Step};
use domain::ports::{
    Accounts, Automations, Circuits, Claim, Claimed, Directory, EventLog, EventReader,
    HealthReader, Inbox, JobAnswer, JobEnds, JobFigures, JobIntake, JobReader, JobSweep, Jobs,
    Keys, MediaLog, MediaState, MessageReader, NotificationClaim, NotificationOutcome,
    Notifications, Offer, Outbox, Outgoing, Page, PortResult, Receipts, RecordOutcome, Recorded,
    Registry, ReplayProgress, Replays, Reservation, Routes, Schedule, StatusUpdate,
};
use domain::provider::Channel;
use domain::pull::{HealthSnapshot, Job, JobEnding, JobStatus, JobTicket, MAX_ATTEMPTS};
use domain::record::{
    BodyLocation, Direction, EventFilter, EventRecord, Kind, LastReplay, Replay, ReplayPage,
    ReplayStatus, State, StoredEvent,
};
use domain::route::{Policy, Route, RoutedIntegration};
use domain::sender::Pace;
use domain::task::{FailoverPlan, HandedOver, SendTask};
use domain::tenant::{ApiKey, Scope, Tenant};
use domain::{EventId, KeyId, MessageId, NotificationId, Provider, ReplayId, TenantId};
use futures::future::join_all;
use jiff::Timestamp;
use store::DynamoStore;
use testkit::{FakeClock, SimulatedTable, sample};

macro_rules! contract {
    ($($name:ident)*) => {
        mod on_the_simulated_table {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(&super::simulated()).await;
                }
            )*
        }

        #[cfg(feature = "emulator")]
        mod on_the_local_cloud {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(&super::table()).await;
                }
            )*
        }
    };
}

contract! {
    a_claim_is_exclusive_until_its_lease_lapses
    fifty_claims_at_once_grant_one
    a_lapsed_claim_is_interrupted_with_its_token_or_taken_over
    a_claim_whose_answer_was_lost_is_granted_again
    a_counted_release_keeps_the_attempt_and_an_uncounted_one_takes_it_back
    a_settled_message_is_never_claimed_again
    a_message_that_was_handed_over_is_its_new_carriers_alone
    who_has_no_right_to_a_message_hands_nothing_over
    how_an_integration_fared_is_changed_by_the_fastest
    a_route_is_a_tenants_own_on_its_channel
    what_is_settled_shows_each_step_and_is_found_by_the_providers_id
    an_old_token_settles_and_releases_nothing
    every_order_of_settling_and_receipts_ends_in_the_same_message
    every_order_of_a_failure_and_its_receipts_ends_in_the_same_message
    a_receipt_twice_changes_nothing
    a_receipt_for_no_message_is_missing
    an_inbound_message_is_recorded_once
    a_queued_message_is_written_once_and_never_over_a_later_state
    a_conversation_is_made_once_and_moves_with_newer_messages_only
    a_message_that_leaves_moves_the_activity_and_not_the_inbound
    a_time_that_is_still_to_come_is_no_later_message_and_opens_no_window
    a_date_of_any_age_is_kept
    an_idempotency_key_stands_for_its_message_for_a_day
    messages_and_conversations_are_listed_in_pages
    a_file_stands_as_it_was_last_noted
    a_notice_is_told_by_one_and_settled_once
    a_notice_waits_for_its_time
    a_retry_comes_when_it_is_due_and_goes_when_it_is_done
    a_window_lets_as_many_through_as_the_pace_says
    a_key_is_found_until_it_is_revoked_by_its_tenant
    a_tenant_is_made_once_and_listed
    a_tenant_and_its_accounts_are_known
    an_automation_is_set_disabled_and_set_anew
    an_account_and_a_path_belong_to_one_integration
    what_an_integration_gives_up_is_free_again
    the_operators_place_is_one_at_each_provider
    a_tenant_reads_nothing_of_anothers
    an_event_is_recorded_once_and_read_as_it_was_written
    fifty_records_of_one_event_are_one
    what_may_prove_one_event_proves_no_other
    a_replay_is_noted_once_at_its_event
    events_are_listed_in_pages_by_what_they_are
    what_is_parked_is_in_both_lists
    a_list_in_which_little_fits_goes_on_to_its_end
    an_event_is_its_tenants_alone
    a_replay_moves_on_from_where_it_is_and_ends
    a_replay_that_stands_still_says_why_and_goes_on
    a_conversation_is_worked_in_order_and_others_beside_it
    a_job_is_queued_once_however_often_it_comes
    a_lease_that_lapses_is_offered_again_and_who_comes_late_changes_nothing
    a_heartbeat_makes_a_lease_longer_and_never_shorter
    an_ending_twice_is_one_and_another_is_refused
    a_job_to_be_tried_again_waits_and_its_conversation_with_it
    a_job_that_nobody_did_ends_and_its_tenant_is_told
    a_jobs_last_lapse_is_its_end
    what_is_told_of_a_job_is_written_with_its_end
    figures_are_exact_after_everything
    many_workers_at_once_get_each_job_once_and_in_order
    a_tenants_jobs_are_its_own
    who_pulls_is_listed_until_it_does_not
    a_beat_stands_until_a_later_one
}

fn simulated() -> DynamoStore {
    let table = SimulatedTable::new(&FakeClock::default());
    DynamoStore::new(&table.config(), SimulatedTable::NAME.to_owned())
}

#[cfg(feature = "emulator")]
fn table() -> DynamoStore {
    let (aws, table) = runtime::testing::table().unwrap();
    DynamoStore::new(&aws, table)
}

/// A tenant nobody else has.
fn tenant() -> TenantId {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Tests of other processes may use the same table.
    let own = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let place = NEXT.fetch_add(1, Ordering::Relaxed);
    sample::tenant(&format!("t{own}-{}-{place}", std::process::id()))
}

/// An integration of a tenant nobody else has.
fn integration() -> Integration {
    let tenant = tenant();
    sample::whatsapp(&tenant, Some(&format!("number-of-{tenant}")))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_176_000 + second).unwrap()
}

const LEASE: Duration = Duration::from_mins(1);

fn ending(status: Status, attempt: u32, second: i64) -> Vec<Step> {
    let attempt = Some(attempt);
    vec![
        Step { attempt, ..Step::plain(Status::Sending, at(second)) },
        Step { attempt, ..Step::plain(status, at(second + 1)) },
    ]
}

async fn claim(s: &DynamoStore, message: &Message, token: &str, second: i64) -> Claim {
    let task = sample::task(message);
    Outbox::claim(s, &task, token, at(second), LEASE, false).await.unwrap()
}

async fn settle(
    s: &DynamoStore,
    message: &Message,
    token: &str,
    steps: &[Step],
    provider_message_id: Option<&str>,
) -> Option<Message> {
    Outbox::settle(s, message, token, steps, provider_message_id).await.unwrap()
}

async fn read(s: &DynamoStore, message: &Message) -> Message {
    s.message(&message.tenant, message.id).await.unwrap().unwrap().0
}

fn walked(message: &Message) -> Vec<(Status, Option<u32>)> {
    message.history.iter().map(|step| (step.status, step.attempt)).collect()
}

async fn a_claim_is_exclusive_until_its_lease_lapses(s: &DynamoStore) {
    let message = sample::outbound(&integration(), "m", at(0));
    assert_eq!(claim(s, &message, "one", 0).await, Claim::Granted { attempt: 1 });
    for second in [0, 30, 60] {
        assert_eq!(claim(s, &message, "two", second).await, Claim::Held { until: at(60) });
    }
    let interrupted = Claim::Interrupted { attempt: 1, token: "one".to_owned() };
    assert_eq!(claim(s, &message, "two", 61).await, interrupted);
    let shown = read(s, &message).await;
    assert_eq!(shown.status, Status::Sending);
    assert_eq!(walked(&shown), [(Status::Queued, None), (Status::Sending, Some(1))]);
}

async fn fifty_claims_at_once_grant_one(s: &DynamoStore) {
    let message = sample::outbound(&integration(), "m", at(0));
    let tokens: Vec<String> = (0..50).map(|n| format!("token-{n}")).collect();
    let claims = join_all(tokens.iter().map(|token| claim(s, &message, token, 0))).await;
    let granted = claims.iter().filter(|claim| matches!(claim, Claim::Granted { .. })).count();
    let held = claims.iter().filter(|claim| matches!(claim, Claim::Held { .. })).count();
    assert_eq!((granted, held), (1, 49));
}

async fn a_lapsed_claim_is_interrupted_with_its_token_or_taken_over(s: &DynamoStore) {
    let message = sample::outbound(&integration(), "m", at(0));
    let task = sample::task(&message);
    claim(s, &message, "one", 0).await;
    let retake = async |token, second| {
        Outbox::claim(s, &task, token, at(second), LEASE, true).await.unwrap()
    };
    assert_eq!(retake("two", 60).await, Claim::Held { until: at(60) });
    assert_eq!(retake("two", 61).await, Claim::Granted { attempt: 2 });
    // The first holder is one no more.
    assert_eq!(settle(s, &message, "one", &ending(Status::Failed, 1, 0), None).await, None);
    let steps = ending(Status::Accepted, 2, 61);
    assert!(settle(s, &message, "two", &steps, Some("wamid.2")).await.is_some());
}

async fn a_claim_whose_answer_was_lost_is_granted_again(s: &DynamoStore) {
    let message = sample::outbound(&integration(), "m", at(0));
    assert_eq!(claim(s, &message, "one", 0).await, Claim::Granted { attempt: 1 });
    assert_eq!(claim(s, &message, "one", 1).await, Claim::Granted { attempt: 1 });
}

async fn a_counted_release_keeps_the_attempt_and_an_uncounted_one_takes_it_back(s: &DynamoStore) {
    let message = sample::outbound(&integration(), "m", at(0));
    claim(s, &message, "one", 0).await;
    s.release(&message, "one", &[]).await.unwrap();
    let waiting = read(s, &message).await;
    assert_eq!(waiting.status, Status::Queued);
    assert_eq!(walked(&waiting), [(Status::Queued, None)], "a wait leaves no trace");
    assert_eq!(claim(s, &message, "two", 1).await, Claim::Granted { attempt: 1 });
    s.release(&message, "two", &ending(Status::Queued, 1, 1)).await.unwrap();
    assert_eq!(claim(s, &message, "three", 2).await, Claim::Granted { attempt: 2 });
    let steps = [
        (Status::Queued, None),
        (Status::Sending, Some(1)),
        (Status::Queued, Some(1)),
        (Status::Sending, Some(2)),
    ];
    assert_eq!(walked(&read(s, &message).await), steps);
}

async fn a_settled_message_is_never_claimed_again(s: &DynamoStore) {
    let integration = integration();
    for status in [Status::Unknown, Status::Accepted, Status::Expired, Status::Failed] {
        let message = sample::outbound(&integration, status.as_str(), at(0));
        claim(s, &message, "one", 0).await;
        settle(s, &message, "one", &ending(status, 1, 0), None).await.unwrap();
        for (token, retake) in [("one", false), ("two", false), ("two", true)] {
            let task = sample::task(&message);
            let claim = Outbox::claim(s, &task, token, at(9999), LEASE, retake).await.unwrap();
            let stands = Claim::Settled(Box::new(read(s, &message).await));
            assert_eq!(claim, stands, "{status:?}");
        }
    }
}

async fn a_message_that_was_handed_over_is_its_new_carriers_alone(s: &DynamoStore) {
    let first = integration();
    let message = sample::outbound(&first, "m", at(0));
    let old = sample::task(&message);
    let second = sample::telegram(&first.tenant, Some("2"));
    let to = HandedOver {
        provider: second.provider,
        integration: second.id,
        failover: FailoverPlan {
            generation: 1,
            remaining: vec![first.id],
            asked: 1,
            ..FailoverPlan::default()
        },
    };
    let new = old.clone().handed_over(to.clone());
    let claim = async |task: &SendTask, token, second| {
        Outbox::claim(s, task, token, at(second), LEASE, false).await.unwrap()
    };
    assert_eq!(claim(&old, "one", 0).await, Claim::Granted { attempt: 1 });
    let steps = ending(Status::Queued, 1, 0);
    assert!(s.hand_over(&message, "one", &steps, true, &to).await.unwrap());
    // An older record learns where it went.
    let away = Claim::HandedOver(Box::new(to.clone()));
    for token in ["one", "two"] {
        assert_eq!(claim(&old, token, 1).await, away);
    }
    let shown = read(s, &message).await;
    assert_eq!((shown.provider, shown.integration), (second.provider, second.id));
    assert_eq!(shown.history[1..], steps);
    assert_eq!(claim(&new, "three", 2).await, Claim::Granted { attempt: 2 });
    assert_eq!(claim(&new, "three", 2).await, Claim::Granted { attempt: 2 });
    assert_eq!(claim(&old, "two", 3).await, away);
    // Over again, without an attempt.
    let back = HandedOver {
        provider: first.provider,
        integration: first.id,
        failover: FailoverPlan {
            generation: 2,
            remaining: vec![second.id],
            asked: 1,
            ..FailoverPlan::default()
        },
    };
    let plain = [Step::plain(Status::Queued, at(4))];
    assert!(s.hand_over(&new.message, "three", &plain, false, &back).await.unwrap());
    let away = Claim::HandedOver(Box::new(back.clone()));
    assert_eq!(claim(&old, "four", 5).await, away);
    assert_eq!(claim(&new, "four", 5).await, away);
    let newest = new.clone().handed_over(back);
    assert_eq!(claim(&newest, "five", 5).await, Claim::Granted { attempt: 2 });
    let steps = ending(Status::Accepted, 2, 5);
    let settled = settle(s, &newest.message, "five", &steps, Some("wamid.9")).await.unwrap();
    assert_eq!((settled.integration, settled.status), (first.id, Status::Accepted));
    let found = s.resolve(&first.tenant, Provider::WhatsappCloud, "wamid.9").await.unwrap();
    assert_eq!(found, Some(message.id));
    for task in [&old, &new, &newest] {
        let stands = Claim::Settled(Box::new(settled.clone()));
        assert_eq!(claim(task, "six", 9999).await, stands);
    }
}

async fn who_has_no_right_to_a_message_hands_nothing_over(s: &DynamoStore) {
    let message = sample::outbound(&integration(), "m", at(0));
    let failover = FailoverPlan { generation: 1, ..FailoverPlan::default() };
    let (provider, integration) = (message.provider, message.integration);
    let to = HandedOver { provider, integration, failover };
    claim(s, &message, "one", 0).await;
    let before = read(s, &message).await;
    let steps = ending(Status::Queued, 1, 0);
    assert!(!s.hand_over(&message, "two", &steps, true, &to).await.unwrap());
    assert_eq!(read(s, &message).await, before);
    settle(s, &message, "one", &ending(Status::Failed, 1, 0), None).await.unwrap();
    let before = read(s, &message).await;
    assert!(!s.hand_over(&message, "one", &steps, true, &to).await.unwrap());
    assert_eq!(read(s, &message).await, before);
}

async fn how_an_integration_fared_is_changed_by_the_fastest(s: &DynamoStore) {
    let integration = integration();
    let (tenant, id) = (&integration.tenant, integration.id);
    assert_eq!(s.circuit(tenant, id).await.unwrap(), (Circuit::default(), 0));
    let failed = |n: i64| Circuit::default().failed(Breaker::default(), at(n), &n.to_string());
    let changes: Vec<Circuit> = (0..20).map(failed).collect();
    for seen in 0..3 {
        let written = changes.iter().map(|circuit| s.set_circuit(tenant, id, circuit, seen));
        let written = join_all(written).await;
        let new = written.into_iter().filter(|done| *done.as_ref().unwrap() == Recorded::New);
        assert_eq!(new.count(), 1);
        let (circuit, version) = s.circuit(tenant, id).await.unwrap();
        assert_eq!(version, seen + 1);
        assert!(changes.contains(&circuit));
    }
    let other = sample::whatsapp(tenant, Some("other")).id;
    assert_eq!(s.circuit(tenant, other).await.unwrap().1, 0);
}

async fn a_route_is_a_tenants_own_on_its_channel(s: &DynamoStore) {
    let integration = integration();
    let (own, other) = (&integration.tenant, tenant());
    assert_eq!(s.route(own, Channel::Whatsapp).await.unwrap(), None);
    for weight in [1, 2] {
        let carriers = vec![RoutedIntegration { integration: integration.id, weight }];
        let route = Route { integrations: carriers, policy: Policy::default() };
        s.set_route(own, Channel::Whatsapp, &route).await.unwrap();
        assert_eq!(s.route(own, Channel::Whatsapp).await.unwrap(), Some(route));
    }
    assert_eq!(s.route(own, Channel::Sms).await.unwrap(), None);
    assert_eq!(s.route(&other, Channel::Whatsapp).await.unwrap(), None);
}

async fn what_is_settled_shows_each_step_and_is_found_by_the_providers_id(s: &DynamoStore) {
    let message = sample::outbound(&integration(), "m", at(0));
    let tenant = &message.tenant;
    s.enqueue(&message).await.unwrap();
    assert_eq!(s.resolve(tenant, Provider::WhatsappCloud, "wamid.1").await.unwrap(), None);
    claim(s, &message, "one", 0).await;
    let steps = ending(Status::Accepted, 1, 0);
    let settled = settle(s, &message, "one", &steps, Some("wamid.1")).await.unwrap();
    assert_eq!(settled, read(s, &message).await);
    assert_eq!(settled.status, Status::Accepted);
    assert_eq!(settled.provider_message_id.as_deref(), Some("wamid.1"));
    assert_eq!(settled.history[1..], steps);
    let resolved = s.resolve(tenant, Provider::WhatsappCloud, "wamid.1").await.unwrap();
    assert_eq!(resolved, Some(message.id));
    assert_eq!(s.resolve(tenant, Provider::Telegram, "wamid.1").await.unwrap(), None);
}

async fn an_old_token_settles_and_releases_nothing(s: &DynamoStore) {
    let message = sample::outbound(&integration(), "m", at(0));
    claim(s, &message, "one", 0).await;
    s.release(&message, "one", &ending(Status::Queued, 1, 0)).await.unwrap();
    claim(s, &message, "two", 1).await;
    let before = read(s, &message).await;
    s.release(&message, "one", &ending(Status::Queued, 1, 0)).await.unwrap();
    assert_eq!(settle(s, &message, "one", &ending(Status::Failed, 1, 0), None).await, None);
    assert_eq!(read(s, &message).await, before);
    settle(s, &message, "two", &ending(Status::Accepted, 2, 1), Some("w")).await.unwrap();
    let settled = read(s, &message).await;
    // Twice by the same holder is once.
    let again = settle(s, &message, "two", &ending(Status::Failed, 2, 1), None).await;
    assert_eq!((again, read(s, &message).await), (None, settled));
    // A settlement of what was never written down is none.
    let unknown = sample::outbound(&integration(), "never", at(0));
    assert_eq!(settle(s, &unknown, "one", &ending(Status::Failed, 1, 0), None).await, None);
}

/// Every order of the numbers below `length`.
fn orders(length: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _place in 0..length {
        let longer = orders.iter().flat_map(|order| {
            let rest = (0..length).filter(|n| !order.contains(n));
            rest.map(|n| [order.as_slice(), &[n]].concat()).collect::<Vec<_>>()
        });
        orders = longer.collect();
    }
    orders
}

/// Settles a message as `end` and takes `receipts` in, in every order; gives the one message
/// that all orders must end in.
async fn in_every_order(
    s: &DynamoStore,
    end: Status,
    provider_message_id: Option<&str>,
    receipts: &[Status],
) -> Message {
    let integration = integration();
    let ended = orders(receipts.len() + 1).into_iter().map(async |order| {
        let name = order.iter().map(ToString::to_string).collect::<String>();
        let message = sample::outbound(&integration, &name, at(0));
        claim(s, &message, "one", 0).await;
        for &step in &order {
            let Some(&status) = receipts.get(step) else {
                settle(s, &message, "one", &ending(end, 1, 0), provider_message_id).await.unwrap();
                continue;
            };
            let receipt = Receipt { code: Some("131".to_owned()), ..sample::receipt(status, "w") };
            let time = at(10 + i64::from(status.rank()));
            s.advance(&message.tenant, message.id, &receipt, time).await.unwrap();
        }
        (order, read(s, &message).await)
    });
    let ended = join_all(ended).await;
    let (_, first) = &ended[0];
    for (order, message) in &ended {
        assert_eq!(message.status, first.status, "{order:?}");
        assert_eq!(message.history, first.history, "{order:?}");
        assert_eq!(message.provider_message_id, first.provider_message_id, "{order:?}");
    }
    first.clone()
}

async fn every_order_of_settling_and_receipts_ends_in_the_same_message(s: &DynamoStore) {
    let receipts = [Status::Sent, Status::Failed, Status::Delivered, Status::Read];
    for count in 1..=receipts.len() {
        let receipts = &receipts[..count];
        let message = in_every_order(s, Status::Accepted, Some("w"), receipts).await;
        assert_eq!(Some(&message.status), receipts.last());
        let mut steps = vec![Status::Queued, Status::Sending, Status::Accepted];
        steps.extend(receipts);
        let walked: Vec<Status> = message.history.iter().map(|step| step.status).collect();
        assert_eq!(walked, steps);
    }
}

async fn every_order_of_a_failure_and_its_receipts_ends_in_the_same_message(s: &DynamoStore) {
    for end in [Status::Unknown, Status::Failed, Status::Expired] {
        for receipts in [&[Status::Sent][..], &[Status::Sent, Status::Delivered]] {
            let message = in_every_order(s, end, None, receipts).await;
            assert_eq!(Some(message.status), receipts.iter().copied().max().max(Some(end)));
        }
    }
}

async fn a_receipt_twice_changes_nothing(s: &DynamoStore) {
    let message = sample::outbound(&integration(), "m", at(0));
    s.enqueue(&message).await.unwrap();
    let sent = sample::receipt(Status::Sent, "w");
    let moved = s.advance(&message.tenant, message.id, &sent, at(5)).await.unwrap();
    let StatusUpdate::Moved(moved) = moved else { panic!("it did not move") };
    assert_eq!(*moved, read(s, &message).await);
    assert_eq!(moved.provider_message_id.as_deref(), Some("w"));
    let again = s.advance(&message.tenant, message.id, &sent, at(6)).await.unwrap();
    assert_eq!(again, StatusUpdate::Stale(moved.clone()));
    assert_eq!(*moved, read(s, &message).await);
}

async fn a_receipt_for_no_message_is_missing(s: &DynamoStore) {
    let message = sample::outbound(&integration(), "never", at(0));
    let sent = sample::receipt(Status::Sent, "w");
    let advanced = s.advance(&message.tenant, message.id, &sent, at(5)).await.unwrap();
    assert_eq!(advanced, StatusUpdate::Missing);
    assert_eq!(s.message(&message.tenant, message.id).await.unwrap(), None);
}

fn inbound(integration: &Integration, name: &str, second: i64) -> Message {
    let mut message = sample::outbound(integration, name, at(second));
    message.direction = domain::message::Direction::Inbound;
    message.status = Status::Received;
    message.provider_message_id = Some(format!("wamid.{name}"));
    message.history = vec![Step::plain(Status::Received, at(second))];
    message
}

async fn an_inbound_message_is_recorded_once(s: &DynamoStore) {
    let message = inbound(&integration(), "m", 0);
    let recorded = join_all((0..20).map(|_| s.record(&message))).await;
    let new = recorded.into_iter().filter(|r| *r.as_ref().unwrap() == Recorded::New).count();
    assert_eq!(new, 1);
    let other =
        Message { content: domain::Content::Text { text: "other".into() }, ..message.clone() };
    assert_eq!(s.record(&other).await.unwrap(), Recorded::Duplicate);
    assert_eq!(read(s, &message).await, message);
}

async fn a_queued_message_is_written_once_and_never_over_a_later_state(s: &DynamoStore) {
    let message = sample::outbound(&integration(), "m", at(0));
    s.enqueue(&message).await.unwrap();
    assert_eq!(read(s, &message).await, message);
    claim(s, &message, "one", 0).await;
    s.enqueue(&message).await.unwrap();
    assert_eq!(read(s, &message).await.status, Status::Sending);
    // A sender may be faster than the note that it is queued.
    let faster = sample::outbound(&integration(), "faster", at(0));
    claim(s, &faster, "one", 0).await;
    s.enqueue(&faster).await.unwrap();
    assert_eq!(read(s, &faster).await.status, Status::Sending);
}

async fn a_conversation_is_made_once_and_moves_with_newer_messages_only(s: &DynamoStore) {
    let integration = integration();
    let mut first = sample::conversation(&integration, "p", at(0));
    first.contact.name = Some("Zoë".to_owned());
    let all = join_all((0..50).map(|_| s.touch(&first, at(1000)))).await;
    assert!(all.into_iter().all(|talk| talk.unwrap() == first));
    let page = s.conversations(&first.tenant, 10, None).await.unwrap();
    assert_eq!(page.items, [first.clone()]);

    let mut newer = sample::conversation(&integration, "p", at(100));
    newer.last_inbound_message = Some("wamid.newer".to_owned());
    let touched = s.touch(&newer, at(1000)).await.unwrap();
    assert_eq!(touched.created_at, first.created_at, "it began when it began");
    assert_eq!(touched.contact.name.as_deref(), Some("Zoë"), "no name is no new name");
    assert_eq!(touched.last_activity_at, at(100));
    assert_eq!(touched.last_inbound_message.as_deref(), Some("wamid.newer"));

    let mut older = sample::conversation(&integration, "p", at(50));
    older.contact.name = Some("Old".to_owned());
    assert_eq!(s.touch(&older, at(1000)).await.unwrap(), touched, "an older one changes nothing");
    let read = s.conversation(&first.tenant, first.id).await.unwrap();
    assert_eq!(read, Some(touched));
}

async fn a_time_that_is_still_to_come_is_no_later_message_and_opens_no_window(s: &DynamoStore) {
    let hour = 3600;
    for (person, date) in [("far", Timestamp::MAX), ("near", at(10 * hour))] {
        let mut dated = sample::conversation(&integration(), person, at(0));
        dated.last_inbound_at = Some(date);
        s.touch(&dated, at(0)).await.unwrap();
        let read = async || s.conversation(&dated.tenant, dated.id).await.unwrap().unwrap();
        assert_eq!(read().await.last_inbound_at, None, "{person}");
        assert!(!read().await.in_service_window(at(1)), "{person}");
        // They write again: that is when they wrote, and the window opens by it.
        let mut again = dated.clone();
        (again.last_activity_at, again.last_inbound_at) = (at(hour), Some(at(hour - 1)));
        let touched = s.touch(&again, at(hour)).await.unwrap();
        assert_eq!(touched.last_inbound_at, Some(at(hour - 1)), "{person}");
        assert_eq!(read().await, touched, "{person}");
        assert!(touched.in_service_window(at(hour)) && !touched.in_service_window(at(25 * hour)));
        // What came before it moves nothing back, whenever it is worked.
        let mut late = dated.clone();
        late.last_inbound_at = Some(at(1));
        assert_eq!(s.touch(&late, at(2 * hour)).await.unwrap(), touched, "{person}");
    }
}

async fn a_date_of_any_age_is_kept(s: &DynamoStore) {
    let mut old = sample::conversation(&integration(), "old", at(0));
    old.last_inbound_at = Some(Timestamp::MIN);
    let touched = s.touch(&old, at(0)).await.unwrap();
    assert!(touched.last_inbound_at.is_some_and(|at| at <= Timestamp::UNIX_EPOCH));
    assert!(!touched.in_service_window(at(0)));
    old.last_inbound_at = Some(at(0));
    assert_eq!(s.touch(&old, at(0)).await.unwrap().last_inbound_at, Some(at(0)));
}

async fn a_tenant_and_its_accounts_are_known(s: &DynamoStore) {
    let own = integration();
    assert!(!s.is_tenant(&own.tenant).await.unwrap());
    let tenant = Tenant { id: own.tenant.clone(), name: "Own".to_owned(), created_at: at(0) };
    s.create_tenant(&tenant).await.unwrap();
    assert!(s.is_tenant(&own.tenant).await.unwrap());
    assert!(!s.is_tenant(&TenantId::platform()).await.unwrap());
    assert_eq!(s.accounts_of(&own.tenant).await.unwrap(), []);
    s.put_integration(&own, &[], None).await.unwrap();
    assert_eq!(s.accounts_of(&own.tenant).await.unwrap(), std::slice::from_ref(&own));
    assert_eq!(s.accounts_of(&tenant.id).await.unwrap().len(), 1);
}

async fn a_message_that_leaves_moves_the_activity_and_not_the_inbound(s: &DynamoStore) {
    let integration = integration();
    let mut leaving = sample::conversation(&integration, "p", at(0));
    (leaving.last_inbound_at, leaving.last_inbound_message) = (None, None);
    s.touch_outbound(&leaving).await.unwrap();
    let read = async || s.conversation(&leaving.tenant, leaving.id).await.unwrap().unwrap();
    assert_eq!(read().await, leaving);
    let talk = s.touch(&sample::conversation(&integration, "p", at(10)), at(10)).await.unwrap();
    assert_eq!((talk.created_at, talk.last_inbound_at), (at(0), Some(at(10))));
    leaving.last_activity_at = at(20);
    s.touch_outbound(&leaving).await.unwrap();
    let talk = read().await;
    assert_eq!((talk.last_activity_at, talk.last_inbound_at), (at(20), Some(at(10))));
}

async fn an_idempotency_key_stands_for_its_message_for_a_day(s: &DynamoStore) {
    let tenant = tenant();
    let (one, two) = (MessageId::derived(&["1"]), MessageId::derived(&["2"]));
    let reserve = async |request, message, second| {
        s.reserve(&tenant, "key", request, message, at(second)).await.unwrap()
    };
    let reserved =
        async |request, second| s.reserved(&tenant, "key", request, at(second)).await.unwrap();
    assert_eq!(reserved("a", 0).await, Reservation::New);
    assert_eq!(reserve("a", one, 0).await, Reservation::New);
    assert_eq!(reserve("a", two, 1).await, Reservation::Same(one));
    assert_eq!(reserve("b", two, 1).await, Reservation::Other);
    assert_eq!(reserved("a", 1).await, Reservation::Same(one));
    assert_eq!(reserved("b", 1).await, Reservation::Other);
    let day = 24 * 3600;
    assert_eq!(reserve("b", two, day).await, Reservation::Other);
    assert_eq!(reserved("b", day + 1).await, Reservation::New, "the time decides");
    assert_eq!(reserve("b", two, day + 1).await, Reservation::New);
    assert_eq!(reserved("b", day + 1).await, Reservation::Same(two));
}

/// Reads page after page of three.
async fn all<T>(mut page: impl AsyncFnMut(Option<String>) -> Page<T>) -> Vec<T> {
    let (mut items, mut cursor) = (Vec::new(), None);
    for _page in 0..100 {
        let next = page(cursor).await;
        assert!(next.items.len() <= 3);
        items.extend(next.items);
        cursor = next.next;
        if cursor.is_none() {
            return items;
        }
    }
    panic!("the pages do not end");
}

async fn messages_and_conversations_are_listed_in_pages(s: &DynamoStore) {
    let integration = integration();
    let tenant = &integration.tenant;
    let hour = 3600;
    for n in 0..7 {
        // Two share an instant: the id decides.
        let message = inbound(&integration, &format!("m{n}"), n / 2);
        s.record(&message).await.unwrap();
        let person = format!("p{n}");
        s.touch(&sample::conversation(&integration, &person, at(n * hour)), at(n * hour))
            .await
            .unwrap();
    }
    let talk = sample::conversation_id(&integration, sample::PERSON);
    let messages =
        all(async |cursor| s.messages(tenant, talk, 3, cursor.as_deref()).await.unwrap()).await;
    assert_eq!(messages.len(), 7);
    let newest_first = |a: &Message, b: &Message| (a.created_at, a.id) > (b.created_at, b.id);
    assert!(messages.windows(2).all(|pair| newest_first(&pair[0], &pair[1])));
    let conversations =
        all(async |cursor| s.conversations(tenant, 3, cursor.as_deref()).await.unwrap()).await;
    let people: Vec<_> = conversations.iter().map(|talk| talk.contact.address.as_str()).collect();
    assert_eq!(people, ["p6", "p5", "p4", "p3", "p2", "p1", "p0"]);
    // Within the hour the activity decides, not the place.
    let last = at(6 * hour + 1);
    s.touch(&sample::conversation(&integration, "p5", last), last).await.unwrap();
    let page = s.conversations(tenant, 3, None).await.unwrap();
    assert_eq!(page.items[0].contact.address, "p5");
    let none = s.messages(tenant, sample::conversation_id(&integration, "x"), 3, None).await;
    assert_eq!(none.unwrap(), Page { items: Vec::new(), next: None });
}

async fn a_file_stands_as_it_was_last_noted(s: &DynamoStore) {
    let integration = integration();
    let tenant = &integration.tenant;
    let state = async |message: &Message| {
        s.message(tenant, message.id).await.unwrap().and_then(|(_, state)| state)
    };
    let text = inbound(&integration, "text", 0);
    s.record(&text).await.unwrap();
    assert_eq!(state(&text).await, None);
    let media =
        domain::content::Media { provider_media_id: Some("1".into()), ..Default::default() };
    let content = domain::Content::Image { media };
    let image = Message { content, ..inbound(&integration, "image", 0) };
    s.record(&image).await.unwrap();
    assert_eq!(state(&image).await, Some(MediaState::Pending));
    for noted in [
        MediaState::Failed { code: "404".to_owned() },
        MediaState::Stored { key: "media/1".to_owned() },
    ] {
        s.set_media(tenant, image.id, &noted).await.unwrap();
        assert_eq!(state(&image).await, Some(noted));
    }
    let missing = inbound(&integration, "missing", 0);
    s.set_media(tenant, missing.id, &MediaState::Pending).await.unwrap();
    assert_eq!(s.message(tenant, missing.id).await.unwrap(), None);
}

fn notification(integration: &Integration) -> (NotificationId, Notification) {
    let message = inbound(integration, "m", 0);
    let data = NotificationData {
        tenant: integration.tenant.clone(),
        message,
        conversation: None,
        job: None,
    };
    let kind = NotificationKind::MessageReceived;
    (data.notification_id(kind), Notification { kind, timestamp: at(0), data })
}

async fn claim_notice(
    s: &DynamoStore,
    tenant: &TenantId,
    id: NotificationId,
    notification: Option<&Notification>,
    second: i64,
) -> NotificationClaim {
    Notifications::claim(s, tenant, id, notification, at(second), LEASE).await.unwrap()
}

fn attempt(claim: &NotificationClaim) -> Option<u32> {
    match claim {
        NotificationClaim::Granted { attempt, .. } => Some(*attempt),
        _ => None,
    }
}

async fn a_notice_is_told_by_one_and_settled_once(s: &DynamoStore) {
    let integration = integration();
    let tenant = &integration.tenant;
    let (id, notification) = notification(&integration);
    let unknown = claim_notice(s, tenant, id, None, 0).await;
    assert!(matches!(unknown, NotificationClaim::Settled), "there is nothing to tell");
    let claims = (0..20).map(|_| claim_notice(s, tenant, id, Some(&notification), 0));
    let claims = join_all(claims).await;
    assert_eq!(claims.iter().filter_map(attempt).collect::<Vec<_>>(), [1]);
    assert_eq!(claims.iter().filter(|c| matches!(c, NotificationClaim::Held { .. })).count(), 19);
    let held = claim_notice(s, tenant, id, None, 60).await;
    assert!(matches!(held, NotificationClaim::Held { until } if until == at(60)));
    // A lapsed lease is taken over by the record that comes back, and by no other that tells
    // of the same with other words.
    let mut longer = notification.clone();
    longer.data.message.history.push(Step::plain(Status::Read, at(1)));
    let other = claim_notice(s, tenant, id, Some(&longer), 61).await;
    assert!(matches!(other, NotificationClaim::Held { until } if until > at(61)));
    assert_eq!(attempt(&claim_notice(s, tenant, id, Some(&notification), 61).await), Some(2));
    let settle = async |outcome| {
        Notifications::settle(s, tenant, id, outcome, &notification, Some(200), at(62))
            .await
            .unwrap();
    };
    settle(NotificationOutcome::Delivered).await;
    settle(NotificationOutcome::RetryAt(at(70))).await;
    let settled = claim_notice(s, tenant, id, Some(&notification), 9999).await;
    assert!(matches!(settled, NotificationClaim::Settled), "what was told stays told");
}

async fn a_notice_waits_for_its_time(s: &DynamoStore) {
    let integration = integration();
    let tenant = &integration.tenant;
    let (id, notification) = notification(&integration);
    claim_notice(s, tenant, id, Some(&notification), 0).await;
    let later = NotificationOutcome::RetryAt(at(300));
    Notifications::settle(s, tenant, id, later, &notification, None, at(1)).await.unwrap();
    for second in [1, 299] {
        let early = claim_notice(s, tenant, id, Some(&notification), second).await;
        assert!(matches!(early, NotificationClaim::Early { until } if until == at(300)));
    }
    // The table has what to tell since it is told again.
    let NotificationClaim::Granted { attempt: 2, notification: kept } =
        claim_notice(s, tenant, id, None, 300).await
    else {
        panic!("its time has come")
    };
    assert_eq!(kept.data.message, notification.data.message);
    let given_up = NotificationOutcome::GivenUp;
    Notifications::settle(s, tenant, id, given_up, &notification, None, at(301)).await.unwrap();
    let settled = claim_notice(s, tenant, id, Some(&notification), 9999).await;
    assert!(matches!(settled, NotificationClaim::Settled));
}

async fn a_retry_comes_when_it_is_due_and_goes_when_it_is_done(s: &DynamoStore) {
    let tenant = tenant();
    let ids: Vec<NotificationId> =
        (0..40).map(|n| NotificationId::derived(&[&n.to_string()])).collect();
    // So far off that a running hub's own schedule does not take them.
    let time = |n: i64| Timestamp::from_second(4_000_000_000 + n).unwrap();
    for (n, id) in (0..).zip(&ids) {
        s.schedule(&tenant, *id, time(n)).await.unwrap();
        s.schedule(&tenant, *id, time(n)).await.unwrap();
    }
    let due = async |n| {
        let mut due = s.due(time(n), 500).await.unwrap();
        due.retain(|due| due.tenant == tenant);
        due
    };
    assert_eq!(due(-1).await.len(), 0);
    assert_eq!(due(0).await.len(), 1, "this very instant is due");
    let half = due(19).await;
    let mut found: Vec<_> = half.iter().map(|due| due.id).collect();
    found.sort();
    let mut expected = ids[..20].to_vec();
    expected.sort();
    assert_eq!(found, expected);
    assert!(s.due(time(100), 3).await.unwrap().len() <= 3);
    s.done(&half).await.unwrap();
    s.done(&half).await.unwrap();
    assert_eq!(due(100).await.len(), 20);
    s.done(&due(100).await).await.unwrap();
    assert_eq!(due(100).await.len(), 0);
}

async fn a_window_lets_as_many_through_as_the_pace_says(s: &DynamoStore) {
    let tenant = tenant();
    let turn = async |identity: &str, per: u64, millis: u64| {
        let per = Duration::from_secs(per);
        let pace = Pace { identity: identity.to_owned(), messages: 3, per };
        let now = at(0) + Duration::from_millis(millis);
        s.take_turn(&tenant, &pace, now).await.unwrap()
    };
    let turns = join_all((0..10).map(|_| turn("number", 1, 250))).await;
    assert_eq!(turns.iter().filter(|wait| wait.is_none()).count(), 3);
    let wait = Some(Duration::from_millis(750));
    assert!(turns.iter().flatten().all(|other| Some(*other) == wait));
    assert_eq!(turn("number", 1, 1000).await, None, "the next window is new");
    assert_eq!(turn("other", 1, 250).await, None, "and another's is another");
    let foreign = super_tenant_turn(s).await;
    assert_eq!(foreign, None, "as is another tenant's");
    for _ in 0..3 {
        assert_eq!(turn("slow", 10, 1).await, None);
    }
    assert_eq!(turn("slow", 10, 9_999).await, Some(Duration::from_millis(1)));
}

async fn super_tenant_turn(s: &DynamoStore) -> Option<Duration> {
    let pace = Pace { identity: "number".to_owned(), messages: 3, per: Duration::from_secs(1) };
    s.take_turn(&tenant(), &pace, at(0)).await.unwrap()
}

fn api_key(tenant: &TenantId, name: &str) -> ApiKey {
    ApiKey {
        id: KeyId::derived(&[tenant.as_str(), name]),
        tenant: tenant.clone(),
        scopes: vec![Scope::Send, Scope::Read],
        hint: "abcd".to_owned(),
        created_at: at(0),
    }
}

async fn a_key_is_found_until_it_is_revoked_by_its_tenant(s: &DynamoStore) {
    let (acme, other) = (tenant(), tenant());
    let (one, two) = (api_key(&acme, "one"), api_key(&acme, "two"));
    s.create_key(&one, "hash-1").await.unwrap();
    s.create_key(&two, "hash-2").await.unwrap();
    assert_eq!(s.key(one.id).await.unwrap(), Some((one.clone(), "hash-1".to_owned())));
    assert_eq!(s.keys(&acme).await.unwrap().len(), 2);
    assert!(!s.revoke_key(&other, one.id).await.unwrap(), "the other tenant does not own it");
    assert!(s.key(one.id).await.unwrap().is_some());
    assert!(s.revoke_key(&acme, one.id).await.unwrap());
    assert!(!s.revoke_key(&acme, one.id).await.unwrap());
    assert_eq!(s.key(one.id).await.unwrap(), None);
    assert_eq!(s.keys(&acme).await.unwrap(), [two]);
}

async fn a_tenant_is_made_once_and_listed(s: &DynamoStore) {
    let ids = [tenant(), tenant(), tenant(), tenant()];
    for id in &ids {
        let made = Tenant { id: id.clone(), name: "Acme".to_owned(), created_at: at(0) };
        assert_eq!(s.create_tenant(&made).await.unwrap(), Recorded::New);
        let other = Tenant { name: "Other".to_owned(), ..made.clone() };
        assert_eq!(s.create_tenant(&other).await.unwrap(), Recorded::Duplicate);
        assert_eq!(s.tenant(id).await.unwrap(), Some(made));
    }
    let listed = all(async |cursor| s.tenants(3, cursor.as_deref()).await.unwrap()).await;
    assert!(listed.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert!(ids.iter().all(|id| listed.iter().any(|tenant| tenant.id == *id)));
    assert_eq!(s.tenant(&tenant()).await.unwrap(), None);
}

async fn an_automation_is_set_disabled_and_set_anew(s: &DynamoStore) {
    let tenant = tenant();
    let read = async || s.automation(&tenant).await.unwrap();
    assert_eq!(read().await, Automation::None);
    s.disable(&tenant, at(0)).await.unwrap();
    assert_eq!(read().await, Automation::None);
    s.set_automation(&tenant, &sample::push()).await.unwrap();
    assert_eq!(read().await, sample::push());
    s.disable(&tenant, at(1)).await.unwrap();
    s.disable(&tenant, at(2)).await.unwrap();
    let Automation::Push(push) = read().await else { panic!("it was set") };
    assert_eq!(push.disabled_at, Some(at(1)));
    s.set_automation(&tenant, &Automation::Push(push)).await.unwrap();
    assert_eq!(read().await, sample::push(), "set anew it listens again");
    s.set_automation(&tenant, &Automation::None).await.unwrap();
    assert_eq!(read().await, Automation::None);
}

async fn find(s: &DynamoStore, integration: &Integration) -> Option<Integration> {
    let found = Directory::integration(s, integration.id).await.unwrap();
    assert_eq!(found, Registry::integration(s, integration.id).await.unwrap());
    found
}

async fn holder(s: &DynamoStore, integration: &Integration) -> Option<TenantId> {
    let account = integration.account.as_deref().unwrap();
    s.account(integration.provider, account).await.unwrap().map(|holder| holder.tenant)
}

async fn an_account_and_a_path_belong_to_one_integration(s: &DynamoStore) {
    let ours = integration();
    let path = [format!("hash-of-{}", ours.tenant)];
    assert_eq!(s.put_integration(&ours, &path, None).await.unwrap(), Claimed::Ours);
    assert_eq!(s.put_integration(&ours, &path, None).await.unwrap(), Claimed::Ours);
    assert_eq!(find(s, &ours).await, Some(ours.clone()));
    assert_eq!(holder(s, &ours).await.as_ref(), Some(&ours.tenant));
    let by_path = s.by_path_secret(ours.provider, &path[0]).await.unwrap();
    assert_eq!(by_path, Some(ours.id));
    let elsewhere = s.by_path_secret(Provider::Telegram, &path[0]).await.unwrap();
    assert_eq!(elsewhere, None, "the provider is part of the place");

    let thief = sample::whatsapp(&tenant(), ours.account.as_deref());
    assert_eq!(s.put_integration(&thief, &[], None).await.unwrap(), Claimed::Taken);
    assert_eq!(find(s, &thief).await, None, "all or nothing");
    assert_eq!(holder(s, &ours).await.as_ref(), Some(&ours.tenant));
    let other = integration();
    assert_eq!(s.put_integration(&other, &path, None).await.unwrap(), Claimed::Taken);
    assert_eq!((find(s, &other).await, holder(s, &other).await), (None, None));
}

async fn what_an_integration_gives_up_is_free_again(s: &DynamoStore) {
    let before = integration();
    let tenant = &before.tenant;
    let old = [format!("old-{tenant}"), format!("kept-{tenant}")];
    s.put_integration(&before, &old, None).await.unwrap();
    let mut after = before.clone();
    after.account = Some(format!("moved-{tenant}"));
    let new = [format!("kept-{tenant}"), format!("new-{tenant}")];
    let claimed = s.put_integration(&after, &new, Some((&before, &old))).await.unwrap();
    assert_eq!(claimed, Claimed::Ours);
    assert_eq!(holder(s, &before).await, None);
    assert_eq!(holder(s, &after).await.as_ref(), Some(tenant));
    let by_path = async |hash| s.by_path_secret(Provider::WhatsappCloud, hash).await.unwrap();
    assert_eq!(by_path(&old[0]).await, None);
    assert_eq!(by_path(&new[0]).await, Some(after.id));
    assert_eq!(by_path(&new[1]).await, Some(after.id));

    let heir = sample::whatsapp(&self::tenant(), before.account.as_deref());
    assert_eq!(s.put_integration(&heir, &[], None).await.unwrap(), Claimed::Ours);
    // What failed gives nothing up.
    let mut grabbing = after.clone();
    grabbing.account.clone_from(&heir.account);
    let taken = s.put_integration(&grabbing, &[], Some((&after, &new))).await.unwrap();
    assert_eq!(taken, Claimed::Taken);
    assert_eq!(find(s, &after).await, Some(after.clone()));
    assert_eq!(holder(s, &after).await.as_ref(), Some(tenant));

    s.delete_integration(&after, &new).await.unwrap();
    s.delete_integration(&after, &new).await.unwrap();
    assert_eq!((find(s, &after).await, holder(s, &after).await), (None, None));
    assert_eq!(by_path(&new[0]).await, None);
    assert_eq!(holder(s, &heir).await.as_ref(), Some(&heir.tenant));
}

async fn the_operators_place_is_one_at_each_provider(s: &DynamoStore) {
    let provider = Provider::Telegram;
    // In a shared table somebody may have it; then the claim stays.
    if s.platform(provider).await.unwrap().is_some() {
        return;
    }
    let account = tenant().to_string();
    let app = sample::telegram(&TenantId::platform(), Some(&account));
    assert_eq!(s.put_integration(&app, &[], None).await.unwrap(), Claimed::Ours);
    assert_eq!(s.platform(provider).await.unwrap(), Some(app.clone()));
    let second = sample::telegram(&TenantId::platform(), Some(&format!("{account}-2")));
    assert_eq!(s.put_integration(&second, &[], None).await.unwrap(), Claimed::Taken);
    s.delete_integration(&app, &[]).await.unwrap();
    assert_eq!(s.platform(provider).await.unwrap(), None);
}

async fn a_tenant_reads_nothing_of_anothers(s: &DynamoStore) {
    let other = integration();
    let (a, b) = (&other.tenant, &tenant());
    s.put_integration(&other, &[], None).await.unwrap();
    s.create_key(&api_key(a, "key"), "hash").await.unwrap();
    s.set_automation(a, &sample::push()).await.unwrap();
    let message = sample::outbound(&other, "m", at(0));
    claim(s, &message, "one", 0).await;
    settle(s, &message, "one", &ending(Status::Accepted, 1, 0), Some("w")).await.unwrap();
    let talk = s.touch(&sample::conversation(&other, sample::PERSON, at(0)), at(0)).await.unwrap();
    s.reserve(a, "key", "request", message.id, at(0)).await.unwrap();
    let (id, notification) = notification(&other);
    claim_notice(s, a, id, Some(&notification), 0).await;

    assert_eq!(s.message(b, message.id).await.unwrap(), None);
    assert_eq!(s.conversation(b, talk.id).await.unwrap(), None);
    assert!(s.messages(b, talk.id, 10, None).await.unwrap().items.is_empty());
    assert!(s.conversations(b, 10, None).await.unwrap().items.is_empty());
    assert!(MessageReader::integrations(s, b).await.unwrap().is_empty());
    assert!(Registry::integrations(s, b).await.unwrap().is_empty());
    assert!(s.keys(b).await.unwrap().is_empty());
    assert_eq!(s.automation(b).await.unwrap(), Automation::None);
    assert_eq!(s.resolve(b, Provider::WhatsappCloud, "w").await.unwrap(), None);
    assert_eq!(s.reserved(b, "key", "request", at(1)).await.unwrap(), Reservation::New);
    let claim = claim_notice(s, b, id, None, 9999).await;
    assert!(matches!(claim, NotificationClaim::Settled));
    let read = sample::receipt(Status::Read, "w");
    assert_eq!(s.advance(b, message.id, &read, at(9)).await.unwrap(), StatusUpdate::Missing);
    s.set_media(b, message.id, &MediaState::Pending).await.unwrap();
    s.disable(b, at(9)).await.unwrap();

    let (kept, media) = s.message(a, message.id).await.unwrap().unwrap();
    assert_eq!((kept.status, media), (Status::Accepted, None));
    assert_eq!(s.automation(a).await.unwrap(), sample::push());
    assert_eq!(MessageReader::integrations(s, a).await.unwrap().len(), 1);
}

fn event_of(tenant: &TenantId, provider: Provider, name: &str, second: i64) -> StoredEvent {
    let id = EventId::derived(&[tenant.as_str(), provider.as_str(), name]);
    let record = EventRecord {
        id,
        tenant: tenant.clone(),
        provider,
        integration: Some(domain::IntegrationId::derived(&["i"])),
        account: "acct_1".to_owned(),
        provider_event_id: name.to_owned(),
        kind: Kind::Other,
        name: "invoice.paid".to_owned(),
        occurred_at: at(second - 1),
        received_at: at(second) + Duration::from_micros(7),
        state: State::Recorded,
        reason: None,
        replays: 0,
        last_replay: None,
    };
    StoredEvent { record, body: BodyLocation::Inline(r#"{"raw":{"a":1.0}}"#.to_owned()) }
}

fn parked_of(tenant: &TenantId, name: &str, second: i64) -> StoredEvent {
    let mut event = event_of(tenant, Provider::Stripe, name, second);
    event.record.state = State::Parked;
    event.record.reason = Some("line 1, column 1".to_owned());
    event.body = BodyLocation::Object("archive/x".to_owned());
    event
}

async fn record_event(
    s: &DynamoStore,
    event: &StoredEvent,
    single_use: Option<&str>,
) -> RecordOutcome {
    s.record_event(event, single_use).await.unwrap()
}

/// Every page of a list, and how many pages there were.
async fn all_events(
    s: &DynamoStore,
    tenant: &TenantId,
    filter: &EventFilter,
    direction: Direction,
    limit: u32,
) -> (Vec<String>, usize) {
    let (mut names, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let page = s.events(tenant, filter, direction, limit, cursor.as_deref()).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        names.extend(page.items.into_iter().map(|event| event.record.provider_event_id));
        (cursor, pages) = (page.next, pages + 1);
        assert!(pages < 100, "the list has an end");
        if cursor.is_none() {
            return (names, pages);
        }
    }
}

async fn an_event_is_recorded_once_and_read_as_it_was_written(s: &DynamoStore) {
    let tenant = tenant();
    let event = event_of(&tenant, Provider::Stripe, "evt_1", 0);
    assert_eq!(s.event(&tenant, event.record.id).await.unwrap(), None);
    assert_eq!(record_event(s, &event, None).await, RecordOutcome::New);
    let mut later = event.clone();
    later.record.received_at = at(90);
    assert_eq!(record_event(s, &later, None).await, RecordOutcome::Duplicate);
    assert_eq!(s.event(&tenant, event.record.id).await.unwrap(), Some(event));
    let mut large = event_of(&tenant, Provider::Stripe, "evt_2", 0);
    large.body = BodyLocation::Object("archive/t/stripe/events/x.json".to_owned());
    assert_eq!(record_event(s, &large, None).await, RecordOutcome::New);
    assert_eq!(s.event(&tenant, large.record.id).await.unwrap(), Some(large));
}

async fn fifty_records_of_one_event_are_one(s: &DynamoStore) {
    let tenant = tenant();
    let event = event_of(&tenant, Provider::Stripe, "evt_1", 0);
    let entered = join_all((0..50).map(|_| record_event(s, &event, None))).await;
    assert_eq!(entered.iter().filter(|entered| **entered == RecordOutcome::New).count(), 1);
    let all = EventFilter::default();
    let (names, _) = all_events(s, &tenant, &all, Direction::NewestFirst, 10).await;
    assert_eq!(names, ["evt_1"]);
}

async fn what_may_prove_one_event_proves_no_other(s: &DynamoStore) {
    let tenant = tenant();
    let one = event_of(&tenant, Provider::Mailgun, "one", 0);
    let other = event_of(&tenant, Provider::Mailgun, "other", 1);
    assert_eq!(record_event(s, &one, Some("token-1")).await, RecordOutcome::New);
    assert_eq!(record_event(s, &one, Some("token-1")).await, RecordOutcome::Duplicate);
    assert_eq!(record_event(s, &other, Some("token-1")).await, RecordOutcome::ReusedToken);
    assert_eq!(s.event(&tenant, other.record.id).await.unwrap(), None, "nothing of it is kept");
    assert_eq!(record_event(s, &other, Some("token-2")).await, RecordOutcome::New);
    // A redelivery may be proved anew.
    assert_eq!(record_event(s, &one, Some("token-3")).await, RecordOutcome::Duplicate);
    assert_eq!(record_event(s, &one, Some("token-2")).await, RecordOutcome::ReusedToken);
    // Another tenant's proofs are their own.
    let globex = self::tenant();
    let other = event_of(&globex, Provider::Mailgun, "other", 0);
    assert_eq!(record_event(s, &other, Some("token-1")).await, RecordOutcome::New);
}

async fn a_replay_is_noted_once_at_its_event(s: &DynamoStore) {
    let tenant = tenant();
    let event = event_of(&tenant, Provider::Stripe, "evt_1", 0);
    let [one, two] = ["one", "two"].map(|name| ReplayId::derived(&[name]));
    let id = event.record.id;
    let note = async |replay, second| s.note_replay(&tenant, id, replay, at(second)).await.unwrap();
    assert_eq!(note(one, 1).await, Recorded::Duplicate, "there is no such event");
    assert_eq!(s.event(&tenant, id).await.unwrap(), None);
    record_event(s, &event, None).await;
    assert_eq!(note(one, 1).await, Recorded::New);
    assert_eq!(note(one, 2).await, Recorded::Duplicate);
    assert_eq!(note(two, 3).await, Recorded::New);
    assert_eq!(note(one, 4).await, Recorded::Duplicate, "in whatever order they come");
    let record = s.event(&tenant, id).await.unwrap().unwrap().record;
    assert_eq!(record.replays, 2);
    assert_eq!(record.last_replay, Some(LastReplay { replay: two, at: at(3) }));
    assert_eq!(record_event(s, &event, None).await, RecordOutcome::Duplicate);
    assert_eq!(s.event(&tenant, id).await.unwrap().unwrap().record.replays, 2);
}

async fn events_are_listed_in_pages_by_what_they_are(s: &DynamoStore) {
    let tenant = tenant();
    for second in 0..12 {
        let even = second % 2 == 0;
        let provider = if even { Provider::Stripe } else { Provider::Shopify };
        let mut event = event_of(&tenant, provider, &format!("{second:02}"), second);
        if second % 3 == 0 {
            (event.record.kind, event.record.name) = (Kind::Message, "message.text".to_owned());
        }
        record_event(s, &event, None).await;
    }
    let list = async |filter: EventFilter| {
        let (newest, oldest) = (Direction::NewestFirst, Direction::OldestFirst);
        let (mut names, _) = all_events(s, &tenant, &filter, newest, 2).await;
        let (all, _) = all_events(s, &tenant, &filter, newest, 100).await;
        assert_eq!(names, all, "whatever the size of a page");
        names.reverse();
        assert_eq!(all_events(s, &tenant, &filter, oldest, 3).await.0, names);
        names.join(" ")
    };
    let every = "00 01 02 03 04 05 06 07 08 09 10 11";
    assert_eq!(list(EventFilter::default()).await, every);
    let provider = Some(Provider::Stripe);
    let stripe = EventFilter { provider, ..EventFilter::default() };
    assert_eq!(list(stripe.clone()).await, "00 02 04 06 08 10");
    let messages = EventFilter { kind: Some(Kind::Message), ..stripe };
    assert_eq!(list(messages).await, "00 06");
    let name = Some("invoice.paid".to_owned());
    let named = EventFilter { name, ..EventFilter::default() };
    assert_eq!(list(named).await, "01 02 04 05 07 08 10 11");
    let (from, to) = (Some(at(3)), Some(at(5)));
    let times = EventFilter { from, to, ..EventFilter::default() };
    assert_eq!(list(times).await, "03 04");
    let exact = Some(at(4) + Duration::from_micros(7));
    let since = EventFilter { from: exact, to: Some(at(6)), ..EventFilter::default() };
    assert_eq!(list(since).await, "04 05", "from is in");
    let until = EventFilter { from: Some(at(3)), to: exact, ..EventFilter::default() };
    assert_eq!(list(until).await, "03", "and to is not");
    let never = EventFilter { from: Some(at(5)), to: Some(at(3)), ..EventFilter::default() };
    assert_eq!(list(never).await, "");
    let state = Some(State::Parked);
    assert_eq!(list(EventFilter { state, ..EventFilter::default() }).await, "");
    let state = Some(State::Recorded);
    assert_eq!(list(EventFilter { state, ..EventFilter::default() }).await, every);
}

async fn what_is_parked_is_in_both_lists(s: &DynamoStore) {
    let tenant = tenant();
    record_event(s, &event_of(&tenant, Provider::Stripe, "read", 0), None).await;
    let parked = parked_of(&tenant, "parked", 1);
    assert_eq!(record_event(s, &parked, None).await, RecordOutcome::New);
    assert_eq!(record_event(s, &parked, None).await, RecordOutcome::Duplicate);
    assert_eq!(s.event(&tenant, parked.record.id).await.unwrap(), Some(parked));
    let list = async |state| {
        let filter = EventFilter { state, ..EventFilter::default() };
        all_events(s, &tenant, &filter, Direction::OldestFirst, 1).await.0
    };
    assert_eq!(list(None).await, ["read", "parked"]);
    assert_eq!(list(Some(State::Parked)).await, ["parked"]);
    assert_eq!(list(Some(State::Recorded)).await, ["read"]);
}

async fn a_list_in_which_little_fits_goes_on_to_its_end(s: &DynamoStore) {
    let tenant = tenant();
    let events: Vec<StoredEvent> = (0..250)
        .map(|second| {
            let rare = second % 100 == 3;
            let provider = if rare { Provider::Ses } else { Provider::Stripe };
            let mut event = event_of(&tenant, provider, &format!("{second:03}"), second);
            if second % 90 == 7 {
                "rare".clone_into(&mut event.record.name);
            }
            event
        })
        .collect();
    for some in events.chunks(50) {
        join_all(some.iter().map(|event| record_event(s, event, None))).await;
    }
    let provider = Some(Provider::Ses);
    let filter = EventFilter { provider, ..EventFilter::default() };
    let (names, pages) = all_events(s, &tenant, &filter, Direction::OldestFirst, 2).await;
    assert_eq!(names, ["003", "103", "203"]);
    assert!(pages <= 3, "what does not fit is passed over by its key");
    let filter = EventFilter { name: Some("rare".to_owned()), ..EventFilter::default() };
    let (names, _) = all_events(s, &tenant, &filter, Direction::NewestFirst, 2).await;
    assert_eq!(names, ["187", "097", "007"]);
}

async fn an_event_is_its_tenants_alone(s: &DynamoStore) {
    let (acme, globex) = (tenant(), tenant());
    let event = event_of(&acme, Provider::Stripe, "evt_1", 0);
    record_event(s, &event, None).await;
    assert_eq!(s.event(&globex, event.record.id).await.unwrap(), None);
    let all = EventFilter::default();
    assert!(all_events(s, &globex, &all, Direction::NewestFirst, 9).await.0.is_empty());
    let replay = ReplayId::derived(&["r"]);
    let noted = s.note_replay(&globex, event.record.id, replay, at(1)).await.unwrap();
    assert_eq!(noted, Recorded::Duplicate);
    assert_eq!(s.event(&acme, event.record.id).await.unwrap(), Some(event));
}

fn replay(tenant: &TenantId) -> Replay {
    Replay {
        id: ReplayId::derived(&[tenant.as_str()]),
        tenant: tenant.clone(),
        filter: EventFilter { from: Some(at(0)), to: Some(at(9)), ..EventFilter::default() },
        status: ReplayStatus::Running,
        matched: 0,
        published: 0,
        created_at: at(10),
        updated_at: at(10),
        reason: None,
    }
}

fn page(from: &str, next: Option<&str>, matched: u64) -> ReplayPage {
    let (from, next) = (from.to_owned(), next.map(ToOwned::to_owned));
    ReplayPage { from, next, matched, published: matched - 1 }
}

async fn a_replay_moves_on_from_where_it_is_and_ends(s: &DynamoStore) {
    let tenant = tenant();
    let begun = replay(&tenant);
    let id = begun.id;
    assert_eq!(s.replay(&tenant, id).await.unwrap(), None);
    let advance = async |page: ReplayPage, second| {
        s.advance_page(&tenant, id, &page, at(second)).await.unwrap()
    };
    assert_eq!(advance(page("", Some("a"), 5), 11).await, Recorded::Duplicate);
    assert_eq!(s.begin(&begun).await.unwrap(), Recorded::New);
    assert_eq!(s.begin(&begun).await.unwrap(), Recorded::Duplicate);
    let place = s.replay(&tenant, id).await.unwrap().unwrap();
    assert_eq!((place.replay, place.cursor.as_str(), place.before), (begun.clone(), "", None));
    assert_eq!(advance(page("", Some("a"), 5), 11).await, Recorded::New);
    assert_eq!(advance(page("", Some("a"), 5), 12).await, Recorded::Duplicate);
    let place = s.replay(&tenant, id).await.unwrap().unwrap();
    assert_eq!((place.cursor.as_str(), place.before.as_deref()), ("a", Some("")));
    assert_eq!((place.replay.matched, place.replay.published), (5, 4));
    assert_eq!(place.replay.updated_at, at(11));
    assert_eq!(advance(page("a", None, 2), 13).await, Recorded::New);
    assert_eq!(advance(page("a", None, 2), 14).await, Recorded::Duplicate);
    assert_eq!(advance(page("", Some("a"), 5), 15).await, Recorded::Duplicate, "it has ended");
    s.record_failure(&tenant, id, "", "late", at(16)).await.unwrap();
    let ended = s.replay(&tenant, id).await.unwrap().unwrap().replay;
    let status = ReplayStatus::Done;
    let (matched, published, updated_at) = (7, 5, at(13));
    assert_eq!(ended, Replay { status, matched, published, updated_at, ..begun });
    assert_eq!(s.replay(&self::tenant(), id).await.unwrap(), None, "it is another tenant's");
}

async fn a_replay_that_stands_still_says_why_and_goes_on(s: &DynamoStore) {
    let tenant = tenant();
    let begun = replay(&tenant);
    s.begin(&begun).await.unwrap();
    s.record_failure(&tenant, begun.id, "elsewhere", "late", at(11)).await.unwrap();
    let read = async || s.replay(&tenant, begun.id).await.unwrap().unwrap().replay;
    assert_eq!(read().await.status, ReplayStatus::Running, "it is not there");
    s.record_failure(&tenant, begun.id, "", "the queue is away", at(12)).await.unwrap();
    let failed = read().await;
    assert_eq!(failed.status, ReplayStatus::Failed);
    assert_eq!(failed.reason.as_deref(), Some("the queue is away"));
    let page = page("", Some("a"), 5);
    assert_eq!(s.advance_page(&tenant, begun.id, &page, at(13)).await.unwrap(), Recorded::New);
    let moved = read().await;
    assert_eq!((moved.status, moved.reason), (ReplayStatus::Running, None));
}

// ---- Jobs ---------------------------------------------------------------------------------------

const SECOND: Duration = Duration::from_secs(1);

/// Queues jobs of `person`, made one second after the other from `second` on.
async fn queued(
    s: &DynamoStore,
    integration: &Integration,
    person: &str,
    names: &[&str],
    second: i64,
) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (name, second) in names.iter().zip(second..) {
        let job = sample::job_from(integration, person, name, at(second));
        assert_eq!(s.queue_job(&job).await.unwrap(), Recorded::New);
        jobs.push(job);
    }
    jobs
}

/// The job a worker gets. The index may be behind the table for a moment.
async fn pull(s: &DynamoStore, tenant: &TenantId, second: i64) -> Option<Job> {
    match s.offer(tenant, at(second), LEASE, 7).await.unwrap() {
        Offer::Job(job) => Some(*job),
        Offer::Nothing => None,
        Offer::Overdue(overdue) => panic!("{overdue:?}"),
    }
}

fn done(result: &str) -> JobEnding {
    JobEnding::Completed { result: Some(result.to_owned()) }
}

async fn complete(s: &DynamoStore, job: &Job, second: i64) -> JobAnswer {
    s.settle_job(&job.tenant, job.ticket(), &done("1"), None, at(second)).await.unwrap()
}

async fn job_of(s: &DynamoStore, job: &Job) -> Job {
    s.job(&job.tenant, job.id).await.unwrap().unwrap()
}

async fn counted(s: &DynamoStore, tenant: &TenantId, second: i64) -> (u64, u64) {
    let figures = s.figures(tenant, at(second)).await.unwrap();
    (figures.queued, figures.processing)
}

fn expect_done(answer: &PortResult<JobAnswer>) -> Job {
    match answer {
        Ok(JobAnswer::Done(job)) => (**job).clone(),
        other => panic!("{other:?}"),
    }
}

fn is_refused(answer: &JobAnswer) -> bool {
    matches!(answer, JobAnswer::Refused(_))
}

async fn a_conversation_is_worked_in_order_and_others_beside_it(s: &DynamoStore) {
    let own = integration();
    let tenant = &own.tenant;
    let one = queued(s, &own, "1", &["a", "b", "c"], 0).await;
    let other = queued(s, &own, "2", &["d"], 1).await;
    let first = pull(s, tenant, 10).await.unwrap();
    let pulled = Job {
        status: JobStatus::Processing,
        attempt: 1,
        processing_started_at: Some(at(10)),
        lease_expires_at: Some(at(70)),
        ..one[0].clone()
    };
    assert_eq!(first, pulled);
    assert_eq!(job_of(s, &first).await, pulled);
    let second = pull(s, tenant, 10).await.unwrap();
    assert_eq!(second.id, other[0].id, "the first conversation has a job in process");
    assert_eq!(pull(s, tenant, 10).await, None);
    for (number, job) in one.iter().enumerate() {
        let held = if number == 0 { first.clone() } else { pull(s, tenant, 11).await.unwrap() };
        assert_eq!(held.id, job.id);
        let ended = expect_done(&Ok(complete(s, &held, 12).await));
        assert_eq!((ended.status, ended.finished_at), (JobStatus::Completed, Some(at(12))));
        assert_eq!(job_of(s, &held).await, ended);
        assert_eq!(ended.result.as_deref(), Some("1"));
    }
    assert_eq!(pull(s, tenant, 13).await, None);
    // A lane that was empty goes on.
    let later = queued(s, &own, "1", &["e"], 20).await;
    assert_eq!(pull(s, tenant, 21).await.unwrap().id, later[0].id);
}

async fn a_job_is_queued_once_however_often_it_comes(s: &DynamoStore) {
    let own = integration();
    let job = sample::job_from(&own, "1", "a", at(0));
    let answers = join_all((0..10).map(|_| s.queue_job(&job))).await;
    let new = answers.into_iter().filter(|answer| matches!(answer, Ok(Recorded::New))).count();
    assert_eq!(new, 1);
    assert_eq!(counted(s, &own.tenant, 0).await, (1, 0));
    let held = pull(s, &own.tenant, 1).await.unwrap();
    assert_eq!(s.queue_job(&job).await.unwrap(), Recorded::Duplicate);
    complete(s, &held, 2).await;
    assert_eq!(s.queue_job(&job).await.unwrap(), Recorded::Duplicate);
    assert_eq!(pull(s, &own.tenant, 3).await, None);
    assert_eq!(counted(s, &own.tenant, 3).await, (0, 0));
}

async fn a_lease_that_lapses_is_offered_again_and_who_comes_late_changes_nothing(s: &DynamoStore) {
    let own = integration();
    queued(s, &own, "1", &["a", "b"], 0).await;
    let first = pull(s, &own.tenant, 0).await.unwrap();
    assert_eq!(pull(s, &own.tenant, 59).await, None);
    // Nobody has it since; it is not the worker's any more all the same.
    for second in [60, 61, 100] {
        assert!(is_refused(&complete(s, &first, second).await), "{second}");
        let late = s.extend(&own.tenant, first.ticket(), at(second), LEASE).await.unwrap();
        assert!(is_refused(&late));
    }
    let second = pull(s, &own.tenant, 100).await.unwrap();
    assert_eq!((second.id, second.attempt), (first.id, 2));
    let before = job_of(s, &first).await;
    for ending in [done("late"), JobEnding::Failed { reason: "late".to_owned() }] {
        let late = s.settle_job(&own.tenant, first.ticket(), &ending, None, at(101)).await.unwrap();
        assert!(is_refused(&late));
    }
    assert_eq!(job_of(s, &first).await, before);
    assert_eq!(counted(s, &own.tenant, 101).await, (1, 1));
    expect_done(&Ok(complete(s, &second, 102).await));
    assert!(is_refused(&complete(s, &first, 103).await), "it was another that completed it");
    assert_eq!(counted(s, &own.tenant, 103).await, (1, 0));
    let nothing = JobTicket { id: sample::job_from(&own, "1", "never", at(0)).id, attempt: 1 };
    let answer = s.settle_job(&own.tenant, nothing, &done("1"), None, at(0)).await.unwrap();
    assert_eq!(answer, JobAnswer::Missing);
    assert_eq!(s.extend(&own.tenant, nothing, at(0), LEASE).await.unwrap(), JobAnswer::Missing);
    assert_eq!(s.job(&own.tenant, nothing.id).await.unwrap(), None);
}

async fn a_heartbeat_makes_a_lease_longer_and_never_shorter(s: &DynamoStore) {
    let own = integration();
    queued(s, &own, "1", &["a"], 0).await;
    let job = pull(s, &own.tenant, 0).await.unwrap();
    let record_heartbeat = async |second, lease| {
        let answer = s.extend(&own.tenant, job.ticket(), at(second), lease).await;
        expect_done(&answer).lease_expires_at.unwrap()
    };
    assert_eq!(record_heartbeat(30, LEASE).await, at(90));
    assert_eq!(record_heartbeat(31, SECOND).await, at(90), "what was promised stays");
    assert_eq!(job_of(s, &job).await.lease_expires_at, Some(at(90)));
    assert_eq!(pull(s, &own.tenant, 89).await, None);
    let ended = expect_done(&Ok(complete(s, &job, 89).await));
    assert_eq!(ended.processing_started_at, Some(at(0)));
    let late = s.extend(&own.tenant, job.ticket(), at(89), LEASE).await.unwrap();
    assert!(is_refused(&late));
}

async fn an_ending_twice_is_one_and_another_is_refused(s: &DynamoStore) {
    let own = integration();
    queued(s, &own, "1", &["a", "b"], 0).await;
    let settle = async |job: &Job, ending: &JobEnding, second| {
        s.settle_job(&own.tenant, job.ticket(), ending, None, at(second)).await.unwrap()
    };
    let failure = JobEnding::Failed { reason: "why".to_owned() };
    let first = pull(s, &own.tenant, 0).await.unwrap();
    let ended = settle(&first, &done("1"), 1).await;
    assert_eq!(settle(&first, &done("1"), 2).await, ended);
    assert_eq!(settle(&first, &done("1"), 900).await, ended, "long after the lease");
    assert_eq!(settle(&first, &done("2"), 3).await, ended, "the first one holds");
    assert!(is_refused(&settle(&first, &failure, 4).await));
    let second = pull(s, &own.tenant, 5).await.unwrap();
    assert_eq!(settle(&second, &failure, 6).await, settle(&second, &failure, 7).await);
    assert!(is_refused(&settle(&second, &done("1"), 8).await));
    let stands = job_of(s, &second).await;
    assert_eq!((stands.status, stands.reason.as_deref()), (JobStatus::Failed, Some("why")));
    assert_eq!(counted(s, &own.tenant, 9).await, (0, 0));
}

async fn a_job_to_be_tried_again_waits_and_its_conversation_with_it(s: &DynamoStore) {
    let own = integration();
    queued(s, &own, "1", &["a", "b"], 0).await;
    let first = pull(s, &own.tenant, 0).await.unwrap();
    let again = JobEnding::Retry { reason: "later".to_owned(), at: at(50) };
    let requeue_head = s.settle_job(&own.tenant, first.ticket(), &again, None, at(1)).await;
    assert_eq!(expect_done(&requeue_head).status, JobStatus::Queued);
    let stands = job_of(s, &first).await;
    assert_eq!((stands.status, stands.attempt), (JobStatus::Queued, 1));
    assert_eq!((stands.reason.as_deref(), stands.finished_at), (Some("later"), None));
    let repeated = s.settle_job(&own.tenant, first.ticket(), &again, None, at(2)).await;
    assert_eq!(expect_done(&repeated).id, first.id);
    assert!(is_refused(&complete(s, &first, 3).await), "it gave the job back");
    assert_eq!(counted(s, &own.tenant, 3).await, (2, 0));
    assert_eq!(pull(s, &own.tenant, 49).await, None, "the conversation waits for it");
    let second = pull(s, &own.tenant, 50).await.unwrap();
    assert_eq!((second.id, second.attempt), (first.id, 2));
    let late = s.settle_job(&own.tenant, first.ticket(), &again, None, at(51)).await.unwrap();
    assert!(is_refused(&late));
    assert_eq!(counted(s, &own.tenant, 51).await, (1, 1));
}

/// The one job that stands in the way.
async fn in_the_way(s: &DynamoStore, tenant: &TenantId, second: i64) -> domain::ports::OverdueJob {
    let Offer::Overdue(offered) = s.offer(tenant, at(second), LEASE, 7).await.unwrap() else {
        panic!("a job that is over is given to nobody")
    };
    let swept = s.overdue(tenant, at(second)).await.unwrap();
    assert_eq!(swept, offered);
    assert_eq!(offered.len(), 1);
    offered[0].clone()
}

async fn a_job_that_nobody_did_ends_and_its_tenant_is_told(s: &DynamoStore) {
    let own = integration();
    let jobs = queued(s, &own, "1", &["a", "b"], 0).await;
    assert!(s.overdue(&own.tenant, at(3599)).await.unwrap().is_empty());
    let overdue = in_the_way(s, &own.tenant, 3600).await;
    assert_eq!((overdue.job.id, overdue.job.status), (jobs[0].id, JobStatus::Expired));
    assert_eq!(s.end(&overdue, None, at(3600)).await.unwrap(), Recorded::New);
    assert_eq!(s.end(&overdue, None, at(3600)).await.unwrap(), Recorded::Duplicate);
    let ended = job_of(s, &jobs[0]).await;
    assert_eq!((ended.status, ended.finished_at), (JobStatus::Expired, Some(at(3600))));
    assert!(ended.reason.is_some());
    assert_eq!(counted(s, &own.tenant, 3600).await, (1, 0));
    // A lease that began in time may end in time.
    let held = pull(s, &own.tenant, 3600).await.unwrap();
    assert_eq!(held.id, jobs[1].id);
    assert!(s.overdue(&own.tenant, at(3650)).await.unwrap().is_empty());
    expect_done(&Ok(complete(s, &held, 3650).await));
    assert_eq!(counted(s, &own.tenant, 3650).await, (0, 0));
}

async fn a_jobs_last_lapse_is_its_end(s: &DynamoStore) {
    let own = integration();
    let jobs = queued(s, &own, "1", &["a", "b"], 0).await;
    for (attempt, second) in (1..=MAX_ATTEMPTS).zip((0..).step_by(60)) {
        let job = pull(s, &own.tenant, second).await.unwrap();
        assert_eq!((job.id, job.attempt), (jobs[0].id, attempt));
        assert_eq!(counted(s, &own.tenant, second).await, (1, 1));
    }
    let second = 60 * i64::from(MAX_ATTEMPTS);
    assert!(s.overdue(&own.tenant, at(second - 1)).await.unwrap().is_empty());
    let overdue = in_the_way(s, &own.tenant, second).await;
    let as_found = (overdue.job.id, overdue.job.status, overdue.job.attempt);
    assert_eq!(as_found, (jobs[0].id, JobStatus::Failed, MAX_ATTEMPTS));
    assert_eq!(s.end(&overdue, None, at(second)).await.unwrap(), Recorded::New);
    assert_eq!(job_of(s, &jobs[0]).await.status, JobStatus::Failed);
    assert_eq!(counted(s, &own.tenant, second).await, (1, 0));
    assert_eq!(pull(s, &own.tenant, second).await.unwrap().id, jobs[1].id);
}

async fn what_is_told_of_a_job_is_written_with_its_end(s: &DynamoStore) {
    // So far off that a running hub's own schedule does not tell it.
    const FAR: i64 = 2_000_000_000;
    let own = integration();
    let at = |second| at(FAR + second);
    let notification = |job: &Job, status| {
        let message = Message { id: job.id.message(), ..sample::outbound(&own, "m", at(0)) };
        let ended = domain::automation::EndedJob {
            job_id: job.id,
            status,
            attempt: 1,
            reason: "why".to_owned(),
        };
        let tenant = own.tenant.clone();
        let data = NotificationData { tenant, message, conversation: None, job: Some(ended) };
        Notification { kind: NotificationKind::JobFailed, timestamp: at(9), data }
    };
    queued(s, &own, "1", &["a"], FAR).await;
    let job = pull(s, &own.tenant, FAR).await.unwrap();
    let told = notification(&job, JobStatus::Failed);
    let ending = JobEnding::Failed { reason: "why".to_owned() };
    // Who is too late tells nobody.
    let late = s.settle_job(&own.tenant, job.ticket(), &ending, Some(&told), at(60)).await.unwrap();
    assert!(is_refused(&late));
    let ours = async |second| {
        let due = s.due(at(second), 1000).await.unwrap();
        due.into_iter().filter(|due| due.tenant == own.tenant).collect::<Vec<_>>()
    };
    assert!(ours(100).await.is_empty());
    let job = pull(s, &own.tenant, FAR + 60).await.unwrap();
    expect_done(&s.settle_job(&own.tenant, job.ticket(), &ending, Some(&told), at(61)).await);
    let due = ours(100).await;
    let id = told.data.notification_id(told.kind);
    assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [id]);
    s.done(&due).await.unwrap();
    let claim = Notifications::claim(s, &own.tenant, id, None, at(101), LEASE).await.unwrap();
    let NotificationClaim::Granted { attempt: 1, notification } = claim else {
        panic!("{claim:?}")
    };
    assert_eq!(notification.data.job, told.data.job);
}

async fn figures_are_exact_after_everything(s: &DynamoStore) {
    let own = integration();
    let tenant = &own.tenant;
    let people = ["1", "2", "3"];
    for person in people {
        let names = ["a", "b", "c"].map(|name| format!("{person}{name}"));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        queued(s, &own, person, &names, 0).await;
    }
    assert_eq!(counted(s, tenant, 5).await, (9, 0));
    let mut left = 9;
    let mut now = 5;
    for round in 0_usize.. {
        let Some(job) = pull(s, tenant, now).await else {
            if left == 0 {
                break;
            }
            now += 60;
            continue;
        };
        assert_eq!(counted(s, tenant, now).await, (left - 1, 1), "round {round}");
        let ending = match round % 4 {
            0 => done("{}"),
            1 => JobEnding::Retry { reason: "r".to_owned(), at: at(now + 20) },
            2 => JobEnding::Failed { reason: "f".to_owned() },
            _ => {
                // Nothing is heard of it any more.
                now += 61;
                assert_eq!(counted(s, tenant, now).await, (left - 1, 1), "round {round}");
                let again = pull(s, tenant, now).await.unwrap();
                let late = s.settle_job(tenant, job.ticket(), &done("{}"), None, at(now)).await;
                assert!(is_refused(&late.unwrap()));
                assert!(again.id != job.id || again.attempt == 2);
                expect_done(&Ok(complete(s, &again, now).await));
                left -= 1;
                // Others may have lapsed or waited meanwhile, none of them is in process twice.
                let (queued, processing) = counted(s, tenant, now).await;
                assert_eq!(queued + processing, left, "round {round}");
                if again.id != job.id {
                    let ours = pull(s, tenant, now).await.unwrap();
                    expect_done(&Ok(complete(s, &ours, now).await));
                    left -= 1;
                }
                continue;
            }
        };
        expect_done(&s.settle_job(tenant, job.ticket(), &ending, None, at(now)).await);
        if ending.status().is_final() {
            left -= 1;
        }
        assert_eq!(counted(s, tenant, now).await, (left, 0), "round {round}");
        now += 1;
    }
    let figures = s.figures(tenant, at(now)).await.unwrap();
    assert_eq!((figures.queued, figures.processing), (0, 0));
    assert!(figures.completed > 0, "what was done is known");
    let tomorrow = s.figures(tenant, at(now + 24 * 3600)).await.unwrap();
    assert_eq!(tomorrow.completed, 0, "and forgotten");
}

async fn many_workers_at_once_get_each_job_once_and_in_order(s: &DynamoStore) {
    let own = integration();
    let people: Vec<String> = (0..8).map(|person| person.to_string()).collect();
    let mut wanted = std::collections::BTreeMap::new();
    for person in &people {
        let names = [0, 1, 2, 3].map(|number| format!("{person}-{number}"));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let jobs = queued(s, &own, person, &names, 0).await;
        let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
        wanted.insert(jobs[0].conversation, ids);
    }
    let done_in_order = std::sync::Mutex::new(std::collections::BTreeMap::<_, Vec<_>>::new());
    let worker = async |number: u128| {
        let mut idle = 0;
        while idle < 30 {
            let Offer::Job(job) =
                s.offer(&own.tenant, at(100), LEASE, number.wrapping_mul(977)).await.unwrap()
            else {
                idle += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            done_in_order.lock().unwrap().entry(job.conversation).or_default().push(job.id);
            expect_done(&Ok(complete(s, &job, 101).await));
        }
    };
    join_all((1..=20).map(worker)).await;
    assert_eq!(done_in_order.into_inner().unwrap(), wanted);
    assert_eq!(counted(s, &own.tenant, 102).await, (0, 0));
}

async fn a_tenants_jobs_are_its_own(s: &DynamoStore) {
    let (own, other) = (integration(), integration());
    let jobs = queued(s, &own, "1", &["a"], 0).await;
    assert_eq!(pull(s, &other.tenant, 1).await, None);
    assert_eq!(s.job(&other.tenant, jobs[0].id).await.unwrap(), None);
    assert_eq!(counted(s, &other.tenant, 1).await, (0, 0));
    let held = pull(s, &own.tenant, 1).await.unwrap();
    let stolen = s.settle_job(&other.tenant, held.ticket(), &done("1"), None, at(2)).await.unwrap();
    assert_eq!(stolen, JobAnswer::Missing);
}

async fn who_pulls_is_listed_until_it_does_not(s: &DynamoStore) {
    let tenant = tenant();
    let listed = async || {
        let (mut cursor, mut found) = (None, false);
        loop {
            let page = s.pulling(50, cursor.as_deref()).await.unwrap();
            found |= page.items.contains(&tenant);
            cursor = page.next;
            if cursor.is_none() {
                return found;
            }
        }
    };
    s.set_automation(&tenant, &sample::push()).await.unwrap();
    assert!(!listed().await);
    s.set_automation(&tenant, &sample::pull(true)).await.unwrap();
    assert_eq!(s.automation(&tenant).await.unwrap(), sample::pull(true));
    s.stop_tracking(&tenant).await.unwrap();
    assert!(listed().await, "it pulls");
    s.disable(&tenant, at(5)).await.unwrap();
    let disabled = s.automation(&tenant).await.unwrap();
    assert_eq!(disabled.listener(), None);
    assert!(matches!(disabled, Automation::Pull(_)), "workers go on");
    s.set_automation(&tenant, &Automation::None).await.unwrap();
    assert!(listed().await, "jobs may be left");
    s.stop_tracking(&tenant).await.unwrap();
    assert!(!listed().await);
    s.stop_tracking(&tenant).await.unwrap();
}

async fn a_beat_stands_until_a_later_one(s: &DynamoStore) {
    // There is one for all tenants, so it may be another's.
    let before = s.health().await.unwrap();
    let first = before.map_or(at(0), |health| health.beat_at) + LEASE;
    let health = HealthSnapshot { queued: 7, processing: 3, beat_at: first, up_since: first };
    s.record_heartbeat(&health).await.unwrap();
    assert_eq!(s.health().await.unwrap(), Some(health));
    s.record_heartbeat(&HealthSnapshot { queued: 9, beat_at: first - SECOND, ..health })
        .await
        .unwrap();
    assert_eq!(s.health().await.unwrap(), Some(health));
}
