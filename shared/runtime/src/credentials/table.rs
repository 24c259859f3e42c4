//! Credentials in a `DynamoDB` table, one item for each integration or tenant, in envelopes.
//!
//! | Key | Item |
//! |---|---|
//! | `T#<tenant>#CREDENTIALS#<provider>`, `<integration id>` | credentials of an integration |
//! | `T#<tenant>#SIGNING`, `SIGNING` | signing secrets of a tenant's outgoing webhooks |
//!
//! Each write has its own data key, encrypted for the hub, tenant, provider and integration. The
//! ciphertext is bound to the item's key and version, so that it can neither be moved to another item
//! nor pass for a newer one. An item that is older than the last recorded change is refused.

use std::time::Duration;

use domain::integration::{Credentials, Integration};
use domain::ports::{Clock, Freshness, PortError, PortResult};
use domain::{Fault, TenantId};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;
use table::{Item, Key, Table, binary, bytes, item, micros, micros_time, s};

use super::cache::Cache;
use super::envelope::{DataKey, DataKeys, EncryptionContext, Sealed};
use super::format::{credentials, exposed, exposed_secrets, parsed, secrets, text_of};
use super::found::Found;

/// Longest time between the write of credentials and the time that is recorded for their change.
const MAX_WRITE_TIME: Duration = Duration::from_mins(1);
/// Lifetime of a cached data key: for so long, a sandbox can decrypt after KMS would refuse it.
const DATA_KEY_LIFETIME: Duration = Duration::from_mins(5);
/// Version of the envelope's format, which the ciphertext is bound to.
const FORMAT: u32 = 1;
/// The provider, in the encryption context, of the signing secrets of outgoing webhooks.
const AUTOMATION: &str = "automation";

/// Credential store in a table.
#[derive(Debug)]
pub(super) struct TableStore<C> {
    table: Table,
    data_keys: DataKeys,
    /// Name of the hub in the encryption context.
    hub: String,
    clock: C,
    cache: Cache<Key, Stored>,
}

/// The content of an item, with the data key that decrypted it.
#[derive(Clone)]
struct Stored {
    text: SecretString,
    /// Time of the write.
    version: Timestamp,
    data_key: DataKey,
    /// When KMS decrypted the data key.
    decrypted_at: Timestamp,
}

/// An item's key, and the names that its data key is encrypted for.
struct Slot {
    key: Key,
    context: EncryptionContext,
}

impl<C: Clock> TableStore<C> {
    pub(super) fn new(
        aws: &aws_types::SdkConfig,
        table: Table,
        key_arn: String,
        hub: String,
        clock: C,
    ) -> Self {
        let data_keys = DataKeys::new(aws, key_arn);
        Self { table, data_keys, hub, clock, cache: Cache::default() }
    }

    /// Returns the credentials of an integration.
    pub(super) async fn credentials(
        &self,
        integration: &Integration,
        freshness: Freshness,
    ) -> PortResult<Found<Credentials>> {
        let slot = self.of_integration(integration);
        let text = self.text(slot, freshness, integration.credentials_at).await?;
        Ok(text.map(|text| parsed(&text)).map(|fields| Found::Stored(credentials(fields))))
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
        let slot = self.of_automation(tenant);
        let stored = Box::pin(self.read(&slot, self.clock.now())).await?;
        Ok(stored.map(|stored| secrets(&stored.text)))
    }

