//! The ways out of a sandbox: to AWS, to providers, to automations. Each call is a place where
//! something may go wrong.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::ports::Resolver;
use domain::sender::SendError;
use http::{Request, Response};
use runtime::Network;
use runtime::sender::HttpClient;
use runtime::transport::{GuardedHttpError, TIMEOUT, WebhookClient};
use simulator::answer::{Answer, Body};
use testkit::cloud::Refusal;
use testkit::cloud::client::{AwsEndpoint, AwsRequest, AwsResponse, ConnectorError, Service};

use crate::machine::{Machine, Sandbox};
use crate::trouble::Fault;

/// How often the AWS SDK tries, in its standard mode.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>
const ATTEMPTS: u32 = 3;
/// How long one of these attempts may take, as `runtime` sets it.
const ATTEMPT: Duration = Duration::from_secs(3);
/// And all of them.
const OPERATION: Duration = Duration::from_secs(8);
/// How long an automation may take to answer, as `runtime` sets it.
const AUTOMATION: Duration = Duration::from_secs(15);
/// How long a file may take.
const FILE: Duration = Duration::from_secs(25);
/// How long a process stands still: longer than every lease and every visibility timeout.
const FROZEN: Duration = Duration::from_secs(400);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// Nothing left.
    Unreachable,
    /// What left may have arrived.
    NoAnswer,
}

/// The ways out of one sandbox.
#[derive(Clone, Debug)]
pub struct Net {
    machine: Arc<Machine>,
    sandbox: Arc<Sandbox>,
}

impl Net {
    pub(crate) fn new(machine: Arc<Machine>, sandbox: Arc<Sandbox>) -> Self {
        Self { machine, sandbox }
    }

    /// One request over the wire: it may break on its way there, there, or on its way back.
    /// `refused` is what the service says if it has trouble of its own; `act` is told whether to
    /// take only the first half of a batch.
    async fn cross<T: Send + 'static, F>(
        &self,
        what: &str,
        possible: &[Fault],
        refused: impl FnOnce() -> T,
        act: impl FnOnce(bool) -> F,
    ) -> Result<T, Broken>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (machine, sandbox) = (&self.machine, &self.sandbox);
        let place = sandbox.next_call();
        let outage = machine.is_out(what);
        let trouble = if machine.is_calm() { None } else { machine.plan.meet(&place, possible) };
        if let Some(trouble) = trouble {
            machine.tell(place.to_string(), format!("{what}: {trouble}"));
        } else if outage {
            machine.tell(place.to_string(), format!("{what}: the service is out"));
        }
        let (up, down) = machine.latency(&place);
        match trouble {
            None if outage => {
                tokio::time::sleep(up + down).await;
                return Ok(refused());
            }
            Some(Fault::Refused) => {
                tokio::time::sleep(up + down).await;
                return Ok(refused());
            }
            Some(Fault::Unreachable) => {
                tokio::time::sleep(up).await;
                return Err(Broken::Unreachable);
            }
            Some(Fault::DiesBefore) => {
                sandbox.die().await;
            }
            Some(Fault::FrozenBefore) => {
                sandbox.freeze(FROZEN);
                // What is frozen does not go on after an await.
                tokio::task::yield_now().await;
            }
            _ => {}
        }
        // What has left arrives, whatever becomes of who sent it.
        let (answer, answered) = tokio::sync::oneshot::channel();
        let guard = machine.busy();
        let act = act(trouble == Some(Fault::Half));
        tokio::spawn(async move {
            tokio::time::sleep(up).await;
            let done = act.await;
            // Nobody may be waiting any more.
            drop(answer.send(done));
            drop(guard);
        });
        if trouble == Some(Fault::DiesUnderWay) {
            sandbox.die().await;
        }
        let Ok(done) = answered.await else { return Err(Broken::NoAnswer) };
        match trouble {
            Some(Fault::DiesAfter) => {
                sandbox.die().await;
            }
            Some(Fault::FrozenAfter) => {
                sandbox.freeze(FROZEN);
                tokio::task::yield_now().await;
            }
            Some(Fault::AnswerLost) => {
                tokio::time::sleep(down).await;
                return Err(Broken::NoAnswer);
            }
            Some(Fault::Silence) => std::future::pending().await,
            _ => {}
        }
        tokio::time::sleep(down).await;
        Ok(done)
    }

    /// One operation of an AWS service, tried as the SDK tries.
    async fn operation(&self, request: &AwsRequest) -> Result<AwsResponse, Broken> {
        let mut last = Err(Broken::NoAnswer);
        for attempt in 1..=ATTEMPTS {
            let request = request.clone();
            let what = request.to_string();
            let (machine, origin) = (self.machine.clone(), self.sandbox.origin());
            let possible = possible(&request);
            let refused = refusal(request.service);
            let act = |half| async move { machine.serve(&origin, &request, half) };
            let crossed = self.cross(&what, possible, || refused, act);
            last = tokio::time::timeout(ATTEMPT, crossed).await.unwrap_or(Err(Broken::NoAnswer));
            let again = match &last {
                Ok(response) => is_transient(response),
                Err(_) => true,
            };
            if !again || attempt == ATTEMPTS {
                break;
            }
            let most = 1000_u64 << (attempt - 1);
            let wait = self.machine.jitter(&self.sandbox, most);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        last
    }
}

