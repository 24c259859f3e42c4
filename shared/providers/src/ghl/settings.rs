//! Settings of an integration, and the keys that GoHighLevel signs with.

use crate::spec::RequestedBy;
use aws_lc_rs::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Credentials;
use domain::integration::{FieldError, Settings as AnySettings};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::spec;

/// Public key of `X-GHL-Signature`. Source: README, fact 1.
const ED25519_KEY: &str = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg=";

/// Public key of `X-WH-Signature`. Source: README, fact 2.
const RSA_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAokvo/r9tVgcfZ5DysOSC
Frm602qYV0MaAiNnX9O8KxMbiyRKWeL9JpCpVpt4XHIcBOK4u3cLSqJGOLaPuXw6
dO0t6Q/ZVdAV5Phz+ZtzPL16iCGeK9po6D6JHBpbi989mmzMryUnQJezlYJ3DVfB
csedpinheNnyYeFXolrJvcsjDtfAeRx5ByHQmTnSdFUzuAnC9/GepgLT9SM4nCpv
uxmZMxrJt5Rw+VUaQ9B8JSvbMPpez4peKaJPZHBbU3OdeCVx5klVXXZQGNHOs8gF
3kvoV5rTnXV0IknLBXlcKKAQLZcY/Q9rG6Ifi9c+5vqlvHPCUJFT5XUGG5RKgOKU
J062fRtN+rLYZUV+BjafxQauvC8wSWeYja63VSUruvmNj8xkx2zE/Juc+yjLjTXp
IocmaiFeAO6fUtNjDeFVkhf5LNb59vECyrHD2SQIrhgXpO4Q3dVNA5rw576PwTzN
h/AMfHKIjE4xQA1SZuYJmNnmVZLIZBlQAF9Ntd03rfadZ+yDiOXCCs9FkHibELhC
HULgCsnuDJHcrGNd5/Ddm5hxGQ0ASitgHeMZ0kcIOwKDOzOU53lDza6/Y09T7sYJ
PQe7z0cvj7aE4B+Ax1ZoZGPzpJlZtGXCsu9aTEGEnKzmsFqwcSsnw3JB31IGKAyk
T1hhTiaCeIY/OwwwNUY2yvcCAwEAAQ==
-----END PUBLIC KEY-----
";

/// Maximum number of keys of one kind: each costs a verification.
const MAX_KEYS: usize = 4;

/// Settings of an integration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Id of the location (sub-account), or of the company (agency).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Keys that verify signatures, instead of GoHighLevel's published ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_keys: Option<PublicKeys>,
}

/// Keys that verify signatures. A kind without keys is not accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeys {
    /// Keys of `X-GHL-Signature`: base64 of a `SubjectPublicKeyInfo`.
    #[serde(default)]
    pub ed25519: Vec<String>,
    /// Keys of `X-WH-Signature`: PEM of a `SubjectPublicKeyInfo`.
    #[serde(default)]
    pub rsa: Vec<String>,
}

/// Decoded keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    ed25519: Vec<Vec<u8>>,
    rsa: Vec<Vec<u8>>,
}

impl Keys {
    /// Returns the keys of an integration. An invalid key is left out and verifies nothing.
    pub(super) fn of(settings: &Settings) -> Self {
        match &settings.public_keys {
            None => Self {
                ed25519: decode_ed25519(ED25519_KEY).into_iter().collect(),
                rsa: decode_rsa(RSA_KEY).into_iter().collect(),
            },
            Some(keys) => Self {
                ed25519: keys.ed25519.iter().filter_map(|key| decode_ed25519(key)).collect(),
                rsa: keys.rsa.iter().filter_map(|key| decode_rsa(key)).collect(),
            },
        }
    }

    pub(super) fn verifies_ed25519(&self, body: &[u8], signature: &[u8]) -> bool {
        let is_by = |key| UnparsedPublicKey::new(&ED25519, key).verify(body, signature).is_ok();
        self.ed25519.iter().take(MAX_KEYS).any(is_by)
    }

    pub(super) fn verifies_rsa(&self, body: &[u8], signature: &[u8]) -> bool {
        let is_by = |key| {
            let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key);
            key.verify(body, signature).is_ok()
        };
        self.rsa.iter().take(MAX_KEYS).any(is_by)
    }
}

