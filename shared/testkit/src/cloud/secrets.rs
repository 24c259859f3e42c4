//! Secrets Manager: named text secrets with versions.
//!
//! A read sees every write that completed before it began: Secrets Manager documents no replication
//! lag within a region.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Refusal, text};

/// Largest size of a secret in bytes.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>
const LONGEST: usize = 65_536;
/// Approximate number of versions that are kept; versions without a staging label and older than
/// [`DAY_MS`] are removed first.
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>
const VERSIONS: usize = 100;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The recovery window of a deleted secret in days: the default, which is also the longest, and the
/// shortest. <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html>
const RECOVERY_DAYS: i64 = 30;
const SHORTEST_RECOVERY_DAYS: i64 = 7;

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// Secrets Manager.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    by_name: BTreeMap<String, Secret>,
    created: u64,
    requests: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
struct Secret {
    arn: String,
    description: Option<String>,
    created_ms: i64,
    changed_ms: i64,
    /// When it is deleted permanently.
    deleted_ms: Option<i64>,
    versions: BTreeMap<String, Version>,
    current: String,
    previous: Option<String>,
    made: u64,
}

#[derive(Clone, Debug)]
struct Version {
    text: String,
    created_ms: i64,
}

impl Secrets {
    /// Creates Secrets Manager without a secret.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles a request at `now_ms`.
    ///
    /// # Errors
    /// The errors of Secrets Manager, or `UnknownOperationException` for what is not modelled.
    pub fn call(&mut self, operation: &str, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        *self.requests.entry(operation.to_owned()).or_default() += 1;
        self.by_name.retain(|_, secret| secret.deleted_ms.is_none_or(|at| at > now_ms));
        match operation {
            "CreateSecret" => self.create(body, now_ms),
            "DeleteSecret" => self.delete(body, now_ms),
            "DescribeSecret" => self.describe(body),
            "GetSecretValue" => self.get(body),
            "ListSecretVersionIds" => self.list_versions(body),
            "PutSecretValue" => self.put(body, now_ms),
            "UpdateSecretVersionStage" => self.move_label(body),
            _ => Err(Refusal::new(
                "UnknownOperationException",
                format!("the model of Secrets Manager has no {operation}"),
            )),
        }
    }

