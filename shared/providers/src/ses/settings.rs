//! Settings of an integration.

use crate::spec::RequestedBy;
use domain::Credentials;
use domain::integration::{FieldError, Settings as AnySettings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::spec;

/// Settings of an integration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// ARN of the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Host of the signing certificates and subscription confirmations, instead of AWS: a host name
    /// with an optional port. Loopback hosts may use `http`. For the operator's own tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_host: Option<String>,
}

/// Reads and validates the settings.
pub(super) fn read(given: &Map<String, Value>) -> Result<AnySettings, FieldError> {
    let settings: Settings = spec::read(given)?;
    let is_host = |host: &str| {
        let url = Url::parse(&format!("http://{host}/"));
        url.is_ok_and(|url| url.authority() == host && url.path() == "/" && !host.contains('@'))
    };
    match &settings.certificate_host {
        Some(host) if !is_host(host) => Err(FieldError::new(
            "settings.certificate_host",
            "must be a lower-case host name, with an optional port",
        )),
        _ => spec::with_defaults::<Settings>(given),
    }
}

/// Returns the setting `account`. Only the operator may choose which certificates are trusted.
pub(super) fn account(
    requested_by: RequestedBy,
    settings: &AnySettings,
    credentials: &Credentials,
) -> Result<Option<String>, FieldError> {
    if requested_by == RequestedBy::Tenant && settings.0.contains_key("certificate_host") {
        return Err(FieldError::new("settings.certificate_host", "only the operator can set this"));
    }
    spec::account_setting(requested_by, settings, credentials)
}

/// Checks that a topic is a full ARN.
pub(super) fn check(name: &str, value: &str) -> Result<(), FieldError> {
    if name == super::TOPIC_ARNS && !is_topic(value) {
        let field = format!("credentials.{name}");
        let right = "must be the ARN of a topic, such as arn:aws:sns:eu-west-1:123456789012:mail";
        return Err(FieldError::new(&field, right));
    }
    Ok(())
}

fn is_topic(arn: &str) -> bool {
    let parts: Vec<&str> = arn.split(':').collect();
    let [arn, partition, service, region, owner, topic] = parts[..] else { return false };
    let is_owner = owner.len() == 12 && owner.bytes().all(|c| c.is_ascii_digit());
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let is_name = !topic.is_empty() && topic.len() <= 256 && topic.bytes().all(fits);
    let is_place = partition.starts_with("aws") && !region.is_empty();
    arn == "arn" && service == "sns" && is_place && is_owner && is_name
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
    fn only_the_operator_chooses_which_certificates_are_trusted() {
        let own = read(&object(json!({ "certificate_host": "localhost:8788" }))).unwrap();
        assert_eq!(account(RequestedBy::Hub, &own, &Credentials::default()), Ok(None));
        let error = account(RequestedBy::Tenant, &own, &Credentials::default()).unwrap_err();
        assert_eq!(error.field, "settings.certificate_host");
        let plain = read(&object(json!({ "account": "a" }))).unwrap();
        assert_eq!(
            account(RequestedBy::Tenant, &plain, &Credentials::default()),
            Ok(Some("a".to_owned()))
        );
    }

    #[test]
    fn a_certificate_host_is_a_host_and_not_a_url() {
        for host in ["", "a/b", "a?b", "http://a", "u@a", "A.example", "a b", "a:80:1", "a\\b"] {
            let error = read(&object(json!({ "certificate_host": host }))).unwrap_err();
            assert_eq!(error.field, "settings.certificate_host", "{host}");
        }
        for host in ["localhost", "127.0.0.1:8788", "[::1]:8788", "sns.example"] {
            assert!(read(&object(json!({ "certificate_host": host }))).is_ok(), "{host}");
        }
    }

    #[test]
    fn a_topic_is_a_full_arn() {
        for arn in [
            "arn:aws:sns:eu-west-1:123456789012:mail",
            "arn:aws-cn:sns:cn-north-1:123456789012:mail.fifo",
        ] {
            assert!(check(super::super::TOPIC_ARNS, arn).is_ok());
        }
        for arn in [
            "mail",
            "arn:aws:sqs:eu-west-1:123456789012:mail",
            "arn:aws:sns:eu-west-1:123:mail",
            "arn:aws:sns:eu-west-1:123456789012:",
            "arn:aws:sns:eu-west-1:123456789012:*",
            "arn:aws:sns:eu-west-1:123456789012:mail:2bcfbf39-05c3-41de-beaa-fcfcc21c8f55",
        ] {
            let error = check(super::super::TOPIC_ARNS, arn).unwrap_err();
            assert_eq!(error.field, "credentials.SES_TOPIC_ARNS", "{arn}");
        }
    }
}
