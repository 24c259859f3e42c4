//! The credential store, on the simulated Secrets Manager, table and KMS.

use std::time::Duration;

use accounts::api::integrations::Integrations;
use accounts::ports::Registry;
use domain::integration::{Credentials, Integration};
use domain::ports::{
    ChangedBy, Clock, CredentialReader, CredentialWriter, Freshness, PortError, PortResult,
    StoredCredentials,
};
use domain::{Fault, TenantId};
use http::Method;
use runtime::api::{Problem, handle};
use runtime::{CredentialPlace, CredentialSettings, CredentialStore};
use secrecy::ExposeSecret;
use table::Tables;
use testkit::cloud::dynamo::{Attribute, Item, write_item};
use testkit::{FakeClock, Side, SimulatedSecrets, sample};

use crate::api::{Api, Owner, request};
use crate::env::TestEnv;

const NAME: &str = "WHATSAPP_ACCESS_TOKEN";
const PREFIX: &str = "switchboard/hub";
const MINUTE: Duration = Duration::from_mins(1);
const PLACES: [CredentialPlace; 2] = [CredentialPlace::SecretsManager, CredentialPlace::Table];

/// The services, and the time.
struct World {
    clock: FakeClock,
    services: SimulatedSecrets,
}

type Store = CredentialStore<FakeClock>;

impl World {
    fn new() -> Self {
        let clock = FakeClock::default();
        Self { services: SimulatedSecrets::new(&clock), clock }
    }

    /// Creates the store of a new sandbox, whose cache is empty.
    fn store(&self, place: CredentialPlace) -> Store {
        self.store_of(place, PREFIX)
    }

    fn store_of(&self, place: CredentialPlace, prefix: &str) -> Store {
        let aws = self.services.config();
        let settings = CredentialSettings {
            place,
            prefix: prefix.to_owned(),
            key_arn: SimulatedSecrets::KEY_ARN.to_owned(),
        };
        let table = Tables::new(&aws).table(SimulatedSecrets::TABLE.to_owned());
        CredentialStore::new(&aws, settings, table, self.clock.clone())
    }

    /// Stores `value` at the present time, as the API does: the integration has the time.
    async fn put(&self, store: &Store, integration: &mut Integration, value: &str) {
        integration.credentials_at = self.clock.now();
        integration.hints = credentials(value).hints();
        store.store(integration, Some(&credentials(value))).await.unwrap();
    }

    /// Returns the item of an integration.
    fn item(&self, integration: &Integration) -> Item {
        let (pk, sk) = key(integration);
        let table = SimulatedSecrets::TABLE;
        self.services.with(|cloud| cloud.dynamo.item(table, &pk, &sk).cloned()).unwrap()
    }

    /// Replaces the item at the key of an integration, without the hub.
    fn plant(&self, integration: &Integration, mut item: Item) {
        let (pk, sk) = key(integration);
        item.insert("pk".to_owned(), Attribute::S(pk));
        item.insert("sk".to_owned(), Attribute::S(sk));
        self.put_item(&write_item(&item));
    }

    fn put_item(&self, item: &serde_json::Value) {
        let body = serde_json::json!({ "TableName": SimulatedSecrets::TABLE, "Item": item });
        self.services.with(|cloud| cloud.dynamo.call("PutItem", &body, 0)).unwrap();
    }

    /// Number of requests of an operation of Secrets Manager or KMS.
    fn requests(&self, operation: &str) -> u64 {
        self.services.with(|cloud| {
            let of = |counts: &std::collections::BTreeMap<String, u64>| {
                counts.get(operation).copied().unwrap_or_default()
            };
            of(cloud.secrets.requests()) + of(cloud.kms.requests())
        })
    }

    /// The texts of all secrets, by name.
    fn secrets(&self) -> Vec<(String, String)> {
        self.services.with(|cloud| {
            let texts = cloud.secrets.texts();
            texts.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
        })
    }
}

