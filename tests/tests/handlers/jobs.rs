//! Job tests: workers process each message once, in the order of its conversation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accounts::model::automation::Automation;
use accounts::ports::Registry;
use bytes::Bytes;
use domain::JobId;
use domain::event::InboundEvent;
use domain::job::JobStatus;
use domain::notification::NotificationKind;
use domain::ports::Clock;
use domain::tenant::{Principal, Scope};
use http::{Method, StatusCode};
use messaging::ports::EnqueueJob;
use runtime::api::{ApiRequest, Client, Problem, Resource, handle};
use serde_json::{Value, json};
use testkit::{FakeClock, SeededRng, sample};
use tests::sample::audit;
use work::api::inbound::InboundMessages;
use work::api::queue::Queue;
use work::api::status::{HealthCache, Status};
use work::ending::JobRepositories;
use work::handlers::sweep;
use work::model::MAX_ATTEMPTS;
use work::ports::{HealthReader, JobStats};
use work::waiting::HeldSlot;

use crate::common::{World, faults_at_each_call, inject};
use crate::env::TestEnv;
use crate::inbound::worker;

fn repositories(world: &World) -> JobRepositories {
    JobRepositories {
        jobs: world.store.jobs.clone(),
        accounts: world.store.accounts.clone(),
        messages: world.store.messages.clone(),
    }
}

pub(crate) fn queue(world: &World) -> Queue<TestEnv> {
    Queue {
        repositories: repositories(world),
        clock: world.clock.clone(),
        rng: SeededRng::default(),
        waiting: HeldSlot::default(),
    }
}

pub(crate) fn status(world: &World) -> Status<FakeClock> {
    let (store, clock) = (world.store.jobs.clone(), world.clock.clone());
    Status { store, clock, cache: HealthCache::default() }
}

/// A world whose tenant's workers pull jobs; `notify` as in its automation.
pub(crate) async fn pull_world(notify: bool) -> World {
    let world = World::fifo().await;
    world.table.insert_automation(&world.acme, &tests::sample::pull(notify)).await;
    world
}

/// Receives a text message and processes it.
pub(crate) async fn receive_text(world: &World, person: &str, id: &str) {
    let event = sample::text_event(&world.whatsapp, person, id, world.clock.now());
    world.put(person, id, &event).await;
    world.run_until_empty(&worker(world), false).await;
}

pub(crate) const WORKER: (&str, &[Scope]) = ("acme", &[Scope::Worker]);

pub(crate) async fn call<R: Resource>(
    resource: &R,
    (tenant, scopes): (&str, &[Scope]),
    method: Method,
    address: &str,
    body: Option<&Value>,
) -> Result<Value, Problem> {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let query = query.split('&').filter_map(|part| part.split_once('='));
    let request = ApiRequest {
        method,
        path: path.to_owned(),
        query: query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        idempotency_key: None,
        body: body.map(|body| Bytes::from(body.to_string())).unwrap_or_default(),
        principal: Some(Principal {
            tenant: sample::tenant(tenant),
            scopes: scopes.to_vec(),
            key: None,
        }),
        base_url: "https://hub.example.com".to_owned(),
        client: Client::default(),
    };
    let reply = handle(resource, &request).await?;
    Ok(serde_json::from_str(&reply.body.unwrap()).unwrap())
}

async fn next_job(world: &World) -> Value {
    call(&queue(world), WORKER, Method::GET, "/queue/next-job", None).await.unwrap()
}

/// `POST /queue/job/<job>/<action>`.
async fn post_job(
    world: &World,
    job: &Value,
    action: &str,
    body: &Value,
) -> Result<Value, Problem> {
    let path = format!("/queue/job/{}/{action}", job["job_id"].as_str().unwrap());
    let body = Some(body).filter(|body| !body.is_null());
    call(&queue(world), WORKER, Method::POST, &path, body).await
}

async fn get_job(world: &World, job: &Value) -> Value {
    let path = format!("/queue/job/{}", job["job_id"].as_str().unwrap());
    call(&queue(world), WORKER, Method::GET, &path, None).await.unwrap()
}

async fn run_schedule(world: &World) -> usize {
    sweep::handle(&repositories(world), &world.clock).await.unwrap()
}

fn is_lease_expired(answer: &Result<Value, Problem>) -> bool {
    let problem = answer.as_ref().unwrap_err();
    (problem.status, problem.code.as_str()) == (StatusCode::CONFLICT, "lease_expired")
}

