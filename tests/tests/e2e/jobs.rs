//! Jobs that a tenant's workers pull: each once, in the order of its conversation.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixtures::{Tenant, person};
use crate::hub::{Client, DEFAULT_TIMEOUT, HUB, eventually, now, run_concurrently};

/// A tenant with a pull automation, and a key for its workers.
fn pulling(name: &str) -> (Tenant, String) {
    let tenant = Tenant::new(name);
    let path = format!("/tenants/{}/automation", tenant.id);
    let set = tenant.api.put(&path, &json!({"kind": "pull", "job_ttl": 600})).expect(200);
    assert_eq!((&set["kind"], &set["job_ttl"]), (&json!("pull"), &json!(600)), "{set}");
    let scopes = json!({"scopes": ["worker", "send"]});
    let made = tenant.api.post(&format!("/tenants/{}/keys", tenant.id), &scopes).expect(201);
    let key = made["key"].as_str().unwrap().to_owned();
    (tenant, key)
}

#[test]
fn a_shell_worker_with_curl_replies_to_each_customer_once() {
    let (tenant, key) = pulling("shell-worker");
    let number = tenant.whatsapp(&json!({}));
    let people = [person(), person()];
    for from in &people {
        number.hello(from);
    }
    for from in &people {
        tenant.until_messages(from, 1);
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/worker.sh");
    let worker = Command::new("sh")
        .arg(script)
        .env("SWITCHBOARD_URL", &HUB.url)
        .env("SWITCHBOARD_KEY", key)
        .env("JOBS", "2")
        .output()
        .unwrap();
    assert!(worker.status.success(), "{}", String::from_utf8_lossy(&worker.stderr));
    for from in &people {
        let messages = tenant.until_messages(from, 2);
        assert_eq!(messages[0]["text"], "Thank you!", "{messages:?}");
        let job_id = messages[1]["id"].as_str().unwrap().replace("msg_", "job_");
        let job = tenant.api.get(&format!("/queue/job/{job_id}")).expect(200);
        assert_eq!((&job["status"], &job["attempt"]), (&json!("completed"), &json!(1)), "{job}");
        assert_eq!(job["result"], json!({"answered": true}), "{job}");
    }
    let none = tenant.api.get("/queue/next-job").expect(200);
    assert_eq!((&none["status"], &none["queue_size"]), (&json!("no_jobs"), &json!(0)), "{none}");
}

#[test]
fn concurrent_workers_get_each_job_once_and_each_conversation_in_order() {
    let (tenant, key) = pulling("many-workers");
    let (people, each) = (8, 4);
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0..each {
        for person in 0..people {
            let text = format!("{person}-{number}");
            let body = json!({"from": format!("+{person}"), "to": "desk", "message": {"text": text},
                "timestamp": now(), "message_id": text});
            let accepted = tenant.api.post("/webhook/inbound", &body).expect(202);
            assert_eq!(accepted["status"], "accepted", "{accepted}");
            assert!(accepted["queue_position"].as_u64().unwrap() > 0, "{accepted}");
            expected
                .entry(person.to_string())
                .or_default()
                .push(accepted["job_id"].as_str().unwrap().to_owned());
        }
    }
    let done_in_order: Mutex<BTreeMap<String, Vec<String>>> = Mutex::default();
    let remaining = || {
        let done: usize = done_in_order.lock().unwrap().values().map(Vec::len).sum();
        people * each - done
    };
    run_concurrently(10, |_| {
        let worker = Client::with_key(&key);
        let mut idle = 0;
        while remaining() > 0 && idle < 30 {
            let job = worker.get("/queue/next-job?wait=2").expect(200);
            let Some(id) = job["job_id"].as_str() else {
                idle += 1;
                continue;
            };
            let text = job["payload"]["message"]["text"].as_str().unwrap();
            let person = text.split('-').next().unwrap().to_owned();
            done_in_order.lock().unwrap().entry(person).or_default().push(id.to_owned());
            let done = worker.post(&format!("/queue/job/{id}/complete"), &json!({})).expect(200);
            assert_eq!(done["status"], "completed", "{done}");
        }
    });
    assert_eq!(done_in_order.into_inner().unwrap(), expected);
}

#[test]
fn a_request_with_an_expired_lease_is_rejected() {
    let (tenant, _) = pulling("expired");
    let body = json!({"from": "+1", "to": "desk", "message": {"text": "hi"}, "timestamp": now(),
        "message_id": "only"});
    tenant.api.post("/webhook/inbound", &body).expect(202);
    let take = || {
        eventually("a job", DEFAULT_TIMEOUT, || {
            let job = tenant.api.get("/queue/next-job?lease=1&wait=5").expect(200);
            if job["status"] == "processing" { Ok(job) } else { Err(job.to_string()) }
        })
    };
    let call = |job: &Value, action: &str| {
        tenant
            .api
            .post(&format!("/queue/job/{}/{action}", job["job_id"].as_str().unwrap()), &json!({}))
    };
    let first = take();
    std::thread::sleep(Duration::from_millis(1200));
    call(&first, "complete").problem(409, "lease_expired");
    let second = take();
    assert_eq!(second["job_id"], format!("{}.2", first["job_id"].as_str().unwrap()));
    tenant
        .api
        .post(
            &format!("/queue/job/{}/heartbeat?lease=60", second["job_id"].as_str().unwrap()),
            &json!({}),
        )
        .expect(200);
    std::thread::sleep(Duration::from_millis(1200));
    call(&first, "complete").problem(409, "lease_expired");
    assert_eq!(call(&second, "complete").expect(200)["status"], "completed");
}

#[test]
fn the_health_check_needs_no_key_and_shows_a_stranger_no_figures() {
    let status = Client::without_key().get("/").expect(200);
    assert_eq!(status["service"], "switchboard", "{status}");
    assert!(["ok", "starting", "degraded"].iter().any(|known| status["status"] == **known));
    assert_eq!(status.as_object().unwrap().len(), 3, "no further fields: {status}");
    assert_eq!(Client::without_key().get("/status").status, 401);
    let of_all = Client::admin().get("/status").expect(200);
    let tenant = Tenant::new("figures");
    let own = tenant.api.get("/status").expect(200);
    assert_eq!((&own["tenant"], &own["queue_size"]), (&json!(tenant.id), &json!(0)), "{own}");
    for figures in [of_all, own] {
        for field in ["queue_size", "processing", "uptime"] {
            assert!(figures[field].is_u64(), "{field}: {figures}");
        }
        assert_eq!(figures["version"], status["version"], "{figures}");
    }
}
