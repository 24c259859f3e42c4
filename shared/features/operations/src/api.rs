//! Dead letters: count, list and redrive. Only the operator's key may use it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::TenantId;
use domain::ports::{
    ChangeVisibility, Clock, CountRecords, DeadLetter, DeleteRecords, Publisher, ReceiveDeadLetters,
};
use http::StatusCode;
use jiff::Timestamp;
use queue::SqsQueue;
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, schema};
use runtime::{AwsEnv, Error, Kit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::model::{Filter, QueueName, reason_of, tenant_of};
use crate::redrive::{self, Outcome, QueuePair, Redrive};

/// Time after which a redrive answers although dead letters may be left. Less than the function's
/// timeout, by the longest time that one request to SQS may take.
const BUDGET: Duration = Duration::from_secs(18);
/// Maximum number of message ids in a request.
const MAX_IDS: usize = 1000;
/// Maximum rate, in dead letters a second.
const MAX_RATE: u32 = 1000;

/// API resource and its dependencies: `S` are the queues, `D` their dead-letter queues.
#[derive(Debug)]
pub struct DeadLetters<S, D, C> {
    /// All queues of the hub.
    pub queues: Vec<QueuePair<S, D>>,
    /// Time after which a redrive answers although dead letters may be left.
    pub budget: Duration,
    /// Clock.
    pub clock: C,
}

/// Operations of the resource.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Count or list dead letters.
    List,
    /// Redrive dead letters.
    Redrive,
}

/// Response of `GET /dead-letters`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum Listing {
    /// Without `queue`: the number of dead letters of each queue.
    Queues {
        /// All queues of the hub, by name.
        queues: Vec<QueueCount>,
    },
    /// With `queue`: its dead letters.
    DeadLetters {
        /// Dead letters, roughly oldest first. Without bodies, which may contain personal data.
        dead_letters: Vec<DeadLetterView>,
        /// Whether there may be others.
        more: bool,
    },
}

/// The number of dead letters of a queue. SQS counts approximately, up to a minute late.
#[derive(Debug, Serialize, JsonSchema)]
struct QueueCount {
    /// Queue whose dead letters these are: `inbound`, `outbound-whatsapp`.
    queue: String,
    /// Number of dead letters.
    dead_letters: u64,
    /// Number of dead letters that another request is looking at: they are hidden for two minutes
    /// at most.
    hidden: u64,
}

/// A dead letter.
#[derive(Debug, Serialize, JsonSchema)]
struct DeadLetterView {
    /// Message id in the dead-letter queue.
    id: String,
    /// Queue that it came from.
    queue: String,
    /// Why it was moved; `received too often` if SQS moved it.
    reason: String,
    /// Tenant, if it is known. It is not for large or unreadable bodies in a FIFO queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    /// When it was sent: to the dead-letter queue by the hub, or to its queue if SQS moved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<Timestamp>,
    /// When it was first received.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_received_at: Option<Timestamp>,
    /// Size of the body in bytes. That of a large body is in the bucket.
    size: usize,
}

impl DeadLetterView {
    fn of(letter: &DeadLetter, queue: &QueueName) -> Self {
        Self {
            id: letter.id.clone(),
            queue: queue.name.clone(),
            reason: reason_of(letter).to_owned(),
            tenant: tenant_of(letter, queue),
            sent_at: letter.sent_at,
            first_received_at: letter.first_received_at,
            size: letter.body.len(),
        }
    }
}

/// Body of `POST /dead-letters/redrive`: the dead letters that meet all conditions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RedriveRequest {
    /// Queue that they came from: `inbound`, `outbound-whatsapp`.
    queue: String,
    /// Only those whose reason begins with this text.
    #[serde(default)]
    reason: Option<String>,
    /// Only those of this tenant. One whose tenant is not known does not match.
    #[serde(default)]
    tenant: Option<TenantId>,
    /// Only those with these ids, at most 1,000.
    #[serde(default)]
    ids: Option<BTreeSet<String>>,
    /// Only those sent at this time or earlier. Default: now, so that those that fail again are not
    /// moved again. When the request is repeated, the `before` of the first answer.
    #[serde(default)]
    before: Option<Timestamp>,
    /// Count them without moving them.
    #[serde(default)]
    dry_run: bool,
    /// Maximum number to move in a second, 1 to 1,000. Default: no limit.
    #[serde(default)]
    per_second: Option<u32>,
}

/// Response of `POST /dead-letters/redrive`.
#[derive(Debug, Serialize, JsonSchema)]
struct RedriveAnswer {
    /// Number of dead letters that were looked at.
    examined: u64,
    /// Number of those that match.
    matched: u64,
    /// Number of those that were moved back to their queue.
    moved: u64,
    /// Number of matching dead letters by reason.
    reasons: BTreeMap<String, u64>,
    /// Number of conversations, or other message groups, whose later dead letters could not be
    /// looked at, because the first ten stay.
    blocked_groups: u64,
    /// Number of dead letters that an earlier request still hides, approximately.
    hidden: u64,
    /// Only those sent at this time or earlier were looked for.
    before: Timestamp,
    /// Whether the time ended before all were looked at. If so, send the request again, with this
    /// `before`.
    more: bool,
}

const FILTERS: &[(&str, &str, &str)] = &[
    ("queue", "query", "List the dead letters of this queue. Without it, all queues are counted."),
    ("reason", "query", "Only dead letters whose reason begins with this text."),
    ("limit", "query", "Number of dead letters, 1 to 100. Default: 50."),
];