/// What may go wrong with a request to AWS.
fn possible(request: &AwsRequest) -> &'static [Fault] {
    let (all, all_but_half) = (&Fault::OF_CALLS, Fault::OF_CALLS.split_last());
    if is_batch(request) { all } else { all_but_half.map_or(&[], |(_, rest)| rest) }
}

/// What may go wrong with a request to a provider: what it refuses is its own affair.
const OUTSIDE: [Fault; 8] = [
    Fault::Unreachable,
    Fault::AnswerLost,
    Fault::Silence,
    Fault::DiesBefore,
    Fault::DiesUnderWay,
    Fault::DiesAfter,
    Fault::FrozenBefore,
    Fault::FrozenAfter,
];

fn is_batch(request: &AwsRequest) -> bool {
    matches!(request.operation.as_str(), "SendMessageBatch" | "BatchWriteItem")
}

/// What a service says when it has trouble of its own.
fn refusal(service: Service) -> AwsResponse {
    let (status, code) = match service {
        Service::DynamoDb => (400, "ProvisionedThroughputExceededException"),
        Service::Sqs => (403, "RequestThrottled"),
        Service::SecretsManager => (500, "InternalServiceError"),
        Service::S3 => {
            let body =
                "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>";
            return AwsResponse { status: 503, body: Bytes::from_static(body.as_bytes()) };
        }
    };
    AwsResponse::json(Err(Refusal { status, ..Refusal::new(code, "not now") }))
}

/// Whether the SDK tries again after this response.
fn is_transient(response: &AwsResponse) -> bool {
    if matches!(response.status, 500 | 502 | 503 | 504) {
        return true;
    }
    let throttles: [&[u8]; 3] =
        [b"ThroughputExceeded", b"RequestThrottled", b"ThrottlingException"];
    let says = |code: &[u8]| response.body.windows(code.len()).any(|part| part == code);
    response.status >= 400 && throttles.into_iter().any(says)
}

impl AwsEndpoint for Net {
    async fn serve(&self, request: AwsRequest) -> Result<AwsResponse, ConnectorError> {
        let response = tokio::time::timeout(OPERATION, self.operation(&request)).await;
        let response = response.map_err(|error| ConnectorError::timeout(error.into()))?;
        response.map_err(|_| ConnectorError::io("the connection broke".into()))
    }
}

/// Calls whoever is outside, as `runtime`'s own client would.
#[derive(Clone, Debug)]
pub struct SimulatedNetwork {
    net: Net,
    patience: Duration,
}

impl SimulatedNetwork {
    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        let machine = self.net.machine.clone();
        let path = machine.registry.shown(request.uri().path());
        let what = format!("{} {path}", request.method());
        let origin = self.net.sandbox.origin();
        let asked = what.clone();
        let act = |_| async move { machine.outside(origin, &asked, request).await };
        let crossed = self.net.cross(&what, &OUTSIDE, || None, act);
        match tokio::time::timeout(self.patience, crossed).await {
            Ok(Ok(Some(response))) => Ok(response),
            Ok(Err(Broken::Unreachable)) => Err(SendError::Connect),
            Ok(Ok(None) | Err(Broken::NoAnswer)) | Err(_) => Err(SendError::NoAnswer),
        }
    }
}

/// What an answer of the provider simulator is on the wire; `None` if the line breaks.
pub(crate) async fn answered(answer: Answer) -> Option<Response<Bytes>> {
    match answer {
        Answer::HangUp { after_ms } => {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            None
        }
        Answer::Redirect { to } => {
            Response::builder().status(307).header("location", to).body(Bytes::new()).ok()
        }
        Answer::Reply(reply) => {
            tokio::time::sleep(Duration::from_millis(reply.delay_ms)).await;
            let (kind, bytes) = match reply.body {
                Body::Json(json) => ("application/json".to_owned(), Bytes::from(json.to_string())),
                Body::File { mime, bytes } => (mime, bytes),
            };
            let mut response =
                Response::builder().status(reply.status).header("content-type", kind);
            if let Some(seconds) = reply.retry_after_s {
                response = response.header("retry-after", seconds);
            }
            response.body(bytes).ok()
        }
    }
}

impl HttpClient for SimulatedNetwork {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        self.ask(request).await
    }
}

impl WebhookClient for SimulatedNetwork {
    async fn notify(
        &self,
        request: Request<Bytes>,
        _allow_private_network: bool,
    ) -> Result<Response<Bytes>, GuardedHttpError> {
        self.ask(request).await.map_err(|_| GuardedHttpError::NoAnswer)
    }
}

/// A resolver that knows no name: what is called in a run is not called by address.
#[derive(Clone, Copy, Debug)]
pub struct NoNames;

impl Resolver for NoNames {
    async fn resolve(&self, _host: &str) -> Option<Vec<IpAddr>> {
        None
    }
}

impl Network for Net {
    type HttpClient = SimulatedNetwork;
    type WebhookClient = SimulatedNetwork;
    type Resolver = NoNames;

    fn http_client(&self) -> SimulatedNetwork {
        SimulatedNetwork { net: self.clone(), patience: TIMEOUT }
    }

    fn file_http_client(&self) -> SimulatedNetwork {
        SimulatedNetwork { net: self.clone(), patience: FILE }
    }

    fn webhook_client(&self) -> Result<SimulatedNetwork, runtime::Error> {
        Ok(SimulatedNetwork { net: self.clone(), patience: AUTOMATION })
    }

    fn resolver(&self) -> NoNames {
        NoNames
    }
}
