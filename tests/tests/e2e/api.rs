//! The API: authentication, scopes and pagination.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::fixtures::{Tenant, person};
use crate::hub::{Client, DEFAULT_TIMEOUT, eventually};

#[test]
fn without_a_key_only_the_openapi_document_is_available() {
    let anonymous = Client::without_key();
    for path in ["/tenants", "/integrations", "/messages/msg_1", "/conversations"] {
        let answer = anonymous.get(path);
        assert_eq!(answer.status, 401, "{answer}");
    }
    let wrong = Client::with_key("swb_01J9ZQ4J9T0000000000000000_0000");
    assert_eq!(wrong.get("/conversations").status, 403);
    let document = anonymous.get("/openapi.json").expect(200);
    assert_eq!(document, functions::openapi(), "another build is deployed");
}

#[test]
fn a_revoked_key_is_rejected() {
    let tenant = Tenant::new("ended");
    let keys = format!("/tenants/{}/keys", tenant.id);
    let made = tenant.api.post(&keys, &json!({"scopes": ["read"]})).expect(201);
    let listed = tenant.api.get(&keys).expect(200);
    let secret = made["key"].as_str().unwrap();
    let hint = &secret[secret.len() - 4..];
    let found = listed["keys"].as_array().unwrap().iter().find(|key| key["id"] == made["id"]);
    assert_eq!(found.unwrap()["hint"], format!("...{hint}"), "{listed}");
    assert!(!listed.to_string().contains(secret), "{listed}");
    let path = format!("{keys}/{}", made["id"].as_str().unwrap());
    tenant.api.delete(&path).expect(204);
    tenant.api.delete(&path).problem(404, "not_found");
    // The key was never used, so no authorizer result is cached.
    assert_eq!(Client::with_key(secret).get("/conversations").status, 403);
    let listed = tenant.api.get(&keys).expect(200);
    assert_eq!(listed["keys"].as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn a_request_beyond_the_limit_of_its_key_gets_429() {
    let tenant = Tenant::new("limited");
    let limits = format!("/tenants/{}/limits", tenant.id);
    Client::admin().put(&limits, &json!({"key": {"writes": 2}})).expect(200);
    let keys = format!("/tenants/{}/keys", tenant.id);
    // A new minute may begin meanwhile, but not two.
    let answers: Vec<_> =
        (0..6).map(|_| tenant.api.post(&keys, &json!({"scopes": ["read"]}))).collect();
    assert!((2..=4).contains(&answers.iter().filter(|answer| answer.status == 201).count()));
    for answer in answers {
        let number = |name: &str| answer.headers.get(name)?.parse::<u32>().ok();
        assert_eq!(number("ratelimit-limit"), Some(2), "{answer}");
        assert!(number("ratelimit-reset").is_some_and(|reset| (1..=60).contains(&reset)));
        assert_eq!(number("retry-after").is_some(), answer.status == 429, "{answer}");
        if answer.status != 201 {
            answer.problem(429, "rate_limited");
        }
    }
    let shown = tenant.api.get(&limits).expect(200);
    assert_eq!((&shown["key"]["writes"], &shown["key"]["reads"]), (&json!(2), &json!(1000)));
}

#[test]
fn an_audit_record_names_the_key_the_address_and_the_request() {
    let tenant = Tenant::new("audited");
    let keys = format!("/tenants/{}/keys", tenant.id);
    let elsewhere = json!({"scopes": ["read"], "allowed_ips": ["198.51.100.7"]});
    let made = tenant.api.post(&keys, &elsewhere).expect(201);
    let listed = tenant.api.get("/audit?action=api_key.created&limit=1").expect(200);
    let record = &listed["records"][0];
    assert_eq!(record["target"], json!({"type": "api_key", "id": made["id"]}), "{listed}");
    assert_eq!(record["after"]["allowed_ips"], json!(["198.51.100.7"]));
    assert!(record["actor"].as_str().unwrap().starts_with("key_"), "{listed}");
    assert!(record["source_ip"].is_string() && record["request_id"].is_string(), "{listed}");
    // The key is not allowed from here.
    let client = Client::with_key(made["key"].as_str().unwrap());
    client.get("/conversations").problem(403, "address_not_allowed");
}

#[test]
fn a_key_is_limited_to_its_scopes() {
    let tenant = Tenant::new("scopes");
    let keys = format!("/tenants/{}/keys", tenant.id);
    let with = |scope: &str| {
        let made = tenant.api.post(&keys, &json!({"scopes": [scope]})).expect(201);
        Client::with_key(made["key"].as_str().unwrap())
    };
    let (reader, sender, worker) = (with("read"), with("send"), with("worker"));
    let ingest = with("ingest");
    let text = json!({"to": "16505551234", "channel": "whatsapp", "text": "hi"});
    let forbidden = |answer: crate::hub::Answer| {
        answer.problem(403, "missing_scope");
    };
    reader.get("/conversations").expect(200);
    forbidden(reader.post("/messages", &text));
    // Without the scope, the body is not validated.
    forbidden(reader.post("/messages", &json!({"no": "message"})));
    forbidden(sender.get("/conversations"));
    sender.post("/messages", &text).problem(422, "no_integration");
    for key in [&reader, &sender, &worker, &ingest] {
        forbidden(key.get("/integrations"));
        forbidden(key.post("/integrations", &json!({"provider": "telegram"})));
        forbidden(key.post(&keys, &json!({"scopes": ["admin"]})));
        forbidden(key.put(&format!("/tenants/{}/automation", tenant.id), &json!({"kind": "none"})));
        let all = key.post("/tenants", &json!({"id": "mine", "name": "Mine"}));
        assert_eq!(all.status, 403, "{all}");
    }
    forbidden(worker.get("/conversations"));
    forbidden(worker.post("/messages", &text));
    forbidden(ingest.get("/conversations"));
    forbidden(ingest.post("/messages", &text));
    let inbound = json!({"from": "+16505551234", "to": "desk", "message": {"text": "hi"},
        "message_id": "scopes-1", "timestamp": "2026-11-20T12:00:00Z"});
    for key in [&reader, &sender, &worker] {
        forbidden(key.post("/webhook/inbound", &inbound));
    }
    ingest.post("/webhook/inbound", &inbound).expect(202);
    let made = tenant.api.post("/tenants", &json!({"id": "mine", "name": "Mine"}));
    made.problem(403, "platform_only");
    tenant.api.get("/tenants").problem(403, "platform_only");
}

#[test]
fn the_platforms_key_must_name_a_tenant() {
    let tenant = Tenant::new("named");
    let admin = Client::admin();
    let problem = admin.get("/conversations").problem(422, "invalid_field");
    assert_eq!(problem["field"], "tenant");
    admin.get(&format!("/conversations?tenant={}", tenant.id)).expect(200);
    let again = json!({"id": tenant.id, "name": "again"});
    admin.post("/tenants", &again).problem(409, "tenant_exists");
    for id in ["", "UPPER", "with space", "a#b", "platform"] {
        let answer = admin.post("/tenants", &json!({"id": id, "name": "bad"}));
        assert_eq!(answer.problem(422, "invalid_field")["field"], "id");
    }
}

/// Reads a list page by page and checks that it is complete and without duplicates.
fn read_in_pages(tenant: &Tenant, path: &str, name: &str) -> Vec<Value> {
    let pages = tenant.pages(&format!("{path}?limit=10"), name);
    let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
    assert_eq!(sizes, [10, 10, 5], "{path}");
    let all = pages.concat();
    let ids: BTreeSet<_> = all.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 25, "{path}");
    all
}

#[test]
fn pagination_returns_every_item_once() {
    let tenant = Tenant::new("pages");
    let number = tenant.whatsapp(&json!({}));
    let one = person();
    for each in 0..25 {
        number.writes(&json!({"from": one, "text": format!("{each}")}));
    }
    // Together with the first customer there are 25.
    let people: Vec<String> = (0..24).map(|_| person()).collect();
    for from in &people {
        number.writes(&json!({"from": from, "text": "hello"}));
    }
    tenant.until_messages(&one, 25);
    eventually("25 conversations", DEFAULT_TIMEOUT, || {
        let all = tenant.pages("/conversations?limit=100", "conversations").concat();
        if all.len() == 25 { Ok(()) } else { Err(format!("{}", all.len())) }
    });
    let conversations = read_in_pages(&tenant, "/conversations", "conversations");
    let conversation = conversations
        .iter()
        .find(|conversation| conversation["contact"]["address"] == one)
        .unwrap();
    let path = format!("/conversations/{}/messages", conversation["id"].as_str().unwrap());
    let messages = read_in_pages(&tenant, &path, "messages");
    let texts: Vec<_> = messages.iter().rev().map(|message| message["text"].clone()).collect();
    let expected: Vec<_> = (0..25).map(|each| json!(each.to_string())).collect();
    assert_eq!(texts, expected, "newest first");
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("cursor=zz", "cursor"),
    ] {
        let problem = tenant.api.get(&format!("/conversations?{query}"));
        assert_eq!(problem.problem(422, "invalid_field")["field"], field);
    }
}

#[test]
fn credentials_are_write_only() {
    let tenant = Tenant::new("write-only");
    let number = tenant.whatsapp(&json!({}));
    let path = format!("/integrations/{}", number.integration);
    for view in [tenant.api.get(&path).expect(200), tenant.api.get("/integrations").expect(200)] {
        let shown = view.to_string();
        assert!(!shown.contains(&number.secret) && !shown.contains("EAAG-1"), "{shown}");
    }
    let view = tenant.api.get(&path).expect(200);
    let end = &number.secret[number.secret.len() - 4..];
    assert_eq!(view["credentials"]["WHATSAPP_APP_SECRET"], format!("...{end}"));
    tenant.api.post(&format!("{path}/verify"), &json!({})).expect(200);
    tenant.api.post(&format!("{path}/register"), &json!({"pin": "123456"})).expect(200);
    let no_pin = tenant.api.post(&format!("{path}/register"), &json!({"pin": "12"}));
    assert_eq!(no_pin.problem(422, "invalid_field")["field"], "pin");
    tenant.api.delete(&path).expect(204);
    tenant.api.get(&path).problem(404, "not_found");
    assert_eq!(tenant.api.get("/integrations").expect(200)["integrations"], json!([]));
}