#[tokio::test]
async fn a_message_becomes_a_job_that_a_worker_pulls_and_completes() {
    let world = pull_world(true).await;
    receive_text(&world, "1", "wamid.1").await;
    assert!(world.automation.is_empty(), "a tenant that pulls gets no notification of messages");
    let message = world.message().await;
    world.clock.advance(Duration::from_secs(3));
    let job = next_job(&world).await;
    assert_eq!(job["status"], "processing");
    assert_eq!(job["payload"]["message"], serde_json::to_value(&message).unwrap());
    assert_eq!(job["payload"]["conversation"]["contact"]["address"], "1");
    assert_eq!(job["job_id"], message.id.to_string().replace("msg_", "job_"));
    assert_eq!(job["created_at"], "2026-11-20T12:00:00Z");
    assert_eq!(job["processing_started_at"], "2026-11-20T12:00:03Z");
    assert_eq!(
        (&job["attempt"], &job["lease_expires_at"]),
        (&json!(1), &json!("2026-11-20T12:01:03Z"))
    );
    let none = next_job(&world).await;
    let expected = json!({ "status": "no_jobs", "queue_size": 0, "next_poll_recommended": 5 });
    assert_eq!(none, expected);
    let done =
        post_job(&world, &job, "complete", &json!({ "result": { "n": [1, 2.5] } })).await.unwrap();
    assert_eq!((&done["status"], &done["job_id"]), (&json!("completed"), &job["job_id"]));
    let shown = get_job(&world, &job).await;
    assert_eq!(
        (&shown["status"], &shown["result"]),
        (&json!("completed"), &json!({ "n": [1, 2.5] }))
    );
    assert_eq!(shown["payload"], job["payload"]);
    assert_eq!(run_schedule(&world).await, 0);
}

#[tokio::test]
async fn with_a_fault_at_any_call_a_message_becomes_one_job() {
    let world = pull_world(false).await;
    let event = sample::text_event(&world.whatsapp, "1", "wamid.1", world.clock.now());
    world.put("1", "a", &event).await;
    world.run_until_empty(&worker(&world), false).await;
    for fault in faults_at_each_call(world.faults.calls()) {
        let world = pull_world(false).await;
        let event = sample::text_event(&world.whatsapp, "1", "wamid.1", world.clock.now());
        inject(&world.faults, fault);
        world.put("1", "a", &event).await;
        for _batch in 0..3 {
            world.batch(&worker(&world), false).await;
        }
        world.faults.clear();
        world.put("2", "b", &event).await;
        world.run_until_empty(&worker(&world), false).await;
        let jobs = world.table.jobs().await;
        assert_eq!(jobs.len(), 1, "{fault:?}");
        assert_eq!(jobs[0].id.message(), world.message().await.id);
    }
}

#[tokio::test]
async fn a_request_after_the_lease_expired_gets_lease_expired() {
    let world = pull_world(false).await;
    receive_text(&world, "1", "wamid.1").await;
    let first = next_job(&world).await;
    world.clock.advance(Duration::from_mins(1));
    assert!(
        is_lease_expired(&post_job(&world, &first, "complete", &json!({})).await),
        "no worker has leased it since"
    );
    let second = next_job(&world).await;
    assert_eq!(second["attempt"], 2);
    let id = first["job_id"].as_str().unwrap();
    assert_eq!(second["job_id"], format!("{id}.2"));
    for (action, body) in
        [("complete", json!({})), ("fail", json!({ "reason": "x" })), ("heartbeat", Value::Null)]
    {
        assert!(is_lease_expired(&post_job(&world, &first, action, &body).await), "{action}");
    }
    assert_eq!(get_job(&world, &first).await["status"], "processing");
    let heartbeat = post_job(&world, &second, "heartbeat", &Value::Null).await.unwrap();
    assert_eq!(heartbeat["status"], "processing");
    assert_eq!(heartbeat["job_id"], second["job_id"]);
    for _time in 0..2 {
        let done = post_job(&world, &second, "complete", &Value::Null).await.unwrap();
        assert_eq!((&done["status"], &done["job_id"]), (&json!("completed"), &second["job_id"]));
    }
    assert!(is_lease_expired(&post_job(&world, &first, "complete", &json!({})).await));
}

