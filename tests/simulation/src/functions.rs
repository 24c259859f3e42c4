//! In-process functions, built from the deployed parts.

use std::future::Future;
use std::pin::Pin;

use aws_lambda_events::sqs::SqsEvent;
use bytes::Bytes;
use domain::ports::{Clock, Directory};
use domain::webhook::WebhookProvider;
use http::Response;
use lambda_http::Body;
use runtime::api::{Resource, Unlimited};
use runtime::batch::Worker;
use runtime::webhook::WebhookHandler;
use runtime::{AwsEnv, Consumer, Env, Environment, FeatureRepository, Kit, Production};
use serde_json::Value;

use crate::net::Net;
use crate::random::SeededRng;
use crate::time::VirtualClock;

/// The kit of the simulation.
pub type SimulationKit = Kit<Production<Net, VirtualClock, SeededRng>>;

/// Result of an invocation.
#[derive(Debug)]
pub enum Output {
    /// A response to API Gateway.
    Http(Response<Bytes>),
    /// A result for the queue service or the scheduler.
    Json(Value),
}

/// Future of an invocation's result.
pub type Outcome<'a> = Pin<Box<dyn Future<Output = Result<Output, String>> + Send + 'a>>;

/// A function in a sandbox.
pub trait Instance: Send + Sync {
    /// Processes one Lambda event.
    fn invoke(&self, event: Value) -> Outcome<'_>;
}

/// Creates the webhook function of a provider. `D` reads integrations.
///
/// # Errors
/// If an environment variable is missing or invalid.
pub fn webhook<D: Directory + FeatureRepository, E: AwsEnv>(
    kit: &Kit<E>,
    provider: &'static dyn WebhookProvider,
) -> Result<Box<dyn Instance>, String> {
    let handler = made(runtime::webhook::handler::<D, E>(kit, provider.provider()))?;
    Ok(Box::new(Webhook { handler, provider }))
}

/// Creates an API function.
///
/// # Errors
/// If an environment variable is missing or invalid.
pub fn api<A: Resource + 'static, E: AwsEnv>(
    kit: &Kit<E>,
    resource: Result<A, runtime::Error>,
) -> Result<Box<dyn Instance>, String> {
    let base_url = match &kit.environment {
        Environment::Given(variables) => variables.get("PUBLIC_BASE_URL").cloned(),
        Environment::Process => None,
    };
    Ok(Box::new(Api { resource: made(resource)?, base_url }))
}

/// Creates the consumer of a queue.
///
/// # Errors
/// If an environment variable is missing or invalid.
pub fn consumer<W: Worker + 'static, E: Env>(
    consumer: Result<Consumer<W, E>, runtime::Error>,
) -> Result<Box<dyn Instance>, String> {
    Ok(Box::new(made(consumer)?))
}

/// Creates a scheduled function: `task` receives its parts and the clock.
///
/// # Errors
/// If an environment variable is missing or invalid.
pub fn schedule<P, C, F>(
    parts: Result<P, runtime::Error>,
    clock: &C,
    task: F,
) -> Result<Box<dyn Instance>, String>
where
    P: Send + Sync + 'static,
    C: Clock + Clone + 'static,
    F: for<'a> Fn(&'a P, &'a C) -> Outcome<'a> + Send + Sync + 'static,
{
    Ok(Box::new(Task { parts: made(parts)?, clock: clock.clone(), run: task }))
}

/// Creates a function that answers an event with JSON: `call` receives its parts and the event.
///
/// # Errors
/// If an environment variable is missing or invalid.
pub fn event<P, F>(parts: Result<P, runtime::Error>, call: F) -> Result<Box<dyn Instance>, String>
where
    P: Send + Sync + 'static,
    F: for<'a> Fn(&'a P, Value) -> Outcome<'a> + Send + Sync + 'static,
{
    Ok(Box::new(EventFunction { parts: made(parts)?, call }))
}

/// Creates the function that serves the `OpenAPI` document.
#[must_use]
pub fn openapi(document: fn() -> Value) -> Box<dyn Instance> {
    Box::new(Document(document))
}

fn made<T>(part: Result<T, runtime::Error>) -> Result<T, String> {
    part.map_err(|error| error.to_string())
}

struct Webhook<D, E: Env> {
    handler: WebhookHandler<D, E>,
    provider: &'static dyn WebhookProvider,
}

impl<D: Directory, E: Env> Instance for Webhook<D, E> {
    fn invoke(&self, event: Value) -> Outcome<'_> {
        Box::pin(async move {
            let request = request(&event)?;
            let answer = runtime::webhook::answer(&self.handler, self.provider, request);
            Ok(Output::Http(response(answer.await)))
        })
    }
}

struct Api<R> {
    resource: R,
    base_url: Option<String>,
}

impl<R: Resource> Instance for Api<R> {
    fn invoke(&self, event: Value) -> Outcome<'_> {
        Box::pin(async move {
            let base_url = self.base_url.as_deref().filter(|url| !url.is_empty());
            let answer =
                runtime::api::answer(&self.resource, &Unlimited, base_url, request(&event)?);
            Ok(Output::Http(response(answer.await)))
        })
    }
}

impl<W: Worker, E: Env> Instance for Consumer<W, E> {
    fn invoke(&self, event: Value) -> Outcome<'_> {
        Box::pin(async move {
            let event: SqsEvent =
                serde_json::from_value(event).map_err(|error| error.to_string())?;
            let answer = self.handle(event).await.map_err(|error| error.to_string())?;
            serde_json::to_value(answer).map(Output::Json).map_err(|error| error.to_string())
        })
    }
}

struct Task<P, C, F> {
    parts: P,
    clock: C,
    run: F,
}

impl<P, C, F> Instance for Task<P, C, F>
where
    P: Send + Sync,
    C: Clock,
    F: for<'a> Fn(&'a P, &'a C) -> Outcome<'a> + Send + Sync,
{
    fn invoke(&self, _event: Value) -> Outcome<'_> {
        (self.run)(&self.parts, &self.clock)
    }
}

struct EventFunction<P, F> {
    parts: P,
    call: F,
}

impl<P, F> Instance for EventFunction<P, F>
where
    P: Send + Sync,
    F: for<'a> Fn(&'a P, Value) -> Outcome<'a> + Send + Sync,
{
    fn invoke(&self, event: Value) -> Outcome<'_> {
        (self.call)(&self.parts, event)
    }
}

struct Document(fn() -> Value);

impl Instance for Document {
    fn invoke(&self, _event: Value) -> Outcome<'_> {
        Box::pin(async {
            let document = (self.0)().to_string();
            Ok(Output::Http(response(runtime::api::openapi::answer(document))))
        })
    }
}

fn request(event: &Value) -> Result<lambda_http::Request, String> {
    lambda_http::request::from_str(&event.to_string()).map_err(|error| error.to_string())
}

fn response(response: Response<Body>) -> Response<Bytes> {
    response.map(|body| match body {
        Body::Text(text) => Bytes::from(text),
        Body::Binary(bytes) => Bytes::from(bytes),
        _ => Bytes::new(),
    })
}
