//! Jobs: each message once, in the order of its conversation, by whichever worker lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use domain::automation::{Automation, NotificationKind};
use domain::event::InboundEvent;
use domain::ports::{Clock, HealthReader, JobFigures, JobIntake, Registry};
use domain::pull::{Job, JobStatus, MAX_ATTEMPTS};
use domain::tenant::{Principal, Scope};
use http::{Method, StatusCode};
use runtime::api::inbound::InboundMessages;
use runtime::api::queue::Queue;
use runtime::api::status::Status;
use runtime::api::{ApiRequest, Problem, Resource, handle};
use runtime::inbound::Inbound;
use serde_json::{Value, json};
use store::DynamoStore;
use testkit::{FakeBucket, FakeClock, FakeQueue, SeededRng, sample};

use crate::common::{World, faults_at_each_call, inject};

type OwnQueue = Queue<DynamoStore, FakeClock, SeededRng>;

fn queue(world: &World) -> OwnQueue {
    Queue { store: world.store.clone(), clock: world.clock.clone(), rng: SeededRng::default() }
}

fn consumer(world: &World) -> Inbound<DynamoStore, FakeBucket, FakeQueue> {
    Inbound {
        store: world.store.clone(),
        bucket: world.bucket.clone(),
        automation: world.automation.clone(),
        media: world.media.clone(),
    }
}

/// A hub whose tenant's workers pull.
async fn pulling(told: bool) -> World {
    let world = World::fifo().await;
    world.table.insert_automation(&world.acme, &sample::pull(told)).await;
    world
}

/// A message comes in and is worked.
async fn wrote(world: &World, person: &str, id: &str) {
    let event = sample::text_event(&world.whatsapp, person, id, world.clock.now());
    world.put(person, id, &event).await;
    world.run_until_empty(&consumer(world), false).await;
}

const WORKER: (&str, &[Scope]) = ("acme", &[Scope::Worker]);

async fn ask<R: Resource>(
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
        principal: Some(Principal { tenant: sample::tenant(tenant), scopes: scopes.to_vec() }),
        base_url: "https://hub.example.com".to_owned(),
    };
    let reply = handle(resource, &request).await?;
    Ok(serde_json::from_str(&reply.body.unwrap()).unwrap())
}

async fn next(world: &World) -> Value {
    ask(&queue(world), WORKER, Method::GET, "/queue/next-job", None).await.unwrap()
}

/// `POST /queue/job/<job>/<what>`.
async fn say(world: &World, job: &Value, what: &str, body: &Value) -> Result<Value, Problem> {
    let path = format!("/queue/job/{}/{what}", job["job_id"].as_str().unwrap());
    let body = Some(body).filter(|body| !body.is_null());
    ask(&queue(world), WORKER, Method::POST, &path, body).await
}

async fn show(world: &World, job: &Value) -> Value {
    let path = format!("/queue/job/{}", job["job_id"].as_str().unwrap());
    ask(&queue(world), WORKER, Method::GET, &path, None).await.unwrap()
}

async fn minute(world: &World) -> usize {
    runtime::jobs::handle(&world.store, &world.clock).await.unwrap()
}

fn is_lapsed(answer: &Result<Value, Problem>) -> bool {
    let problem = answer.as_ref().unwrap_err();
    (problem.status, problem.code.as_str()) == (StatusCode::CONFLICT, "lease_lapsed")
}

