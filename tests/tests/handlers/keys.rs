//! API key tests: expiry, allowed addresses, last use and number of keys. Keys are used as API
//! Gateway uses them: the authorizer's result of a first request is cached for later ones.

use std::time::Duration;

use accounts::Repository;
use accounts::authorizer::{self, AuthorizerReply, AuthorizerRequest};
use accounts::key_use::KeyUses;
use accounts::ports::{KeyCreation, Registry};
use domain::TenantId;
use domain::ports::Clock;
use domain::tenant::ApiKey;
use http::{Method, StatusCode};
use lambda_http::Body;
use runtime::api::{ApiRequest, Problem, Resource, Unlimited, handle};
use secrecy::SecretString;
use serde_json::{Value, json};
use testkit::{Faults, Side, sample};
use tests::sample::audit;

use crate::addresses::tenants;
use crate::api::{Api, request};

const KEYS: &str = "/tenants/acme/keys";
const INSIDE: &str = "198.51.100.7";
const OUTSIDE: &str = "203.0.113.9";

fn acme() -> TenantId {
    sample::tenant("acme")
}

async fn call<R: Resource>(
    resource: &R,
    method: Method,
    address: &str,
    body: &Value,
) -> Result<Value, Problem> {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let request = ApiRequest { query, ..request(method, path, &acme(), body) };
    let reply = handle(resource, &request).await?;
    Ok(reply.body.map_or(Value::Null, |body| serde_json::from_str(&body).unwrap()))
}

async fn create(api: &Api, body: &Value) -> Result<Value, Problem> {
    call(&tenants(api), Method::POST, KEYS, body).await
}

async fn key_list(api: &Api) -> Vec<Value> {
    let listed = call(&tenants(api), Method::GET, KEYS, &json!({})).await.unwrap();
    listed["keys"].as_array().unwrap().clone()
}

/// API Gateway with its authorizer: a process, which remembers the uses that it recorded.
struct Gateway {
    uses: KeyUses<Repository>,
}

impl Gateway {
    fn new(api: &Api) -> Self {
        Self { uses: KeyUses::new(api.store.accounts.clone()) }
    }

    /// The authorizer's result for a key.
    async fn authorize(&self, api: &Api, key: &str) -> AuthorizerReply {
        let request = AuthorizerRequest { identity_source: vec![format!("Bearer {key}")] };
        let (keys, admin_key) = (&api.store.accounts, SecretString::from("the-operators-key"));
        let now = api.clock.now();
        authorizer::handle(keys, &self.uses, &admin_key, &request, now).await.unwrap()
    }
}

/// Response status and error code of `GET /tenants/acme` from `ip`, with a result of the authorizer.
async fn get(api: &Api, authorized: &AuthorizerReply, ip: &str) -> (u16, String) {
    assert!(authorized.is_authorized);
    let event = json!({
        "version": "2.0", "routeKey": "GET /tenants/{tenant}", "rawPath": "/tenants/acme",
        "rawQueryString": "", "headers": {}, "isBase64Encoded": false,
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "h", "domainPrefix": "h",
            "authorizer": { "lambda": authorized.context },
            "http": {
                "method": "GET", "path": "/tenants/acme", "protocol": "HTTP/1.1",
                "sourceIp": ip, "userAgent": "test",
            },
            "requestId": "r", "routeKey": "GET /tenants/{tenant}", "stage": "$default",
            "time": "", "timeEpoch": api.clock.now().as_millisecond(),
        },
    });
    let request = lambda_http::request::from_str(&event.to_string()).unwrap();
    let response = runtime::api::answer(&tenants(api), &Unlimited, None, request).await;
    let Body::Text(body) = response.body() else { panic!("{response:?}") };
    let body: Value = serde_json::from_str(body).unwrap();
    (response.status().as_u16(), body["code"].as_str().unwrap_or_default().to_owned())
}

fn text<'a>(created: &'a Value, field: &str) -> &'a str {
    created[field].as_str().unwrap()
}

#[tokio::test]
async fn an_expired_key_is_refused_although_the_authorizers_result_is_cached() {
    let api = Api::new().await;
    let expires_at = api.clock.now() + Duration::from_secs(30);
    let body = json!({ "scopes": ["read"], "expires_at": expires_at });
    let created = create(&api, &body).await.unwrap();
    assert_eq!(created["expires_at"], json!(expires_at));
    let gateway = Gateway::new(&api);
    let cached = gateway.authorize(&api, text(&created, "key")).await;
    assert_eq!(get(&api, &cached, OUTSIDE).await.0, 200);
    api.clock.advance(Duration::from_secs(29));
    assert_eq!(get(&api, &cached, OUTSIDE).await.0, 200);
    api.clock.advance(Duration::from_secs(1));
    assert_eq!(get(&api, &cached, OUTSIDE).await, (401, "key_expired".to_owned()));
    let now = gateway.authorize(&api, text(&created, "key")).await;
    assert!(!now.is_authorized, "the authorizer refuses it, too");
    assert_eq!(key_list(&api).await[0]["expires_at"], json!(expires_at), "it is still listed");
}

