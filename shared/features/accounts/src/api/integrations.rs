//! Integrations: a tenant's accounts at providers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::circuit::Breaker;
use domain::integration::{FieldError, MAX_CREDENTIAL_BYTES, Settings};
use domain::ports::{
    ChangedBy, Clock, CredentialReader, CredentialWriter, Freshness, Rng, StoredCredentials,
};
use domain::sender::{AnswerReader, SendError};
use domain::tenant::Scope;
use domain::{Credentials, Integration, IntegrationId, Provider, TenantId};
use http::StatusCode;
use jiff::Timestamp;
use providers::spec::{Capability, RequestedBy};
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, cursor, schema};
use runtime::digest::sha256;
use runtime::{AwsEnv, Env, Error, FeatureRepository, HttpClient, Kit, Network};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::audit;
use super::tenants::{check_https, check_url};
use super::whatsapp_schema::{SetWhatsapp, WhatsappView};
use crate::model::audit::{Action, AuditRecord, Change};
use crate::model::circuit;
use crate::ports::{AccountClaim, Circuits, Registry};
use crate::{Repository, operator_credentials};

/// Lease time of the credentials lock: as long as the function may run.
const LOCK_LEASE: Duration = Duration::from_secs(30);
/// Attempts to acquire the lock, and the wait between them.
const LOCK_ATTEMPTS: u32 = 50;
const LOCK_WAIT: Duration = Duration::from_millis(100);

/// API resource and its dependencies.
#[derive(Debug)]
pub struct Integrations<E: Env> {
    /// DynamoDB table.
    pub store: Repository,
    /// Credential store.
    pub credential_store: E::Credentials,
    /// HTTP client for requests to providers.
    pub http_client: E::HttpClient,
    /// Clock.
    pub clock: E::Clock,
    /// Random number generator, for ids and secrets.
    pub rng: E::Rng,
    /// Whether tenants are trusted like the operator. Never set this for untrusted tenants.
    pub skip_tenant_checks: bool,
}

/// Operations of the resource.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Create an integration.
    Create,
    /// List a tenant's integrations.
    List,
    /// Get an integration.
    Get,
    /// Update an integration.
    Update,
    /// Delete an integration.
    Delete,
    /// Verify the account and the credentials with the provider.
    Verify,
    /// Register the hub's webhook with the provider.
    Register,
    /// Get the health of an integration.
    GetHealth,
    /// Set a tenant's WhatsApp provider and failover.
    SetWhatsapp,
    /// Get a tenant's WhatsApp provider and failover.
    GetWhatsapp,
}

/// One value, or several during a rotation.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    /// One value.
    One(String),
    /// Several values, newest first.
    Many(Vec<String>),
}

/// Body of `POST /integrations`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateIntegration {
    /// Tenant that owns the integration; `platform` for the operator's own app. Default: the
    /// tenant of the key.
    #[serde(default)]
    pub(super) tenant: Option<TenantId>,
    /// Provider of the account.
    pub(super) provider: Provider,
    /// Settings of the account. They depend on the provider.
    #[serde(default)]
    pub(super) settings: Map<String, Value>,
    /// Credentials of the account, by the names that the provider uses. They are never returned. If
    /// a webhook secret that the hub can generate is absent, the hub generates it.
    #[serde(default)]
    pub(super) credentials: BTreeMap<String, OneOrMany>,
    /// Circuit breaker settings.
    #[serde(default)]
    pub(super) circuit: Breaker,
    /// Whether messages to this account from `POST /webhook/inbound` are treated as verified by the
    /// provider. Only the platform key can set it.
    #[serde(default)]
    pub(super) trusted_ingest: bool,
}

/// Body of `PUT /integrations/{id}`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateIntegration {
    /// New settings. They replace all current settings.
    #[serde(default)]
    pub(super) settings: Option<Map<String, Value>>,
    /// New credentials. They replace the current credentials of the same names, including generated
    /// ones; others are kept. To rotate a credential, give the new and the old value as a list.
    #[serde(default)]
    pub(super) credentials: BTreeMap<String, OneOrMany>,
    /// New circuit breaker settings.
    #[serde(default)]
    pub(super) circuit: Option<Breaker>,
    /// Whether messages to this account from `POST /webhook/inbound` are treated as verified by the
    /// provider. Only the platform key can set it. It is reset when a tenant's key changes the
    /// account or replaces the operator's credentials.
    #[serde(default)]
    pub(super) trusted_ingest: Option<bool>,
}

/// Body of `POST /integrations/{id}/register`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Register {
    /// Six-digit two-step verification PIN of the WhatsApp number.
    #[serde(default)]
    pin: Option<String>,
}

