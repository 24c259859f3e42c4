//! Credentials: in Secrets Manager, or in a table in envelopes of AWS KMS.

mod cache;
mod envelope;
mod format;
mod found;
mod secrets_manager;
mod table;

use std::str::FromStr;

use domain::integration::{Credentials, Integration};
use domain::ports::{
    ChangedBy, Clock, CredentialReader, CredentialWriter, Freshness, PortError, PortResult,
    StoredCredentials,
};
use domain::{Fault, TenantId};
use jiff::Timestamp;
use secrecy::SecretString;

use self::found::Found;
use self::secrets_manager::SecretsManagerStore;
pub use self::secrets_manager::read_one;
use self::table::TableStore;

/// Where credentials are written. They are read there first and, if they are not there, in the other
/// place: so the setting can be changed, and each change of credentials moves them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CredentialPlace {
    /// Secrets Manager, with one secret for each tenant and provider.
    #[default]
    SecretsManager,
    /// The table of credentials, with one item for each integration.
    Table,
}

impl FromStr for CredentialPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "secrets-manager" => Ok(Self::SecretsManager),
            "table" => Ok(Self::Table),
            other => Err(format!("{other:?} is neither \"secrets-manager\" nor \"table\"")),
        }
    }
}

/// Names of what holds the credentials.
#[derive(Clone, Debug)]
pub struct CredentialSettings {
    /// Where credentials are written.
    pub place: CredentialPlace,
    /// Start of the names of the hub's secrets, which also names the hub in the encryption context.
    pub prefix: String,
    /// ARN of the KMS key whose data keys encrypt the items of the table.
    pub key_arn: String,
}

/// Credential store, with a cache that lives as long as the sandbox.
#[derive(Debug)]
pub struct CredentialStore<C> {
    place: CredentialPlace,
    secrets: SecretsManagerStore<C>,
    table: TableStore<C>,
}

impl<C: Clock + Clone> CredentialStore<C> {
    /// Creates the store. `table` is the table of credentials.
    #[must_use]
    pub fn new(
        aws: &aws_types::SdkConfig,
        settings: CredentialSettings,
        table: ::table::Table,
        clock: C,
    ) -> Self {
        let CredentialSettings { place, prefix, key_arn } = settings;
        let secrets = SecretsManagerStore::new(aws, prefix.clone(), clock.clone());
        Self { place, secrets, table: TableStore::new(aws, table, key_arn, prefix, clock) }
    }
}

impl<C: Clock> CredentialStore<C> {
    /// Returns what is in the place that is set or, if nothing can be read there, in the other one.
    async fn first_of<T>(
        &self,
        secrets: impl Future<Output = PortResult<Found<T>>>,
        table: impl Future<Output = PortResult<Found<T>>>,
    ) -> PortResult<Found<T>> {
        match self.place {
            CredentialPlace::SecretsManager => secrets.await?.or_else(table).await,
            CredentialPlace::Table => table.await?.or_else(secrets).await,
        }
    }

    async fn find(
        &self,
        integration: &Integration,
        freshness: Freshness,
    ) -> PortResult<Found<Credentials>> {
        let secrets = self.secrets.credentials(integration, freshness);
        let table = self.table.credentials(integration, freshness);
        self.first_of(secrets, table).await
    }

    /// Returns the tenant's newest signing secret, not from a cache.
    async fn newest_signing_secret(&self, tenant: &TenantId) -> PortResult<Option<SecretString>> {
        let secrets = self.secrets.read_signing(tenant);
        let table = self.table.read_signing(tenant);
        Ok(match self.first_of(secrets, table).await? {
            Found::Stored(secrets) => secrets.into_iter().next(),
            // One that cannot be read cannot sign, so it is replaced.
            Found::Nothing | Found::Unreadable(_) => None,
        })
    }
}

