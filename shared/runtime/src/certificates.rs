//! Signing certificates of providers, downloaded from URLs on the providers' own hosts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::Fault;
use domain::fault::Classify;
use domain::ports::{PortError, PortResult};
use domain::sender::SendError;
use http::Request;
use jiff::Timestamp;

use crate::HttpClient;

/// Cache lifetime of a document.
const LIFETIME: Duration = Duration::from_hours(24);
/// Maximum number of cached documents: providers have one or two.
const MAX_ENTRIES: usize = 16;

/// Maximum number of downloads per minute: more than that come from forged requests.
const MAX_FETCHES_PER_MINUTE: u32 = 20;
const MINUTE: Duration = Duration::from_mins(1);

/// Downloads documents and caches them for a day.
#[derive(Debug)]
pub struct CertificateClient<F> {
    http_client: F,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    documents: HashMap<String, (Timestamp, Bytes)>,
    /// Start of the current minute, and the number of downloads in it.
    since: Timestamp,
    fetched: u32,
}

impl Cache {
    /// Returns the cached document; `None` if it is to be downloaded, and an error if the rate limit
    /// forbids that.
    fn look_up(&mut self, address: &str, now: Timestamp) -> PortResult<Option<Bytes>> {
        if let Some((fetched_at, document)) = self.documents.get(address)
            && now.duration_since(*fetched_at).unsigned_abs() < LIFETIME
        {
            return Ok(Some(document.clone()));
        }
        if now.duration_since(self.since).unsigned_abs() >= MINUTE {
            (self.since, self.fetched) = (now, 0);
        }
        if self.fetched >= MAX_FETCHES_PER_MINUTE {
            return Err(PortError {
                operation: "fetch a certificate",
                reason: "too many downloads within a minute".to_owned(),
                fault: Fault::Retryable,
            });
        }
        self.fetched += 1;
        Ok(None)
    }
}

impl<F: HttpClient> CertificateClient<F> {
    /// Creates a cache that downloads with `caller`.
    pub fn new(http_client: F) -> Self {
        Self { http_client, cache: Mutex::default() }
    }

    /// Returns the document at `address`.
    pub(crate) async fn fetch(&self, address: &str, now: Timestamp) -> PortResult<Bytes> {
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(document) = cache.look_up(address, now)? {
                return Ok(document);
            }
        }
        let document = self.get("fetch a certificate", address).await?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.documents.len() >= MAX_ENTRIES {
            cache.documents.clear();
        }
        cache.documents.insert(address.to_owned(), (now, document.clone()));
        Ok(document)
    }

    /// Requests `address`, which confirms a subscription at some providers.
    pub(crate) async fn confirm(&self, address: &str) -> PortResult<()> {
        self.get("confirm a subscription", address).await.map(|_| ())
    }

    async fn get(&self, operation: &'static str, address: &str) -> PortResult<Bytes> {
        let failed = |reason: &str| PortError {
            operation,
            reason: reason.to_owned(),
            fault: Fault::Retryable,
        };
        let request = Request::get(address).body(Bytes::new());
        let request = request.map_err(|_| failed("the URL is invalid"))?;
        let response = self.http_client.call(request).await.map_err(|error: SendError| {
            PortError { operation, reason: error.code().to_owned(), fault: error.fault() }
        })?;
        if response.status().is_success() {
            Ok(response.into_body())
        } else {
            Err(failed(response.status().as_str()))
        }
    }
}
