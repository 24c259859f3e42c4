//! Conformance of data keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use testkit::cloud::Refusal;

use crate::endpoint::{Difference, Endpoint, Service, cases};

fn ask(cloud: &dyn Endpoint, operation: &str, asked: &Value) -> Result<Value, Refusal> {
    cloud.call(Service::Kms, operation, asked)
}

/// Creates a key. Returns its ARN.
#[track_caller]
fn create(cloud: &dyn Endpoint) -> String {
    let answer = ask(cloud, "CreateKey", &json!({})).unwrap();
    answer["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
}

/// Creates a data key for `acme`.
#[track_caller]
fn generate(cloud: &dyn Endpoint, key: &str) -> Value {
    let asked =
        json!({"KeyId": key, "KeySpec": "AES_256", "EncryptionContext": {"tenant": "acme"}});
    ask(cloud, "GenerateDataKey", &asked).unwrap()
}

fn decrypt(
    cloud: &dyn Endpoint,
    key: &str,
    blob: &Value,
    context: &Value,
) -> Result<Value, Refusal> {
    let asked = json!({"KeyId": key, "CiphertextBlob": blob, "EncryptionContext": context});
    ask(cloud, "Decrypt", &asked)
}

fn code(answer: Result<Value, Refusal>) -> String {
    let refusal = answer.unwrap_err();
    assert_eq!(refusal.status, 400, "{refusal:?}");
    refusal.code
}

fn a_data_key_is_decrypted_with_its_encryption_context(cloud: &dyn Endpoint) {
    let key = create(cloud);
    let made = generate(cloud, &key);
    assert_eq!(made["KeyId"], *key);
    let plain = STANDARD.decode(made["Plaintext"].as_str().unwrap()).unwrap();
    assert_eq!(plain.len(), 32);
    let context = json!({"tenant": "acme"});
    let answer = decrypt(cloud, &key, &made["CiphertextBlob"], &context).unwrap();
    assert_eq!((&answer["Plaintext"], &answer["KeyId"]), (&made["Plaintext"], &made["KeyId"]));
}

fn each_data_key_is_another_one(cloud: &dyn Endpoint) {
    let key = create(cloud);
    assert_ne!(generate(cloud, &key)["Plaintext"], generate(cloud, &key)["Plaintext"]);
}

fn another_encryption_context_is_refused(cloud: &dyn Endpoint) {
    let key = create(cloud);
    let made = generate(cloud, &key);
    for context in
        [json!({"tenant": "other"}), json!({"tenant": "acme", "provider": "x"}), json!({})]
    {
        let refused = decrypt(cloud, &key, &made["CiphertextBlob"], &context);
        assert_eq!(code(refused), "InvalidCiphertextException", "{context}");
    }
}

fn a_missing_key_is_refused(cloud: &dyn Endpoint) {
    let missing = "arn:aws:kms:us-east-1:000000000000:key/00000000-1111-2222-3333-444444444444";
    let asked = json!({"KeyId": missing, "KeySpec": "AES_256"});
    assert_eq!(code(ask(cloud, "GenerateDataKey", &asked)), "NotFoundException");
}

fn a_data_key_of_another_key_is_refused(cloud: &dyn Endpoint) {
    let (own, other) = (create(cloud), create(cloud));
    let made = generate(cloud, &own);
    let context = json!({"tenant": "acme"});
    let refused = decrypt(cloud, &other, &made["CiphertextBlob"], &context);
    assert_eq!(code(refused), "IncorrectKeyException");
}

const KNOWN_DIFFERENCES: &[Difference] = &[Difference {
    case: "a_data_key_of_another_key_is_refused",
    source: "https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html",
    instead: |cloud| {
        let (own, other) = (create(cloud), create(cloud));
        let made = generate(cloud, &own);
        let context = json!({"tenant": "acme"});
        let answer = decrypt(cloud, &other, &made["CiphertextBlob"], &context).unwrap();
        assert_ne!(answer["Plaintext"], made["Plaintext"]);
    },
}];

cases! {
    a_data_key_is_decrypted_with_its_encryption_context,
    each_data_key_is_another_one,
    another_encryption_context_is_refused,
    a_missing_key_is_refused,
    a_data_key_of_another_key_is_refused,
}
