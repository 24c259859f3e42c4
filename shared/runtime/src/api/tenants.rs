//! Tenants, their keys, and how their automation is told.

use domain::automation::{Automation, Pull, Push};
use domain::ports::{Automations, Clock, Dice, Recorded, Registry, Resolver, Safe};
use domain::pull::{LONGEST_TIME_TO_LIVE, SHORTEST_TIME_TO_LIVE, TIME_TO_LIVE};
use domain::tenant::{ApiKey, Scope, Tenant};
use domain::{KeyId, TenantId};
use http::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use store::DynamoStore;

use super::authorizer::{hash, new_key};
use super::{ApiReply, ApiRequest, Params, Problem, Resource, Route, cursor, schema};
use crate::address::{self, Reach};
use crate::vault::SecretsVault;
use crate::{Error, Kit, Network};

/// What the resource needs.
#[derive(Debug)]
pub struct Tenants<S, V, C, R, D> {
    /// The table.
    pub store: S,
    /// Signing secrets.
    pub safe: V,
    /// The time.
    pub clock: C,
    /// Keys and secrets.
    pub dice: R,
    /// Host names of automations.
    pub resolver: D,
    /// Whether tenants may open their automation's way into a private network.
    pub trust_tenants: bool,
}

/// Its operations.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Make a tenant.
    Create,
    /// List tenants.
    List,
    /// Show a tenant.
    Show,
    /// Make a key.
    CreateKey,
    /// List keys.
    ListKeys,
    /// End a key.
    RevokeKey,
    /// Set the automation.
    SetAutomation,
    /// Show the automation.
    ShowAutomation,
}

/// Body of `POST /tenants`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateTenant {
    /// Its id: 1 to 63 of `a-z`, `0-9`, `-` and `_`.
    id: TenantId,
    /// What people call it.
    name: String,
}

/// A page of tenants.
#[derive(Debug, Serialize, JsonSchema)]
struct TenantPage {
    /// The tenants.
    tenants: Vec<Tenant>,
    /// Where the next page begins.
    next: Option<String>,
}

/// Body of `POST /tenants/{tenant}/keys`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateKey {
    /// What the key may be used for.
    scopes: Vec<Scope>,
}

/// A new key. This is the only time it is shown.
#[derive(Debug, Serialize, JsonSchema)]
struct NewKey {
    /// Its id.
    id: KeyId,
    /// The key itself.
    key: String,
    /// Whose it is.
    tenant: TenantId,
    /// What it may be used for.
    scopes: Vec<Scope>,
    /// When it was made.
    created_at: Timestamp,
}

/// A tenant's keys.
#[derive(Debug, Serialize, JsonSchema)]
struct KeyList {
    /// The keys, without their secret part.
    keys: Vec<ApiKey>,
}

/// Body of `PUT /tenants/{tenant}/automation`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum SetAutomation {
    /// Tell nobody.
    None,
    /// Tell by an outgoing webhook.
    Push {
        /// Where it goes: an http or https URL of the public internet, or of a private network
        /// with `allow_private_network`.
        url: String,
        /// Whether it may lead into a private network. Only for networks you trust.
        #[serde(default)]
        allow_private_network: bool,
    },
    /// Queue what people write as jobs, for workers to pull.
    Pull {
        /// How long a job may wait to be done, in seconds: a minute to a week, a day if absent.
        #[serde(default)]
        job_ttl: Option<u32>,
        /// Where to tell what becomes of messages, and of jobs that nobody did: an http or https
        /// URL, as with `push`. Nobody is told if absent.
        #[serde(default)]
        url: Option<String>,
        /// Whether `url` may lead into a private network. Only for networks you trust.
        #[serde(default)]
        allow_private_network: bool,
    },
}

/// How a tenant's automation is told.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct AutomationView {
    /// `push`, `pull` or `none`.
    kind: &'static str,
    /// How long a job may wait to be done, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    job_ttl: Option<u32>,
    /// Where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Whether it may lead into a private network.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_private_network: Option<bool>,
    /// The signing secret that was generated; shown only in the answer that sets the
    /// automation. Setting it again makes another one, and for a day both sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// What may keep notifications from arriving: the host of `url` does not resolve now.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
    /// When its receiver answered 410 Gone; it is told nothing until it is set again.
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
    ("limit", "query", "Items on a page, 1 to 100; 50 if absent."),
    ("cursor", "query", "The `next` of the page before."),
];

