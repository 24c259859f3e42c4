//! S3 bucket: bodies that are too large for a queue, the archive of raw events, and media.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::digest;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::StalledStreamProtectionConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::presigning::PresigningConfig;
use bytes::Bytes;
use domain::ports::{
    Archive, ClaimCheck, EventBodies, EventBodyReader, FileHeaders, MediaStore, PortError,
    PortResult,
};
use domain::{EventId, Fault, MessageId, Provider, TenantId};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Prefix of a claim check. No other body of the hub starts with it.
const POINTER: &str = r#"{"claim_check":"#;

/// S3 bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    aws: aws_types::SdkConfig,
    client: Arc<OnceLock<Client>>,
    name: String,
}

/// Claim check: the queue record for a body that is in the bucket.
#[derive(Debug, Serialize, Deserialize)]
struct Pointer {
    claim_check: String,
}

impl Bucket {
    /// Returns the bucket `name` in the account and region of `aws`.
    #[must_use]
    pub fn new(aws: &aws_types::SdkConfig, name: String) -> Self {
        Self { aws: aws.clone(), client: Arc::default(), name }
    }

    /// Creates the client ahead of the first request. Most functions never need it, because few
    /// bodies are too large for a queue.
    pub fn prepare(&self) {
        let _client = self.client();
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| {
            let config = aws_sdk_s3::config::Builder::from(&self.aws)
                // With a custom endpoint, the virtual host name of a bucket does not resolve.
                .force_path_style(self.aws.endpoint_url().is_some())
                // Media take longer than records.
                .timeout_config(
                    TimeoutConfig::builder()
                        .operation_attempt_timeout(Duration::from_secs(20))
                        .operation_timeout(Duration::from_secs(40))
                        .build(),
                )
                // A body is read after its operation has ended, so the timeouts do not apply to it.
                .stalled_stream_protection(StalledStreamProtectionConfig::enabled().build())
                .build();
            Client::from_conf(config)
        })
    }

    /// Stores a body and returns its claim check. The same body has the same object key.
    pub(crate) async fn put_claim_check(&self, body: String) -> PortResult<String> {
        let operation = "store a large body";
        let key =
            format!("bodies/{}", hex::encode(digest::digest(&digest::SHA256, body.as_bytes())));
        self.store(operation, &key, "application/json", Bytes::from(body)).await?;
        serde_json::to_string(&Pointer { claim_check: key }).map_err(|_| unreadable(operation))
    }

    async fn store(
        &self,
        operation: &'static str,
        key: &str,
        mime_type: &str,
        bytes: Bytes,
    ) -> PortResult<()> {
        let put = self.client().put_object().bucket(&self.name).key(key).content_type(mime_type);
        let put = put.body(bytes.into()).send().await;
        put.map(|_| ()).map_err(|error| failed(operation, &error))
    }
}

impl ClaimCheck for Bucket {
    async fn redeem<'a>(&self, body: &'a str) -> PortResult<Cow<'a, str>> {
        let operation = "read a large body";
        if !body.starts_with(POINTER) {
            return Ok(Cow::Borrowed(body));
        }
        let pointer: Pointer = serde_json::from_str(body).map_err(|_| unreadable(operation))?;
        let get = self.client().get_object().bucket(&self.name).key(pointer.claim_check);
        let answer = get.send().await.map_err(|error| failed(operation, &error))?;
        text(operation, answer).await.map(Cow::Owned)
    }
}

impl EventBodies for Bucket {
    async fn put_body(
        &self,
        tenant: &TenantId,
        provider: Provider,
        id: EventId,
        body: String,
    ) -> PortResult<String> {
        let hash = hex::encode(digest::digest(&digest::SHA256, body.as_bytes()));
        let hash = hash.get(..16).unwrap_or(&hash);
        // The key contains a hash of the body, so that a forged event cannot overwrite another.
        let key = format!("archive/{tenant}/{provider}/events/{id}-{hash}.json");
        self.store("store an event", &key, "application/json", Bytes::from(body)).await?;
        Ok(key)
    }
}

impl EventBodyReader for Bucket {
    async fn body(&self, key: &str) -> PortResult<Option<String>> {
        let operation = "read an event";
        let get = self.client().get_object().bucket(&self.name).key(key);
        match get.send().await {
            Ok(answer) => text(operation, answer).await.map(Some),
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => {
                Ok(None)
            }
            Err(error) => Err(failed(operation, &error)),
        }
    }
}

impl Archive for Bucket {
    async fn put_events(
        &self,
        tenant: &TenantId,
        provider: Provider,
        at: Timestamp,
        lines: &[String],
    ) -> PortResult<()> {
        let text = lines.join("\n");
        let hash = hex::encode(digest::digest(&digest::SHA256, text.as_bytes()));
        let day = at.to_zoned(TimeZone::UTC).strftime("%Y/%m/%d");
        let micros = at.as_microsecond();
        let hash = hash.get(..16).unwrap_or(&hash);
        let key = format!("archive/{tenant}/{provider}/{day}/{micros}-{hash}.ndjson");
        self.store("archive events", &key, "application/x-ndjson", Bytes::from(text)).await
    }
}

impl MediaStore for Bucket {
    fn key(&self, tenant: &TenantId, message: MessageId) -> String {
        format!("media/{tenant}/{message}")
    }

    async fn put(&self, key: &str, content_type: &'static str, bytes: Bytes) -> PortResult<()> {
        self.store("store media", key, content_type, bytes).await
    }

    async fn link(
        &self,
        key: &str,
        headers: FileHeaders,
        lifetime: Duration,
    ) -> PortResult<String> {
        let operation = "create a presigned URL";
        let config = PresigningConfig::expires_in(lifetime).map_err(|_| unreadable(operation))?;
        // S3 answers with these headers in place of those of the object. They are part of the
        // signature, so the holder of the URL cannot change them.
        let get = self.client().get_object().bucket(&self.name).key(key);
        let get = get.response_content_type(headers.content_type);
        let get = get.response_content_disposition(headers.disposition);
        let request = get.presigned(config).await.map_err(|error| failed(operation, &error))?;
        Ok(request.uri().to_owned())
    }
}

/// Returns the content of an object.
async fn text(operation: &'static str, object: GetObjectOutput) -> PortResult<String> {
    let bytes = object.body.collect().await.map_err(|_| unreadable(operation))?.to_vec();
    String::from_utf8(bytes).map_err(|_| unreadable(operation))
}

fn unreadable(operation: &'static str) -> PortError {
    let reason = "the object has an invalid format".to_owned();
    PortError { operation, reason, fault: Fault::Retryable }
}

fn failed<E: ProvideErrorMetadata, R>(
    operation: &'static str,
    error: &SdkError<E, R>,
) -> PortError {
    aws::failed("S3", operation, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_check_starts_with_its_prefix() {
        let pointer = serde_json::to_string(&Pointer { claim_check: "bodies/x".into() }).unwrap();
        assert!(pointer.starts_with(POINTER));
    }
}
