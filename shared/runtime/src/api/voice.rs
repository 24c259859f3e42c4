//! Tokens for voice clients: people who take and make calls in a browser or an app.

use std::time::Duration;

use domain::ports::{Clock, Freshness, Library, Vault};
use domain::tenant::Scope;
use domain::{Integration, IntegrationId, Provider, TenantId};
use http::StatusCode;
use providers::twilio::{VoiceGrant, access_token};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use store::DynamoStore;

use super::{ApiReply, ApiRequest, Params, Problem, Resource, Route, schema};
use crate::vault::SecretsVault;
use crate::{Error, Kit};

/// How long a token lives unless asked otherwise.
const LIFETIME: u32 = 3600;
/// The longest identity, as Twilio takes it.
const LONGEST_IDENTITY: usize = 121;

/// What the resource needs.
#[derive(Debug)]
pub struct Voice<S, V, C> {
    /// The table.
    pub store: S,
    /// Credentials.
    pub vault: V,
    /// The time.
    pub clock: C,
}

/// Its one operation.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Make a token.
    Token,
}

/// Body of `POST /voice/token`: for whom, and what they may do.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MakeToken {
    /// Which tenant: the key's own, or the one that the platform's key acts for.
    #[serde(default, alias = "tenant")]
    tenant_id: Option<TenantId>,
    /// Who the client is: letters, digits and `_`.
    identity: String,
    /// Whether they take calls.
    #[serde(default = "yes")]
    incoming: bool,
    /// The `TwiML` application that decides on the calls they make; without one they make none.
    #[serde(default)]
    application_sid: Option<String>,
    /// Seconds it is valid, at most a day.
    #[serde(default = "lifetime")]
    ttl: u32,
    /// Which account, where the tenant has several.
    #[serde(default)]
    integration: Option<IntegrationId>,
}

const fn yes() -> bool {
    true
}

const fn lifetime() -> u32 {
    LIFETIME
}

/// A token for the provider's voice client.
#[derive(Serialize, JsonSchema)]
struct VoiceToken {
    /// The token.
    token: String,
    /// Who it is for.
    identity: String,
    /// Seconds it is valid.
    expires_in: u32,
}

/// The one route.
pub(crate) const ROUTES: &[Route<Operation>] = &[Route {
    operation: Operation::Token,
    method: "POST",
    path: "/voice/token",
    summary: "Make a token for a voice client",
    scope: Some(Scope::Send),
    parameters: &[],
    request: Some(schema::<MakeToken>),
    answer: (201, Some(schema::<VoiceToken>)),
}];

impl<S: Library, V: Vault, C: Clock> Resource for Voice<S, V, C> {
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        _params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::Token => self.token(request).await,
        }
    }
}

impl<S: Library, V: Vault, C: Clock> Voice<S, V, C> {
    async fn token(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        request.caller(Scope::Send)?;
        let asked: MakeToken = request.read()?;
        let tenant = request.tenant(Scope::Send, asked.tenant_id.as_ref())?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !(1..=LONGEST_IDENTITY).contains(&asked.identity.len())
            || !asked.identity.chars().all(plain)
        {
            let detail = format!("1 to {LONGEST_IDENTITY} letters, digits and _");
            return Err(Problem::invalid("identity", detail));
        }
        if asked.application_sid.as_ref().is_some_and(|sid| !sid.starts_with("AP")) {
            let detail = "a TwiML application's SID: AP, letters and digits".to_owned();
            return Err(Problem::invalid("application_sid", detail));
        }
        let integration = self.integration(&tenant, asked.integration).await?;
        let credentials = self.vault.credentials(&integration, Freshness::Cached).await?;
        let grant = VoiceGrant {
            identity: &asked.identity,
            incoming: asked.incoming,
            application_sid: asked.application_sid.as_deref(),
        };
        let lifetime = Duration::from_secs(asked.ttl.into());
        let token = access_token(&credentials, &grant, self.clock.now(), lifetime)?;
        tracing::info!(%tenant, integration = %integration.id, "voice token made");
        let token = VoiceToken {
            token: token.expose_secret().to_owned(),
            identity: asked.identity,
            expires_in: asked.ttl,
        };
        ApiReply::json(StatusCode::CREATED, &token)
    }

    /// The tenant's account that makes calls.
    async fn integration(
        &self,
        tenant: &TenantId,
        named: Option<IntegrationId>,
    ) -> Result<Integration, Problem> {
        let ours = |integration: &Integration| {
            integration.provider == Provider::Twilio && named.is_none_or(|id| integration.id == id)
        };
        let mut fitting = self.store.integrations(tenant).await?.into_iter().filter(ours);
        match (fitting.next(), fitting.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => {
                let detail = "the tenant has several at Twilio: say which".to_owned();
                Err(Problem::invalid("integration", detail))
            }
            (None, _) => {
                let detail = "the tenant has no such integration at Twilio; make one first";
                Err(Problem::invalid("integration", detail.to_owned()).with_code("no_integration"))
            }
        }
    }
}

/// The resource as it is deployed.
pub type OwnVoice<C> = Voice<DynamoStore, SecretsVault<C>, C>;

/// The resource.
///
/// # Errors
/// If the environment is incomplete.
pub fn resource<N, C: Clock + Clone, R>(kit: &Kit<N, C, R>) -> Result<OwnVoice<C>, Error> {
    Ok(Voice { store: kit.store()?, vault: kit.vault()?, clock: kit.clock.clone() })
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