/// Routes of the resource.
pub const ROUTES: &[Route<Operation>] = &[
    Route {
        operation: Operation::List,
        method: "GET",
        path: "/dead-letters",
        summary: "Count the dead letters of all queues, or list those of one",
        scope: None,
        parameters: FILTERS,
        request: None,
        answer: (200, Some(schema::<Listing>)),
    },
    Route {
        operation: Operation::Redrive,
        method: "POST",
        path: "/dead-letters/redrive",
        summary: "Redrive dead letters: move them back to their queue",
        scope: None,
        parameters: &[],
        request: Some(schema::<RedriveRequest>),
        answer: (200, Some(schema::<RedriveAnswer>)),
    },
];

impl<S, D, C> Resource for DeadLetters<S, D, C>
where
    C: Clock,
    S: Publisher,
    D: ReceiveDeadLetters + DeleteRecords + ChangeVisibility + CountRecords,
{
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        _params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        request.platform()?;
        match operation {
            Operation::List => self.list(request).await,
            Operation::Redrive => self.redrive(request).await,
        }
    }
}

impl<S, D, C> DeadLetters<S, D, C>
where
    C: Clock,
    S: Publisher,
    D: ReceiveDeadLetters + DeleteRecords + ChangeVisibility + CountRecords,
{
    async fn list(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        let reason = request.query("reason").map(ToOwned::to_owned);
        let Some(name) = request.query("queue") else {
            if reason.is_some() {
                let detail = "a reason needs a queue: add ?queue=".to_owned();
                return Err(Problem::invalid("queue", detail));
            }
            let counts = redrive::count_all(&self.queues).await?.into_iter();
            let queues = self.queues.iter().zip(counts).map(|(pair, count)| QueueCount {
                queue: pair.queue.name.clone(),
                dead_letters: count.visible + count.hidden,
                hidden: count.hidden,
            });
            return ApiReply::json(StatusCode::OK, &Listing::Queues { queues: queues.collect() });
        };
        let pair = self.pair(name)?;
        let filter = Filter { reason: checked_reason(reason)?, ..Filter::default() };
        let (limit, _) = request.page()?;
        let (letters, more) = redrive::peek(pair, &filter, limit as usize).await?;
        let views = letters.iter().map(|letter| DeadLetterView::of(letter, &pair.queue));
        let answer = Listing::DeadLetters { dead_letters: views.collect(), more };
        ApiReply::json(StatusCode::OK, &answer)
    }

    async fn redrive(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        let until = Instant::now() + self.budget;
        let input: RedriveRequest = request.read()?;
        let before = input.before.unwrap_or_else(|| self.clock.now());
        let pair = self.pair(&input.queue)?;
        if input.ids.as_ref().is_some_and(|ids| !(1..=MAX_IDS).contains(&ids.len())) {
            return Err(Problem::invalid("ids", format!("must have 1 to {MAX_IDS} ids")));
        }
        if input.per_second.is_some_and(|rate| !(1..=MAX_RATE).contains(&rate)) {
            let detail = format!("must be a number from 1 to {MAX_RATE}");
            return Err(Problem::invalid("per_second", detail));
        }
        let reason = checked_reason(input.reason)?;
        let redrive = Redrive {
            filter: Filter { reason, tenant: input.tenant, ids: input.ids, before: Some(before) },
            dry_run: input.dry_run,
            per_second: input.per_second,
        };
        let outcome = redrive::redrive(&self.queues, pair, &redrive, until).await?;
        let Outcome { examined, matched, moved, reasons, blocked_groups, more } = outcome;
        if !input.dry_run {
            tracing::info!(queue = %pair.queue.name, moved, matched, "dead letters redriven");
        }
        let hidden = pair.dead_letters.count().await?.hidden;
        let answer = RedriveAnswer {
            examined,
            matched,
            moved,
            reasons,
            blocked_groups,
            hidden,
            before,
            more,
        };
        ApiReply::json(StatusCode::OK, &answer)
    }

    fn pair(&self, name: &str) -> Result<&QueuePair<S, D>, Problem> {
        let found = self.queues.iter().find(|pair| pair.queue.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> =
                self.queues.iter().map(|pair| pair.queue.name.as_str()).collect();
            Problem::invalid("queue", format!("must be one of: {}", names.join(", ")))
        })
    }
}

fn checked_reason(reason: Option<String>) -> Result<Option<String>, Problem> {
    if reason.as_ref().is_some_and(String::is_empty) {
        let detail = "must not be empty: leave it out for every reason".to_owned();
        return Err(Problem::invalid("reason", detail));
    }
    Ok(reason)
}

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<E: AwsEnv>(
    kit: &Kit<E>,
) -> Result<DeadLetters<SqsQueue, SqsQueue, E::Clock>, Error> {
    let prefix = kit.var("QUEUE_PREFIX")?;
    let queues = QueueName::all().into_iter().map(|queue| QueuePair {
        // A body that came from a queue fits into one.
        source: kit.queue_at(queue.source(&prefix), None),
        dead_letters: kit.queue_at(queue.dead_letters(&prefix), None),
        queue,
    });
    Ok(DeadLetters { queues: queues.collect(), budget: BUDGET, clock: kit.clock.clone() })
}

/// Serves the resource until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::api::run(resource, async |resource| {
        if let Some(pair) = resource.queues.first() {
            pair.dead_letters.prewarm().await;
        }
    })
}
