//! API permission tests: the operator's network and the accounts of other tenants.

use std::time::Duration;

use accounts::api::integrations::Integrations;
use accounts::ports::Registry;
use bytes::Bytes;
use domain::ports::Clock;
use domain::sender::SendError;
use domain::tenant::{Principal, Scope, Tenant};
use domain::{IntegrationId, TenantId};
use http::{Method, Request, Response, StatusCode};
use runtime::HttpClient;
use runtime::api::{ApiReply, ApiRequest, Client, Problem, handle};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use testkit::{FakeClock, FakeCredentials, Faults, SeededRng, Side, sample};
use tests::Repositories;
use tests::sample::audit;

use crate::addresses::tenants;
use crate::common::Table;
use crate::env::TestEnv;

/// A provider for which every token belongs to this account.
pub(crate) struct Owner(pub(crate) &'static str);

impl HttpClient for Owner {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        assert_eq!(
            request.uri().host(),
            Some("graph.facebook.com"),
            "the request goes to the provider itself"
        );
        Ok(Response::new(Bytes::from(json!({ "id": self.0 }).to_string())))
    }
}

pub(crate) struct Api {
    pub(crate) clock: FakeClock,
    pub(crate) table: Table,
    pub(crate) table_faults: Faults,
    pub(crate) store: Repositories,
    pub(crate) credential_store: FakeCredentials,
    pub(crate) rng: SeededRng,
}

impl Api {
    pub(crate) async fn new() -> Self {
        let clock = FakeClock::default();
        let (table, table_faults) = (Table::new(&clock), Faults::default());
        let (store, credential_store) = (table.store(&table_faults), FakeCredentials::new(&clock));
        for name in ["acme", "spy"] {
            let id = sample::tenant(name);
            let tenant = Tenant { id, name: name.to_owned(), created_at: clock.now() };
            store.accounts.create_tenant(&tenant, &audit(&tenant.id)).await.unwrap();
        }
        Self { clock, table, table_faults, store, credential_store, rng: SeededRng::new(1) }
    }

    /// `POST /integrations`, where the token belongs to the account `owner`.
    async fn create_integration(
        &self,
        tenant: &TenantId,
        owner: &'static str,
        body: Value,
    ) -> Result<ApiReply, Problem> {
        let resource = self.integrations(owner);
        handle(&resource, &request(Method::POST, "/integrations", tenant, &body)).await
    }

    /// The resource, where every token belongs to the account `owner`.
    pub(crate) fn integrations(&self, owner: &'static str) -> Integrations<TestEnv<Owner>> {
        Integrations {
            store: self.store.accounts.clone(),
            credential_store: self.credential_store.clone(),
            http_client: Owner(owner),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            skip_tenant_checks: false,
        }
    }
}

pub(crate) fn request(method: Method, path: &str, tenant: &TenantId, body: &Value) -> ApiRequest {
    ApiRequest {
        method,
        path: path.to_owned(),
        query: Vec::new(),
        idempotency_key: None,
        body: Bytes::from(body.to_string()),
        principal: Some(Principal {
            tenant: tenant.clone(),
            scopes: vec![Scope::Admin],
            key: None,
        }),
        base_url: "https://hub.example.com".to_owned(),
        client: Client::default(),
    }
}

fn number(settings: &Value) -> Value {
    json!({ "tenant": "acme", "provider": "whatsapp", "settings": settings,
            "credentials": { "WHATSAPP_ACCESS_TOKEN": "token" } })
}

#[tokio::test]
async fn a_tenant_must_prove_that_an_account_is_its_own() {
    let api = Api::new().await;
    let acme = sample::tenant("acme");
    let body = number(&json!({ "phone_number_id": "111" }));
    let problem = api.create_integration(&acme, "222", body.clone()).await.unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.code.as_str()), (422, "account_not_proven"));
    let created = api.create_integration(&acme, "111", body).await.unwrap();
    assert_eq!(created.status, StatusCode::CREATED);
}

#[tokio::test]
async fn only_the_operator_sets_a_base_url() {
    let api = Api::new().await;
    let settings = json!({ "phone_number_id": "111", "base_url": "https://10.0.0.5" });
    let acme = sample::tenant("acme");
    let problem = api.create_integration(&acme, "111", number(&settings)).await.unwrap_err();
    assert_eq!(problem.status, StatusCode::FORBIDDEN);
    assert_eq!(problem.field.as_deref(), Some("settings.base_url"));
    let created =
        api.create_integration(&TenantId::platform(), "-", number(&settings)).await.unwrap();
    assert_eq!(created.status, StatusCode::CREATED);
}