fn key(integration: &Integration) -> (String, String) {
    let Integration { tenant, provider, id, .. } = integration;
    (format!("T#{tenant}#CREDENTIALS#{provider}"), id.to_string())
}

fn acme() -> TenantId {
    sample::tenant("acme")
}

fn credentials(value: &str) -> Credentials {
    Credentials::new([(NAME.to_owned(), vec![value.into()])])
}

/// Returns the value of the credential, or an empty text.
async fn read(store: &Store, integration: &Integration) -> PortResult<String> {
    let found = store.credentials(integration, Freshness::Cached).await?;
    Ok(found.first(NAME).map(|value| value.expose_secret().to_owned()).unwrap_or_default())
}

#[track_caller]
fn refused(result: PortResult<String>) -> PortError {
    let error = result.unwrap_err();
    assert_eq!(error.fault, Fault::Retryable, "{error}");
    error
}

#[tokio::test]
async fn credentials_in_the_table_are_read_back_and_are_nowhere_in_plain_text() {
    let world = World::new();
    let mut integration = sample::whatsapp(&acme(), Some("111"));
    world.put(&world.store(CredentialPlace::Table), &mut integration, "a-token").await;
    let stored = world.store(CredentialPlace::Table);
    assert_eq!(read(&stored, &integration).await.unwrap(), "a-token");
    let item = format!("{:?}", world.item(&integration));
    assert!(!item.contains("a-token") && item.contains("ciphertext"), "{item}");
    assert!(!item.contains(&format!("{:?}", b"a-token")), "{item}");
    assert!(!format!("{stored:?}").contains("a-token"));
    assert_eq!(world.secrets(), []);
}

#[tokio::test]
async fn credentials_that_are_not_stored_are_empty_in_both_places() {
    let world = World::new();
    let integration = sample::whatsapp(&acme(), Some("111"));
    for place in PLACES {
        let store = world.store(place);
        assert!(read(&store, &integration).await.unwrap().is_empty());
        assert!(store.signing_secrets(&acme(), world.clock.now()).await.unwrap().is_empty());
        store.store(&integration, None).await.unwrap();
    }
}

#[tokio::test]
async fn an_item_moved_to_another_tenant_integration_or_provider_is_refused() {
    let world = World::new();
    let store = world.store(CredentialPlace::Table);
    let mut own = sample::whatsapp(&acme(), Some("111"));
    world.put(&store, &mut own, "a-token").await;
    let moved = world.item(&own);
    for other in [
        sample::whatsapp(&sample::tenant("other"), Some("111")),
        sample::whatsapp(&acme(), Some("222")),
        sample::telegram(&acme(), Some("111")),
    ] {
        world.plant(&other, moved.clone());
        let other = Integration { hints: own.hints.clone(), ..other };
        let error = refused(read(&store, &other).await);
        assert!(error.to_string().contains("not those that the hub wrote"), "{error}");
    }
    assert_eq!(read(&store, &own).await.unwrap(), "a-token");
}

#[tokio::test]
async fn a_ciphertext_moved_with_a_data_key_that_fits_is_refused() {
    let world = World::new();
    let store = world.store(CredentialPlace::Table);
    let mut one = sample::whatsapp(&acme(), Some("111"));
    let mut other = sample::whatsapp(&acme(), Some("222"));
    world.put(&store, &mut one, "one").await;
    world.put(&store, &mut other, "other").await;
    let (from, mut to) = (world.item(&one), world.item(&other));
    for part in ["ciphertext", "nonce"] {
        to.insert(part.to_owned(), from[part].clone());
    }
    world.plant(&other, to);
    let error = refused(read(&world.store(CredentialPlace::Table), &other).await);
    assert!(error.to_string().contains("not those that the hub wrote"), "{error}");
}