#[tokio::test]
async fn what_people_write_becomes_a_job_that_a_worker_pulls_and_completes() {
    let world = pulling(true).await;
    wrote(&world, "1", "wamid.1").await;
    assert!(world.automation.is_empty(), "who pulls is not told what it finds in its jobs");
    let message = world.message().await;
    world.clock.advance(Duration::from_secs(3));
    let job = next(&world).await;
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
    let none = next(&world).await;
    let expected = json!({ "status": "no_jobs", "queue_size": 0, "next_poll_recommended": 5 });
    assert_eq!(none, expected);
    let done =
        say(&world, &job, "complete", &json!({ "result": { "n": [1, 2.5] } })).await.unwrap();
    assert_eq!((&done["status"], &done["job_id"]), (&json!("completed"), &job["job_id"]));
    let shown = show(&world, &job).await;
    assert_eq!(
        (&shown["status"], &shown["result"]),
        (&json!("completed"), &json!({ "n": [1, 2.5] }))
    );
    assert_eq!(shown["payload"], job["payload"]);
    assert_eq!(minute(&world).await, 0);
}

#[tokio::test]
async fn a_message_becomes_one_job_whatever_breaks_on_its_way() {
    let world = pulling(false).await;
    let event = sample::text_event(&world.whatsapp, "1", "wamid.1", world.clock.now());
    world.put("1", "a", &event).await;
    world.run_until_empty(&consumer(&world), false).await;
    for fault in faults_at_each_call(world.faults.calls()) {
        let world = pulling(false).await;
        let event = sample::text_event(&world.whatsapp, "1", "wamid.1", world.clock.now());
        inject(&world.faults, fault);
        world.put("1", "a", &event).await;
        for _batch in 0..3 {
            world.batch(&consumer(&world), false).await;
        }
        world.faults.mend();
        world.put("2", "b", &event).await;
        world.run_until_empty(&consumer(&world), false).await;
        let jobs = world.table.jobs().await;
        assert_eq!(jobs.len(), 1, "{fault:?}");
        assert_eq!(jobs[0].id.message(), world.message().await.id);
    }
}

#[tokio::test]
async fn whose_lease_lapsed_is_told_so_even_if_it_knows_nothing_of_leases() {
    let world = pulling(false).await;
    wrote(&world, "1", "wamid.1").await;
    let first = next(&world).await;
    world.clock.advance(Duration::from_mins(1));
    assert!(is_lapsed(&say(&world, &first, "complete", &json!({})).await), "nobody has it since");
    let second = next(&world).await;
    assert_eq!(second["attempt"], 2);
    let id = first["job_id"].as_str().unwrap();
    assert_eq!(second["job_id"], format!("{id}.2"));
    for (word, body) in
        [("complete", json!({})), ("fail", json!({ "reason": "x" })), ("heartbeat", Value::Null)]
    {
        assert!(is_lapsed(&say(&world, &first, word, &body).await), "{word}");
    }
    assert_eq!(show(&world, &first).await["status"], "processing");
    let record_heartbeat = say(&world, &second, "heartbeat", &Value::Null).await.unwrap();
    assert_eq!(record_heartbeat["status"], "processing");
    assert_eq!(record_heartbeat["job_id"], second["job_id"]);
    for _time in 0..2 {
        let done = say(&world, &second, "complete", &Value::Null).await.unwrap();
        assert_eq!((&done["status"], &done["job_id"]), (&json!("completed"), &second["job_id"]));
    }
    assert!(is_lapsed(&say(&world, &first, "complete", &json!({})).await));
}

#[tokio::test]
async fn a_heartbeat_and_a_longer_lease_keep_a_job() {
    let world = pulling(false).await;
    wrote(&world, "1", "wamid.1").await;
    let path = "/queue/next-job?lease=900";
    let job = ask(&queue(&world), WORKER, Method::GET, path, None).await.unwrap();
    world.clock.advance(Duration::from_secs(899));
    assert_eq!(next(&world).await["status"], "no_jobs");
    let kept = say(&world, &job, "heartbeat?lease=120", &Value::Null).await.unwrap();
    assert_eq!(kept["lease_expires_at"], "2026-11-20T12:16:59Z");
    world.clock.advance(Duration::from_secs(119));
    say(&world, &job, "complete", &json!({})).await.unwrap();
}

