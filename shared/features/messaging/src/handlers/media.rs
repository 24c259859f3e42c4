//! Consumer that downloads the media of messages on arrival, because the URLs of providers expire
//! soon.

use bytes::Bytes;
use domain::fault::{Classify, ErrorFormat, Fault};
use domain::integration::Integration;
use domain::ports::{CredentialReader, Directory, Freshness, MediaStore};
use domain::sender::{MediaRequest, MediaSource, RefusalScope, SendError};
use domain::task::MediaTask;
use http::StatusCode;
use runtime::batch::{Failure, ReceiveContext, Worker};
use runtime::{
    AwsEnv, CachedDirectory, Consumer, Env, Error, FeatureRepository, HttpClient, Kit, Network,
};

use crate::ports::{MediaLog, MediaState, MessageReader};
use crate::{Repository, model};

/// Maximum number of receives while a provider requests waits. It is one less than the queue's own
/// limit, so that the download is recorded as failed and does not end in the dead-letter queue.
const MAX_WAITS: u32 = 9;

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct MediaFetcher<E: Env> {
    /// DynamoDB table.
    pub store: Repository,
    /// Directory of integrations.
    pub directory: CachedDirectory<accounts::Repository, E::Clock>,
    /// Credential store.
    pub credential_store: E::Credentials,
    /// Media storage.
    pub media_store: E::Bucket,
    /// HTTP client for requests to the provider.
    pub http_client: E::HttpClient,
}

impl<E: Env> Worker for MediaFetcher<E> {
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
                        Fault::Retryable | Fault::Unknown => context.is_last,
                    };
                    if !last {
                        return Err(Failure { fault, reason });
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

impl<E: Env> MediaFetcher<E> {
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
                self.fetch_with(task, integration, Freshness::Reread).await
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
        let credentials = self.credential_store.credentials(integration, freshness).await;
        let credentials = credentials.map_err(|_| SendError::Connect)?;
        let fetcher = providers::media_fetcher(integration, &credentials)?;
        let request = match fetcher.locate_media(&task.provider_media_id)? {
            MediaRequest::Download(request) => request,
            MediaRequest::Lookup(request) => {
                let located = self.http_client.call(request).await?;
                match fetcher.fetch_media(&located)? {
                    MediaSource::Download(request) => request,
                    MediaSource::Inline(file) => return self.keep(task, file).await,
                }
            }
        };
        let file = self.http_client.call(request).await?;
        if !file.status().is_success() {
            return Err(SendError::Refused {
                status: file.status(),
                code: file.status().as_str().to_owned(),
                remedy: "the provider did not return the file".to_owned(),
                fault: Fault::from_response(file.status(), ErrorFormat::Other, None),
                scope: RefusalScope::from_status(file.status()),
            });
        }
        self.keep(task, file.into_body()).await
    }

    async fn keep(&self, task: &MediaTask, file: Bytes) -> Result<MediaState, SendError> {
        let key = self.media_store.key(&task.tenant, task.message);
        let content_type = model::content_type(&file, task.mime_type.as_deref());
        let put = self.media_store.put(&key, content_type, file).await;
        put.map_err(|_| SendError::Connect)?;
        Ok(MediaState::Stored { key, content_type: content_type.to_owned() })
    }
}

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<E: AwsEnv>(kit: &Kit<E>) -> Result<Consumer<MediaFetcher<E>, E>, Error> {
    let bucket = kit.bucket()?;
    bucket.prepare();
    let worker = MediaFetcher {
        directory: CachedDirectory::new(kit.repository()?, kit.clock.clone()),
        credential_store: kit.credential_store()?,
        media_store: bucket,
        http_client: kit.network.file_http_client(),
        store: kit.repository()?,
    };
    runtime::consumer(kit, worker, 30, false)
}

/// Serves the consumer until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::consume(consumer, async |worker| worker.store.prewarm().await)
}
