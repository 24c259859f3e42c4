//! Platform on which the features are written: the Lambda runtime, the environment and clients of a
//! function, webhooks, queue consumers, the HTTP API, the guarded HTTP client, credentials and
//! telemetry.
//!
//! In each module of a function, `run` connects to Lambda and builds the production implementations
//! of the ports; `handle` takes ports and is what tests call.

pub mod address;
mod aws;
mod credentials;
mod dependencies;
pub mod env;
mod kit;
mod negative_cache;
mod repository;
mod system;
pub mod telemetry;
pub mod transport;

pub use credentials::{
    CredentialPlace, CredentialSettings, CredentialStore, read_one as read_secret,
};
pub use dependencies::{AwsEnv, Env, Production};
pub use directory::CachedDirectory;
pub use http_client::HttpClient;
pub use kit::{Environment, Kit, Network};
pub use negative_cache::NegativeCache;
pub use repository::FeatureRepository;
pub use system::{SystemClock, SystemRng};

/// Error that stops a function at init.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

// Without this the first TLS handshake gathers entropy for 22 ms of CPU: see
// `.cargo/config.toml`.
const _: () = assert!(
    option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY").is_some(),
    "AWS_LC_SYS_NO_JITTER_ENTROPY is not set: build from within the repository"
);

pub mod api;
pub mod archive;
pub mod batch;
pub mod certificates;
pub mod digest;
mod directory;
mod gateway;
mod http_client;
mod span;
pub mod testing;
pub mod webhook;

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use domain::ports::PortError;
use domain::{Fault, trace};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Creates the kit and runs `function` on one thread: a sandbox has a part of one vCPU and
/// processes one event at a time.
///
/// # Errors
/// If the kit cannot be created, or if `function` fails.
pub fn start<F, Fut>(function: F) -> Result<(), Error>
where
    F: FnOnce(Kit) -> Fut + 'static,
    Fut: Future<Output = Result<(), Error>> + 'static,
{
    start_bare(async || function(Kit::of_process()?).await)
}

/// Runs a function that needs no kit.
///
/// # Errors
/// If `function` fails.
pub fn start_bare<F, Fut>(function: F) -> Result<(), Error>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<(), Error>> + 'static,
{
    telemetry::init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    // Spawn a task: waking the future passed to `block_on` is a system call, waking a task is a
    // push to a list.
    let task = runtime.spawn_local(function());
    runtime.block_on(task)?
}

/// A queue consumer: worker and dependencies of batch processing.
pub struct Consumer<W, E: Env> {
    context: batch::ConsumerContext<E>,
    /// Worker that processes each record.
    pub worker: W,
}

impl<W: batch::Worker, E: Env> Consumer<W, E> {
    /// Processes a batch and reports the records to retry.
    ///
    /// # Errors
    /// As [`batch::handle`].
    pub async fn handle(&self, event: SqsEvent) -> Result<SqsBatchResponse, Error> {
        batch::handle(event, &self.context, &self.worker).await
    }
}

/// Builds a consumer for `worker`. `budget` is in seconds.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<W, E: AwsEnv>(
    kit: &Kit<E>,
    worker: W,
    budget: u64,
    counts_attempts: bool,
) -> Result<Consumer<W, E>, Error> {
    let bucket = kit.bucket()?;
    let context = batch::ConsumerContext {
        queue: kit.queue("QUEUE_URL", None)?,
        // A record that was received from a queue fits into a queue.
        dead_letters: kit.queue("DEAD_LETTER_QUEUE_URL", None)?,
        bodies: bucket,
        clock: kit.clock.clone(),
        rng: kit.rng.clone(),
        budget: Duration::from_secs(budget),
        counts_attempts,
    };
    Ok(Consumer { context, worker })
}

/// Builds a consumer, opens its connections with `prewarm`, and serves it until Lambda stops the
/// process.
///
/// # Errors
/// If the consumer cannot be built or the Lambda runtime cannot be reached.
pub fn consume<W: batch::Worker + 'static>(
    build: impl FnOnce(&Kit) -> Result<Consumer<W, Production>, Error> + 'static,
    prewarm: impl AsyncFnOnce(&W) + 'static,
) -> Result<(), Error> {
    start(async move |kit| {
        let consumer = build(&kit)?;
        prewarm(&consumer.worker).await;
        let consumer = &consumer;
        serve(move |event| consumer.handle(event)).await
    })
}

/// Serves invocations with the payload `P` until Lambda stops the process. Each is the first span
/// of a trace.
///
/// # Errors
/// If the Lambda runtime cannot be reached.
pub async fn serve<P, R, F>(handler: impl Fn(P) -> F) -> Result<(), Error>
where
    P: DeserializeOwned,
    R: Serialize,
    F: Future<Output = Result<R, Error>>,
{
    let handler = &handler;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<P>| {
        let context = span::of_invocation(&event.context);
        // On the heap: otherwise each layer would move the future's many kilobytes.
        trace::scope(context, Box::pin(handler(event.payload)))
    }))
    .await
}

/// Returns the error for a value of the hub that cannot be written as JSON. This is a bug, so the
/// record is retried until it is fixed.
#[must_use]
pub fn unwritable() -> PortError {
    PortError {
        operation: "write a record",
        reason: "the record cannot be written as JSON".to_owned(),
        fault: Fault::Retryable,
    }
}