#[tokio::test]
async fn a_key_is_refused_from_an_address_outside_allowed_ips_whoever_used_it_before() {
    let api = Api::new().await;
    let body = json!({ "scopes": ["read"], "allowed_ips": ["198.51.100.0/24", "2001:db8::1"] });
    let created = create(&api, &body).await.unwrap();
    assert_eq!(created["allowed_ips"], json!(["198.51.100.0/24", "2001:db8::1"]));
    // The first request comes from outside: its result is cached for all.
    let cached = Gateway::new(&api).authorize(&api, text(&created, "key")).await;
    let refused = (403, "address_not_allowed".to_owned());
    assert_eq!(get(&api, &cached, OUTSIDE).await, refused);
    assert_eq!(get(&api, &cached, INSIDE).await.0, 200);
    assert_eq!(get(&api, &cached, "2001:db8::1").await.0, 200);
    assert_eq!(get(&api, &cached, "2001:db8::2").await, refused);
    assert_eq!(get(&api, &cached, "").await, refused, "the address is unknown");
}

#[tokio::test]
async fn a_key_without_restrictions_is_used_from_everywhere_and_for_ever() {
    let api = Api::new().await;
    let created = create(&api, &json!({ "scopes": ["read"] })).await.unwrap();
    let gateway = Gateway::new(&api);
    api.clock.advance(Duration::from_hours(24 * 365 * 10));
    let authorized = gateway.authorize(&api, text(&created, "key")).await;
    assert_eq!(get(&api, &authorized, OUTSIDE).await.0, 200);
    let expected = json!({ "tenant": "acme", "scopes": "read", "key": created["id"] });
    assert_eq!(authorized.context, expected);
    let operator = gateway.authorize(&api, "the-operators-key").await;
    let expected = json!({ "tenant": "platform", "scopes": "admin", "key": "platform" });
    assert_eq!(operator.context, expected);
}

