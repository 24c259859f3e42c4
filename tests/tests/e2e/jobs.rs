//! Jobs: pulled by a tenant's own workers, each once, in the order of its conversation.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cast::{Tenant, person};
use crate::hub::{Client, HUB, SOON, at_once, eventually, now};

/// A tenant whose workers pull, and a key for a worker that answers.
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
fn a_worker_of_curl_and_a_shell_answers_everybody_once() {
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
        let asked = messages[1]["id"].as_str().unwrap().replace("msg_", "job_");
        let job = tenant.api.get(&format!("/queue/job/{asked}")).expect(200);
        assert_eq!((&job["status"], &job["attempt"]), (&json!("completed"), &json!(1)), "{job}");
        assert_eq!(job["result"], json!({"answered": true}), "{job}");
    }
    let none = tenant.api.get("/queue/next-job").expect(200);
    assert_eq!((&none["status"], &none["queue_size"]), (&json!("no_jobs"), &json!(0)), "{none}");
}

#[test]
fn workers_at_once_get_each_job_once_and_each_conversation_in_order() {
    let (tenant, key) = pulling("many-workers");
    let (people, each) = (8, 4);
    let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0..each {
        for person in 0..people {
            let text = format!("{person}-{number}");
            let body = json!({"from": format!("+{person}"), "to": "desk", "message": {"text": text},
                "timestamp": now(), "message_id": text});
            let taken = tenant.api.post("/webhook/inbound", &body).expect(202);
            assert_eq!(taken["status"], "accepted", "{taken}");
            assert!(taken["queue_position"].as_u64().unwrap() > 0, "{taken}");
            wanted
                .entry(person.to_string())
                .or_default()
                .push(taken["job_id"].as_str().unwrap().to_owned());
        }
    }
    let done_in_order: Mutex<BTreeMap<String, Vec<String>>> = Mutex::default();
    let left = || {
        let done: usize = done_in_order.lock().unwrap().values().map(Vec::len).sum();
        people * each - done
    };
    at_once(10, |_| {
        let worker = Client::with_key(&key);
        let mut idle = 0;
        while left() > 0 && idle < 30 {
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
    assert_eq!(done_in_order.into_inner().unwrap(), wanted);
}

#[test]
fn a_lapsed_lease_is_refused_over_http() {
    let (tenant, _) = pulling("lapsed");
    let body = json!({"from": "+1", "to": "desk", "message": {"text": "hi"}, "timestamp": now(),
        "message_id": "only"});
    tenant.api.post("/webhook/inbound", &body).expect(202);
    let take = || {
        eventually("a job", SOON, || {
            let job = tenant.api.get("/queue/next-job?lease=1&wait=5").expect(200);
            if job["status"] == "processing" { Ok(job) } else { Err(job.to_string()) }
        })
    };
    let say = |job: &Value, word: &str| {
        tenant
            .api
            .post(&format!("/queue/job/{}/{word}", job["job_id"].as_str().unwrap()), &json!({}))
    };
    let first = take();
    std::thread::sleep(Duration::from_millis(1200));
    say(&first, "complete").problem(409, "lease_lapsed");
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
    say(&first, "complete").problem(409, "lease_lapsed");
    assert_eq!(say(&second, "complete").expect(200)["status"], "completed");
}

#[test]
fn anybody_may_ask_how_the_hub_is() {
    let status = Client::without_key().get("/").expect(200);
    assert_eq!(status["service"], "switchboard", "{status}");
    assert!(["ok", "starting", "degraded"].iter().any(|known| status["status"] == **known));
    for field in ["queue_size", "uptime"] {
        assert!(status[field].is_u64(), "{status}");
    }
    assert_eq!(status.as_object().unwrap().len(), 5, "no more than that: {status}");
}
