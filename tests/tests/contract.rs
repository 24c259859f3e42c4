//! Contract tests of the repository. They run on the simulated table and, with the feature
//! `emulator`, on the local cloud: on the table `TABLE_NAME`, which they reach as the environment
//! variables `AWS_*` say.
//!
//! Each test creates its own tenants, so that all tests can share one table.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic fails the test"
)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use accounts::model::audit::{Action, Actor, AuditFilter, AuditRecord, Change};
use accounts::model::automation::{Automation, Pull, Push};
use accounts::model::circuit::Circuit;
use accounts::model::key::MAX_KEYS;
use accounts::model::limits::{Counts, DEFAULT, LimitSettings};
use accounts::model::route::{Policy, Route, RoutedIntegration};
use accounts::ports::{
    AccountClaim, AuditReader, Automations, Circuits, DisableEndpoint, KeyCreation, Keys,
    LimitReader, LimitWriter, PermitOutcome, PullingTenants, RateCounter, RateWindow, RecordKeyUse,
    Registry, Routes, TenantReader,
};
use domain::circuit::Breaker;
use domain::event::Receipt;
use domain::integration::Integration;
use domain::job::JobStatus;
use domain::message::{Message, Status, Step};
use domain::notification::{Notification, NotificationData, NotificationKind};
use domain::ports::{Directory, Page, PortResult, Recorded};
use domain::provider::Channel;
use domain::sender::{Accepted, RateLimit};
use domain::task::{FailoverPlan, HandedOver, SendTask};
use domain::tenant::{ApiKey, Scope, Tenant};
use domain::{
    EventId, IntegrationId, JobId, KeyId, MessageId, NotificationId, Provider, ReplayId, TenantId,
};
use endpoints::ports::{NotificationClaim, NotificationOutcome, Notifications, Schedule};
use events::model::{
    BodyLocation, Direction, EventFilter, EventRecord, Kind, LastReplay, Replay, ReplayPage,
    ReplayStatus, State, StoredEvent,
};
use events::ports::{EventLog, EventReader, RecordOutcome, ReplayProgress, ReplayStart, Replays};
use futures::future::join_all;
use jiff::Timestamp;
use messaging::ports::{
    AttemptEnd, Claim, EnqueueJob, Inbox, MediaLog, MediaState, MessageReader, MoveAccepted,
    Outbox, Outgoing, Receipts, Reservation, StatusUpdate,
};
use providers::whatsapp_cloud::SERVICE_WINDOW;
use runtime::api::RequestClass;
use testkit::{FakeClock, SimulatedTables, sample};
use tests::Repositories;
use tests::sample::audit;
use work::model::{HealthSnapshot, Job, JobOutcome, JobTicket, MAX_ATTEMPTS};
use work::ports::{
    EndOverdueJobs, HealthReader, JobReader, JobStats, JobSweep, JobUpdate, Jobs, LeaseOutcome,
    WaitingWorkers,
};

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
    a_claim_is_exclusive_until_its_lease_expires
    of_fifty_concurrent_claims_one_is_granted
    an_expired_claim_can_be_taken_over_and_its_holder_cannot_settle
    a_claim_repeated_with_its_token_is_granted_again
    a_release_counts_the_attempt_only_if_it_records_steps
    a_settled_message_cannot_be_claimed
    after_a_failover_only_the_new_integration_can_claim_the_message
    a_sender_without_the_lease_cannot_hand_over_a_message
    of_concurrent_circuit_updates_the_first_wins
    a_route_belongs_to_one_tenant_and_channel
    a_settled_message_has_every_step_and_is_found_by_provider_message_id
    a_split_message_is_found_by_each_of_its_provider_message_ids
    two_custom_integrations_may_have_equal_provider_message_ids
    an_old_token_cannot_settle_or_release_a_message
    a_message_in_doubt_is_settled_as_unknown_instead_of_failed
    an_accepted_message_moves_to_the_next_integration_once
    a_failure_of_a_former_integration_does_not_change_the_message
    every_order_of_settling_and_receipts_ends_in_the_same_message
    every_order_of_a_failure_and_its_receipts_ends_in_the_same_message
    a_duplicate_receipt_changes_nothing
    a_receipt_for_an_unknown_message_returns_missing
    an_inbound_message_is_recorded_once
    a_message_dated_in_the_future_is_read_with_its_time_of_receipt
    queueing_a_message_does_not_overwrite_a_later_state
    a_conversation_is_created_once_and_updated_by_newer_messages_only
    an_outbound_message_updates_the_last_activity_but_not_the_last_inbound
    a_time_in_the_future_is_ignored_and_does_not_open_the_service_window
    a_date_of_any_age_is_accepted
    an_idempotency_key_maps_to_its_message_for_24_hours
    messages_and_conversations_are_listed_in_pages
    the_media_state_of_a_message_is_the_last_one_written
    a_notification_is_claimed_by_one_consumer_and_settled_once
    a_notification_cannot_be_claimed_before_its_retry_is_due
    a_scheduled_retry_is_listed_from_its_due_time_until_it_is_removed
    a_window_allows_as_many_messages_as_the_rate_limit
    an_api_key_is_found_until_its_tenant_revokes_it
    the_use_of_an_api_key_is_recorded_once_an_hour
    the_keys_of_a_tenant_are_limited_however_many_are_created_at_once
    audit_records_are_written_with_the_change_and_listed_in_pages
    a_tenant_is_created_once_and_listed
    a_tenant_and_its_integrations_are_found
    an_automation_can_be_disabled_and_set_again
    an_endpoint_that_was_replaced_cannot_disable_the_new_one
    an_account_and_a_path_secret_belong_to_one_integration
    accounts_and_path_secrets_that_an_integration_drops_are_free_again
    the_operator_has_one_integration_at_each_provider
    a_tenant_cannot_read_or_change_data_of_another_tenant
    an_event_is_recorded_once_and_read_back_unchanged
    an_event_recorded_fifty_times_concurrently_is_stored_once
    a_single_use_token_authenticates_one_event_only
    a_replay_is_counted_once_on_its_event
    events_are_listed_in_pages_and_filtered
    a_parked_event_is_in_the_full_list_and_in_the_parked_list
    a_list_with_few_matches_continues_to_its_end
    an_event_is_visible_to_its_tenant_only
    a_replay_advances_from_its_position_and_ends
    a_failed_replay_has_a_reason_and_can_continue
    permits_are_taken_up_to_the_limits_of_a_key_and_a_tenant
    a_place_of_a_waiting_worker_has_one_holder_until_its_lease_expires
    jobs_are_offered_in_order_per_conversation_and_in_parallel_across_them
    a_job_is_queued_once_however_often_it_is_submitted
    an_expired_lease_is_offered_again_and_late_calls_have_no_effect
    a_heartbeat_extends_a_lease_and_never_shortens_it
    ending_a_job_is_idempotent_and_a_different_status_is_refused
    a_job_to_be_retried_blocks_its_conversation_until_it_is_due
    a_job_that_no_worker_started_in_time_expires
    a_job_fails_when_the_lease_of_its_last_attempt_expires
    a_job_with_an_expired_lease_counts_as_queued
    the_notification_of_a_job_is_written_with_its_ending
    counts_are_exact_after_every_operation
    concurrent_workers_get_each_job_once_and_in_order
    a_tenant_cannot_read_or_settle_jobs_of_another_tenant
    a_tenant_is_listed_until_it_stops_pulling_and_tracking_is_stopped
    a_heartbeat_is_replaced_only_by_a_later_one
}

fn simulated() -> Repositories {
    let tables = SimulatedTables::new(&FakeClock::default());
    Repositories::new(&tables.config(), str::to_owned)
}

#[cfg(feature = "emulator")]
fn table() -> Repositories {
    Repositories::of(&runtime::testing::process().unwrap()).unwrap()
}

/// Returns a new tenant id that no other test uses.
fn tenant() -> TenantId {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Tests in other processes may use the same table.
    let nanoseconds = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    sample::tenant(&format!("t{nanoseconds}-{}-{number}", std::process::id()))
}

/// Returns an integration of a new tenant.
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

async fn claim(s: &Repositories, message: &Message, token: &str, second: i64) -> Claim {
    let task = sample::task(message);
    Outbox::claim(&s.messages, &task, token, at(second), LEASE, false).await.unwrap()
}

async fn settle(
    s: &Repositories,
    message: &Message,
    token: &str,
    steps: &[Step],
    provider_message_id: Option<&str>,
) -> Option<Message> {
    let accepted = provider_message_id.map(Accepted::new);
    Outbox::settle(&s.messages, message, token, steps, accepted.as_ref()).await.unwrap()
}

async fn read(s: &Repositories, message: &Message) -> Message {
    s.messages.message(&message.tenant, message.id).await.unwrap().unwrap().0
}

fn transitions(message: &Message) -> Vec<(Status, Option<u32>)> {
    message.history.iter().map(|step| (step.status, step.attempt)).collect()
}

async fn a_claim_is_exclusive_until_its_lease_expires(s: &Repositories) {
    let message = sample::outbound(&integration(), "m", at(0));
    assert_eq!(claim(s, &message, "one", 0).await, Claim::Granted { attempt: 1 });
    for second in [0, 30, 60] {
        assert_eq!(claim(s, &message, "two", second).await, Claim::Held { until: at(60) });
    }
    let interrupted = Claim::Interrupted { attempt: 1, token: "one".to_owned() };
    assert_eq!(claim(s, &message, "two", 61).await, interrupted);
    let shown = read(s, &message).await;
    assert_eq!(shown.status, Status::Sending);
    assert_eq!(transitions(&shown), [(Status::Queued, None), (Status::Sending, Some(1))]);
}

async fn of_fifty_concurrent_claims_one_is_granted(s: &Repositories) {
    let message = sample::outbound(&integration(), "m", at(0));
    let tokens: Vec<String> = (0..50).map(|n| format!("token-{n}")).collect();
    let claims = join_all(tokens.iter().map(|token| claim(s, &message, token, 0))).await;
    let granted = claims.iter().filter(|claim| matches!(claim, Claim::Granted { .. })).count();
    let held = claims.iter().filter(|claim| matches!(claim, Claim::Held { .. })).count();
    assert_eq!((granted, held), (1, 49));
}

async fn an_expired_claim_can_be_taken_over_and_its_holder_cannot_settle(s: &Repositories) {
    let message = sample::outbound(&integration(), "m", at(0));
    let task = sample::task(&message);
    claim(s, &message, "one", 0).await;
    let retake = async |token, second| {
        Outbox::claim(&s.messages, &task, token, at(second), LEASE, true).await.unwrap()
    };
    assert_eq!(retake("two", 60).await, Claim::Held { until: at(60) });
    assert_eq!(retake("two", 61).await, Claim::Granted { attempt: 2 });
    // The first holder no longer holds the lease.
    assert_eq!(settle(s, &message, "one", &ending(Status::Failed, 1, 0), None).await, None);
    let steps = ending(Status::Accepted, 2, 61);
    assert!(settle(s, &message, "two", &steps, Some("wamid.2")).await.is_some());
}

async fn a_claim_repeated_with_its_token_is_granted_again(s: &Repositories) {
    let message = sample::outbound(&integration(), "m", at(0));
    assert_eq!(claim(s, &message, "one", 0).await, Claim::Granted { attempt: 1 });
    assert_eq!(claim(s, &message, "one", 1).await, Claim::Granted { attempt: 1 });
}

async fn a_release_counts_the_attempt_only_if_it_records_steps(s: &Repositories) {
    let message = sample::outbound(&integration(), "m", at(0));
    claim(s, &message, "one", 0).await;
    s.messages.release(&message, "one", AttemptEnd::NONE).await.unwrap();
    let waiting = read(s, &message).await;
    assert_eq!(waiting.status, Status::Queued);
    assert_eq!(transitions(&waiting), [(Status::Queued, None)], "no step is recorded");
    assert_eq!(claim(s, &message, "two", 1).await, Claim::Granted { attempt: 1 });
    s.messages
        .release(&message, "two", AttemptEnd::refused(&ending(Status::Queued, 1, 1)))
        .await
        .unwrap();
    assert_eq!(claim(s, &message, "three", 2).await, Claim::Granted { attempt: 2 });
    let steps = [
        (Status::Queued, None),
        (Status::Sending, Some(1)),
        (Status::Queued, Some(1)),
        (Status::Sending, Some(2)),
    ];
    assert_eq!(transitions(&read(s, &message).await), steps);
}

async fn a_settled_message_cannot_be_claimed(s: &Repositories) {
    let integration = integration();
    for status in [Status::Unknown, Status::Accepted, Status::Expired, Status::Failed] {
        let message = sample::outbound(&integration, status.as_str(), at(0));
        claim(s, &message, "one", 0).await;
        settle(s, &message, "one", &ending(status, 1, 0), None).await.unwrap();
        for (token, retake) in [("one", false), ("two", false), ("two", true)] {
            let task = sample::task(&message);
            let claim =
                Outbox::claim(&s.messages, &task, token, at(9999), LEASE, retake).await.unwrap();
            let settled = Claim::Settled(Box::new(read(s, &message).await));
            assert_eq!(claim, settled, "{status:?}");
        }
    }
}

