//! What a Lambda function is made of: the environment, clients, and one module a role.
//!
//! In each role's module `run` talks to Lambda and is the one place where ports are given
//! their real implementations; `handle` takes ports and is what tests call.

mod aws;
pub mod env;
mod system;
mod telemetry;
pub mod transport;
mod vault;

pub use system::{SystemClock, SystemDice};

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
pub mod directory;
mod gateway;
pub mod inbound;
pub mod media;
pub mod receipts;
pub mod schedule;
pub mod sender;
pub mod testing;
pub mod webhook;

use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use domain::Fault;
use domain::ports::PortError;
use lambda_runtime::{LambdaEvent, service_fn};
use queue::{Bucket, SqsQueue};

/// Makes what every function needs and runs `function` on one thread: a sandbox has a part
/// of one core and works one event at a time.
fn start<F, Fut>(function: F) -> Result<(), Error>
where
    F: FnOnce(aws_types::SdkConfig, transport::Transport) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    start_bare(async || {
        let transport = transport::Transport::new()?;
        function(aws::config(&transport)?, transport).await
    })
}

/// Runs a function that needs nothing from outside.
fn start_bare<F, Fut>(function: F) -> Result<(), Error>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    telemetry::init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(function())
}

/// What a consumer's batches need, from the environment. `budget` is in seconds.
fn desk(
    aws: &aws_types::SdkConfig,
    bucket: Bucket,
    budget: u64,
    counts_attempts: bool,
) -> Result<batch::Desk<SqsQueue, SqsQueue, Bucket, SystemClock, SystemDice>, Error> {
    Ok(batch::Desk {
        queue: SqsQueue::new(aws, env::var("QUEUE_URL")?, Some(bucket.clone())),
        dead_letters: SqsQueue::new(aws, env::var("DEAD_LETTER_QUEUE_URL")?, Some(bucket.clone())),
        bodies: bucket,
        clock: SystemClock,
        dice: SystemDice,
        budget: Duration::from_secs(budget),
        counts_attempts,
    })
}

/// Works a queue until Lambda ends the process.
async fn consume<W: batch::Worker>(
    desk: batch::Desk<SqsQueue, SqsQueue, Bucket, SystemClock, SystemDice>,
    worker: W,
) -> Result<(), Error> {
    let (desk, worker) = (&desk, &worker);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        batch::handle(event.payload, desk, worker)
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