#[tokio::test]
async fn an_older_version_that_is_put_back_is_refused() {
    let world = World::new();
    let store = world.store(CredentialPlace::Table);
    let mut integration = sample::whatsapp(&acme(), Some("111"));
    world.put(&store, &mut integration, "revoked").await;
    let older = world.item(&integration);
    world.clock.advance(2 * MINUTE);
    world.put(&store, &mut integration, "current").await;
    let current = world.item(&integration);

    // As it was: it is older than the change that the integration records.
    world.plant(&integration, older.clone());
    let error = refused(read(&world.store(CredentialPlace::Table), &integration).await);
    assert!(error.to_string().contains("older than their last change"), "{error}");

    // With the version of the current one: the ciphertext is bound to its own.
    let mut disguised = older;
    disguised.insert("version".to_owned(), current["version"].clone());
    world.plant(&integration, disguised);
    let error = refused(read(&world.store(CredentialPlace::Table), &integration).await);
    assert!(error.to_string().contains("not those that the hub wrote"), "{error}");

    // Storing the credentials again is the remedy.
    world.put(&store, &mut integration, "current").await;
    let found = read(&world.store(CredentialPlace::Table), &integration).await.unwrap();
    assert_eq!(found, "current");
}

#[tokio::test]
async fn an_altered_signing_secret_is_refused_and_can_be_replaced() {
    let world = World::new();
    let store = world.store(CredentialPlace::Table);
    store.add_signing_secret(&acme(), "own".into()).await.unwrap();
    let other = sample::tenant("other");
    store.add_signing_secret(&other, "stolen".into()).await.unwrap();
    world.services.with(|cloud| {
        let item = |tenant: &str| {
            let pk = format!("T#{tenant}#SIGNING");
            cloud.dynamo.item(SimulatedSecrets::TABLE, &pk, "SIGNING").unwrap().clone()
        };
        let mut moved = item("other");
        moved.insert("pk".to_owned(), item("acme")["pk"].clone());
        let table = SimulatedSecrets::TABLE;
        let body = serde_json::json!({ "TableName": table, "Item": write_item(&moved) });
        cloud.dynamo.call("PutItem", &body, 0).unwrap();
    });
    let store = world.store(CredentialPlace::Table);
    let error = store.signing_secrets(&acme(), world.clock.now()).await.unwrap_err();
    assert!(error.to_string().contains("not those that the hub wrote"), "{error}");
    world.clock.advance(MINUTE);
    store.add_signing_secret(&acme(), "newer".into()).await.unwrap();
    let signing = store.signing_secrets(&acme(), world.clock.now()).await.unwrap();
    let signing: Vec<&str> = signing.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(signing, ["newer"]);
}

#[tokio::test]
async fn the_data_keys_of_a_hub_are_refused_to_another_hub() {
    let world = World::new();
    let mut integration = sample::whatsapp(&acme(), Some("111"));
    world.put(&world.store(CredentialPlace::Table), &mut integration, "a-token").await;
    let other = world.store_of(CredentialPlace::Table, "switchboard/other");
    let error = refused(read(&other, &integration).await);
    assert!(error.to_string().contains("not those that the hub wrote"), "{error}");
}

#[tokio::test]
async fn a_delayed_write_does_not_replace_a_newer_one() {
    let world = World::new();
    let store = world.store(CredentialPlace::Table);
    let mut integration = sample::whatsapp(&acme(), Some("111"));
    let before = world.clock.now();
    world.clock.advance(MINUTE);
    world.put(&store, &mut integration, "newer").await;
    let now = world.clock.now();
    world.clock.set(before);
    let late = store.store(&integration, Some(&credentials("late"))).await.unwrap_err();
    assert_eq!(late.fault, Fault::Retryable);
    world.clock.set(now);
    let found = read(&world.store(CredentialPlace::Table), &integration).await.unwrap();
    assert_eq!(found, "newer");
}

#[tokio::test]
async fn ten_thousand_tenants_in_the_table_cost_no_secret() {
    let world = World::new();
    let store = world.store(CredentialPlace::Table);
    for number in 0..10_000 {
        let mut integration = sample::whatsapp(&sample::tenant(&format!("t{number}")), None);
        world.put(&store, &mut integration, "a-token").await;
    }
    assert_eq!(world.secrets(), []);
    assert_eq!(world.requests("CreateSecret"), 0);
}

