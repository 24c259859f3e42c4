//! Lambda authorizer of API Gateway: authenticates the API key of each request.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time;
use aws_types::SdkConfig;
use domain::ports::{Clock, PortResult};
use domain::tenant::{ApiKey, Scope};
use domain::{KeyId, TenantId};
use jiff::Timestamp;
use runtime::digest::sha256;
use runtime::{AwsEnv, Error, FeatureRepository, Kit};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Repository;
use crate::key_cache::CachedKeys;
use crate::key_use::KeyUses;
use crate::ports::{Keys, RecordKeyUse};

/// Request of API Gateway to the authorizer; only the fields that are used.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>
#[derive(Debug, Deserialize)]
pub struct AuthorizerRequest {
    /// Values of the identity source, the `Authorization` header.
    #[serde(default, rename = "identitySource")]
    pub identity_source: Vec<String>,
}

/// Response to API Gateway, in the simple format.
#[derive(Debug, PartialEq, Serialize)]
pub struct AuthorizerReply {
    /// Whether the key is valid.
    #[serde(rename = "isAuthorized")]
    pub is_authorized: bool,
    /// Context passed to the API functions. API Gateway accepts only string values.
    pub context: serde_json::Value,
}

/// How long the platform admin key is cached. After that it is read again, so that a rotated
/// key stops working.
const ADMIN_KEY_LIFETIME: Duration = Duration::from_mins(5);

/// Prefix of every API key, so that secret scanners can recognize leaked keys.
pub const KEY_PREFIX: &str = "swb_";

/// Returns a new API key: its id and 256 random bits.
#[must_use]
pub fn new_key(id: KeyId, random: [u128; 2]) -> SecretString {
    let secret = random.map(|bits| hex::encode(bits.to_be_bytes())).concat();
    let id = id.to_string();
    let id = id.strip_prefix(KeyId::PREFIX).unwrap_or(&id);
    format!("{KEY_PREFIX}{id}_{secret}").into()
}

/// Authorizes one request at `now`.
///
/// The allowed addresses of a key are not checked here: API Gateway caches the result, and a request
/// from a wrong address would lock out the right ones. The API checks them for each request.
///
/// # Errors
/// If the table cannot be read. API Gateway then returns 500 and the request is not authorized.
pub async fn handle<K: Keys, U: RecordKeyUse>(
    keys: &K,
    uses: &KeyUses<U>,
    admin_key: &SecretString,
    request: &AuthorizerRequest,
    now: Timestamp,
) -> PortResult<AuthorizerReply> {
    let denied = AuthorizerReply { is_authorized: false, context: json!({}) };
    let header = request.identity_source.first().map_or("", String::as_str);
    let Some((scheme, key)) = header.split_once(' ') else { return Ok(denied) };
    let key = key.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || key.is_empty() {
        return Ok(denied);
    }
    // A key has 256 random bits, so a plain SHA-256 hash is enough.
    let hashed = sha256(key);
    // Compare hashes: they all have the same length, so the length of a key is not revealed.
    let same = |stored: &str| {
        constant_time::verify_slices_are_equal(hashed.as_bytes(), stored.as_bytes()).is_ok()
    };
    if !admin_key.expose_secret().is_empty() && same(&sha256(admin_key.expose_secret())) {
        let (tenant, key) = (TenantId::platform(), "platform");
        let context = json!({ "tenant": tenant, "scopes": Scope::Admin, "key": key });
        return Ok(AuthorizerReply { is_authorized: true, context });
    }
    let id = key.strip_prefix(KEY_PREFIX).and_then(|rest| rest.split_once('_'));
    let id = id.and_then(|(id, _)| format!("{}{id}", KeyId::PREFIX).parse().ok());
    let Some(id) = id else { return Ok(denied) };
    match keys.key(id).await? {
        Some((key, stored)) if same(&stored) && !key.is_expired(now) => {
            uses.record(&key, now).await;
            Ok(granted(&key))
        }
        _ => Ok(denied),
    }
}

fn granted(key: &ApiKey) -> AuthorizerReply {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let mut context = json!({ "tenant": key.tenant, "scopes": scopes.join(","), "key": key.id });
    // The API checks these again for each request, because API Gateway caches this result.
    if let Some(expires_at) = key.expires_at {
        set(&mut context, "expires_at", expires_at.to_string());
    }
    if !key.allowed_ips.is_empty() {
        let blocks: Vec<String> = key.allowed_ips.iter().map(ToString::to_string).collect();
        set(&mut context, "allowed_ips", blocks.join(","));
    }
    AuthorizerReply { is_authorized: true, context }
}

fn set(context: &mut Value, name: &str, value: String) {
    if let Some(context) = context.as_object_mut() {
        context.insert(name.to_owned(), value.into());
    }
}

/// The authorizer with its production dependencies.
#[derive(Debug)]
pub struct Authorizer<C> {
    aws: SdkConfig,
    keys: CachedKeys<Repository, C>,
    /// ARN of the secret that holds the platform admin key.
    admin_key_arn: String,
    /// Platform admin key, and when it was read. It is read on the first request, not at init: if
    /// reading failed at init, the sandbox would end and API Gateway would get no response.
    admin_key: Mutex<Option<(Timestamp, SecretString)>>,
    uses: KeyUses<Repository>,
    clock: C,
}

impl<C: Clock> Authorizer<C> {
    /// Authorizes one request.
    ///
    /// # Errors
    /// If the platform admin key or the table cannot be read. API Gateway then returns 500 and
    /// the request is not authorized.
    pub async fn answer(&self, request: &AuthorizerRequest) -> Result<AuthorizerReply, Error> {
        let known = self.admin_key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = self.clock.now();
        let fresh = known.filter(|(read_at, _)| {
            now.duration_since(*read_at).unsigned_abs() < ADMIN_KEY_LIFETIME
        });
        let key = if let Some((_, key)) = fresh {
            key
        } else {
            let key = runtime::read_secret(&self.aws, &self.admin_key_arn).await?;
            let mut known = self.admin_key.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert((now, key)).1.clone()
        };
        Ok(handle(&self.keys, &self.uses, &key, request, now).await?)
    }
}

/// Builds the authorizer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn authorizer<E: AwsEnv>(kit: &Kit<E>) -> Result<Authorizer<E::Clock>, Error> {
    Ok(Authorizer {
        aws: kit.aws.clone(),
        keys: CachedKeys::new(kit.repository()?, kit.clock.clone()),
        admin_key_arn: kit.var("ADMIN_KEY_SECRET_ARN")?,
        admin_key: Mutex::default(),
        uses: KeyUses::new(kit.repository()?),
        clock: kit.clock.clone(),
    })
}

/// Serves the authorizer until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::start(async |kit| {
        let authorizer = authorizer(&kit)?;
        authorizer.keys.store.prewarm().await;
        let authorizer = &authorizer;
        runtime::serve(async move |request: AuthorizerRequest| authorizer.answer(&request).await)
            .await
    })
}