#[tokio::test]
async fn a_heartbeat_and_a_longer_lease_extend_the_lease() {
    let world = pull_world(false).await;
    receive_text(&world, "1", "wamid.1").await;
    let path = "/queue/next-job?lease=900";
    let job = call(&queue(&world), WORKER, Method::GET, path, None).await.unwrap();
    world.clock.advance(Duration::from_secs(899));
    assert_eq!(next_job(&world).await["status"], "no_jobs");
    let kept = post_job(&world, &job, "heartbeat?lease=120", &Value::Null).await.unwrap();
    assert_eq!(kept["lease_expires_at"], "2026-11-20T12:16:59Z");
    world.clock.advance(Duration::from_secs(119));
    post_job(&world, &job, "complete", &json!({})).await.unwrap();
}

#[tokio::test]
async fn a_failed_job_blocks_its_conversation_until_its_last_attempt_is_notified() {
    let world = pull_world(true).await;
    receive_text(&world, "1", "wamid.1").await;
    receive_text(&world, "1", "wamid.2").await;
    let mut failed = 0;
    for attempt in 1..=MAX_ATTEMPTS {
        let job = loop {
            let job = next_job(&world).await;
            if job["status"] == "processing" {
                break job;
            }
            assert_eq!((&job["queue_size"], &job["next_poll_recommended"]), (&json!(2), &json!(1)));
            world.clock.advance(Duration::from_secs(1));
        };
        assert_eq!(job["attempt"], attempt);
        assert_eq!(job["payload"]["message"]["provider_message_id"], "wamid.1");
        let after = post_job(&world, &job, "fail", &json!({ "reason": "no model" })).await.unwrap();
        failed += u32::from(after["status"] == "failed");
        assert_eq!(after["reason"], "no model");
        assert_eq!(after["status"] == "failed", attempt == MAX_ATTEMPTS, "{after}");
    }
    assert_eq!(failed, 1);
    let other = next_job(&world).await;
    assert_eq!(other["payload"]["message"]["provider_message_id"], "wamid.2");
    let body = json!({ "reason": "spam", "retry": false });
    for _time in 0..2 {
        assert_eq!(post_job(&world, &other, "fail", &body).await.unwrap()["status"], "failed");
    }
    endpoints::handlers::retries::handle(&world.store.endpoints, &world.automation, &world.clock)
        .await
        .unwrap();
    world.notify_all().await;
    let notifications = job_notifications(&world);
    let reasons: Vec<_> =
        notifications.iter().map(|(kind, reason)| (*kind, reason.as_str())).collect();
    assert_eq!(
        reasons,
        [(NotificationKind::JobFailed, "no model"), (NotificationKind::JobFailed, "spam")]
    );
}

/// The job notifications that the automation received, sorted by reason.
fn job_notifications(world: &World) -> Vec<(NotificationKind, String)> {
    let requests = world.receiver.requests();
    let mut notifications: Vec<_> = requests
        .iter()
        .map(|(_, body)| {
            serde_json::from_slice::<domain::notification::Notification>(body).unwrap()
        })
        .filter_map(|notification| Some((notification.kind, notification.data.job?.reason)))
        .collect();
    notifications.sort_by(|one, other| one.1.cmp(&other.1));
    notifications
}

#[tokio::test]
async fn jobs_without_a_worker_expire_by_the_schedule_or_at_the_next_pull() {
    for by_schedule in [true, false] {
        let world = pull_world(true).await;
        for person in 0..20 {
            receive_text(&world, &person.to_string(), &format!("wamid.{person}")).await;
        }
        let created_at = world.clock.now();
        assert_eq!(run_schedule(&world).await, 0);
        world.clock.advance(Duration::from_mins(30));
        receive_text(&world, "1", "wamid.late").await;
        world.clock.advance(Duration::from_mins(30));
        if by_schedule {
            assert_eq!(run_schedule(&world).await, 20);
            assert_eq!(run_schedule(&world).await, 0);
        }
        let job = next_job(&world).await;
        assert_eq!(job["payload"]["message"]["provider_message_id"], "wamid.late");
        // A worker expires only the jobs before its own.
        run_schedule(&world).await;
        let jobs = world.table.jobs().await;
        let expired = jobs.iter().filter(|job| job.status == JobStatus::Expired);
        let created: Vec<_> = expired.map(|job| job.created_at).collect();
        assert_eq!(created, vec![created_at; 20]);
        endpoints::handlers::retries::handle(
            &world.store.endpoints,
            &world.automation,
            &world.clock,
        )
        .await
        .unwrap();
        world.notify_all().await;
        let notifications = job_notifications(&world);
        assert_eq!(notifications.len(), 20);
        assert!(notifications.iter().all(|(kind, _)| *kind == NotificationKind::JobExpired));
    }
}