/// An integration, without its credentials.
#[derive(Serialize, JsonSchema)]
struct IntegrationView {
    /// Integration id.
    id: IntegrationId,
    /// Tenant that owns the integration.
    tenant: TenantId,
    /// Provider of the account.
    provider: Provider,
    /// Settings of the account.
    settings: serde_json::Value,
    /// Last characters of each credential, for recognition.
    credentials: BTreeMap<String, String>,
    /// Names of the credentials that the operator provided. A tenant's key can change what they are
    /// used for only if it replaces them in the same request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    operator_credentials: Vec<String>,
    /// Credentials that the hub generated because they were absent, by name. They are returned only
    /// once: store them, because the provider needs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    generated_credentials: Option<Generated>,
    /// Webhook URL to configure at the provider; `register` can do this for some providers. Absent
    /// for providers that send no webhooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_url: Option<String>,
    /// URLs of all the provider's webhooks, by name.
    webhook_urls: BTreeMap<&'static str, String>,
    /// Circuit breaker settings.
    circuit: Breaker,
    /// Whether messages to this account from `POST /webhook/inbound` are treated as verified by the
    /// provider.
    trusted_ingest: bool,
    /// When the integration was created.
    created_at: Timestamp,
    /// Whether the webhook URL was registered with the provider at creation; absent for providers
    /// where this is not done automatically.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<Connection>,
}

/// Credentials that the hub generated, by name.
pub(super) type Generated = BTreeMap<String, String>;

/// An integration that was created or updated.
pub(super) struct SavedIntegration {
    pub(super) integration: Integration,
    /// Generated credentials, to be returned once.
    pub(super) generated: Option<Generated>,
}

/// Whether an account is connected to the hub.
#[derive(Serialize, JsonSchema)]
pub(super) struct Connection {
    /// Whether the account is connected.
    connected: bool,
    /// Reason why the account is not connected, and how to fix it.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Health of an integration: the state of its circuit breaker.
#[derive(Serialize, JsonSchema)]
struct Health {
    /// Integration id.
    integration: IntegrationId,
    /// Provider of the account.
    provider: Provider,
    /// State of the circuit breaker. `closed`: messages are sent. `open`: no messages are sent.
    /// `half_open`: the next message is a probe.
    state: circuit::State,
    /// Number of failures in the current window.
    failures: u32,
    /// When the circuit opened, if it is not closed.
    opened_at: Option<Timestamp>,
    /// When the next probe is due, if the circuit is open.
    retry_at: Option<Timestamp>,
    /// When the circuit last closed.
    closed_at: Option<Timestamp>,
    /// Last failure that counted.
    last_failure: Option<circuit::Failure>,
    /// Circuit breaker settings.
    circuit: Breaker,
    /// Account status from the provider, with `ask=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<AccountStatus>,
}

/// Account status that the provider reports.
#[derive(Serialize, JsonSchema)]
struct AccountStatus {
    /// Whether the provider knows the account and the account can send.
    ok: bool,
    /// Account data in the provider's format.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Value>,
    /// Error, if `ok` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// A page of a tenant's integrations.
#[derive(Serialize, JsonSchema)]
struct IntegrationPage {
    /// Integrations of the tenant.
    integrations: Vec<IntegrationView>,
    /// Cursor of the next page; `null` on the last page.
    next: Option<String>,
}

/// The provider's response to a verification.
#[derive(Serialize, JsonSchema)]
struct Verified {
    /// Whether the provider accepts the account and the credentials.
    ok: bool,
    /// Account data in the provider's format.
    account: Value,
}

const LIST: &[(&str, &str, &str)] = &[
    ("limit", "query", "Number of items per page, 1 to 100. Default: 50."),
    ("cursor", "query", "The `next` value of the previous page."),
    ("tenant", "query", "Tenant to act for. Required with the platform key."),
];

/// Routes of the resource.
pub const ROUTES: &[Route<Operation>] = &[
    Route {
        operation: Operation::Create,
        method: "POST",
        path: "/integrations",
        summary: "Create an integration",
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
        parameters: LIST,
        request: None,
        answer: (200, Some(schema::<IntegrationPage>)),
    },
    Route {
        operation: Operation::Get,
        method: "GET",
        path: "/integrations/{id}",
        summary: "Get an integration",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<IntegrationView>)),
    },
    Route {
        operation: Operation::Update,
        method: "PUT",
        path: "/integrations/{id}",
        summary: "Update an integration's settings or credentials",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: Some(schema::<UpdateIntegration>),
        answer: (200, Some(schema::<IntegrationView>)),
    },
    Route {
        operation: Operation::Delete,
        method: "DELETE",
        path: "/integrations/{id}",
        summary: "Delete an integration and its credentials",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (204, None),
    },
    Route {
        operation: Operation::Verify,
        method: "POST",
        path: "/integrations/{id}/verify",
        summary: "Verify the account and the credentials with the provider",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<Verified>)),
    },
    Route {
        operation: Operation::Register,
        method: "POST",
        path: "/integrations/{id}/register",
        summary: "Register the account: the WhatsApp number with its PIN, or the Telegram webhook",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: Some(schema::<Register>),
        answer: (200, Some(schema::<Verified>)),
    },
    Route {
        operation: Operation::GetHealth,
        method: "GET",
        path: "/integrations/{id}/health",
        summary: "Get the health of an integration: its circuit breaker",
        scope: Some(Scope::Read),
        parameters: &[(
            "ask",
            "query",
            "`true` to also get the account status from the provider, such as a lost connection. It is \
             requested with the stored credentials, and requires a key with the scope `admin`.",
        )],
        request: None,
        answer: (200, Some(schema::<Health>)),
    },
    Route {
        operation: Operation::SetWhatsapp,
        method: "PUT",
        path: "/tenants/{tenant}/whatsapp-settings",
        summary: "Update the tenant's WhatsApp provider and its failover integrations",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: Some(schema::<SetWhatsapp>),
        answer: (200, Some(schema::<WhatsappView>)),
    },
    Route {
        operation: Operation::GetWhatsapp,
        method: "GET",
        path: "/tenants/{tenant}/whatsapp-settings",
        summary: "Get the tenant's WhatsApp provider and its failover integrations",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<WhatsappView>)),
    },
];