async fn after_a_failover_only_the_new_integration_can_claim_the_message(s: &Repositories) {
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
        Outbox::claim(&s.messages, task, token, at(second), LEASE, false).await.unwrap()
    };
    assert_eq!(claim(&old, "one", 0).await, Claim::Granted { attempt: 1 });
    let steps = ending(Status::Queued, 1, 0);
    assert!(s.messages.hand_over(&message, "one", AttemptEnd::refused(&steps), &to).await.unwrap());
    // A claim with an older record returns the new integration.
    let handed_over = Claim::HandedOver(Box::new(to.clone()));
    for token in ["one", "two"] {
        assert_eq!(claim(&old, token, 1).await, handed_over);
    }
    let shown = read(s, &message).await;
    assert_eq!((shown.provider, shown.integration), (second.provider, second.id));
    assert_eq!(shown.history[1..], steps);
    assert_eq!(claim(&new, "three", 2).await, Claim::Granted { attempt: 2 });
    assert_eq!(claim(&new, "three", 2).await, Claim::Granted { attempt: 2 });
    assert_eq!(claim(&old, "two", 3).await, handed_over);
    // Handed over again, without counting the attempt.
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
    assert!(
        s.messages
            .hand_over(
                &new.message,
                "three",
                AttemptEnd { steps: &plain, counted: false, in_doubt: false },
                &back
            )
            .await
            .unwrap()
    );
    let handed_over = Claim::HandedOver(Box::new(back.clone()));
    assert_eq!(claim(&old, "four", 5).await, handed_over);
    assert_eq!(claim(&new, "four", 5).await, handed_over);
    let newest = new.clone().handed_over(back);
    assert_eq!(claim(&newest, "five", 5).await, Claim::Granted { attempt: 2 });
    let steps = ending(Status::Accepted, 2, 5);
    let settled = settle(s, &newest.message, "five", &steps, Some("wamid.9")).await.unwrap();
    assert_eq!((settled.integration, settled.status), (first.id, Status::Accepted));
    let found = s
        .messages
        .resolve(&first.tenant, Provider::WhatsappCloud, first.id, "wamid.9")
        .await
        .unwrap();
    assert_eq!(found, Some(message.id));
    for task in [&old, &new, &newest] {
        let expected = Claim::Settled(Box::new(settled.clone()));
        assert_eq!(claim(task, "six", 9999).await, expected);
    }
}

async fn a_sender_without_the_lease_cannot_hand_over_a_message(s: &Repositories) {
    let message = sample::outbound(&integration(), "m", at(0));
    let failover = FailoverPlan { generation: 1, ..FailoverPlan::default() };
    let (provider, integration) = (message.provider, message.integration);
    let to = HandedOver { provider, integration, failover };
    claim(s, &message, "one", 0).await;
    let before = read(s, &message).await;
    let steps = ending(Status::Queued, 1, 0);
    assert!(
        !s.messages.hand_over(&message, "two", AttemptEnd::refused(&steps), &to).await.unwrap()
    );
    assert_eq!(read(s, &message).await, before);
    settle(s, &message, "one", &ending(Status::Failed, 1, 0), None).await.unwrap();
    let before = read(s, &message).await;
    assert!(
        !s.messages.hand_over(&message, "one", AttemptEnd::refused(&steps), &to).await.unwrap()
    );
    assert_eq!(read(s, &message).await, before);
}

async fn of_concurrent_circuit_updates_the_first_wins(s: &Repositories) {
    let integration = integration();
    let (tenant, id) = (&integration.tenant, integration.id);
    assert_eq!(s.accounts.circuit(tenant, id).await.unwrap(), (Circuit::default(), 0));
    let failed = |n: i64| Circuit::default().failed(Breaker::default(), at(n), &n.to_string());
    let changes: Vec<Circuit> = (0..20).map(failed).collect();
    for seen in 0..3 {
        let written =
            changes.iter().map(|circuit| s.accounts.set_circuit(tenant, id, circuit, seen));
        let written = join_all(written).await;
        let new = written.into_iter().filter(|done| *done.as_ref().unwrap() == Recorded::New);
        assert_eq!(new.count(), 1);
        let (circuit, version) = s.accounts.circuit(tenant, id).await.unwrap();
        assert_eq!(version, seen + 1);
        assert!(changes.contains(&circuit));
    }
    let other = sample::whatsapp(tenant, Some("other")).id;
    assert_eq!(s.accounts.circuit(tenant, other).await.unwrap().1, 0);
}

async fn a_route_belongs_to_one_tenant_and_channel(s: &Repositories) {
    let integration = integration();
    let (own, other) = (&integration.tenant, tenant());
    assert_eq!(s.accounts.route(own, Channel::Whatsapp).await.unwrap(), None);
    for weight in [1, 2] {
        let integrations = vec![RoutedIntegration { integration: integration.id, weight }];
        let route = Route { integrations, policy: Policy::default() };
        s.accounts.set_route(own, Channel::Whatsapp, &route, &audit(own)).await.unwrap();
        assert_eq!(s.accounts.route(own, Channel::Whatsapp).await.unwrap(), Some(route));
    }
    assert_eq!(s.accounts.route(own, Channel::Sms).await.unwrap(), None);
    assert_eq!(s.accounts.route(&other, Channel::Whatsapp).await.unwrap(), None);
}

async fn a_settled_message_has_every_step_and_is_found_by_provider_message_id(s: &Repositories) {
    let message = sample::outbound(&integration(), "m", at(0));
    let tenant = &message.tenant;
    s.messages.enqueue(&message).await.unwrap();
    assert_eq!(
        s.messages
            .resolve(tenant, Provider::WhatsappCloud, message.integration, "wamid.1")
            .await
            .unwrap(),
        None
    );
    claim(s, &message, "one", 0).await;
    let steps = ending(Status::Accepted, 1, 0);
    let settled = settle(s, &message, "one", &steps, Some("wamid.1")).await.unwrap();
    assert_eq!(settled, read(s, &message).await);
    assert_eq!(settled.status, Status::Accepted);
    assert_eq!(settled.provider_message_id.as_deref(), Some("wamid.1"));
    assert_eq!(settled.history[1..], steps);
    let resolved = s
        .messages
        .resolve(tenant, Provider::WhatsappCloud, message.integration, "wamid.1")
        .await
        .unwrap();
    assert_eq!(resolved, Some(message.id));
    assert_eq!(
        s.messages
            .resolve(tenant, Provider::Telegram, message.integration, "wamid.1")
            .await
            .unwrap(),
        None
    );
}

async fn a_split_message_is_found_by_each_of_its_provider_message_ids(s: &Repositories) {
    let message = sample::outbound(&integration(), "m", at(0));
    claim(s, &message, "one", 0).await;
    let ids = ["SM1", "SM2", "SM3"];
    let accepted = Accepted::new(ids[0]).with_further(ids[1..].iter().map(ToString::to_string));
    let steps = ending(Status::Accepted, 1, 0);
    let settled = s.messages.settle(&message, "one", &steps, Some(&accepted)).await.unwrap();
    assert_eq!(settled.unwrap().provider_message_id.as_deref(), Some("SM1"));
    for id in ids {
        let found = s
            .messages
            .resolve(&message.tenant, message.provider, message.integration, id)
            .await
            .unwrap();
        assert_eq!(found, Some(message.id), "{id}");
    }
}

async fn two_custom_integrations_may_have_equal_provider_message_ids(s: &Repositories) {
    let tenant = tenant();
    let mut messages = Vec::new();
    for name in ["a", "b"] {
        let integration = sample::receive_only(&tenant, Provider::Custom, Some(name));
        let message = sample::outbound(&integration, name, at(0));
        claim(s, &message, "one", 0).await;
        settle(s, &message, "one", &ending(Status::Accepted, 1, 0), Some("7")).await.unwrap();
        messages.push(message);
    }
    for message in &messages {
        let resolve = s.messages.resolve(&tenant, Provider::Custom, message.integration, "7");
        assert_eq!(resolve.await.unwrap(), Some(message.id));
    }
    let other = sample::receive_only(&tenant, Provider::Custom, Some("c")).id;
    assert_eq!(s.messages.resolve(&tenant, Provider::Custom, other, "7").await.unwrap(), None);
}

async fn a_message_in_doubt_is_settled_as_unknown_instead_of_failed(s: &Repositories) {
    let integration = integration();
    for (case, end) in [Status::Failed, Status::Expired].into_iter().enumerate() {
        for how in ["released", "handed over", "interrupted"] {
            let message = sample::outbound(&integration, &format!("{case} {how}"), at(0));
            let mut task = sample::task(&message);
            assert_eq!(claim(s, &message, "one", 0).await, Claim::Granted { attempt: 1 });
            let steps = ending(Status::Queued, 1, 0);
            let doubt = AttemptEnd { steps: &steps, counted: true, in_doubt: true };
            match how {
                "released" => s.messages.release(&message, "one", doubt).await.unwrap(),
                "handed over" => {
                    let failover = FailoverPlan { generation: 1, ..FailoverPlan::default() };
                    let (provider, id) = (message.provider, integration.id);
                    let to = HandedOver { provider, integration: id, failover };
                    assert!(s.messages.hand_over(&message, "one", doubt, &to).await.unwrap());
                    task = task.handed_over(to);
                }
                _ => {}
            }
            let retake = how == "interrupted";
            let granted =
                Outbox::claim(&s.messages, &task, "two", at(100), LEASE, retake).await.unwrap();
            assert_eq!(granted, Claim::Granted { attempt: 2 }, "{how}");
            let mut steps = ending(end, 2, 100);
            steps[1].code = Some("131026".to_owned());
            let settled = settle(s, &message, "two", &steps, None).await.unwrap();
            assert_eq!(settled.status, Status::Unknown, "{how}");
            let last = settled.history.last().unwrap();
            assert_eq!((last.status, last.code.as_deref()), (Status::Unknown, Some("131026")));
            assert_eq!(settled, read(s, &message).await);
            // Its receipts still count.
            let (tenant, at) = (&message.tenant, at(200));
            let delivered = sample::receipt(Status::Delivered, "w");
            s.messages.advance(tenant, message.id, integration.id, &delivered, at).await.unwrap();
            assert_eq!(read(s, &message).await.status, Status::Delivered);
        }
    }
    // An attempt that certainly sent nothing leaves no doubt.
    let message = sample::outbound(&integration, "certain", at(0));
    claim(s, &message, "one", 0).await;
    let steps = ending(Status::Queued, 1, 0);
    s.messages.release(&message, "one", AttemptEnd::refused(&steps)).await.unwrap();
    claim(s, &message, "two", 1).await;
    let settled = settle(s, &message, "two", &ending(Status::Failed, 2, 1), None).await.unwrap();
    assert_eq!(settled.status, Status::Failed);
}

/// Returns a message that its integration accepted as `a1` and reported as sent, and the one that it
/// may move to.
async fn movable(s: &Repositories, name: &str) -> (SendTask, HandedOver) {
    let first = integration();
    let message = sample::outbound(&first, name, at(0));
    let second = sample::telegram(&first.tenant, Some("2"));
    let failover = FailoverPlan {
        remaining: vec![second.id],
        after_acceptance: true,
        ..FailoverPlan::default()
    };
    let task = SendTask { failover, ..sample::task(&message) };
    Outbox::claim(&s.messages, &task, "one", at(0), LEASE, false).await.unwrap();
    settle(s, &message, "one", &ending(Status::Accepted, 1, 0), Some("a1")).await.unwrap();
    let (tenant, sent) = (&message.tenant, sample::receipt(Status::Sent, "a1"));
    s.messages.advance(tenant, message.id, first.id, &sent, at(2)).await.unwrap();
    let failover = FailoverPlan { generation: 1, ..FailoverPlan::default() };
    let to = HandedOver { provider: second.provider, integration: second.id, failover };
    (task, to)
}

async fn an_accepted_message_moves_to_the_next_integration_once(s: &Repositories) {
    let (task, to) = movable(s, "m").await;
    let message = &task.message;
    let seen = s.messages.sent_message(&message.tenant, message.id).await.unwrap().unwrap();
    assert_eq!(seen.standby, task.standby());
    let steps: Vec<Step> = seen.message.history[seen.stored_steps..]
        .iter()
        .cloned()
        .chain([Step::plain(Status::Failed, at(3)), Step::plain(Status::Queued, at(3))])
        .collect();
    let attempts = (0..10).map(|_| s.messages.move_accepted(&seen, &steps, &to));
    let moved = join_all(attempts).await.into_iter().map(Result::unwrap);
    assert_eq!(moved.filter(|moved| *moved).count(), 1);
    let shown = read(s, message).await;
    assert_eq!((shown.status, shown.integration), (Status::Queued, to.integration));
    assert_eq!(shown.provider_message_id, None);
    let statuses: Vec<Status> = shown.history.iter().map(|step| step.status).collect();
    let first = [Status::Queued, Status::Sending, Status::Accepted, Status::Sent];
    assert_eq!(statuses, [&first[..], &[Status::Failed, Status::Queued]].concat());
    let again = s.messages.sent_message(&message.tenant, message.id).await.unwrap().unwrap();
    assert_eq!(again.moved_from, Some(message.integration));
    assert!(!s.messages.move_accepted(&again, &steps, &to).await.unwrap(), "only once");
    // The record of the first attempt no longer claims it; that of the second does.
    let claim = async |task: &SendTask, token, second| {
        Outbox::claim(&s.messages, task, token, at(second), LEASE, false).await.unwrap()
    };
    let handed_over = Claim::HandedOver(Box::new(to.clone()));
    assert_eq!(claim(&task, "two", 4).await, handed_over);
    let next = again.standby.unwrap().task(again.message, to.clone());
    assert_eq!(claim(&next, "three", 4).await, Claim::Granted { attempt: 2 });

    // A message that was delivered, or read, meanwhile stays where it is.
    let (task, to) = movable(s, "delivered").await;
    let message = &task.message;
    let seen = s.messages.sent_message(&message.tenant, message.id).await.unwrap().unwrap();
    let delivered = sample::receipt(Status::Delivered, "a1");
    let (tenant, from) = (&message.tenant, message.integration);
    s.messages.advance(tenant, message.id, from, &delivered, at(3)).await.unwrap();
    assert!(!s.messages.move_accepted(&seen, &steps, &to).await.unwrap());
    assert_eq!(read(s, message).await.status, Status::Delivered);
}