#[tokio::test]
async fn a_job_fails_with_its_fifth_expired_lease() {
    let world = pull_world(false).await;
    receive_text(&world, "1", "wamid.1").await;
    receive_text(&world, "1", "wamid.2").await;
    let mut last = Value::Null;
    for attempt in 1..=MAX_ATTEMPTS {
        last = next_job(&world).await;
        assert_eq!(last["attempt"], attempt);
        world.clock.advance(Duration::from_mins(1));
    }
    assert_eq!(run_schedule(&world).await, 1);
    for (action, body) in [("complete", json!({})), ("fail", json!({ "reason": "late" }))] {
        let late = post_job(&world, &last, action, &body).await;
        assert!(is_lease_expired(&late), "{action}: {late:?}");
    }
    let job = next_job(&world).await;
    assert_eq!(job["payload"]["message"]["provider_message_id"], "wamid.2");
    let failed = world.table.jobs().await.into_iter().find(|job| job.status == JobStatus::Failed);
    assert_eq!(failed.unwrap().attempt, MAX_ATTEMPTS);
    assert_eq!(world.table.scheduled(), 0, "the tenant gets no notifications");
}

#[tokio::test]
async fn a_job_whose_lease_expired_is_not_in_process_for_the_health_check() {
    let world = pull_world(false).await;
    receive_text(&world, "1", "wamid.1").await;
    next_job(&world).await;
    let counts = async || {
        run_schedule(&world).await;
        let health = world.store.jobs.health().await.unwrap().unwrap();
        (health.queued, health.processing)
    };
    assert_eq!(counts().await, (0, 1));
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(counts().await, (1, 0));
}

#[tokio::test]
async fn a_job_without_its_message_fails_and_the_next_one_is_returned() {
    let world = pull_world(false).await;
    let lost = sample::message_from(&world.whatsapp, "1", "gone", world.clock.now());
    world.store.jobs.enqueue_job(&lost, Duration::from_hours(1)).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    receive_text(&world, "2", "wamid.1").await;
    let job = next_job(&world).await;
    assert_eq!(job["payload"]["message"]["provider_message_id"], "wamid.1");
    let jobs: Vec<_> = world.table.jobs().await;
    let gone = jobs.iter().find(|job| job.id == JobId::of(lost.id)).unwrap();
    assert_eq!(
        (gone.status, gone.reason.as_deref()),
        (JobStatus::Failed, Some("the message no longer exists"))
    );
}

#[tokio::test]
async fn a_long_poll_returns_a_job_that_arrives_meanwhile() {
    let world = pull_world(false).await;
    let resource = queue(&world);
    let waiting = call(&resource, WORKER, Method::GET, "/queue/next-job?wait=5", None);
    let coming = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        receive_text(&world, "1", "wamid.1").await;
    };
    let (job, ()) = futures::join!(waiting, coming);
    assert_eq!(job.unwrap()["status"], "processing");
}

#[tokio::test]
async fn a_waiting_worker_checks_an_idle_queue_only_after_a_job_was_announced() {
    let world = pull_world(false).await;
    let before = world.faults.log().len();
    let path = "/queue/next-job?wait=3";
    let none = call(&queue(&world), WORKER, Method::GET, path, None).await.unwrap();
    assert_eq!(none["status"], "no_jobs");
    let calls = world.faults.log().split_off(before);
    let count = |start: &str| calls.iter().filter(|call| call.starts_with(start)).count();
    // One shard and then all: at the beginning and a second later.
    assert_eq!(count("Query T#acme#READY"), 2 * 17, "{calls:#?}");
    assert!(count("GetItem T#acme#COUNT COUNT#NEW") >= 4, "{calls:#?}");
    assert_eq!(count("Query T#acme#COUNT"), 0, "an empty queue needs no statistics");
}

