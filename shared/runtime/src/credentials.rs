//! Credentials in Secrets Manager.
//!
//! There is one secret per tenant and provider, `<prefix>/<tenant>/<provider>`: a JSON object that
//! maps integration ids to objects, which map credential names to lists of values.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use domain::integration::{Credentials, Integration};
use domain::ports::{Clock, CredentialReader, CredentialWriter, Freshness, PortError, PortResult};
use domain::{Fault, TenantId};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

/// Lifetime of a cached secret.
const CACHE_LIFETIME: Duration = Duration::from_mins(5);
/// Minimum age of a cached secret before a failed verification reads it again, so that forged
/// requests cannot cause a read each.
const MIN_REFRESH_AGE: Duration = Duration::from_mins(1);

/// Time after a change during which cached copies are not used: the time of a change is recorded
/// before the secret is written, and clocks differ.
const SETTLING_TIME: Duration = Duration::from_secs(10);

/// Names and values of one secret, by integration.
type Fields = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// Credential store in Secrets Manager, with a cache that lives as long as the sandbox.
#[derive(Debug)]
pub struct SecretsManagerCredentials<C> {
    client: Client,
    prefix: String,
    clock: C,
    cache: Mutex<HashMap<String, Cached>>,
}

struct Cached {
    /// `None` if there is no such secret, which is cached too.
    text: Option<SecretString>,
    read_at: Timestamp,
}

impl std::fmt::Debug for Cached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cached").field("read_at", &self.read_at).finish_non_exhaustive()
    }
}

impl<C: Clock> SecretsManagerCredentials<C> {
    /// Creates a store of the secrets under `prefix`.
    #[must_use]
    pub fn new(aws: &aws_types::SdkConfig, prefix: String, clock: C) -> Self {
        Self { client: Client::new(aws), prefix, clock, cache: Mutex::default() }
    }

    /// Returns the text of a secret, at most `lifetime` old and read after `changed_at`; `None` if
    /// the secret does not exist.
    async fn text(
        &self,
        name: &str,
        lifetime: Duration,
        changed_at: Timestamp,
    ) -> PortResult<Option<SecretString>> {
        let now = self.clock.now();
        {
            let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(cached) = cache.get(name)
                && cached.read_at
                    >= changed_at.saturating_add(SETTLING_TIME).unwrap_or(Timestamp::MAX)
                && now.duration_since(cached.read_at).unsigned_abs() < lifetime
            {
                return Ok(cached.text.clone());
            }
        }
        let text = self.read(name).await?;
        let cached = Cached { text: text.clone(), read_at: now };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(name.to_owned(), cached);
        Ok(text)
    }

    async fn read(&self, name: &str) -> PortResult<Option<SecretString>> {
        let operation = "read a secret";
        let answer = self.client.get_secret_value().secret_id(name).send().await;
        match answer {
            Ok(answer) => Ok(answer.secret_string.map(SecretString::from)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed(operation, &error)),
        }
    }

    async fn write(&self, name: &str, text: String) -> PortResult<()> {
        let operation = "write a secret";
        let put = self.client.put_secret_value().secret_id(name).secret_string(&text).send().await;
        match put {
            Ok(_) => {}
            Err(error) if is_missing(&error) => {
                let create = self.client.create_secret().name(name).secret_string(text);
                create.send().await.map_err(|error| failed(operation, &error))?;
            }
            Err(error) => return Err(failed(operation, &error)),
        }
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    fn of_integration(&self, integration: &Integration) -> String {
        format!("{}/{}/{}", self.prefix, integration.tenant, integration.provider)
    }

    fn of_automation(&self, tenant: &TenantId) -> String {
        format!("{}/{tenant}/automation", self.prefix)
    }
}

impl<C: Clock> CredentialReader for SecretsManagerCredentials<C> {
    async fn credentials(
        &self,
        integration: &Integration,
        freshness: Freshness,
    ) -> PortResult<Credentials> {
        let name = self.of_integration(integration);
        let lifetime = match freshness {
            Freshness::Cached => CACHE_LIFETIME,
            Freshness::Fresh => MIN_REFRESH_AGE,
        };
        let Some(text) = self.text(&name, lifetime, integration.credentials_at).await? else {
            return Ok(Credentials::default());
        };
        let mut fields = fields(&text)?;
        let own = fields.remove(&integration.id.to_string()).unwrap_or_default();
        let secret = |values: Vec<String>| values.into_iter().map(SecretString::from).collect();
        Ok(Credentials::new(own.into_iter().map(|(name, values)| (name, secret(values)))))
    }

