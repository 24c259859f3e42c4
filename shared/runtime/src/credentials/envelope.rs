//! Envelope encryption: AES-256-GCM with data keys that AWS KMS encrypts.
//! <https://docs.aws.amazon.com/kms/latest/developerguide/kms-cryptography.html#enveloping>

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_sdk_kms::Client;
use aws_sdk_kms::error::SdkError;
use aws_sdk_kms::operation::decrypt::DecryptError;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use domain::Fault;
use domain::ports::{PortError, PortResult};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

/// Authenticated names that an envelope is bound to. KMS refuses to decrypt its data key under
/// others, logs them, and IAM can require them.
/// <https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html>
pub(super) type EncryptionContext = Vec<(&'static str, String)>;

/// Data keys of one KMS key.
#[derive(Debug)]
pub(super) struct DataKeys {
    aws: aws_types::SdkConfig,
    // Created when it is first needed: a hub whose credentials are in Secrets Manager needs none.
    client: OnceLock<Client>,
    key_arn: String,
}

/// A data key: in plain text, and as KMS encrypted it. Cleared from memory when it is dropped.
#[derive(Clone)]
pub(super) struct DataKey {
    pub(super) encrypted: Vec<u8>,
    plain: Arc<SecretSlice<u8>>,
}

/// A text that was encrypted with a data key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) nonce: Vec<u8>,
    /// With the authentication tag at its end.
    pub(super) ciphertext: Vec<u8>,
}

impl DataKeys {
    pub(super) fn new(aws: &aws_types::SdkConfig, key_arn: String) -> Self {
        Self { aws: aws.clone(), client: OnceLock::new(), key_arn }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::new(&self.aws))
    }

    /// Creates a data key for one envelope.
    pub(super) async fn create(&self, context: EncryptionContext) -> PortResult<DataKey> {
        let operation = "create a data key";
        let request = self.client().generate_data_key().key_id(&self.key_arn);
        let request = request.key_spec(DataKeySpec::Aes256);
        let answer = request.set_encryption_context(Some(named(context))).send().await;
        let answer = answer.map_err(|error| aws::failed("KMS", operation, &error))?;
        let (plain, encrypted) = (answer.plaintext, answer.ciphertext_blob);
        let keys = plain.zip(encrypted).ok_or_else(|| unusable(operation))?;
        Ok(data_key(keys.1.into_inner(), keys.0))
    }

    /// Decrypts a data key; returns `None` if it was not encrypted for this context.
    pub(super) async fn decrypt(
        &self,
        encrypted: Vec<u8>,
        context: EncryptionContext,
    ) -> PortResult<Option<DataKey>> {
        let operation = "decrypt a data key";
        // Without the key's ARN, KMS would accept a data key of any key that the role may use.
        let request = self.client().decrypt().key_id(&self.key_arn);
        let request = request.ciphertext_blob(Blob::new(encrypted.clone()));
        let answer = match request.set_encryption_context(Some(named(context))).send().await {
            Ok(answer) => answer,
            Err(error) if is_invalid(&error) => return Ok(None),
            Err(error) if is_of_another_key(&error) => {
                let reason = "the data key was encrypted by another KMS key: if the table was \
                    restored, set CredentialsKeyRestored"
                    .to_owned();
                return Err(PortError { operation, reason, fault: Fault::Retryable });
            }
            Err(error) => return Err(aws::failed("KMS", operation, &error)),
        };
        let plain = answer.plaintext.ok_or_else(|| unusable(operation))?;
        Ok(Some(data_key(encrypted, plain)))
    }
}

impl DataKey {
    /// Encrypts `text`, bound to `bound_to`.
    pub(super) fn seal(&self, text: &SecretString, bound_to: &[u8]) -> PortResult<Sealed> {
        let operation = "encrypt credentials";
        let key = self.key().ok_or_else(|| unusable(operation))?;
        let mut bytes = text.expose_secret().as_bytes().to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(bound_to), &mut bytes)
            .map_err(|_| unusable(operation))?;
        Ok(Sealed { nonce: nonce.as_ref().to_vec(), ciphertext: bytes })
    }

    /// Decrypts a text; returns `None` if it was encrypted with another key, is bound to something
    /// else or was changed.
    pub(super) fn open(&self, sealed: Sealed, bound_to: &[u8]) -> Option<SecretString> {
        let nonce: [u8; NONCE_LEN] = sealed.nonce.try_into().ok()?;
        let mut bytes = sealed.ciphertext;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self.key()?.open_in_place(nonce, Aad::from(bound_to), &mut bytes).ok()?.len();
        bytes.truncate(length);
        String::from_utf8(bytes).ok().map(SecretString::from)
    }

    fn key(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, self.plain.expose_secret()).ok()
    }
}

/// Whether KMS refused the ciphertext or the context.
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors>
fn is_invalid<R>(error: &SdkError<DecryptError, R>) -> bool {
    error.as_service_error().is_some_and(DecryptError::is_invalid_ciphertext_exception)
}

fn is_of_another_key<R>(error: &SdkError<DecryptError, R>) -> bool {
    error.as_service_error().is_some_and(DecryptError::is_incorrect_key_exception)
}

fn data_key(encrypted: Vec<u8>, plain: Blob) -> DataKey {
    DataKey { encrypted, plain: Arc::new(SecretSlice::from(plain.into_inner())) }
}

fn named(context: EncryptionContext) -> HashMap<String, String> {
    context.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Returns the error for a data key that cannot encrypt.
fn unusable(operation: &'static str) -> PortError {
    let reason = "the data key cannot be used: it must have 256 bits".to_owned();
    PortError { operation, reason, fault: Fault::Retryable }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> DataKey {
        data_key(Vec::new(), Blob::new([byte; 32]))
    }

    fn sealed(key: &DataKey) -> Sealed {
        key.seal(&"the text".into(), b"names").unwrap()
    }

    fn copy(of: &Sealed) -> Sealed {
        Sealed { nonce: of.nonce.clone(), ciphertext: of.ciphertext.clone() }
    }

    #[test]
    fn a_text_is_opened_only_with_its_key_and_its_names() {
        let own = key(1);
        let one = sealed(&own);
        let text = own.open(copy(&one), b"names").unwrap();
        assert_eq!(text.expose_secret(), "the text");
        assert!(own.open(copy(&one), b"other names").is_none());
        assert!(key(2).open(one, b"names").is_none());
    }

    #[test]
    fn a_changed_text_is_not_opened() {
        let own = key(1);
        let one = sealed(&own);
        for at in 0..one.ciphertext.len() {
            let mut changed = copy(&one);
            changed.ciphertext[at] ^= 1;
            assert!(own.open(changed, b"names").is_none(), "byte {at}");
        }
        for length in 0..one.ciphertext.len() {
            let mut cut = copy(&one);
            cut.ciphertext.truncate(length);
            assert!(own.open(cut, b"names").is_none(), "{length} bytes");
        }
        let mut other = copy(&one);
        other.nonce.pop();
        assert!(own.open(other, b"names").is_none());
    }

    #[test]
    fn the_same_text_is_encrypted_differently_each_time() {
        let own = key(1);
        assert_ne!(sealed(&own), sealed(&own));
    }
}