impl<E: Env> Resource for Integrations<E> {
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
                let (limit, from) = request.page()?;
                let page = self.store.integration_page(&tenant, limit, from.as_deref()).await?;
                let view = |integration| view(request, integration);
                let integrations = page.items.into_iter().map(view).collect();
                let page = IntegrationPage { integrations, next: cursor(page.next) };
                ApiReply::json(StatusCode::OK, &page)
            }
            Operation::Get => {
                let integration = self.find(request, params, Scope::Admin).await?;
                ApiReply::json(StatusCode::OK, &view(request, integration))
            }
            Operation::Update => self.change(request, params).await,
            Operation::Delete => {
                let integration = self.find(request, params, Scope::Admin).await?;
                self.locked(&integration, self.delete_locked(request, integration.id)).await?;
                Ok(ApiReply::empty())
            }
            Operation::Verify => {
                let integration = self.find(request, params, Scope::Admin).await?;
                let account = self.call_provider(&integration, ProviderCall::Describe).await?;
                ApiReply::json(StatusCode::OK, &Verified { ok: true, account })
            }
            Operation::Register => {
                let integration = self.find(request, params, Scope::Admin).await?;
                let input: Register =
                    if request.body.is_empty() { Register::default() } else { request.read()? };
                if self.requested_by(request, &integration.tenant)? == RequestedBy::Tenant {
                    operator_credentials::check_use(&integration)?;
                }
                let account = self.register(request, &integration, input.pin.as_deref()).await?;
                ApiReply::json(StatusCode::OK, &Verified { ok: true, account })
            }
            Operation::GetHealth => {
                let with_account = request.query("ask") == Some("true");
                // Asking uses the stored credentials, and counts towards the provider's rate limit.
                let scope = if with_account { Scope::Admin } else { Scope::Read };
                let integration = self.find(request, params, scope).await?;
                self.health(integration, with_account).await
            }
            Operation::SetWhatsapp => self.set_whatsapp(request, params).await,
            Operation::GetWhatsapp => self.get_whatsapp(request, params).await,
        }
    }
}

impl<E: Env> Integrations<E> {
    /// Returns the integration in the path, if the principal may access it.
    async fn find(
        &self,
        request: &ApiRequest,
        params: &Params<'_>,
        scope: Scope,
    ) -> Result<Integration, Problem> {
        let http_client = request.principal(scope)?;
        let integration = self.store.integration(params.get("id")?).await?;
        let may_access = |integration: &Integration| {
            http_client.tenant.is_platform() || integration.tenant == http_client.tenant
        };
        integration.filter(may_access).ok_or_else(Problem::not_found)
    }

    async fn create(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        // Check the key before the body, so that a key without permission learns nothing about
        // the body.
        request.principal(Scope::Admin)?;
        let input: CreateIntegration = request.read()?;
        let tenant = request.tenant(Scope::Admin, input.tenant.as_ref())?;
        if !tenant.is_platform() && self.store.tenant(&tenant).await?.is_none() {
            return Err(Problem::invalid("tenant", "no such tenant exists".to_owned()));
        }
        let saved = self.create_for(request, tenant, input).await?;
        let connection = self.connect(request, &saved.integration).await;
        let view = IntegrationView {
            connection,
            generated_credentials: saved.generated,
            ..view(request, saved.integration)
        };
        ApiReply::json(StatusCode::CREATED, &view)
    }

    /// Registers a new integration's webhook, for providers where this is automatic. The
    /// integration is created even if the provider cannot be reached; `register` tries again.
    pub(super) async fn connect(
        &self,
        request: &ApiRequest,
        integration: &Integration,
    ) -> Option<Connection> {
        // Without a base URL the provider cannot be reached.
        if !providers::spec(integration.provider).connects_on_create
            || integration.settings.base_url().is_none()
        {
            return None;
        }
        Some(match self.register(request, integration, None).await {
            Ok(_) => Connection { connected: true, detail: None },
            Err(problem) => {
                let code = problem.code.as_str();
                tracing::warn!(integration = %integration.id, code, "account not connected");
                let detail = format!("{}: fix this, then call register", problem.detail);
                Connection { connected: false, detail: Some(detail) }
            }
        })
    }

    /// Registers the account with its provider.
    async fn register(
        &self,
        request: &ApiRequest,
        integration: &Integration,
        pin: Option<&str>,
    ) -> Result<Value, Problem> {
        // The provider cannot be part of a transaction: record the request before it has an effect.
        self.record(request, integration, Action::IntegrationRegistrationRequested).await?;
        let webhook_url = webhook_url(request, integration);
        let call = ProviderCall::Register { webhook_url: webhook_url.as_deref(), pin };
        let account = self.call_provider(integration, call).await?;
        self.record(request, integration, Action::IntegrationRegistered).await?;
        Ok(account)
    }