#[tokio::test]
async fn a_failed_job_waits_and_its_conversation_with_it_and_in_the_end_its_tenant_is_told() {
    let world = pulling(true).await;
    wrote(&world, "1", "wamid.1").await;
    wrote(&world, "1", "wamid.2").await;
    let mut failed = 0;
    for attempt in 1..=MAX_ATTEMPTS {
        let job = loop {
            let job = next(&world).await;
            if job["status"] == "processing" {
                break job;
            }
            assert_eq!((&job["queue_size"], &job["next_poll_recommended"]), (&json!(2), &json!(1)));
            world.clock.advance(Duration::from_secs(1));
        };
        assert_eq!(job["attempt"], attempt);
        assert_eq!(job["payload"]["message"]["provider_message_id"], "wamid.1");
        let after = say(&world, &job, "fail", &json!({ "reason": "no model" })).await.unwrap();
        failed += u32::from(after["status"] == "failed");
        assert_eq!(after["reason"], "no model");
        assert_eq!(after["status"] == "failed", attempt == MAX_ATTEMPTS, "{after}");
    }
    assert_eq!(failed, 1);
    let other = next(&world).await;
    assert_eq!(other["payload"]["message"]["provider_message_id"], "wamid.2");
    let body = json!({ "reason": "spam", "retry": false });
    for _time in 0..2 {
        assert_eq!(say(&world, &other, "fail", &body).await.unwrap()["status"], "failed");
    }
    runtime::schedule::handle(&world.store, &world.automation, &world.clock).await.unwrap();
    world.notify_all().await;
    let told = told(&world);
    let reasons: Vec<_> = told.iter().map(|(kind, reason)| (*kind, reason.as_str())).collect();
    assert_eq!(
        reasons,
        [(NotificationKind::JobFailed, "no model"), (NotificationKind::JobFailed, "spam")]
    );
}

/// The notifications about jobs that the automation was told, by their reason.
fn told(world: &World) -> Vec<(NotificationKind, String)> {
    let told = world.receiver.requests();
    let mut notifications: Vec<_> = told
        .iter()
        .map(|(_, body)| serde_json::from_slice::<domain::automation::Notification>(body).unwrap())
        .filter_map(|notification| Some((notification.kind, notification.data.job?.reason)))
        .collect();
    notifications.sort_by(|one, other| one.1.cmp(&other.1));
    notifications
}

#[tokio::test]
async fn jobs_that_nobody_did_end_by_the_schedule_or_before_the_next_worker() {
    for by_schedule in [true, false] {
        let world = pulling(true).await;
        for person in 0..20 {
            wrote(&world, &person.to_string(), &format!("wamid.{person}")).await;
        }
        let world_time = world.clock.now();
        assert_eq!(minute(&world).await, 0);
        world.clock.advance(Duration::from_mins(30));
        wrote(&world, "1", "wamid.late").await;
        world.clock.advance(Duration::from_mins(30));
        if by_schedule {
            assert_eq!(minute(&world).await, 20);
            assert_eq!(minute(&world).await, 0);
        }
        let job = next(&world).await;
        assert_eq!(job["payload"]["message"]["provider_message_id"], "wamid.late");
        // Who is in time goes first: a worker clears away only what stands before it.
        minute(&world).await;
        let jobs = world.table.jobs().await;
        let expired = jobs.iter().filter(|job| job.status == JobStatus::Expired);
        let created: Vec<_> = expired.map(|job| job.created_at).collect();
        assert_eq!(created, vec![world_time; 20]);
        runtime::schedule::handle(&world.store, &world.automation, &world.clock).await.unwrap();
        world.notify_all().await;
        let told = told(&world);
        assert_eq!(told.len(), 20);
        assert!(told.iter().all(|(kind, _)| *kind == NotificationKind::JobExpired));
    }
}

