//! Credential isolation tests: only the owner of a credential decides where it is sent. They cover
//! every provider, setting and credential.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use accounts::api::integrations::Integrations;
use accounts::operator_credentials::is_template_list;
use accounts::ports::Registry;
use bytes::Bytes;
use domain::ports::{CredentialReader, Freshness};
use domain::sender::SendError;
use domain::{Integration, IntegrationId, Provider, TenantId};
use http::{Method, Request, Response, StatusCode};
use providers::example;
use runtime::HttpClient;
use runtime::api::{Problem, handle};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use testkit::{SeededRng, Side, sample};
use voice::api::Voice;

use crate::api::{Api, request};
use crate::env::TestEnv;

/// A provider for which every token belongs to the requested account.
#[derive(Clone, Default)]
struct AgreeableProvider(Arc<Mutex<Vec<String>>>);

impl HttpClient for AgreeableProvider {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        let path = request.uri().path().to_owned();
        self.0.lock().unwrap().push(path.clone());
        let bot = path.strip_prefix("/bot").and_then(|rest| rest.split_once(':'));
        let answer = match bot {
            Some((id, _)) => json!({ "ok": true, "result": { "id": id } }),
            None => json!({ "id": path.rsplit('/').next() }),
        };
        Ok(Response::new(Bytes::from(answer.to_string())))
    }
}

/// An API with the tenants `acme` and `spy`.
struct Hub {
    api: Api,
    provider: AgreeableProvider,
    rng: SeededRng,
    skip_tenant_checks: bool,
}

impl Hub {
    async fn new() -> Self {
        let (api, provider) = (Api::new().await, AgreeableProvider::default());
        Self { api, provider, rng: SeededRng::new(3), skip_tenant_checks: false }
    }

    fn resource(&self) -> Integrations<TestEnv<AgreeableProvider>> {
        Integrations {
            store: self.api.store.accounts.clone(),
            credential_store: self.api.credential_store.clone(),
            http_client: self.provider.clone(),
            clock: self.api.clock.clone(),
            rng: self.rng.clone(),
            skip_tenant_checks: self.skip_tenant_checks,
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        http_client: &TenantId,
        body: &Value,
    ) -> Result<Value, Problem> {
        let reply = handle(&self.resource(), &request(method, path, http_client, body)).await?;
        Ok(serde_json::from_str(&reply.body.unwrap()).unwrap())
    }

    /// Creates an integration of acme as `http_client`, with every credential of the provider.
    async fn create(
        &self,
        provider: Provider,
        http_client: &TenantId,
        settings: &Map<String, Value>,
    ) -> Integration {
        let names: Vec<_> = providers::spec(provider).credentials.to_vec();
        let body = json!({ "tenant": "acme", "provider": provider, "settings": settings,
            "credentials": credentials_for(provider, &names) });
        let created = self.call(Method::POST, "/integrations", http_client, &body).await;
        let created = created.unwrap_or_else(|problem| panic!("{provider}: {problem:?}"));
        self.stored(created["id"].as_str().unwrap().parse().unwrap()).await
    }

    async fn stored(&self, id: IntegrationId) -> Integration {
        Registry::integration(&self.api.store.accounts, id).await.unwrap().unwrap()
    }

    async fn change(
        &self,
        integration: &Integration,
        http_client: &TenantId,
        body: &Value,
    ) -> Result<Value, Problem> {
        let path = format!("/integrations/{}", integration.id);
        self.call(Method::PUT, &path, http_client, body).await
    }

    /// The number of calls of the credential store, and of requests to the table.
    fn calls(&self) -> [u64; 2] {
        [self.api.credential_store.faults().calls(), self.api.table_faults.calls()]
    }

    /// The stored value of a credential, without a cache.
    fn secret(&self, integration: &Integration, name: &str) -> Option<String> {
        let kept = self.api.credential_store.stored(integration.id)?;
        kept.first(name).map(|secret| secret.expose_secret().to_owned())
    }

    /// The names of the stored credentials.
    async fn credential_names(&self, integration: &Integration) -> BTreeSet<String> {
        let kept =
            self.api.credential_store.credentials(integration, Freshness::Fresh).await.unwrap();
        kept.iter().map(|(name, _)| name.to_owned()).collect()
    }
}

fn acme() -> TenantId {
    sample::tenant("acme")
}

/// A valid value of the credential.
fn value(provider: Provider, name: &str) -> String {
    let examples = (example::of(provider).credentials)();
    if let Some(value) = examples.first(name) {
        return value.expose_secret().to_owned();
    }
    let fits = |value: &&str| (providers::spec(provider).check)(name, value).is_ok();
    let value = ["secret-1", "SK12ab", "AC12ab"].into_iter().find(fits);
    value.unwrap_or_else(|| panic!("add a value for {name}")).to_owned()
}

fn credentials_for(provider: Provider, names: &[&str]) -> Map<String, Value> {
    names.iter().map(|name| ((*name).to_owned(), value(provider, name).into())).collect()
}

fn base(provider: Provider) -> Map<String, Value> {
    (example::of(provider).settings)()
}

fn read(provider: Provider, settings: &Map<String, Value>) -> Option<Map<String, Value>> {
    (providers::spec(provider).settings)(settings).ok().map(|settings| settings.fields())
}

/// Every setting of a provider, from its error about an unknown setting.
fn settings(provider: Provider) -> Vec<String> {
    let mut unknown = base(provider);
    unknown.insert("no_such_setting".to_owned(), true.into());
    let error = (providers::spec(provider).settings)(&unknown).unwrap_err();
    let names: Vec<String> =
        error.reason.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!names.is_empty(), "{provider}: {}", error.reason);
    names
}