impl<C: Clock> CredentialReader for CredentialStore<C> {
    async fn credentials(
        &self,
        integration: &Integration,
        freshness: Freshness,
    ) -> PortResult<Credentials> {
        let has_credentials = !integration.hints.is_empty();
        if !has_credentials && freshness == Freshness::Cached {
            return Ok(Credentials::default());
        }
        match self.find(integration, freshness).await? {
            Found::Stored(credentials) => Ok(credentials),
            Found::Nothing if !has_credentials => Ok(Credentials::default()),
            Found::Nothing => Err(unreadable(MISSING)),
            Found::Unreadable(reason) => Err(unreadable(reason)),
        }
    }

    async fn stored_credentials(&self, integration: &Integration) -> PortResult<StoredCredentials> {
        Ok(match self.find(integration, Freshness::Reread).await? {
            Found::Stored(credentials) => StoredCredentials::Readable(credentials),
            Found::Nothing if integration.hints.is_empty() => {
                StoredCredentials::Readable(Credentials::default())
            }
            Found::Nothing => StoredCredentials::Unreadable(MISSING),
            Found::Unreadable(reason) => StoredCredentials::Unreadable(reason),
        })
    }

    async fn signing_secrets(
        &self,
        tenant: &TenantId,
        changed_at: Timestamp,
    ) -> PortResult<Vec<SecretString>> {
        let secrets = self.secrets.signing_secrets(tenant, changed_at);
        let table = self.table.signing_secrets(tenant, changed_at);
        match self.first_of(secrets, table).await? {
            Found::Stored(secrets) => Ok(secrets),
            Found::Nothing => Ok(Vec::new()),
            Found::Unreadable(reason) => Err(unreadable(reason)),
        }
    }
}

impl<C: Clock> CredentialWriter for CredentialStore<C> {
    async fn check_write(
        &self,
        integration: &Integration,
        credentials: &Credentials,
        changed_by: ChangedBy,
    ) -> PortResult<()> {
        match self.place {
            CredentialPlace::SecretsManager => {
                self.secrets.check_write(integration, credentials, changed_by).await
            }
            CredentialPlace::Table => Ok(()),
        }
    }

    async fn store(
        &self,
        integration: &Integration,
        credentials: Option<&Credentials>,
    ) -> PortResult<()> {
        match (self.place, credentials) {
            // Write first: in between, the integration has its new credentials twice, not none.
            (CredentialPlace::SecretsManager, Some(credentials)) => {
                self.secrets.store(integration, credentials).await?;
                self.table.remove(integration).await
            }
            (CredentialPlace::Table, Some(credentials)) => {
                self.table.store(integration, credentials).await?;
                self.secrets.remove(integration).await
            }
            (_, None) => {
                self.secrets.remove(integration).await?;
                self.table.remove(integration).await
            }
        }
    }

    async fn add_signing_secret(&self, tenant: &TenantId, secret: SecretString) -> PortResult<()> {
        let older = self.newest_signing_secret(tenant).await?;
        // Notifications are signed with both until the next change, so that the receiver can switch
        // without downtime.
        let secrets: Vec<SecretString> = std::iter::once(secret).chain(older).collect();
        match self.place {
            CredentialPlace::SecretsManager => {
                self.secrets.store_signing(tenant, &secrets).await?;
                self.table.remove_signing(tenant).await
            }
            CredentialPlace::Table => {
                self.table.store_signing(tenant, &secrets).await?;
                self.secrets.remove_signing(tenant).await
            }
        }
    }
}

/// Reason for credentials that an integration has and that are in neither place.
const MISSING: &str = "the credentials are not stored: if a table was restored, set \
    CredentialsTableRestored; otherwise store the credentials again";

/// Returns the error for stored credentials that cannot be read. It is retryable, because what needs
/// them can be done once they are stored again.
fn unreadable(reason: &str) -> PortError {
    let (operation, reason) = ("read credentials", reason.to_owned());
    PortError { operation, reason, fault: Fault::Retryable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_credentials_is_one_of_two_words() {
        assert_eq!("table".parse(), Ok(CredentialPlace::Table));
        assert_eq!("secrets-manager".parse(), Ok(CredentialPlace::SecretsManager));
        let error = "Table".parse::<CredentialPlace>().unwrap_err();
        assert_eq!(error, r#""Table" is neither "secrets-manager" nor "table""#);
    }
}
