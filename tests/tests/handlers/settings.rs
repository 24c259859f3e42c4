//! WhatsApp settings tests: the route of a tenant's messages, and the health of its integrations.

use accounts::model::circuit::Circuit;
use accounts::model::route::Choice;
use accounts::ports::{Circuits, Registry, Routes};
use domain::circuit::Breaker;
use domain::ports::{Clock, CredentialReader, Freshness};
use domain::provider::Channel;
use domain::tenant::{Principal, Scope};
use domain::{Integration, TenantId};
use http::{Method, StatusCode};
use runtime::api::{ApiRequest, Problem, handle};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use testkit::sample;

use crate::api::{Api, request};

const PATH: &str = "/tenants/acme/whatsapp-settings";

async fn call(api: &Api, method: Method, path: &str, body: &Value) -> Result<Value, Problem> {
    as_tenant(api, method, path, body, &TenantId::platform()).await
}

async fn as_tenant(
    api: &Api,
    method: Method,
    path: &str,
    body: &Value,
    tenant: &TenantId,
) -> Result<Value, Problem> {
    let reply = handle(&api.integrations("-"), &request(method, path, tenant, body)).await?;
    Ok(serde_json::from_str(&reply.body.unwrap()).unwrap())
}

fn meta(number: &str) -> Value {
    json!({ "whatsapp_provider": "meta", "provider_config": {
        "phone_number_id": number, "WHATSAPP_ACCESS_TOKEN": "a-secret-token-1234" } })
}

/// An API whose tenant acme has two numbers at Meta; its route uses the first.
async fn two_numbers() -> (Api, Vec<Integration>) {
    let api = Api::new().await;
    call(&api, Method::PUT, PATH, &meta("111")).await.unwrap();
    let body = json!({ "tenant": "acme", "provider": "whatsapp",
        "settings": { "phone_number_id": "222" },
        "credentials": { "WHATSAPP_ACCESS_TOKEN": "another-token" } });
    call(&api, Method::POST, "/integrations", &body).await.unwrap();
    let mut integrations = api.store.accounts.integrations(&sample::tenant("acme")).await.unwrap();
    integrations.sort_by_key(|integration| integration.account.clone());
    (api, integrations)
}

#[tokio::test]
async fn whatsapp_settings_create_an_integration_and_a_route() {
    let api = Api::new().await;
    let acme = sample::tenant("acme");
    let shown = call(&api, Method::PUT, PATH, &meta("111")).await.unwrap();
    assert_eq!(shown["whatsapp_provider"], "whatsapp_cloud");
    assert_eq!(shown["provider_config"]["phone_number_id"], "111");
    assert_eq!(
        shown["provider_config"]["WHATSAPP_ACCESS_TOKEN"], "...1234",
        "the token is not shown"
    );
    assert!(!shown.to_string().contains("a-secret-token"));
    let integrations = api.store.accounts.integrations(&acme).await.unwrap();
    assert_eq!(integrations.len(), 1);
    assert_eq!(shown["integration"], integrations[0].id.to_string());
    let route = api.store.accounts.route(&acme, Channel::Whatsapp).await.unwrap().unwrap();
    assert_eq!(route.order(None, 0.0), [integrations[0].id]);
    assert_eq!(call(&api, Method::GET, PATH, &json!({})).await.unwrap(), shown);
}

#[tokio::test]
async fn settings_that_are_written_back_as_read_change_nothing() {
    let api = Api::new().await;
    let acme = sample::tenant("acme");
    let shown = call(&api, Method::PUT, PATH, &meta("111")).await.unwrap();
    let before = api.store.accounts.integrations(&acme).await.unwrap();
    let mut again = shown.clone();
    again["failover"] = json!([]);
    assert_eq!(call(&api, Method::PUT, PATH, &again).await.unwrap(), shown);
    assert_eq!(api.store.accounts.integrations(&acme).await.unwrap(), before);
    let credentials = api.credential_store.credentials(&before[0], Freshness::Fresh).await.unwrap();
    let token = credentials.first("WHATSAPP_ACCESS_TOKEN").unwrap();
    assert_eq!(token.expose_secret(), "a-secret-token-1234", "the hint does not replace the token");
}

