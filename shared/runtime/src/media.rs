//! Consumer that downloads the media of messages on arrival, because the URLs of providers expire
//! soon.

use bytes::Bytes;
use domain::fault::{Classify, Fault, Form};
use domain::integration::Integration;
use domain::job::MediaJob;
use domain::ports::{
    Clock, Dice, Directory, Freshness, Library, MediaLog, MediaShelf, MediaState, Vault,
};
use domain::sender::{About, Fetch, Locate, MessageSender, SendError};
use http::StatusCode;
use jiff::Timestamp;
use queue::Bucket;
use store::DynamoStore;

use crate::batch::{Delivery, Failure, Worker};
use crate::directory::CachedDirectory;
use crate::sender::Caller;
use crate::vault::SecretsVault;
use crate::{Consumer, Error, Kit, Network};

/// Maximum number of receives while a provider requests waits. It is one less than the queue's own
/// limit, so that the download is recorded as failed and does not end in the dead-letter queue.
const MAX_WAITS: u32 = 9;

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct Fetcher<S, D, V, B, T> {
    /// DynamoDB table.
    pub store: S,
    /// Directory of integrations.
    pub directory: D,
    /// Credential store.
    pub vault: V,
    /// Media storage.
    pub shelf: B,
    /// HTTP client for requests to the provider.
    pub caller: T,
}

impl<S, D, V, B, T> Worker for Fetcher<S, D, V, B, T>
where
    S: Library + MediaLog,
    D: Directory,
    V: Vault,
    B: MediaShelf,
    T: Caller,
{
    type Job = MediaJob;

    async fn work(&self, job: &MediaJob, context: Delivery<'_>) -> Result<(), Failure> {
        let (message, integration) = futures::join!(
            self.store.message(&job.tenant, job.message),
            self.directory.integration(job.integration),
        );
        let Some((_, Some(MediaState::Pending))) = message? else { return Ok(()) };
        if context.receives > MAX_WAITS {
            // Every function that tried it crashed: record the download as failed.
            let state = MediaState::Failed { code: "not_fetched".to_owned() };
            return Ok(self.store.set_media(&job.tenant, job.message, &state).await?);
        }
        let state = match integration? {
            None => MediaState::Failed { code: "integration_missing".to_owned() },
            Some(integration) => match self.fetch(job, &integration).await {
                Ok(state) => state,
                Err(error) => {
                    let fault = error.fault();
                    let reason = error.to_string();
                    tracing::warn!(tenant = %job.tenant, message_id = %job.message, %reason, "media not downloaded");
                    // A download has no side effects, so an unknown outcome is retried.
                    let last = match fault {
                        Fault::Permanent => true,
                        // A wait is not a failure; only the limit of receives ends it.
                        Fault::RateLimited { .. } => context.receives >= MAX_WAITS,
                        Fault::Retryable | Fault::Unknown => context.is_last(),
                    };
                    if !last {
                        return Err(Failure { fault, reason, wait: None });
                    }
                    MediaState::Failed { code: error.code().to_owned() }
                }
            },
        };
        self.store.set_media(&job.tenant, job.message, &state).await?;
        tracing::info!(
            tenant = %job.tenant, message_id = %job.message,
            stored = matches!(state, MediaState::Stored { .. }), "media settled"
        );
        Ok(())
    }
}

impl<S, D, V, B, T> Fetcher<S, D, V, B, T>
where
    V: Vault,
    B: MediaShelf,
    T: Caller,
{
    /// Downloads a file. If the provider rejects the credentials, tries once more with freshly read
    /// ones, because they may just have been changed.
    async fn fetch(
        &self,
        job: &MediaJob,
        integration: &Integration,
    ) -> Result<MediaState, SendError> {
        let fetched = self.fetch_with(job, integration, Freshness::Cached).await;
        match fetched {
            Err(SendError::Refused { status: StatusCode::UNAUTHORIZED, .. }) => {
                // Later than any cached copy.
                let changed = Integration { credentials_at: Timestamp::MAX, ..integration.clone() };
                self.fetch_with(job, &changed, Freshness::Fresh).await
            }
            fetched => fetched,
        }
    }

    async fn fetch_with(
        &self,
        job: &MediaJob,
        integration: &Integration,
        freshness: Freshness,
    ) -> Result<MediaState, SendError> {
        // Retry after a failure of the credential store.
        let credentials = self.vault.credentials(integration, freshness).await;
        let credentials = credentials.map_err(|_| SendError::Connect)?;
        let sender = providers::sender(integration.provider).ok_or_else(providers::cannot_send)?;
        let sender = sender.sender(integration, &credentials)?;
        let sender: &dyn MessageSender = sender.as_ref();
        let request = match sender.locate_media(&job.provider_media_id)? {
            Locate::Fetch(request) => request,
            Locate::Ask(request) => {
                let located = self.caller.call(request).await?;
                match sender.fetch_media(&located)? {
                    Fetch::From(request) => request,
                    Fetch::Here(file) => return self.keep(job, file).await,
                }
            }
        };
        let file = self.caller.call(request).await?;
        if !file.status().is_success() {
            return Err(SendError::Refused {
                status: file.status(),
                code: file.status().as_str().to_owned(),
                remedy: "the provider did not return the file".to_owned(),
                fault: Fault::of_answer(file.status(), Form::Other, None),
                about: About::from_status(file.status()),
            });
        }
        self.keep(job, file.into_body()).await
    }

    async fn keep(&self, job: &MediaJob, file: Bytes) -> Result<MediaState, SendError> {
        let key = self.shelf.key(&job.tenant, job.message);
        let put = self.shelf.put(&key, job.mime_type.as_deref(), file).await;
        put.map_err(|_| SendError::Connect)?;
        Ok(MediaState::Stored { key })
    }
}

/// The worker with its production dependencies.
pub type OwnFetcher<N, C> = Fetcher<
    DynamoStore,
    CachedDirectory<DynamoStore, C>,
    SecretsVault<C>,
    Bucket,
    <N as Network>::Caller,
>;

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<N: Network, C: Clock + Clone, R: Dice + Clone>(
    kit: &Kit<N, C, R>,
) -> Result<Consumer<OwnFetcher<N, C>, C, R>, Error> {
    let (store, bucket) = (kit.store()?, kit.bucket()?);
    bucket.prepare();
    let worker = Fetcher {
        directory: CachedDirectory::new(store.clone(), kit.clock.clone()),
        vault: kit.vault()?,
        shelf: bucket,
        caller: kit.network.file_caller(),
        store,
    };
    crate::consumer(kit, worker, 30, false)
}

/// Serves the consumer until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let consumer = consumer(&kit)?;
        consumer.worker.store.prewarm().await;
        crate::consume(consumer).await
    })
}