#[tokio::test]
async fn a_job_dies_with_its_fifth_lease() {
    let world = pulling(false).await;
    wrote(&world, "1", "wamid.1").await;
    wrote(&world, "1", "wamid.2").await;
    for attempt in 1..=MAX_ATTEMPTS {
        assert_eq!(next(&world).await["attempt"], attempt);
        world.clock.advance(Duration::from_mins(1));
    }
    assert_eq!(minute(&world).await, 1);
    let job = next(&world).await;
    assert_eq!(job["payload"]["message"]["provider_message_id"], "wamid.2");
    let failed = world.table.jobs().await.into_iter().find(|job| job.status == JobStatus::Failed);
    assert_eq!(failed.unwrap().attempt, MAX_ATTEMPTS);
    assert_eq!(world.table.scheduled(), 0, "nobody listens");
}

#[tokio::test]
async fn a_job_whose_message_is_gone_fails_and_the_next_one_is_given() {
    let world = pulling(false).await;
    let lost = sample::job_from(&world.whatsapp, "1", "gone", world.clock.now());
    world.store.queue_job(&lost).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    wrote(&world, "2", "wamid.1").await;
    let job = next(&world).await;
    assert_eq!(job["payload"]["message"]["provider_message_id"], "wamid.1");
    let stands: Vec<_> = world.table.jobs().await;
    let gone = stands.iter().find(|job| job.id == lost.id).unwrap();
    assert_eq!(
        (gone.status, gone.reason.as_deref()),
        (JobStatus::Failed, Some("the message no longer exists"))
    );
}

#[tokio::test]
async fn a_worker_may_wait_and_gets_what_comes_meanwhile() {
    let world = pulling(false).await;
    let resource = queue(&world);
    let waiting = ask(&resource, WORKER, Method::GET, "/queue/next-job?wait=5", None);
    let coming = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        wrote(&world, "1", "wamid.1").await;
    };
    let (job, ()) = futures::join!(waiting, coming);
    assert_eq!(job.unwrap()["status"], "processing");
}

#[tokio::test]
async fn jobs_are_for_their_tenants_workers_alone_and_what_is_wrong_is_named() {
    let world = pulling(false).await;
    wrote(&world, "1", "wamid.1").await;
    let resource = queue(&world);
    let get = async |http_client, address: &str| {
        ask(&resource, http_client, Method::GET, address, None).await.unwrap_err()
    };
    let other_scopes: (&str, &[Scope]) = ("acme", &[Scope::Read, Scope::Send]);
    assert_eq!(get(other_scopes, "/queue/next-job").await.code, "missing_scope");
    let strangers: (&str, &[Scope]) = ("globex", &[Scope::Worker]);
    let answer = ask(&resource, strangers, Method::GET, "/queue/next-job", None).await.unwrap();
    assert_eq!(answer["status"], "no_jobs");
    assert_eq!(get(strangers, "/queue/next-job?tenant=acme").await.status, 404);
    let job = next(&world).await;
    let path = format!("/queue/job/{}", job["job_id"].as_str().unwrap());
    assert_eq!(get(strangers, &path).await.status, 404);
    let stolen = ask(&resource, strangers, Method::POST, &format!("{path}/complete"), None).await;
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
    for (word, body, field) in [
        ("complete", json!({ "result": "x".repeat(32 * 1024) }), "result"),
        ("complete", json!({ "results": 1 }), "results"),
        ("fail", json!({}), "reason"),
        ("fail", json!({ "reason": " " }), "reason"),
        ("fail", json!({ "reason": "x".repeat(1001) }), "reason"),
        ("heartbeat?lease=0", Value::Null, "lease"),
    ] {
        let problem = say(&world, &job, word, &body).await.unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (422, Some(field)));
    }
    assert_eq!(show(&world, &job).await["status"], "processing");
}

fn program(world: &World) -> InboundMessages<DynamoStore, FakeQueue, FakeClock> {
    InboundMessages {
        store: world.store.clone(),
        events: world.media.clone(),
        inbound: world.own.clone(),
        clock: world.clock.clone(),
    }
}

