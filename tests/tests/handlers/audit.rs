//! Audit log tests: every administrative change is recorded, and no record has a secret.

use accounts::api::audit::Audit;
use accounts::ports::{Automations, Keys, LimitReader, Registry, Routes};
use domain::ports::Clock;
use domain::provider::Channel;
use domain::tenant::{Principal, Scope};
use domain::{IntegrationId, KeyId, TenantId};
use http::{Method, StatusCode};
use runtime::api::{ApiReply, ApiRequest, Client, Problem, Resource, handle};
use runtime::digest::sha256;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use testkit::{Side, sample};

use crate::addresses::tenants;
use crate::api::{Api, request};
use crate::common::{faults_at_each_call, inject};

const SETTINGS: &str = "/tenants/acme/whatsapp-settings";

fn acme() -> TenantId {
    sample::tenant("acme")
}

/// A request with the key `key` of `tenant`, from a known client.
fn with_key(method: Method, address: &str, tenant: &TenantId, key: Option<KeyId>) -> ApiRequest {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let client = Client {
        source_ip: Some("203.0.113.9".parse().unwrap()),
        request_id: Some("request-1".to_owned()),
    };
    ApiRequest {
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        principal: Some(Principal { tenant: tenant.clone(), scopes: vec![Scope::Admin], key }),
        client,
        ..request(method, path, tenant, &json!({}))
    }
}

async fn call<R: Resource>(resource: &R, request: &ApiRequest) -> Result<Value, Problem> {
    let ApiReply { body, .. } = handle(resource, request).await?;
    Ok(body.map_or(Value::Null, |body| serde_json::from_str(&body).unwrap()))
}

/// A change with the operator's key.
async fn change(api: &Api, method: Method, path: &str, body: &Value) -> Result<Value, Problem> {
    let body = body.to_string().into();
    let request = ApiRequest { body, ..with_key(method, path, &TenantId::platform(), None) };
    if path.starts_with("/integrations") || path == SETTINGS {
        call(&api.integrations("111"), &request).await
    } else {
        call(&tenants(api), &request).await
    }
}

/// `GET /audit` with a key of `tenant`.
async fn list(api: &Api, tenant: &TenantId, address: &str) -> Result<Value, Problem> {
    let resource = Audit { store: api.store.accounts.clone() };
    call(&resource, &with_key(Method::GET, address, tenant, None)).await
}

/// The records that `GET /audit` returns, without those of the tenants that the test began with.
async fn records(api: &Api, tenant: &str) -> Vec<Value> {
    let address = format!("/audit?tenant={tenant}&limit=100&from=2000-01-01T00:00:00Z");
    let listed = list(api, &TenantId::platform(), &address).await.unwrap();
    assert_eq!(listed["next"], Value::Null);
    listed["records"].as_array().unwrap().clone()
}

fn number(settings: &Value) -> Value {
    json!({ "tenant": "acme", "provider": "whatsapp", "settings": settings,
            "credentials": { "WHATSAPP_ACCESS_TOKEN": "a-token" } })
}

async fn create_integration(api: &Api) -> String {
    let body = number(&json!({ "phone_number_id": "111" }));
    let created = change(api, Method::POST, "/integrations", &body).await.unwrap();
    created["id"].as_str().unwrap().to_owned()
}

async fn create_key(api: &Api) -> Value {
    let body = json!({ "scopes": ["send"] });
    change(api, Method::POST, "/tenants/acme/keys", &body).await.unwrap()
}