#[tokio::test]
async fn a_change_updates_the_routed_integration_and_creates_no_second_one() {
    let (api, numbers) = two_numbers().await;
    let body = json!({ "whatsapp_provider": "whatsapp", "provider_config": {
        "phone_number_id": "111", "graph_version": "v25.0" } });
    let shown = call(&api, Method::PUT, PATH, &body).await.unwrap();
    assert_eq!(shown["integration"], numbers[0].id.to_string());
    assert_eq!(shown["provider_config"]["graph_version"], "v25.0");
    let acme = sample::tenant("acme");
    assert_eq!(api.store.accounts.integrations(&acme).await.unwrap().len(), 2);
}

#[tokio::test]
async fn failover_lists_integrations_or_providers_with_weights() {
    let (api, numbers) = two_numbers().await;
    let second = numbers[1].id.to_string();
    for other in [json!(second), json!("meta"), json!({ "integration": "whatsapp", "weight": 3 })] {
        let body = json!({ "whatsapp_provider": "meta", "failover": [other],
            "policy": { "choice": "weighted", "patience_seconds": 5,
                "failover_after_acceptance": true }, "weight": 1 });
        let shown = call(&api, Method::PUT, PATH, &body).await.unwrap();
        assert_eq!(shown["failover"][0]["integration"], second, "{other}");
        let acme = sample::tenant("acme");
        let route = api.store.accounts.route(&acme, Channel::Whatsapp).await.unwrap().unwrap();
        assert_eq!(route.policy.choice, Choice::Weighted);
        assert_eq!(route.policy.patience_seconds, 5);
        assert!(route.policy.failover_after_acceptance);
        assert_eq!(shown["policy"]["failover_after_acceptance"], true);
        assert_eq!(route.order(Some(numbers[0].id), 0.0), [numbers[0].id, numbers[1].id]);
        assert_eq!(route.integrations[1].weight, if other.is_object() { 3 } else { 1 });
    }
}

#[tokio::test]
async fn an_unsuitable_integration_is_rejected_by_field_and_changes_nothing() {
    let (api, numbers) = two_numbers().await;
    let acme = sample::tenant("acme");
    let before = api.store.accounts.route(&acme, Channel::Whatsapp).await.unwrap();
    let own = numbers[0].id.to_string();
    for (body, field) in [
        (json!({ "whatsapp_provider": "telegram" }), "whatsapp_provider"),
        (json!({ "whatsapp_provider": "nobody" }), "whatsapp_provider"),
        (json!({ "whatsapp_provider": "meta", "failover": ["telegram"] }), "failover"),
        (json!({ "whatsapp_provider": "meta", "failover": [own] }), "failover"),
        (
            json!({ "whatsapp_provider": "meta",
                    "failover": ["int_00000000000000000000000000"] }),
            "failover",
        ),
        (
            json!({ "whatsapp_provider": "meta", "policy": { "patience_seconds": 99_999_999 } }),
            "policy.patience_seconds",
        ),
        (
            json!({ "whatsapp_provider": "meta", "provider_config": { "nonsense": 1 } }),
            "provider_config.nonsense",
        ),
    ] {
        let problem = call(&api, Method::PUT, PATH, &body).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(problem.field.as_deref(), Some(field), "{body}");
    }
    assert_eq!(api.store.accounts.route(&acme, Channel::Whatsapp).await.unwrap(), before);
    assert_eq!(api.store.accounts.integrations(&acme).await.unwrap().len(), 2);
}