#[tokio::test]
async fn jobs_are_isolated_by_tenant_and_scope_and_invalid_fields_are_named() {
    let world = pull_world(false).await;
    receive_text(&world, "1", "wamid.1").await;
    let resource = queue(&world);
    let get = async |http_client, address: &str| {
        call(&resource, http_client, Method::GET, address, None).await.unwrap_err()
    };
    let other_scopes: (&str, &[Scope]) = ("acme", &[Scope::Read, Scope::Send]);
    assert_eq!(get(other_scopes, "/queue/next-job").await.code, "missing_scope");
    let other_tenant: (&str, &[Scope]) = ("globex", &[Scope::Worker]);
    let answer = call(&resource, other_tenant, Method::GET, "/queue/next-job", None).await.unwrap();
    assert_eq!(answer["status"], "no_jobs");
    assert_eq!(get(other_tenant, "/queue/next-job?tenant=acme").await.status, 404);
    let job = next_job(&world).await;
    let path = format!("/queue/job/{}", job["job_id"].as_str().unwrap());
    assert_eq!(get(other_tenant, &path).await.status, 404);
    let stolen =
        call(&resource, other_tenant, Method::POST, &format!("{path}/complete"), None).await;
    assert_eq!(stolen.unwrap_err().status, 404);
    for (address, field) in [
        ("/queue/next-job?lease=0", "lease"),
        ("/queue/next-job?lease=901", "lease"),
        ("/queue/next-job?wait=21", "wait"),
        ("/queue/next-job?wait=x", "wait"),
    ] {
        let problem = get(WORKER, address).await;
        assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (422, Some(field)));
    }
    for path in ["/queue/job/msg_1", "/queue/job/x", &format!("{path}.01")] {
        assert_eq!(get(WORKER, path).await.status, 404, "{path}");
    }
    for (action, body, field) in [
        ("complete", json!({ "result": "x".repeat(32 * 1024) }), "result"),
        ("complete", json!({ "results": 1 }), "results"),
        ("fail", json!({}), "reason"),
        ("fail", json!({ "reason": " " }), "reason"),
        ("fail", json!({ "reason": "x".repeat(1001) }), "reason"),
        ("heartbeat?lease=0", Value::Null, "lease"),
    ] {
        let problem = post_job(&world, &job, action, &body).await.unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (422, Some(field)));
    }
    assert_eq!(get_job(&world, &job).await["status"], "processing");
}

fn inbound_api(world: &World) -> InboundMessages<TestEnv> {
    InboundMessages {
        store: world.store.jobs.clone(),
        accounts: world.store.accounts.clone(),
        events: world.media.clone(),
        inbound: world.own.clone(),
        clock: world.clock.clone(),
    }
}

#[tokio::test]
async fn an_ingested_message_gets_a_job_id_and_a_queue_position() {
    let world = pull_world(false).await;
    let ingest: (&str, &[Scope]) = ("acme", &[Scope::Ingest]);
    let (id, created_at) = (world.acme.clone(), world.clock.now());
    let tenant = domain::tenant::Tenant { id, name: "Acme".to_owned(), created_at };
    world.store.accounts.create_tenant(&tenant, &audit(&world.acme)).await.unwrap();
    let receive = async |id: &str| {
        let body = json!({ "from": "+1", "to": "desk", "message": { "text": "hi" },
            "timestamp": "2026-11-20T11:59:00Z", "message_id": id });
        let resource = inbound_api(&world);
        call(&resource, ingest, Method::POST, "/webhook/inbound", Some(&body)).await.unwrap()
    };
    receive_text(&world, "1", "wamid.1").await;
    let job = next_job(&world).await;
    world.clock.advance(Duration::from_secs(8));
    post_job(&world, &job, "complete", &json!({})).await.unwrap();
    receive_text(&world, "1", "wamid.2").await;
    world.clock.advance(Duration::from_secs(1));
    let answer = receive("m-1").await;
    assert_eq!((&answer["status"], &answer["queue_position"]), (&json!("accepted"), &json!(2)));
    assert_eq!(answer["estimated_processing_time"], 16, "two jobs of eight seconds");
    let events = world.media.bodies::<InboundEvent>();
    assert_eq!(answer["event_id"], events[0].event_id().to_string());
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(receive("m-1").await["queue_position"], 2, "the duplicate has the same position");
    assert_eq!(next_job(&world).await["payload"]["message"]["provider_message_id"], "wamid.2");
    let job = next_job(&world).await;
    assert_eq!(job["job_id"], answer["job_id"]);
    let message = &job["payload"]["message"];
    assert_eq!((&message["channel"], &message["provider"]), (&json!("whatsapp"), &json!("custom")));
    assert_eq!(message["text"], "hi");
    assert_eq!(receive("m-1").await["queue_position"], 0);
    // Without pulling workers, the response has no queue fields.
    world
        .store
        .accounts
        .set_automation(&world.acme, &Automation::None, &audit(&world.acme))
        .await
        .unwrap();
    let answer = receive("m-2").await;
    assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
}

