//! Network of a sandbox: calls to AWS, to providers and to automations. Each call is a point where
//! a fault may be injected.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::ports::Resolver;
use domain::sender::SendError;
use http::{Request, Response};
use runtime::transport::{GuardedHttpError, TIMEOUT, WebhookClient};
use runtime::{HttpClient, Network};
use simulator::answer::{Answer, Body};
use testkit::cloud::Refusal;
use testkit::cloud::client::{AwsEndpoint, AwsRequest, AwsResponse, ConnectorError, Service};

use crate::faults::Fault;
use crate::machine::{Machine, Sandbox};

/// Number of attempts of the AWS SDK in its standard retry mode.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>
const SDK_ATTEMPTS: u32 = 3;
/// Timeout of one attempt, as `runtime` sets it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of all attempts together, as `runtime` sets it.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);
/// Timeout of a webhook request to an automation, as `runtime` sets it.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of a file download, as `runtime` sets it.
const FILE_TIMEOUT: Duration = Duration::from_secs(25);
/// Duration of a freeze of a process: longer than every lease and every visibility timeout.
const FREEZE: Duration = Duration::from_secs(400);

/// Reason why a call has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallError {
    /// The request was not sent.
    Unreachable,
    /// The request was sent and may have arrived.
    NoResponse,
}

/// Network of one sandbox.
#[derive(Clone, Debug)]
pub struct Net {
    machine: Arc<Machine>,
    sandbox: Arc<Sandbox>,
}

impl Net {
    pub(crate) fn new(machine: Arc<Machine>, sandbox: Arc<Sandbox>) -> Self {
        Self { machine, sandbox }
    }

    /// Sends one request, which may fail before it arrives, at the service, or before its response
    /// arrives. `refused` returns the service's own error; `act` executes the request, and its
    /// argument says whether to accept only the first half of a batch.
    async fn send_request<T: Send + 'static, F>(
        &self,
        what: &str,
        possible: &[Fault],
        refused: impl FnOnce() -> T,
        act: impl FnOnce(bool) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (machine, sandbox) = (&self.machine, &self.sandbox);
        let point = sandbox.next_call();
        let outage = machine.has_outage(what);
        let fault =
            if machine.faults_have_ended() { None } else { machine.plan.inject(&point, possible) };
        if let Some(fault) = fault {
            machine.log(point.to_string(), format!("{what}: {fault}"));
        } else if outage {
            machine.log(point.to_string(), format!("{what}: the service is out"));
        }
        let (request_latency, response_latency) = machine.latency(&point);
        match fault {
            None if outage => {
                tokio::time::sleep(request_latency + response_latency).await;
                return Ok(refused());
            }
            Some(Fault::Refused) => {
                tokio::time::sleep(request_latency + response_latency).await;
                return Ok(refused());
            }
            Some(Fault::Unreachable) => {
                tokio::time::sleep(request_latency).await;
                return Err(CallError::Unreachable);
            }
            Some(Fault::DiesBefore) => {
                sandbox.die().await;
            }
            Some(Fault::FrozenBefore) => {
                sandbox.freeze(FREEZE);
                // A frozen process does not continue after an await.
                tokio::task::yield_now().await;
            }
            _ => {}
        }
        // A request that was sent arrives even if its sender dies.
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let guard = machine.busy();
        let act = act(fault == Some(Fault::Half));
        tokio::spawn(async move {
            tokio::time::sleep(request_latency).await;
            let done = act.await;
            // The caller may have stopped waiting.
            drop(sender.send(done));
            drop(guard);
        });
        if fault == Some(Fault::DiesUnderWay) {
            sandbox.die().await;
        }
        let Ok(done) = receiver.await else { return Err(CallError::NoResponse) };
        match fault {
            Some(Fault::DiesAfter) => {
                sandbox.die().await;
            }
            Some(Fault::FrozenAfter) => {
                sandbox.freeze(FREEZE);
                tokio::task::yield_now().await;
            }
            Some(Fault::AnswerLost) => {
                tokio::time::sleep(response_latency).await;
                return Err(CallError::NoResponse);
            }
            Some(Fault::Silence) => std::future::pending().await,
            _ => {}
        }
        tokio::time::sleep(response_latency).await;
        Ok(done)
    }

    /// Calls an operation of an AWS service, with the retries of the SDK.
    async fn operation(&self, request: &AwsRequest) -> Result<AwsResponse, CallError> {
        let mut last = Err(CallError::NoResponse);
        for attempt in 1..=SDK_ATTEMPTS {
            let request = request.clone();
            let what = request.to_string();
            let (machine, origin) = (self.machine.clone(), self.sandbox.origin());
            let possible = possible(&request);
            let refused = refusal(request.service);
            let act = |half| async move { machine.serve(&origin, &request, half) };
            let call = self.send_request(&what, possible, || refused, act);
            last = tokio::time::timeout(ATTEMPT_TIMEOUT, call)
                .await
                .unwrap_or(Err(CallError::NoResponse));
            let is_retried = match &last {
                Ok(response) => is_transient(response),
                Err(_) => true,
            };
            if !is_retried || attempt == SDK_ATTEMPTS {
                break;
            }
            let most = 1000_u64 << (attempt - 1);
            let wait = self.machine.jitter(&self.sandbox, most);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        last
    }
}