async fn a_failure_of_a_former_integration_does_not_change_the_message(s: &Repositories) {
    for late in [Status::Sent, Status::Failed, Status::Delivered, Status::Read] {
        let (task, to) = movable(s, late.as_str()).await;
        let message = &task.message;
        let (tenant, id, from) = (&message.tenant, message.id, message.integration);
        let seen = s.messages.sent_message(tenant, id).await.unwrap().unwrap();
        let steps = [Step::plain(Status::Failed, at(3)), Step::plain(Status::Queued, at(3))];
        assert!(s.messages.move_accepted(&seen, &steps, &to).await.unwrap());
        let before = read(s, message).await;
        let receipt = sample::receipt(late, "a1");
        s.messages.advance(tenant, id, from, &receipt, at(4)).await.unwrap();
        let after = read(s, message).await;
        if matches!(late, Status::Delivered | Status::Read) {
            assert_eq!(after.status, late);
            // It was delivered, so the next integration does not send it.
            let next = seen.standby.unwrap().task(seen.message, to);
            let claim = Outbox::claim(&s.messages, &next, "two", at(5), LEASE, false);
            assert_eq!(claim.await.unwrap(), Claim::Settled(Box::new(after)));
            continue;
        }
        assert_eq!(after, before, "{late:?}");
        // The receipts of the next integration count.
        let receipt = sample::receipt(late, "b1");
        s.messages.advance(tenant, id, to.integration, &receipt, at(6)).await.unwrap();
        assert_eq!(read(s, message).await.status, late);
    }
}

async fn an_old_token_cannot_settle_or_release_a_message(s: &Repositories) {
    let message = sample::outbound(&integration(), "m", at(0));
    claim(s, &message, "one", 0).await;
    s.messages
        .release(&message, "one", AttemptEnd::refused(&ending(Status::Queued, 1, 0)))
        .await
        .unwrap();
    claim(s, &message, "two", 1).await;
    let before = read(s, &message).await;
    s.messages
        .release(&message, "one", AttemptEnd::refused(&ending(Status::Queued, 1, 0)))
        .await
        .unwrap();
    assert_eq!(settle(s, &message, "one", &ending(Status::Failed, 1, 0), None).await, None);
    assert_eq!(read(s, &message).await, before);
    settle(s, &message, "two", &ending(Status::Accepted, 2, 1), Some("w")).await.unwrap();
    let settled = read(s, &message).await;
    // A second settlement by the same holder has no effect.
    let again = settle(s, &message, "two", &ending(Status::Failed, 2, 1), None).await;
    assert_eq!((again, read(s, &message).await), (None, settled));
    // A message that was never stored cannot be settled.
    let unknown = sample::outbound(&integration(), "never", at(0));
    assert_eq!(settle(s, &unknown, "one", &ending(Status::Failed, 1, 0), None).await, None);
}

/// Returns every permutation of the numbers below `length`.
fn orders(length: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _position in 0..length {
        let longer = orders.iter().flat_map(|order| {
            let rest = (0..length).filter(|n| !order.contains(n));
            rest.map(|n| [order.as_slice(), &[n]].concat()).collect::<Vec<_>>()
        });
        orders = longer.collect();
    }
    orders
}

