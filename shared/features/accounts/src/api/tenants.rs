//! Tenants, their API keys and their automations.

use domain::automation::{Automation, Pull, Push};
use domain::ports::{Clock, CredentialWriter, Recorded, Resolver, Rng};
use domain::pull::{MAX_TIME_TO_LIVE, MIN_TIME_TO_LIVE, TIME_TO_LIVE};
use domain::tenant::{ApiKey, Scope, Tenant};
use domain::{KeyId, TenantId};
use http::StatusCode;
use jiff::Timestamp;
use runtime::address::{self, HostNetwork};
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, cursor, schema};
use runtime::digest::sha256;
use runtime::{Error, Kit, Network, SecretsManagerCredentials};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::Repository;
use crate::authorizer::new_key;
use crate::ports::{Automations, Registry};

/// API resource and its dependencies.
#[derive(Debug)]
pub struct Tenants<S, V, C, R, D> {
    /// DynamoDB table.
    pub store: S,
    /// Store of signing secrets.
    pub credential_store: V,
    /// Clock.
    pub clock: C,
    /// Random number generator, for keys and secrets.
    pub rng: R,
    /// DNS resolver for the hosts of webhook URLs.
    pub resolver: D,
    /// Whether tenants may set webhook URLs in a private network.
    pub skip_tenant_checks: bool,
}

/// Operations of the resource.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Create a tenant.
    Create,
    /// List tenants.
    List,
    /// Get a tenant.
    Get,
    /// Create an API key.
    CreateKey,
    /// List API keys.
    ListKeys,
    /// Delete an API key.
    DeleteKey,
    /// Update the automation.
    SetAutomation,
    /// Get the automation.
    GetAutomation,
}

/// Body of `POST /tenants`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateTenant {
    /// Tenant id: 1 to 63 characters of `a-z`, `0-9`, `-` and `_`.
    id: TenantId,
    /// Display name.
    name: String,
}

/// A page of tenants.
#[derive(Debug, Serialize, JsonSchema)]
struct TenantPage {
    /// Tenants.
    tenants: Vec<Tenant>,
    /// Cursor of the next page; `null` on the last page.
    next: Option<String>,
}

/// Body of `POST /tenants/{tenant}/keys`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateKey {
    /// Scopes of the key.
    scopes: Vec<Scope>,
}

/// A new API key. The key is returned only in this response.
#[derive(Debug, Serialize, JsonSchema)]
struct NewKey {
    /// Key id.
    id: KeyId,
    /// API key.
    key: String,
    /// Tenant of the key.
    tenant: TenantId,
    /// Scopes of the key.
    scopes: Vec<Scope>,
    /// When the key was created.
    created_at: Timestamp,
}

/// API keys of a tenant.
#[derive(Debug, Serialize, JsonSchema)]
struct KeyList {
    /// Keys, without their secret part.
    keys: Vec<ApiKey>,
}

/// Body of `PUT /tenants/{tenant}/automation`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum SetAutomation {
    /// No automation.
    None,
    /// Push notifications to an outgoing webhook.
    Push {
        /// Webhook endpoint: an http or https URL on the public internet or, with
        /// `allow_private_network`, in a private network.
        url: String,
        /// Whether `url` may be in a private network. Set this only for networks that you trust.
        #[serde(default)]
        allow_private_network: bool,
    },
    /// Queue inbound messages as jobs, which workers pull.
    Pull {
        /// Time to live of a job in seconds, from a minute to a week. Default: a day.
        #[serde(default)]
        job_ttl: Option<u32>,
        /// Webhook endpoint for notifications about message statuses and failed or expired jobs: an
        /// http or https URL, as for `push`. If absent, no notifications are sent.
        #[serde(default)]
        url: Option<String>,
        /// Whether `url` may be in a private network. Set this only for networks that you trust.
        #[serde(default)]
        allow_private_network: bool,
    },
}

/// Automation of a tenant.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct AutomationView {
    /// `push`, `pull` or `none`.
    kind: &'static str,
    /// Time to live of a job in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    job_ttl: Option<u32>,
    /// Webhook endpoint for notifications.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Whether `url` may be in a private network.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_private_network: Option<bool>,
    /// Signing secret. It is returned only in the response that sets the automation. Setting the
    /// automation again generates a new secret; for a day, notifications are signed with both.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Warning that notifications may not arrive: the host of `url` does not resolve at the moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
    /// When the webhook endpoint returned 410 Gone. No notifications are sent until the automation
    /// is set again.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_at: Option<Timestamp>,
}

