//! Credentials in Secrets Manager.
//!
//! There is one secret per tenant and provider, `<prefix>/<tenant>/<provider>`: a JSON object that
//! maps integration ids to objects, which map credential names to lists of values.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use domain::integration::{Credentials, Integration};
use domain::ports::{ChangedBy, Clock, Freshness, PortError, PortResult};
use domain::{Fault, TenantId};
use jiff::Timestamp;
use secrecy::SecretString;

use super::cache::Cache;
use super::format::{Fields, credentials, exposed, exposed_secrets, parsed, secrets, text_of};
use super::found::Found;

/// Number of versions of one secret in [`WRITE_WINDOW`] up to which it can be changed. Secrets Manager
/// keeps about 100, removes none that is younger than a day, and recommends less than one write in ten
/// minutes, sustained. The rest is for removals.
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>
const MAX_WRITES: usize = 90;
/// The same number for tenants: so a leaked key cannot keep the operator from changing credentials.
const MAX_WRITES_OF_TENANTS: usize = 60;
/// Time in which these numbers of writes are allowed.
const WRITE_WINDOW: Duration = Duration::from_hours(24);
/// Largest number of pages of versions that are read: each has 100.
const MAX_PAGES: usize = 5;

/// Largest size of a secret, in bytes.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>
const MAX_BYTES: usize = 65_536;

/// Label of the version before the current one.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html>
const PREVIOUS: &str = "AWSPREVIOUS";

/// Operation of every change of a secret.
const WRITE: &str = "write a secret";

/// The credentials in one secret, by integration.
type AllFields = BTreeMap<String, Fields>;

/// Credential store in Secrets Manager.
#[derive(Debug)]
pub(super) struct SecretsManagerStore<C> {
    client: Client,
    prefix: String,
    clock: C,
    cache: Cache<String, SecretString>,
}

/// A version of a secret.
struct Version {
    id: Option<String>,
    text: SecretString,
}

impl<C: Clock> SecretsManagerStore<C> {
    /// Creates a store of the secrets under `prefix`.
    pub(super) fn new(aws: &aws_types::SdkConfig, prefix: String, clock: C) -> Self {
        Self { client: Client::new(aws), prefix, clock, cache: Cache::default() }
    }

    /// Returns the credentials of an integration.
    pub(super) async fn credentials(
        &self,
        integration: &Integration,
        freshness: Freshness,
    ) -> PortResult<Found<Credentials>> {
        let name = self.of_integration(integration);
        let text = self.text(name, freshness, integration.credentials_at).await?;
        let all = text.map(|text| parsed::<AllFields>(&text));
        Ok(all.map(|mut all| match all.remove(&integration.id.to_string()) {
            Some(fields) => Found::Stored(credentials(fields)),
            None => Found::Nothing,
        }))
    }

    /// Returns a tenant's signing secrets.
    pub(super) async fn signing_secrets(
        &self,
        tenant: &TenantId,
        changed_at: Timestamp,
    ) -> PortResult<Found<Vec<SecretString>>> {
        let text = self.text(self.of_automation(tenant), Freshness::Cached, changed_at).await?;
        Ok(text.map(|text| secrets(&text)))
    }

    /// Returns a tenant's signing secrets, not from the cache.
    pub(super) async fn read_signing(
        &self,
        tenant: &TenantId,
    ) -> PortResult<Found<Vec<SecretString>>> {
        let name = self.of_automation(tenant);
        let version = Box::pin(self.read(&name, None)).await?;
        Ok(version.map_or(Found::Nothing, |version| secrets(&version.text)))
    }

    /// Checks that the credentials of an integration can be replaced now.
    pub(super) async fn check_write(
        &self,
        integration: &Integration,
        credentials: &Credentials,
        changed_by: ChangedBy,
    ) -> PortResult<()> {
        let name = self.of_integration(integration);
        let Some(current) = self.read(&name, None).await? else { return Ok(()) };
        let mut all = self::fields(&current.text)?;
        all.insert(integration.id.to_string(), exposed(credentials));
        if text_of(&all)?.len() > MAX_BYTES {
            let reason = format!(
                "the credentials of a tenant at one provider can have {MAX_BYTES} bytes while they \
                 are in Secrets Manager; with CredentialStore=table, which the operator can set, \
                 those of each integration"
            );
            return Err(PortError { operation: WRITE, reason, fault: Fault::Permanent });
        }
        let max = match changed_by {
            ChangedBy::Tenant => MAX_WRITES_OF_TENANTS,
            ChangedBy::Operator => MAX_WRITES,
        };
        self.check_writes(&name, max).await
    }