#[tokio::test]
async fn a_data_key_is_decrypted_once_in_five_minutes() {
    let world = World::new();
    let mut integration = sample::whatsapp(&acme(), Some("111"));
    world.put(&world.store(CredentialPlace::Table), &mut integration, "a-token").await;
    let store = world.store(CredentialPlace::Table);
    for minute in 0..5 {
        // A failed verification reads the item again.
        let found = store.credentials(&integration, Freshness::Fresh).await.unwrap();
        assert!(found.first(NAME).is_some(), "minute {minute}");
        assert_eq!(world.requests("Decrypt"), 1, "minute {minute}");
        world.clock.advance(MINUTE);
    }
    store.credentials(&integration, Freshness::Fresh).await.unwrap();
    assert_eq!(world.requests("Decrypt"), 2);
}

#[tokio::test]
async fn credentials_are_read_in_the_other_place_and_move_when_they_change() {
    for (from, to) in [(PLACES[0], PLACES[1]), (PLACES[1], PLACES[0])] {
        let world = World::new();
        let mut integration = sample::whatsapp(&acme(), Some("111"));
        world.put(&world.store(from), &mut integration, "a-token").await;
        world.store(from).add_signing_secret(&acme(), "older".into()).await.unwrap();

        world.clock.advance(2 * MINUTE);
        let moving = world.store(to);
        assert_eq!(read(&moving, &integration).await.unwrap(), "a-token", "{to:?}");
        world.put(&moving, &mut integration, "another").await;
        moving.add_signing_secret(&acme(), "newer".into()).await.unwrap();
        for place in PLACES {
            let store = world.store(place);
            assert_eq!(read(&store, &integration).await.unwrap(), "another", "{place:?}");
            let signing = store.signing_secrets(&acme(), world.clock.now()).await.unwrap();
            let signing: Vec<&str> = signing.iter().map(ExposeSecret::expose_secret).collect();
            assert_eq!(signing, ["newer", "older"], "{place:?}");
        }
        let items =
            world.services.with(|cloud| cloud.dynamo.items(SimulatedSecrets::TABLE).count());
        let expected = match to {
            CredentialPlace::Table => (2, 0),
            CredentialPlace::SecretsManager => (0, 2),
        };
        assert_eq!((items, world.secrets().len()), expected, "{to:?}");
    }
}

#[tokio::test]
async fn only_the_newest_two_signing_secrets_are_kept() {
    for place in PLACES {
        let world = World::new();
        let store = world.store(place);
        for secret in ["first", "second", "third"] {
            world.clock.advance(MINUTE);
            store.add_signing_secret(&acme(), secret.into()).await.unwrap();
        }
        let signing = store.signing_secrets(&acme(), world.clock.now()).await.unwrap();
        let signing: Vec<&str> = signing.iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!(signing, ["third", "second"], "{place:?}");
    }
}

#[tokio::test]
async fn deleting_an_integration_deletes_its_secret_and_the_version_before() {
    let world = World::new();
    let store = world.store(CredentialPlace::SecretsManager);
    let mut one = sample::whatsapp(&acme(), Some("111"));
    let mut other = sample::whatsapp(&acme(), Some("222"));
    world.put(&store, &mut one, "one-token").await;
    world.put(&store, &mut other, "other-token").await;
    store.store(&one, None).await.unwrap();
    let name = format!("{PREFIX}/acme/whatsapp_cloud");
    let version = |stage: &str| {
        let body = serde_json::json!({"SecretId": name, "VersionStage": stage});
        world.services.with(|cloud| cloud.secrets.call("GetSecretValue", &body, 0))
    };
    assert!(!version("AWSCURRENT").unwrap().to_string().contains("one-token"));
    assert_eq!(version("AWSPREVIOUS").unwrap_err().code, "ResourceNotFoundException");
    assert_eq!(read(&world.store(PLACES[0]), &other).await.unwrap(), "other-token");
    // The last one: the secret itself.
    store.store(&other, None).await.unwrap();
    assert_eq!(version("AWSCURRENT").unwrap_err().code, "ResourceNotFoundException");
}