#[tokio::test]
async fn another_tenant_can_neither_read_nor_change_the_settings() {
    let (api, numbers) = two_numbers().await;
    let spy = sample::tenant("spy");
    for (method, body) in [(Method::GET, json!({})), (Method::PUT, meta("111"))] {
        let problem = as_tenant(&api, method, PATH, &body, &spy).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::NOT_FOUND);
    }
    // The failover list may not have an integration of another tenant.
    let own = "/tenants/spy/whatsapp-settings";
    let body = json!({ "whatsapp_provider": "meta", "failover": [numbers[0].id.to_string()],
        "provider_config": { "phone_number_id": "999", "WHATSAPP_ACCESS_TOKEN": "t" } });
    let problem = as_tenant(&api, Method::PUT, own, &body, &spy).await.unwrap_err();
    assert_eq!(problem.field.as_deref(), Some("failover"));
    let path = format!("/integrations/{}/health", numbers[0].id);
    let problem = as_tenant(&api, Method::GET, &path, &json!({}), &spy).await.unwrap_err();
    assert_eq!(problem.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn integration_health_shows_the_circuit_and_its_last_failure() {
    let (api, numbers) = two_numbers().await;
    let acme = sample::tenant("acme");
    let path = format!("/integrations/{}/health", numbers[0].id);
    let show = async || as_tenant(&api, Method::GET, &path, &json!({}), &acme).await.unwrap();
    assert_eq!(show().await["state"], "closed");
    let now = api.clock.now();
    let breaker = Breaker { failures: 1, ..Breaker::default() };
    let open = Circuit::default().failed(breaker, now, "131016");
    api.store.accounts.set_circuit(&acme, numbers[0].id, &open, 0).await.unwrap();
    let shown = show().await;
    assert_eq!(
        (&shown["state"], &shown["last_failure"]["code"]),
        (&json!("open"), &json!("131016"))
    );
    assert_eq!(shown["retry_at"], json!(open.open_until));
    api.clock.advance(std::time::Duration::from_secs(31));
    assert_eq!(show().await["state"], "half_open");
}

#[tokio::test]
async fn only_an_admin_key_asks_the_provider_for_the_health_of_an_integration() {
    let (api, numbers) = two_numbers().await;
    let path = format!("/integrations/{}/health", numbers[0].id);
    let show = async |scope: Scope, ask: Option<&str>| {
        let acme = sample::tenant("acme");
        let query = ask.map(|value| ("ask".to_owned(), value.to_owned()));
        let request = ApiRequest {
            query: query.into_iter().collect(),
            principal: Some(Principal { tenant: acme.clone(), scopes: vec![scope], key: None }),
            ..request(Method::GET, &path, &acme, &json!({}))
        };
        let reply = handle(&api.integrations("111"), &request).await?;
        Ok::<Value, Problem>(serde_json::from_str(&reply.body.unwrap()).unwrap())
    };
    for ask in [None, Some("false")] {
        let shown = show(Scope::Read, ask).await.unwrap();
        assert!(shown.get("account").is_none(), "the provider was asked: {shown}");
    }
    let problem = show(Scope::Read, Some("true")).await.unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.code.as_str()), (403, "missing_scope"));
    assert!(problem.detail.contains("`admin`"), "{}", problem.detail);
    let shown = show(Scope::Admin, Some("true")).await.unwrap();
    assert_eq!(
        (&shown["account"]["ok"], &shown["account"]["account"]["id"]),
        (&json!(true), &json!("111"))
    );
}

#[tokio::test]
async fn the_circuit_breaker_settings_have_limits() {
    let (api, numbers) = two_numbers().await;
    let path = format!("/integrations/{}", numbers[0].id);
    let wanted = json!({ "failures": 2, "window_seconds": 10, "open_seconds": 5 });
    let shown = call(&api, Method::PUT, &path, &json!({ "circuit": wanted })).await.unwrap();
    assert_eq!(shown["circuit"], wanted);
    let body = json!({ "circuit": { "failures": 0 } });
    let problem = call(&api, Method::PUT, &path, &body).await.unwrap_err();
    assert_eq!(problem.field.as_deref(), Some("circuit.failures"));
}