/// The settings with another value for the setting `name`.
fn with_another(provider: Provider, name: &str) -> Map<String, Value> {
    let hex = "0123456789abcdef0123456789abcdef";
    let before = read(provider, &base(provider)).unwrap();
    let values = [
        json!("15550009999"),
        json!("+15550009999"),
        json!("https://elsewhere.example"),
        json!("elsewhere"),
        json!("at_least_once"),
        json!("notify_url"),
        json!("bearer"),
        json!("native"),
        json!("v25.0"),
        json!(7),
        json!(format!("MG{hex}")),
        json!("<Response/>"),
        json!({ "other": format!("HX{hex}") }),
        json!({ "type": "bearer" }),
        json!({ "id": "/other" }),
        json!({ "id": "/id", "from": "/from" }),
        json!({ "id": "/id", "status": "/status", "statuses": {} }),
        json!({ "status": 201 }),
        json!({ "ed25519": [], "rsa": [] }),
        json!({ "messages": { "text": { "body": {} } } }),
    ];
    let set = |value: Value| {
        let is_url = value.as_str().is_some_and(|value| value.starts_with("https://"));
        if name.contains("url") && !is_url {
            return None;
        }
        let mut settings = base(provider);
        settings.insert(name.to_owned(), value);
        match name {
            // Only one of the two senders may be set.
            "messaging_service_sid" => {
                settings.remove("from");
            }
            // Sending needs a URL and a sender.
            "send" | "base_url" if matches!(provider, Provider::Custom | Provider::Infobip) => {
                let url = json!("https://elsewhere.example");
                settings.entry("base_url").or_insert(url);
                settings.entry("from").or_insert(json!("15550001111"));
            }
            _ => {}
        }
        let read = read(provider, &settings)?;
        (read.get(name) != before.get(name)).then_some(settings)
    };
    let changed = values.into_iter().find_map(set);
    changed.unwrap_or_else(|| panic!("add another value for settings.{name} of {provider}"))
}

/// Each change of one setting: another value, and its removal.
fn changes(provider: Provider) -> Vec<(String, Map<String, Value>)> {
    let before = read(provider, &base(provider)).unwrap();
    let mut changes = Vec::new();
    for name in settings(provider) {
        let mut without = base(provider);
        without.remove(&name);
        if read(provider, &without).is_some_and(|read| read.get(&name) != before.get(&name)) {
            changes.push((name.clone(), without));
        }
        let another = with_another(provider, &name);
        changes.push((name, another));
    }
    changes
}