    /// The current text of each secret by name, without the secrets that are marked for deletion.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let kept = self.by_name.iter().filter(|(_, secret)| secret.deleted_ms.is_none());
        kept.filter_map(|(name, secret)| {
            secret.versions.get(&secret.current).map(|version| (name.as_str(), &*version.text))
        })
    }

    /// Number of requests by operation, refused ones included.
    #[must_use]
    pub fn requests(&self) -> &BTreeMap<String, u64> {
        &self.requests
    }

    fn create(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        only(body, &["Name", "Description", "SecretString", "ClientRequestToken"])?;
        let name = text(body, "Name").ok_or_else(|| missing("name"))?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
        if name.is_empty() || name.len() > 512 || !name.chars().all(allowed) {
            let reason = "Invalid name. Must be a valid name containing alphanumeric characters, \
                          or any of the following: -/_+=.@!";
            return Err(Refusal::new("ValidationException", reason));
        }
        let secret_string = secret_string(body)?;
        if let Some(there) = self.by_name.get(name) {
            if there.deleted_ms.is_some() {
                let reason = "You can't create this secret because a secret with this name is \
                              already scheduled for deletion.";
                return Err(Refusal::new("InvalidRequestException", reason));
            }
            // A repetition of the same request:
            // <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
            let token = text(body, "ClientRequestToken").unwrap_or_default();
            return match there.versions.get(token) {
                Some(version) if version.text == secret_string => {
                    Ok(json!({"ARN": there.arn, "Name": name, "VersionId": token}))
                }
                _ => {
                    let reason =
                        format!("The operation failed because the secret {name} already exists.");
                    Err(Refusal::new("ResourceExistsException", reason))
                }
            };
        }
        self.created += 1;
        let number = self.created;
        let arn =
            format!("arn:aws:secretsmanager:eu-central-1:000000000000:secret:{name}-{number:06}");
        let id = version_id(body, number, 1)?;
        let version = Version { text: secret_string.to_owned(), created_ms: now_ms };
        let answer = json!({"ARN": arn, "Name": name, "VersionId": id});
        let secret = Secret {
            arn,
            description: text(body, "Description").map(str::to_owned),
            created_ms: now_ms,
            changed_ms: now_ms,
            deleted_ms: None,
            versions: BTreeMap::from([(id.clone(), version)]),
            current: id,
            previous: None,
            made: 1,
        };
        self.by_name.insert(name.to_owned(), secret);
        Ok(answer)
    }

    fn put(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        only(body, &["SecretId", "SecretString", "ClientRequestToken"])?;
        let secret_string = secret_string(body)?.to_owned();
        let number = self.created;
        let (name, secret) = self.usable(body)?;
        let id = version_id(body, number, secret.made + 1)?;
        let answer = |secret: &Secret, stages: &[&str]| json!({"ARN": secret.arn, "Name": name, "VersionId": id, "VersionStages": stages});
        if let Some(there) = secret.versions.get(&id) {
            // A repetition of the same request changes nothing.
            if there.text == secret_string {
                return Ok(answer(secret, &secret.stages(&id)));
            }
            let reason =
                format!("You can't modify version {id} of the secret: it has other content.");
            return Err(Refusal::new("ResourceExistsException", reason));
        }
        secret.make_room(now_ms)?;
        secret.made += 1;
        secret.versions.insert(id.clone(), Version { text: secret_string, created_ms: now_ms });
        secret.previous = Some(std::mem::replace(&mut secret.current, id.clone()));
        secret.changed_ms = now_ms;
        Ok(answer(secret, &[CURRENT]))
    }

    fn get(&mut self, body: &Value) -> Result<Value, Refusal> {
        only(body, &["SecretId", "VersionId", "VersionStage"])?;
        let (name, secret) = self.usable(body)?;
        let stage = text(body, "VersionStage");
        let by_stage = match stage {
            None | Some(CURRENT) => Some(&secret.current),
            Some(PREVIOUS) => secret.previous.as_ref(),
            Some(_) => None,
        };
        let id = match text(body, "VersionId") {
            None => by_stage.map(String::as_str),
            Some(id) if stage.is_none() => Some(id),
            Some(id) => by_stage.map(String::as_str).filter(|by_stage| *by_stage == id),
        };
        let found = id.and_then(|id| secret.versions.get_key_value(id));
        let (id, version) = found.ok_or_else(|| {
            let what = text(body, "VersionId").map_or_else(
                || format!("staging label: {}", stage.unwrap_or(CURRENT)),
                |id| format!("VersionId: {id}"),
            );
            not_found(&format!("Secrets Manager can't find the specified secret value for {what}"))
        })?;
        Ok(json!({
            "ARN": secret.arn,
            "Name": name,
            "VersionId": id,
            "SecretString": version.text,
            "VersionStages": secret.stages(id),
            "CreatedDate": seconds(version.created_ms),
        }))
    }

    /// Lists the versions, in one page.
    fn list_versions(&mut self, body: &Value) -> Result<Value, Refusal> {
        only(body, &["SecretId", "IncludeDeprecated", "NextToken"])?;
        let with_deprecated = body.get("IncludeDeprecated").and_then(Value::as_bool) == Some(true);
        let (name, secret) = self.find(body)?;
        let versions = secret.versions.iter().filter_map(|(id, version)| {
            let stages = secret.stages(id);
            let date = seconds(version.created_ms);
            (with_deprecated || !stages.is_empty())
                .then(|| json!({"VersionId": id, "VersionStages": stages, "CreatedDate": date}))
        });
        let versions: Vec<Value> = versions.collect();
        Ok(json!({"ARN": secret.arn, "Name": name, "Versions": versions}))
    }

    /// Removes the label of the previous version; moves of labels are not modelled.
    fn move_label(&mut self, body: &Value) -> Result<Value, Refusal> {
        only(body, &["SecretId", "VersionStage", "RemoveFromVersionId"])?;
        let (name, secret) = self.usable(body)?;
        let from =
            text(body, "RemoveFromVersionId").ok_or_else(|| missing("removeFromVersionId"))?;
        let label = text(body, "VersionStage").unwrap_or_default();
        if label != PREVIOUS || secret.previous.as_deref() != Some(from) {
            // AWSCURRENT can only be moved to another version.
            let reason = format!("The staging label {label} isn't attached to version {from}.");
            return Err(Refusal::new("InvalidParameterException", reason));
        }
        secret.previous = None;
        Ok(json!({"ARN": secret.arn, "Name": name}))
    }

    fn describe(&mut self, body: &Value) -> Result<Value, Refusal> {
        only(body, &["SecretId"])?;
        let (name, secret) = self.find(body)?;
        let versions = secret.versions.keys().filter_map(|id| {
            let stages = secret.stages(id);
            (!stages.is_empty()).then(|| (id.clone(), json!(stages)))
        });
        let mut answer = json!({
            "ARN": secret.arn,
            "Name": name,
            "CreatedDate": seconds(secret.created_ms),
            "LastChangedDate": seconds(secret.changed_ms),
            "VersionIdsToStages": versions.collect::<Map<_, _>>(),
        });
        if let Some(fields) = answer.as_object_mut() {
            if let Some(description) = &secret.description {
                fields.insert("Description".to_owned(), description.as_str().into());
            }
            if let Some(at) = secret.deleted_ms {
                fields.insert("DeletedDate".to_owned(), seconds(at));
            }
        }
        Ok(answer)
    }

    fn delete(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        only(body, &["SecretId", "RecoveryWindowInDays", "ForceDeleteWithoutRecovery"])?;
        let at_once = body.get("ForceDeleteWithoutRecovery").and_then(Value::as_bool) == Some(true);
        let days = body.get("RecoveryWindowInDays").and_then(Value::as_i64);
        if at_once && days.is_some() {
            let reason = "You can't use ForceDeleteWithoutRecovery in conjunction with \
                          RecoveryWindowInDays.";
            return Err(Refusal::new("InvalidParameterException", reason));
        }
        let days = days.unwrap_or(RECOVERY_DAYS);
        if !(SHORTEST_RECOVERY_DAYS..=RECOVERY_DAYS).contains(&days) {
            let reason = "RecoveryWindowInDays value must be between 7 and 30 days (inclusive).";
            return Err(Refusal::new("InvalidParameterException", reason));
        }
        let (name, secret) = self.usable(body)?;
        let at = if at_once { now_ms } else { now_ms + days * DAY_MS };
        secret.deleted_ms = Some(at);
        let answer = json!({"ARN": secret.arn, "Name": name, "DeletionDate": seconds(at)});
        if at_once {
            self.by_name.remove(&name);
        }
        Ok(answer)
    }

    /// The secret that a request names by its name or its ARN.
    fn find(&mut self, body: &Value) -> Result<(String, &mut Secret), Refusal> {
        let id = text(body, "SecretId").ok_or_else(|| missing("secretId"))?;
        let is = |name: &String, secret: &Secret| *name == id || secret.arn == id;
        let mut found = self.by_name.iter_mut().filter(|(name, secret)| is(name, secret));
        let (name, secret) = found
            .next()
            .ok_or_else(|| not_found("Secrets Manager can't find the specified secret."))?;
        Ok((name.clone(), secret))
    }

    /// The secret that a request names, unless it is marked for deletion.
    fn usable(&mut self, body: &Value) -> Result<(String, &mut Secret), Refusal> {
        let (name, secret) = self.find(body)?;
        if secret.deleted_ms.is_some() {
            let reason = "You can't perform this operation on the secret because it was marked \
                          for deletion.";
            return Err(Refusal::new("InvalidRequestException", reason));
        }
        Ok((name, secret))
    }
}

