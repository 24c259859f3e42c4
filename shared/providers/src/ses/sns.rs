//! The SNS envelope of a message, and its signature.

use std::time::Duration;

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::webhook::Rejection;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Deserialize;
use url::{Host, Url};
use webpki::{EndEntityCert, KeyUsage};

/// Envelope that SNS posts. Source: README, facts 1.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope {
    #[serde(rename = "Type")]
    pub(super) kind: Kind,
    pub(super) message_id: String,
    pub(super) topic_arn: String,
    pub(super) message: String,
    pub(super) timestamp: String,
    signature_version: String,
    signature: String,
    // AWS Lambda spells the field in the second form.
    #[serde(rename = "SigningCertURL", alias = "SigningCertUrl")]
    certificate_url: String,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default, rename = "SubscribeURL", alias = "SubscribeUrl")]
    subscribe_url: Option<String>,
}

/// Type of an SNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Kind {
    Notification,
    SubscriptionConfirmation,
    UnsubscribeConfirmation,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Notification => "Notification",
            Self::SubscriptionConfirmation => "SubscriptionConfirmation",
            Self::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        }
    }
}

impl Envelope {
    pub(super) fn read(body: &[u8]) -> Result<Self, Rejection> {
        serde_json::from_slice(body).map_err(|_| Rejection::Unauthenticated("not an SNS message"))
    }

    /// Returns the URL of the certificate.
    pub(super) fn certificate_url(&self, own_host: Option<&str>) -> Result<String, Rejection> {
        let url = trusted_url(&self.certificate_url, own_host);
        let url = url.filter(|url| url.path().rsplit('.').next() == Some("pem"));
        url.map(String::from)
            .ok_or(Rejection::Unauthenticated("the certificate URL does not belong to AWS"))
    }

    /// Returns the URL that confirms a subscription.
    pub(super) fn subscribe_url(&self, own_host: Option<&str>) -> Option<String> {
        trusted_url(self.subscribe_url.as_deref()?, own_host).map(String::from)
    }

    /// Verifies the signature with the certificate, and that the certificate is valid at `now`.
    pub(super) fn verify(&self, pem: &[u8], now: Timestamp) -> Result<(), Rejection> {
        let unusable = Rejection::Unauthenticated("the certificate cannot be used");
        let Ok(der) = CertificateDer::from_pem_slice(pem) else { return Err(unusable) };
        let Ok(certificate) = EndEntityCert::try_from(&der) else { return Err(unusable) };
        if !is_valid(&certificate, now) {
            return Err(Rejection::Unauthenticated("the certificate is not valid now"));
        }
        let algorithm = match self.signature_version.as_str() {
            "1" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "2" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(Rejection::Unauthenticated("unknown signature version")),
        };
        let signature = STANDARD.decode(&self.signature);
        let signature =
            signature.map_err(|_| Rejection::Unauthenticated("signature is not base64"))?;
        let key = certificate.subject_public_key_info();
        UnparsedPublicKey::new(algorithm, key.as_ref())
            .verify(self.signed().as_bytes(), &signature)
            .map_err(|_| Rejection::Unauthenticated("signature does not match"))
    }

    /// Returns the signed text: names and values, each on a line, ordered by name. Source: README,
    /// facts 2. It includes the token for both kinds of confirmations.
    fn signed(&self) -> String {
        let kind = self.kind.as_str();
        let fields = match self.kind {
            Kind::Notification => [
                ("Message", Some(self.message.as_str())),
                ("MessageId", Some(&self.message_id)),
                ("Subject", self.subject.as_deref()),
                ("Timestamp", Some(&self.timestamp)),
                ("TopicArn", Some(&self.topic_arn)),
                ("Type", Some(kind)),
                ("", None),
            ],
            Kind::SubscriptionConfirmation | Kind::UnsubscribeConfirmation => [
                ("Message", Some(self.message.as_str())),
                ("MessageId", Some(&self.message_id)),
                ("SubscribeURL", self.subscribe_url.as_deref()),
                ("Timestamp", Some(&self.timestamp)),
                ("Token", self.token.as_deref()),
                ("TopicArn", Some(&self.topic_arn)),
                ("Type", Some(kind)),
            ],
        };
        let lines = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        lines.fold(String::new(), |text, (name, value)| text + name + "\n" + value + "\n")
    }
}