#[tokio::test]
async fn a_message_that_a_program_brings_is_a_job_whose_name_is_known_at_once() {
    let world = pulling(false).await;
    let brings: (&str, &[Scope]) = ("acme", &[Scope::Ingest]);
    let (id, created_at) = (world.acme.clone(), world.clock.now());
    let tenant = domain::tenant::Tenant { id, name: "Acme".to_owned(), created_at };
    world.store.create_tenant(&tenant).await.unwrap();
    let take = async |id: &str| {
        let body = json!({ "from": "+1", "to": "desk", "message": { "text": "hi" },
            "timestamp": "2026-11-20T11:59:00Z", "message_id": id });
        let resource = program(&world);
        ask(&resource, brings, Method::POST, "/webhook/inbound", Some(&body)).await.unwrap()
    };
    wrote(&world, "1", "wamid.1").await;
    let job = next(&world).await;
    world.clock.advance(Duration::from_secs(8));
    say(&world, &job, "complete", &json!({})).await.unwrap();
    wrote(&world, "1", "wamid.2").await;
    world.clock.advance(Duration::from_secs(1));
    let answer = take("m-1").await;
    assert_eq!((&answer["status"], &answer["queue_position"]), (&json!("accepted"), &json!(2)));
    assert_eq!(answer["estimated_processing_time"], 16, "two jobs of eight seconds");
    let events = world.media.bodies::<InboundEvent>();
    assert_eq!(answer["event_id"], events[0].event_id().to_string());
    world.run_until_empty(&consumer(&world), false).await;
    assert_eq!(take("m-1").await["queue_position"], 2, "it is there already");
    assert_eq!(next(&world).await["payload"]["message"]["provider_message_id"], "wamid.2");
    let job = next(&world).await;
    assert_eq!(job["job_id"], answer["job_id"]);
    let message = &job["payload"]["message"];
    assert_eq!((&message["channel"], &message["provider"]), (&json!("whatsapp"), &json!("custom")));
    assert_eq!(message["text"], "hi");
    assert_eq!(take("m-1").await["queue_position"], 0);
    // Whoever does not pull is answered as ever.
    world.store.set_automation(&world.acme, &Automation::None).await.unwrap();
    let answer = take("m-2").await;
    assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
}

#[tokio::test]
async fn anybody_may_ask_how_the_hub_is() {
    let world = pulling(false).await;
    let resource = Status { store: world.store.clone(), clock: world.clock.clone() };
    let ask = async || ask(&resource, ("nobody", &[]), Method::GET, "/", None).await.unwrap();
    let first = ask().await;
    assert_eq!((&first["status"], &first["uptime"]), (&json!("starting"), &json!(0)));
    assert_eq!(first["service"], "switchboard");
    for (person, minute_of) in ["1", "2", "3"].into_iter().zip(0..) {
        wrote(&world, person, person).await;
        minute(&world).await;
        let now = ask().await;
        assert_eq!((&now["status"], &now["uptime"]), (&json!("ok"), &json!(60 * minute_of)));
        assert_eq!(now["queue_size"], minute_of + 1);
        world.clock.advance(Duration::from_mins(1));
    }
    world.clock.advance(Duration::from_mins(3));
    let late = ask().await;
    assert_eq!((&late["status"], &late["uptime"]), (&json!("degraded"), &json!(0)));
    minute(&world).await;
    assert_eq!(ask().await["status"], "ok");
    // Whoever stops pulling is looked after until nothing is left.
    world.store.set_automation(&world.acme, &Automation::None).await.unwrap();
    minute(&world).await;
    assert_eq!(world.store.health().await.unwrap().unwrap().queued, 3);
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(minute(&world).await, 3);
    minute(&world).await;
    assert_eq!(ask().await["queue_size"], 0);
}

/// What workers saw of each other.
#[derive(Debug, Default)]
struct Seen {
    /// Jobs completed, by conversation, in the order of their completion.
    completed: BTreeMap<String, Vec<String>>,
    /// Attempts that were given to somebody.
    given: BTreeMap<String, u64>,
    idle: u64,
}