impl From<Automation> for AutomationView {
    fn from(automation: Automation) -> Self {
        match automation {
            Automation::None => Self { kind: "none", ..Self::default() },
            Automation::Push(push) => Self { kind: "push", ..Self::of(Some(push)) },
            Automation::Pull(pull) => {
                Self { kind: "pull", job_ttl: Some(pull.job_ttl), ..Self::of(pull.push) }
            }
        }
    }
}

impl AutomationView {
    fn of(push: Option<Push>) -> Self {
        let Some(push) = push else { return Self::default() };
        Self {
            url: Some(push.url),
            allow_private_network: Some(push.allow_private_network),
            disabled_at: push.disabled_at,
            ..Self::default()
        }
    }
}

const PAGE: &[(&str, &str, &str)] = &[
    ("limit", "query", "Number of items per page, 1 to 100. Default: 50."),
    ("cursor", "query", "The `next` value of the previous page."),
];

/// Routes of the resource.
pub const ROUTES: &[Route<Operation>] = &[
    Route {
        operation: Operation::Create,
        method: "POST",
        path: "/tenants",
        summary: "Create a tenant",
        scope: None,
        parameters: &[],
        request: Some(schema::<CreateTenant>),
        answer: (201, Some(schema::<Tenant>)),
    },
    Route {
        operation: Operation::List,
        method: "GET",
        path: "/tenants",
        summary: "List tenants",
        scope: None,
        parameters: PAGE,
        request: None,
        answer: (200, Some(schema::<TenantPage>)),
    },
    Route {
        operation: Operation::Get,
        method: "GET",
        path: "/tenants/{tenant}",
        summary: "Get a tenant",
        scope: Some(Scope::Read),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<Tenant>)),
    },
    Route {
        operation: Operation::CreateKey,
        method: "POST",
        path: "/tenants/{tenant}/keys",
        summary: "Create an API key, which is returned only once",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: Some(schema::<CreateKey>),
        answer: (201, Some(schema::<NewKey>)),
    },
    Route {
        operation: Operation::ListKeys,
        method: "GET",
        path: "/tenants/{tenant}/keys",
        summary: "List API keys",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<KeyList>)),
    },
    Route {
        operation: Operation::DeleteKey,
        method: "DELETE",
        path: "/tenants/{tenant}/keys/{key}",
        summary: "Delete an API key; it may be accepted for another minute",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (204, None),
    },
    Route {
        operation: Operation::SetAutomation,
        method: "PUT",
        path: "/tenants/{tenant}/automation",
        summary: "Update the tenant's automation and generate a new signing secret",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: Some(schema::<SetAutomation>),
        answer: (200, Some(schema::<AutomationView>)),
    },
    Route {
        operation: Operation::GetAutomation,
        method: "GET",
        path: "/tenants/{tenant}/automation",
        summary: "Get the tenant's automation",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<AutomationView>)),
    },
];

impl<S, V, C, R, D> Resource for Tenants<S, V, C, R, D>
where
    S: Registry + Automations,
    V: CredentialWriter,
    C: Clock,
    R: Rng,
    D: Resolver,
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
            Operation::List => self.list(request).await,
            Operation::Get => {
                let id = request.tenant(Scope::Read, Some(&params.get("tenant")?))?;
                ApiReply::json(StatusCode::OK, &self.existing(&id).await?)
            }
            Operation::CreateKey => self.create_key(request, params).await,
            Operation::ListKeys => {
                let tenant = request.tenant(Scope::Admin, Some(&params.get("tenant")?))?;
                let keys = self.store.keys(&tenant).await?;
                ApiReply::json(StatusCode::OK, &KeyList { keys })
            }
            Operation::DeleteKey => {
                let tenant = request.tenant(Scope::Admin, Some(&params.get("tenant")?))?;
                let revoked = self.store.revoke_key(&tenant, params.get("key")?).await?;
                if revoked { Ok(ApiReply::empty()) } else { Err(Problem::not_found()) }
            }
            Operation::SetAutomation => self.set_automation(request, params).await,
            Operation::GetAutomation => {
                let tenant = request.tenant(Scope::Admin, Some(&params.get("tenant")?))?;
                let automation = self.store.automation(&tenant).await?;
                ApiReply::json(StatusCode::OK, &AutomationView::from(automation))
            }
        }
    }
}