#[tokio::test]
async fn only_the_operator_allows_an_automation_in_a_private_network() {
    let api = Api::new().await;
    let resource = tenants(&api);
    let body = json!({ "kind": "push", "url": "https://10.0.0.5/", "allow_private_network": true });
    let set = async |tenant: &TenantId| {
        let path = "/tenants/acme/automation";
        handle(&resource, &request(Method::PUT, path, tenant, &body)).await
    };
    let problem = set(&sample::tenant("acme")).await.unwrap_err();
    assert_eq!(problem.field.as_deref(), Some("allow_private_network"));
    assert_eq!(set(&sample::tenant("spy")).await.unwrap_err().status, StatusCode::NOT_FOUND);
    assert_eq!(set(&TenantId::platform()).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn integrations_created_concurrently_are_all_created() {
    let api = Api::new().await;
    let acme = sample::tenant("acme");
    let platform = TenantId::platform();
    let created = futures::future::join_all(["1", "2", "3", "4"].map(|id| {
        api.create_integration(&platform, "-", number(&json!({ "phone_number_id": id })))
    }));
    assert!(created.await.iter().all(Result::is_ok));
    assert_eq!(api.store.accounts.integrations(&acme).await.unwrap().len(), 4);
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_replaced_only_all_at_once() {
    let api = Api::new().await;
    let platform = TenantId::platform();
    let body = json!({ "tenant": "acme", "provider": "whatsapp",
        "settings": { "phone_number_id": "111" },
        "credentials": { "WHATSAPP_ACCESS_TOKEN": "token", "WHATSAPP_APP_SECRET": "secret" } });
    let created = api.create_integration(&platform, "111", body).await.unwrap();
    let created: Value = serde_json::from_str(&created.body.unwrap()).unwrap();
    let id: IntegrationId = created["id"].as_str().unwrap().parse().unwrap();
    api.credential_store.corrupt(id);
    let path = format!("/integrations/{id}");
    let update = async |credentials: Value| {
        let body = json!({ "credentials": credentials });
        handle(&api.integrations("111"), &request(Method::PUT, &path, &platform, &body)).await
    };
    let problem = update(json!({ "WHATSAPP_ACCESS_TOKEN": "new" })).await.unwrap_err();
    let expected = (StatusCode::CONFLICT, "credentials_unreadable");
    assert_eq!((problem.status, problem.code.as_str()), expected);
    assert!(problem.detail.ends_with("Also send WHATSAPP_APP_SECRET"), "{}", problem.detail);
    let both = json!({ "WHATSAPP_ACCESS_TOKEN": "new", "WHATSAPP_APP_SECRET": "other" });
    assert_eq!(update(both).await.unwrap().status, StatusCode::OK);
    let stored = api.credential_store.stored(id).unwrap();
    assert_eq!(stored.first("WHATSAPP_ACCESS_TOKEN").unwrap().expose_secret(), "new");
}

#[tokio::test]
async fn the_path_secret_of_an_integration_is_free_after_a_deletion_that_had_to_be_repeated() {
    for side in [Side::Before, Side::After] {
        for number in 1..20 {
            let api = Api::new().await;
            let platform = TenantId::platform();
            let body = json!({ "tenant": "acme", "provider": "telegram", "credentials": {
                "TELEGRAM_BOT_TOKEN": "7000001:token", "TELEGRAM_WEBHOOK_SECRET": "path-secret" } });
            let created = api.create_integration(&platform, "-", body.clone()).await.unwrap();
            let created: Value = serde_json::from_str(&created.body.unwrap()).unwrap();
            let path = format!("/integrations/{}", created["id"].as_str().unwrap());
            let delete = async || {
                let request = request(Method::DELETE, &path, &platform, &json!({}));
                handle(&api.integrations("-"), &request).await
            };
            api.table_faults.fail_call(number, side);
            let first = delete().await;
            api.table_faults.clear();
            // The lock may not have been released.
            api.clock.advance(Duration::from_mins(1));
            if first.is_err() {
                let again = delete().await;
                let is_gone = again.as_ref().is_err_and(|problem| problem.status.as_u16() == 404);
                assert!(again.is_ok() || is_gone, "{number} {side:?}: {again:?}");
            }
            let again = api.create_integration(&platform, "-", body).await;
            assert_eq!(again.unwrap().status, StatusCode::CREATED, "{number} {side:?}");
        }
    }
}
