//! Integrations: a tenant's accounts at providers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::circuit::{self, Breaker};
use domain::integration::{Flaw, Settings};
use domain::ports::{Circuits, Claimed, Clock, Dice, Freshness, Registry, Routes, Safe, Vault};
use domain::sender::{MessageSender, SendError};
use domain::tenant::Scope;
use domain::{Credentials, Integration, IntegrationId, Provider, TenantId};
use http::StatusCode;
use jiff::Timestamp;
use providers::entry::Maker;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::DynamoStore;

use super::tenants::check_url;
use super::whatsapp_settings::{SetWhatsapp, WhatsappView};
use super::{ApiReply, ApiRequest, Params, Problem, Resource, Route, giver, schema};
use crate::sender::Caller;
use crate::vault::SecretsVault;
use crate::webhook::path_hash;
use crate::{Error, Kit, Network};

/// How long credentials may be locked: as long as the function may run.
const LOCK: Duration = Duration::from_secs(30);
/// How often the lock is asked for, and how long between.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// What the resource needs.
#[derive(Debug)]
pub struct Integrations<S, V, T, C, R> {
    /// The table.
    pub store: S,
    /// Credentials.
    pub vault: V,
    /// The way to providers.
    pub caller: T,
    /// The time.
    pub clock: C,
    /// Ids and secrets.
    pub dice: R,
    /// Whether tenants are believed as the operator is. Never where tenants are strangers.
    pub trust_tenants: bool,
}

/// Its operations.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Make an integration.
    Create,
    /// List a tenant's.
    List,
    /// Show one.
    Show,
    /// Change one.
    Change,
    /// Remove one.
    Remove,
    /// Ask the provider about the account.
    Verify,
    /// Connect the account to the hub.
    Register,
    /// Show how it fared of late.
    Health,
    /// Say who carries a tenant's WhatsApp messages.
    SetWhatsapp,
    /// Show who does.
    ShowWhatsapp,
}

/// One value, or several while it is rotated.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    /// One.
    One(String),
    /// Several, newest first.
    Many(Vec<String>),
}

/// Body of `POST /integrations`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateIntegration {
    /// Whose it is: `platform` for the operator's own app. The key's own tenant if absent.
    #[serde(default)]
    pub(super) tenant: Option<TenantId>,
    /// Where the account is.
    pub(super) provider: Provider,
    /// How to reach and use it.
    #[serde(default)]
    pub(super) settings: Map<String, Value>,
    /// Its secrets, by the providers' usual names. They are never shown again. A webhook secret
    /// that the hub can generate is generated if it is absent.
    #[serde(default)]
    pub(super) credentials: BTreeMap<String, OneOrMany>,
    /// When the hub stops sending through it for a while.
    #[serde(default)]
    pub(super) circuit: Breaker,
    /// Whether what `POST /webhook/inbound` brings to this account counts as proved by the
    /// provider. Only the platform's key may say so.
    #[serde(default)]
    pub(super) trusted_ingest: bool,
}

/// Body of `PUT /integrations/{id}`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeIntegration {
    /// In the place of the settings it has.
    #[serde(default)]
    pub(super) settings: Option<Map<String, Value>>,
    /// Put over the credentials it has, name by name: so a generated one is replaced, too. While
    /// one is rotated, give the new and the old value as a list.
    #[serde(default)]
    pub(super) credentials: BTreeMap<String, OneOrMany>,
    /// In the place of when the hub stops sending through it.
    #[serde(default)]
    pub(super) circuit: Option<Breaker>,
    /// Whether what `POST /webhook/inbound` brings to this account counts as proved by the
    /// provider. Only the platform's key may say so; it ends when a tenant's key changes which
    /// account it is.
    #[serde(default)]
    pub(super) trusted_ingest: Option<bool>,
}

/// Body of `POST /integrations/{id}/register`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Register {
    /// WhatsApp: the six digits of the number's two-step verification.
    #[serde(default)]
    pin: Option<String>,
}