/// Returns the faults that are possible in a request to AWS.
fn possible(request: &AwsRequest) -> &'static [Fault] {
    let (all, all_but_half) = (&Fault::CALL_FAULTS, Fault::CALL_FAULTS.split_last());
    if is_batch(request) { all } else { all_but_half.map_or(&[], |(_, rest)| rest) }
}

/// Faults of a request to a provider. Errors of the provider itself come from its simulator.
const PROVIDER_FAULTS: [Fault; 8] = [
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

/// Returns the error response of a service that throttles or fails.
fn refusal(service: Service) -> AwsResponse {
    let (status, code) = match service {
        Service::DynamoDb => (400, "ProvisionedThroughputExceededException"),
        Service::Sqs => (403, "RequestThrottled"),
        Service::SecretsManager => (500, "InternalServiceError"),
        Service::Kms => (400, "ThrottlingException"),
        Service::S3 => {
            let body =
                "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>";
            return AwsResponse { status: 503, body: Bytes::from_static(body.as_bytes()) };
        }
    };
    AwsResponse::json(Err(Refusal { status, ..Refusal::new(code, "not now") }))
}

/// Returns whether the SDK retries after this response.
fn is_transient(response: &AwsResponse) -> bool {
    if matches!(response.status, 500 | 502 | 503 | 504) {
        return true;
    }
    let throttles: [&[u8]; 3] =
        [b"ThroughputExceeded", b"RequestThrottled", b"ThrottlingException"];
    let contains = |code: &[u8]| response.body.windows(code.len()).any(|part| part == code);
    response.status >= 400 && throttles.into_iter().any(contains)
}

impl AwsEndpoint for Net {
    async fn serve(&self, request: AwsRequest) -> Result<AwsResponse, ConnectorError> {
        let response = tokio::time::timeout(OPERATION_TIMEOUT, self.operation(&request)).await;
        let response = response.map_err(|error| ConnectorError::timeout(error.into()))?;
        response.map_err(|_| ConnectorError::io("the connection broke".into()))
    }
}

/// HTTP client for calls to providers and automations, in place of the one of `runtime`.
#[derive(Clone, Debug)]
pub struct SimulatedNetwork {
    net: Net,
    timeout: Duration,
}

impl SimulatedNetwork {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        let machine = self.net.machine.clone();
        let path = machine.registry.redact_path(request.uri().path());
        let what = format!("{} {path}", request.method());
        let origin = self.net.sandbox.origin();
        let description = what.clone();
        let act = |_| async move { machine.call_provider(origin, &description, request).await };
        let call = self.net.send_request(&what, &PROVIDER_FAULTS, || None, act);
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(Some(response))) => Ok(response),
            Ok(Err(CallError::Unreachable)) => Err(SendError::Connect),
            Ok(Ok(None) | Err(CallError::NoResponse)) | Err(_) => Err(SendError::NoAnswer),
        }
    }
}

/// Converts an answer of the provider simulator to a response, after its delay; `None` if the
/// connection breaks.
pub(crate) async fn to_response(answer: Answer) -> Option<Response<Bytes>> {
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
        self.send(request).await
    }
}

impl WebhookClient for SimulatedNetwork {
    async fn notify(
        &self,
        request: Request<Bytes>,
        _allow_private_network: bool,
    ) -> Result<Response<Bytes>, GuardedHttpError> {
        self.send(request).await.map_err(|_| GuardedHttpError::NoAnswer)
    }
}

/// Resolver that knows no host: calls in a run do not use addresses.
#[derive(Clone, Copy, Debug)]
pub struct EmptyResolver;

impl Resolver for EmptyResolver {
    async fn resolve(&self, _host: &str) -> Option<Vec<IpAddr>> {
        None
    }
}

impl Network for Net {
    type HttpClient = SimulatedNetwork;
    type WebhookClient = SimulatedNetwork;
    type Resolver = EmptyResolver;

    fn http_client(&self) -> SimulatedNetwork {
        SimulatedNetwork { net: self.clone(), timeout: TIMEOUT }
    }

    fn file_http_client(&self) -> SimulatedNetwork {
        SimulatedNetwork { net: self.clone(), timeout: FILE_TIMEOUT }
    }

    fn webhook_client(&self, _allow_http: bool) -> Result<SimulatedNetwork, runtime::Error> {
        Ok(SimulatedNetwork { net: self.clone(), timeout: WEBHOOK_TIMEOUT })
    }

    fn resolver(&self) -> EmptyResolver {
        EmptyResolver
    }
}