    async fn signing_secrets(
        &self,
        tenant: &TenantId,
        changed_at: Timestamp,
    ) -> PortResult<Vec<SecretString>> {
        let name = self.of_automation(tenant);
        let Some(text) = self.text(&name, CACHE_LIFETIME, changed_at).await? else {
            return Ok(Vec::new());
        };
        let secrets: Vec<String> =
            serde_json::from_str(text.expose_secret()).map_err(|_| unreadable())?;
        Ok(secrets.into_iter().map(SecretString::from).collect())
    }
}

impl<C: Clock> CredentialWriter for SecretsManagerCredentials<C> {
    async fn store(
        &self,
        integration: &Integration,
        credentials: Option<&Credentials>,
    ) -> PortResult<()> {
        let name = self.of_integration(integration);
        let mut all = match self.read(&name).await? {
            Some(text) => fields(&text)?,
            None => Fields::new(),
        };
        let id = integration.id.to_string();
        match credentials {
            None => {
                all.remove(&id);
            }
            Some(credentials) => {
                let exposed = |values: &[SecretString]| {
                    values.iter().map(|value| value.expose_secret().to_owned()).collect()
                };
                let own = credentials.iter().map(|(name, v)| (name.to_owned(), exposed(v)));
                all.insert(id, own.collect());
            }
        }
        let text = serde_json::to_string(&all).map_err(|_| unreadable())?;
        self.write(&name, text).await
    }

    async fn add_signing_secret(&self, tenant: &TenantId, secret: SecretString) -> PortResult<()> {
        let name = self.of_automation(tenant);
        let mut secrets = vec![secret.expose_secret().to_owned()];
        if let Some(text) = self.read(&name).await? {
            let older: Vec<String> =
                serde_json::from_str(text.expose_secret()).map_err(|_| unreadable())?;
            // Notifications are signed with both until the next change, so that the receiver can
            // switch without downtime.
            secrets.extend(older.into_iter().take(1));
        }
        let text = serde_json::to_string(&secrets).map_err(|_| unreadable())?;
        self.write(&name, text).await
    }
}

/// Reads a single secret, such as the platform admin key.
///
/// # Errors
/// If the secret cannot be read.
pub async fn read_one(aws: &aws_types::SdkConfig, arn: &str) -> Result<SecretString, crate::Error> {
    let answer = Client::new(aws).get_secret_value().secret_id(arn).send().await;
    let answer = answer.map_err(|error| failed("read a secret", &error))?;
    Ok(answer.secret_string.unwrap_or_default().into())
}

fn fields(text: &SecretString) -> PortResult<Fields> {
    serde_json::from_str(text.expose_secret()).map_err(|_| unreadable())
}

/// Returns the error for a secret with an invalid format. It leaves out the parser's message,
/// which could quote the secret.
fn unreadable() -> PortError {
    let reason = "the secret has an invalid format: store the credentials again".to_owned();
    PortError { operation: "read a secret", reason, fault: Fault::Retryable }
}

fn is_missing<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    code == Some("ResourceNotFoundException")
}

fn failed<E: ProvideErrorMetadata, R>(
    operation: &'static str,
    error: &SdkError<E, R>,
) -> PortError {
    aws::failed("Secrets Manager", operation, error)
}