    /// Writes the audit record of an action that changes nothing in the table.
    async fn record(
        &self,
        request: &ApiRequest,
        integration: &Integration,
        action: Action,
    ) -> Result<(), Problem> {
        let change = Change::of_integration(action, integration.id);
        let audit = self.audit(request, &integration.tenant, change)?;
        Ok(self.store.record_action(&audit).await?)
    }

    /// Returns the audit record of a change that the request makes.
    pub(super) fn audit(
        &self,
        request: &ApiRequest,
        tenant: &TenantId,
        change: Change,
    ) -> Result<AuditRecord, Problem> {
        audit::record(request, (&self.clock, &self.rng), tenant, change)
    }

    /// Creates an integration of `tenant`.
    pub(super) async fn create_for(
        &self,
        request: &ApiRequest,
        tenant: TenantId,
        input: CreateIntegration,
    ) -> Result<SavedIntegration, Problem> {
        let settings = settings(input.provider, &input.settings)?;
        let given = credentials(input.provider, input.credentials)?;
        let mut tenant_credentials = BTreeSet::new();
        record_owner(request, &mut tenant_credentials, &names(&given))?;
        let generated_secret = self.generated_secret(input.provider, &given);
        tenant_credentials.extend(names(&generated_secret));
        let generated = shown_once(&generated_secret);
        let credentials = given.merged(generated_secret);
        let requested_by = self.requested_by(request, &tenant)?;
        if input.trusted_ingest {
            check_trust(request, requested_by)?;
        }
        let now = self.clock.now();
        let integration = Integration {
            id: IntegrationId::new(now, self.rng.bits()),
            account: account(input.provider, requested_by, &settings, &credentials)?,
            provider: input.provider,
            hints: credentials.hints(),
            tenant,
            settings,
            created_at: now,
            credentials_at: now,
            tenant_credentials,
            trusted_ingest: input.trusted_ingest,
            circuit: breaker(input.circuit)?,
        };
        self.check_base_url(request, &integration, None)?;
        self.check_account(request, &integration, &credentials).await?;
        let change = Change::integration_created(&integration);
        let audit = self.audit(request, &integration.tenant, change)?;
        let write = async {
            self.check_write(request, &integration, &credentials).await?;
            // Write the credentials first, so that an integration is usable once it can be found.
            self.credential_store.store(&integration, Some(&credentials)).await?;
            let paths = path_secrets(integration.provider, &credentials);
            let claimed = self.store.put_integration(&integration, &paths, None, &audit).await?;
            if claimed == AccountClaim::Taken {
                self.credential_store.store(&integration, None).await?;
                return Err(account_taken(&integration));
            }
            Ok(())
        };
        self.locked(&integration, write).await?;
        Ok(SavedIntegration { integration, generated })
    }