#[tokio::test]
async fn the_health_check_needs_no_key_and_the_figures_of_all_tenants_need_the_platforms() {
    let world = pull_world(false).await;
    let figures = ("platform", &[Scope::Admin][..]);
    // Each request reaches a new sandbox, which has not cached the health yet.
    let health = async || {
        let resource = status(&world);
        let shown = call(&resource, ("nobody", &[]), Method::GET, "/", None).await.unwrap();
        let figures = call(&resource, figures, Method::GET, "/status", None).await.unwrap();
        let fields: Vec<&String> = shown.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["service", "status", "version"], "a stranger gets no figures");
        for (field, value) in shown.as_object().unwrap() {
            assert_eq!(figures[field], *value);
        }
        figures
    };
    let first = health().await;
    assert_eq!((&first["status"], &first["uptime"]), (&json!("starting"), &json!(0)));
    assert_eq!(first["service"], "switchboard");
    assert!(first.get("tenant").is_none() && first.get("completed").is_none(), "{first}");
    for (person, minute) in ["1", "2", "3"].into_iter().zip(0..) {
        receive_text(&world, person, person).await;
        run_schedule(&world).await;
        let now = health().await;
        assert_eq!((&now["status"], &now["uptime"]), (&json!("ok"), &json!(60 * minute)));
        assert_eq!(now["queue_size"], minute + 1);
        world.clock.advance(Duration::from_mins(1));
    }
    world.clock.advance(Duration::from_mins(3));
    let late = health().await;
    assert_eq!((&late["status"], &late["uptime"]), (&json!("degraded"), &json!(0)));
    run_schedule(&world).await;
    assert_eq!(health().await["status"], "ok");
    // After the tenant stops pulling, the schedule expires its remaining jobs.
    world
        .store
        .accounts
        .set_automation(&world.acme, &Automation::None, &audit(&world.acme))
        .await
        .unwrap();
    run_schedule(&world).await;
    assert_eq!(world.store.jobs.health().await.unwrap().unwrap().queued, 3);
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(run_schedule(&world).await, 3);
    run_schedule(&world).await;
    assert_eq!(health().await["queue_size"], 0);
}

#[tokio::test]
async fn a_tenants_key_gets_the_figures_of_its_own_jobs_only() {
    let world = pull_world(false).await;
    let resource = status(&world);
    let figures = async |tenant: &str, scope: Scope, path: &str| {
        call(&resource, (tenant, &[scope]), Method::GET, path, None).await
    };
    for person in ["1", "2", "3"] {
        receive_text(&world, person, person).await;
    }
    next_job(&world).await;
    run_schedule(&world).await;
    let own = figures("acme", Scope::Read, "/status").await.unwrap();
    assert_eq!((&own["tenant"], &own["queue_size"]), (&json!("acme"), &json!(2)));
    assert_eq!((&own["processing"], &own["completed"]), (&json!(1), &json!(0)));
    assert_eq!(own["status"], "ok");
    let other = figures("globex", Scope::Read, "/status").await.unwrap();
    assert_eq!((&other["tenant"], &other["queue_size"]), (&json!("globex"), &json!(0)));
    let foreign = figures("globex", Scope::Read, "/status?tenant=acme").await.unwrap_err();
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    let named = figures("platform", Scope::Admin, "/status?tenant=acme").await.unwrap();
    assert_eq!((&named["tenant"], &named["queue_size"]), (&json!("acme"), &json!(2)));
    for scope in [Scope::Send, Scope::Worker, Scope::Ingest] {
        let problem = figures("acme", scope, "/status").await.unwrap_err();
        assert_eq!(problem.status, StatusCode::FORBIDDEN, "{scope:?}");
    }
}

/// The observations of all workers.
#[derive(Debug, Default)]
struct Observations {
    /// The completed jobs by conversation, in the order of completion.
    completed: BTreeMap<String, Vec<String>>,
    /// The worker of each attempt.
    assigned: BTreeMap<String, u64>,
    idle: u64,
}

