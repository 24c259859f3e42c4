//! Generated secret tests: a secret is returned once, to the caller that configures the provider.

use accounts::api::integrations::Integrations;
use bytes::Bytes;
use domain::sender::SendError;
use domain::webhook::WebhookRequest;
use domain::{Credentials, Provider, TenantId};
use http::{Method, Request, Response, StatusCode};
use providers::example::{self, Example, Seed};
use runtime::api::handle;
use runtime::certificates::CertificateClient;
use runtime::webhook::{WebhookHandler, handle as receive};
use runtime::{CachedDirectory, HttpClient};
use secrecy::SecretString;
use serde_json::{Value, json};
use testkit::{FakeQueue, SeededRng};

use crate::addresses::tenants;
use crate::api::{Api, request};
use crate::env::TestEnv;

/// A provider that accepts every request.
#[derive(Clone, Copy)]
struct AcceptingProvider;

impl HttpClient for AcceptingProvider {
    async fn call(&self, _request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        Ok(Response::new(Bytes::from_static(b"{}")))
    }
}

fn integrations(api: &Api) -> Integrations<TestEnv<AcceptingProvider>> {
    Integrations {
        store: api.store.accounts.clone(),
        credential_store: api.credential_store.clone(),
        http_client: AcceptingProvider,
        clock: api.clock.clone(),
        rng: SeededRng::new(7),
        skip_tenant_checks: false,
    }
}

/// Calls the API as the operator.
async fn call(api: &Api, method: Method, path: &str, body: &Value) -> Value {
    call_as(api, TenantId::platform().as_str(), method, path, body).await
}

/// Calls the API as `tenant`.
async fn call_as(api: &Api, tenant: &str, method: Method, path: &str, body: &Value) -> Value {
    let request = request(method, path, &tenant.parse().unwrap(), body);
    let reply = handle(&integrations(api), &request).await;
    let reply = reply.unwrap_or_else(|problem| panic!("{path} {body}: {problem:?}"));
    serde_json::from_str(&reply.body.unwrap()).unwrap()
}

/// The providers for which the hub can generate a secret, and the name of the secret.
fn generated() -> impl Iterator<Item = (Provider, &'static str)> {
    let all = Provider::ALL.iter();
    all.filter_map(|provider| Some((*provider, providers::spec(*provider).generated_secret?)))
}

/// The `POST /integrations` body for the provider's examples, without the secret `name`.
fn without(provider: Provider, name: &str) -> Value {
    let mut request_body = example::creation_request(provider, &"acme".parse().unwrap());
    request_body["credentials"].as_object_mut().unwrap().remove(name).unwrap();
    request_body
}

/// The response status for the example at `url`, signed with `value` as the secret `name`.
async fn answer(
    api: &Api,
    (provider, example): (Provider, &Example),
    url: &str,
    (name, value): (&str, &str),
) -> StatusCode {
    let handler = WebhookHandler::<_, TestEnv<AcceptingProvider>> {
        directory: CachedDirectory::new(api.store.accounts.clone(), api.clock.clone()),
        credential_store: api.credential_store.clone(),
        inbound: Some(FakeQueue::fifo(&api.clock)),
        receipts: Some(FakeQueue::standard(&api.clock)),
        events: FakeQueue::fifo(&api.clock),
        parked: FakeQueue::standard(&api.clock),
        certificates: CertificateClient::new(AcceptingProvider),
        clock: api.clock.clone(),
        base_url: None,
    };
    let newer = Credentials::new([(name.to_owned(), vec![SecretString::from(value)])]);
    let credentials = (example::of(provider).credentials)().merged(newer);
    let draft = (example.draft)(&Seed::fixed(example.name));
    let signed = (example::of(provider).sign)(example, &draft, &credentials, url, Seed::FIXED);
    let suffix = url.rsplit('/').next().map(ToOwned::to_owned);
    let request = WebhookRequest { path_suffix: suffix, ..signed };
    receive(&handler, example::webhook(provider, example), request).await.status
}

#[tokio::test]
async fn a_generated_secret_is_shown_once_and_signs_the_providers_webhooks() {
    assert!(generated().count() >= 4, "n8n, GoHighLevel, Telegram and Evolution at least");
    for (provider, name) in generated() {
        let api = Api::new().await;
        let created = call(&api, Method::POST, "/integrations", &without(provider, name)).await;
        let shown = created["generated_credentials"].as_object();
        let shown =
            shown.unwrap_or_else(|| panic!("{provider} has no generated secret: {created}"));
        assert_eq!(shown.keys().collect::<Vec<_>>(), [name], "{provider}");
        let secret = shown[name].as_str().unwrap();
        assert!(secret.len() >= 32, "{provider}: {} characters", secret.len());

        let mut verified = 0;
        for example in example::of(provider).events {
            let url = created["webhook_urls"][example.webhook].as_str().unwrap();
            let right = answer(&api, (provider, example), url, (name, secret)).await;
            // The signed n8n example also needs a second secret, of the form `whsec_`.
            let needs_second_secret = provider == Provider::N8n && example.name.ends_with("signed");
            assert!(right.is_success() || needs_second_secret, "{}: {right}", example.full_name());
            let wrong = answer(&api, (provider, example), url, (name, "another-secret")).await;
            verified += u32::from(wrong == StatusCode::UNAUTHORIZED);
        }
        assert!(verified > 0, "{provider}: {name} verifies no webhook");

        let path = format!("/integrations/{}", created["id"].as_str().unwrap());
        for (method, path, body) in [
            (Method::GET, path.as_str(), json!({})),
            (Method::GET, "/integrations", json!({})),
            (Method::PUT, &path, json!({ "circuit": { "failures": 3 } })),
        ] {
            let again = call_as(&api, "acme", method, path, &body).await.to_string();
            assert!(again.contains(name), "{provider} {path}: {again}");
            assert!(!again.contains("generated_credentials"), "{provider} {path}: {again}");
            assert!(!again.contains(secret), "{provider} {path}: {again}");
        }
    }
}