    pub(super) async fn store(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> PortResult<()> {
        self.write(self.of_integration(integration), &exposed(credentials)).await
    }

    pub(super) async fn store_signing(
        &self,
        tenant: &TenantId,
        secrets: &[SecretString],
    ) -> PortResult<()> {
        self.write(self.of_automation(tenant), &exposed_secrets(secrets)).await
    }

    pub(super) async fn remove(&self, integration: &Integration) -> PortResult<()> {
        self.delete(self.of_integration(integration)).await
    }

    pub(super) async fn remove_signing(&self, tenant: &TenantId) -> PortResult<()> {
        self.delete(self.of_automation(tenant)).await
    }

    fn of_integration(&self, integration: &Integration) -> Slot {
        let (tenant, provider, id) = (&integration.tenant, integration.provider, integration.id);
        let mut context = self.context(tenant, provider.as_str());
        context.push(("integration", id.to_string()));
        let key = Key::new(format!("T#{tenant}#CREDENTIALS#{provider}"), id.to_string());
        Slot { key, context }
    }

    fn of_automation(&self, tenant: &TenantId) -> Slot {
        let key = Key::new(format!("T#{tenant}#SIGNING"), "SIGNING");
        Slot { key, context: self.context(tenant, AUTOMATION) }
    }

    fn context(&self, tenant: &TenantId, provider: &str) -> EncryptionContext {
        vec![
            ("hub", self.hub.clone()),
            ("tenant", tenant.to_string()),
            ("provider", provider.to_owned()),
        ]
    }

    /// Returns the names that the ciphertext of a version of an item is bound to.
    fn bound_to(&self, key: &Key, version: Timestamp) -> PortResult<Vec<u8>> {
        let names = (FORMAT, &self.hub, &key.pk, &key.sk, version.as_microsecond());
        text_of(&names).map(String::into_bytes)
    }

    /// Returns the text of an item, from the cache if it is recent enough.
    async fn text(
        &self,
        slot: Slot,
        freshness: Freshness,
        changed_at: Timestamp,
    ) -> PortResult<Found<SecretString>> {
        let now = self.clock.now();
        if let Some(stored) = self.cache.get(&slot.key, freshness, changed_at, now) {
            return Ok(Found::Stored(stored.text));
        }
        let oldest = changed_at.checked_sub(MAX_WRITE_TIME).unwrap_or(Timestamp::MIN);
        // On the heap: the future of a request is large, and most texts are in the cache.
        let found = Box::pin(self.read(&slot, now)).await?;
        Ok(found.map(|stored| {
            if stored.version < oldest {
                return Found::Unreadable(OUTDATED);
            }
            let text = stored.text.clone();
            self.cache.insert(slot.key, stored, now);
            Found::Stored(text)
        }))
    }

    /// Reads and decrypts an item.
    async fn read(&self, slot: &Slot, now: Timestamp) -> PortResult<Found<Stored>> {
        let item = self.table.read("read credentials", &slot.key).await?;
        let Some(item) = item else { return Ok(Found::Nothing) };
        let part = |name| Some(binary(&item, name)?.to_vec());
        let parts = (part("data_key"), part("nonce"), part("ciphertext"));
        let (Some(version), (Some(encrypted), Some(nonce), Some(ciphertext))) =
            (micros_time(&item, "version"), parts)
        else {
            return Ok(Found::Unreadable(ALTERED));
        };
        // An item that is read again and has not changed has the same data key.
        let known = self.cache.last(&slot.key).filter(|stored| {
            stored.data_key.encrypted == encrypted
                && now.duration_since(stored.decrypted_at).unsigned_abs() < DATA_KEY_LIFETIME
        });
        let (data_key, decrypted_at) = match known {
            Some(stored) => (stored.data_key, stored.decrypted_at),
            None => match self.data_keys.decrypt(encrypted, slot.context.clone()).await? {
                Some(data_key) => (data_key, now),
                None => return Ok(Found::Unreadable(ALTERED)),
            },
        };
        let sealed = Sealed { nonce, ciphertext };
        Ok(match data_key.open(sealed, &self.bound_to(&slot.key, version)?) {
            Some(text) => Found::Stored(Stored { text, version, data_key, decrypted_at }),
            None => Found::Unreadable(ALTERED),
        })
    }

    /// Encrypts `content` and writes it, unless the item has a newer version.
    async fn write(&self, slot: Slot, content: &(impl Serialize + Sync)) -> PortResult<()> {
        let operation = "write credentials";
        let text = text_of(content)?;
        let version = self.clock.now();
        // The item has microseconds.
        let version = Timestamp::from_microsecond(version.as_microsecond()).unwrap_or(version);
        let data_key = self.data_keys.create(slot.context).await?;
        let sealed = data_key.seal(&text.into(), &self.bound_to(&slot.key, version)?)?;
        let item: Item = item(
            &slot.key,
            [
                ("version", micros(version)),
                ("data_key", bytes(data_key.encrypted)),
                ("nonce", bytes(sealed.nonce)),
                ("ciphertext", bytes(sealed.ciphertext)),
            ],
        );
        // A version that the hub did not write, such as one in the future, is replaced.
        let condition = "attribute_not_exists(version) OR NOT attribute_type(version, :number) \
                         OR version <= :version OR version > :future";
        let future = version.checked_add(MAX_WRITE_TIME).unwrap_or(Timestamp::MAX);
        let write = self.table.put(item).only_if(condition);
        let write = write
            .value(":number", s("N"))
            .value(":version", micros(version))
            .value(":future", micros(future));
        let written = write.apply(operation).await?;
        self.cache.remove(&slot.key);
        if written.is_done() {
            return Ok(());
        }
        let reason = "another request changed them at the same time: try again".to_owned();
        Err(PortError { operation, reason, fault: Fault::Retryable })
    }

    async fn delete(&self, slot: Slot) -> PortResult<()> {
        self.table.delete(&slot.key).apply("delete credentials").await?;
        self.cache.remove(&slot.key);
        Ok(())
    }
}

/// Reason for an item that was moved, changed or replaced by an older one.
const ALTERED: &str = "the stored credentials are not those that the hub wrote there: if the table \
    was restored, set SecretsOf; otherwise store the credentials again, and find out who can write to \
    the table of credentials";

/// Reason for an item that is older than the last change of the credentials.
const OUTDATED: &str =
    "the stored credentials are older than their last change: store the credentials again";