    /// Replaces the credentials of an integration.
    pub(super) async fn store(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> PortResult<()> {
        let name = self.of_integration(integration);
        let current = self.read(&name, None).await?;
        let mut all = current.as_ref().map_or(Ok(AllFields::new()), |one| fields(&one.text))?;
        let new = exposed(credentials);
        let old = all.insert(integration.id.to_string(), new.clone());
        if old.as_ref() == Some(&new) {
            return Ok(());
        }
        self.write(name, current.is_some(), text_of(&all)?).await
    }

    /// Replaces a tenant's signing secrets.
    pub(super) async fn store_signing(
        &self,
        tenant: &TenantId,
        secrets: &[SecretString],
    ) -> PortResult<()> {
        let name = self.of_automation(tenant);
        let exists = self.read(&name, None).await?.is_some();
        if exists {
            self.check_writes(&name, MAX_WRITES).await?;
        }
        self.write(name, exists, text_of(&exposed_secrets(secrets))?).await
    }

    /// Removes the credentials of an integration from its secret, and from the version before.
    /// Deletes the secret with its versions if it has no others.
    pub(super) async fn remove(&self, integration: &Integration) -> PortResult<()> {
        let name = self.of_integration(integration);
        let id = integration.id.to_string();
        let Some(current) = self.read(&name, None).await? else { return Ok(()) };
        let mut all = fields(&current.text)?;
        let was_there = all.remove(&id).is_some();
        if all.is_empty() {
            return self.delete(name).await;
        }
        if was_there {
            self.put(&name, text_of(&all)?).await?;
        }
        // A removal that was interrupted may have left it here.
        let Some(previous) = self.read(&name, Some(PREVIOUS)).await? else { return Ok(()) };
        if !fields(&previous.text)?.contains_key(&id) {
            return Ok(());
        }
        self.unlabel(&name, previous.id).await
    }

    /// Deletes a tenant's signing secrets.
    pub(super) async fn remove_signing(&self, tenant: &TenantId) -> PortResult<()> {
        let name = self.of_automation(tenant);
        match self.read(&name, None).await? {
            Some(_) => self.delete(name).await,
            None => Ok(()),
        }
    }

    fn of_integration(&self, integration: &Integration) -> String {
        format!("{}/{}/{}", self.prefix, integration.tenant, integration.provider)
    }

    fn of_automation(&self, tenant: &TenantId) -> String {
        format!("{}/{tenant}/automation", self.prefix)
    }

    /// Returns the text of a secret, from the cache if it is recent enough.
    async fn text(
        &self,
        name: String,
        freshness: Freshness,
        changed_at: Timestamp,
    ) -> PortResult<Found<SecretString>> {
        let now = self.clock.now();
        if let Some(text) = self.cache.get(&name, freshness, changed_at, now) {
            return Ok(Found::Stored(text));
        }
        // On the heap: the future of a request is large, and most texts are in the cache.
        let read = Box::pin(self.read(&name, None));
        let Some(version) = read.await? else { return Ok(Found::Nothing) };
        self.cache.insert(name, version.text.clone(), now);
        Ok(Found::Stored(version.text))
    }

    /// Reads the current version of a secret, or the one with a label.
    async fn read(&self, name: &str, label: Option<&str>) -> PortResult<Option<Version>> {
        let request = self.client.get_secret_value().secret_id(name);
        let request = request.set_version_stage(label.map(ToOwned::to_owned));
        match request.send().await {
            Ok(answer) => Ok(answer
                .secret_string
                .map(|text| Version { id: answer.version_id, text: text.into() })),
            Err(error) if is_missing(&error) || is_scheduled_for_deletion(&error) => Ok(None),
            Err(error) => Err(failed("read a secret", &error)),
        }
    }

    /// Writes a new version of a secret, or creates it.
    async fn write(&self, name: String, exists: bool, text: String) -> PortResult<()> {
        if exists {
            return self.put(&name, text).await;
        }
        let create = self.client.create_secret().name(&name).secret_string(text);
        create.send().await.map_err(|error| failed(WRITE, &error))?;
        self.cache.remove(&name);
        Ok(())
    }

    /// Writes a new version of a secret.
    async fn put(&self, name: &str, text: String) -> PortResult<()> {
        let put = self.client.put_secret_value().secret_id(name).secret_string(text);
        put.send().await.map_err(|error| failed(WRITE, &error))?;
        self.cache.remove(name);
        Ok(())
    }

    /// Deletes a secret at once: a recovery window would keep what is meant to be gone.
    async fn delete(&self, name: String) -> PortResult<()> {
        let request = self.client.delete_secret().secret_id(&name);
        match request.force_delete_without_recovery(true).send().await {
            Err(error) if !is_missing(&error) => return Err(failed("delete a secret", &error)),
            _ => {}
        }
        self.cache.remove(&name);
        Ok(())
    }

    /// Removes the label of the previous version: Secrets Manager deletes versions without labels in
    /// the background.
    async fn unlabel(&self, name: &str, version: Option<String>) -> PortResult<()> {
        let request = self.client.update_secret_version_stage().secret_id(name);
        let request = request.version_stage(PREVIOUS).set_remove_from_version_id(version);
        let answer = request.send().await;
        answer.map(|_| ()).map_err(|error| failed("remove the last version of a secret", &error))
    }

    /// Checks that a secret has fewer than `max` versions of the last day.
    async fn check_writes(&self, name: &str, max: usize) -> PortResult<()> {
        let now = self.clock.now();
        let start = now.saturating_sub(WRITE_WINDOW).unwrap_or(Timestamp::MIN);
        let (mut written, mut next) = (Vec::new(), None);
        for _page in 0..MAX_PAGES {
            let request = self.client.list_secret_version_ids().secret_id(name);
            let request = request.include_deprecated(true).set_next_token(next);
            let page = match request.send().await {
                Ok(page) => page,
                Err(error) if is_missing(&error) => return Ok(()),
                Err(error) => return Err(failed(WRITE, &error)),
            };
            let versions = page.versions.unwrap_or_default().into_iter();
            let dates = versions.filter_map(|version| version.created_date);
            let times = dates.filter_map(|date| Timestamp::from_second(date.secs()).ok());
            written.extend(times.filter(|at| *at > start));
            next = page.next_token;
            if next.is_none() {
                break;
            }
        }
        if written.len() < max {
            return Ok(());
        }
        // The secret can be written once fewer versions are so young.
        written.sort_unstable();
        let oldest = written.get(written.len() - max).copied().unwrap_or(now);
        let free_at = oldest.saturating_add(WRITE_WINDOW).unwrap_or(Timestamp::MAX);
        let reason = format!(
            "the credentials of a tenant at one provider can be changed {max} times in {} hours \
             while they are in Secrets Manager; with CredentialStore=table, which the operator can \
             set, there is no limit",
            WRITE_WINDOW.as_secs() / 3600
        );
        let retry_after = free_at.duration_since(now).unsigned_abs();
        Err(PortError { operation: WRITE, reason, fault: Fault::RateLimited { retry_after } })
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

/// Returns the credentials in a secret that is about to be changed.
fn fields(text: &SecretString) -> PortResult<AllFields> {
    match parsed(text) {
        Found::Stored(all) => Ok(all),
        Found::Nothing => Ok(AllFields::new()),
        Found::Unreadable(_) => {
            // Those of other integrations must not be overwritten.
            let reason = "the secret has an invalid format: delete it in Secrets Manager, then \
                store the credentials of each integration of the tenant at the provider again"
                .to_owned();
            Err(PortError { operation: WRITE, reason, fault: Fault::Retryable })
        }
    }
}

fn is_missing<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    code == Some("ResourceNotFoundException")
}

/// Whether the operator has deleted the secret with a recovery window.
fn is_scheduled_for_deletion<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    code == Some("InvalidRequestException")
}

fn failed<E: ProvideErrorMetadata, R>(
    operation: &'static str,
    error: &SdkError<E, R>,
) -> PortError {
    aws::failed("Secrets Manager", operation, error)
}