#[tokio::test]
async fn invalid_restrictions_are_refused_by_field() {
    let api = Api::new().await;
    let many: Vec<_> = (0..21).map(|n| format!("198.51.100.{n}")).collect();
    let now = api.clock.now();
    for (body, field) in [
        (json!({ "scopes": ["read"], "expires_at": now }), "expires_at"),
        (json!({ "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "scopes": ["read"], "expires_at": "tomorrow" }), "expires_at"),
        (json!({ "scopes": ["read"], "allowed_ips": many }), "allowed_ips"),
        (json!({ "scopes": ["read"], "allowed_ips": ["hub.example.com"] }), "allowed_ips[0]"),
        (json!({ "scopes": ["read"], "allowed_ips": [INSIDE, "10.0.0.0/33"] }), "allowed_ips[1]"),
    ] {
        let problem = create(&api, &body).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {problem:?}");
        assert_eq!(problem.field.as_deref(), Some(field), "{body}: {problem:?}");
    }
    assert_eq!(key_list(&api).await, Vec::<Value>::new());
    let twenty = json!({ "scopes": ["read"], "allowed_ips": many[..20] });
    create(&api, &twenty).await.unwrap();
}

#[tokio::test]
async fn the_hundred_and_first_key_of_a_tenant_is_refused() {
    let api = Api::new().await;
    let body = json!({ "scopes": ["read"] });
    for _ in 0..98 {
        create(&api, &body).await.unwrap();
    }
    // Of ten at once, two are created.
    let created = futures::future::join_all((0..10).map(|_| create(&api, &body))).await;
    let (created, refused): (Vec<_>, Vec<_>) = created.into_iter().partition(Result::is_ok);
    assert_eq!(created.len(), 2);
    for problem in refused.into_iter().map(Result::unwrap_err) {
        assert_eq!((problem.status.as_u16(), problem.code.as_str()), (409, "too_many_keys"));
    }
    let keys = all_keys(&api).await;
    assert_eq!(keys.len(), 100);
    let problem = create(&api, &body).await.unwrap_err();
    assert_eq!(problem.code, "too_many_keys");
    // A deleted key makes room for one, however often it is deleted.
    let path = format!("{KEYS}/{}", text(&keys[0], "id"));
    call(&tenants(&api), Method::DELETE, &path, &json!({})).await.unwrap();
    let again = call(&tenants(&api), Method::DELETE, &path, &json!({})).await.unwrap_err();
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    create(&api, &body).await.unwrap();
    assert_eq!(create(&api, &body).await.unwrap_err().code, "too_many_keys");
    // Each tenant has its own number of keys.
    let spy = sample::tenant("spy");
    let request = request(Method::POST, "/tenants/spy/keys", &spy, &body);
    handle(&tenants(&api), &request).await.unwrap();
}

#[tokio::test]
async fn keys_from_before_keys_were_counted_are_counted() {
    let api = Api::new().await;
    let body = json!({ "scopes": ["read"] });
    for _ in 0..99 {
        create(&api, &body).await.unwrap();
    }
    api.table.delete_item("accounts", "T#acme#TENANT", "KEY_COUNT");
    create(&api, &body).await.unwrap();
    assert_eq!(create(&api, &body).await.unwrap_err().code, "too_many_keys");
    // A key is revoked before the next one is created.
    api.table.delete_item("accounts", "T#acme#TENANT", "KEY_COUNT");
    let keys = all_keys(&api).await;
    let path = format!("{KEYS}/{}", text(&keys[0], "id"));
    call(&tenants(&api), Method::DELETE, &path, &json!({})).await.unwrap();
    create(&api, &body).await.unwrap();
    assert_eq!(create(&api, &body).await.unwrap_err().code, "too_many_keys");
}

/// All keys, in pages of seven.
async fn all_keys(api: &Api) -> Vec<Value> {
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    loop {
        let address = format!("{KEYS}?limit=7&cursor={cursor}");
        let page = call(&tenants(api), Method::GET, &address, &json!({})).await.unwrap();
        let items = page["keys"].as_array().unwrap();
        assert!(items.len() <= 7);
        keys.extend(items.iter().cloned());
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return keys,
        }
    }
}

#[tokio::test]
async fn integrations_are_listed_in_pages() {
    let api = Api::new().await;
    let resource = api.integrations("-");
    for number in 0..5 {
        let body = json!({ "tenant": "acme", "provider": "whatsapp",
            "settings": { "phone_number_id": number.to_string() },
            "credentials": { "WHATSAPP_ACCESS_TOKEN": "token" } });
        let platform = TenantId::platform();
        handle(&resource, &request(Method::POST, "/integrations", &platform, &body)).await.unwrap();
    }
    let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let address = format!("/integrations?limit=2&cursor={cursor}");
        let page = call(&resource, Method::GET, &address, &json!({})).await.unwrap();
        let items = page["integrations"].as_array().unwrap();
        found.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    found.dedup();
    assert_eq!((found.len(), pages), (5, 3));
    assert!(found.is_sorted());
}

#[tokio::test]
async fn the_last_use_of_a_key_is_recorded_at_most_once_an_hour() {
    let api = Api::new().await;
    let created = create(&api, &json!({ "scopes": ["read"] })).await.unwrap();
    let key = text(&created, "key");
    let last_used = async || key_list(&api).await[0]["last_used_at"].clone();
    assert_eq!(last_used().await, Value::Null);
    let gateway = Gateway::new(&api);
    let first = api.clock.now();
    // A wrong key with the same id is not a use of the key.
    let (id, _) = key.rsplit_once('_').unwrap();
    assert!(!gateway.authorize(&api, &format!("{id}_0000")).await.is_authorized);
    assert_eq!(last_used().await, Value::Null);
    for minute in 0..59 {
        // Every few minutes in a new process, which has not recorded anything yet.
        let other = Gateway::new(&api);
        let gateway = if minute % 5 == 0 { &other } else { &gateway };
        assert!(gateway.authorize(&api, key).await.is_authorized);
        assert_eq!(last_used().await, json!(first));
        api.clock.advance(Duration::from_mins(1));
    }
    let calls = api.table_faults.calls();
    gateway.authorize(&api, key).await;
    assert_eq!(api.table_faults.calls() - calls, 1, "a process that knows it only reads the key");
    api.clock.advance(Duration::from_mins(2));
    gateway.authorize(&api, key).await;
    assert_eq!(last_used().await, json!(api.clock.now()));
}

#[tokio::test]
async fn a_request_succeeds_although_the_use_of_its_key_cannot_be_recorded() {
    let api = Api::new().await;
    let created = create(&api, &json!({ "scopes": ["read"] })).await.unwrap();
    let faults: &Faults = &api.table_faults;
    for side in [Side::Before, Side::After] {
        // The first call reads the key, the second records its use.
        faults.fail_call(2, side);
        let authorized = Gateway::new(&api).authorize(&api, text(&created, "key")).await;
        assert!(faults.has_triggered() && authorized.is_authorized);
        faults.clear();
    }
}

#[tokio::test]
async fn the_use_of_a_key_does_not_create_it_again_after_it_was_revoked() {
    let api = Api::new().await;
    let accounts = &api.store.accounts;
    let key = ApiKey {
        id: domain::KeyId::derived(&["key"]),
        tenant: acme(),
        scopes: Vec::new(),
        hint: String::new(),
        created_at: api.clock.now(),
        expires_at: None,
        allowed_ips: Vec::new(),
        last_used_at: None,
    };
    let created = accounts.create_key(&key, "hash", &audit(&acme())).await.unwrap();
    assert_eq!(created, KeyCreation::Created);
    assert!(accounts.revoke_key(&acme(), key.id, &audit(&acme())).await.unwrap());
    let record = accounts::ports::RecordKeyUse::record_use;
    record(accounts, &acme(), key.id, api.clock.now()).await.unwrap();
    assert_eq!(key_list(&api).await, Vec::<Value>::new());
}