/// The routes of tenants.
pub(crate) const ROUTES: &[Route<Operation>] = &[
    Route {
        operation: Operation::Create,
        method: "POST",
        path: "/tenants",
        summary: "Make a tenant",
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
        operation: Operation::Show,
        method: "GET",
        path: "/tenants/{tenant}",
        summary: "Show a tenant",
        scope: Some(Scope::Read),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<Tenant>)),
    },
    Route {
        operation: Operation::CreateKey,
        method: "POST",
        path: "/tenants/{tenant}/keys",
        summary: "Make a key; it is shown this once",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: Some(schema::<CreateKey>),
        answer: (201, Some(schema::<NewKey>)),
    },
    Route {
        operation: Operation::ListKeys,
        method: "GET",
        path: "/tenants/{tenant}/keys",
        summary: "List keys",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<KeyList>)),
    },
    Route {
        operation: Operation::RevokeKey,
        method: "DELETE",
        path: "/tenants/{tenant}/keys/{key}",
        summary: "End a key; it may work for another minute",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (204, None),
    },
    Route {
        operation: Operation::SetAutomation,
        method: "PUT",
        path: "/tenants/{tenant}/automation",
        summary: "Say how the tenant's automation is told; gives a new signing secret",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: Some(schema::<SetAutomation>),
        answer: (200, Some(schema::<AutomationView>)),
    },
    Route {
        operation: Operation::ShowAutomation,
        method: "GET",
        path: "/tenants/{tenant}/automation",
        summary: "Show how the tenant's automation is told",
        scope: Some(Scope::Admin),
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<AutomationView>)),
    },
];

