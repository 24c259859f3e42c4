//! Who calls: the key of a request, proved.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use aws_types::SdkConfig;
use domain::ports::{Clock, Keys, PortResult};
use domain::tenant::Scope;
use domain::{KeyId, TenantId};
use jiff::Timestamp;
use lambda_runtime::{LambdaEvent, service_fn};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::DynamoStore;

use crate::{Error, Kit};

/// What API Gateway asks, of which only this is read.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>
#[derive(Debug, Deserialize)]
pub struct AuthorizerRequest {
    /// The values of the identity source: the header `Authorization`.
    #[serde(default, rename = "identitySource")]
    pub identity_source: Vec<String>,
}

/// The simple answer.
#[derive(Debug, PartialEq, Serialize)]
pub struct AuthorizerReply {
    /// Whether the key is one of ours.
    #[serde(rename = "isAuthorized")]
    pub is_authorized: bool,
    /// What the functions behind are told. Strings only, as API Gateway wants it.
    pub context: serde_json::Value,
}

/// How long the platform's key is used before it is read again: a rotated one must end.
const ADMIN_KEY_LIFETIME: Duration = Duration::from_mins(5);

/// What a key begins with, so that scanners of leaked secrets can know it.
pub const KEY_PREFIX: &str = "swb_";

/// A new key: its id, and 256 random bits.
#[must_use]
pub fn new_key(id: KeyId, random: [u128; 2]) -> SecretString {
    let secret = random.map(|bits| hex::encode(bits.to_be_bytes())).concat();
    let id = id.to_string();
    let id = id.strip_prefix(KeyId::PREFIX).unwrap_or(&id);
    format!("{KEY_PREFIX}{id}_{secret}").into()
}

/// What a key is kept as. It has 256 random bits, so a plain hash is enough.
#[must_use]
pub fn hash(key: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, key.as_bytes()))
}

/// Answers one question.
///
/// # Errors
/// If the table fails; API Gateway then answers 500, and nobody is let in.
pub async fn handle<K: Keys>(
    keys: &K,
    admin_key: &SecretString,
    request: &AuthorizerRequest,
) -> PortResult<AuthorizerReply> {
    let denied = AuthorizerReply { is_authorized: false, context: json!({}) };
    let header = request.identity_source.first().map_or("", String::as_str);
    let Some((scheme, key)) = header.split_once(' ') else { return Ok(denied) };
    let key = key.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || key.is_empty() {
        return Ok(denied);
    }
    let hashed = hash(key);
    // Hashes are compared, so their length tells nothing of the keys'.
    let same = |kept: &str| {
        constant_time::verify_slices_are_equal(hashed.as_bytes(), kept.as_bytes()).is_ok()
    };
    if !admin_key.expose_secret().is_empty() && same(&hash(admin_key.expose_secret())) {
        return Ok(granted(&TenantId::platform(), &[Scope::Admin], "admin"));
    }
    let id = key.strip_prefix(KEY_PREFIX).and_then(|rest| rest.split_once('_'));
    let id = id.and_then(|(id, _)| format!("{}{id}", KeyId::PREFIX).parse().ok());
    let Some(id) = id else { return Ok(denied) };
    match keys.key(id).await? {
        Some((key, kept)) if same(&kept) => {
            Ok(granted(&key.tenant, &key.scopes, &key.id.to_string()))
        }
        _ => Ok(denied),
    }
}

fn granted(tenant: &TenantId, scopes: &[Scope], key: &str) -> AuthorizerReply {
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let context = json!({ "tenant": tenant, "scopes": scopes.join(","), "key": key });
    AuthorizerReply { is_authorized: true, context }
}

/// The authorizer as it is deployed.
#[derive(Debug)]
pub struct Authorizer<C> {
    aws: SdkConfig,
    store: DynamoStore,
    /// Where the platform's key is kept.
    admin_key_arn: String,
    /// The platform's key, and when it was read. Read with the first request: a secret that
    /// cannot be read must not end the sandbox, which API Gateway would only see as silence.
    admin_key: Mutex<Option<(Timestamp, SecretString)>>,
    clock: C,
}

impl<C: Clock> Authorizer<C> {
    /// Answers one question.
    ///
    /// # Errors
    /// If the platform's key cannot be read, or the table fails; API Gateway then answers 500,
    /// and nobody is let in.
    pub async fn answer(&self, request: &AuthorizerRequest) -> Result<AuthorizerReply, Error> {
        let known = self.admin_key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = self.clock.now();
        let fresh = known.filter(|(read_at, _)| {
            now.duration_since(*read_at).unsigned_abs() < ADMIN_KEY_LIFETIME
        });
        let key = if let Some((_, key)) = fresh {
            key
        } else {
            let key = crate::vault::read_one(&self.aws, &self.admin_key_arn).await?;
            let mut known = self.admin_key.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert((now, key)).1.clone()
        };
        Ok(handle(&self.store, &key, request).await?)
    }
}

/// The authorizer.
///
/// # Errors
/// If the environment is incomplete.
pub fn authorizer<N, C: Clock + Clone, R>(kit: &Kit<N, C, R>) -> Result<Authorizer<C>, Error> {
    Ok(Authorizer {
        aws: kit.aws.clone(),
        store: kit.store()?,
        admin_key_arn: kit.var("ADMIN_KEY_SECRET_ARN")?,
        admin_key: Mutex::default(),
        clock: kit.clock.clone(),
    })
}

/// Runs the authorizer until Lambda ends it.
///
/// # Errors
/// If the environment is incomplete.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let authorizer = authorizer(&kit)?;
        authorizer.store.prewarm().await;
        let authorizer = &authorizer;
        lambda_runtime::run(service_fn(async move |event: LambdaEvent<AuthorizerRequest>| {
            authorizer.answer(&event.payload).await
        }))
        .await
    })
}
