//! The functions in one process, made from the parts that are deployed.

use std::future::Future;
use std::pin::Pin;

use aws_lambda_events::sqs::SqsEvent;
use bytes::Bytes;
use domain::Provider;
use domain::ports::{Clock, Dice, Publisher};
use domain::webhook::WebhookProvider;
use http::Response;
use lambda_http::Body;
use runtime::api::Resource;
use runtime::api::authorizer::Authorizer;
use runtime::batch::Worker;
use runtime::webhook::OwnEdge;
use runtime::{Consumer, Environment, Kit, Network};
use serde_json::Value;

/// What an invocation gives.
#[derive(Debug)]
pub enum Output {
    /// To API Gateway.
    Http(Response<Bytes>),
    /// To the queue service or the scheduler.
    Json(Value),
}

/// What an invocation gives, later.
pub type Outcome<'a> = Pin<Box<dyn Future<Output = Result<Output, String>> + Send + 'a>>;

/// A function in its sandbox.
pub trait Instance: Send + Sync {
    /// Works one event, as Lambda hands it over.
    fn invoke(&self, event: Value) -> Outcome<'_>;
}

/// Makes the function `name` from `kit`.
///
/// # Errors
/// What the environment lacks, or that there is no such function.
pub fn instance<N, C, R>(name: &str, kit: &Kit<N, C, R>) -> Result<Box<dyn Instance>, String>
where
    N: Network,
    C: Clock + Clone + 'static,
    R: Dice + Clone + 'static,
{
    let provider = |prefix: &str| -> Option<Provider> {
        let name = name.strip_prefix(prefix)?;
        Provider::ALL.iter().copied().find(|provider| provider.as_str() == name)
    };
    let webhook = name.strip_prefix("webhook-");
    if let Some(provider) = providers::webhooks().find(|known| Some(known.name()) == webhook) {
        let edge = made(runtime::webhook::edge(kit, provider.provider()))?;
        return Ok(Box::new(Webhook::<N, C> { edge, provider, clock: kit.clock.clone() }));
    }
    if let Some(sender) = provider("sender-").and_then(providers::sender) {
        return Ok(Box::new(made(runtime::sender::consumer(kit, sender))?));
    }
    let base_url = match &kit.environment {
        Environment::Given(variables) => variables.get("PUBLIC_BASE_URL").cloned(),
        Environment::Process => None,
    };
    Ok(match name {
        "consumer-inbound" => Box::new(made(runtime::inbound::consumer(kit))?),
        "consumer-receipts" => Box::new(made(runtime::receipts::consumer(kit))?),
        "consumer-automation" => Box::new(made(runtime::automation::consumer(kit))?),
        "consumer-media" => Box::new(made(runtime::media::consumer(kit))?),
        "consumer-events" => Box::new(made(runtime::events::consumer(kit))?),
        "consumer-parked" => Box::new(made(runtime::parked::consumer(kit))?),
        "consumer-replay" => Box::new(made(runtime::replay::consumer(kit))?),
        "schedule-jobs" => Box::new(Sweep(made(runtime::jobs::parts(kit))?, kit.clock.clone())),
        "schedule-deliveries" => {
            Box::new(Schedule(made(runtime::schedule::parts(kit))?, kit.clock.clone()))
        }
        "api-authorizer" => Box::new(made(runtime::api::authorizer::authorizer(kit))?),
        "api-openapi" => Box::new(Document),
        "api-messages" => {
            Box::new(Api { resource: made(runtime::api::messages::resource(kit))?, base_url })
        }
        "api-conversations" => {
            Box::new(Api { resource: made(runtime::api::conversations::resource(kit))?, base_url })
        }
        "api-tenants" => {
            Box::new(Api { resource: made(runtime::api::tenants::resource(kit))?, base_url })
        }
        "api-integrations" => {
            Box::new(Api { resource: made(runtime::api::integrations::resource(kit))?, base_url })
        }
        "api-events" => {
            Box::new(Api { resource: made(runtime::api::events::resource(kit))?, base_url })
        }
        "api-voice" => {
            Box::new(Api { resource: made(runtime::api::voice::resource(kit))?, base_url })
        }
        "api-queue" => {
            Box::new(Api { resource: made(runtime::api::queue::resource(kit))?, base_url })
        }
        "api-status" => {
            Box::new(Api { resource: made(runtime::api::status::resource(kit))?, base_url })
        }
        "webhook-inbound" => {
            Box::new(Api { resource: made(runtime::api::inbound::resource(kit))?, base_url })
        }
        other => return Err(format!("there is no function {other}")),
    })
}

fn made<T>(part: Result<T, runtime::Error>) -> Result<T, String> {
    part.map_err(|error| error.to_string())
}

struct Webhook<N: Network, C> {
    edge: OwnEdge<N, C>,
    provider: &'static dyn WebhookProvider,
    clock: C,
}

impl<N: Network, C: Clock + Clone> Instance for Webhook<N, C> {
    fn invoke(&self, event: Value) -> Outcome<'_> {
        Box::pin(async move {
            let request = request(&event)?;
            let answer = runtime::webhook::answer(&self.edge, self.provider, &self.clock, request);
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
            let answer = runtime::api::answer(&self.resource, base_url, request(&event)?);
            Ok(Output::Http(response(answer.await)))
        })
    }
}

impl<W: Worker, C: Clock, R: Dice> Instance for Consumer<W, C, R> {
    fn invoke(&self, event: Value) -> Outcome<'_> {
        Box::pin(async move {
            let event: SqsEvent =
                serde_json::from_value(event).map_err(|error| error.to_string())?;
            let answer = self.handle(event).await.map_err(|error| error.to_string())?;
            serde_json::to_value(answer).map(Output::Json).map_err(|error| error.to_string())
        })
    }
}

struct Schedule<S, P, C>((S, P), C);

impl<S, P, C> Instance for Schedule<S, P, C>
where
    S: domain::ports::Schedule + Send + Sync,
    P: Publisher,
    C: Clock,
{
    fn invoke(&self, _event: Value) -> Outcome<'_> {
        Box::pin(async move {
            let (store, queue) = &self.0;
            let taken = runtime::schedule::handle(store, queue, &self.1).await;
            taken.map(|taken| Output::Json(taken.into())).map_err(|error| error.to_string())
        })
    }
}

struct Sweep<C>(store::DynamoStore, C);

impl<C: Clock> Instance for Sweep<C> {
    fn invoke(&self, _event: Value) -> Outcome<'_> {
        Box::pin(async move {
            let ended = runtime::jobs::handle(&self.0, &self.1).await;
            ended.map(|ended| Output::Json(ended.into())).map_err(|error| error.to_string())
        })
    }
}

impl<C: Clock> Instance for Authorizer<C> {
    fn invoke(&self, event: Value) -> Outcome<'_> {
        Box::pin(async move {
            let request = serde_json::from_value(event).map_err(|error| error.to_string())?;
            let answer = self.answer(&request).await.map_err(|error| error.to_string())?;
            serde_json::to_value(answer).map(Output::Json).map_err(|error| error.to_string())
        })
    }
}

/// The description of the API.
struct Document;

impl Instance for Document {
    fn invoke(&self, _event: Value) -> Outcome<'_> {
        Box::pin(async {
            let document = runtime::api::openapi::document().to_string();
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