impl<S, V, C, R, D> Resource for Tenants<S, V, C, R, D>
where
    S: Registry + Automations,
    V: Safe,
    C: Clock,
    R: Dice,
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
            Operation::Show => {
                let id = request.tenant(Scope::Read, Some(&params.get("tenant")?))?;
                ApiReply::json(StatusCode::OK, &self.existing(&id).await?)
            }
            Operation::CreateKey => self.create_key(request, params).await,
            Operation::ListKeys => {
                let tenant = request.tenant(Scope::Admin, Some(&params.get("tenant")?))?;
                let keys = self.store.keys(&tenant).await?;
                ApiReply::json(StatusCode::OK, &KeyList { keys })
            }
            Operation::RevokeKey => {
                let tenant = request.tenant(Scope::Admin, Some(&params.get("tenant")?))?;
                let ended = self.store.revoke_key(&tenant, params.get("key")?).await?;
                if ended { Ok(ApiReply::empty()) } else { Err(Problem::not_found()) }
            }
            Operation::SetAutomation => self.set_automation(request, params).await,
            Operation::ShowAutomation => {
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
    V: Safe,
    C: Clock,
    R: Dice,
    D: Resolver,
{
    async fn existing(&self, id: &TenantId) -> Result<Tenant, Problem> {
        self.store.tenant(id).await?.ok_or_else(Problem::not_found)
    }

    async fn create(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        request.platform()?;
        let asked: CreateTenant = request.read()?;
        if asked.id.is_platform() {
            let detail = "`platform` is the operator of the hub; choose another id".to_owned();
            return Err(Problem::invalid("id", detail));
        }
        if asked.name.trim().is_empty() || asked.name.len() > 200 {
            return Err(Problem::invalid("name", "1 to 200 bytes".to_owned()));
        }
        let tenant = Tenant { id: asked.id, name: asked.name, created_at: self.clock.now() };
        match self.store.create_tenant(&tenant).await? {
            Recorded::New => ApiReply::json(StatusCode::CREATED, &tenant),
            Recorded::Duplicate => {
                let detail = "there is a tenant of this id; choose another".to_owned();
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
        let asked: CreateKey = request.read()?;
        if asked.scopes.is_empty() {
            let names = Scope::ALL.map(Scope::as_str).join(", ");
            return Err(Problem::invalid("scopes", format!("at least one of {names}")));
        }
        if !tenant.is_platform() {
            self.existing(&tenant).await?;
        }
        let now = self.clock.now();
        let id = KeyId::new(now, self.dice.bits());
        let secret = new_key(id, [self.dice.bits(), self.dice.bits()]);
        let secret = secret.expose_secret();
        let hint = secret.get(secret.len().saturating_sub(4)..).unwrap_or_default();
        let key = ApiKey {
            id,
            tenant: tenant.clone(),
            scopes: asked.scopes.clone(),
            hint: format!("...{hint}"),
            created_at: now,
        };
        self.store.create_key(&key, &hash(secret)).await?;
        ApiReply::json(
            StatusCode::CREATED,
            &NewKey { id, key: secret.to_owned(), tenant, scopes: asked.scopes, created_at: now },
        )
    }

    async fn set_automation(
        &self,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Admin, Some(&params.get("tenant")?))?;
        let asked: SetAutomation = request.read()?;
        if !tenant.is_platform() {
            self.existing(&tenant).await?;
        }
        let (automation, made) = match asked {
            SetAutomation::None => (Automation::None, None),
            SetAutomation::Push { url, allow_private_network } => {
                let made = self.push(request, &tenant, url, allow_private_network).await?;
                (Automation::Push(made.push.clone()), Some(made))
            }
            SetAutomation::Pull { job_ttl, url, allow_private_network } => {
                let job_ttl = time_to_live(job_ttl)?;
                let made = match url {
                    None => None,
                    Some(url) => {
                        Some(self.push(request, &tenant, url, allow_private_network).await?)
                    }
                };
                let push = made.as_ref().map(|made| made.push.clone());
                (Automation::Pull(Pull { job_ttl, push }), made)
            }
        };
        self.store.set_automation(&tenant, &automation).await?;
        let secret = made.as_ref().map(|made| made.secret.expose_secret().to_owned());
        let warning = made.and_then(|made| made.warning);
        let view = AutomationView { secret, warning, ..AutomationView::from(automation) };
        ApiReply::json(StatusCode::OK, &view)
    }

    /// An outgoing webhook, and the secret that signs it.
    async fn push(
        &self,
        request: &ApiRequest,
        tenant: &TenantId,
        url: String,
        allow_private_network: bool,
    ) -> Result<MadePush, Problem> {
        check_url("url", &url)?;
        if allow_private_network && !self.trust_tenants {
            // The wall keeps tenants out of the operator's network: only the operator opens it.
            request.platform().map_err(|problem| problem.at("allow_private_network"))?;
        }
        let warning = if allow_private_network {
            None
        } else {
            let remedy = "or have the operator allow it by `allow_private_network`";
            check_reach(&self.resolver, "url", &url, remedy).await?
        };
        let random: Vec<u8> =
            [self.dice.bits(), self.dice.bits()].iter().flat_map(|b| b.to_be_bytes()).collect();
        let secret =
            providers::standard_webhooks::secret(&random).map_err(|_| Problem::internal())?;
        // The secret first: a notice must never be signed by one the table does not name yet.
        self.safe.add_signing_secret(tenant, secret.clone()).await?;
        let push =
            Push { url, allow_private_network, secret_at: self.clock.now(), disabled_at: None };
        Ok(MadePush { push, secret, warning })
    }
}

/// An outgoing webhook that was made.
struct MadePush {
    push: Push,
    /// The secret that signs it.
    secret: SecretString,
    /// What may keep notifications from arriving.
    warning: Option<String>,
}

/// How long a job may wait, in seconds.
fn time_to_live(asked: Option<u32>) -> Result<u32, Problem> {
    let Some(asked) = asked else {
        return u32::try_from(TIME_TO_LIVE.as_secs()).map_err(|_| Problem::internal());
    };
    let (shortest, longest) = (SHORTEST_TIME_TO_LIVE.as_secs(), LONGEST_TIME_TO_LIVE.as_secs());
    if (shortest..=longest).contains(&u64::from(asked)) {
        Ok(asked)
    } else {
        Err(Problem::invalid("job_ttl", format!("seconds, {shortest} to {longest}")))
    }
}

/// Checks that `text` is an address that can be called.
pub(crate) fn check_url(field: &str, text: &str) -> Result<(), Problem> {
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
        Err(Problem::invalid(field, "an http or https URL without a user name".to_owned()))
    }
}

/// Checks that `text`, a URL that [`check_url`] took, leads to the public internet. `remedy` says
/// what else may be done. Gives a warning where that cannot be told now: a host name may be set
/// up after the address, and is judged again whenever it is called.
pub(crate) async fn check_reach<D: Resolver>(
    resolver: &D,
    field: &str,
    text: &str,
    remedy: &str,
) -> Result<Option<String>, Problem> {
    let Ok(url) = url::Url::parse(text) else { return Ok(None) };
    match address::reach(resolver, &url).await {
        Reach::Public => Ok(None),
        Reach::Unresolved => {
            Ok(Some(format!("the host of `{field}` does not resolve now: check its name")))
        }
        Reach::Private => {
            let detail = format!(
                "the address leads into a private network: give one of the public internet, \
                 {remedy}"
            );
            Err(Problem::invalid(field, detail).with_code("private_address"))
        }
    }
}

/// The resource as it is deployed.
pub type OwnTenants<N, C, R> =
    Tenants<DynamoStore, SecretsVault<C>, C, R, <N as Network>::Resolver>;

/// The resource.
///
/// # Errors
/// If the environment is incomplete.
pub fn resource<N: Network, C: Clock + Clone, R: Dice + Clone>(
    kit: &Kit<N, C, R>,
) -> Result<OwnTenants<N, C, R>, Error> {
    Ok(Tenants {
        store: kit.store()?,
        safe: kit.vault()?,
        clock: kit.clock.clone(),
        dice: kit.dice.clone(),
        resolver: kit.network.resolver(),
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