#[tokio::test]
async fn a_supplied_secret_is_not_shown_and_replaces_a_generated_one() {
    for (provider, name) in generated() {
        let api = Api::new().await;
        let request_body = example::creation_request(provider, &"acme".parse().unwrap());
        let created = call(&api, Method::POST, "/integrations", &request_body).await;
        assert!(created.get("generated_credentials").is_none(), "{provider}: {created}");

        let api = Api::new().await;
        let created = call(&api, Method::POST, "/integrations", &without(provider, name)).await;
        let path = format!("/integrations/{}", created["id"].as_str().unwrap());
        let change = json!({ "credentials": { name: "a-secret-of-my-own-0123456789" } });
        let changed = call(&api, Method::PUT, &path, &change).await;
        assert!(changed.get("generated_credentials").is_none(), "{provider}: {changed}");
        assert_eq!(changed["credentials"][name], "...6789", "{provider}");
    }
}

#[tokio::test]
async fn whatsapp_settings_that_create_an_integration_show_its_generated_secret_once() {
    let api = Api::new().await;
    let (provider, name) = (Provider::Evolution, "EVOLUTION_WEBHOOK_TOKEN");
    let request_body = without(provider, name);
    let mut config = request_body["settings"].as_object().unwrap().clone();
    config.extend(request_body["credentials"].as_object().unwrap().clone());
    let path = "/tenants/acme/whatsapp-settings";
    let body = json!({ "whatsapp_provider": "evolution", "provider_config": config });
    let set = call(&api, Method::PUT, path, &body).await;
    let secret = set["generated_credentials"][name].as_str().unwrap();
    assert!(secret.len() >= 32);
    for (method, body) in [(Method::GET, json!({})), (Method::PUT, body)] {
        let again = call(&api, method, path, &body).await.to_string();
        assert!(!again.contains("generated_credentials") && !again.contains(secret), "{again}");
    }
}

#[tokio::test]
async fn a_tenant_that_takes_over_an_integration_is_shown_its_new_secret_once() {
    let api = Api::new().await;
    let (provider, name) = (Provider::Evolution, "EVOLUTION_WEBHOOK_TOKEN");
    let mut body = example::creation_request(provider, &"acme".parse().unwrap());
    body["settings"] = json!({ "instance": "front-desk" });
    let created = call(&api, Method::POST, "/integrations", &body).await;
    assert!(created.get("generated_credentials").is_none(), "{created}");
    let operators = body["credentials"][name].as_str().unwrap();
    let path = format!("/integrations/{}", created["id"].as_str().unwrap());
    let own = json!({ "settings": { "instance": "reception" },
        "credentials": { "EVOLUTION_API_KEY": "the-tenants-own-key" } });
    let taken_over = call_as(&api, "acme", Method::PUT, &path, &own).await;
    let secret = taken_over["generated_credentials"][name].as_str().unwrap();
    assert!(secret.len() >= 32 && secret != operators, "{taken_over}");
    for (method, body) in [(Method::GET, json!({})), (Method::PUT, own)] {
        let again = call_as(&api, "acme", method, &path, &body).await.to_string();
        assert!(again.contains(name) && !again.contains("generated_credentials"), "{again}");
        assert!(!again.contains(secret) && !again.contains(operators), "{again}");
    }
}

#[tokio::test]
async fn an_automations_signing_secret_is_shown_only_when_it_is_set() {
    let api = Api::new().await;
    let (path, acme) = ("/tenants/acme/automation", "acme".parse().unwrap());
    let mut seen = Vec::new();
    for kind in ["push", "pull"] {
        let body = json!({ "kind": kind, "url": "https://n8n.example.com/webhook/acme" });
        let set = handle(&tenants(&api), &request(Method::PUT, path, &acme, &body)).await.unwrap();
        let set: Value = serde_json::from_str(&set.body.unwrap()).unwrap();
        seen.push(set["secret"].as_str().unwrap().to_owned());
        let get = request(Method::GET, path, &acme, &json!({}));
        let shown = handle(&tenants(&api), &get).await.unwrap().body.unwrap();
        assert!(seen.iter().all(|secret| !shown.contains(secret)), "{shown}");
    }
    assert!(seen.iter().all(|secret| secret.starts_with("whsec_")), "{seen:?}");
}