    /// Checks that the request may replace the credentials of an integration now.
    async fn check_write(
        &self,
        request: &ApiRequest,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Result<(), Problem> {
        let is_operator = request.principal(Scope::Admin)?.tenant.is_platform();
        let changed_by = if is_operator { ChangedBy::Operator } else { ChangedBy::Tenant };
        Ok(self.credential_store.check_write(integration, credentials, changed_by).await?)
    }

    /// Generates the credential that the hub can generate, if it is absent.
    fn generated_secret(&self, provider: Provider, given: &Credentials) -> Credentials {
        let name = providers::spec(provider).generated_secret;
        Credentials::new(name.filter(|name| given.first(name).is_none()).map(|name| {
            let bits = [self.rng.bits(), self.rng.bits()];
            let secret: SecretString = bits.map(|b| hex::encode(b.to_be_bytes())).concat().into();
            (name.to_owned(), vec![secret])
        }))
    }

    /// Returns the health of an integration; `with_account` also asks the provider.
    async fn health(
        &self,
        integration: Integration,
        with_account: bool,
    ) -> Result<ApiReply, Problem> {
        let account_status = async {
            if !with_account {
                return None;
            }
            let status = match self.call_provider(&integration, ProviderCall::Describe).await {
                Ok(account) => AccountStatus { ok: true, account: Some(account), detail: None },
                Err(problem) => {
                    AccountStatus { ok: false, account: None, detail: Some(problem.detail) }
                }
            };
            Some(status)
        };
        let circuit = self.store.circuit(&integration.tenant, integration.id);
        let (circuit, account) = futures::join!(circuit, account_status);
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

    /// Returns on whose authority an integration of `tenant` is created or updated.
    fn requested_by(
        &self,
        request: &ApiRequest,
        tenant: &TenantId,
    ) -> Result<RequestedBy, Problem> {
        if tenant.is_platform() {
            return Ok(RequestedBy::Hub);
        }
        let is_operator = request.principal(Scope::Admin)?.tenant.is_platform();
        Ok(if is_operator || self.skip_tenant_checks {
            RequestedBy::Operator
        } else {
            RequestedBy::Tenant
        })
    }

    /// Checks that only the operator changes a provider's base URL, and to an https URL: the hub
    /// sends tokens there and trusts the responses.
    fn check_base_url(
        &self,
        request: &ApiRequest,
        integration: &Integration,
        before: Option<&Integration>,
    ) -> Result<(), Problem> {
        if self.skip_tenant_checks {
            return Ok(());
        }
        let is_own_base_url = providers::spec(integration.provider).is_own_base_url;
        let custom_url = integration.settings.base_url().filter(|url| !is_own_base_url(url));
        let unchanged = before.is_some_and(|b| b.settings.base_url() == custom_url);
        let Some(custom_url) = custom_url.filter(|_| !unchanged) else { return Ok(()) };
        let field = "settings.base_url";
        request.platform().map_err(|problem| problem.at(field))?;
        check_https(field, custom_url)
    }

    /// Checks that a tenant owns the account that its integration claims: otherwise it could claim
    /// another tenant's account and receive its messages. The operator is trusted.
    async fn check_account(
        &self,
        request: &ApiRequest,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Result<(), Problem> {
        // An integration without an account receives only webhooks signed with its own secret.
        let nothing_to_prove = integration.account.is_none();
        if nothing_to_prove
            || self.skip_tenant_checks
            || request.principal(Scope::Admin)?.tenant.is_platform()
        {
            return Ok(());
        }
        if !providers::spec(integration.provider).verifies_account_ownership {
            let detail =
                "the hub cannot verify who owns this account: ask the operator to set it, or \
                 leave it out to receive the webhooks signed with your own secret"
                    .to_owned();
            return Err(
                Problem::invalid("settings.account", detail).with_code("account_not_proven")
            );
        }
        let account =
            self.call_provider_with(integration, credentials, ProviderCall::Describe).await?;
        let id = account
            .get("id")
            .map(|id| id.as_str().map_or_else(|| id.to_string(), ToOwned::to_owned));
        if id.is_some() && id == integration.account {
            return Ok(());
        }
        let detail =
            "the credentials belong to another account: use those of this account".to_owned();
        Err(Problem::invalid("settings", detail).with_code("account_not_proven"))
    }

    /// Runs `work` while holding the lock on the tenant's credentials for the provider: they share
    /// one secret, which is always written as a whole.
    async fn locked<O: Send>(
        &self,
        integration: &Integration,
        work: impl Future<Output = Result<O, Problem>> + Send,
    ) -> Result<O, Problem> {
        let (tenant, provider) = (&integration.tenant, integration.provider);
        for _ in 0..LOCK_ATTEMPTS {
            let now = self.clock.now();
            let until = now + LOCK_LEASE;
            if self.store.lock_credentials(tenant, provider, now, until).await? {
                let done = work.await;
                if let Err(error) = self.store.unlock_credentials(tenant, provider, until).await {
                    tracing::warn!(%tenant, %provider, %error, "lock not released; it expires");
                }
                return done;
            }
            tokio::time::sleep(LOCK_WAIT).await;
        }
        let title = "The hub is temporarily unavailable";
        let detail = "another request is changing the tenant's credentials: try again".to_owned();
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title, detail))
    }

    /// Deletes an integration: its webhook paths, its credentials, then itself. If a step fails, the
    /// request can be repeated, and no credentials are left of an integration that is gone.
    async fn delete_locked(&self, request: &ApiRequest, id: IntegrationId) -> Result<(), Problem> {
        // Read it again now that the lock is held.
        let integration = self.store.integration(id).await?.ok_or_else(Problem::not_found)?;
        let paths = match self.credential_store.stored_credentials(&integration).await? {
            StoredCredentials::Readable(credentials) => {
                path_secrets(integration.provider, &credentials)
            }
            StoredCredentials::Unreadable(reason) => {
                tracing::warn!(integration = %id, reason, "webhook paths stay taken");
                Vec::new()
            }
        };
        let change = Change::of_integration(Action::IntegrationDeletionRequested, id);
        let requested = self.audit(request, &integration.tenant, change)?;
        // The paths are known only while there are credentials.
        let replaced = Some((&integration, paths.as_slice()));
        let claimed = self.store.put_integration(&integration, &[], replaced, &requested).await?;
        if claimed == AccountClaim::Taken {
            return Err(account_taken(&integration));
        }
        self.credential_store.store(&integration, None).await?;
        let change = Change::integration_deleted(&integration);
        let deleted = self.audit(request, &integration.tenant, change)?;
        Ok(self.store.delete_integration(&integration, &[], &deleted).await?)
    }

    async fn change(&self, request: &ApiRequest, params: &Params<'_>) -> Result<ApiReply, Problem> {
        let before = self.find(request, params, Scope::Admin).await?;
        let changed = self.update(request, &before, request.read()?).await?;
        let view = IntegrationView {
            generated_credentials: changed.generated,
            ..view(request, changed.integration)
        };
        ApiReply::json(StatusCode::OK, &view)
    }

    /// Updates an integration.
    pub(super) async fn update(
        &self,
        request: &ApiRequest,
        before: &Integration,
        input: UpdateIntegration,
    ) -> Result<SavedIntegration, Problem> {
        self.locked(before, self.change_locked(request, before.id, input)).await
    }

    async fn change_locked(
        &self,
        request: &ApiRequest,
        id: IntegrationId,
        input: UpdateIntegration,
    ) -> Result<SavedIntegration, Problem> {
        // Read it again now that the lock is held.
        let before = self.store.integration(id).await?.ok_or_else(Problem::not_found)?;
        let provider = before.provider;
        let new = self::credentials(provider, input.credentials)?;
        let given = names(&new);
        let (old, is_readable) = match self.credential_store.stored_credentials(&before).await? {
            StoredCredentials::Readable(old) => (old, true),
            StoredCredentials::Unreadable(reason) => {
                check_all_given(&before, &given, reason)?;
                (Credentials::default(), false)
            }
        };
        let settings = match input.settings {
            Some(settings) => self::settings(provider, &settings)?,
            None => before.settings.clone(),
        };
        let requested_by = self.requested_by(request, &before.tenant)?;
        let redirected = operator_credentials::redirected_setting(&before, &settings);
        if requested_by == RequestedBy::Tenant {
            let restricted = operator_credentials::restricted_setting(&before, &settings);
            operator_credentials::check_change(&before, restricted.as_deref(), &given)?;
        }
        let mut credentials = old.clone().merged(new);
        let mut tenant_credentials = before.tenant_credentials.clone();
        record_owner(request, &mut tenant_credentials, &given)?;
        let account = if redirected.is_none() && given.is_empty() {
            // Nothing that determines the account has changed.
            before.account.clone()
        } else {
            account(provider, requested_by, &settings, &credentials)?
        };
        let is_redirected = redirected.is_some() || account != before.account;
        let takes_over = before.operator_credentials().any(|name| given.iter().any(|g| g == name));
        let mut generated = None;
        if requested_by == RequestedBy::Tenant && is_redirected {
            // Remove the operator's remaining credentials: they must not be used for a target that
            // the tenant chose.
            let remaining = before.operator_credentials();
            let remaining = remaining.filter(|name| !tenant_credentials.contains(*name));
            credentials = credentials.without(remaining);
            let generated_secret = self.generated_secret(provider, &credentials);
            generated = shown_once(&generated_secret);
            tenant_credentials.extend(names(&generated_secret));
            credentials = credentials.merged(generated_secret);
        }
        // Without an account in the settings, the credentials determine it.
        let may_be_other = account.is_none()
            && given.iter().any(|name| operator_credentials::is_request_credential(provider, name));
        let is_kept =
            requested_by != RequestedBy::Tenant || !(is_redirected || takes_over || may_be_other);
        let trusted_ingest = match input.trusted_ingest {
            Some(true) if !(before.trusted_ingest && is_kept) => {
                check_trust(request, requested_by)?;
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
            circuit: input.circuit.map_or(Ok(before.circuit), breaker)?,
            credentials_at: if credentials.same_as(&old) {
                before.credentials_at
            } else {
                self.clock.now()
            },
            ..before.clone()
        };
        self.check_base_url(request, &integration, Some(&before))?;
        // A tenant that replaces the operator's credentials must prove that it owns the account, as
        // at creation.
        if integration.account != before.account || takes_over {
            self.check_account(request, &integration, &credentials).await?;
        }
        let replacement = Replacement {
            before: &before,
            old: is_readable.then_some(&old),
            after: &integration,
            new: &credentials,
        };
        self.replace(request, requested_by, replacement).await?;
        Ok(SavedIntegration { integration, generated })
    }

    /// Stores a changed integration and its credentials.
    async fn replace(
        &self,
        request: &ApiRequest,
        requested_by: RequestedBy,
        Replacement { before, old, after, new }: Replacement<'_>,
    ) -> Result<(), Problem> {
        let paths = path_secrets(after.provider, new);
        let old_paths = old.map(|old| path_secrets(after.provider, old)).unwrap_or_default();
        let replaced = Some((before, old_paths.as_slice()));
        let change = Change::integration_updated(before, after);
        let audit = self.audit(request, &after.tenant, change)?;
        let is_changed = old.is_none_or(|old| !new.same_as(old));
        if is_changed {
            self.check_write(request, after, new).await?;
        }
        let requested = Action::IntegrationUpdateRequested;
        if requested_by == RequestedBy::Tenant {
            if is_changed {
                // The credentials are changed outside of the transaction: record that first.
                self.record(request, before, requested).await?;
            }
            // Write the credentials first: a crash in between then never leaves the operator's
            // credentials in use for the tenant's target. The tenant's credentials with the
            // operator's target do no harm.
            self.credential_store.store(after, Some(new)).await?;
            let claimed = self.store.put_integration(after, &paths, replaced, &audit).await?;
            if claimed == AccountClaim::Taken {
                if let Some(old) = old {
                    self.credential_store.store(before, Some(old)).await?;
                }
                return Err(account_taken(after));
            }
            return Ok(());
        }
        if !is_changed {
            let claimed = self.store.put_integration(after, &paths, replaced, &audit).await?;
            if claimed == AccountClaim::Taken {
                return Err(account_taken(after));
            }
            // Moves them, if another place was set.
            return Ok(self.credential_store.store(after, Some(new)).await?);
        }
        // Write the integration first: credentials are recorded as the operator's before they are
        // stored. It has the time of the change only once they are: a crash in between leaves the
        // old credentials in use.
        let first = Integration { credentials_at: before.credentials_at, ..after.clone() };
        let change = Change::of_integration(requested, after.id);
        let first_audit = self.audit(request, &after.tenant, change)?;
        let claimed = self.store.put_integration(&first, &paths, replaced, &first_audit).await?;
        if claimed == AccountClaim::Taken {
            return Err(account_taken(after));
        }
        self.credential_store.store(after, Some(new)).await?;
        let replaced = Some((&first, paths.as_slice()));
        self.store.put_integration(after, &paths, replaced, &audit).await?;
        Ok(())
    }

    /// Sends one request to the provider and returns the response.
    async fn call_provider(
        &self,
        integration: &Integration,
        call: ProviderCall<'_>,
    ) -> Result<serde_json::Value, Problem> {
        let credentials = self.credential_store.credentials(integration, Freshness::Fresh).await?;
        self.call_provider_with(integration, &credentials, call).await
    }

    async fn call_provider_with(
        &self,
        integration: &Integration,
        credentials: &Credentials,
        call: ProviderCall<'_>,
    ) -> Result<serde_json::Value, Problem> {
        let response = async {
            let (request, reader) = call.request(integration, credentials)?;
            let response = self.http_client.call(request).await?;
            reader.answer(&response)
        };
        response.await.map_err(|error| Problem::of_provider(&error))
    }
}

/// A change of an integration and its credentials.
#[derive(Clone, Copy)]
struct Replacement<'a> {
    before: &'a Integration,
    /// `None` if they cannot be read.
    old: Option<&'a Credentials>,
    after: &'a Integration,
    new: &'a Credentials,
}

/// A request to the provider about an integration's account.
#[derive(Clone, Copy)]
enum ProviderCall<'a> {
    /// Describe the account.
    Describe,
    /// Connect the account to the hub.
    Register {
        /// URL for its webhooks, if the provider has any.
        webhook_url: Option<&'a str>,
        /// `WhatsApp`'s two-step verification PIN.
        pin: Option<&'a str>,
    },
}

