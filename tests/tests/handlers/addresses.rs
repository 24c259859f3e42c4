//! Private network tests: URLs that tenants set must not point into a private network.

use std::net::IpAddr;

use accounts::api::tenants::Tenants;
use accounts::ports::Registry;
use domain::ports::Resolver;
use domain::{Provider, TenantId};
use http::{Method, StatusCode};
use runtime::api::{Problem, handle};
use serde_json::{Value, json};
use testkit::sample;

use crate::api::{Api, request};
use crate::env::TestEnv;

/// URLs in a private network, in every notation.
pub(crate) const PRIVATE: [&str; 25] = [
    "https://127.0.0.1/hook",
    "https://10.0.0.5/hook",
    "https://172.16.9.1:8080/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://0.0.0.0/",
    // Decimal, octal, hexadecimal, short and percent-encoded.
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://0x7f.0.0.1/",
    "https://127.1/",
    "https://%31%32%37.0.0.1/",
    "https://[::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[::ffff:10.0.0.5]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[64:ff9b::a00:5]/",
    "https://localhost:8787/hook",
    "https://LOCALHOST./",
    "https://n8n/webhook/acme",
    "https://printer.local/",
    "https://metadata.google.internal/",
    "https://nas.home.arpa/",
    "https://inside.example.com/hook",
];

/// URLs of the public internet; the last resolves to a private and a public address.
pub(crate) const PUBLIC: [&str; 4] = [
    "https://93.184.216.34/hook",
    "https://[2606:4700::1111]/hook",
    "https://n8n.example.com/webhook/acme",
    "https://both.example.com/",
];

/// A resolver with the host names of these tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FakeResolver;

impl Resolver for FakeResolver {
    async fn resolve(&self, host: &str) -> Option<Vec<IpAddr>> {
        let addresses: &[&str] = match host {
            "inside.example.com" => &["10.0.0.5", "fd00::5"],
            "both.example.com" => &["10.0.0.5", "93.184.216.34"],
            "gone.example.com" => return None,
            _ => &["93.184.216.34"],
        };
        Some(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }
}

pub(crate) fn tenants(api: &Api) -> Tenants<TestEnv> {
    Tenants {
        store: api.store.accounts.clone(),
        credential_store: api.credential_store.clone(),
        clock: api.clock.clone(),
        rng: api.rng.clone(),
        resolver: FakeResolver,
        skip_tenant_checks: false,
    }
}

async fn set(api: &Api, http_client: &TenantId, body: &Value) -> Result<Value, Problem> {
    let path = "/tenants/acme/automation";
    let reply = handle(&tenants(api), &request(Method::PUT, path, http_client, body)).await?;
    assert_eq!(reply.status, StatusCode::OK);
    Ok(serde_json::from_str(&reply.body.unwrap()).unwrap())
}

#[tokio::test]
async fn an_automation_in_a_private_network_is_rejected() {
    let api = Api::new().await;
    for http_client in [sample::tenant("acme"), TenantId::platform()] {
        for url in PRIVATE {
            for body in [
                json!({ "kind": "push", "url": url }),
                json!({ "kind": "push", "url": url, "allow_private_network": false }),
                json!({ "kind": "pull", "url": url }),
            ] {
                let problem = set(&api, &http_client, &body).await.unwrap_err();
                assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
                assert_eq!(problem.code, "private_address", "{body}: {problem:?}");
                assert_eq!(problem.field.as_deref(), Some("url"), "{body}");
                assert!(problem.detail.contains("allow_private_network"), "{}", problem.detail);
            }
        }
    }
    let path = "/tenants/acme/automation";
    let get = request(Method::GET, path, &sample::tenant("acme"), &json!({}));
    let shown = handle(&tenants(&api), &get).await.unwrap().body.unwrap();
    assert!(shown.contains("\"none\""), "an automation was set: {shown}");
}

#[tokio::test]
async fn the_operator_may_allow_an_automation_in_a_private_network() {
    let api = Api::new().await;
    for url in PRIVATE {
        let body = json!({ "kind": "push", "url": url, "allow_private_network": true });
        let problem = set(&api, &sample::tenant("acme"), &body).await.unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("allow_private_network"), "{url}");
        set(&api, &TenantId::platform(), &body).await.unwrap();
    }
}

#[tokio::test]
async fn a_tenant_cannot_set_a_provider_url_in_a_private_network() {
    for provider in Provider::ALL.iter().filter(|provider| !provider.channels().is_empty()) {
        for url in PRIVATE {
            let api = Api::new().await;
            let acme = sample::tenant("acme");
            let mut body = providers::example::creation_request(*provider, &acme);
            body["settings"]["base_url"] = url.into();
            let request = request(Method::POST, "/integrations", &acme, &body);
            let problem = handle(&api.integrations("-"), &request).await.unwrap_err();
            let field = problem.field.unwrap_or_default();
            assert!(field.starts_with("settings."), "{provider} {url}: {field} {}", problem.detail);
            assert!(
                api.store.accounts.integrations(&acme).await.unwrap().is_empty(),
                "{provider} {url}"
            );
        }
    }
}

#[tokio::test]
async fn a_public_url_is_accepted_and_an_unresolvable_host_gets_a_warning() {
    let api = Api::new().await;
    let acme = sample::tenant("acme");
    for url in PUBLIC {
        let view = set(&api, &acme, &json!({ "kind": "push", "url": url })).await.unwrap();
        assert!(view.get("warning").is_none(), "{url}: {view}");
    }
    let gone = json!({ "kind": "push", "url": "https://gone.example.com/" });
    let view = set(&api, &acme, &gone).await.unwrap();
    assert!(view["warning"].as_str().unwrap().contains("does not resolve"), "{view}");
}

#[tokio::test]
async fn an_automation_without_tls_is_rejected_whoever_sets_it() {
    let api = Api::new().await;
    let platform = TenantId::platform();
    for (http_client, allow_private_network) in
        [(&sample::tenant("acme"), false), (&platform, false), (&platform, true)]
    {
        for url in PUBLIC.into_iter().chain(PRIVATE) {
            let url = url.replacen("https", "http", 1);
            for kind in ["push", "pull"] {
                let body = json!({ "kind": kind, "url": url,
                    "allow_private_network": allow_private_network });
                let problem = set(&api, http_client, &body).await.unwrap_err();
                assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
                let found = (problem.code.as_str(), problem.field.as_deref());
                assert_eq!(found, ("insecure_url", Some("url")), "{body}");
                assert!(problem.detail.contains("https"), "{}", problem.detail);
            }
        }
    }
}

#[tokio::test]
async fn a_provider_url_without_tls_is_rejected_whoever_sets_it() {
    for provider in Provider::ALL.iter().filter(|provider| !provider.channels().is_empty()) {
        let api = Api::new().await;
        let acme = sample::tenant("acme");
        let mut body = providers::example::creation_request(*provider, &acme);
        body["settings"]["base_url"] = "http://provider.example.com".into();
        let request = request(Method::POST, "/integrations", &TenantId::platform(), &body);
        let problem = handle(&api.integrations("-"), &request).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY, "{provider}: {problem:?}");
        assert_eq!(problem.field.as_deref(), Some("settings.base_url"), "{provider}");
        assert!(problem.detail.contains("https"), "{provider}: {}", problem.detail);
    }
}
