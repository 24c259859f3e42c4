//! Tenant isolation.

use serde_json::json;

use crate::fixtures::{Tenant, person};

#[test]
fn a_tenants_key_gives_no_access_to_another_tenant() {
    let (owner, other) = (Tenant::new("owner"), Tenant::new("other"));
    let automation = owner.automation(&json!([]));
    let number = owner.whatsapp(&json!({}));
    let from = person();
    let conversation = number.hello(&from)["id"].as_str().unwrap().to_owned();
    let message = owner.messages(&conversation)[0]["id"].as_str().unwrap().to_owned();
    let keys = owner.api.get(&format!("/tenants/{}/keys", owner.id)).expect(200);
    let key = keys["keys"][0]["id"].as_str().unwrap();
    let (id, integration) = (&owner.id, &number.integration);

    let intruder = &other.api;
    let empty = intruder.get("/conversations").expect(200);
    assert_eq!(empty, json!({"conversations": [], "next": null}));
    assert_eq!(intruder.get("/integrations").expect(200)["integrations"], json!([]));
    for path in [
        format!("/conversations/{conversation}"),
        format!("/conversations/{conversation}/messages"),
        format!("/messages/{message}"),
        format!("/messages/{message}/media"),
        format!("/integrations/{integration}"),
        format!("/tenants/{id}"),
        format!("/tenants/{id}/keys"),
        format!("/tenants/{id}/automation"),
        format!("/audit?tenant={id}"),
        format!("/conversations?tenant={id}"),
        format!("/integrations?tenant={id}"),
        format!("/messages/{message}?tenant={id}"),
    ] {
        intruder.get(&path).problem(404, "not_found");
    }
    for (path, body) in [
        (format!("/conversations/{conversation}/read"), json!({})),
        (format!("/integrations/{integration}/verify"), json!({})),
        (format!("/integrations/{integration}/register"), json!({"pin": "123456"})),
        (format!("/tenants/{id}/keys"), json!({"scopes": ["admin"]})),
        ("/messages".to_owned(), json!({"tenant": id, "conversation": conversation, "text": "hi"})),
        (
            "/integrations".to_owned(),
            json!({"tenant": id, "provider": "telegram",
                   "credentials": {"TELEGRAM_BOT_TOKEN": "1:a"}}),
        ),
    ] {
        intruder.post(&path, &body).problem(404, "not_found");
    }
    let put = |path: String, body| intruder.put(&path, &body).problem(404, "not_found");
    put(format!("/tenants/{id}/automation"), json!({"kind": "none"}));
    put(format!("/integrations/{integration}"), json!({"credentials": {}}));
    for path in [
        format!("/tenants/{id}/keys/{key}"),
        // The intruder's own path with the owner's key id.
        format!("/tenants/{}/keys/{key}", other.id),
        format!("/integrations/{integration}"),
    ] {
        intruder.delete(&path).problem(404, "not_found");
    }
    for (body, field) in [
        (json!({"conversation": conversation, "text": "hi"}), "conversation"),
        (json!({"to": from, "integration": integration, "text": "hi"}), "integration"),
    ] {
        let problem = intruder.post("/messages", &body).problem(422, "invalid_field");
        assert_eq!(problem["field"], field);
    }
    // With its own account, the intruder cannot reply to the owner's message either.
    let own = other.telegram();
    let chat = 6_660_001;
    let own_conversation = own.hello(chat);
    let steal = json!({"conversation": own_conversation["id"], "text": "hi", "reply_to": message});
    assert_eq!(
        intruder.post("/messages", &steal).problem(422, "invalid_field")["field"],
        "reply_to"
    );
    // A provider account can be claimed by one tenant only.
    let settings = json!({"phone_number_id": number.number});
    let claim = json!({"provider": "whatsapp", "settings": settings,
                       "credentials": {"WHATSAPP_APP_SECRET": "mine"}});
    intruder.post("/integrations", &claim).problem(409, "account_taken");

    // None of the requests had an effect.
    assert_eq!(owner.messages(&conversation).len(), 1);
    assert!(number.accepted(&from).is_empty());
    assert_eq!(number.reads(), json!([]));
    owner.api.get(&format!("/integrations/{integration}")).expect(200);
    let view = owner.api.get(&format!("/tenants/{id}/automation")).expect(200);
    assert_eq!(view["kind"], "push");
    automation.until("message.received", 1);
}