#[tokio::test]
async fn every_administrative_change_leaves_an_audit_record() {
    let api = Api::new().await;
    change(&api, Method::POST, "/tenants", &json!({ "id": "globex", "name": "Globex" }))
        .await
        .unwrap();
    let key = create_key(&api).await["id"].as_str().unwrap().to_owned();
    change(&api, Method::DELETE, &format!("/tenants/acme/keys/{key}"), &json!({})).await.unwrap();
    let automation = "/tenants/acme/automation";
    for body in [
        json!({ "kind": "push", "url": "https://n8n.example.com/webhook/acme" }),
        json!({ "kind": "pull" }),
        json!({ "kind": "none" }),
    ] {
        change(&api, Method::PUT, automation, &body).await.unwrap();
    }
    let id = create_integration(&api).await;
    let path = format!("/integrations/{id}");
    let body = json!({ "settings": { "phone_number_id": "111", "graph_version": "v25.0" } });
    change(&api, Method::PUT, &path, &body).await.unwrap();
    change(&api, Method::POST, &format!("{path}/register"), &json!({ "pin": "123456" }))
        .await
        .unwrap();
    let body = json!({ "whatsapp_provider": "whatsapp" });
    change(&api, Method::PUT, SETTINGS, &body).await.unwrap();
    change(&api, Method::DELETE, &path, &json!({})).await.unwrap();

    let globex = records(&api, "globex").await;
    assert_eq!(globex.len(), 1);
    assert_eq!(globex[0]["action"], "tenant.created");
    assert_eq!(globex[0]["target"], json!({ "type": "tenant", "id": "globex" }));
    assert_eq!(
        (&globex[0]["before"], &globex[0]["after"]["name"]),
        (&json!(null), &json!("Globex"))
    );

    let mut acme = records(&api, "acme").await;
    // All were made at the same moment.
    let expected = [
        ("api_key.created", "api_key", key.as_str()),
        ("api_key.revoked", "api_key", key.as_str()),
        ("automation.set", "automation", "acme"),
        ("automation.replaced", "automation", "acme"),
        ("automation.disabled", "automation", "acme"),
        ("integration.created", "integration", id.as_str()),
        ("integration.updated", "integration", id.as_str()),
        ("integration.registration_requested", "integration", id.as_str()),
        ("integration.registered", "integration", id.as_str()),
        ("route.set", "route", "whatsapp"),
        ("integration.deletion_requested", "integration", id.as_str()),
        ("integration.deleted", "integration", id.as_str()),
    ];
    for (action, kind, target) in expected {
        let position = acme.iter().position(|record| record["action"] == action);
        let record = acme.remove(position.unwrap_or_else(|| panic!("{action} is not recorded")));
        assert_eq!(record["target"], json!({ "type": kind, "id": target }), "{action}");
        assert_eq!(record["actor"], "platform");
        assert_eq!(record["source_ip"], "203.0.113.9");
        assert_eq!(record["request_id"], "request-1");
        assert_eq!(record["tenant"], "acme");
        assert_eq!(record["at"], json!(api.clock.now()));
        assert!(record["id"].as_str().unwrap().starts_with("aud_"));
        match action {
            "integration.updated" => {
                assert_ne!(record["before"]["settings"]["graph_version"], "v25.0");
                assert_eq!(record["after"]["settings"]["graph_version"], "v25.0");
            }
            "automation.replaced" => {
                let kinds = (&record["before"]["kind"], &record["after"]["kind"]);
                assert_eq!(kinds, (&json!("push"), &json!("pull")));
            }
            _ => {}
        }
    }
    assert_eq!(acme, Vec::<Value>::new(), "recorded twice");
}

#[tokio::test]
async fn the_actor_of_a_record_is_the_key_that_made_the_change() {
    let api = Api::new().await;
    let key = KeyId::derived(&["admin"]);
    let body = json!({ "scopes": ["read"] }).to_string().into();
    let request = with_key(Method::POST, "/tenants/acme/keys", &acme(), Some(key));
    call(&tenants(&api), &ApiRequest { body, ..request }).await.unwrap();
    assert_eq!(records(&api, "acme").await[0]["actor"], key.to_string());
}

/// A change whose effect and whose record the tests look for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Changed {
    Tenant,
    KeyCreated,
    KeyRevoked,
    Automation,
    IntegrationCreated,
    IntegrationUpdated,
    IntegrationDeleted,
    Route,
    Limits,
}

impl Changed {
    const ALL: [Self; 9] = [
        Self::Tenant,
        Self::KeyCreated,
        Self::KeyRevoked,
        Self::Automation,
        Self::IntegrationCreated,
        Self::IntegrationUpdated,
        Self::IntegrationDeleted,
        Self::Route,
        Self::Limits,
    ];

