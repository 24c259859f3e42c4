//! Whoever gave a credential decides what it is used for: over every provider, setting and
//! credential that there is.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use domain::ports::{CredentialReader, Freshness, Registry};
use domain::sender::SendError;
use domain::{Integration, IntegrationId, Provider, TenantId};
use http::{Method, Request, Response};
use providers::example;
use runtime::api::integrations::Integrations;
use runtime::api::{Problem, handle};
use runtime::sender::HttpClient;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use store::DynamoStore;
use testkit::{FakeClock, FakeCredentials, SeededRng, Side, sample};

use crate::api::{Api, request};

/// A provider that says of every token that it is the account's own.
#[derive(Clone, Default)]
struct Believer(Arc<Mutex<Vec<String>>>);

impl HttpClient for Believer {
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

/// A hub with the tenants `acme` and `spy`.
struct Hub {
    api: Api,
    provider: Believer,
    rng: SeededRng,
    trust_tenants: bool,
}

impl Hub {
    async fn new() -> Self {
        let (api, provider) = (Api::new().await, Believer::default());
        Self { api, provider, rng: SeededRng::new(3), trust_tenants: false }
    }

    fn resource(
        &self,
    ) -> Integrations<DynamoStore, FakeCredentials, Believer, FakeClock, SeededRng> {
        Integrations {
            store: self.api.store.clone(),
            vault: self.api.vault.clone(),
            http_client: self.provider.clone(),
            clock: self.api.clock.clone(),
            rng: self.rng.clone(),
            trust_tenants: self.trust_tenants,
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

    /// An integration of acme's that `caller` makes, with every credential there is.
    async fn made(
        &self,
        provider: Provider,
        http_client: &TenantId,
        settings: &Map<String, Value>,
    ) -> Integration {
        let names: Vec<_> = providers::spec(provider).credentials.to_vec();
        let body = json!({ "tenant": "acme", "provider": provider, "settings": settings,
            "credentials": given(provider, &names) });
        let made = self.call(Method::POST, "/integrations", http_client, &body).await;
        let made = made.unwrap_or_else(|problem| panic!("{provider}: {problem:?}"));
        self.stored(made["id"].as_str().unwrap().parse().unwrap()).await
    }

    async fn stored(&self, id: IntegrationId) -> Integration {
        Registry::integration(&self.api.store, id).await.unwrap().unwrap()
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

    /// How often the vault was called so far, and how many requests the table got.
    fn calls(&self) -> [u64; 2] {
        [self.api.vault.faults().calls(), self.api.table_faults.calls()]
    }

    /// What is kept of a credential, past every cache.
    fn secret(&self, integration: &Integration, name: &str) -> Option<String> {
        let kept = self.api.vault.stored(integration.id)?;
        kept.first(name).map(|secret| secret.expose_secret().to_owned())
    }

    /// The names of the credentials that are kept.
    async fn kept(&self, integration: &Integration) -> BTreeSet<String> {
        let kept = self.api.vault.credentials(integration, Freshness::Fresh).await.unwrap();
        kept.iter().map(|(name, _)| name.to_owned()).collect()
    }
}

fn acme() -> TenantId {
    sample::tenant("acme")
}

/// A value that a credential may have.
fn value(provider: Provider, name: &str) -> String {
    let examples = (example::of(provider).credentials)();
    if let Some(value) = examples.first(name) {
        return value.expose_secret().to_owned();
    }
    let fits = |value: &&str| (providers::spec(provider).check)(name, value).is_ok();
    let value = ["secret-1", "SK12ab", "AC12ab"].into_iter().find(fits);
    value.unwrap_or_else(|| panic!("say a value for {name}")).to_owned()
}

fn given(provider: Provider, names: &[&str]) -> Map<String, Value> {
    names.iter().map(|name| ((*name).to_owned(), value(provider, name).into())).collect()
}

fn base(provider: Provider) -> Map<String, Value> {
    (example::of(provider).settings)()
}

fn read(provider: Provider, settings: &Map<String, Value>) -> Option<Map<String, Value>> {
    (providers::spec(provider).settings)(settings).ok().map(|settings| settings.fields())
}

/// Every setting of a provider, as the provider itself lists them.
fn settings(provider: Provider) -> Vec<String> {
    let mut unknown = base(provider);
    unknown.insert("no_such_setting".to_owned(), true.into());
    let error = (providers::spec(provider).settings)(&unknown).unwrap_err();
    let names: Vec<String> =
        error.reason.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    assert!(!names.is_empty(), "{provider}: {}", error.reason);
    names
}

/// The settings with another value for one of them.
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
            // It is sent from one of the two.
            "messaging_service_sid" => {
                settings.remove("from");
            }
            // It is sent somewhere, from somewhere.
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
    changed.unwrap_or_else(|| panic!("say another value for settings.{name} of {provider}"))
}

/// Each change of one setting: another value, and none.
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

/// The credentials that a tenant must give, to own an integration.
fn needed(provider: Provider) -> BTreeSet<&'static str> {
    let entry = providers::spec(provider);
    let all = || entry.credentials.iter().copied();
    let sending: BTreeSet<_> = all().filter(|name| !entry.proving.contains(name)).collect();
    if sending.is_empty() { all().collect() } else { sending }
}

fn refused(problem: &Problem, what: &str) {
    let is_refused = (problem.status.as_u16(), problem.code.as_str());
    assert_eq!(is_refused, (403, "operator_credentials"), "{what}: {problem:?}");
    assert!(problem.detail.contains("the operator"), "{what}");
}

#[tokio::test]
async fn a_tenant_leads_the_operators_credentials_nowhere_else() {
    for &provider in Provider::ALL {
        for (name, settings) in changes(provider) {
            let what = format!("settings.{name} of {provider}");
            let hub = Hub::new().await;
            let before = hub.made(provider, &TenantId::platform(), &base(provider)).await;
            let body = json!({ "settings": settings });
            let changed = hub.change(&before, &acme(), &body).await;
            if providers::spec(provider).leads(&name) {
                let problem = changed.unwrap_err();
                refused(&problem, &what);
                assert!(problem.field.unwrap().starts_with("settings."), "{what}");
                assert_eq!(hub.stored(before.id).await, before, "{what}: nothing has changed");
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
            // The operator says what they like.
            if let Err(problem) = hub.change(&before, &TenantId::platform(), &body).await {
                assert_ne!(problem.code, "operator_credentials", "{what}");
            }
        }
    }
}

/// Whether an account is connected as its integration is made.
fn connects(provider: Provider, integration: &Integration) -> bool {
    providers::spec(provider).connects && integration.settings.base_url().is_some()
}

#[tokio::test]
async fn the_settings_of_who_carries_whatsapp_are_no_way_around() {
    for &provider in Provider::ALL {
        if !provider.supports(domain::provider::Channel::Whatsapp) {
            continue;
        }
        for (name, settings) in changes(provider) {
            if !providers::spec(provider).leads(&name) {
                continue;
            }
            let what = format!("provider_config.{name} of {provider}");
            let hub = Hub::new().await;
            let before = hub.made(provider, &TenantId::platform(), &base(provider)).await;
            let body = json!({ "whatsapp_provider": provider, "provider_config": settings });
            let path = "/tenants/acme/whatsapp-settings";
            let changed = hub.call(Method::PUT, path, &acme(), &body).await;
            // Without any there is nothing to change.
            if settings.is_empty() {
                changed.unwrap();
            } else {
                let problem = changed.unwrap_err();
                refused(&problem, &what);
                assert!(problem.field.unwrap().starts_with("provider_config."), "{what}");
            }
            assert_eq!(hub.stored(before.id).await, before, "{what}: nothing has changed");
        }
    }
}

#[tokio::test]
async fn only_credentials_in_the_place_of_all_that_is_sent_with_make_an_integration_a_tenants() {
    let mut taken_over = BTreeSet::new();
    for &provider in Provider::ALL {
        let entry = providers::spec(provider);
        let leading = changes(provider).into_iter().filter(|(name, _)| entry.leads(name));
        let all: Vec<_> = leading.map(|(_, settings)| Some(settings)).chain([None]).collect();
        for (subset, settings) in (1_u32..1 << entry.credentials.len())
            .flat_map(|subset| all.iter().map(move |settings| (subset, settings)))
        {
            let names = entry.credentials.iter().zip(0..);
            let names = names.filter(|(_, bit)| subset & (1 << bit) != 0).map(|(name, _)| *name);
            let names: Vec<&str> = names.collect();
            let what = format!("{names:?} of {provider} with {settings:?}");
            let hub = Hub::new().await;
            let before = hub.made(provider, &TenantId::platform(), &base(provider)).await;
            let mut body = json!({ "credentials": given(provider, &names) });
            if let Some(settings) = settings {
                body["settings"] = json!(settings);
            }
            let changed = hub.change(&before, &acme(), &body).await;
            let after = hub.stored(before.id).await;
            if !needed(provider).iter().all(|name| names.contains(name)) {
                refused(&changed.unwrap_err(), &what);
                assert_eq!(after, before, "{what}: nothing has changed");
                continue;
            }
            // As if they made it: they prove the account, and say no address.
            if let Err(problem) = changed {
                assert_ne!(problem.code, "operator_credentials", "{what}");
                assert_eq!(after, before, "{what}: nothing has changed");
                continue;
            }
            let left: Vec<&str> = after.operator_credentials().collect();
            let elsewhere = settings.is_some() || after.account != before.account;
            assert!(left.iter().all(|name| !names.contains(name)), "{what}");
            assert!(left.is_empty() || !elsewhere, "{what}: {left:?} is the operator's");
            let kept = hub.kept(&after).await;
            assert_eq!(kept, after.hints.keys().cloned().collect(), "{what}");
            let own = |name: &String| {
                !elsewhere || names.contains(&name.as_str()) || entry.generated_secret == Some(name)
            };
            assert!(kept.iter().all(own), "{what}: {kept:?}");
            taken_over.insert((provider, settings.is_some()));
            // From now on the tenant owns the settings.
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
        // Telegram has no setting that leads elsewhere but its address, which is the operator's.
        assert!(ways[1] || provider == Provider::Telegram, "{provider}: {taken_over:?}");
    }
}

#[tokio::test]
async fn a_tenant_does_not_connect_an_account_with_the_operators_credentials() {
    for provider in Provider::senders() {
        let mut hub = Hub::new().await;
        let mut settings = base(provider);
        if provider == Provider::Evolution {
            settings.insert("base_url".to_owned(), json!("https://evolution.example"));
        }
        let before = hub.made(provider, &TenantId::platform(), &settings).await;
        let path = format!("/integrations/{}/register", before.id);
        let body = json!({ "pin": "123456" });
        let asked = hub.provider.0.lock().unwrap().len();
        let problem = hub.call(Method::POST, &path, &acme(), &body).await.unwrap_err();
        refused(&problem, provider.as_str());
        assert_eq!(hub.provider.0.lock().unwrap().len(), asked, "{provider} is not asked");
        for (http_client, trusted) in [(TenantId::platform(), false), (acme(), true)] {
            hub.trust_tenants = trusted;
            if let Err(problem) = hub.call(Method::POST, &path, &http_client, &body).await {
                assert_ne!(problem.code, "operator_credentials", "{provider}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_tenant_gave_is_the_tenants_and_what_the_operator_adds_is_not() {
    let hub = Hub::new().await;
    let number = |id: &str| json!({ "settings": { "phone_number_id": id } });
    let body = json!({ "provider": "whatsapp", "settings": { "phone_number_id": "111" },
        "credentials": { "WHATSAPP_ACCESS_TOKEN": "own" } });
    let made = hub.call(Method::POST, "/integrations", &acme(), &body).await.unwrap();
    let made = hub.stored(made["id"].as_str().unwrap().parse().unwrap()).await;
    assert_eq!(made.operator_credentials().count(), 0);
    hub.change(&made, &acme(), &number("222")).await.unwrap();
    // What only proves webhooks says nothing about where is sent with the tenant's own token.
    let secret = json!({ "credentials": { "WHATSAPP_APP_SECRET": "operators" } });
    let shown = hub.change(&made, &TenantId::platform(), &secret).await.unwrap();
    assert_eq!(shown["operator_credentials"], json!(["WHATSAPP_APP_SECRET"]));
    let own = json!({ "credentials": { "WHATSAPP_ACCESS_TOKEN": "newer" } });
    hub.change(&made, &acme(), &own).await.unwrap();
    assert!(hub.kept(&made).await.contains("WHATSAPP_APP_SECRET"), "the account is the same");
    hub.change(&made, &acme(), &number("333")).await.unwrap();
    assert!(!hub.kept(&made).await.contains("WHATSAPP_APP_SECRET"), "it proves another number");
    // A token of the operator's is the operator's.
    let token = json!({ "credentials": { "WHATSAPP_ACCESS_TOKEN": "operators" } });
    hub.change(&made, &TenantId::platform(), &token).await.unwrap();
    refused(&hub.change(&made, &acme(), &number("444")).await.unwrap_err(), "a number");
    // Nobody wrote down who gave it.
    let unmarked = Integration { tenant_credentials: BTreeSet::new(), ..made };
    hub.api.table.insert_integration(&unmarked, &[]).await;
    refused(&hub.change(&unmarked, &acme(), &number("444")).await.unwrap_err(), "unmarked");
}

#[tokio::test]
async fn tenants_who_are_believed_as_the_operator_is_change_everything() {
    let hub = Hub { trust_tenants: true, ..Hub::new().await };
    for &provider in Provider::ALL {
        let before = hub.made(provider, &TenantId::platform(), &base(provider)).await;
        for (name, settings) in changes(provider) {
            let body = json!({ "settings": settings });
            if let Err(problem) = hub.change(&before, &acme(), &body).await {
                assert_ne!(problem.code, "operator_credentials", "{provider}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn only_the_operator_says_that_programs_are_trusted_and_a_tenant_takes_it_nowhere_else() {
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
    let made = hub.call(Method::POST, "/integrations", &acme(), &untrusted).await.unwrap();
    assert_eq!(made["trusted_ingest"], false);
    let made = hub.stored(made["id"].as_str().unwrap().parse().unwrap()).await;
    let trust = |trusted: bool| json!({ "trusted_ingest": trusted });
    let problem = hub.change(&made, &acme(), &trust(true)).await.unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (403, Some("trusted_ingest")));
    let shown = hub.change(&made, &TenantId::platform(), &trust(true)).await.unwrap();
    assert_eq!(shown["trusted_ingest"], true);
    let settings = |id: &str, pace: u32| json!({ "settings": { "phone_number_id": id, "messages_per_second": pace } });
    let shown = hub.change(&made, &acme(), &settings("111", 7)).await.unwrap();
    assert_eq!(shown["trusted_ingest"], true, "it is the same account");
    let mut kept = settings("222", 7);
    kept["trusted_ingest"] = true.into();
    let problem = hub.change(&made, &acme(), &kept).await.unwrap_err();
    assert_eq!(problem.field.as_deref(), Some("trusted_ingest"), "nobody said it of this one");
    let shown = hub.change(&made, &acme(), &settings("222", 7)).await.unwrap();
    assert_eq!(shown["trusted_ingest"], false, "it is another account");
    hub.trust_tenants = true;
    let shown = hub.change(&made, &acme(), &trust(true)).await.unwrap();
    assert_eq!(shown["trusted_ingest"], true);
    hub.trust_tenants = false;
    let shown = hub.change(&made, &acme(), &trust(false)).await.unwrap();
    assert_eq!(shown["trusted_ingest"], false, "less is anybody's to say");
}

#[tokio::test]
async fn trust_ends_where_other_credentials_may_be_another_accounts() {
    let hub = Hub::new().await;
    let made = hub.made(Provider::Twilio, &acme(), &base(Provider::Twilio)).await;
    assert_eq!(made.account, None, "what a tenant says of an account at Twilio proves nothing");
    let trust = json!({ "trusted_ingest": true });
    hub.change(&made, &TenantId::platform(), &trust).await.unwrap();
    let proving = json!({ "credentials": { "TWILIO_SHARED_KEY": "another" } });
    let shown = hub.change(&made, &acme(), &proving).await.unwrap();
    assert_eq!(shown["trusted_ingest"], true, "it only proves webhooks");
    let other = json!({ "credentials": given(Provider::Twilio, &["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]) });
    let shown = hub.change(&made, &acme(), &other).await.unwrap();
    assert_eq!(shown["trusted_ingest"], false);
}

#[tokio::test]
async fn a_value_of_a_credential_that_no_provider_has_is_refused() {
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

/// Every call at which a change may break off: whether it is one of the vault's or a request to
/// the table, its number and its side. `before` and `after` are the calls of both so far.
fn breaks(before: [u64; 2], after: [u64; 2]) -> Vec<(bool, u64, Side)> {
    let mut breaks = Vec::new();
    for (place, in_vault) in [true, false].into_iter().enumerate() {
        let calls = after[place] - before[place];
        assert!(calls > 0);
        for side in [Side::Before, Side::After] {
            breaks.extend((1..=calls).map(|call| (in_vault, call, side)));
        }
    }
    breaks
}

#[tokio::test]
async fn a_change_that_breaks_off_anywhere_leads_the_operators_credentials_nowhere() {
    let name = "EVOLUTION_API_KEY";
    let body = json!({ "settings": evolution("victim"),
        "credentials": { name: "the-tenants-own" } });
    let begin = async || {
        let hub = Hub::new().await;
        let settings = evolution("mine");
        let made = hub.made(Provider::Evolution, &TenantId::platform(), &settings).await;
        (hub, made)
    };
    let (hub, made) = begin().await;
    let before = hub.calls();
    hub.change(&made, &acme(), &body).await.unwrap();
    for (in_vault, call, side) in breaks(before, hub.calls()) {
        let (hub, made) = begin().await;
        let operators = hub.secret(&made, name);
        let faults = if in_vault { hub.api.vault.faults() } else { &hub.api.table_faults };
        faults.fail_call(call, side);
        let changed = hub.change(&made, &acme(), &body).await;
        let what = format!("call {call}, {side:?}, vault {in_vault}: {changed:?}");
        assert!(faults.happened(), "{what}");
        faults.mend();
        let after = hub.stored(made.id).await;
        let leads = after.settings.fields()["instance"] == "victim";
        assert!(!leads || hub.secret(&made, name) != operators, "{what}");
        assert!(leads || changed.is_err(), "{what}");
        // Asked again it is done.
        hub.api.clock.advance(std::time::Duration::from_mins(2));
        hub.change(&made, &acme(), &body).await.unwrap();
    }
}

#[tokio::test]
async fn what_the_operator_gives_counts_as_the_operators_wherever_the_change_breaks_off() {
    let name = "EVOLUTION_API_KEY";
    let body = json!({ "credentials": { name: "the-operators-own" } });
    let begin = async || {
        let hub = Hub::new().await;
        let made = hub.made(Provider::Evolution, &acme(), &evolution("mine")).await;
        (hub, made)
    };
    let (hub, made) = begin().await;
    let before = hub.calls();
    hub.change(&made, &TenantId::platform(), &body).await.unwrap();
    for (in_vault, call, side) in breaks(before, hub.calls()) {
        let (hub, made) = begin().await;
        let faults = if in_vault { hub.api.vault.faults() } else { &hub.api.table_faults };
        faults.fail_call(call, side);
        let changed = hub.change(&made, &TenantId::platform(), &body).await;
        let what = format!("call {call}, {side:?}, vault {in_vault}: {changed:?}");
        assert!(faults.happened(), "{what}");
        faults.mend();
        let after = hub.stored(made.id).await;
        let marked = after.operator_credentials().any(|own| own == name);
        let is_operators = hub.secret(&made, name).as_deref() == Some("the-operators-own");
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
