//! Tenants, their API keys and their automations.

use domain::ports::{Clock, CredentialWriter, Recorded, Resolver, Rng};
use domain::tenant::{ApiKey, IpBlock, Scope, Tenant};
use domain::{KeyId, TenantId};
use http::StatusCode;
use jiff::Timestamp;
use runtime::address::{self, HostNetwork};
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, cursor, schema};
use runtime::digest::sha256;
use runtime::{AwsEnv, Env, Error, FeatureRepository, Kit, Network};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::audit;
use super::limits::SetLimits;
use crate::Repository;
use crate::authorizer::new_key;
use crate::model::audit::{AuditRecord, Change};
use crate::model::automation::{
    Automation, MAX_TIME_TO_LIVE, MIN_TIME_TO_LIVE, Pull, Push, TIME_TO_LIVE,
};
use crate::model::key::{MAX_ALLOWED_IPS, MAX_KEYS};
use crate::model::limits::Limits;
use crate::ports::{Automations, KeyCreation, LimitReader, LimitWriter, Registry};

/// API resource and its dependencies.
#[derive(Debug)]
pub struct Tenants<E: Env> {
    /// DynamoDB table.
    pub store: Repository,
    /// Store of signing secrets.
    pub credential_store: E::Credentials,
    /// Clock.
    pub clock: E::Clock,
    /// Random number generator, for keys and secrets.
    pub rng: E::Rng,
    /// DNS resolver for the hosts of webhook URLs.
    pub resolver: E::Resolver,
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
    /// Update the limits.
    SetLimits,
    /// Get the limits.
    GetLimits,
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
    /// When the key expires. If absent, it does not expire.
    #[serde(default)]
    expires_at: Option<Timestamp>,
    /// IP addresses and CIDR blocks that the key may be used from, at most 20. If absent or empty,
    /// it may be used from every address.
    #[serde(default)]
    allowed_ips: Vec<IpBlock>,
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
    /// When the key expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// IP addresses and CIDR blocks that the key may be used from, if not from every address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_ips: Vec<IpBlock>,
}

/// A page of API keys.
#[derive(Debug, Serialize, JsonSchema)]
struct KeyPage {
    /// Keys, without their secret part.
    keys: Vec<ApiKey>,
    /// Cursor of the next page; `null` on the last page.
    next: Option<String>,
}

/// Body of `PUT /tenants/{tenant}/automation`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum SetAutomation {
    /// No automation.
    None,
    /// Push notifications to an outgoing webhook.
    Push {
        /// Webhook endpoint: an https URL on the public internet or, with `allow_private_network`, in
        /// a private network.
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
        /// https URL, as for `push`. If absent, no notifications are sent.
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
    /// automation again generates a new secret; until it is set once more, notifications are signed
    /// with both.
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
        parameters: PAGE,
        request: None,
        answer: (200, Some(schema::<KeyPage>)),
    },
    Route {
        operation: Operation::DeleteKey,
        method: "DELETE",
        path: "/tenants/{tenant}/keys/{key}",
        summary: "Delete an API key. API Gateway may accept it for up to 60 more seconds, because it \
                  caches the authorizer's result; the operator ends that at once with `aws \
                  apigatewayv2 reset-authorizers-cache --api-id <ApiId> --stage-name '$default'`",
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
    Route {
        operation: Operation::SetLimits,
        method: "PUT",
        path: "/tenants/{tenant}/limits",
        summary: "Update the tenant's limits; an absent one becomes the default",
        scope: None,
        parameters: &[],
        request: Some(schema::<SetLimits>),
        answer: (200, Some(schema::<Limits>)),
    },
    Route {
        operation: Operation::GetLimits,
        method: "GET",
        path: "/tenants/{tenant}/limits",
        summary: "Get the tenant's limits",
        scope: Some(Scope::Read),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<Limits>)),
    },
];