    const fn action(self) -> &'static str {
        match self {
            Self::Tenant => "tenant.created",
            Self::KeyCreated => "api_key.created",
            Self::KeyRevoked => "api_key.revoked",
            Self::Automation => "automation.set",
            Self::IntegrationCreated => "integration.created",
            Self::IntegrationUpdated => "integration.updated",
            Self::IntegrationDeleted => "integration.deleted",
            Self::Route => "route.set",
            Self::Limits => "limits.set",
        }
    }

    /// Creates what the change needs; returns the change and the tenant whose data it changes.
    async fn prepare(self, api: &Api) -> (Method, String, Value, &'static str) {
        let globex = json!({ "id": "globex", "name": "Globex" });
        let keys = "/tenants/acme/keys";
        let (method, path, body) = match self {
            Self::Tenant => {
                return (Method::POST, "/tenants".to_owned(), globex, "globex");
            }
            Self::KeyCreated => (Method::POST, keys.to_owned(), json!({ "scopes": ["send"] })),
            Self::KeyRevoked => {
                let key = create_key(api).await;
                let path = format!("{keys}/{}", key["id"].as_str().unwrap());
                (Method::DELETE, path, json!({}))
            }
            Self::Automation => {
                let body = json!({ "kind": "push", "url": "https://n8n.example.com/webhook/acme" });
                (Method::PUT, "/tenants/acme/automation".to_owned(), body)
            }
            Self::IntegrationCreated => {
                let body = number(&json!({ "phone_number_id": "111" }));
                (Method::POST, "/integrations".to_owned(), body)
            }
            Self::IntegrationUpdated => {
                let path = format!("/integrations/{}", create_integration(api).await);
                let settings = json!({ "phone_number_id": "111", "graph_version": "v25.0" });
                (Method::PUT, path, json!({ "settings": settings }))
            }
            Self::IntegrationDeleted => {
                let path = format!("/integrations/{}", create_integration(api).await);
                (Method::DELETE, path, json!({}))
            }
            Self::Route => {
                create_integration(api).await;
                (Method::PUT, SETTINGS.to_owned(), json!({ "whatsapp_provider": "whatsapp" }))
            }
            Self::Limits => {
                (Method::PUT, "/tenants/acme/limits".to_owned(), json!({ "waiting_workers": 7 }))
            }
        };
        (method, path, body, "acme")
    }

    /// Whether the change has been made.
    async fn is_made(self, api: &Api) -> bool {
        let store = &api.table.without_faults().accounts;
        match self {
            Self::Tenant => store.tenant(&sample::tenant("globex")).await.unwrap().is_some(),
            Self::KeyCreated => !store.keys(&acme(), 10, None).await.unwrap().items.is_empty(),
            Self::KeyRevoked => store.keys(&acme(), 10, None).await.unwrap().items.is_empty(),
            Self::Automation => {
                store.automation(&acme()).await.unwrap().enabled_webhook().is_some()
            }
            Self::IntegrationCreated => !store.integrations(&acme()).await.unwrap().is_empty(),
            Self::IntegrationUpdated => {
                let found = store.integrations(&acme()).await.unwrap();
                found[0].settings.fields().get("graph_version") == Some(&json!("v25.0"))
            }
            Self::IntegrationDeleted => store.integrations(&acme()).await.unwrap().is_empty(),
            Self::Route => store.route(&acme(), Channel::Whatsapp).await.unwrap().is_some(),
            Self::Limits => store.limits(&acme()).await.unwrap().waiting_workers == 7,
        }
    }
}

#[tokio::test]
async fn with_a_fault_at_any_call_no_change_exists_without_its_audit_record() {
    for changed in Changed::ALL {
        let api = Api::new().await;
        let (method, path, body, _) = changed.prepare(&api).await;
        let before = api.table_faults.calls();
        change(&api, method, &path, &body).await.unwrap();
        let calls = api.table_faults.calls() - before;
        assert!(changed.is_made(&api).await, "{changed:?}");
        let (mut made, mut not_made) = (0, 0);
        for fault in faults_at_each_call(calls) {
            let api = Api::new().await;
            let (method, path, body, tenant) = changed.prepare(&api).await;
            inject(&api.table_faults, fault);
            let _result = change(&api, method, &path, &body).await;
            api.table_faults.clear();
            let recorded = records(&api, tenant).await;
            let recorded = recorded.iter().any(|record| record["action"] == changed.action());
            let is_made = changed.is_made(&api).await;
            assert_eq!(is_made, recorded, "{changed:?} with the fault {fault:?}");
            if is_made { made += 1 } else { not_made += 1 }
        }
        assert!(made > 0 && not_made > 0, "{changed:?}: {made} made, {not_made} not made");
    }
}