/// Whether the certificate is a server certificate that is valid at `now`.
///
/// There are no roots to build a chain to: SNS publishes only the certificate, and TLS has
/// authenticated its host when it was fetched. `webpki` checks the certificate itself before it
/// looks for the issuer, so a valid one ends with an unknown issuer.
fn is_valid(certificate: &EndEntityCert<'_>, now: Timestamp) -> bool {
    let Ok(second) = u64::try_from(now.as_second()) else { return false };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(second));
    let checked =
        certificate.verify_for_usage(&[], &[], &[], now, KeyUsage::server_auth(), None, None);
    matches!(checked, Err(webpki::Error::UnknownIssuer))
}

/// Returns the normalized URL, if its host is SNS; `own_host` replaces the hosts of AWS. Source:
/// README, facts 3.
fn trusted_url(url: &str, own_host: Option<&str>) -> Option<Url> {
    let url = Url::parse(url).ok()?;
    if !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    let is_trusted = match own_host {
        None => {
            url.scheme() == "https" && url.port().is_none() && url.host_str().is_some_and(is_sns)
        }
        Some(host) => {
            let is_loopback = match url.host() {
                Some(Host::Domain(name)) => name == "localhost",
                Some(Host::Ipv4(address)) => address.is_loopback(),
                Some(Host::Ipv6(address)) => address.is_loopback(),
                None => false,
            };
            url.authority() == host
                && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback))
        }
    };
    is_trusted.then_some(url)
}

/// Whether `host` is `sns.<region>.amazonaws.com`, or its counterpart in China.
fn is_sns(host: &str) -> bool {
    let host = host.strip_suffix(".cn").unwrap_or(host);
    let region = host.strip_prefix("sns.").and_then(|host| host.strip_suffix(".amazonaws.com"));
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    region.is_some_and(|region| region.len() >= 3 && region.bytes().all(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_sns_are_called() {
        for good in [
            "https://sns.us-west-2.amazonaws.com/a.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/a.pem",
            "https://SNS.us-west-2.amazonaws.com:443/a.pem",
        ] {
            assert!(trusted_url(good, None).is_some(), "{good}");
        }
        for bad in [
            "",
            "sns.us-west-2.amazonaws.com/a.pem",
            "http://sns.us-west-2.amazonaws.com/a.pem",
            "https://sns.us-west-2.amazonaws.com:8443/a.pem",
            "https://sns.us-west-2.amazonaws.com.evil.example/a.pem",
            "https://sns.us-west-2.amazonaws.com@evil.example/a.pem",
            "https://a:b@sns.us-west-2.amazonaws.com/a.pem",
            "https://evil.example/sns.us-west-2.amazonaws.com/a.pem",
            "https://evil.example\\@sns.us-west-2.amazonaws.com/a.pem",
            "https://mybucket.s3.us-west-2.amazonaws.com/a.pem",
            "https://sns.s3.us-west-2.amazonaws.com/a.pem",
            "https://sns.eu.amazonaws.com/a.pem",
            "https://sns..amazonaws.com/a.pem",
            "https://sns.us-west-2.amazonaws.com./a.pem",
            "https://sns.us-west-2.amazonaws.cn/a.pem",
            "https://xsns.us-west-2.amazonaws.com/a.pem",
            "file://sns.us-west-2.amazonaws.com/a.pem",
        ] {
            assert!(trusted_url(bad, None).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_configured_host_replaces_aws_and_may_use_http_on_loopback_only() {
        let called = |url: &str, host: &str| trusted_url(url, Some(host)).is_some();
        assert!(called("http://127.0.0.1:8788/a.pem", "127.0.0.1:8788"));
        assert!(called("http://localhost/a.pem", "localhost"));
        assert!(called("http://[::1]:8788/a.pem", "[::1]:8788"));
        assert!(called("https://sns.example/a.pem", "sns.example"));
        assert!(!called("http://sns.example/a.pem", "sns.example"));
        assert!(!called("http://127.0.0.1:8789/a.pem", "127.0.0.1:8788"));
        assert!(!called("http://u@127.0.0.1:8788/a.pem", "127.0.0.1:8788"));
        assert!(!called("https://sns.us-west-2.amazonaws.com/a.pem", "127.0.0.1:8788"));
        assert!(!called("ftp://localhost/a.pem", "localhost"));
    }
}
