//! Access tokens for voice clients, which make and receive calls in a browser or an app.

use std::time::Duration;

use accounts::operator_credentials;
use accounts::ports::TenantReader;
use domain::ports::{Clock, CredentialReader, Freshness};
use domain::tenant::Scope;
use domain::{Integration, IntegrationId, Provider, TenantId};
use http::StatusCode;
use providers::twilio::{VoiceGrant, access_token};
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, schema};
use runtime::{AwsEnv, Env, Error, FeatureRepository, Kit};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

/// Default lifetime of a token in seconds.
const DEFAULT_LIFETIME: u32 = 3600;
/// Maximum length of an identity, set by Twilio.
const MAX_IDENTITY_LEN: usize = 121;

/// API resource and its dependencies.
#[derive(Debug)]
pub struct Voice<E: Env> {
    /// Integrations.
    pub accounts: accounts::Repository,
    /// Credential store.
    pub credential_store: E::Credentials,
    /// Clock.
    pub clock: E::Clock,
}

/// The only operation of the resource.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Create a token.
    CreateToken,
}

/// Body of `POST /voice/token`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateVoiceToken {
    /// Tenant of the client. Default: the tenant of the key. Required with the platform key.
    #[serde(default, alias = "tenant")]
    tenant_id: Option<TenantId>,
    /// Identity of the client: 1 to 121 letters, digits and `_`.
    identity: String,
    /// Whether the client can receive calls.
    #[serde(default = "yes")]
    incoming: bool,
    /// SID of the `TwiML` application that handles calls from the client. Without it, the client
    /// cannot make calls.
    #[serde(default)]
    application_sid: Option<String>,
    /// Lifetime of the token in seconds, at most a day. Default: 3600.
    #[serde(default = "lifetime")]
    ttl: u32,
    /// Twilio integration to use. Required if the tenant has several.
    #[serde(default)]
    integration: Option<IntegrationId>,
}

const fn yes() -> bool {
    true
}

const fn lifetime() -> u32 {
    DEFAULT_LIFETIME
}

/// An access token for the provider's voice client.
#[derive(Serialize, JsonSchema)]
struct VoiceToken {
    /// Access token.
    token: String,
    /// Identity of the client.
    identity: String,
    /// Lifetime of the token in seconds.
    expires_in: u32,
}

/// Routes of the resource.
pub const ROUTES: &[Route<Operation>] = &[Route {
    operation: Operation::CreateToken,
    method: "POST",
    path: "/voice/token",
    summary: "Create an access token for a voice client",
    scope: Some(Scope::Send),
    parameters: &[],
    request: Some(schema::<CreateVoiceToken>),
    answer: (201, Some(schema::<VoiceToken>)),
}];

impl<E: Env> Resource for Voice<E> {
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        _params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::CreateToken => self.token(request).await,
        }
    }
}

impl<E: Env> Voice<E> {
    async fn token(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        request.principal(Scope::Send)?;
        let input: CreateVoiceToken = request.read()?;
        let tenant = request.tenant(Scope::Send, input.tenant_id.as_ref())?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !(1..=MAX_IDENTITY_LEN).contains(&input.identity.len())
            || !input.identity.chars().all(plain)
        {
            let detail = format!("must be 1 to {MAX_IDENTITY_LEN} letters, digits and _");
            return Err(Problem::invalid("identity", detail));
        }
        if input.application_sid.as_ref().is_some_and(|sid| !sid.starts_with("AP")) {
            let detail = "must be the SID of a TwiML application, which begins with AP".to_owned();
            return Err(Problem::invalid("application_sid", detail));
        }
        let integration = self.integration(&tenant, input.integration).await?;
        if request.platform().is_err() {
            operator_credentials::check_token(&integration)?;
        }
        let credentials =
            self.credential_store.credentials(&integration, Freshness::Cached).await?;
        let grant = VoiceGrant {
            identity: &input.identity,
            incoming: input.incoming,
            application_sid: input.application_sid.as_deref(),
        };
        let lifetime = Duration::from_secs(input.ttl.into());
        let now = self.clock.now();
        let token = access_token(&integration, &credentials, &grant, now, lifetime)?;
        tracing::info!(%tenant, integration = %integration.id, "voice token created");
        let token = VoiceToken {
            token: token.expose_secret().to_owned(),
            identity: input.identity,
            expires_in: input.ttl,
        };
        ApiReply::json(StatusCode::CREATED, &token)
    }

    /// Returns the tenant's Twilio integration: the one named, or the only one.
    async fn integration(
        &self,
        tenant: &TenantId,
        named: Option<IntegrationId>,
    ) -> Result<Integration, Problem> {
        let matches = |integration: &Integration| {
            integration.provider == Provider::Twilio && named.is_none_or(|id| integration.id == id)
        };
        let mut candidates =
            self.accounts.integrations_of(tenant).await?.into_iter().filter(matches);
        match (candidates.next(), candidates.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => {
                let detail =
                    "the tenant has several Twilio integrations: set `integration`".to_owned();
                Err(Problem::invalid("integration", detail))
            }
            (None, _) => {
                let detail = "the tenant has no such Twilio integration: create one first";
                Err(Problem::invalid("integration", detail.to_owned()).with_code("no_integration"))
            }
        }
    }
}

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<E: AwsEnv>(kit: &Kit<E>) -> Result<Voice<E>, Error> {
    Ok(Voice {
        accounts: kit.repository()?,
        credential_store: kit.credential_store()?,
        clock: kit.clock.clone(),
    })
}

/// Serves the resource until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    accounts::rate_limit::serve(resource, async |resource| resource.accounts.prewarm().await)
}