async fn run_worker(
    resource: Arc<Queue<TestEnv>>,
    clock: FakeClock,
    number: u64,
    observations: Arc<Mutex<Observations>>,
) {
    loop {
        tokio::task::yield_now().await;
        let job = call(&*resource, WORKER, Method::GET, "/queue/next-job", None).await.unwrap();
        let Some(id) = job["job_id"].as_str().map(ToOwned::to_owned) else {
            {
                let mut observations = observations.lock().unwrap();
                observations.idle += 1;
                if observations.idle > 10 {
                    observations.idle = 0;
                    clock.advance(Duration::from_secs(20));
                }
            }
            // A check of all shards takes long to simulate.
            for _step in 0..100 {
                tokio::task::yield_now().await;
            }
            continue;
        };
        let holder = observations.lock().unwrap().assigned.insert(id.clone(), number);
        assert_eq!(holder, None, "{id} was assigned twice");
        for _step in 0..(number * 7 + 3) % 9 {
            tokio::task::yield_now().await;
        }
        let path = format!("/queue/job/{id}/complete");
        let done = call(&*resource, WORKER, Method::POST, &path, None).await;
        // No await from here on, so that each completion is recorded.
        if done.is_ok() {
            let mut observations = observations.lock().unwrap();
            observations.idle = 0;
            let conversation =
                job["payload"]["message"]["conversation"].as_str().unwrap().to_owned();
            let text = job["payload"]["message"]["text"].as_str().unwrap().to_owned();
            observations.completed.entry(conversation).or_default().push(text);
        }
    }
}

#[tokio::test]
async fn ten_crashing_workers_complete_each_job_once_in_order() {
    const WORKERS: usize = 10;
    const EACH: usize = 8;
    let customers = 20;
    let world = pull_world(false).await;
    let mut wanted = BTreeMap::new();
    for person in 0..customers {
        for number in 0..EACH {
            let name = format!("{person}-{number}");
            let at = world.clock.now() + Duration::from_millis(number as u64);
            let message = sample::message_from(&world.whatsapp, &person.to_string(), &name, at);
            messaging::ports::Inbox::record(&world.store.messages, &message).await.unwrap();
            world.store.jobs.enqueue_job(&message, Duration::from_hours(25)).await.unwrap();
            wanted.entry(message.conversation.to_string()).or_insert_with(Vec::new).push(name);
        }
    }
    let (observations, resource) =
        (Arc::new(Mutex::new(Observations::default())), Arc::new(queue(&world)));
    let spawn = |number| {
        tokio::spawn(run_worker(
            resource.clone(),
            world.clock.clone(),
            number,
            observations.clone(),
        ))
    };
    let mut workers: Vec<_> = (0..WORKERS as u64).map(&spawn).collect();
    let rng = SeededRng::new(11);
    let (mut killed, mut turn) = (0, WORKERS as u64);
    // Ask the table: a worker that is killed after its job was completed observes nothing.
    while turn % 64 != 0 || world.store.jobs.has_unfinished(&world.acme).await.unwrap() {
        for _step in 0..4 {
            tokio::task::yield_now().await;
        }
        turn += 1;
        assert!(turn < 100_000, "the workers did not finish");
        let one = usize::try_from(domain::ports::Rng::bits(&rng) % WORKERS as u128).unwrap();
        if workers[one].is_finished() {
            std::mem::replace(&mut workers[one], spawn(turn)).await.unwrap();
        } else if killed < 60 {
            workers[one].abort();
            workers[one] = spawn(turn);
            killed += 1;
        }
    }
    for worker in workers {
        worker.abort();
    }
    {
        let observations = observations.lock().unwrap();
        let mut observed = 0;
        for (conversation, completed) in &observations.completed {
            let mut order = wanted[conversation].iter();
            assert!(completed.iter().all(|job| order.any(|own| own == job)), "{completed:?}");
            observed += completed.len();
        }
        assert!(observed + killed >= customers * EACH, "{observed} jobs were completed");
        assert!(killed >= 20, "only {killed} workers were killed");
        assert!(observations.assigned.len() > customers * EACH, "no job was leased twice");
    }
    let stats = world.store.jobs.stats(&world.acme, world.clock.now()).await.unwrap();
    assert_eq!((stats.queued, stats.processing), (0, 0));
}