impl ProviderCall<'_> {
    /// Returns the request, and what reads the response to it.
    fn request(
        self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Result<(http::Request<bytes::Bytes>, Box<dyn AnswerReader>), SendError> {
        match self {
            Self::Describe => {
                let reader = providers::account_reader(integration, credentials)?;
                Ok((reader.describe_account()?, reader))
            }
            Self::Register { webhook_url, pin } => {
                let registrar = providers::webhook_registrar(integration, credentials)?;
                let missing =
                    || providers::spec(integration.provider).missing(Capability::RegisterWebhook);
                let request = registrar.register(webhook_url.ok_or_else(missing)?, pin)?;
                Ok((request, registrar))
            }
        }
    }
}

/// Returns generated credentials in plain text, to be shown once; `None` if there are none.
fn shown_once(credentials: &Credentials) -> Option<Generated> {
    let first = |name: &String| {
        let secret = credentials.first(name)?;
        Some((name.clone(), secret.expose_secret().to_owned()))
    };
    let shown: Generated = names(credentials).iter().filter_map(first).collect();
    (!shown.is_empty()).then_some(shown)
}

/// Checks that a request replaces all credentials of an integration, because those that are stored
/// cannot be read.
///
/// # Errors
/// 409 `credentials_unreadable` if it does not.
fn check_all_given(
    integration: &Integration,
    given: &[String],
    reason: &str,
) -> Result<(), Problem> {
    let mut missing: Vec<String> = integration.hints.clone().into_keys().collect();
    missing.retain(|name| !given.contains(name));
    if missing.is_empty() {
        return Ok(());
    }
    let detail = format!("{reason}. Also send {}", missing.join(", "));
    Err(Problem::conflict("credentials", "credentials_unreadable", detail))
}