#[tokio::test]
async fn a_removal_that_fails_at_any_request_is_completed_by_its_repetition() {
    for place in PLACES {
        for (number, side) in
            (1..=8).flat_map(|number| [(number, Side::Before), (number, Side::After)])
        {
            let world = World::new();
            let store = world.store(place);
            let mut one = sample::whatsapp(&acme(), Some("111"));
            let mut other = sample::whatsapp(&acme(), Some("222"));
            world.put(&store, &mut other, "other-token").await;
            world.put(&store, &mut one, "one-token").await;
            world.services.faults().fail_call(number, side);
            let first = store.store(&one, None).await;
            assert_eq!(first.is_err(), world.services.faults().has_triggered());
            world.services.faults().clear();
            store.store(&one, None).await.unwrap();
            let stored = world.store(place).stored_credentials(&one).await.unwrap();
            let StoredCredentials::Unreadable(reason) = stored else { panic!("{stored:?}") };
            assert!(reason.contains("not stored"), "{place:?}, {number} {side:?}: {reason}");
            let name = format!("{PREFIX}/acme/whatsapp_cloud");
            for stage in ["AWSCURRENT", "AWSPREVIOUS"] {
                let body = serde_json::json!({"SecretId": name, "VersionStage": stage});
                let version =
                    world.services.with(|cloud| cloud.secrets.call("GetSecretValue", &body, 0));
                let text = version.map(|version| version.to_string()).unwrap_or_default();
                assert!(!text.contains("one-token"), "{place:?}, {number} {side:?}: {stage}");
            }
            let found = read(&world.store(place), &other).await.unwrap();
            assert_eq!(found, "other-token", "{place:?}, {number} {side:?}");
        }
    }
}