fn decode_ed25519(key: &str) -> Option<Vec<u8>> {
    let key = STANDARD.decode(key).ok()?;
    UnparsedPublicKey::new(&ED25519, &key).parse().ok()?;
    Some(key)
}

fn decode_rsa(key: &str) -> Option<Vec<u8>> {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(key.as_bytes()).ok()?.to_vec();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key).parse().ok()?;
    Some(key)
}

/// Reads the settings, and checks that every key is usable.
pub(super) fn read(given: &Map<String, Value>) -> Result<AnySettings, FieldError> {
    let settings: Settings = spec::read(given)?;
    if let Some(PublicKeys { ed25519, rsa }) = &settings.public_keys {
        if ed25519.len() > MAX_KEYS || rsa.len() > MAX_KEYS {
            return Err(FieldError::new(
                "settings.public_keys",
                format!("must have at most {MAX_KEYS} keys of each kind"),
            ));
        }
        if ed25519.iter().any(|key| decode_ed25519(key).is_none()) {
            return Err(FieldError::new(
                "settings.public_keys.ed25519",
                "must be the base64 of a SubjectPublicKeyInfo",
            ));
        }
        if rsa.iter().any(|key| decode_rsa(key).is_none()) {
            return Err(FieldError::new(
                "settings.public_keys.rsa",
                "must be the PEM of a key of at least 2048 bits",
            ));
        }
    }
    spec::with_defaults::<Settings>(given)
}

/// Returns the setting `account`, which only the operator may leave out: GoHighLevel signs with one
/// key for all its customers, so a signature does not identify the location.
pub(super) fn account(
    requested_by: RequestedBy,
    settings: &AnySettings,
    credentials: &Credentials,
) -> Result<Option<String>, FieldError> {
    match spec::account_setting(requested_by, settings, credentials)? {
        None if requested_by != RequestedBy::Hub => Err(FieldError::new(
            "settings.account",
            "must be the id of your location, or of your company",
        )),
        account => Ok(account),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!() };
        object
    }

    #[test]
    fn the_published_keys_are_built_in_and_usable() {
        let keys = Keys::of(&Settings::default());
        assert_eq!((keys.ed25519.len(), keys.rsa.len()), (1, 1));
        assert_eq!(keys.rsa[0].len(), 550, "4096 bits");
    }

    #[test]
    fn configured_keys_replace_the_published_ones_and_an_empty_list_accepts_nothing() {
        let keys = Keys::of(&Settings { public_keys: Some(PublicKeys::default()), account: None });
        assert!(keys.ed25519.is_empty() && keys.rsa.is_empty());
    }

    #[test]
    fn an_unusable_key_is_rejected_when_it_is_set() {
        for (keys, field) in [
            (json!({ "ed25519": ["AAAA"] }), "settings.public_keys.ed25519"),
            (json!({ "ed25519": [""] }), "settings.public_keys.ed25519"),
            (json!({ "rsa": [ED25519_KEY] }), "settings.public_keys.rsa"),
            (json!({ "ed25519": vec![ED25519_KEY; 5] }), "settings.public_keys"),
            (json!({ "dsa": [] }), "settings.public_keys.dsa"),
        ] {
            let error = read(&object(json!({ "public_keys": keys }))).unwrap_err();
            assert_eq!(error.field, field);
        }
        let keys = json!({ "ed25519": [ED25519_KEY], "rsa": [RSA_KEY] });
        assert!(read(&object(json!({ "public_keys": keys }))).is_ok());
    }

    #[test]
    fn only_the_operator_may_leave_out_the_account() {
        let none = Credentials::default();
        let without = read(&Map::new()).unwrap();
        assert_eq!(account(RequestedBy::Hub, &without, &none), Ok(None));
        assert_eq!(
            account(RequestedBy::Tenant, &without, &none).unwrap_err().field,
            "settings.account"
        );
        let with = read(&object(json!({ "account": "loc" }))).unwrap();
        assert_eq!(account(RequestedBy::Tenant, &with, &none), Ok(Some("loc".to_owned())));
    }
}