fn account_taken(integration: &Integration) -> Problem {
    let (field, detail) = if integration.tenant.is_platform() {
        ("provider", "the platform already has an integration at this provider: update that one")
    } else {
        (
            "settings",
            "another integration has this account or webhook secret: remove it there first",
        )
    };
    Problem::conflict(field, "account_taken", detail.to_owned())
}

/// Parses the settings of a provider.
fn settings(provider: Provider, given: &Map<String, Value>) -> Result<Settings, Problem> {
    let settings = (providers::spec(provider).settings)(given).map_err(field_error)?;
    if let Some(base_url) = settings.base_url() {
        check_url("settings.base_url", base_url)?;
    }
    if settings.messages_per_second() == Some(0) {
        let detail = "must be at least 1".to_owned();
        return Err(Problem::invalid("settings.messages_per_second", detail));
    }
    Ok(settings)
}

/// Checks the limits of the circuit breaker settings.
fn breaker(given: Breaker) -> Result<Breaker, Problem> {
    let Breaker { failures, window_seconds, open_seconds } = given;
    for (field, value, max) in [
        ("circuit.failures", failures, 1000),
        ("circuit.window_seconds", window_seconds, 3600),
        ("circuit.open_seconds", open_seconds, 600),
    ] {
        if !(1..=max).contains(&value) {
            return Err(Problem::invalid(field, format!("must be 1 to {max}")));
        }
    }
    Ok(given)
}

