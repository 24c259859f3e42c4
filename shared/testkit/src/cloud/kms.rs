//! KMS: symmetric keys that encrypt data keys.
//!
//! The data keys are not random: the same calls give the same ones.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::{Refusal, text};

/// KMS.
#[derive(Clone, Debug, Default)]
pub struct Kms {
    /// ARNs of the keys.
    keys: Vec<String>,
    /// Data keys by number, which is in their ciphertext.
    data_keys: BTreeMap<usize, DataKey>,
    requests: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
struct DataKey {
    key: String,
    context: Value,
    plain: Vec<u8>,
}

impl Kms {
    /// Creates KMS without a key.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles a request.
    ///
    /// # Errors
    /// The errors of KMS, or `UnknownOperationException` for what is not modelled.
    pub fn call(&mut self, operation: &str, body: &Value) -> Result<Value, Refusal> {
        *self.requests.entry(operation.to_owned()).or_default() += 1;
        match operation {
            "CreateKey" => Ok(self.create()),
            "GenerateDataKey" => self.generate(body),
            "Decrypt" => self.decrypt(body),
            _ => Err(not_modelled(&format!("no {operation}"))),
        }
    }

    /// Creates a key that has this ARN or id.
    pub fn add_key(&mut self, name: &str) {
        self.keys.push(name.to_owned());
    }

    /// Number of requests by operation, refused ones included.
    #[must_use]
    pub fn requests(&self) -> &BTreeMap<String, u64> {
        &self.requests
    }

    fn create(&mut self) -> Value {
        let id = format!("00000000-0000-4000-8000-{:012x}", self.keys.len());
        let arn = format!("arn:aws:kms:eu-central-1:000000000000:key/{id}");
        self.keys.push(arn.clone());
        json!({"KeyMetadata": {"Arn": arn, "KeyId": id}})
    }

    /// Returns the ARN of the key that a request names by its ARN or its id.
    fn key(&self, body: &Value) -> Result<String, Refusal> {
        let name = text(body, "KeyId").unwrap_or_default();
        let is =
            |arn: &&String| *arn == name || arn.rsplit_once('/').is_some_and(|(_, id)| id == name);
        let found = self.keys.iter().find(is).cloned();
        found.ok_or_else(|| {
            Refusal::new("NotFoundException", format!("Key '{name}' does not exist"))
        })
    }

    fn generate(&mut self, body: &Value) -> Result<Value, Refusal> {
        only(body, &["KeyId", "KeySpec", "EncryptionContext"])?;
        if text(body, "KeySpec") != Some("AES_256") {
            return Err(not_modelled("no KeySpec other than AES_256"));
        }
        let key = self.key(body)?;
        let number = self.data_keys.len();
        let half = |part: usize| Md5::digest(format!("{number} {part}")).to_vec();
        let plain = [half(0), half(1)].concat();
        let answer = json!({
            "KeyId": key,
            "Plaintext": STANDARD.encode(&plain),
            "CiphertextBlob": STANDARD.encode(format!("data key {number}")),
        });
        self.data_keys.insert(number, DataKey { key, context: context(body), plain });
        Ok(answer)
    }

    fn decrypt(&self, body: &Value) -> Result<Value, Refusal> {
        only(body, &["CiphertextBlob", "EncryptionContext", "KeyId"])?;
        let invalid = || Refusal::new("InvalidCiphertextException", "");
        let blob = STANDARD.decode(text(body, "CiphertextBlob").unwrap_or_default());
        let blob = blob.ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
        let number = blob.strip_prefix("data key ").and_then(|number| number.parse().ok());
        let known = number.and_then(|number: usize| self.data_keys.get(&number));
        let known = known.ok_or_else(invalid)?;
        if body.get("KeyId").is_some() && self.key(body)? != known.key {
            let reason = "The key ID in the request does not identify a CMK that can perform this operation.";
            return Err(Refusal::new("IncorrectKeyException", reason));
        }
        // <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html>
        if context(body) != known.context {
            return Err(invalid());
        }
        Ok(json!({"KeyId": known.key, "Plaintext": STANDARD.encode(&known.plain)}))
    }
}

/// The encryption context of a request: none is the same as an empty one.
fn context(body: &Value) -> Value {
    body.get("EncryptionContext").cloned().unwrap_or_else(|| json!({}))
}

/// Refuses a request with a field that the model would ignore.
fn only(body: &Value, known: &[&str]) -> Result<(), Refusal> {
    let fields = body.as_object().into_iter().flat_map(serde_json::Map::keys);
    let mut unknown = fields.filter(|name| !known.contains(&name.as_str()));
    unknown.next().map_or(Ok(()), |name| Err(not_modelled(&format!("no field {name} here"))))
}

fn not_modelled(what: &str) -> Refusal {
    Refusal::new("UnknownOperationException", format!("the model of KMS has {what}"))
}