impl<E: Env> Resource for Tenants<E> {
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
                let (limit, from) = request.page()?;
                let page = self.store.keys(&tenant, limit, from.as_deref()).await?;
                let page = KeyPage { keys: page.items, next: cursor(page.next) };
                ApiReply::json(StatusCode::OK, &page)
            }
            Operation::DeleteKey => self.delete_key(request, params).await,
            Operation::SetAutomation => self.set_automation(request, params).await,
            Operation::GetAutomation => {
                let tenant = request.tenant(Scope::Admin, Some(&params.get("tenant")?))?;
                let automation = self.store.automation(&tenant).await?;
                ApiReply::json(StatusCode::OK, &AutomationView::from(automation))
            }
            Operation::SetLimits => {
                request.platform()?;
                let tenant = params.get("tenant")?;
                let settings = request.read::<SetLimits>()?.checked()?;
                self.existing(&tenant).await?;
                let (before, after) = (self.store.limits(&tenant).await?, settings.limits());
                let change = Change::limits_set(&tenant, &before, &after);
                let audit = self.audit(request, &tenant, change)?;
                self.store.set_limits(&tenant, &settings, &audit).await?;
                ApiReply::json(StatusCode::OK, &settings.limits())
            }
            Operation::GetLimits => {
                let tenant = request.tenant(Scope::Read, Some(&params.get("tenant")?))?;
                ApiReply::json(StatusCode::OK, &self.store.limits(&tenant).await?)
            }
        }
    }
}

impl<E: Env> Tenants<E> {
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
        let audit = self.audit(request, &tenant.id, Change::tenant_created(&tenant))?;
        match self.store.create_tenant(&tenant, &audit).await? {
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
        let now = self.clock.now();
        if input.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(Problem::invalid("expires_at", "must be in the future".to_owned()));
        }
        if input.allowed_ips.len() > MAX_ALLOWED_IPS {
            let detail = format!("must have at most {MAX_ALLOWED_IPS} entries: use CIDR blocks");
            return Err(Problem::invalid("allowed_ips", detail));
        }
        if !tenant.is_platform() {
            self.existing(&tenant).await?;
        }
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
            expires_at: input.expires_at,
            allowed_ips: input.allowed_ips.clone(),
            last_used_at: None,
        };
        let audit = self.audit(request, &tenant, Change::key_created(&key))?;
        match self.store.create_key(&key, &sha256(secret), &audit).await? {
            KeyCreation::Created => {}
            KeyCreation::LimitReached => {
                let detail = format!(
                    "the tenant has {MAX_KEYS} API keys, which is the maximum: delete a key that is \
                     expired or not used, see `expires_at` and `last_used_at`"
                );
                let status = StatusCode::CONFLICT;
                return Err(Problem::new(status, "too_many_keys", "Too many API keys", detail));
            }
        }
        let created = NewKey {
            id,
            key: secret.to_owned(),
            tenant,
            scopes: input.scopes,
            created_at: now,
            expires_at: input.expires_at,
            allowed_ips: input.allowed_ips,
        };
        ApiReply::json(StatusCode::CREATED, &created)
    }

    async fn delete_key(
        &self,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Admin, Some(&params.get("tenant")?))?;
        let key = self.store.api_key(&tenant, params.get("key")?).await?;
        let key = key.ok_or_else(Problem::not_found)?;
        let audit = self.audit(request, &tenant, Change::key_revoked(&key))?;
        let revoked = self.store.revoke_key(&tenant, key.id, &audit).await?;
        if revoked { Ok(ApiReply::empty()) } else { Err(Problem::not_found()) }
    }

    /// Returns the audit record of a change that the request makes.
    fn audit(
        &self,
        request: &ApiRequest,
        tenant: &TenantId,
        change: Change,
    ) -> Result<AuditRecord, Problem> {
        audit::record(request, (&self.clock, &self.rng), tenant, change)
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
        let before = self.store.automation(&tenant).await?;
        let change = Change::automation(&tenant, &before, &automation);
        let audit = self.audit(request, &tenant, change)?;
        self.store.set_automation(&tenant, &automation, &audit).await?;
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
        if !self.skip_tenant_checks {
            check_https("url", &url)?;
        }
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

/// Checks that `text`, a URL that [`check_url`] accepted, is an https URL: over http, anyone on the
/// way could read what the hub sends there, and change the response.
///
/// # Errors
/// 422 with the code `insecure_url` if it is an http URL.
pub(super) fn check_https(field: &str, text: &str) -> Result<(), Problem> {
    if url::Url::parse(text).is_ok_and(|url| url.scheme() == "https") {
        return Ok(());
    }
    let detail = "http is not encrypted: set an https URL".to_owned();
    Err(Problem::invalid(field, detail).with_code("insecure_url"))
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

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<E: AwsEnv>(kit: &Kit<E>) -> Result<Tenants<E>, Error> {
    Ok(Tenants {
        store: kit.repository()?,
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
    crate::rate_limit::serve(resource, async |resource| resource.store.prewarm().await)
}