/// The credentials that a tenant must supply to own an integration.
fn required_credentials(provider: Provider) -> BTreeSet<&'static str> {
    let entry = providers::spec(provider);
    let all = || entry.credentials.iter().copied();
    let sending: BTreeSet<_> =
        all().filter(|name| !entry.verification_credentials.contains(name)).collect();
    if sending.is_empty() { all().collect() } else { sending }
}

fn assert_refused(problem: &Problem, what: &str) {
    let is_refused = (problem.status.as_u16(), problem.code.as_str());
    assert_eq!(is_refused, (403, "operator_credentials"), "{what}: {problem:?}");
    assert!(problem.detail.contains("the operator"), "{what}");
}

#[tokio::test]
async fn a_tenant_cannot_redirect_the_operators_credentials() {
    for &provider in Provider::ALL {
        for (name, settings) in changes(provider) {
            let what = format!("settings.{name} of {provider}");
            let hub = Hub::new().await;
            let before = hub.create(provider, &TenantId::platform(), &base(provider)).await;
            let body = json!({ "settings": settings });
            let changed = hub.change(&before, &acme(), &body).await;
            let selects_target = providers::spec(provider).selects_target(&name);
            if selects_target || is_template_list(provider, &name) {
                let problem = changed.unwrap_err();
                assert_refused(&problem, &what);
                assert!(problem.field.unwrap().starts_with("settings."), "{what}");
                assert_eq!(
                    hub.stored(before.id).await,
                    before,
                    "{what}: the integration has changed"
                );
            } else {
                changed.unwrap_or_else(|problem| panic!("{what}: {problem:?}"));
                let after = hub.stored(before.id).await;
                assert_eq!((&after.account, &after.hints), (&before.account, &before.hints));
                assert_ne!(after.settings, before.settings, "{what}");
            }
            assert_eq!(
                hub.provider.0.lock().unwrap().len(),
                usize::from(connects(provider, &before))
            );
            // The operator may change every setting.
            if let Err(problem) = hub.change(&before, &TenantId::platform(), &body).await {
                assert_ne!(problem.code, "operator_credentials", "{what}");
            }
        }
    }
}

/// Whether an account is connected when its integration is created.
fn connects(provider: Provider, integration: &Integration) -> bool {
    providers::spec(provider).connects_on_create && integration.settings.base_url().is_some()
}

#[tokio::test]
async fn a_tenant_cannot_redirect_credentials_through_whatsapp_settings() {
    for &provider in Provider::ALL {
        if !provider.supports(domain::provider::Channel::Whatsapp) {
            continue;
        }
        for (name, settings) in changes(provider) {
            if !providers::spec(provider).selects_target(&name) {
                continue;
            }
            let what = format!("provider_config.{name} of {provider}");
            let hub = Hub::new().await;
            let before = hub.create(provider, &TenantId::platform(), &base(provider)).await;
            let body = json!({ "whatsapp_provider": provider, "provider_config": settings });
            let path = "/tenants/acme/whatsapp-settings";
            let changed = hub.call(Method::PUT, path, &acme(), &body).await;
            // Empty settings change nothing.
            if settings.is_empty() {
                changed.unwrap();
            } else {
                let problem = changed.unwrap_err();
                assert_refused(&problem, &what);
                assert!(problem.field.unwrap().starts_with("provider_config."), "{what}");
            }
            assert_eq!(hub.stored(before.id).await, before, "{what}: the integration has changed");
        }
    }
}