impl Secret {
    fn stages(&self, id: &str) -> Vec<&'static str> {
        let mut stages = Vec::new();
        if self.current == id {
            stages.push(CURRENT);
        }
        if self.previous.as_deref() == Some(id) {
            stages.push(PREVIOUS);
        }
        stages
    }

    /// Removes the oldest versions that have no staging label, if they are a day old.
    fn make_room(&mut self, now_ms: i64) -> Result<(), Refusal> {
        while self.versions.len() >= VERSIONS {
            let unlabelled = self.versions.iter().filter(|(id, version)| {
                self.stages(id).is_empty() && version.created_ms + DAY_MS <= now_ms
            });
            let oldest = unlabelled.min_by_key(|(_, version)| version.created_ms);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else {
                let reason = "You have reached the quota of versions of a secret.";
                return Err(Refusal::new("LimitExceededException", reason));
            };
            self.versions.remove(&id);
        }
        Ok(())
    }
}

fn secret_string(body: &Value) -> Result<&str, Refusal> {
    let text = text(body, "SecretString");
    let text = text.ok_or_else(|| missing("secretString"))?;
    if text.is_empty() || text.len() > LONGEST {
        let reason = format!("secretString must have a length of 1 to {LONGEST}");
        return Err(Refusal::new("ValidationException", reason));
    }
    Ok(text)
}