impl<S, V, C, R, D> Tenants<S, V, C, R, D>
where
    S: Registry + Automations,
    V: CredentialWriter,
    C: Clock,
    R: Rng,
    D: Resolver,
{
    async fn existing(&self, id: &TenantId) -> Result<Tenant, Problem> {
        self.store.tenant(id).await?.ok_or_else(Problem::not_found)
    }

    async fn create(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        request.platform()?;
        let input: CreateTenant = request.read()?;
        if input.id.is_platform() {
            let detail =
                "`platform` is reserved for the operator of the hub: choose another id".to_owned();
            return Err(Problem::invalid("id", detail));
        }
        if input.name.trim().is_empty() || input.name.len() > 200 {
            return Err(Problem::invalid("name", "must be 1 to 200 bytes".to_owned()));
        }
        let tenant = Tenant { id: input.id, name: input.name, created_at: self.clock.now() };
        match self.store.create_tenant(&tenant).await? {
            Recorded::New => ApiReply::json(StatusCode::CREATED, &tenant),
            Recorded::Duplicate => {
                let detail = "a tenant with this id exists: choose another id".to_owned();
                Err(Problem::conflict("id", "tenant_exists", detail))
            }
        }
    }

    async fn list(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        request.platform()?;
        let (limit, from) = request.page()?;
        let page = self.store.tenants(limit, from.as_deref()).await?;
        let page = TenantPage { tenants: page.items, next: cursor(page.next) };
        ApiReply::json(StatusCode::OK, &page)
    }

    async fn create_key(
        &self,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Admin, Some(&params.get("tenant")?))?;
        let input: CreateKey = request.read()?;
        if input.scopes.is_empty() {
            let names = Scope::ALL.map(Scope::as_str).join(", ");
            return Err(Problem::invalid("scopes", format!("must have at least one of {names}")));
        }
        if !tenant.is_platform() {
            self.existing(&tenant).await?;
        }
        let now = self.clock.now();
        let id = KeyId::new(now, self.rng.bits());
        let secret = new_key(id, [self.rng.bits(), self.rng.bits()]);
        let secret = secret.expose_secret();
        let hint = secret.get(secret.len().saturating_sub(4)..).unwrap_or_default();
        let key = ApiKey {
            id,
            tenant: tenant.clone(),
            scopes: input.scopes.clone(),
            hint: format!("...{hint}"),
            created_at: now,
        };
        self.store.create_key(&key, &sha256(secret)).await?;
        ApiReply::json(
            StatusCode::CREATED,
            &NewKey { id, key: secret.to_owned(), tenant, scopes: input.scopes, created_at: now },
        )
    }

    async fn set_automation(
        &self,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Admin, Some(&params.get("tenant")?))?;
        let input: SetAutomation = request.read()?;
        if !tenant.is_platform() {
            self.existing(&tenant).await?;
        }
        let (automation, webhook) = match input {
            SetAutomation::None => (Automation::None, None),
            SetAutomation::Push { url, allow_private_network } => {
                let webhook =
                    self.create_webhook(request, &tenant, url, allow_private_network).await?;
                (Automation::Push(webhook.push.clone()), Some(webhook))
            }
            SetAutomation::Pull { job_ttl, url, allow_private_network } => {
                let job_ttl = time_to_live(job_ttl)?;
                let webhook = match url {
                    None => None,
                    Some(url) => Some(
                        self.create_webhook(request, &tenant, url, allow_private_network).await?,
                    ),
                };
                let push = webhook.as_ref().map(|webhook| webhook.push.clone());
                (Automation::Pull(Pull { job_ttl, push }), webhook)
            }
        };
        self.store.set_automation(&tenant, &automation).await?;
        let secret = webhook.as_ref().map(|webhook| webhook.secret.expose_secret().to_owned());
        let warning = webhook.and_then(|webhook| webhook.warning);
        let view = AutomationView { secret, warning, ..AutomationView::from(automation) };
        ApiReply::json(StatusCode::OK, &view)
    }

    /// Creates an outgoing webhook and its signing secret.
    async fn create_webhook(
        &self,
        request: &ApiRequest,
        tenant: &TenantId,
        url: String,
        allow_private_network: bool,
    ) -> Result<CreatedWebhook, Problem> {
        check_url("url", &url)?;
        if allow_private_network && !self.skip_tenant_checks {
            // Tenants must not reach the operator's network: only the operator may allow it.
            request.platform().map_err(|problem| problem.at("allow_private_network"))?;
        }
        let warning = if allow_private_network {
            None
        } else {
            let remedy = "or ask the operator to set `allow_private_network`";
            check_public_url(&self.resolver, "url", &url, remedy).await?
        };
        let random: Vec<u8> =
            [self.rng.bits(), self.rng.bits()].iter().flat_map(|b| b.to_be_bytes()).collect();
        let secret =
            providers::standard_webhooks::secret(&random).map_err(|_| Problem::internal())?;
        // Write the secret first: once the table has the new `secret_at`, every notification
        // must be signed with the new secret.
        self.credential_store.add_signing_secret(tenant, secret.clone()).await?;
        let push =
            Push { url, allow_private_network, secret_at: self.clock.now(), disabled_at: None };
        Ok(CreatedWebhook { push, secret, warning })
    }
}