async fn live(resource: Arc<OwnQueue>, clock: FakeClock, number: u64, seen: Arc<Mutex<Seen>>) {
    loop {
        tokio::task::yield_now().await;
        let job = ask(&*resource, WORKER, Method::GET, "/queue/next-job", None).await.unwrap();
        let Some(id) = job["job_id"].as_str().map(ToOwned::to_owned) else {
            let mut seen = seen.lock().unwrap();
            seen.idle += 1;
            if seen.idle > 10 {
                seen.idle = 0;
                clock.advance(Duration::from_secs(20));
            }
            continue;
        };
        let holder = seen.lock().unwrap().given.insert(id.clone(), number);
        assert_eq!(holder, None, "{id} was given twice");
        for _step in 0..(number * 7 + 3) % 9 {
            tokio::task::yield_now().await;
        }
        let path = format!("/queue/job/{id}/complete");
        let done = ask(&*resource, WORKER, Method::POST, &path, None).await;
        // No await from here on: what was completed is seen.
        if done.is_ok() {
            let mut seen = seen.lock().unwrap();
            seen.idle = 0;
            let talk = job["payload"]["message"]["conversation"].as_str().unwrap().to_owned();
            let text = job["payload"]["message"]["text"].as_str().unwrap().to_owned();
            seen.completed.entry(talk).or_default().push(text);
        }
    }
}

#[tokio::test]
async fn ten_workers_of_whom_many_die_do_each_job_once_and_in_order() {
    const WORKERS: usize = 10;
    const EACH: usize = 8;
    let people = 20;
    let world = pulling(false).await;
    let mut wanted = BTreeMap::new();
    for person in 0..people {
        for number in 0..EACH {
            let name = format!("{person}-{number}");
            let mut job =
                sample::job_from(&world.whatsapp, &person.to_string(), &name, world.clock.now());
            job.created_at += Duration::from_millis(number as u64);
            let mut message = sample::outbound(&world.whatsapp, &name, world.clock.now());
            message.conversation = job.conversation;
            domain::ports::Inbox::record(&world.store, &message).await.unwrap();
            world
                .store
                .queue_job(&Job {
                    expires_at: job.expires_at + Duration::from_hours(24),
                    ..job.clone()
                })
                .await
                .unwrap();
            wanted.entry(job.conversation.to_string()).or_insert_with(Vec::new).push(name);
        }
    }
    let (seen, resource) = (Arc::new(Mutex::new(Seen::default())), Arc::new(queue(&world)));
    let hire =
        |number| tokio::spawn(live(resource.clone(), world.clock.clone(), number, seen.clone()));
    let mut workers: Vec<_> = (0..WORKERS as u64).map(&hire).collect();
    let rng = SeededRng::new(11);
    let (mut killed, mut turn) = (0, WORKERS as u64);
    while seen.lock().unwrap().completed.values().map(Vec::len).sum::<usize>() < people * EACH {
        for _step in 0..4 {
            tokio::task::yield_now().await;
        }
        turn += 1;
        assert!(turn < 1_000_000, "they do not come to an end");
        let one = usize::try_from(domain::ports::Rng::bits(&rng) % WORKERS as u128).unwrap();
        if workers[one].is_finished() {
            std::mem::replace(&mut workers[one], hire(turn)).await.unwrap();
        } else if killed < 60 {
            workers[one].abort();
            workers[one] = hire(turn);
            killed += 1;
        }
    }
    for worker in workers {
        worker.abort();
    }
    {
        let seen = seen.lock().unwrap();
        assert_eq!(seen.completed, wanted);
        assert!(killed >= 20, "only {killed} died");
        assert!(seen.given.len() > people * EACH, "nobody left a job undone");
    }
    let figures = world.store.figures(&world.acme, world.clock.now()).await.unwrap();
    assert_eq!((figures.queued, figures.processing), (0, 0));
}