fn field_error(error: FieldError) -> Problem {
    Problem::invalid(&error.field, error.reason)
}

/// Maximum number of values of one credential: a rotation needs two.
const MAX_VALUES: usize = 5;

/// Parses credentials, and rejects names that the provider does not have.
fn credentials(
    provider: Provider,
    given: BTreeMap<String, OneOrMany>,
) -> Result<Credentials, Problem> {
    let (known, check) = (providers::spec(provider).credentials, providers::spec(provider).check);
    let mut fields = Vec::new();
    for (name, values) in given {
        let field = format!("credentials.{name}");
        if !known.contains(&name.as_str()) {
            let detail =
                format!("unknown credential; those of {provider} are: {}", known.join(", "));
            return Err(Problem::invalid(&field, detail));
        }
        let values = match values {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        };
        let mut distinct = values.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if values.len() > MAX_VALUES || distinct.len() < values.len() {
            let detail = format!("must be at most {MAX_VALUES} distinct values");
            return Err(Problem::invalid(&field, detail));
        }
        if values.iter().any(|value| value.len() > MAX_CREDENTIAL_BYTES) {
            return Err(Problem::invalid(
                &field,
                format!("each value must be at most {MAX_CREDENTIAL_BYTES} bytes"),
            ));
        }
        if values.is_empty() || values.iter().any(String::is_empty) {
            return Err(Problem::invalid(&field, "must not be empty".to_owned()));
        }
        values.iter().try_for_each(|value| check(&name, value)).map_err(field_error)?;
        fields.push((name, values.into_iter().map(SecretString::from).collect()));
    }
    Ok(Credentials::new(fields))
}

/// Returns the account as the provider names it in webhooks.
fn account(
    provider: Provider,
    requested_by: RequestedBy,
    settings: &Settings,
    credentials: &Credentials,
) -> Result<Option<String>, Problem> {
    let entry = providers::spec(provider);
    (entry.account)(requested_by, settings, credentials).map_err(field_error)
}

/// Returns the hashes of the secrets that can be part of a webhook's path.
fn path_secrets(provider: Provider, credentials: &Credentials) -> Vec<String> {
    let name = providers::spec(provider).path_secret;
    let secrets = name.map_or(&[][..], |name| credentials.all(name)).iter();
    secrets.map(|secret| sha256(secret.expose_secret())).collect()
}

/// Returns the URL of the integration's webhook.
fn address(base: &str, path: &str, integration: &Integration) -> String {
    // The operator's own app has one webhook URL for all tenants.
    if integration.tenant.is_platform() && providers::spec(integration.provider).shared_webhook_url
    {
        format!("{base}/webhooks/{path}")
    } else {
        format!("{base}/webhooks/{path}/{}", integration.id)
    }
}

/// Returns the URL of the first of the provider's webhooks; `None` if it has none.
fn webhook_url(request: &ApiRequest, integration: &Integration) -> Option<String> {
    let webhook = providers::webhook(integration.provider)?;
    Some(address(&request.base_url, webhook.path(), integration))
}

/// Returns the names of credentials.
fn names(credentials: &Credentials) -> Vec<String> {
    credentials.iter().map(|(name, _)| name.to_owned()).collect()
}

/// Records who provided the credentials `given`: the operator (with the platform key) or the
/// tenant. `tenants` are the names of the tenant's credentials.
fn record_owner(
    request: &ApiRequest,
    tenants: &mut BTreeSet<String>,
    given: &[String],
) -> Result<(), Problem> {
    if request.principal(Scope::Admin)?.tenant.is_platform() {
        tenants.retain(|name| !given.contains(name));
    } else {
        tenants.extend(given.iter().cloned());
    }
    Ok(())
}

/// Checks that only the operator sets `trusted_ingest`: such messages open service windows.
fn check_trust(request: &ApiRequest, requested_by: RequestedBy) -> Result<(), Problem> {
    if requested_by == RequestedBy::Tenant {
        request.platform().map_err(|problem| problem.at("trusted_ingest"))?;
    }
    Ok(())
}

fn view(request: &ApiRequest, integration: Integration) -> IntegrationView {
    let webhook_url = webhook_url(request, &integration);
    let webhooks = providers::spec(integration.provider).webhooks.iter();
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

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<E: AwsEnv>(kit: &Kit<E>) -> Result<Integrations<E>, Error> {
    Ok(Integrations {
        store: kit.repository()?,
        credential_store: kit.credential_store()?,
        http_client: kit.network.http_client(),
        clock: kit.clock.clone(),
        rng: kit.rng.clone(),
        skip_tenant_checks: kit.skip_tenant_checks(),
    })
}

/// Serves the resource until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    crate::rate_limit::serve(resource, async |resource| resource.store.prewarm().await)
}