/// An outgoing webhook that was created.
struct CreatedWebhook {
    push: Push,
    /// Signing secret.
    secret: SecretString,
    /// Warning that notifications may not arrive.
    warning: Option<String>,
}

/// Returns the time to live of a job in seconds.
fn time_to_live(requested: Option<u32>) -> Result<u32, Problem> {
    let Some(requested) = requested else {
        return u32::try_from(TIME_TO_LIVE.as_secs()).map_err(|_| Problem::internal());
    };
    let (shortest, longest) = (MIN_TIME_TO_LIVE.as_secs(), MAX_TIME_TO_LIVE.as_secs());
    if (shortest..=longest).contains(&u64::from(requested)) {
        Ok(requested)
    } else {
        Err(Problem::invalid("job_ttl", format!("must be {shortest} to {longest} seconds")))
    }
}

/// Checks that `text` is an http or https URL without a user name.
///
/// # Errors
/// 422 if it is not.
pub fn check_url(field: &str, text: &str) -> Result<(), Problem> {
    let url = url::Url::parse(text);
    let fits = url.is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
    });
    if fits {
        Ok(())
    } else {
        Err(Problem::invalid(field, "must be an http or https URL without a user name".to_owned()))
    }
}

/// Checks that `text`, a URL that [`check_url`] accepted, is on the public internet. `remedy` is
/// added to the error. Returns a warning if the host does not resolve now: it may be set up later,
/// and is checked again before each request.
///
/// # Errors
/// 422 with the code `private_address` if it is in a private network.
pub async fn check_public_url<D: Resolver>(
    resolver: &D,
    field: &str,
    text: &str,
    remedy: &str,
) -> Result<Option<String>, Problem> {
    let Ok(url) = url::Url::parse(text) else { return Ok(None) };
    match address::host_network(resolver, &url).await {
        HostNetwork::Public => Ok(None),
        HostNetwork::Unresolved => {
            Ok(Some(format!("the host of `{field}` does not resolve: check its name")))
        }
        HostNetwork::Private => {
            let detail = format!(
                "the URL is in a private network: use one on the public internet, {remedy}"
            );
            Err(Problem::invalid(field, detail).with_code("private_address"))
        }
    }
}

/// The resource with its production dependencies.
pub type ProductionTenants<N, C, R> =
    Tenants<Repository, SecretsManagerCredentials<C>, C, R, <N as Network>::Resolver>;

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<N: Network, C: Clock + Clone, R: Rng + Clone>(
    kit: &Kit<N, C, R>,
) -> Result<ProductionTenants<N, C, R>, Error> {
    Ok(Tenants {
        store: Repository::of(kit)?,
        credential_store: kit.credential_store()?,
        clock: kit.clock.clone(),
        rng: kit.rng.clone(),
        resolver: kit.network.resolver(),
        skip_tenant_checks: kit.skip_tenant_checks(),
    })
}

/// Serves the resource until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::start(async |kit| {
        let resource = resource(&kit)?;
        resource.store.prewarm().await;
        runtime::api::serve(&kit, resource).await
    })
}