/// The caller's token becomes the version id; the SDK always sends one.
fn version_id(body: &Value, secret: u64, version: u64) -> Result<String, Refusal> {
    let made = format!("00000000-0000-4000-8000-{secret:06x}{version:06x}");
    let id = text(body, "ClientRequestToken").map_or(made, str::to_owned);
    if (32..=64).contains(&id.len()) {
        return Ok(id);
    }
    let reason = "clientRequestToken must have a length of 32 to 64";
    Err(Refusal::new("ValidationException", reason))
}

/// Refuses a request with a field that the model would ignore.
fn only(body: &Value, known: &[&str]) -> Result<(), Refusal> {
    let unknown = body
        .as_object()
        .and_then(|fields| fields.keys().find(|name| !known.contains(&name.as_str())));
    match unknown {
        None => Ok(()),
        Some(name) => {
            let reason = format!("the model of Secrets Manager has no field {name} here");
            Err(Refusal::new("UnknownOperationException", reason))
        }
    }
}

fn missing(name: &str) -> Refusal {
    let reason = format!("{name} must not be null");
    Refusal::new("ValidationException", reason)
}

fn not_found(reason: &str) -> Refusal {
    Refusal::new("ResourceNotFoundException", reason)
}

/// A time in the format of the protocol.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of our age fit a double")]
fn seconds(at_ms: i64) -> Value {
    json!(at_ms as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn put(secrets: &mut Secrets, text: &str, now_ms: i64) -> Result<Value, Refusal> {
        secrets.call("PutSecretValue", &json!({"SecretId": "s", "SecretString": text}), now_ms)
    }

    fn made() -> Secrets {
        let mut secrets = Secrets::new();
        let asked = json!({"Name": "s", "SecretString": "first"});
        secrets.call("CreateSecret", &asked, NOW_MS).unwrap();
        secrets
    }

    #[test]
    fn a_secret_can_have_a_hundred_versions_in_a_day() {
        let mut secrets = made();
        for number in 1..100 {
            put(&mut secrets, &number.to_string(), NOW_MS + number).unwrap();
        }
        let refusal = put(&mut secrets, "one more", NOW_MS + DAY_MS - 1).unwrap_err();
        assert_eq!(refusal.code, "LimitExceededException");
        put(&mut secrets, "one more", NOW_MS + DAY_MS).unwrap();
        assert_eq!(secrets.texts().collect::<Vec<_>>(), [("s", "one more")]);
    }

    #[test]
    fn a_deleted_secret_is_removed_after_its_recovery_window() {
        let mut secrets = made();
        let asked = json!({"SecretId": "s", "RecoveryWindowInDays": 7});
        secrets.call("DeleteSecret", &asked, NOW_MS).unwrap();
        assert_eq!(secrets.texts().count(), 0);
        let asked = json!({"SecretId": "s"});
        let marked = secrets.call("GetSecretValue", &asked, NOW_MS + 7 * DAY_MS - 1);
        assert_eq!(marked.unwrap_err().code, "InvalidRequestException");
        let gone = secrets.call("GetSecretValue", &asked, NOW_MS + 7 * DAY_MS);
        assert_eq!(gone.unwrap_err().code, "ResourceNotFoundException");
    }

    #[test]
    fn an_unmodelled_request_is_refused_by_name() {
        let mut secrets = made();
        let refusal = secrets.call("RotateSecret", &json!({"SecretId": "s"}), NOW_MS).unwrap_err();
        assert_eq!(refusal.message, "the model of Secrets Manager has no RotateSecret");
        let asked = json!({"SecretId": "s", "SecretString": "x", "VersionStages": ["MINE"]});
        let refusal = secrets.call("PutSecretValue", &asked, NOW_MS).unwrap_err();
        assert_eq!(refusal.code, "UnknownOperationException");
    }

    #[test]
    fn requests_are_counted_by_operation() {
        let mut secrets = made();
        put(&mut secrets, "x", NOW_MS).unwrap();
        put(&mut secrets, "", NOW_MS).unwrap_err();
        let counts = secrets.requests().iter().map(|(name, count)| (name.as_str(), *count));
        assert_eq!(counts.collect::<Vec<_>>(), [("CreateSecret", 1), ("PutSecretValue", 2)]);
    }
}