#[tokio::test]
async fn a_tenant_owns_an_integration_after_replacing_all_sending_credentials() {
    let mut taken_over = BTreeSet::new();
    for &provider in Provider::ALL {
        let entry = providers::spec(provider);
        let selecting =
            changes(provider).into_iter().filter(|(name, _)| entry.selects_target(name));
        let all: Vec<_> = selecting.map(|(_, settings)| Some(settings)).chain([None]).collect();
        for (subset, settings) in (1_u32..1 << entry.credentials.len())
            .flat_map(|subset| all.iter().map(move |settings| (subset, settings)))
        {
            let names = entry.credentials.iter().zip(0..);
            let names = names.filter(|(_, bit)| subset & (1 << bit) != 0).map(|(name, _)| *name);
            let names: Vec<&str> = names.collect();
            let what = format!("{names:?} of {provider} with {settings:?}");
            let hub = Hub::new().await;
            let before = hub.create(provider, &TenantId::platform(), &base(provider)).await;
            let mut body = json!({ "credentials": credentials_for(provider, &names) });
            if let Some(settings) = settings {
                body["settings"] = json!(settings);
            }
            let changed = hub.change(&before, &acme(), &body).await;
            let after = hub.stored(before.id).await;
            if !required_credentials(provider).iter().all(|name| names.contains(name)) {
                assert_refused(&changed.unwrap_err(), &what);
                assert_eq!(after, before, "{what}: the integration has changed");
                continue;
            }
            // The rules of creation apply: the tenant proves the account and sets no base URL.
            if let Err(problem) = changed {
                assert_ne!(problem.code, "operator_credentials", "{what}");
                assert_eq!(after, before, "{what}: the integration has changed");
                continue;
            }
            let left: Vec<&str> = after.operator_credentials().collect();
            let elsewhere = settings.is_some() || after.account != before.account;
            assert!(left.iter().all(|name| !names.contains(name)), "{what}");
            assert!(left.is_empty() || !elsewhere, "{what}: {left:?} belongs to the operator");
            let kept = hub.credential_names(&after).await;
            assert_eq!(kept, after.hints.keys().cloned().collect(), "{what}");
            let own = |name: &String| {
                !elsewhere || names.contains(&name.as_str()) || entry.generated_secret == Some(name)
            };
            assert!(kept.iter().all(own), "{what}: {kept:?}");
            taken_over.insert((provider, settings.is_some()));
            // The tenant now owns the settings.
            let again = json!({ "settings": base(provider) });
            if let Err(problem) = hub.change(&before, &acme(), &again).await {
                let owned = left.is_empty();
                assert!(!owned || problem.code != "operator_credentials", "{what}");
            }
        }
    }
    for provider in Provider::senders() {
        let ways = [false, true].map(|elsewhere| taken_over.contains(&(provider, elsewhere)));
        assert!(ways.contains(&true), "{provider}: {taken_over:?}");
        // Only the base URL redirects Telegram, and only the operator sets it.
        assert!(ways[1] || provider == Provider::Telegram, "{provider}: {taken_over:?}");
    }
}

#[tokio::test]
async fn a_tenant_cannot_register_an_account_with_the_operators_credentials() {
    for provider in Provider::senders() {
        let mut hub = Hub::new().await;
        let mut settings = base(provider);
        if provider == Provider::Evolution {
            settings.insert("base_url".to_owned(), json!("https://evolution.example"));
        }
        let before = hub.create(provider, &TenantId::platform(), &settings).await;
        let path = format!("/integrations/{}/register", before.id);
        let body = json!({ "pin": "123456" });
        let calls = hub.provider.0.lock().unwrap().len();
        let problem = hub.call(Method::POST, &path, &acme(), &body).await.unwrap_err();
        assert_refused(&problem, provider.as_str());
        assert_eq!(hub.provider.0.lock().unwrap().len(), calls, "{provider} must not be called");
        for (http_client, trusted) in [(TenantId::platform(), false), (acme(), true)] {
            hub.skip_tenant_checks = trusted;
            if let Err(problem) = hub.call(Method::POST, &path, &http_client, &body).await {
                assert_ne!(problem.code, "operator_credentials", "{provider}");
            }
        }
    }
}

