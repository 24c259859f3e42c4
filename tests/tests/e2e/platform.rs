//! The operator's own app at a provider, which receives webhooks for every tenant.

use std::sync::{Mutex, PoisonError};

use providers::whatsapp_cloud::example;
use serde_json::{Value, json};

use crate::fixtures::{Tenant, deliver, person, text_from};
use crate::hub::{Client, DEFAULT_TIMEOUT, HUB, eventually};

/// A hub can have one such app, so all runs on one hub share it.
const SECRET: &str = "the-platforms-app-secret";

/// Held while a test counts parked events.
static PARKED: Mutex<()> = Mutex::new(());

fn platform_url() -> String {
    let made = Client::admin().post(
        "/integrations",
        &json!({
            "tenant": "platform",
            "provider": "whatsapp",
            "settings": {"base_url": HUB.simulator},
            "credentials": {
                "WHATSAPP_APP_SECRET": SECRET,
                "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "the-platforms-verify-token",
            },
        }),
    );
    let url = format!("{}/webhooks/whatsapp", HUB.url);
    if made.status == 409 {
        made.problem(409, "account_taken");
    } else {
        assert_eq!(made.expect(201)["webhook_url"], url.as_str());
    }
    url
}

#[test]
fn the_platforms_app_routes_each_number_to_the_tenant_that_claimed_it() {
    let url = platform_url();
    let (tenant, other) = (Tenant::new("claims"), Tenant::new("bystander"));
    let (number, other_number) = (tenant.whatsapp(&json!({})), other.whatsapp(&json!({})));
    let (from, unclaimed) = (person(), "199999999999999");
    let body = |account: &str, id: &str| {
        let change = example::messages(account, &[text_from(&from, id, "whose am I?")]);
        example::escaped(&example::envelope(&[change]))
    };

    let own = body(&number.number, "wamid.PLATFORM.1");
    deliver(&url, &own, &example::signature(SECRET, &own)).expect(200);
    assert_eq!(tenant.until_messages(&from, 1)[0]["text"], "whose am I?");
    // The same message through the tenant's own app is a duplicate.
    deliver(&number.url, &own, &example::signature(&number.secret, &own)).expect(200);
    // A tenant's secret is not valid for the platform's webhook.
    let forged = deliver(&url, &own, &example::signature(&number.secret, &own));
    assert_eq!(forged.status, 401, "{forged}");

    // A message for an unclaimed number is parked for the operator, because a retry would not help.
    let counted = PARKED.lock().unwrap_or_else(PoisonError::into_inner);
    let operator = Client::admin();
    let parked = "/events?tenant=platform&state=parked&provider=whatsapp&limit=100";
    let before = parked_at(&operator, parked).len();
    let lost = body(unclaimed, "wamid.PLATFORM.2");
    deliver(&url, &lost, &example::signature(SECRET, &lost)).expect(200);
    eventually("it is parked", DEFAULT_TIMEOUT, || {
        let now = parked_at(&operator, parked).len();
        if now == before + 1 { Ok(()) } else { Err(format!("{now} events after {before}")) }
    });
    drop(counted);

    // A message for another tenant's number on the tenant's own webhook.
    let stolen = body(&number.number, "wamid.PLATFORM.3");
    let answer =
        deliver(&other_number.url, &stolen, &example::signature(&other_number.secret, &stolen));
    assert_eq!(answer.status, 403, "{answer}");

    // A second claim of the number.
    let settings = json!({"phone_number_id": number.number});
    let claim = json!({"provider": "whatsapp", "settings": settings,
                       "credentials": {"WHATSAPP_APP_SECRET": "mine"}});
    let problem = other.api.post("/integrations", &claim).problem(409, "account_taken");
    assert_eq!(problem["field"], "settings");

    assert_eq!(tenant.until_messages(&from, 1).len(), 1);
    let page = other.api.get("/conversations").expect(200);
    assert_eq!(page["conversations"], json!([]), "{page}");
    // The verify token is valid for Meta's handshake.
    let query = "hub.mode=subscribe&hub.challenge=4711&hub.verify_token=the-platforms-verify-token";
    let answer = crate::hub::request("GET", &format!("{url}?{query}"), &[], None);
    assert_eq!((answer.status, answer.bytes.as_slice()), (200, b"4711".as_slice()));
}

#[test]
fn a_verified_webhook_that_cannot_be_parsed_is_parked() {
    let tenant = Tenant::new("unreadable");
    let number = tenant.whatsapp(&json!({}));
    for body in [&b"not json"[..], b"{}", br#"{"object":"page","entry":[]}"#, b""] {
        deliver(&number.url, body, &example::signature(&number.secret, body)).expect(200);
    }
    let parked = eventually("all four are parked", DEFAULT_TIMEOUT, || {
        let parked = parked_at(&tenant.api, "/events?state=parked");
        if parked.len() == 4 { Ok(parked) } else { Err(format!("{parked:?}")) }
    });
    for event in parked {
        assert_eq!(
            (&event["state"], &event["provider"]),
            (&json!("parked"), &json!("whatsapp_cloud"))
        );
        assert_eq!(event["integration"], number.integration.as_str());
        assert!(event["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{event}");
    }
}

/// Returns the parked events, newest first.
fn parked_at(client: &Client, path: &str) -> Vec<Value> {
    client.get(path).expect(200)["events"].as_array().unwrap().clone()
}
