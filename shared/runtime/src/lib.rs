//! What a Lambda function is made of: the environment, clients, and one module a role.
//!
//! In each role's module `run` talks to Lambda and is the one place where ports are given
//! their real implementations; `handle` takes ports and is what tests call.

pub mod address;
mod aws;
pub mod env;
mod kit;
mod system;
mod telemetry;
pub mod transport;
mod vault;

pub use kit::{Environment, Kit, Network};
pub use system::{SystemClock, SystemDice};
pub use vault::SecretsVault;

/// What ends a function at start.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

// Without this the first TLS handshake gathers entropy for 22 ms of CPU: see
// `.cargo/config.toml`.
const _: () = assert!(
    option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY").is_some(),
    "AWS_LC_SYS_NO_JITTER_ENTROPY is not set: build from within the repository"
);

pub mod api;
pub mod automation;
pub mod batch;
pub mod circuit;
pub mod directory;
pub mod events;
pub mod evidence;
mod gateway;
pub mod inbound;
pub mod jobs;
pub mod media;
pub mod outbound;
pub mod parked;
pub mod receipts;
pub mod replay;
pub mod schedule;
pub mod sender;
pub mod testing;
pub mod webhook;

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use domain::Fault;
use domain::ports::{Clock, Dice, PortError};
use lambda_runtime::{LambdaEvent, service_fn};
use queue::{Bucket, SqsQueue};

/// Makes what every function needs and runs `function` on one thread: a sandbox has a part
/// of one core and works one event at a time.
fn start<F, Fut>(function: F) -> Result<(), Error>
where
    F: FnOnce(Kit) -> Fut + 'static,
    Fut: Future<Output = Result<(), Error>> + 'static,
{
    start_bare(async || function(Kit::of_process()?).await)
}

/// Runs a function that needs nothing from outside.
fn start_bare<F, Fut>(function: F) -> Result<(), Error>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<(), Error>> + 'static,
{
    telemetry::init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    // A task of its own: each wake of the future that `block_on` is given is a write to the
    // kernel, a task's is a push to a list.
    let task = runtime.spawn_local(function());
    runtime.block_on(task)?
}

/// A consumer with everything it needs.
#[derive(Debug)]
pub struct Consumer<W, C, R> {
    desk: batch::Desk<SqsQueue, SqsQueue, Bucket, C, R>,
    worker: W,
}

impl<W: batch::Worker, C: Clock, R: Dice> Consumer<W, C, R> {
    /// Works a batch and says which records must come back.
    ///
    /// # Errors
    /// As [`batch::handle`].
    pub async fn handle(&self, event: SqsEvent) -> Result<SqsBatchResponse, Error> {
        batch::handle(event, &self.desk, &self.worker).await
    }
}

/// Puts `worker` at a desk. `budget` is in seconds.
fn consumer<W, N, C: Clock + Clone, R: Dice + Clone>(
    kit: &Kit<N, C, R>,
    worker: W,
    budget: u64,
    counts_attempts: bool,
) -> Result<Consumer<W, C, R>, Error> {
    let bucket = kit.bucket()?;
    let desk = batch::Desk {
        queue: kit.queue("QUEUE_URL", None)?,
        // What came through a queue fits into one.
        dead_letters: kit.queue("DEAD_LETTER_QUEUE_URL", None)?,
        bodies: bucket,
        clock: kit.clock.clone(),
        dice: kit.dice.clone(),
        budget: Duration::from_secs(budget),
        counts_attempts,
    };
    Ok(Consumer { desk, worker })
}

/// Works a queue until Lambda ends it.
async fn consume<W: batch::Worker>(
    consumer: Consumer<W, SystemClock, SystemDice>,
) -> Result<(), Error> {
    let consumer = &consumer;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        // On the heap at once: each layer around it would move all of its many kilobytes.
        Box::pin(consumer.handle(event.payload))
    }))
    .await
}

/// Something of ours cannot be written as JSON: a bug, so it is kept until it is mended.
fn unwritable() -> PortError {
    PortError {
        operation: "write a record",
        reason: "it cannot be written as JSON".to_owned(),
        fault: Fault::Retryable,
    }
}