#[tokio::test]
async fn with_operator_credentials_only_the_operator_creates_voice_tokens() {
    let hub = Hub::new().await;
    let (provider, platform) = (Provider::Twilio, TenantId::platform());
    let voice = Voice::<TestEnv> {
        accounts: hub.api.store.accounts.clone(),
        credential_store: hub.api.credential_store.clone(),
        clock: hub.api.clock.clone(),
    };
    let create = async |integration: &Integration, principal: &TenantId| {
        let body = json!({ "tenant_id": "acme", "identity": "anna", "application_sid": "AP1",
            "integration": integration.id });
        handle(&voice, &request(Method::POST, "/voice/token", principal, &body)).await
    };
    let operators = hub.create(provider, &platform, &base(provider)).await;
    assert_refused(&create(&operators, &acme()).await.unwrap_err(), "a token");
    assert_eq!(create(&operators, &platform).await.unwrap().status, StatusCode::CREATED);
    let own = hub.create(provider, &acme(), &base(provider)).await;
    assert_eq!(create(&own, &acme()).await.unwrap().status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_tenant_lists_the_templates_of_its_own_twilio_account() {
    let hub = Hub::new().await;
    let own = hub.create(Provider::Twilio, &acme(), &base(Provider::Twilio)).await;
    let body = json!({ "settings": with_another(Provider::Twilio, "templates") });
    hub.change(&own, &acme(), &body).await.unwrap();
    assert_ne!(hub.stored(own.id).await.settings, own.settings);
}

#[tokio::test]
async fn credentials_belong_to_the_tenant_or_operator_who_supplied_them() {
    let hub = Hub::new().await;
    let number = |id: &str| json!({ "settings": { "phone_number_id": id } });
    let body = json!({ "provider": "whatsapp", "settings": { "phone_number_id": "111" },
        "credentials": { "WHATSAPP_ACCESS_TOKEN": "own" } });
    let created = hub.call(Method::POST, "/integrations", &acme(), &body).await.unwrap();
    let created = hub.stored(created["id"].as_str().unwrap().parse().unwrap()).await;
    assert_eq!(created.operator_credentials().count(), 0);
    hub.change(&created, &acme(), &number("222")).await.unwrap();
    // A credential that only verifies webhooks does not restrict the use of the tenant's token.
    let secret = json!({ "credentials": { "WHATSAPP_APP_SECRET": "operators" } });
    let shown = hub.change(&created, &TenantId::platform(), &secret).await.unwrap();
    assert_eq!(shown["operator_credentials"], json!(["WHATSAPP_APP_SECRET"]));
    let own = json!({ "credentials": { "WHATSAPP_ACCESS_TOKEN": "newer" } });
    hub.change(&created, &acme(), &own).await.unwrap();
    assert!(
        hub.credential_names(&created).await.contains("WHATSAPP_APP_SECRET"),
        "the account is unchanged"
    );
    hub.change(&created, &acme(), &number("333")).await.unwrap();
    assert!(
        !hub.credential_names(&created).await.contains("WHATSAPP_APP_SECRET"),
        "it belongs to another number"
    );
    // A token supplied by the operator belongs to the operator.
    let token = json!({ "credentials": { "WHATSAPP_ACCESS_TOKEN": "operators" } });
    hub.change(&created, &TenantId::platform(), &token).await.unwrap();
    assert_refused(&hub.change(&created, &acme(), &number("444")).await.unwrap_err(), "a number");
    // A credential without a recorded owner belongs to the operator.
    let unmarked = Integration { tenant_credentials: BTreeSet::new(), ..created };
    hub.api.table.insert_integration(&unmarked, &[]).await;
    assert_refused(&hub.change(&unmarked, &acme(), &number("444")).await.unwrap_err(), "unmarked");
}

#[tokio::test]
async fn trusted_tenants_may_change_every_setting() {
    let hub = Hub { skip_tenant_checks: true, ..Hub::new().await };
    for &provider in Provider::ALL {
        let before = hub.create(provider, &TenantId::platform(), &base(provider)).await;
        for (name, settings) in changes(provider) {
            let body = json!({ "settings": settings });
            if let Err(problem) = hub.change(&before, &acme(), &body).await {
                assert_ne!(problem.code, "operator_credentials", "{provider}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn only_the_operator_trusts_ingest_and_only_for_one_account() {
    let mut hub = Hub::new().await;
    let body = json!({ "provider": "whatsapp", "settings": { "phone_number_id": "111" },
        "credentials": { "WHATSAPP_ACCESS_TOKEN": "own" }, "trusted_ingest": true });
    let problem = hub.call(Method::POST, "/integrations", &acme(), &body).await.unwrap_err();
    assert_eq!(
        (problem.code.as_str(), problem.field.as_deref()),
        ("platform_only", Some("trusted_ingest"))
    );
    let mut untrusted = body.clone();
    untrusted["trusted_ingest"] = false.into();
    let created = hub.call(Method::POST, "/integrations", &acme(), &untrusted).await.unwrap();
    assert_eq!(created["trusted_ingest"], false);
    let created = hub.stored(created["id"].as_str().unwrap().parse().unwrap()).await;
    let trust = |trusted: bool| json!({ "trusted_ingest": trusted });
    let problem = hub.change(&created, &acme(), &trust(true)).await.unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (403, Some("trusted_ingest")));
    let shown = hub.change(&created, &TenantId::platform(), &trust(true)).await.unwrap();
    assert_eq!(shown["trusted_ingest"], true);
    let settings = |id: &str, pace: u32| json!({ "settings": { "phone_number_id": id, "messages_per_second": pace } });
    let shown = hub.change(&created, &acme(), &settings("111", 7)).await.unwrap();
    assert_eq!(shown["trusted_ingest"], true, "the account is unchanged");
    let mut kept = settings("222", 7);
    kept["trusted_ingest"] = true.into();
    let problem = hub.change(&created, &acme(), &kept).await.unwrap_err();
    assert_eq!(
        problem.field.as_deref(),
        Some("trusted_ingest"),
        "the operator has not trusted this account"
    );
    let shown = hub.change(&created, &acme(), &settings("222", 7)).await.unwrap();
    assert_eq!(shown["trusted_ingest"], false, "the account has changed");
    hub.skip_tenant_checks = true;
    let shown = hub.change(&created, &acme(), &trust(true)).await.unwrap();
    assert_eq!(shown["trusted_ingest"], true);
    hub.skip_tenant_checks = false;
    let shown = hub.change(&created, &acme(), &trust(false)).await.unwrap();
    assert_eq!(shown["trusted_ingest"], false, "a tenant may remove trust");
}

#[tokio::test]
async fn trusted_ingest_ends_with_new_credentials_of_an_unverified_account() {
    let hub = Hub::new().await;
    let created = hub.create(Provider::Twilio, &acme(), &base(Provider::Twilio)).await;
    assert_eq!(created.account, None, "a Twilio account named by a tenant is not verified");
    let trust = json!({ "trusted_ingest": true });
    hub.change(&created, &TenantId::platform(), &trust).await.unwrap();
    let verification_credentials = json!({ "credentials": { "TWILIO_SHARED_KEY": "another" } });
    let shown = hub.change(&created, &acme(), &verification_credentials).await.unwrap();
    assert_eq!(shown["trusted_ingest"], true, "the key only verifies webhooks");
    let other = json!({ "credentials": credentials_for(Provider::Twilio, &["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]) });
    let shown = hub.change(&created, &acme(), &other).await.unwrap();
    assert_eq!(shown["trusted_ingest"], false);
}

#[tokio::test]
async fn a_credential_over_8192_bytes_is_rejected() {
    let hub = Hub::new().await;
    let body = json!({ "provider": "telegram",
        "credentials": { "TELEGRAM_WEBHOOK_SECRET": "a".repeat(8193) } });
    let problem = hub.call(Method::POST, "/integrations", &acme(), &body).await.unwrap_err();
    let field = problem.field.as_deref();
    assert_eq!(
        (problem.status.as_u16(), field),
        (422, Some("credentials.TELEGRAM_WEBHOOK_SECRET"))
    );
    assert!(problem.detail.contains("8192 bytes"), "{}", problem.detail);
}

/// A fault at each call of a change: whether it is in the credential store or in the table, the
/// number of the call and its side. `before` and `after` count the calls of both.
fn fault_points(before: [u64; 2], after: [u64; 2]) -> Vec<(bool, u64, Side)> {
    let mut fault_points = Vec::new();
    for (index, in_credential_store) in [true, false].into_iter().enumerate() {
        let calls = after[index] - before[index];
        assert!(calls > 0);
        for side in [Side::Before, Side::After] {
            fault_points.extend((1..=calls).map(|call| (in_credential_store, call, side)));
        }
    }
    fault_points
}

#[tokio::test]
async fn a_change_with_a_fault_at_any_call_does_not_redirect_the_operators_credentials() {
    let name = "EVOLUTION_API_KEY";
    let body = json!({ "settings": evolution("victim"),
        "credentials": { name: "the-tenants-own" } });
    let begin = async || {
        let hub = Hub::new().await;
        let settings = evolution("mine");
        let created = hub.create(Provider::Evolution, &TenantId::platform(), &settings).await;
        (hub, created)
    };
    let (hub, created) = begin().await;
    let before = hub.calls();
    hub.change(&created, &acme(), &body).await.unwrap();
    for (in_credential_store, call, side) in fault_points(before, hub.calls()) {
        let (hub, created) = begin().await;
        let operators = hub.secret(&created, name);
        let faults = if in_credential_store {
            hub.api.credential_store.faults()
        } else {
            &hub.api.table_faults
        };
        faults.fail_call(call, side);
        let changed = hub.change(&created, &acme(), &body).await;
        let what =
            format!("call {call}, {side:?}, credential store {in_credential_store}: {changed:?}");
        assert!(faults.has_triggered(), "{what}");
        faults.clear();
        let after = hub.stored(created.id).await;
        let selects_victim = after.settings.fields()["instance"] == "victim";
        assert!(!selects_victim || hub.secret(&created, name) != operators, "{what}");
        assert!(selects_victim || changed.is_err(), "{what}");
        // A retry succeeds.
        hub.api.clock.advance(std::time::Duration::from_mins(2));
        hub.change(&created, &acme(), &body).await.unwrap();
    }
}

#[tokio::test]
async fn a_change_with_a_fault_at_any_call_marks_the_operators_credentials() {
    let name = "EVOLUTION_API_KEY";
    let body = json!({ "credentials": { name: "the-operators-own" } });
    let begin = async || {
        let hub = Hub::new().await;
        let created = hub.create(Provider::Evolution, &acme(), &evolution("mine")).await;
        (hub, created)
    };
    let (hub, created) = begin().await;
    let before = hub.calls();
    hub.change(&created, &TenantId::platform(), &body).await.unwrap();
    for (in_credential_store, call, side) in fault_points(before, hub.calls()) {
        let (hub, created) = begin().await;
        let faults = if in_credential_store {
            hub.api.credential_store.faults()
        } else {
            &hub.api.table_faults
        };
        faults.fail_call(call, side);
        let changed = hub.change(&created, &TenantId::platform(), &body).await;
        let what =
            format!("call {call}, {side:?}, credential store {in_credential_store}: {changed:?}");
        assert!(faults.has_triggered(), "{what}");
        faults.clear();
        let after = hub.stored(created.id).await;
        let marked = after.operator_credentials().any(|own| own == name);
        let is_operators = hub.secret(&created, name).as_deref() == Some("the-operators-own");
        assert!(!is_operators || marked, "{what}");
    }
}

fn evolution(instance: &str) -> Map<String, Value> {
    let mut settings = base(Provider::Evolution);
    settings.remove("base_url");
    settings.remove("account");
    settings.insert("instance".to_owned(), instance.into());
    settings
}