/// Settles a message with status `end` and applies `receipts`, in every order, and returns the
/// message, which must be the same after every order.
async fn in_every_order(
    s: &Repositories,
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
            s.messages
                .advance(&message.tenant, message.id, message.integration, &receipt, time)
                .await
                .unwrap();
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

async fn every_order_of_settling_and_receipts_ends_in_the_same_message(s: &Repositories) {
    let receipts = [Status::Sent, Status::Failed, Status::Delivered, Status::Read];
    for count in 1..=receipts.len() {
        let receipts = &receipts[..count];
        let message = in_every_order(s, Status::Accepted, Some("w"), receipts).await;
        assert_eq!(Some(&message.status), receipts.last());
        let mut steps = vec![Status::Queued, Status::Sending, Status::Accepted];
        steps.extend(receipts);
        let transitions: Vec<Status> = message.history.iter().map(|step| step.status).collect();
        assert_eq!(transitions, steps);
    }
}

async fn every_order_of_a_failure_and_its_receipts_ends_in_the_same_message(s: &Repositories) {
    for end in [Status::Unknown, Status::Failed, Status::Expired] {
        for receipts in [&[Status::Sent][..], &[Status::Sent, Status::Delivered]] {
            let message = in_every_order(s, end, None, receipts).await;
            assert_eq!(Some(message.status), receipts.iter().copied().max().max(Some(end)));
        }
    }
}

async fn a_duplicate_receipt_changes_nothing(s: &Repositories) {
    let message = sample::outbound(&integration(), "m", at(0));
    s.messages.enqueue(&message).await.unwrap();
    let sent = sample::receipt(Status::Sent, "w");
    let moved = s
        .messages
        .advance(&message.tenant, message.id, message.integration, &sent, at(5))
        .await
        .unwrap();
    let StatusUpdate::Advanced(moved) = moved else { panic!("the status did not change") };
    assert_eq!(*moved, read(s, &message).await);
    assert_eq!(moved.provider_message_id.as_deref(), Some("w"));
    let again = s
        .messages
        .advance(&message.tenant, message.id, message.integration, &sent, at(6))
        .await
        .unwrap();
    assert_eq!(again, StatusUpdate::Stale(moved.clone()));
    assert_eq!(*moved, read(s, &message).await);
}

async fn a_receipt_for_an_unknown_message_returns_missing(s: &Repositories) {
    let message = sample::outbound(&integration(), "never", at(0));
    let sent = sample::receipt(Status::Sent, "w");
    let advanced = s
        .messages
        .advance(&message.tenant, message.id, message.integration, &sent, at(5))
        .await
        .unwrap();
    assert_eq!(advanced, StatusUpdate::Missing);
    assert_eq!(s.messages.message(&message.tenant, message.id).await.unwrap(), None);
}

fn inbound(integration: &Integration, name: &str, second: i64) -> Message {
    let mut message = sample::outbound(integration, name, at(second));
    message.direction = domain::message::Direction::Inbound;
    message.status = Status::Received;
    message.provider_message_id = Some(format!("wamid.{name}"));
    message.history = vec![Step::plain(Status::Received, at(second))];
    message
}

async fn an_inbound_message_is_recorded_once(s: &Repositories) {
    let message = inbound(&integration(), "m", 0);
    let recorded = join_all((0..20).map(|_| s.messages.record(&message))).await;
    let new = recorded.into_iter().filter(|r| *r.as_ref().unwrap() == Recorded::New).count();
    assert_eq!(new, 1);
    let other =
        Message { content: domain::Content::Text { text: "other".into() }, ..message.clone() };
    assert_eq!(s.messages.record(&other).await.unwrap(), Recorded::Duplicate);
    assert_eq!(read(s, &message).await, message);
}

async fn a_message_dated_in_the_future_is_read_with_its_time_of_receipt(s: &Repositories) {
    let integration = integration();
    for (name, dated, expected) in
        [("past", at(-60), at(-60)), ("now", at(0), at(0)), ("future", at(3600), at(0))]
    {
        let message = Message { occurred_at: Some(dated), ..inbound(&integration, name, 0) };
        assert_eq!(s.messages.record(&message).await.unwrap(), Recorded::New);
        assert_eq!(read(s, &message).await.occurred_at, Some(expected), "{name}");
        let page = s.messages.messages(&message.tenant, message.conversation, 10, None).await;
        let listed = page.unwrap().items.into_iter().find(|listed| listed.id == message.id);
        assert_eq!(listed.unwrap().occurred_at, Some(expected), "{name}");
    }
}

async fn queueing_a_message_does_not_overwrite_a_later_state(s: &Repositories) {
    let message = sample::outbound(&integration(), "m", at(0));
    s.messages.enqueue(&message).await.unwrap();
    assert_eq!(read(s, &message).await, message);
    claim(s, &message, "one", 0).await;
    s.messages.enqueue(&message).await.unwrap();
    assert_eq!(read(s, &message).await.status, Status::Sending);
    // A sender may claim the message before it is stored as queued.
    let claimed_first = sample::outbound(&integration(), "faster", at(0));
    claim(s, &claimed_first, "one", 0).await;
    s.messages.enqueue(&claimed_first).await.unwrap();
    assert_eq!(read(s, &claimed_first).await.status, Status::Sending);
}

async fn a_conversation_is_created_once_and_updated_by_newer_messages_only(s: &Repositories) {
    let integration = integration();
    let mut first = sample::conversation(&integration, "p", at(0));
    first.contact.name = Some("Zoë".to_owned());
    let all = join_all((0..50).map(|_| s.messages.upsert_conversation(&first, at(1000)))).await;
    assert!(all.into_iter().all(|conversation| conversation.unwrap() == first));
    let page = s.messages.conversations(&first.tenant, 10, None).await.unwrap();
    assert_eq!(page.items, [first.clone()]);

    let mut newer = sample::conversation(&integration, "p", at(100));
    newer.last_inbound_message = Some("wamid.newer".to_owned());
    let touched = s.messages.upsert_conversation(&newer, at(1000)).await.unwrap();
    assert_eq!(touched.created_at, first.created_at, "the creation time does not change");
    assert_eq!(touched.contact.name.as_deref(), Some("Zoë"), "the name stays");
    assert_eq!(touched.last_activity_at, at(100));
    assert_eq!(touched.last_inbound_message.as_deref(), Some("wamid.newer"));

    let mut older = sample::conversation(&integration, "p", at(50));
    older.contact.name = Some("Old".to_owned());
    assert_eq!(
        s.messages.upsert_conversation(&older, at(1000)).await.unwrap(),
        touched,
        "an older message has no effect"
    );
    let read = s.messages.conversation(&first.tenant, first.id).await.unwrap();
    assert_eq!(read, Some(touched));
}

async fn a_time_in_the_future_is_ignored_and_does_not_open_the_service_window(s: &Repositories) {
    let hour = 3600;
    for (person, date) in [("far", Timestamp::MAX), ("near", at(10 * hour))] {
        let mut dated = sample::conversation(&integration(), person, at(0));
        dated.last_inbound_at = Some(date);
        s.messages.upsert_conversation(&dated, at(0)).await.unwrap();
        let read =
            async || s.messages.conversation(&dated.tenant, dated.id).await.unwrap().unwrap();
        assert_eq!(read().await.last_inbound_at, None, "{person}");
        assert!(!read().await.in_service_window(at(1), SERVICE_WINDOW), "{person}");
        // A later message replaces the time and opens the service window.
        let mut again = dated.clone();
        (again.last_activity_at, again.last_inbound_at) = (at(hour), Some(at(hour - 1)));
        let touched = s.messages.upsert_conversation(&again, at(hour)).await.unwrap();
        assert_eq!(touched.last_inbound_at, Some(at(hour - 1)), "{person}");
        assert_eq!(read().await, touched, "{person}");
        assert!(
            touched.in_service_window(at(hour), SERVICE_WINDOW)
                && !touched.in_service_window(at(25 * hour), SERVICE_WINDOW)
        );
        // An earlier message that is processed later does not move the time back.
        let mut late = dated.clone();
        late.last_inbound_at = Some(at(1));
        assert_eq!(
            s.messages.upsert_conversation(&late, at(2 * hour)).await.unwrap(),
            touched,
            "{person}"
        );
    }
}

async fn a_date_of_any_age_is_accepted(s: &Repositories) {
    let mut old = sample::conversation(&integration(), "old", at(0));
    old.last_inbound_at = Some(Timestamp::MIN);
    let touched = s.messages.upsert_conversation(&old, at(0)).await.unwrap();
    assert!(touched.last_inbound_at.is_some_and(|at| at <= Timestamp::UNIX_EPOCH));
    assert!(!touched.in_service_window(at(0), SERVICE_WINDOW));
    old.last_inbound_at = Some(at(0));
    assert_eq!(
        s.messages.upsert_conversation(&old, at(0)).await.unwrap().last_inbound_at,
        Some(at(0))
    );
}

async fn a_tenant_and_its_integrations_are_found(s: &Repositories) {
    let own = integration();
    assert!(!s.accounts.is_tenant(&own.tenant).await.unwrap());
    let tenant = Tenant { id: own.tenant.clone(), name: "Own".to_owned(), created_at: at(0) };
    s.accounts.create_tenant(&tenant, &audit(&tenant.id)).await.unwrap();
    assert!(s.accounts.is_tenant(&own.tenant).await.unwrap());
    assert!(!s.accounts.is_tenant(&TenantId::platform()).await.unwrap());
    assert_eq!(s.accounts.integrations_of(&own.tenant).await.unwrap(), []);
    s.accounts.put_integration(&own, &[], None, &audit(&own.tenant)).await.unwrap();
    assert_eq!(s.accounts.integrations_of(&own.tenant).await.unwrap(), std::slice::from_ref(&own));
    assert_eq!(s.accounts.integrations_of(&tenant.id).await.unwrap().len(), 1);
}

async fn an_outbound_message_updates_the_last_activity_but_not_the_last_inbound(s: &Repositories) {
    let integration = integration();
    let mut outbound = sample::conversation(&integration, "p", at(0));
    (outbound.last_inbound_at, outbound.last_inbound_message) = (None, None);
    s.messages.upsert_outbound_conversation(&outbound).await.unwrap();
    let read =
        async || s.messages.conversation(&outbound.tenant, outbound.id).await.unwrap().unwrap();
    assert_eq!(read().await, outbound);
    let conversation = s
        .messages
        .upsert_conversation(&sample::conversation(&integration, "p", at(10)), at(10))
        .await
        .unwrap();
    assert_eq!((conversation.created_at, conversation.last_inbound_at), (at(0), Some(at(10))));
    outbound.last_activity_at = at(20);
    s.messages.upsert_outbound_conversation(&outbound).await.unwrap();
    let conversation = read().await;
    assert_eq!(
        (conversation.last_activity_at, conversation.last_inbound_at),
        (at(20), Some(at(10)))
    );
}

async fn an_idempotency_key_maps_to_its_message_for_24_hours(s: &Repositories) {
    let tenant = tenant();
    let (one, two) = (MessageId::derived(&["1"]), MessageId::derived(&["2"]));
    let reserve = async |request, message, second| {
        s.messages.reserve(&tenant, "key", request, message, at(second)).await.unwrap()
    };
    let reserved = async |request, second| {
        s.messages.reserved(&tenant, "key", request, at(second)).await.unwrap()
    };
    assert_eq!(reserved("a", 0).await, Reservation::New);
    assert_eq!(reserve("a", one, 0).await, Reservation::New);
    assert_eq!(reserve("a", two, 1).await, Reservation::Same(one));
    assert_eq!(reserve("b", two, 1).await, Reservation::Other);
    assert_eq!(reserved("a", 1).await, Reservation::Same(one));
    assert_eq!(reserved("b", 1).await, Reservation::Other);
    let day = 24 * 3600;
    assert_eq!(reserve("b", two, day).await, Reservation::Other);
    assert_eq!(reserved("b", day + 1).await, Reservation::New, "the key expires by its time");
    assert_eq!(reserve("b", two, day + 1).await, Reservation::New);
    assert_eq!(reserved("b", day + 1).await, Reservation::Same(two));
}

/// Returns the items of all pages, each of at most three.
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

async fn messages_and_conversations_are_listed_in_pages(s: &Repositories) {
    let integration = integration();
    let tenant = &integration.tenant;
    let hour = 3600;
    for n in 0..7 {
        // Two messages have the same time: the id decides their order.
        let message = inbound(&integration, &format!("m{n}"), n / 2);
        s.messages.record(&message).await.unwrap();
        let person = format!("p{n}");
        s.messages
            .upsert_conversation(
                &sample::conversation(&integration, &person, at(n * hour)),
                at(n * hour),
            )
            .await
            .unwrap();
    }
    let id = sample::conversation_id(&integration, sample::PERSON);
    let messages =
        all(async |cursor| s.messages.messages(tenant, id, 3, cursor.as_deref()).await.unwrap())
            .await;
    assert_eq!(messages.len(), 7);
    let newest_first = |a: &Message, b: &Message| (a.created_at, a.id) > (b.created_at, b.id);
    assert!(messages.windows(2).all(|pair| newest_first(&pair[0], &pair[1])));
    let conversations =
        all(async |cursor| s.messages.conversations(tenant, 3, cursor.as_deref()).await.unwrap())
            .await;
    let people: Vec<_> = conversations.iter().map(|item| item.contact.address.as_str()).collect();
    assert_eq!(people, ["p6", "p5", "p4", "p3", "p2", "p1", "p0"]);
    // Within an hour, conversations are ordered by the time of their last activity.
    let last = at(6 * hour + 1);
    s.messages
        .upsert_conversation(&sample::conversation(&integration, "p5", last), last)
        .await
        .unwrap();
    let page = s.messages.conversations(tenant, 3, None).await.unwrap();
    assert_eq!(page.items[0].contact.address, "p5");
    let none =
        s.messages.messages(tenant, sample::conversation_id(&integration, "x"), 3, None).await;
    assert_eq!(none.unwrap(), Page { items: Vec::new(), next: None });
}

async fn the_media_state_of_a_message_is_the_last_one_written(s: &Repositories) {
    let integration = integration();
    let tenant = &integration.tenant;
    let state = async |message: &Message| {
        s.messages.message(tenant, message.id).await.unwrap().and_then(|(_, state)| state)
    };
    let text = inbound(&integration, "text", 0);
    s.messages.record(&text).await.unwrap();
    assert_eq!(state(&text).await, None);
    let media =
        domain::content::Media { provider_media_id: Some("1".into()), ..Default::default() };
    let content = domain::Content::Image { media };
    let image = Message { content, ..inbound(&integration, "image", 0) };
    s.messages.record(&image).await.unwrap();
    assert_eq!(state(&image).await, Some(MediaState::Pending));
    for written in [
        MediaState::Failed { code: "404".to_owned() },
        MediaState::Stored { key: "media/1".to_owned(), content_type: "image/jpeg".to_owned() },
    ] {
        s.messages.set_media(tenant, image.id, &written).await.unwrap();
        assert_eq!(state(&image).await, Some(written));
    }
    let missing = inbound(&integration, "missing", 0);
    s.messages.set_media(tenant, missing.id, &MediaState::Pending).await.unwrap();
    assert_eq!(s.messages.message(tenant, missing.id).await.unwrap(), None);
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

async fn claim_notification(
    s: &Repositories,
    tenant: &TenantId,
    id: NotificationId,
    notification: Option<&Notification>,
    second: i64,
) -> NotificationClaim {
    Notifications::claim(&s.endpoints, tenant, id, notification, at(second), LEASE).await.unwrap()
}

fn attempt(claim: &NotificationClaim) -> Option<u32> {
    match claim {
        NotificationClaim::Granted { attempt, .. } => Some(*attempt),
        _ => None,
    }
}

async fn a_notification_is_claimed_by_one_consumer_and_settled_once(s: &Repositories) {
    let integration = integration();
    let tenant = &integration.tenant;
    let (id, notification) = notification(&integration);
    let unknown = claim_notification(s, tenant, id, None, 0).await;
    assert!(matches!(unknown, NotificationClaim::Settled), "the notification is not stored");
    let claims = (0..20).map(|_| claim_notification(s, tenant, id, Some(&notification), 0));
    let claims = join_all(claims).await;
    assert_eq!(claims.iter().filter_map(attempt).collect::<Vec<_>>(), [1]);
    assert_eq!(claims.iter().filter(|c| matches!(c, NotificationClaim::Held { .. })).count(), 19);
    let held = claim_notification(s, tenant, id, None, 60).await;
    assert!(matches!(held, NotificationClaim::Held { until } if until == at(60)));
    // An expired lease is taken over by the same notification only: one with the same id and a
    // different body has to wait.
    let mut different = notification.clone();
    different.data.message.history.push(Step::plain(Status::Read, at(1)));
    let other = claim_notification(s, tenant, id, Some(&different), 61).await;
    assert!(matches!(other, NotificationClaim::Held { until } if until > at(61)));
    assert_eq!(attempt(&claim_notification(s, tenant, id, Some(&notification), 61).await), Some(2));
    let settle = async |outcome| {
        Notifications::settle(&s.endpoints, tenant, id, outcome, &notification, Some(200), at(62))
            .await
            .unwrap();
    };
    settle(NotificationOutcome::Delivered).await;
    settle(NotificationOutcome::RetryAt(at(70))).await;
    let settled = claim_notification(s, tenant, id, Some(&notification), 9999).await;
    assert!(matches!(settled, NotificationClaim::Settled), "a delivery is final");
}

async fn a_notification_cannot_be_claimed_before_its_retry_is_due(s: &Repositories) {
    let integration = integration();
    let tenant = &integration.tenant;
    let (id, notification) = notification(&integration);
    claim_notification(s, tenant, id, Some(&notification), 0).await;
    let later = NotificationOutcome::RetryAt(at(300));
    Notifications::settle(&s.endpoints, tenant, id, later, &notification, None, at(1))
        .await
        .unwrap();
    for second in [1, 299] {
        let early = claim_notification(s, tenant, id, Some(&notification), second).await;
        assert!(matches!(early, NotificationClaim::Early { until } if until == at(300)));
    }
    // The table holds the notification, because its delivery is retried.
    let NotificationClaim::Granted { attempt: 2, notification: kept } =
        claim_notification(s, tenant, id, None, 300).await
    else {
        panic!("the retry is due")
    };
    assert_eq!(kept.data.message, notification.data.message);
    let given_up = NotificationOutcome::GivenUp;
    Notifications::settle(&s.endpoints, tenant, id, given_up, &notification, None, at(301))
        .await
        .unwrap();
    let settled = claim_notification(s, tenant, id, Some(&notification), 9999).await;
    assert!(matches!(settled, NotificationClaim::Settled));
}

async fn a_scheduled_retry_is_listed_from_its_due_time_until_it_is_removed(s: &Repositories) {
    let tenant = tenant();
    let ids: Vec<NotificationId> =
        (0..40).map(|n| NotificationId::derived(&[&n.to_string()])).collect();
    // So far in the future that the scheduler of a running hub does not take them.
    let time = |n: i64| Timestamp::from_second(4_000_000_000 + n).unwrap();
    for (n, id) in (0..).zip(&ids) {
        s.endpoints.schedule(&tenant, *id, time(n)).await.unwrap();
        s.endpoints.schedule(&tenant, *id, time(n)).await.unwrap();
    }
    let due = async |n| {
        let mut due = s.endpoints.due(time(n), 500).await.unwrap();
        due.retain(|due| due.tenant == tenant);
        due
    };
    assert_eq!(due(-1).await.len(), 0);
    assert_eq!(due(0).await.len(), 1, "a retry is due at its exact time");
    let half = due(19).await;
    let mut found: Vec<_> = half.iter().map(|due| due.id).collect();
    found.sort();
    let mut expected = ids[..20].to_vec();
    expected.sort();
    assert_eq!(found, expected);
    assert!(s.endpoints.due(time(100), 3).await.unwrap().len() <= 3);
    s.endpoints.remove(&half).await.unwrap();
    s.endpoints.remove(&half).await.unwrap();
    assert_eq!(due(100).await.len(), 20);
    s.endpoints.remove(&due(100).await).await.unwrap();
    assert_eq!(due(100).await.len(), 0);
}

async fn a_window_allows_as_many_messages_as_the_rate_limit(s: &Repositories) {
    let tenant = tenant();
    let turn = async |identity: &str, per: u64, millis: u64| {
        let per = Duration::from_secs(per);
        let rate_limit = RateLimit { identity: identity.to_owned(), messages: 3, per };
        let now = at(0) + Duration::from_millis(millis);
        s.messages.take_rate_limit(&tenant, &rate_limit, now).await.unwrap()
    };
    let turns = join_all((0..10).map(|_| turn("number", 1, 250))).await;
    assert_eq!(turns.iter().filter(|wait| wait.is_none()).count(), 3);
    let wait = Some(Duration::from_millis(750));
    assert!(turns.iter().flatten().all(|other| Some(*other) == wait));
    assert_eq!(turn("number", 1, 1000).await, None, "the next window starts empty");
    assert_eq!(turn("other", 1, 250).await, None, "each identity has its own window");
    let other_tenant = turn_of_another_tenant(s).await;
    assert_eq!(other_tenant, None, "each tenant has its own windows");
    for _ in 0..3 {
        assert_eq!(turn("slow", 10, 1).await, None);
    }
    assert_eq!(turn("slow", 10, 9_999).await, Some(Duration::from_millis(1)));
}

async fn turn_of_another_tenant(s: &Repositories) -> Option<Duration> {
    let rate_limit =
        RateLimit { identity: "number".to_owned(), messages: 3, per: Duration::from_secs(1) };
    s.messages.take_rate_limit(&tenant(), &rate_limit, at(0)).await.unwrap()
}

fn api_key(tenant: &TenantId, name: &str) -> ApiKey {
    ApiKey {
        id: KeyId::derived(&[tenant.as_str(), name]),
        tenant: tenant.clone(),
        scopes: vec![Scope::Send, Scope::Read],
        hint: "abcd".to_owned(),
        created_at: at(0),
        expires_at: None,
        allowed_ips: Vec::new(),
        last_used_at: None,
    }
}

async fn key_page(s: &Repositories, tenant: &TenantId) -> Vec<ApiKey> {
    all(async |cursor| s.accounts.keys(tenant, 2, cursor.as_deref()).await.unwrap()).await
}

async fn an_api_key_is_found_until_its_tenant_revokes_it(s: &Repositories) {
    let (acme, other) = (tenant(), tenant());
    let (one, two) = (api_key(&acme, "one"), api_key(&acme, "two"));
    s.accounts.create_key(&one, "hash-1", &audit(&acme)).await.unwrap();
    s.accounts.create_key(&two, "hash-2", &audit(&acme)).await.unwrap();
    assert_eq!(s.accounts.key(one.id).await.unwrap(), Some((one.clone(), "hash-1".to_owned())));
    assert_eq!(key_page(s, &acme).await.len(), 2);
    assert!(
        !s.accounts.revoke_key(&other, one.id, &audit(&other)).await.unwrap(),
        "the other tenant does not own it"
    );
    assert!(s.accounts.key(one.id).await.unwrap().is_some());
    assert!(s.accounts.revoke_key(&acme, one.id, &audit(&acme)).await.unwrap());
    assert!(!s.accounts.revoke_key(&acme, one.id, &audit(&acme)).await.unwrap());
    assert_eq!(s.accounts.key(one.id).await.unwrap(), None);
    assert_eq!(key_page(s, &acme).await, [two]);
}

async fn the_use_of_an_api_key_is_recorded_once_an_hour(s: &Repositories) {
    let acme = tenant();
    let key = api_key(&acme, "used");
    s.accounts.create_key(&key, "hash", &audit(&acme)).await.unwrap();
    let last_used = async || s.accounts.api_key(&acme, key.id).await.unwrap().unwrap().last_used_at;
    assert_eq!(last_used().await, None);
    for (used, recorded) in [(10, 10), (11, 10), (3609, 10), (3610, 3610), (20, 3610)] {
        s.accounts.record_use(&acme, key.id, at(used)).await.unwrap();
        assert_eq!(last_used().await, Some(at(recorded)));
        assert_eq!(key_page(s, &acme).await[0].last_used_at, Some(at(recorded)));
    }
    assert!(s.accounts.revoke_key(&acme, key.id, &audit(&acme)).await.unwrap());
    s.accounts.record_use(&acme, key.id, at(9999)).await.unwrap();
    assert_eq!(s.accounts.api_key(&acme, key.id).await.unwrap(), None);
}

async fn the_keys_of_a_tenant_are_limited_however_many_are_created_at_once(s: &Repositories) {
    let acme = tenant();
    let keys: Vec<_> = (0..MAX_KEYS + 5).map(|n| api_key(&acme, &n.to_string())).collect();
    let create = async |key: &ApiKey| loop {
        // DynamoDB rejects concurrent transactions on one item: the client sends it again.
        if let Ok(created) = s.accounts.create_key(key, "hash", &audit(&acme)).await {
            return created;
        }
    };
    let (first, last) = keys.split_at(keys.len() - 10);
    for key in first {
        assert_eq!(create(key).await, KeyCreation::Created);
    }
    let created = join_all(last.iter().map(&create)).await;
    let refused = created.iter().filter(|created| **created == KeyCreation::LimitReached).count();
    assert_eq!(refused, 5);
    let stored = all(async |cursor| s.accounts.keys(&acme, 3, cursor.as_deref()).await.unwrap());
    assert_eq!(u32::try_from(stored.await.len()).unwrap(), MAX_KEYS);
}

async fn audit_records_are_written_with_the_change_and_listed_in_pages(s: &Repositories) {
    let acme = tenant();
    let list = async |filter: AuditFilter| {
        let page = async |cursor: Option<String>| {
            s.accounts.audit_records(&acme, &filter, 3, cursor.as_deref()).await.unwrap()
        };
        let records = all(page).await;
        let second = |record: &AuditRecord| record.at.as_second() - at(0).as_second();
        records.iter().map(second).collect::<Vec<_>>()
    };
    let record = |second: i64, action| AuditRecord {
        at: at(second),
        change: Change::of_integration(action, IntegrationId::derived(&["audit"])),
        ..audit(&acme)
    };
    for second in 0..7 {
        let action = if second % 2 == 0 { Action::RouteSet } else { Action::AutomationSet };
        let record = record(second, action);
        s.accounts.set_automation(&acme, &Automation::None, &record).await.unwrap();
    }
    s.accounts.record_action(&record(7, Action::IntegrationRegistered)).await.unwrap();
    let filter = AuditFilter::default();
    assert_eq!(list(filter).await, [7, 6, 5, 4, 3, 2, 1, 0]);
    let of_route = AuditFilter { action: Some(Action::RouteSet), ..filter };
    assert_eq!(list(of_route).await, [6, 4, 2, 0]);
    let actor = Some(Actor::Key(KeyId::derived(&["other"])));
    assert_eq!(list(AuditFilter { actor, ..filter }).await, [0; 0]);
    let actor = Some(Actor::Platform);
    let range = AuditFilter { actor, from: Some(at(2)), to: Some(at(5)), ..filter };
    assert_eq!(list(range).await, [4, 3, 2]);
    assert_eq!(list(AuditFilter { action: Some(Action::RouteSet), ..range }).await, [4, 2]);
    let nobody = s.accounts.audit_records(&tenant(), &filter, 3, None).await.unwrap();
    assert!(nobody.items.is_empty(), "each tenant has its own records");
    // A record is never replaced: its change is refused, too.
    let again = record(7, Action::RouteSet);
    s.accounts.set_automation(&acme, &tests::sample::push(), &again).await.unwrap();
    let removed = s.accounts.set_automation(&acme, &Automation::None, &again).await;
    assert!(removed.is_err());
    assert_eq!(s.accounts.automation(&acme).await.unwrap(), tests::sample::push());
    assert_eq!(s.accounts.recent_automation(&acme).await.unwrap(), tests::sample::push());
}

async fn a_tenant_is_created_once_and_listed(s: &Repositories) {
    let ids = [tenant(), tenant(), tenant(), tenant()];
    for id in &ids {
        let created = Tenant { id: id.clone(), name: "Acme".to_owned(), created_at: at(0) };
        assert_eq!(
            s.accounts.create_tenant(&created, &audit(&created.id)).await.unwrap(),
            Recorded::New
        );
        let other = Tenant { name: "Other".to_owned(), ..created.clone() };
        assert_eq!(
            s.accounts.create_tenant(&other, &audit(&other.id)).await.unwrap(),
            Recorded::Duplicate
        );
        assert_eq!(s.accounts.tenant(id).await.unwrap(), Some(created));
    }
    let listed = all(async |cursor| s.accounts.tenants(3, cursor.as_deref()).await.unwrap()).await;
    assert!(listed.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert!(ids.iter().all(|id| listed.iter().any(|tenant| tenant.id == *id)));
    assert_eq!(s.accounts.tenant(&tenant()).await.unwrap(), None);
}

/// Returns the endpoint of the sample automation.
fn endpoint() -> Push {
    let Automation::Push(push) = tests::sample::push() else { panic!("it must be a push") };
    push
}

async fn an_automation_can_be_disabled_and_set_again(s: &Repositories) {
    let tenant = tenant();
    let read = async || s.accounts.automation(&tenant).await.unwrap();
    assert_eq!(read().await, Automation::None);
    s.accounts.disable(&tenant, &endpoint(), at(0)).await.unwrap();
    assert_eq!(read().await, Automation::None);
    s.accounts.set_automation(&tenant, &tests::sample::push(), &audit(&tenant)).await.unwrap();
    assert_eq!(read().await, tests::sample::push());
    s.accounts.disable(&tenant, &endpoint(), at(1)).await.unwrap();
    s.accounts.disable(&tenant, &endpoint(), at(2)).await.unwrap();
    let Automation::Push(push) = read().await else { panic!("it must be a push") };
    assert_eq!(push.disabled_at, Some(at(1)));
    s.accounts.set_automation(&tenant, &Automation::Push(push), &audit(&tenant)).await.unwrap();
    assert_eq!(read().await, tests::sample::push(), "setting it again enables it");
    s.accounts.set_automation(&tenant, &Automation::None, &audit(&tenant)).await.unwrap();
    assert_eq!(read().await, Automation::None);
}

async fn an_endpoint_that_was_replaced_cannot_disable_the_new_one(s: &Repositories) {
    let tenant = tenant();
    let old = endpoint();
    let moved = Push { url: "https://new.test/hook".to_owned(), ..old.clone() };
    let set_again = Push { secret_at: at(5), ..old.clone() };
    for new in [moved, set_again] {
        for automation in [
            Automation::Push(new.clone()),
            Automation::Pull(Pull { job_ttl: 60, push: Some(new.clone()) }),
        ] {
            s.accounts.set_automation(&tenant, &automation, &audit(&tenant)).await.unwrap();
            assert!(!s.accounts.disable(&tenant, &old, at(6)).await.unwrap());
            assert_eq!(s.accounts.automation(&tenant).await.unwrap(), automation);
            assert!(s.accounts.disable(&tenant, &new, at(7)).await.unwrap());
            let disabled = s.accounts.automation(&tenant).await.unwrap();
            assert_eq!(disabled.enabled_webhook(), None);
        }
    }
}

async fn find(s: &Repositories, integration: &Integration) -> Option<Integration> {
    let found = Directory::integration(&s.accounts, integration.id).await.unwrap();
    assert_eq!(found, Registry::integration(&s.accounts, integration.id).await.unwrap());
    found
}

async fn holder(s: &Repositories, integration: &Integration) -> Option<TenantId> {
    let account = integration.account.as_deref().unwrap();
    s.accounts.account(integration.provider, account).await.unwrap().map(|holder| holder.tenant)
}

async fn an_account_and_a_path_secret_belong_to_one_integration(s: &Repositories) {
    let ours = integration();
    let path = [format!("hash-of-{}", ours.tenant)];
    assert_eq!(
        s.accounts.put_integration(&ours, &path, None, &audit(&ours.tenant)).await.unwrap(),
        AccountClaim::Granted
    );
    assert_eq!(
        s.accounts.put_integration(&ours, &path, None, &audit(&ours.tenant)).await.unwrap(),
        AccountClaim::Granted
    );
    assert_eq!(find(s, &ours).await, Some(ours.clone()));
    assert_eq!(holder(s, &ours).await.as_ref(), Some(&ours.tenant));
    let by_path = s.accounts.by_path_secret(ours.provider, &path[0]).await.unwrap();
    assert_eq!(by_path, Some(ours.id));
    let elsewhere = s.accounts.by_path_secret(Provider::Telegram, &path[0]).await.unwrap();
    assert_eq!(elsewhere, None, "a path secret belongs to one provider");

    let rival = sample::whatsapp(&tenant(), ours.account.as_deref());
    assert_eq!(
        s.accounts.put_integration(&rival, &[], None, &audit(&rival.tenant)).await.unwrap(),
        AccountClaim::Taken
    );
    assert_eq!(find(s, &rival).await, None, "all or nothing");
    assert_eq!(holder(s, &ours).await.as_ref(), Some(&ours.tenant));
    let other = integration();
    assert_eq!(
        s.accounts.put_integration(&other, &path, None, &audit(&other.tenant)).await.unwrap(),
        AccountClaim::Taken
    );
    assert_eq!((find(s, &other).await, holder(s, &other).await), (None, None));
}

async fn accounts_and_path_secrets_that_an_integration_drops_are_free_again(s: &Repositories) {
    let before = integration();
    let tenant = &before.tenant;
    let old = [format!("old-{tenant}"), format!("kept-{tenant}")];
    s.accounts.put_integration(&before, &old, None, &audit(&before.tenant)).await.unwrap();
    let mut after = before.clone();
    after.account = Some(format!("moved-{tenant}"));
    let new = [format!("kept-{tenant}"), format!("new-{tenant}")];
    let claimed = s
        .accounts
        .put_integration(&after, &new, Some((&before, &old)), &audit(&after.tenant))
        .await
        .unwrap();
    assert_eq!(claimed, AccountClaim::Granted);
    assert_eq!(holder(s, &before).await, None);
    assert_eq!(holder(s, &after).await.as_ref(), Some(tenant));
    let by_path =
        async |hash| s.accounts.by_path_secret(Provider::WhatsappCloud, hash).await.unwrap();
    assert_eq!(by_path(&old[0]).await, None);
    assert_eq!(by_path(&new[0]).await, Some(after.id));
    assert_eq!(by_path(&new[1]).await, Some(after.id));

    let successor = sample::whatsapp(&self::tenant(), before.account.as_deref());
    assert_eq!(
        s.accounts.put_integration(&successor, &[], None, &audit(&successor.tenant)).await.unwrap(),
        AccountClaim::Granted
    );
    // A write that fails releases nothing.
    let mut conflicting = after.clone();
    conflicting.account.clone_from(&successor.account);
    let taken = s
        .accounts
        .put_integration(&conflicting, &[], Some((&after, &new)), &audit(&conflicting.tenant))
        .await
        .unwrap();
    assert_eq!(taken, AccountClaim::Taken);
    assert_eq!(find(s, &after).await, Some(after.clone()));
    assert_eq!(holder(s, &after).await.as_ref(), Some(tenant));

    s.accounts.delete_integration(&after, &new, &audit(&after.tenant)).await.unwrap();
    s.accounts.delete_integration(&after, &new, &audit(&after.tenant)).await.unwrap();
    assert_eq!((find(s, &after).await, holder(s, &after).await), (None, None));
    assert_eq!(by_path(&new[0]).await, None);
    assert_eq!(holder(s, &successor).await.as_ref(), Some(&successor.tenant));
}

async fn the_operator_has_one_integration_at_each_provider(s: &Repositories) {
    let provider = Provider::Telegram;
    // In a shared table the operator may have an integration already, which must stay.
    if s.accounts.platform(provider).await.unwrap().is_some() {
        return;
    }
    let account = tenant().to_string();
    let first = sample::telegram(&TenantId::platform(), Some(&account));
    assert_eq!(
        s.accounts.put_integration(&first, &[], None, &audit(&first.tenant)).await.unwrap(),
        AccountClaim::Granted
    );
    assert_eq!(s.accounts.platform(provider).await.unwrap(), Some(first.clone()));
    let second = sample::telegram(&TenantId::platform(), Some(&format!("{account}-2")));
    assert_eq!(
        s.accounts.put_integration(&second, &[], None, &audit(&second.tenant)).await.unwrap(),
        AccountClaim::Taken
    );
    s.accounts.delete_integration(&first, &[], &audit(&first.tenant)).await.unwrap();
    assert_eq!(s.accounts.platform(provider).await.unwrap(), None);
}

async fn a_tenant_cannot_read_or_change_data_of_another_tenant(s: &Repositories) {
    let other = integration();
    let (a, b) = (&other.tenant, &tenant());
    s.accounts.put_integration(&other, &[], None, &audit(&other.tenant)).await.unwrap();
    s.accounts.create_key(&api_key(a, "key"), "hash", &audit(a)).await.unwrap();
    s.accounts.set_automation(a, &tests::sample::push(), &audit(a)).await.unwrap();
    let message = sample::outbound(&other, "m", at(0));
    claim(s, &message, "one", 0).await;
    settle(s, &message, "one", &ending(Status::Accepted, 1, 0), Some("w")).await.unwrap();
    let conversation = s
        .messages
        .upsert_conversation(&sample::conversation(&other, sample::PERSON, at(0)), at(0))
        .await
        .unwrap();
    s.messages.reserve(a, "key", "request", message.id, at(0)).await.unwrap();
    let (id, notification) = notification(&other);
    claim_notification(s, a, id, Some(&notification), 0).await;

    assert_eq!(s.messages.message(b, message.id).await.unwrap(), None);
    assert_eq!(s.messages.conversation(b, conversation.id).await.unwrap(), None);
    assert!(s.messages.messages(b, conversation.id, 10, None).await.unwrap().items.is_empty());
    assert!(s.messages.conversations(b, 10, None).await.unwrap().items.is_empty());
    assert!(s.accounts.integrations_of(b).await.unwrap().is_empty());
    assert!(Registry::integrations(&s.accounts, b).await.unwrap().is_empty());
    assert!(key_page(s, b).await.is_empty());
    assert_eq!(s.accounts.automation(b).await.unwrap(), Automation::None);
    assert_eq!(s.messages.resolve(b, Provider::WhatsappCloud, other.id, "w").await.unwrap(), None);
    assert_eq!(s.messages.reserved(b, "key", "request", at(1)).await.unwrap(), Reservation::New);
    let claim = claim_notification(s, b, id, None, 9999).await;
    assert!(matches!(claim, NotificationClaim::Settled));
    let read = sample::receipt(Status::Read, "w");
    assert_eq!(
        s.messages.advance(b, message.id, other.id, &read, at(9)).await.unwrap(),
        StatusUpdate::Missing
    );
    s.messages.set_media(b, message.id, &MediaState::Pending).await.unwrap();
    s.accounts.disable(b, &endpoint(), at(9)).await.unwrap();

    let (kept, media) = s.messages.message(a, message.id).await.unwrap().unwrap();
    assert_eq!((kept.status, media), (Status::Accepted, None));
    assert_eq!(s.accounts.automation(a).await.unwrap(), tests::sample::push());
    assert_eq!(s.accounts.integrations_of(a).await.unwrap().len(), 1);
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
        occurred_at: Some(at(second - 1)),
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
    s: &Repositories,
    event: &StoredEvent,
    single_use: Option<&str>,
) -> RecordOutcome {
    s.events.record_event(event, single_use).await.unwrap()
}

/// Returns the provider event ids on all pages of a list, and the number of pages.
async fn all_events(
    s: &Repositories,
    tenant: &TenantId,
    filter: &EventFilter,
    direction: Direction,
    limit: u32,
) -> (Vec<String>, usize) {
    let (mut names, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let page =
            s.events.events(tenant, filter, direction, limit, cursor.as_deref()).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        names.extend(page.items.into_iter().map(|event| event.record.provider_event_id));
        (cursor, pages) = (page.next, pages + 1);
        assert!(pages < 100, "the pages do not end");
        if cursor.is_none() {
            return (names, pages);
        }
    }
}

async fn an_event_is_recorded_once_and_read_back_unchanged(s: &Repositories) {
    let tenant = tenant();
    let event = event_of(&tenant, Provider::Stripe, "evt_1", 0);
    assert_eq!(s.events.event(&tenant, event.record.id).await.unwrap(), None);
    assert_eq!(record_event(s, &event, None).await, RecordOutcome::New);
    let mut later = event.clone();
    later.record.received_at = at(90);
    assert_eq!(record_event(s, &later, None).await, RecordOutcome::Duplicate);
    assert_eq!(s.events.event(&tenant, event.record.id).await.unwrap(), Some(event));
    let mut large = event_of(&tenant, Provider::Stripe, "evt_2", 0);
    large.body = BodyLocation::Object("archive/t/stripe/events/x.json".to_owned());
    assert_eq!(record_event(s, &large, None).await, RecordOutcome::New);
    assert_eq!(s.events.event(&tenant, large.record.id).await.unwrap(), Some(large));
}

async fn an_event_recorded_fifty_times_concurrently_is_stored_once(s: &Repositories) {
    let tenant = tenant();
    let event = event_of(&tenant, Provider::Stripe, "evt_1", 0);
    let outcomes = join_all((0..50).map(|_| record_event(s, &event, None))).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == RecordOutcome::New).count(), 1);
    let all = EventFilter::default();
    let (names, _) = all_events(s, &tenant, &all, Direction::NewestFirst, 10).await;
    assert_eq!(names, ["evt_1"]);
}

async fn a_single_use_token_authenticates_one_event_only(s: &Repositories) {
    let tenant = tenant();
    let one = event_of(&tenant, Provider::Mailgun, "one", 0);
    let other = event_of(&tenant, Provider::Mailgun, "other", 1);
    assert_eq!(record_event(s, &one, Some("token-1")).await, RecordOutcome::New);
    assert_eq!(record_event(s, &one, Some("token-1")).await, RecordOutcome::Duplicate);
    assert_eq!(record_event(s, &other, Some("token-1")).await, RecordOutcome::ReusedToken);
    assert_eq!(s.events.event(&tenant, other.record.id).await.unwrap(), None, "it is not stored");
    assert_eq!(record_event(s, &other, Some("token-2")).await, RecordOutcome::New);
    // A redelivery may have a new token.
    assert_eq!(record_event(s, &one, Some("token-3")).await, RecordOutcome::Duplicate);
    assert_eq!(record_event(s, &one, Some("token-2")).await, RecordOutcome::ReusedToken);
    // Each tenant has its own tokens.
    let globex = self::tenant();
    let other = event_of(&globex, Provider::Mailgun, "other", 0);
    assert_eq!(record_event(s, &other, Some("token-1")).await, RecordOutcome::New);
}

async fn a_replay_is_counted_once_on_its_event(s: &Repositories) {
    let tenant = tenant();
    let event = event_of(&tenant, Provider::Stripe, "evt_1", 0);
    let [one, two] = ["one", "two"].map(|name| ReplayId::derived(&[name]));
    let id = event.record.id;
    let note = async |replay, second| {
        s.events.record_replay(&tenant, id, replay, at(second)).await.unwrap()
    };
    assert_eq!(note(one, 1).await, Recorded::Duplicate, "the event does not exist");
    assert_eq!(s.events.event(&tenant, id).await.unwrap(), None);
    record_event(s, &event, None).await;
    assert_eq!(note(one, 1).await, Recorded::New);
    assert_eq!(note(one, 2).await, Recorded::Duplicate);
    assert_eq!(note(two, 3).await, Recorded::New);
    assert_eq!(note(one, 4).await, Recorded::Duplicate, "in any order");
    let record = s.events.event(&tenant, id).await.unwrap().unwrap().record;
    assert_eq!(record.replays, 2);
    assert_eq!(record.last_replay, Some(LastReplay { replay: two, at: at(3) }));
    assert_eq!(record_event(s, &event, None).await, RecordOutcome::Duplicate);
    assert_eq!(s.events.event(&tenant, id).await.unwrap().unwrap().record.replays, 2);
}

async fn events_are_listed_in_pages_and_filtered(s: &Repositories) {
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
        assert_eq!(names, all, "with any page size");
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
    assert_eq!(list(since).await, "04 05", "`from` is inclusive");
    let until = EventFilter { from: Some(at(3)), to: exact, ..EventFilter::default() };
    assert_eq!(list(until).await, "03", "`to` is exclusive");
    let never = EventFilter { from: Some(at(5)), to: Some(at(3)), ..EventFilter::default() };
    assert_eq!(list(never).await, "");
    let state = Some(State::Parked);
    assert_eq!(list(EventFilter { state, ..EventFilter::default() }).await, "");
    let state = Some(State::Recorded);
    assert_eq!(list(EventFilter { state, ..EventFilter::default() }).await, every);
}

async fn a_parked_event_is_in_the_full_list_and_in_the_parked_list(s: &Repositories) {
    let tenant = tenant();
    record_event(s, &event_of(&tenant, Provider::Stripe, "read", 0), None).await;
    let parked = parked_of(&tenant, "parked", 1);
    assert_eq!(record_event(s, &parked, None).await, RecordOutcome::New);
    assert_eq!(record_event(s, &parked, None).await, RecordOutcome::Duplicate);
    assert_eq!(s.events.event(&tenant, parked.record.id).await.unwrap(), Some(parked));
    let list = async |state| {
        let filter = EventFilter { state, ..EventFilter::default() };
        all_events(s, &tenant, &filter, Direction::OldestFirst, 1).await.0
    };
    assert_eq!(list(None).await, ["read", "parked"]);
    assert_eq!(list(Some(State::Parked)).await, ["parked"]);
    assert_eq!(list(Some(State::Recorded)).await, ["read"]);
}

async fn a_list_with_few_matches_continues_to_its_end(s: &Repositories) {
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
    assert!(pages <= 3, "events that do not match are skipped by their keys");
    let filter = EventFilter { name: Some("rare".to_owned()), ..EventFilter::default() };
    let (names, _) = all_events(s, &tenant, &filter, Direction::NewestFirst, 2).await;
    assert_eq!(names, ["187", "097", "007"]);
}

async fn an_event_is_visible_to_its_tenant_only(s: &Repositories) {
    let (acme, globex) = (tenant(), tenant());
    let event = event_of(&acme, Provider::Stripe, "evt_1", 0);
    record_event(s, &event, None).await;
    assert_eq!(s.events.event(&globex, event.record.id).await.unwrap(), None);
    let all = EventFilter::default();
    assert!(all_events(s, &globex, &all, Direction::NewestFirst, 9).await.0.is_empty());
    let replay = ReplayId::derived(&["r"]);
    let recorded = s.events.record_replay(&globex, event.record.id, replay, at(1)).await.unwrap();
    assert_eq!(recorded, Recorded::Duplicate);
    assert_eq!(s.events.event(&acme, event.record.id).await.unwrap(), Some(event));
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

async fn a_replay_advances_from_its_position_and_ends(s: &Repositories) {
    let tenant = tenant();
    let begun = replay(&tenant);
    let id = begun.id;
    assert_eq!(s.events.replay(&tenant, id).await.unwrap(), None);
    let advance = async |page: ReplayPage, second| {
        s.events.advance_page(&tenant, id, &page, at(second)).await.unwrap()
    };
    assert_eq!(advance(page("", Some("a"), 5), 11).await, Recorded::Duplicate);
    assert_eq!(s.events.start_replay(&begun).await.unwrap(), ReplayStart::Started);
    let other = |name| Replay { id: ReplayId::derived(&[tenant.as_str(), name]), ..begun.clone() };
    let (second, third) = (other("second"), other("third"));
    assert_eq!(s.events.start_replay(&second).await.unwrap(), ReplayStart::Started);
    let refused = s.events.start_replay(&third).await.unwrap();
    assert_eq!(refused, ReplayStart::TooMany(vec![id, second.id]));
    assert_eq!(s.events.replay(&tenant, third.id).await.unwrap(), None);
    let found = s.events.replay(&tenant, id).await.unwrap().unwrap();
    assert_eq!((found.replay, found.cursor.as_str(), found.before), (begun.clone(), "", None));
    assert_eq!(advance(page("", Some("a"), 5), 11).await, Recorded::New);
    assert_eq!(advance(page("", Some("a"), 5), 12).await, Recorded::Duplicate);
    let found = s.events.replay(&tenant, id).await.unwrap().unwrap();
    assert_eq!((found.cursor.as_str(), found.before.as_deref()), ("a", Some("")));
    assert_eq!((found.replay.matched, found.replay.published), (5, 4));
    assert_eq!(found.replay.updated_at, at(11));
    assert_eq!(advance(page("a", None, 2), 13).await, Recorded::New);
    assert_eq!(advance(page("a", None, 2), 14).await, Recorded::Duplicate);
    assert_eq!(advance(page("", Some("a"), 5), 15).await, Recorded::Duplicate, "the replay ended");
    s.events.record_failure(&tenant, id, "", "late", at(16)).await.unwrap();
    let ended = s.events.replay(&tenant, id).await.unwrap().unwrap().replay;
    let status = ReplayStatus::Done;
    let (matched, published, updated_at) = (7, 5, at(13));
    assert_eq!(ended, Replay { status, matched, published, updated_at, ..begun });
    assert_eq!(s.events.replay(&self::tenant(), id).await.unwrap(), None, "another tenant owns it");
    assert_eq!(s.events.start_replay(&third).await.unwrap(), ReplayStart::Started);
}

async fn a_failed_replay_has_a_reason_and_can_continue(s: &Repositories) {
    let tenant = tenant();
    let begun = replay(&tenant);
    s.events.start_replay(&begun).await.unwrap();
    s.events.record_failure(&tenant, begun.id, "elsewhere", "late", at(11)).await.unwrap();
    let read = async || s.events.replay(&tenant, begun.id).await.unwrap().unwrap().replay;
    assert_eq!(read().await.status, ReplayStatus::Running, "the replay is not at that page");
    s.events
        .record_failure(&tenant, begun.id, "", "the queue is unavailable", at(12))
        .await
        .unwrap();
    let failed = read().await;
    assert_eq!(failed.status, ReplayStatus::Failed);
    assert_eq!(failed.reason.as_deref(), Some("the queue is unavailable"));
    let page = page("", Some("a"), 5);
    assert_eq!(
        s.events.advance_page(&tenant, begun.id, &page, at(13)).await.unwrap(),
        Recorded::New
    );
    let moved = read().await;
    assert_eq!((moved.status, moved.reason), (ReplayStatus::Running, None));
}

// ---- Jobs ---------------------------------------------------------------------------------------

const SECOND: Duration = Duration::from_secs(1);
/// Time to live of the jobs.
const TIME_TO_LIVE: Duration = Duration::from_hours(1);

/// Queues jobs of the customer `person`, created one second apart from `second` on.
async fn queued(
    s: &Repositories,
    integration: &Integration,
    person: &str,
    names: &[&str],
    second: i64,
) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (name, second) in names.iter().zip(second..) {
        let message = sample::message_from(integration, person, name, at(second));
        assert_eq!(s.jobs.enqueue_job(&message, TIME_TO_LIVE).await.unwrap(), Recorded::New);
        jobs.push(Job::new(&message, TIME_TO_LIVE));
    }
    jobs
}

/// Returns the job that a worker is offered, if any. The index may lag behind the table.
async fn pull(s: &Repositories, tenant: &TenantId, second: i64) -> Option<Job> {
    match s.jobs.lease_next(tenant, at(second), LEASE, 7).await.unwrap() {
        LeaseOutcome::Job(job) => Some(*job),
        LeaseOutcome::Nothing | LeaseOutcome::Empty => None,
        LeaseOutcome::Overdue(overdue) => panic!("{overdue:?}"),
    }
}

fn done(result: &str) -> JobOutcome {
    JobOutcome::Completed { result: Some(result.to_owned()) }
}

async fn complete(s: &Repositories, job: &Job, second: i64) -> JobUpdate {
    s.jobs.settle_job(&job.tenant, job.ticket(), &done("1"), None, at(second)).await.unwrap()
}

async fn job_of(s: &Repositories, job: &Job) -> Job {
    s.jobs.job(&job.tenant, job.id).await.unwrap().unwrap()
}

async fn counted(s: &Repositories, tenant: &TenantId, second: i64) -> (u64, u64) {
    let stats = s.jobs.stats(tenant, at(second)).await.unwrap();
    (stats.queued, stats.processing)
}

fn expect_done(answer: &PortResult<JobUpdate>) -> Job {
    match answer {
        Ok(JobUpdate::Done(job)) => (**job).clone(),
        other => panic!("{other:?}"),
    }
}

fn is_refused(answer: &JobUpdate) -> bool {
    matches!(answer, JobUpdate::Refused(_))
}

async fn jobs_are_offered_in_order_per_conversation_and_in_parallel_across_them(s: &Repositories) {
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
    assert_eq!(second.id, other[0].id, "the first conversation has a job in progress");
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
    // A queue that was empty accepts jobs again.
    let later = queued(s, &own, "1", &["e"], 20).await;
    assert_eq!(pull(s, tenant, 21).await.unwrap().id, later[0].id);
}

async fn a_job_is_queued_once_however_often_it_is_submitted(s: &Repositories) {
    let own = integration();
    let message = sample::message_from(&own, "1", "a", at(0));
    let answers = join_all((0..10).map(|_| s.jobs.enqueue_job(&message, TIME_TO_LIVE))).await;
    let new = answers.into_iter().filter(|answer| matches!(answer, Ok(Recorded::New))).count();
    assert_eq!(new, 1);
    assert_eq!(counted(s, &own.tenant, 0).await, (1, 0));
    let held = pull(s, &own.tenant, 1).await.unwrap();
    let again = s.jobs.enqueue_job(&message, TIME_TO_LIVE).await.unwrap();
    assert_eq!(again, Recorded::Duplicate);
    complete(s, &held, 2).await;
    let again = s.jobs.enqueue_job(&message, TIME_TO_LIVE).await.unwrap();
    assert_eq!(again, Recorded::Duplicate);
    assert_eq!(pull(s, &own.tenant, 3).await, None);
    assert_eq!(counted(s, &own.tenant, 3).await, (0, 0));
}

async fn an_expired_lease_is_offered_again_and_late_calls_have_no_effect(s: &Repositories) {
    let own = integration();
    queued(s, &own, "1", &["a", "b"], 0).await;
    let first = pull(s, &own.tenant, 0).await.unwrap();
    assert_eq!(pull(s, &own.tenant, 59).await, None);
    // No other worker holds the job yet, but the lease has expired.
    for second in [60, 61, 100] {
        assert!(is_refused(&complete(s, &first, second).await), "{second}");
        let late = s.jobs.extend(&own.tenant, first.ticket(), at(second), LEASE).await.unwrap();
        assert!(is_refused(&late));
    }
    let second = pull(s, &own.tenant, 100).await.unwrap();
    assert_eq!((second.id, second.attempt), (first.id, 2));
    let before = job_of(s, &first).await;
    for ending in [done("late"), JobOutcome::Failed { reason: "late".to_owned() }] {
        let late =
            s.jobs.settle_job(&own.tenant, first.ticket(), &ending, None, at(101)).await.unwrap();
        assert!(is_refused(&late));
    }
    assert_eq!(job_of(s, &first).await, before);
    assert_eq!(counted(s, &own.tenant, 101).await, (1, 1));
    expect_done(&Ok(complete(s, &second, 102).await));
    assert!(is_refused(&complete(s, &first, 103).await), "another worker completed the job");
    assert_eq!(counted(s, &own.tenant, 103).await, (1, 0));
    let never = sample::message_from(&own, "1", "never", at(0));
    let nothing = JobTicket { id: JobId::of(never.id), attempt: 1 };
    let answer = s.jobs.settle_job(&own.tenant, nothing, &done("1"), None, at(0)).await.unwrap();
    assert_eq!(answer, JobUpdate::Missing);
    assert_eq!(
        s.jobs.extend(&own.tenant, nothing, at(0), LEASE).await.unwrap(),
        JobUpdate::Missing
    );
    assert_eq!(s.jobs.job(&own.tenant, nothing.id).await.unwrap(), None);
}

async fn a_heartbeat_extends_a_lease_and_never_shortens_it(s: &Repositories) {
    let own = integration();
    queued(s, &own, "1", &["a"], 0).await;
    let job = pull(s, &own.tenant, 0).await.unwrap();
    let extend = async |second, lease| {
        let answer = s.jobs.extend(&own.tenant, job.ticket(), at(second), lease).await;
        expect_done(&answer).lease_expires_at.unwrap()
    };
    assert_eq!(extend(30, LEASE).await, at(90));
    assert_eq!(extend(31, SECOND).await, at(90), "a lease is never shortened");
    assert_eq!(job_of(s, &job).await.lease_expires_at, Some(at(90)));
    assert_eq!(pull(s, &own.tenant, 89).await, None);
    let ended = expect_done(&Ok(complete(s, &job, 89).await));
    assert_eq!(ended.processing_started_at, Some(at(0)));
    let late = s.jobs.extend(&own.tenant, job.ticket(), at(89), LEASE).await.unwrap();
    assert!(is_refused(&late));
}

async fn ending_a_job_is_idempotent_and_a_different_status_is_refused(s: &Repositories) {
    let own = integration();
    queued(s, &own, "1", &["a", "b"], 0).await;
    let settle = async |job: &Job, ending: &JobOutcome, second| {
        s.jobs.settle_job(&own.tenant, job.ticket(), ending, None, at(second)).await.unwrap()
    };
    let failure = JobOutcome::Failed { reason: "why".to_owned() };
    let first = pull(s, &own.tenant, 0).await.unwrap();
    let ended = settle(&first, &done("1"), 1).await;
    assert_eq!(settle(&first, &done("1"), 2).await, ended);
    assert_eq!(settle(&first, &done("1"), 900).await, ended, "long after the lease");
    assert_eq!(settle(&first, &done("2"), 3).await, ended, "the first result stays");
    assert!(is_refused(&settle(&first, &failure, 4).await));
    let second = pull(s, &own.tenant, 5).await.unwrap();
    assert_eq!(settle(&second, &failure, 6).await, settle(&second, &failure, 7).await);
    assert!(is_refused(&settle(&second, &done("1"), 8).await));
    let stored = job_of(s, &second).await;
    assert_eq!((stored.status, stored.reason.as_deref()), (JobStatus::Failed, Some("why")));
    assert_eq!(counted(s, &own.tenant, 9).await, (0, 0));
}

async fn a_job_to_be_retried_blocks_its_conversation_until_it_is_due(s: &Repositories) {
    let own = integration();
    queued(s, &own, "1", &["a", "b"], 0).await;
    let first = pull(s, &own.tenant, 0).await.unwrap();
    let again = JobOutcome::Retry { reason: "later".to_owned(), at: at(50) };
    let requeued = s.jobs.settle_job(&own.tenant, first.ticket(), &again, None, at(1)).await;
    assert_eq!(expect_done(&requeued).status, JobStatus::Queued);
    let stored = job_of(s, &first).await;
    assert_eq!((stored.status, stored.attempt), (JobStatus::Queued, 1));
    assert_eq!((stored.reason.as_deref(), stored.finished_at), (Some("later"), None));
    let repeated = s.jobs.settle_job(&own.tenant, first.ticket(), &again, None, at(2)).await;
    assert_eq!(expect_done(&repeated).id, first.id);
    assert!(is_refused(&complete(s, &first, 3).await), "the worker returned the job to the queue");
    assert_eq!(counted(s, &own.tenant, 3).await, (2, 0));
    assert_eq!(pull(s, &own.tenant, 49).await, None, "the conversation waits for the retry");
    let second = pull(s, &own.tenant, 50).await.unwrap();
    assert_eq!((second.id, second.attempt), (first.id, 2));
    let late = s.jobs.settle_job(&own.tenant, first.ticket(), &again, None, at(51)).await.unwrap();
    assert!(is_refused(&late));
    assert_eq!(counted(s, &own.tenant, 51).await, (1, 1));
}

/// Returns the one overdue job, which both a worker's request and the sweep must find.
async fn overdue_job(s: &Repositories, tenant: &TenantId, second: i64) -> work::ports::OverdueJob {
    let LeaseOutcome::Overdue(offered) =
        s.jobs.lease_next(tenant, at(second), LEASE, 7).await.unwrap()
    else {
        panic!("the offer must list the overdue job")
    };
    let swept = s.jobs.overdue(tenant, at(second)).await.unwrap();
    assert_eq!(swept, offered);
    assert_eq!(offered.len(), 1);
    offered[0].clone()
}

async fn a_job_that_no_worker_started_in_time_expires(s: &Repositories) {
    let own = integration();
    let jobs = queued(s, &own, "1", &["a", "b"], 0).await;
    assert!(s.jobs.overdue(&own.tenant, at(3599)).await.unwrap().is_empty());
    let overdue = overdue_job(s, &own.tenant, 3600).await;
    assert_eq!((overdue.job.id, overdue.job.status), (jobs[0].id, JobStatus::Expired));
    assert_eq!(s.jobs.end(&overdue, None, at(3600)).await.unwrap(), Recorded::New);
    assert_eq!(s.jobs.end(&overdue, None, at(3600)).await.unwrap(), Recorded::Duplicate);
    let ended = job_of(s, &jobs[0]).await;
    assert_eq!((ended.status, ended.finished_at), (JobStatus::Expired, Some(at(3600))));
    assert!(ended.reason.is_some());
    assert_eq!(counted(s, &own.tenant, 3600).await, (1, 0));
    // A lease that began before the job expired may run to its end.
    let held = pull(s, &own.tenant, 3600).await.unwrap();
    assert_eq!(held.id, jobs[1].id);
    assert!(s.jobs.overdue(&own.tenant, at(3650)).await.unwrap().is_empty());
    expect_done(&Ok(complete(s, &held, 3650).await));
    assert_eq!(counted(s, &own.tenant, 3650).await, (0, 0));
}

async fn a_job_fails_when_the_lease_of_its_last_attempt_expires(s: &Repositories) {
    let own = integration();
    let jobs = queued(s, &own, "1", &["a", "b"], 0).await;
    for (attempt, second) in (1..=MAX_ATTEMPTS).zip((0..).step_by(60)) {
        let job = pull(s, &own.tenant, second).await.unwrap();
        assert_eq!((job.id, job.attempt), (jobs[0].id, attempt));
        assert_eq!(counted(s, &own.tenant, second).await, (1, 1));
    }
    let second = 60 * i64::from(MAX_ATTEMPTS);
    assert!(s.jobs.overdue(&own.tenant, at(second - 1)).await.unwrap().is_empty());
    let overdue = overdue_job(s, &own.tenant, second).await;
    let as_found = (overdue.job.id, overdue.job.status, overdue.job.attempt);
    assert_eq!(as_found, (jobs[0].id, JobStatus::Failed, MAX_ATTEMPTS));
    assert_eq!(s.jobs.end(&overdue, None, at(second)).await.unwrap(), Recorded::New);
    assert_eq!(job_of(s, &jobs[0]).await.status, JobStatus::Failed);
    // Its worker comes too late, also to fail it.
    let late = JobTicket { id: jobs[0].id, attempt: MAX_ATTEMPTS };
    let failure = JobOutcome::Failed { reason: "why".to_owned() };
    for ending in [done("1"), failure] {
        let answer = s.jobs.settle_job(&own.tenant, late, &ending, None, at(second)).await;
        assert!(is_refused(&answer.unwrap()), "{ending:?}");
    }
    assert_eq!(counted(s, &own.tenant, second).await, (1, 0));
    assert_eq!(pull(s, &own.tenant, second).await.unwrap().id, jobs[1].id);
}

async fn a_job_with_an_expired_lease_counts_as_queued(s: &Repositories) {
    let own = integration();
    for person in ["1", "2", "3"] {
        queued(s, &own, person, &[person, &format!("after {person}")], 0).await;
    }
    for _worker in 0..2 {
        pull(s, &own.tenant, 2).await.unwrap();
    }
    assert_eq!(counted(s, &own.tenant, 61).await, (4, 2));
    assert_eq!(counted(s, &own.tenant, 62).await, (6, 0), "both leases have expired");
    pull(s, &own.tenant, 62).await.unwrap();
    assert_eq!(counted(s, &own.tenant, 62).await, (5, 1));
}

async fn the_notification_of_a_job_is_written_with_its_ending(s: &Repositories) {
    // So far in the future that the scheduler of a running hub does not send it.
    const FAR: i64 = 2_000_000_000;
    let own = integration();
    let at = |second| at(FAR + second);
    let notification = |job: &Job, status| {
        let message = Message { id: job.id.message(), ..sample::outbound(&own, "m", at(0)) };
        let ended = domain::notification::EndedJob {
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
    let job_failed = notification(&job, JobStatus::Failed);
    let ending = JobOutcome::Failed { reason: "why".to_owned() };
    // A worker whose lease has expired causes no notification.
    let late = s
        .jobs
        .settle_job(&own.tenant, job.ticket(), &ending, Some(&job_failed), at(60))
        .await
        .unwrap();
    assert!(is_refused(&late));
    let ours = async |second| {
        let due = s.endpoints.due(at(second), 1000).await.unwrap();
        due.into_iter().filter(|due| due.tenant == own.tenant).collect::<Vec<_>>()
    };
    assert!(ours(100).await.is_empty());
    let job = pull(s, &own.tenant, FAR + 60).await.unwrap();
    expect_done(
        &s.jobs.settle_job(&own.tenant, job.ticket(), &ending, Some(&job_failed), at(61)).await,
    );
    let due = ours(100).await;
    let id = job_failed.data.notification_id(job_failed.kind);
    assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [id]);
    s.endpoints.remove(&due).await.unwrap();
    let claim =
        Notifications::claim(&s.endpoints, &own.tenant, id, None, at(101), LEASE).await.unwrap();
    let NotificationClaim::Granted { attempt: 1, notification } = claim else {
        panic!("{claim:?}")
    };
    assert_eq!(notification.data.job, job_failed.data.job);
}

async fn counts_are_exact_after_every_operation(s: &Repositories) {
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
            1 => JobOutcome::Retry { reason: "r".to_owned(), at: at(now + 20) },
            2 => JobOutcome::Failed { reason: "f".to_owned() },
            _ => {
                // The worker disappears.
                now += 61;
                assert_eq!(counted(s, tenant, now).await, (left, 0), "round {round}");
                let again = pull(s, tenant, now).await.unwrap();
                let late =
                    s.jobs.settle_job(tenant, job.ticket(), &done("{}"), None, at(now)).await;
                assert!(is_refused(&late.unwrap()));
                assert!(again.id != job.id || again.attempt == 2);
                expect_done(&Ok(complete(s, &again, now).await));
                left -= 1;
                // Other leases or waits may have ended meanwhile; no job is counted twice.
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
        expect_done(&s.jobs.settle_job(tenant, job.ticket(), &ending, None, at(now)).await);
        if ending.status().is_final() {
            left -= 1;
        }
        assert_eq!(counted(s, tenant, now).await, (left, 0), "round {round}");
        now += 1;
    }
    let stats = s.jobs.stats(tenant, at(now)).await.unwrap();
    assert_eq!((stats.queued, stats.processing), (0, 0));
    assert!(stats.completed > 0, "completed jobs are counted");
    let tomorrow = s.jobs.stats(tenant, at(now + 24 * 3600)).await.unwrap();
    assert_eq!(tomorrow.completed, 0, "only recent hours are counted");
}

async fn concurrent_workers_get_each_job_once_and_in_order(s: &Repositories) {
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
        while idle < 6 {
            let LeaseOutcome::Job(job) = s
                .jobs
                .lease_next(&own.tenant, at(100), LEASE, number.wrapping_mul(977))
                .await
                .unwrap()
            else {
                idle += 1;
                tokio::time::sleep(Duration::from_millis(25)).await;
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

async fn a_tenant_cannot_read_or_settle_jobs_of_another_tenant(s: &Repositories) {
    let (own, other) = (integration(), integration());
    let jobs = queued(s, &own, "1", &["a"], 0).await;
    assert_eq!(pull(s, &other.tenant, 1).await, None);
    assert_eq!(s.jobs.job(&other.tenant, jobs[0].id).await.unwrap(), None);
    assert_eq!(counted(s, &other.tenant, 1).await, (0, 0));
    let held = pull(s, &own.tenant, 1).await.unwrap();
    let stolen =
        s.jobs.settle_job(&other.tenant, held.ticket(), &done("1"), None, at(2)).await.unwrap();
    assert_eq!(stolen, JobUpdate::Missing);
}

async fn permits_are_taken_up_to_the_limits_of_a_key_and_a_tenant(s: &Repositories) {
    let tenant = tenant();
    let limits = Counts { key: 5, tenant: 7 };
    let take = async |key: u128, class, minute, count| {
        let key = KeyId::new(at(0), key);
        let window = RateWindow { tenant: &tenant, key, class, minute };
        s.accounts.take_permits(window, count, limits).await.unwrap()
    };
    let (taken, exceeded) = (PermitOutcome::Taken, PermitOutcome::Exceeded);
    let of = |key, tenant| Counts { key, tenant };
    let class = RequestClass::Writes;
    assert_eq!(
        take(1, class, 1, 6).await,
        exceeded(of(0, 0)),
        "the first may not exceed it either"
    );
    assert_eq!(take(1, class, 1, 4).await, taken(of(4, 4)));
    assert_eq!(take(1, class, 1, 2).await, exceeded(of(4, 4)), "the limit of the key");
    assert_eq!(take(1, class, 1, 1).await, taken(of(5, 5)));
    assert_eq!(take(2, class, 1, 3).await, exceeded(of(0, 5)), "the limit of the tenant");
    assert_eq!(take(2, class, 1, 2).await, taken(of(2, 7)));
    assert_eq!(take(3, class, 1, 1).await, exceeded(of(0, 7)));
    assert_eq!(take(3, RequestClass::Reads, 1, 1).await, taken(of(1, 1)), "another class");
    assert_eq!(take(3, class, 2, 5).await, taken(of(5, 5)), "another minute");
    let concurrent = join_all((0..50).map(|key| take(key, class, 3, 1))).await;
    let granted = concurrent.iter().filter(|one| matches!(one, PermitOutcome::Taken(_))).count();
    assert_eq!(granted, 7);
    assert_eq!(s.accounts.limits(&tenant).await.unwrap(), DEFAULT);
    let settings = LimitSettings { waiting_workers: Some(1), ..LimitSettings::default() };
    s.accounts.set_limits(&tenant, &settings, &audit(&tenant)).await.unwrap();
    assert_eq!(s.accounts.limits(&tenant).await.unwrap(), settings.limits());
}

async fn a_place_of_a_waiting_worker_has_one_holder_until_its_lease_expires(s: &Repositories) {
    let tenant = tenant();
    let lease = async |slot, held: Option<i64>, now, until| {
        s.jobs.lease_slot(&tenant, slot, held.map(at), at(now), at(until)).await.unwrap()
    };
    let leased = async |now| {
        let mut slots = s.jobs.leased_slots(&tenant, at(now)).await.unwrap();
        slots.sort_unstable();
        slots
    };
    assert!(leased(0).await.is_empty());
    assert!(lease(3, None, 0, 20).await && lease(0, None, 1, 6).await);
    assert!(!lease(3, None, 5, 25).await, "it has a holder");
    assert!(!lease(3, Some(19), 5, 25).await, "the holder is another one");
    assert_eq!(leased(5).await, [0, 3]);
    assert!(lease(3, Some(20), 5, 25).await, "the holder extends its lease");
    assert_eq!(leased(6).await, [3], "the other lease expired");
    assert!(lease(0, None, 6, 26).await);
    assert!(!lease(0, Some(6), 7, 27).await, "the first holder has lost it");
    let concurrent = join_all((0..20).map(|_| lease(9, None, 8, 28))).await;
    assert_eq!(concurrent.into_iter().filter(|granted| *granted).count(), 1);
    assert!(s.jobs.leased_slots(&self::tenant(), at(8)).await.unwrap().is_empty());
}

async fn a_tenant_is_listed_until_it_stops_pulling_and_tracking_is_stopped(s: &Repositories) {
    let tenant = tenant();
    let listed = async || {
        let (mut cursor, mut found) = (None, false);
        loop {
            let page = s.accounts.tracked_tenants(50, cursor.as_deref()).await.unwrap();
            found |= page.items.contains(&tenant);
            cursor = page.next;
            if cursor.is_none() {
                return found;
            }
        }
    };
    s.accounts.set_automation(&tenant, &tests::sample::push(), &audit(&tenant)).await.unwrap();
    assert!(!listed().await);
    s.accounts.set_automation(&tenant, &tests::sample::pull(true), &audit(&tenant)).await.unwrap();
    assert_eq!(s.accounts.automation(&tenant).await.unwrap(), tests::sample::pull(true));
    s.accounts.stop_tracking(&tenant).await.unwrap();
    assert!(listed().await, "the tenant pulls");
    s.accounts.disable(&tenant, &endpoint(), at(5)).await.unwrap();
    let disabled = s.accounts.automation(&tenant).await.unwrap();
    assert_eq!(disabled.enabled_webhook(), None);
    assert!(matches!(disabled, Automation::Pull(_)), "workers can still pull");
    s.accounts.set_automation(&tenant, &Automation::None, &audit(&tenant)).await.unwrap();
    assert!(listed().await, "jobs may remain");
    s.accounts.stop_tracking(&tenant).await.unwrap();
    assert!(!listed().await);
    s.accounts.stop_tracking(&tenant).await.unwrap();
}

async fn a_heartbeat_is_replaced_only_by_a_later_one(s: &Repositories) {
    // All tenants share one snapshot, which another test may have written.
    let before = s.jobs.health().await.unwrap();
    let first = before.map_or(at(0), |health| health.beat_at) + LEASE;
    let health = HealthSnapshot { queued: 7, processing: 3, beat_at: first, up_since: first };
    s.jobs.record_heartbeat(&health).await.unwrap();
    assert_eq!(s.jobs.health().await.unwrap(), Some(health));
    s.jobs
        .record_heartbeat(&HealthSnapshot { queued: 9, beat_at: first - SECOND, ..health })
        .await
        .unwrap();
    assert_eq!(s.jobs.health().await.unwrap(), Some(health));
}
