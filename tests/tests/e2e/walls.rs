//! Tenants are walls.

use serde_json::json;

use crate::cast::{Tenant, person};

#[test]
fn a_tenants_key_opens_nothing_of_another_tenants() {
    let (ours, theirs) = (Tenant::new("ours"), Tenant::new("theirs"));
    let automation = ours.automation(&json!([]));
    let number = ours.whatsapp(&json!({}));
    let from = person();
    let talk = number.hello(&from)["id"].as_str().unwrap().to_owned();
    let message = ours.messages(&talk)[0]["id"].as_str().unwrap().to_owned();
    let keys = ours.api.get(&format!("/tenants/{}/keys", ours.id)).expect(200);
    let key = keys["keys"][0]["id"].as_str().unwrap();
    let (id, integration) = (&ours.id, &number.integration);

    let spy = &theirs.api;
    let empty = spy.get("/conversations").expect(200);
    assert_eq!(empty, json!({"conversations": [], "next": null}));
    assert_eq!(spy.get("/integrations").expect(200)["integrations"], json!([]));
    for path in [
        format!("/conversations/{talk}"),
        format!("/conversations/{talk}/messages"),
        format!("/messages/{message}"),
        format!("/messages/{message}/media"),
        format!("/integrations/{integration}"),
        format!("/tenants/{id}"),
        format!("/tenants/{id}/keys"),
        format!("/tenants/{id}/automation"),
        format!("/conversations?tenant={id}"),
        format!("/integrations?tenant={id}"),
        format!("/messages/{message}?tenant={id}"),
    ] {
        spy.get(&path).problem(404, "not_found");
    }
    for (path, body) in [
        (format!("/conversations/{talk}/read"), json!({})),
        (format!("/integrations/{integration}/verify"), json!({})),
        (format!("/integrations/{integration}/register"), json!({"pin": "123456"})),
        (format!("/tenants/{id}/keys"), json!({"scopes": ["admin"]})),
        ("/messages".to_owned(), json!({"tenant": id, "conversation": talk, "text": "hi"})),
        (
            "/integrations".to_owned(),
            json!({"tenant": id, "provider": "telegram",
                   "credentials": {"TELEGRAM_BOT_TOKEN": "1:a"}}),
        ),
    ] {
        spy.post(&path, &body).problem(404, "not_found");
    }
    let put = |path: String, body| spy.put(&path, &body).problem(404, "not_found");
    put(format!("/tenants/{id}/automation"), json!({"kind": "none"}));
    put(format!("/integrations/{integration}"), json!({"credentials": {}}));
    for path in [
        format!("/tenants/{id}/keys/{key}"),
        // By one's own path, another's key.
        format!("/tenants/{}/keys/{key}", theirs.id),
        format!("/integrations/{integration}"),
    ] {
        spy.delete(&path).problem(404, "not_found");
    }
    for (body, field) in [
        (json!({"conversation": talk, "text": "hi"}), "conversation"),
        (json!({"to": from, "integration": integration, "text": "hi"}), "integration"),
    ] {
        let problem = spy.post("/messages", &body).problem(422, "invalid_field");
        assert_eq!(problem["field"], field);
    }
    // With an account of its own, it still cannot answer what another was told.
    let own = theirs.telegram();
    let chat = 6_660_001;
    let own_talk = own.hello(chat);
    let steal = json!({"conversation": own_talk["id"], "text": "hi", "reply_to": message});
    assert_eq!(spy.post("/messages", &steal).problem(422, "invalid_field")["field"], "reply_to");
    // The same account at a provider is one tenant's.
    let settings = json!({"phone_number_id": number.number});
    let claim = json!({"provider": "whatsapp", "settings": settings,
                       "credentials": {"WHATSAPP_APP_SECRET": "mine"}});
    spy.post("/integrations", &claim).problem(409, "account_taken");

    // Nothing of it left a trace.
    assert_eq!(ours.messages(&talk).len(), 1);
    assert!(number.accepted(&from).is_empty());
    assert_eq!(number.reads(), json!([]));
    ours.api.get(&format!("/integrations/{integration}")).expect(200);
    let view = ours.api.get(&format!("/tenants/{id}/automation")).expect(200);
    assert_eq!(view["kind"], "push");
    automation.until("message.received", 1);
}
