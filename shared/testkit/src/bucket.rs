//! An in-memory bucket.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use domain::ports::{
    Archive, ClaimCheck, EventBodies, EventBodyReader, FileHeaders, MediaStore, PortError,
    PortResult,
};
use domain::{EventId, Fault, MessageId, Provider, TenantId};
use jiff::Timestamp;

use crate::{Faults, lock};

/// The first bytes of a claim check, as in the real bucket.
const POINTER: &str = r#"{"claim_check":"#;

/// An in-memory bucket. Clones share the objects.
#[derive(Clone, Debug, Default)]
pub struct FakeBucket {
    objects: Arc<Mutex<BTreeMap<String, Object>>>,
    faults: Faults,
}

#[derive(Clone, Debug)]
struct Object {
    mime_type: Option<String>,
    bytes: Bytes,
}

impl FakeBucket {
    /// The same bucket with the faults of `faults`.
    #[must_use]
    pub fn with_faults(self, faults: &Faults) -> Self {
        Self { faults: faults.clone(), ..self }
    }

    /// The injected faults.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The names of the objects, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        lock(&self.objects).keys().cloned().collect()
    }

    /// The content of an object.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<Bytes> {
        lock(&self.objects).get(name).map(|object| object.bytes.clone())
    }

    /// The MIME type of an object.
    #[must_use]
    pub fn mime_type(&self, name: &str) -> Option<String> {
        lock(&self.objects).get(name)?.mime_type.clone()
    }

    /// Every archived line, in the order of the objects' names.
    #[must_use]
    pub fn archived(&self) -> Vec<String> {
        let objects = lock(&self.objects);
        let archive = objects.iter().filter(|(name, _)| name.starts_with("archive/"));
        let lines = archive.flat_map(|(_, object)| {
            let text = String::from_utf8_lossy(&object.bytes).into_owned();
            text.lines().map(ToOwned::to_owned).collect::<Vec<_>>()
        });
        lines.collect()
    }

    /// Stores a body that is too large for a queue, and returns its claim check.
    #[must_use]
    pub fn put_claim_check(&self, body: &str) -> String {
        let name = format!("bodies/{}", lock(&self.objects).len());
        self.insert(&name, "application/json", Bytes::copy_from_slice(body.as_bytes()));
        format!("{POINTER}\"{name}\"}}")
    }

    fn insert(&self, name: &str, mime_type: &str, bytes: Bytes) {
        let object = Object { mime_type: Some(mime_type.to_owned()), bytes };
        lock(&self.objects).insert(name.to_owned(), object);
    }
}

impl Archive for FakeBucket {
    async fn put_events(
        &self,
        tenant: &TenantId,
        provider: Provider,
        at: Timestamp,
        lines: &[String],
    ) -> PortResult<()> {
        let text = lines.join("\n");
        // The name is derived from the content: the same lines get the same name.
        let place = MessageId::derived(&[&text]);
        let name = format!("archive/{tenant}/{provider}/{:016}-{place}", at.as_microsecond());
        self.faults
            .run_call("archive events", || self.insert(&name, "application/x-ndjson", text.into()))
            .await
    }
}

impl ClaimCheck for FakeBucket {
    async fn redeem<'a>(&self, body: &'a str) -> PortResult<Cow<'a, str>> {
        let Some(rest) = body.strip_prefix(POINTER) else { return Ok(Cow::Borrowed(body)) };
        let operation = "fetch a large body";
        let name = rest.trim_end_matches('}').trim_matches('"');
        let found = self.faults.run_call(operation, || self.object(name)).await?;
        let text = found.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        text.map(Cow::Owned).ok_or_else(|| {
            let reason = "there is no such object".to_owned();
            PortError { operation, reason, fault: Fault::Retryable }
        })
    }
}

impl EventBodies for FakeBucket {
    async fn put_body(
        &self,
        tenant: &TenantId,
        provider: Provider,
        id: EventId,
        body: String,
    ) -> PortResult<String> {
        // The name is derived from the body: the same body gets the same name, and another body
        // never does.
        let place = MessageId::derived(&[&body]);
        let name = format!("archive/{tenant}/{provider}/events/{id}-{place}.json");
        self.faults
            .run_call("store an event", || self.insert(&name, "application/json", body.into()))
            .await?;
        Ok(name)
    }
}

impl EventBodyReader for FakeBucket {
    async fn body(&self, key: &str) -> PortResult<Option<String>> {
        let found = self.faults.run_call("fetch an event", || self.object(key)).await?;
        Ok(found.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()))
    }
}

impl MediaStore for FakeBucket {
    fn key(&self, tenant: &TenantId, message: MessageId) -> String {
        format!("media/{tenant}/{message}")
    }

    async fn put(&self, key: &str, content_type: &'static str, bytes: Bytes) -> PortResult<()> {
        self.faults.run_call("store a file", || self.insert(key, content_type, bytes)).await
    }

    async fn link(
        &self,
        key: &str,
        headers: FileHeaders,
        lifetime: Duration,
    ) -> PortResult<String> {
        let FileHeaders { content_type, disposition } = headers;
        let expires = lifetime.as_secs();
        let link = || {
            format!(
                "https://bucket.test/{key}?expires={expires}&type={content_type}&as={disposition}"
            )
        };
        self.faults.run_call("link to a file", link).await
    }
}
