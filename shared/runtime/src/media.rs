//! Consumer that downloads the media of messages on arrival, because the URLs of providers expire
//! soon.

use bytes::Bytes;
use domain::fault::{Classify, Fault, Form};
use domain::integration::Integration;
use domain::ports::{
    Clock, CredentialReader, Directory, Freshness, MediaLog, MediaShelf, MediaState, MessageReader,
    Rng,
};
use domain::sender::{Fetch, Locate, MessageSender, RefusalScope, SendError};
use domain::task::MediaTask;
use http::StatusCode;
use jiff::Timestamp;
use queue::Bucket;
use store::DynamoStore;

use crate::batch::{Failure, ReceiveContext, Worker};
use crate::credentials::SecretsManagerCredentials;
use crate::directory::CachedDirectory;
use crate::sender::HttpClient;
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
    pub http_client: T,
}

impl<S, D, V, B, T> Worker for Fetcher<S, D, V, B, T>
where
    S: MessageReader + MediaLog,
    D: Directory,
    V: CredentialReader,
    B: MediaShelf,
    T: HttpClient,
{
    type Task = MediaTask;

    async fn work(&self, task: &MediaTask, context: ReceiveContext<'_>) -> Result<(), Failure> {
        let (message, integration) = futures::join!(
            self.store.message(&task.tenant, task.message),
            self.directory.integration(task.integration),
        );
        let Some((_, Some(MediaState::Pending))) = message? else { return Ok(()) };
        if context.receives > MAX_WAITS {
            // Every function that tried it crashed: record the download as failed.
            let state = MediaState::Failed { code: "not_fetched".to_owned() };
            return Ok(self.store.set_media(&task.tenant, task.message, &state).await?);
        }
        let state = match integration? {
            None => MediaState::Failed { code: "integration_missing".to_owned() },
            Some(integration) => match self.fetch(task, &integration).await {
                Ok(state) => state,
                Err(error) => {
                    let fault = error.fault();
                    let reason = error.to_string();
                    tracing::warn!(tenant = %task.tenant, message_id = %task.message, %reason, "media not downloaded");
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
        self.store.set_media(&task.tenant, task.message, &state).await?;
        tracing::info!(
            tenant = %task.tenant, message_id = %task.message,
            stored = matches!(state, MediaState::Stored { .. }), "media settled"
        );
        Ok(())
    }
}

impl<S, D, V, B, T> Fetcher<S, D, V, B, T>
where
    V: CredentialReader,
    B: MediaShelf,
    T: HttpClient,
{
    /// Downloads a file. If the provider rejects the credentials, tries once more with freshly read
    /// ones, because they may just have been changed.
    async fn fetch(
        &self,
        task: &MediaTask,
        integration: &Integration,
    ) -> Result<MediaState, SendError> {
        let fetched = self.fetch_with(task, integration, Freshness::Cached).await;
        match fetched {
            Err(SendError::Refused { status: StatusCode::UNAUTHORIZED, .. }) => {
                // Later than any cached copy.
                let changed = Integration { credentials_at: Timestamp::MAX, ..integration.clone() };
                self.fetch_with(task, &changed, Freshness::Fresh).await
            }
            fetched => fetched,
        }
    }

    async fn fetch_with(
        &self,
        task: &MediaTask,
        integration: &Integration,
        freshness: Freshness,
    ) -> Result<MediaState, SendError> {
        // Retry after a failure of the credential store.
        let credentials = self.vault.credentials(integration, freshness).await;
        let credentials = credentials.map_err(|_| SendError::Connect)?;
        let sender = providers::sender(integration.provider).ok_or_else(providers::cannot_send)?;
        let sender = sender.sender(integration, &credentials)?;
        let sender: &dyn MessageSender = sender.as_ref();
        let request = match sender.locate_media(&task.provider_media_id)? {
            Locate::Fetch(request) => request,
            Locate::Ask(request) => {
                let located = self.http_client.call(request).await?;
                match sender.fetch_media(&located)? {
                    Fetch::From(request) => request,
                    Fetch::Here(file) => return self.keep(task, file).await,
                }
            }
        };
        let file = self.http_client.call(request).await?;
        if !file.status().is_success() {
            return Err(SendError::Refused {
                status: file.status(),
                code: file.status().as_str().to_owned(),
                remedy: "the provider did not return the file".to_owned(),
                fault: Fault::of_answer(file.status(), Form::Other, None),
                scope: RefusalScope::from_status(file.status()),
            });
        }
        self.keep(task, file.into_body()).await
    }

    async fn keep(&self, task: &MediaTask, file: Bytes) -> Result<MediaState, SendError> {
        let key = self.shelf.key(&task.tenant, task.message);
        let put = self.shelf.put(&key, task.mime_type.as_deref(), file).await;
        put.map_err(|_| SendError::Connect)?;
        Ok(MediaState::Stored { key })
    }
}

/// The worker with its production dependencies.
pub type OwnFetcher<N, C> = Fetcher<
    DynamoStore,
    CachedDirectory<DynamoStore, C>,
    SecretsManagerCredentials<C>,
    Bucket,
    <N as Network>::HttpClient,
>;

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<N: Network, C: Clock + Clone, R: Rng + Clone>(
    kit: &Kit<N, C, R>,
) -> Result<Consumer<OwnFetcher<N, C>, C, R>, Error> {
    let (store, bucket) = (kit.store()?, kit.bucket()?);
    bucket.prepare();
    let worker = Fetcher {
        directory: CachedDirectory::new(store.clone(), kit.clock.clone()),
        vault: kit.vault()?,
        shelf: bucket,
        http_client: kit.network.file_http_client(),
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