#[tokio::test]
async fn a_change_that_fails_at_any_request_leaves_the_old_or_the_new_credentials() {
    for place in PLACES {
        for (number, side) in
            (1..=8).flat_map(|number| [(number, Side::Before), (number, Side::After)])
        {
            let world = World::new();
            let other_place = if place == PLACES[0] { PLACES[1] } else { PLACES[0] };
            let mut integration = sample::whatsapp(&acme(), Some("111"));
            world.put(&world.store(other_place), &mut integration, "old").await;
            world.clock.advance(MINUTE);
            let store = world.store(place);
            world.services.faults().fail_call(number, side);
            let changed = store.store(&integration, Some(&credentials("new"))).await;
            world.services.faults().clear();
            let found = read(&world.store(place), &integration).await.unwrap();
            if changed.is_ok() {
                assert_eq!(found, "new", "{place:?}, {number} {side:?}");
            } else {
                assert!(["old", "new"].contains(&&*found), "{place:?}, {number} {side:?}: {found}");
            }
            store.store(&integration, Some(&credentials("new"))).await.unwrap();
            for place in PLACES {
                let found = read(&world.store(place), &integration).await.unwrap();
                assert_eq!(found, "new", "{place:?}, {number} {side:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_secret_is_written_less_than_once_in_ten_minutes_sustained() {
    let world = World::new();
    let store = world.store(CredentialPlace::SecretsManager);
    let mut integration = sample::whatsapp(&acme(), Some("111"));
    let (mut written, minutes) = (0_u64, 3 * 24 * 60);
    for minute in 0..minutes {
        let new = credentials(&minute.to_string());
        match store.check_write(&integration, &new, ChangedBy::Tenant).await {
            Ok(()) => {
                world.put(&store, &mut integration, &minute.to_string()).await;
                written += 1;
            }
            Err(error) => {
                let Fault::RateLimited { retry_after } = error.fault else { panic!("{error}") };
                assert!(retry_after <= Duration::from_hours(24), "{retry_after:?}");
                assert!(error.to_string().contains("60 times in 24 hours"), "{error}");
                let problem = Problem::from(error);
                assert_eq!(problem.status.as_u16(), 429);
                assert_eq!(problem.retry_after, Some(retry_after.as_secs().max(1)));
                // A part is reserved for the operator.
                let operator = store.check_write(&integration, &new, ChangedBy::Operator).await;
                assert!(operator.is_ok(), "minute {minute}");
            }
        }
        world.clock.advance(MINUTE);
    }
    assert_eq!(written, 3 * 60);
    assert!(written < minutes / 10, "{written} writes in {minutes} minutes");
    // An unchanged value is not written again, and another tenant is not limited.
    let writes = world.requests("PutSecretValue");
    world.clock.advance(Duration::from_hours(24));
    world.put(&store, &mut integration, "same").await;
    world.put(&store, &mut integration, "same").await;
    assert_eq!(world.requests("PutSecretValue"), writes + 1);
    // In the table there is no such limit.
    let table = world.store(CredentialPlace::Table);
    for _change in 0..200 {
        let new = credentials("new");
        table.check_write(&integration, &new, ChangedBy::Tenant).await.unwrap();
        world.put(&table, &mut integration, "new").await;
    }
}

#[tokio::test]
async fn credentials_that_a_secret_cannot_hold_are_refused_before_they_are_stored() {
    let world = World::new();
    let store = world.store(CredentialPlace::SecretsManager);
    let mut integration = sample::whatsapp(&acme(), Some("111"));
    world.put(&store, &mut integration, "a-token").await;
    let large = credentials(&"x".repeat(65_536));
    let error = store.check_write(&integration, &large, ChangedBy::Operator).await.unwrap_err();
    assert_eq!(error.fault, Fault::Permanent);
}

#[tokio::test]
async fn credentials_that_a_provider_refused_are_read_again_however_old_they_are() {
    for place in PLACES {
        let world = World::new();
        let mut integration = sample::whatsapp(&acme(), Some("111"));
        world.put(&world.store(place), &mut integration, "revoked").await;
        world.clock.advance(30 * MINUTE);
        let store = world.store(place);
        assert_eq!(read(&store, &integration).await.unwrap(), "revoked");
        let again = store.credentials(&integration, Freshness::Reread).await.unwrap();
        assert!(again.same_as(&credentials("revoked")), "{place:?}");
        // Another process changes them; this one still has the integration from before.
        let mut changed = integration.clone();
        world.put(&world.store(place), &mut changed, "new").await;
        assert_eq!(read(&store, &integration).await.unwrap(), "revoked", "cached");
        let again = store.credentials(&integration, Freshness::Reread).await.unwrap();
        assert!(again.same_as(&credentials("new")), "{place:?}");
    }
}

#[tokio::test]
async fn credentials_that_are_gone_are_an_error_and_not_empty() {
    for place in PLACES {
        let world = World::new();
        let mut integration = sample::whatsapp(&acme(), Some("111"));
        world.put(&world.store(place), &mut integration, "a-token").await;
        let before = world.store(place);
        assert_eq!(read(&before, &integration).await.unwrap(), "a-token");
        let (pk, sk) = key(&integration);
        world.services.with(|cloud| {
            *cloud = testkit::cloud::Cloud {
                secrets: testkit::cloud::secrets::Secrets::new(),
                ..cloud.clone()
            };
            let table = SimulatedSecrets::TABLE;
            let key = serde_json::json!({"pk": {"S": pk}, "sk": {"S": sk}});
            let body = serde_json::json!({"TableName": table, "Key": key});
            cloud.dynamo.call("DeleteItem", &body, 0).unwrap();
        });
        let error = refused(read(&world.store(place), &integration).await);
        assert!(error.to_string().contains("not stored"), "{error}");
        let stored = before.stored_credentials(&integration).await.unwrap();
        assert!(matches!(stored, StoredCredentials::Unreadable(_)), "{stored:?}");
    }
}

#[tokio::test]
async fn a_reader_finds_the_credentials_while_they_move() {
    let world = World::new();
    let mut integration = sample::whatsapp(&acme(), Some("111"));
    world.put(&world.store(PLACES[0]), &mut integration, "a-token").await;
    // It looked into the table first, and has the secret in its cache.
    let reader = world.store(CredentialPlace::Table);
    assert_eq!(read(&reader, &integration).await.unwrap(), "a-token");
    for minute in 0..12 {
        world.clock.advance(MINUTE);
        if minute == 2 {
            let moving = world.store(CredentialPlace::Table);
            moving.store(&integration, Some(&credentials("a-token"))).await.unwrap();
            assert_eq!(world.secrets(), []);
        }
        assert_eq!(read(&reader, &integration).await.unwrap(), "a-token", "minute {minute}");
    }
}

#[tokio::test]
async fn an_item_with_a_version_of_the_future_can_be_replaced() {
    let world = World::new();
    let store = world.store(CredentialPlace::Table);
    let mut integration = sample::whatsapp(&acme(), Some("111"));
    world.put(&store, &mut integration, "a-token").await;
    for version in ["9999999999999999", "0"] {
        let mut item = write_item(&world.item(&integration));
        if version == "0" {
            item.as_object_mut().unwrap().remove("version");
        } else {
            item["version"] = serde_json::json!({ "N": version });
        }
        world.put_item(&item);
        let error = refused(read(&world.store(CredentialPlace::Table), &integration).await);
        assert!(error.to_string().contains("not those that the hub wrote"), "{error}");
        world.put(&store, &mut integration, "again").await;
        let found = read(&world.store(CredentialPlace::Table), &integration).await.unwrap();
        assert_eq!(found, "again");
    }
}

#[tokio::test]
async fn an_operators_change_that_fails_at_any_request_leaves_the_integration_usable() {
    let platform = TenantId::platform();
    let body = |token: &str| {
        serde_json::json!({ "tenant": "acme", "provider": "whatsapp",
            "settings": { "phone_number_id": "111" }, "credentials": { NAME: token } })
    };
    for place in PLACES {
        for side in [Side::Before, Side::After] {
            for (number, in_services) in (1..12).flat_map(|n| [(n, true), (n, false)]) {
                let (api, world) = (Api::new().await, World::new());
                let resource = || Integrations::<TestEnv<Owner, Store>> {
                    store: api.store.accounts.clone(),
                    credential_store: world.store(place),
                    http_client: Owner("111"),
                    clock: world.clock.clone(),
                    rng: api.rng.clone(),
                    skip_tenant_checks: false,
                };
                let create = request(Method::POST, "/integrations", &platform, &body("old"));
                Box::pin(handle(&resource(), &create)).await.unwrap();
                world.clock.advance(10 * MINUTE);
                let [created] = &*api.store.accounts.integrations(&acme()).await.unwrap() else {
                    panic!("one integration")
                };
                let path = format!("/integrations/{}", created.id);
                let change = serde_json::json!({ "credentials": { NAME: "new" } });
                let change = request(Method::PUT, &path, &platform, &change);
                let faults = if in_services { world.services.faults() } else { &api.table_faults };
                faults.fail_call(number, side);
                let changed = Box::pin(handle(&resource(), &change)).await;
                faults.clear();
                let [stored] = &*api.store.accounts.integrations(&acme()).await.unwrap() else {
                    panic!("one integration")
                };
                let found = read(&world.store(place), stored).await.unwrap();
                let expected: &[&str] = if changed.is_ok() { &["new"] } else { &["old", "new"] };
                assert!(expected.contains(&&*found), "{place:?} {number} {side:?}: {found}");
                // The lock may not have been released.
                world.clock.advance(MINUTE);
                Box::pin(handle(&resource(), &change)).await.unwrap();
                let [stored] = &*api.store.accounts.integrations(&acme()).await.unwrap() else {
                    panic!("one integration")
                };
                assert_eq!(read(&world.store(place), stored).await.unwrap(), "new");
            }
        }
    }
}