/// An integration, without its secrets.
#[derive(Serialize, JsonSchema)]
struct IntegrationView {
    /// Its id.
    id: IntegrationId,
    /// Whose it is.
    tenant: TenantId,
    /// Where the account is.
    provider: Provider,
    /// How to reach and use it.
    settings: serde_json::Value,
    /// The end of each credential, to recognise it by.
    credentials: BTreeMap<String, String>,
    /// The credentials that the operator gave: a tenant's key changes what they are used for only
    /// with credentials of its own in their place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    operator_credentials: Vec<String>,
    /// The credentials that the hub generated because they were absent, by name. Shown only in
    /// the answer that makes them: keep them, the provider needs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    generated_credentials: Option<Generated>,
    /// Paste this at the provider, or let `register` do it.
    webhook_url: String,
    /// The same for each of the provider's webhooks, by name.
    webhook_urls: BTreeMap<&'static str, String>,
    /// When the hub stops sending through it for a while.
    circuit: Breaker,
    /// Whether what `POST /webhook/inbound` brings to this account counts as proved by the
    /// provider.
    trusted_ingest: bool,
    /// When it was made.
    created_at: Timestamp,
    /// Whether the provider was told the webhook's address when the integration was made, where
    /// that is done at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<Connection>,
}

/// Credentials that the hub generated, by name.
pub(super) type Generated = BTreeMap<String, String>;

/// An integration that was made or changed.
pub(super) struct MadeIntegration {
    pub(super) integration: Integration,
    /// Its credentials that nobody but the hub knows yet.
    pub(super) generated: Option<Generated>,
}

/// Whether an account is connected to the hub.
#[derive(Serialize, JsonSchema)]
pub(super) struct Connection {
    /// It is.
    connected: bool,
    /// Why not, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// How an integration fared of late.
#[derive(Serialize, JsonSchema)]
struct Health {
    /// Which.
    integration: IntegrationId,
    /// Where the account is.
    provider: Provider,
    /// `closed`: messages pass. `open`: none do. `half_open`: the next one is a probe.
    state: circuit::State,
    /// Failures within the current window.
    failures: u32,
    /// When it opened, while it is not closed.
    opened_at: Option<Timestamp>,
    /// When it is probed, while it is open.
    retry_at: Option<Timestamp>,
    /// When it last closed.
    closed_at: Option<Timestamp>,
    /// The last failure that counted.
    last_failure: Option<circuit::Failure>,
    /// When it opens.
    circuit: Breaker,
    /// What the provider says of the account, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Word>,
}

/// What a provider says of an account.
#[derive(Serialize, JsonSchema)]
struct Word {
    /// It knows the account, and the account can send.
    ok: bool,
    /// The account, in the provider's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Value>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// A tenant's integrations.
#[derive(Serialize, JsonSchema)]
struct IntegrationList {
    /// The integrations.
    integrations: Vec<IntegrationView>,
}

/// What the provider said.
#[derive(Serialize, JsonSchema)]
struct Verified {
    /// It knows the account and the credentials.
    ok: bool,
    /// The account, in the provider's own words.
    account: Value,
}

const TENANT: &[(&str, &str, &str)] =
    &[("tenant", "query", "Which tenant's, for the platform's key.")];

/// The routes of integrations.
pub(crate) const ROUTES: &[Route<Operation>] = &[
    Route {
        operation: Operation::Create,
        method: "POST",
        path: "/integrations",
        summary: "Make an integration",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: Some(schema::<CreateIntegration>),
        answer: (201, Some(schema::<IntegrationView>)),
    },
    Route {
        operation: Operation::List,
        method: "GET",
        path: "/integrations",
        summary: "List a tenant's integrations",
        scope: Some(Scope::Admin),
        parameters: TENANT,
        request: None,
        answer: (200, Some(schema::<IntegrationList>)),
    },
    Route {
        operation: Operation::Show,
        method: "GET",
        path: "/integrations/{id}",
        summary: "Show an integration",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<IntegrationView>)),
    },
    Route {
        operation: Operation::Change,
        method: "PUT",
        path: "/integrations/{id}",
        summary: "Change settings or credentials",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: Some(schema::<ChangeIntegration>),
        answer: (200, Some(schema::<IntegrationView>)),
    },
    Route {
        operation: Operation::Remove,
        method: "DELETE",
        path: "/integrations/{id}",
        summary: "Remove an integration and its credentials",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (204, None),
    },
    Route {
        operation: Operation::Verify,
        method: "POST",
        path: "/integrations/{id}/verify",
        summary: "Ask the provider whether it knows the account and the credentials",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<Verified>)),
    },
    Route {
        operation: Operation::Register,
        method: "POST",
        path: "/integrations/{id}/register",
        summary: "Connect the account: WhatsApp's number with its PIN, Telegram's webhook",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: Some(schema::<Register>),
        answer: (200, Some(schema::<Verified>)),
    },
    Route {
        operation: Operation::Health,
        method: "GET",
        path: "/integrations/{id}/health",
        summary: "Show how an integration fared of late: its circuit breaker",
        scope: Some(Scope::Read),
        parameters: &[(
            "ask",
            "query",
            "`true` also asks the provider about the account, such as whether it is connected.",
        )],
        request: None,
        answer: (200, Some(schema::<Health>)),
    },
    Route {
        operation: Operation::SetWhatsapp,
        method: "PUT",
        path: "/tenants/{tenant}/whatsapp-settings",
        summary: "Say who carries the tenant's WhatsApp messages, and who if that one cannot",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: Some(schema::<SetWhatsapp>),
        answer: (200, Some(schema::<WhatsappView>)),
    },
    Route {
        operation: Operation::ShowWhatsapp,
        method: "GET",
        path: "/tenants/{tenant}/whatsapp-settings",
        summary: "Show who carries the tenant's WhatsApp messages",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<WhatsappView>)),
    },
];