#[tokio::test]
async fn a_refused_change_leaves_no_audit_record() {
    let api = Api::new().await;
    create_integration(&api).await;
    let before = records(&api, "acme").await;
    let rival = json!({ "tenant": "spy", "provider": "whatsapp",
        "settings": { "phone_number_id": "111" },
        "credentials": { "WHATSAPP_ACCESS_TOKEN": "t" } });
    let problem = change(&api, Method::POST, "/integrations", &rival).await.unwrap_err();
    assert_eq!(problem.code, "account_taken");
    let again = json!({ "id": "acme", "name": "Another" });
    let problem = change(&api, Method::POST, "/tenants", &again).await.unwrap_err();
    assert_eq!(problem.code, "tenant_exists");
    assert_eq!(records(&api, "acme").await, before);
    assert_eq!(records(&api, "spy").await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_tenants_change_of_credentials_is_recorded_before_it_is_made() {
    let api = Api::new().await;
    let id = {
        let body = number(&json!({ "phone_number_id": "111" })).to_string().into();
        let request = with_key(Method::POST, "/integrations", &acme(), None);
        let created =
            call(&api.integrations("111"), &ApiRequest { body, ..request }).await.unwrap();
        created["id"].as_str().unwrap().to_owned()
    };
    let body = json!({ "credentials": { "WHATSAPP_ACCESS_TOKEN": "another-token" } });
    let request = ApiRequest {
        body: body.to_string().into(),
        ..with_key(Method::PUT, &format!("/integrations/{id}"), &acme(), None)
    };
    let before = api.table_faults.calls();
    call(&api.integrations("111"), &request).await.unwrap();
    let calls = api.table_faults.calls() - before;
    let stored = |api: &Api| {
        let credentials = api.credential_store.stored(id.parse().unwrap()).unwrap();
        credentials.first("WHATSAPP_ACCESS_TOKEN").unwrap().expose_secret().to_owned()
    };
    let (after, actions) = (stored(&api), actions(&api).await);
    assert!(actions.contains(&"integration.updated".to_owned()), "{actions:?}");
    // A change with the old value again, with a fault at each call of the table.
    let body = json!({ "credentials": { "WHATSAPP_ACCESS_TOKEN": "a-token" } });
    let request = ApiRequest { body: body.to_string().into(), ..request };
    for fault in faults_at_each_call(calls) {
        let count = requested(&api).await;
        inject(&api.table_faults, fault);
        let _result = call(&api.integrations("111"), &request).await;
        api.table_faults.clear();
        let is_changed = stored(&api) != after;
        assert!(!is_changed || requested(&api).await > count, "{fault:?}");
        // Back to the other value, which ends the test's lock on the credentials, too.
        api.clock.advance(std::time::Duration::from_mins(1));
        let body = json!({ "credentials": { "WHATSAPP_ACCESS_TOKEN": "another-token" } });
        let back = ApiRequest { body: body.to_string().into(), ..request.clone() };
        call(&api.integrations("111"), &back).await.unwrap();
        assert_eq!(stored(&api), after);
    }
}

#[tokio::test]
async fn a_deletion_that_fails_at_any_request_is_completed_by_its_repetition() {
    for side in [Side::Before, Side::After] {
        for number in 1.. {
            let api = Api::new().await;
            let id = create_integration(&api).await;
            let path = format!("/integrations/{id}");
            api.table_faults.fail_call(number, side);
            let first = change(&api, Method::DELETE, &path, &json!({})).await;
            let triggered = api.table_faults.has_triggered();
            api.table_faults.clear();
            let id: IntegrationId = id.parse().unwrap();
            if let Err(problem) = first {
                assert_eq!(problem.status.as_u16(), 503);
                // Nothing of the integration is left without the integration itself.
                let found = api.store.accounts.integration(id).await.unwrap();
                assert!(found.is_some() || api.credential_store.stored(id).is_none());
                // The lock may not have been released.
                api.clock.advance(std::time::Duration::from_mins(1));
                if found.is_some() {
                    change(&api, Method::DELETE, &path, &json!({})).await.unwrap();
                }
            }
            assert!(api.store.accounts.integration(id).await.unwrap().is_none(), "{number}");
            assert!(api.credential_store.stored(id).is_none(), "{number} {side:?}");
            if !triggered {
                assert!(number > 4, "{number} requests");
                break;
            }
        }
    }
}

async fn actions(api: &Api) -> Vec<String> {
    let records = records(api, "acme").await;
    records.iter().map(|record| record["action"].as_str().unwrap().to_owned()).collect()
}

/// Number of recorded requests to change credentials.
async fn requested(api: &Api) -> usize {
    let mut next = Some(String::new());
    let mut count = 0;
    while let Some(cursor) = next {
        let action = "integration.update_requested";
        let address = format!("/audit?limit=100&action={action}&cursor={cursor}");
        let page = list(api, &acme(), &address).await.unwrap();
        count += page["records"].as_array().unwrap().len();
        next = page["next"].as_str().map(ToOwned::to_owned);
    }
    count
}

#[tokio::test]
async fn an_audit_record_has_no_secret() {
    let api = Api::new().await;
    let key = create_key(&api).await;
    let key_id: KeyId = key["id"].as_str().unwrap().parse().unwrap();
    let key = key["key"].as_str().unwrap().to_owned();
    let (_, hash) = api.store.accounts.key(key_id).await.unwrap().unwrap();
    assert_eq!(hash, sha256(&key));
    let push = json!({ "kind": "push", "url": "https://n8n.example.com/hook?auth=canary-query" });
    let set = change(&api, Method::PUT, "/tenants/acme/automation", &push).await.unwrap();
    let signing_secret = set["secret"].as_str().unwrap().to_owned();
    change(&api, Method::PUT, "/tenants/acme/automation", &push).await.unwrap();
    let telegram = json!({ "tenant": "acme", "provider": "telegram",
        "credentials": { "TELEGRAM_BOT_TOKEN": "7000001:canary-token" } });
    let created = change(&api, Method::POST, "/integrations", &telegram).await.unwrap();
    let generated = created["generated_credentials"].as_object().unwrap();
    let generated = generated.values().next().unwrap().as_str().unwrap().to_owned();
    let custom = json!({ "tenant": "acme", "provider": "custom",
        "settings": {
            "scheme": { "type": "bearer" },
            "event": { "id": "/id", "name": "X-Event" },
            "base_url": "https://api.example.com/?canary-base=1",
        },
        "credentials": { "CUSTOM_WEBHOOK_SECRET": "canary-custom-secret" } });
    let created = change(&api, Method::POST, "/integrations", &custom).await.unwrap();
    let path = format!("/integrations/{}", created["id"].as_str().unwrap());
    let rotated = json!({ "credentials": { "CUSTOM_WEBHOOK_SECRET": "canary-rotated" } });
    change(&api, Method::PUT, &path, &rotated).await.unwrap();
    change(&api, Method::DELETE, &path, &json!({})).await.unwrap();
    let whatsapp = create_integration(&api).await;
    let register = format!("/integrations/{whatsapp}/register");
    change(&api, Method::POST, &register, &json!({ "pin": "924613" })).await.unwrap();
    change(&api, Method::DELETE, &format!("/tenants/acme/keys/{key_id}"), &json!({}))
        .await
        .unwrap();

    let stored = api.table.items_as_text("accounts", "#AUDIT").join("\n");
    for secret in [
        "canary",
        "924613",
        key.as_str(),
        key.rsplit('_').next().unwrap(),
        hash.as_str(),
        signing_secret.as_str(),
        generated.as_str(),
        sha256(&generated).as_str(),
        "a-token",
        // Last characters, by which people recognize a credential.
        &format!("...{}", &key[key.len() - 4..]),
        "...",
    ] {
        assert!(!stored.contains(secret), "{secret} is in {stored}");
    }
    for known in ["n8n.example.com/hook?***", "CUSTOM_WEBHOOK_SECRET", "api.example.com/?***"] {
        assert!(stored.contains(known), "{known} is not in {stored}");
    }
}

#[tokio::test]
async fn audit_records_are_listed_newest_first_with_filters() {
    let api = Api::new().await;
    let admin = KeyId::derived(&["admin"]);
    for minute in 0..6_i64 {
        let key = (minute % 2 == 1).then_some(admin);
        let tenant = if key.is_some() { acme() } else { TenantId::platform() };
        let body = json!({ "kind": if minute < 5 { "pull" } else { "none" } }).to_string().into();
        let request = with_key(Method::PUT, "/tenants/acme/automation", &tenant, key);
        call(&tenants(&api), &ApiRequest { body, ..request }).await.unwrap();
        api.clock.advance(std::time::Duration::from_mins(1));
    }
    let minutes = async |query: &str| {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let address = format!("/audit?{query}&cursor={cursor}");
            let page = list(&api, &acme(), &address).await.unwrap();
            for record in page["records"].as_array().unwrap() {
                let at = record["at"].as_str().unwrap();
                found.push(at[14..16].parse::<u32>().unwrap());
            }
            match page["next"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => return found,
            }
        }
    };
    // The first is the record of the tenant that the test began with.
    let start = "from=2000-01-01T00:00:00Z";
    assert_eq!(minutes("limit=100").await, [5, 4, 3, 2, 1, 0, 0]);
    for limit in [1, 2, 3, 6] {
        assert_eq!(minutes(&format!("limit={limit}&{start}")).await, [5, 4, 3, 2, 1, 0]);
    }
    assert_eq!(minutes(&format!("limit=1&{start}&actor=platform")).await, [4, 2, 0]);
    assert_eq!(minutes(&format!("limit=2&actor={admin}")).await, [5, 3, 1]);
    assert_eq!(minutes("action=automation.replaced").await, [4, 3, 2, 1]);
    assert_eq!(minutes(&format!("action=automation.disabled&actor={admin}")).await, [5]);
    assert_eq!(minutes("action=api_key.created").await, [0; 0]);
    let range = "from=2026-11-20T12:02:00Z&to=2026-11-20T12:04:00Z";
    assert_eq!(minutes(&format!("limit=1&{range}")).await, [3, 2]);
    assert_eq!(minutes("from=2026-11-20T12:04:00Z&to=2026-11-20T12:02:00Z").await, [0; 0]);
    for (query, field) in [
        ("action=nothing", "action"),
        ("actor=admin", "actor"),
        ("from=yesterday", "from"),
        ("to=", "to"),
        ("limit=0", "limit"),
        ("cursor=zz", "cursor"),
    ] {
        let problem = list(&api, &acme(), &format!("/audit?{query}")).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem.field.as_deref(), Some(field));
    }
}

#[tokio::test]
async fn only_an_admin_key_of_the_tenant_and_the_operator_read_its_audit_log() {
    let api = Api::new().await;
    create_key(&api).await;
    let spy = sample::tenant("spy");
    let problem = list(&api, &spy, "/audit?tenant=acme").await.unwrap_err();
    assert_eq!(problem.status, StatusCode::NOT_FOUND);
    let own = list(&api, &spy, "/audit?from=2000-01-01T00:00:00Z").await.unwrap();
    assert_eq!(own["records"], json!([]));
    let problem = list(&api, &TenantId::platform(), "/audit").await.unwrap_err();
    assert_eq!(problem.field.as_deref(), Some("tenant"));
    let principal = Principal { tenant: acme(), scopes: vec![Scope::Read], key: None };
    let request =
        ApiRequest { principal: Some(principal), ..with_key(Method::GET, "/audit", &acme(), None) };
    let resource = Audit { store: api.store.accounts.clone() };
    let problem = call(&resource, &request).await.unwrap_err();
    assert_eq!(problem.code, "missing_scope");
}