impl<S, V, T, C, R> Resource for Integrations<S, V, T, C, R>
where
    S: Registry + Circuits + Routes,
    V: Vault + Safe,
    T: Caller,
    C: Clock,
    R: Dice,
{
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::Create => self.create(request).await,
            Operation::List => {
                let tenant = request.tenant(Scope::Admin, None)?;
                let integrations = self.store.integrations(&tenant).await?;
                let view = |integration| view(request, integration);
                let integrations = integrations.into_iter().map(view).collect();
                ApiReply::json(StatusCode::OK, &IntegrationList { integrations })
            }
            Operation::Show => {
                let integration = self.own(request, params, Scope::Admin).await?;
                ApiReply::json(StatusCode::OK, &view(request, integration))
            }
            Operation::Change => self.change(request, params).await,
            Operation::Remove => {
                let integration = self.own(request, params, Scope::Admin).await?;
                let credentials = self.vault.credentials(&integration, Freshness::Fresh).await?;
                let paths = path_secrets(integration.provider, &credentials);
                let remove = async {
                    self.store.delete_integration(&integration, &paths).await?;
                    Ok(self.vault.store(&integration, None).await?)
                };
                self.locked(&integration, remove).await?;
                Ok(ApiReply::empty())
            }
            Operation::Verify => {
                let integration = self.own(request, params, Scope::Admin).await?;
                let account = self.ask(&integration, |sender| sender.describe_account()).await?;
                ApiReply::json(StatusCode::OK, &Verified { ok: true, account })
            }
            Operation::Register => {
                let integration = self.own(request, params, Scope::Admin).await?;
                let asked: Register =
                    if request.body.is_empty() { Register::default() } else { request.read()? };
                if self.maker(request, &integration.tenant)? == Maker::Tenant {
                    giver::check_use(&integration)?;
                }
                let url = webhook_url(request, &integration);
                let pin = asked.pin.as_deref();
                let account = self.ask(&integration, |sender| sender.register(&url, pin)).await?;
                ApiReply::json(StatusCode::OK, &Verified { ok: true, account })
            }
            Operation::Health => {
                let integration = self.own(request, params, Scope::Read).await?;
                let asks = request.query("ask") == Some("true");
                self.health(integration, asks).await
            }
            Operation::SetWhatsapp => self.set_whatsapp(request, params).await,
            Operation::ShowWhatsapp => self.show_whatsapp(request, params).await,
        }
    }
}

impl<S, V, T, C, R> Integrations<S, V, T, C, R>
where
    S: Registry + Circuits + Routes,
    V: Vault + Safe,
    T: Caller,
    C: Clock,
    R: Dice,
{
    /// The integration the path names, if the caller may see it.
    async fn own(
        &self,
        request: &ApiRequest,
        params: &Params<'_>,
        scope: Scope,
    ) -> Result<Integration, Problem> {
        let caller = request.caller(scope)?;
        let integration = self.store.integration(params.get("id")?).await?;
        let ours = |integration: &Integration| {
            caller.tenant.is_platform() || integration.tenant == caller.tenant
        };
        integration.filter(ours).ok_or_else(Problem::not_found)
    }

    async fn create(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        // The right first: a key without it is told nothing about the body.
        request.caller(Scope::Admin)?;
        let asked: CreateIntegration = request.read()?;
        let tenant = request.tenant(Scope::Admin, asked.tenant.as_ref())?;
        if !tenant.is_platform() && self.store.tenant(&tenant).await?.is_none() {
            return Err(Problem::invalid("tenant", "there is no such tenant".to_owned()));
        }
        let made = self.make(request, tenant, asked).await?;
        let connection = self.connect(request, &made.integration).await;
        let view = IntegrationView {
            connection,
            generated_credentials: made.generated,
            ..view(request, made.integration)
        };
        ApiReply::json(StatusCode::CREATED, &view)
    }

    /// Connects a new integration's account to the hub, where that is done at once. It is made
    /// whether or not the provider can be reached now: `register` does it again.
    pub(super) async fn connect(
        &self,
        request: &ApiRequest,
        integration: &Integration,
    ) -> Option<Connection> {
        // Without an address nothing is sent, and nothing can be asked.
        if !providers::entry(integration.provider).connects
            || integration.settings.base_url().is_none()
        {
            return None;
        }
        let url = webhook_url(request, integration);
        let asked = self.ask(integration, |sender| sender.register(&url, None)).await;
        Some(match asked {
            Ok(_) => Connection { connected: true, detail: None },
            Err(problem) => {
                let code = problem.code.as_str();
                tracing::warn!(integration = %integration.id, code, "account not connected");
                let detail = format!("{}; call register once that is mended", problem.detail);
                Connection { connected: false, detail: Some(detail) }
            }
        })
    }

    /// Makes an integration of `tenant`'s.
    pub(super) async fn make(
        &self,
        request: &ApiRequest,
        tenant: TenantId,
        asked: CreateIntegration,
    ) -> Result<MadeIntegration, Problem> {
        let settings = settings(asked.provider, &asked.settings)?;
        let given = credentials(asked.provider, asked.credentials)?;
        let mut tenant_credentials = BTreeSet::new();
        note_giver(request, &mut tenant_credentials, &names(&given))?;
        let made_up = self.made_up(asked.provider, &given);
        tenant_credentials.extend(names(&made_up));
        let generated = shown_once(&made_up);
        let credentials = given.merged(made_up);
        let maker = self.maker(request, &tenant)?;
        if asked.trusted_ingest {
            check_trust(request, maker)?;
        }
        let now = self.clock.now();
        let integration = Integration {
            id: IntegrationId::new(now, self.dice.bits()),
            account: account(asked.provider, maker, &settings, &credentials)?,
            provider: asked.provider,
            hints: credentials.hints(),
            tenant,
            settings,
            created_at: now,
            credentials_at: now,
            tenant_credentials,
            trusted_ingest: asked.trusted_ingest,
            circuit: breaker(asked.circuit)?,
        };
        self.check_base_url(request, &integration, None)?;
        self.check_account(request, &integration, &credentials).await?;
        let write = async {
            // The secrets first: an integration that can be found can be used.
            self.vault.store(&integration, Some(&credentials)).await?;
            let paths = path_secrets(integration.provider, &credentials);
            let claimed = self.store.put_integration(&integration, &paths, None).await?;
            if claimed == Claimed::Taken {
                self.vault.store(&integration, None).await?;
                return Err(taken(&integration));
            }
            Ok(())
        };
        self.locked(&integration, write).await?;
        Ok(MadeIntegration { integration, generated })
    }

    /// The credential that the hub makes up, if none is given.
    fn made_up(&self, provider: Provider, given: &Credentials) -> Credentials {
        let name = providers::entry(provider).made_up;
        Credentials::new(name.filter(|name| given.first(name).is_none()).map(|name| {
            let bits = [self.dice.bits(), self.dice.bits()];
            let secret: SecretString = bits.map(|b| hex::encode(b.to_be_bytes())).concat().into();
            (name.to_owned(), vec![secret])
        }))
    }

    /// How an integration fared of late.
    async fn health(&self, integration: Integration, asks: bool) -> Result<ApiReply, Problem> {
        let said = async {
            if !asks {
                return None;
            }
            let word = match self.ask(&integration, |sender| sender.describe_account()).await {
                Ok(account) => Word { ok: true, account: Some(account), detail: None },
                Err(problem) => Word { ok: false, account: None, detail: Some(problem.detail) },
            };
            Some(word)
        };
        let circuit = self.store.circuit(&integration.tenant, integration.id);
        let (circuit, account) = futures::join!(circuit, said);
        let (circuit, _) = circuit?;
        let health = Health {
            integration: integration.id,
            provider: integration.provider,
            state: circuit.state(self.clock.now()),
            failures: circuit.failures,
            opened_at: circuit.opened_at,
            retry_at: circuit.open_until,
            closed_at: circuit.closed_at,
            last_failure: circuit.last_failure,
            circuit: integration.circuit,
            account,
        };
        ApiReply::json(StatusCode::OK, &health)
    }

    /// Who makes or changes an integration of `tenant`'s.
    fn maker(&self, request: &ApiRequest, tenant: &TenantId) -> Result<Maker, Problem> {
        if tenant.is_platform() {
            return Ok(Maker::Hub);
        }
        let is_operator = request.caller(Scope::Admin)?.tenant.is_platform();
        Ok(if is_operator || self.trust_tenants { Maker::Operator } else { Maker::Tenant })
    }

    /// Only the operator may say that a provider is elsewhere: the hub sends tokens there, and
    /// believes what it answers.
    fn check_base_url(
        &self,
        request: &ApiRequest,
        integration: &Integration,
        before: Option<&Integration>,
    ) -> Result<(), Problem> {
        if self.trust_tenants {
            return Ok(());
        }
        let is_at = providers::entry(integration.provider).is_at;
        let elsewhere = integration.settings.other_base_url().filter(|address| !is_at(address));
        let unchanged = before.is_some_and(|b| b.settings.other_base_url() == elsewhere);
        if elsewhere.is_none() || unchanged {
            return Ok(());
        }
        request.platform().map(|_| ()).map_err(|problem| problem.at("settings.base_url"))
    }

    /// A tenant proves that an account is theirs before they hold it, or they could hold
    /// another's and be given their messages. The operator is believed.
    async fn check_account(
        &self,
        request: &ApiRequest,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Result<(), Problem> {
        // Without an account it takes only what its own secret signs.
        let nothing_to_prove = integration.account.is_none();
        if nothing_to_prove
            || self.trust_tenants
            || request.caller(Scope::Admin)?.tenant.is_platform()
        {
            return Ok(());
        }
        if !providers::entry(integration.provider).proves_accounts {
            let detail = "only the operator can say whose this account is; leave it out to take \
                 whatever your own secret signs"
                .to_owned();
            return Err(
                Problem::invalid("settings.account", detail).with_code("account_not_proven")
            );
        }
        let account = self.ask_with(integration, credentials, |s| s.describe_account()).await?;
        let id = account
            .get("id")
            .map(|id| id.as_str().map_or_else(|| id.to_string(), ToOwned::to_owned));
        if id.is_some() && id == integration.account {
            return Ok(());
        }
        let detail = "the credentials are not this account's; give the account's own".to_owned();
        Err(Problem::invalid("settings", detail).with_code("account_not_proven"))
    }

    /// Does `work` while nobody else changes the tenant's credentials at the provider: they
    /// share one secret, which is written as a whole.
    async fn locked<O: Send>(
        &self,
        integration: &Integration,
        work: impl Future<Output = Result<O, Problem>> + Send,
    ) -> Result<O, Problem> {
        let (tenant, provider) = (&integration.tenant, integration.provider);
        for _ in 0..LOCK_TRIES {
            let now = self.clock.now();
            let until = now + LOCK;
            if self.store.lock_credentials(tenant, provider, now, until).await? {
                let done = work.await;
                if let Err(error) = self.store.unlock_credentials(tenant, provider, until).await {
                    tracing::warn!(%tenant, %provider, %error, "lock not given back; it runs out");
                }
                return done;
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
        let title = "The hub cannot do this at the moment";
        let detail = "the tenant's credentials are being changed; try again".to_owned();
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title, detail))
    }

    async fn change(&self, request: &ApiRequest, params: &Params<'_>) -> Result<ApiReply, Problem> {
        let before = self.own(request, params, Scope::Admin).await?;
        let changed = self.alter(request, &before, request.read()?).await?;
        let view = IntegrationView {
            generated_credentials: changed.generated,
            ..view(request, changed.integration)
        };
        ApiReply::json(StatusCode::OK, &view)
    }

    /// Changes an integration.
    pub(super) async fn alter(
        &self,
        request: &ApiRequest,
        before: &Integration,
        asked: ChangeIntegration,
    ) -> Result<MadeIntegration, Problem> {
        self.locked(before, self.change_locked(request, before.id, asked)).await
    }

    async fn change_locked(
        &self,
        request: &ApiRequest,
        id: IntegrationId,
        asked: ChangeIntegration,
    ) -> Result<MadeIntegration, Problem> {
        // As it is now that nobody else changes it.
        let before = self.store.integration(id).await?.ok_or_else(Problem::not_found)?;
        let old = self.vault.credentials(&before, Freshness::Fresh).await?;
        let provider = before.provider;
        let newer = self::credentials(provider, asked.credentials)?;
        let given = names(&newer);
        let settings = match asked.settings {
            Some(settings) => self::settings(provider, &settings)?,
            None => before.settings.clone(),
        };
        let maker = self.maker(request, &before.tenant)?;
        let led = giver::led_elsewhere(&before, &settings);
        if maker == Maker::Tenant {
            giver::check_change(&before, led.as_deref(), &given)?;
        }
        let mut credentials = old.clone().merged(newer);
        let mut tenant_credentials = before.tenant_credentials.clone();
        note_giver(request, &mut tenant_credentials, &given)?;
        let account = if led.is_none() && given.is_empty() {
            // Nothing that it follows from has changed.
            before.account.clone()
        } else {
            account(provider, maker, &settings, &credentials)?
        };
        let is_elsewhere = led.is_some() || account != before.account;
        let takes_over = before.operator_credentials().any(|name| given.iter().any(|g| g == name));
        let mut generated = None;
        if maker == Maker::Tenant && is_elsewhere {
            // Nothing of the operator's is used for what a tenant chose.
            let left = before.operator_credentials();
            let left = left.filter(|name| !tenant_credentials.contains(*name));
            credentials = credentials.without(left);
            let made_up = self.made_up(provider, &credentials);
            generated = shown_once(&made_up);
            tenant_credentials.extend(names(&made_up));
            credentials = credentials.merged(made_up);
        }
        // Where no account is named, the credentials say which it is.
        let may_be_other =
            account.is_none() && given.iter().any(|name| giver::is_sent_with(provider, name));
        let is_kept = maker != Maker::Tenant || !(is_elsewhere || takes_over || may_be_other);
        let trusted_ingest = match asked.trusted_ingest {
            Some(true) if !(before.trusted_ingest && is_kept) => {
                check_trust(request, maker)?;
                true
            }
            Some(wanted) => wanted,
            None => before.trusted_ingest && is_kept,
        };
        let integration = Integration {
            account,
            hints: credentials.hints(),
            tenant_credentials,
            trusted_ingest,
            settings,
            circuit: asked.circuit.map_or(Ok(before.circuit), breaker)?,
            credentials_at: if credentials.same_as(&old) {
                before.credentials_at
            } else {
                self.clock.now()
            },
            ..before.clone()
        };
        self.check_base_url(request, &integration, Some(&before))?;
        // Who puts their own credentials in the place of the operator's holds the account as if
        // they had made the integration.
        if integration.account != before.account || takes_over {
            self.check_account(request, &integration, &credentials).await?;
        }
        let (paths, old_paths) =
            (path_secrets(provider, &credentials), path_secrets(provider, &old));
        let replaced = Some((&before, old_paths.as_slice()));
        let put = self.store.put_integration(&integration, &paths, replaced);
        if maker == Maker::Tenant {
            // The secrets first: wherever this breaks off, the operator's are not used for what
            // the tenant chose. The tenant's own do no harm where the operator pointed.
            self.vault.store(&integration, Some(&credentials)).await?;
            if put.await? == Claimed::Taken {
                self.vault.store(&before, Some(&old)).await?;
                return Err(taken(&integration));
            }
        } else {
            // The mark first: what the operator gives counts as theirs before it is there.
            if put.await? == Claimed::Taken {
                return Err(taken(&integration));
            }
            self.vault.store(&integration, Some(&credentials)).await?;
        }
        Ok(MadeIntegration { integration, generated })
    }

    /// Asks the provider one thing.
    async fn ask(
        &self,
        integration: &Integration,
        question: impl FnOnce(&dyn MessageSender) -> Result<http::Request<bytes::Bytes>, SendError>
        + Send,
    ) -> Result<serde_json::Value, Problem> {
        let credentials = self.vault.credentials(integration, Freshness::Fresh).await?;
        self.ask_with(integration, &credentials, question).await
    }

    async fn ask_with(
        &self,
        integration: &Integration,
        credentials: &Credentials,
        question: impl FnOnce(&dyn MessageSender) -> Result<http::Request<bytes::Bytes>, SendError>
        + Send,
    ) -> Result<serde_json::Value, Problem> {
        let asked = async {
            let sender =
                providers::sender(integration.provider).ok_or_else(providers::cannot_send)?;
            let sender = sender.sender(integration, credentials)?;
            let request = question(sender.as_ref())?;
            let response = self.caller.call(request).await?;
            sender.answer(&response)
        };
        asked.await.map_err(|error| Problem::of_provider(&error))
    }
}

/// Credentials that the hub generated, as they are shown once; `None` if there are none.
fn shown_once(credentials: &Credentials) -> Option<Generated> {
    let first = |name: &String| {
        let secret = credentials.first(name)?;
        Some((name.clone(), secret.expose_secret().to_owned()))
    };
    let shown: Generated = names(credentials).iter().filter_map(first).collect();
    (!shown.is_empty()).then_some(shown)
}

fn taken(integration: &Integration) -> Problem {
    let (field, detail) = if integration.tenant.is_platform() {
        ("provider", "the platform has an integration at this provider; change that one")
    } else {
        (
            "settings",
            "another integration holds this account or webhook secret; remove it there first",
        )
    };
    Problem::conflict(field, "account_taken", detail.to_owned())
}

/// Reads the settings of one provider.
fn settings(provider: Provider, given: &Map<String, Value>) -> Result<Settings, Problem> {
    let settings = (providers::entry(provider).settings)(given).map_err(flawed)?;
    if let Some(base_url) = settings.base_url() {
        check_url("settings.base_url", base_url)?;
    }
    if settings.messages_per_second() == Some(0) {
        let detail = "at least 1".to_owned();
        return Err(Problem::invalid("settings.messages_per_second", detail));
    }
    Ok(settings)
}

/// When the hub stops sending through an integration, within reason.
fn breaker(given: Breaker) -> Result<Breaker, Problem> {
    let Breaker { failures, window_seconds, open_seconds } = given;
    for (field, value, most) in [
        ("circuit.failures", failures, 1000),
        ("circuit.window_seconds", window_seconds, 3600),
        ("circuit.open_seconds", open_seconds, 600),
    ] {
        if !(1..=most).contains(&value) {
            return Err(Problem::invalid(field, format!("1 to {most}")));
        }
    }
    Ok(given)
}

fn flawed(flaw: Flaw) -> Problem {
    Problem::invalid(&flaw.field, flaw.reason)
}

/// The longest value of a credential, in bytes: a private key in PEM has some 3,300. One secret
/// of 64 KiB holds what a tenant has at a provider.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>
const LONGEST_VALUE: usize = 8 * 1024;
/// Values one credential may have at once: a rotation needs two.
const MAX_VALUES: usize = 5;

/// Reads credentials, and refuses names the provider does not have.
fn credentials(
    provider: Provider,
    given: BTreeMap<String, OneOrMany>,
) -> Result<Credentials, Problem> {
    let (known, check) = (providers::entry(provider).credentials, providers::entry(provider).check);
    let mut fields = Vec::new();
    for (name, values) in given {
        let field = format!("credentials.{name}");
        if !known.contains(&name.as_str()) {
            let detail = format!("{provider} has these: {}", known.join(", "));
            return Err(Problem::invalid(&field, detail));
        }
        let values = match values {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        };
        let mut different = values.clone();
        different.sort_unstable();
        different.dedup();
        if values.len() > MAX_VALUES || different.len() < values.len() {
            let detail = format!("at most {MAX_VALUES} values, each different");
            return Err(Problem::invalid(&field, detail));
        }
        if values.iter().any(|value| value.len() > LONGEST_VALUE) {
            return Err(Problem::invalid(&field, format!("at most {LONGEST_VALUE} bytes a value")));
        }
        if values.is_empty() || values.iter().any(String::is_empty) {
            return Err(Problem::invalid(&field, "an empty secret proves nothing".to_owned()));
        }
        values.iter().try_for_each(|value| check(&name, value)).map_err(flawed)?;
        fields.push((name, values.into_iter().map(SecretString::from).collect()));
    }
    Ok(Credentials::new(fields))
}

/// The account as the provider names it in webhooks.
fn account(
    provider: Provider,
    maker: Maker,
    settings: &Settings,
    credentials: &Credentials,
) -> Result<Option<String>, Problem> {
    let entry = providers::entry(provider);
    (entry.account)(maker, settings, credentials).map_err(flawed)
}

/// The hashes of secrets that may stand in a webhook's path.
fn path_secrets(provider: Provider, credentials: &Credentials) -> Vec<String> {
    let name = providers::entry(provider).in_path;
    let secrets = name.map_or(&[][..], |name| credentials.all(name)).iter();
    secrets.map(|secret| path_hash(secret.expose_secret())).collect()
}

/// Where the integration's webhook of that path is called.
fn address(base: &str, path: &str, integration: &Integration) -> String {
    // The operator's own app has one address for all tenants.
    if integration.tenant.is_platform() && providers::entry(integration.provider).one_address {
        format!("{base}/webhooks/{path}")
    } else {
        format!("{base}/webhooks/{path}/{}", integration.id)
    }
}

fn webhook_url(request: &ApiRequest, integration: &Integration) -> String {
    address(&request.base_url, providers::webhook(integration.provider).path(), integration)
}

/// The names of credentials.
fn names(credentials: &Credentials) -> Vec<String> {
    credentials.iter().map(|(name, _)| name.to_owned()).collect()
}

/// Writes down who gave the credentials of these names: the operator, by the platform's key, or
/// the tenant.
fn note_giver(
    request: &ApiRequest,
    tenants: &mut BTreeSet<String>,
    given: &[String],
) -> Result<(), Problem> {
    if request.caller(Scope::Admin)?.tenant.is_platform() {
        tenants.retain(|name| !given.contains(name));
    } else {
        tenants.extend(given.iter().cloned());
    }
    Ok(())
}

/// Only the operator may say that what a program brings counts as proved: it opens windows.
fn check_trust(request: &ApiRequest, maker: Maker) -> Result<(), Problem> {
    if maker == Maker::Tenant {
        request.platform().map_err(|problem| problem.at("trusted_ingest"))?;
    }
    Ok(())
}

fn view(request: &ApiRequest, integration: Integration) -> IntegrationView {
    let webhook_url = webhook_url(request, &integration);
    let webhooks = providers::entry(integration.provider).webhooks.iter();
    let webhook_urls = webhooks
        .map(|webhook| (webhook.name(), address(&request.base_url, webhook.path(), &integration)))
        .collect();
    let operator_credentials = integration.operator_credentials().map(str::to_owned).collect();
    IntegrationView {
        id: integration.id,
        tenant: integration.tenant,
        provider: integration.provider,
        settings: Value::Object(integration.settings.fields()),
        circuit: integration.circuit,
        trusted_ingest: integration.trusted_ingest,
        operator_credentials,
        credentials: integration.hints,
        generated_credentials: None,
        webhook_url,
        webhook_urls,
        created_at: integration.created_at,
        connection: None,
    }
}

/// The resource as it is deployed.
pub type OwnIntegrations<N, C, R> =
    Integrations<DynamoStore, SecretsVault<C>, <N as Network>::Caller, C, R>;

/// The resource.
///
/// # Errors
/// If the environment is incomplete.
pub fn resource<N: Network, C: Clock + Clone, R: Dice + Clone>(
    kit: &Kit<N, C, R>,
) -> Result<OwnIntegrations<N, C, R>, Error> {
    Ok(Integrations {
        store: kit.store()?,
        vault: kit.vault()?,
        caller: kit.network.caller(),
        clock: kit.clock.clone(),
        dice: kit.dice.clone(),
        trust_tenants: super::trust_tenants(kit),
    })
}

/// Runs the resource until Lambda ends it.
///
/// # Errors
/// If the environment is incomplete.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let resource = resource(&kit)?;
        resource.store.prewarm().await;
        super::serve(&kit, resource).await
    })
}
