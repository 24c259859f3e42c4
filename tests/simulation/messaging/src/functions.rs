//! The deployed functions of the hub, built in-process.

use accounts::authorizer::{self, Authorizer};
use domain::Provider;
use domain::ports::Clock;
use endpoints::handlers::{dispatch, retries};
use events::handlers::{parked, record, replay};
use messaging::handlers::{inbound, media, receipts, sender};
use runtime::{AwsEnv, Kit};
use serde_json::Value;
use simulation::functions::{self, Instance, Outcome, Output};
use work::ending::JobRepositories;
use work::handlers::sweep;

/// Creates the function `name` from `kit`, or returns `None` if there is no such function.
pub fn function<E: AwsEnv>(name: &str, kit: &Kit<E>) -> Option<Result<Box<dyn Instance>, String>> {
    let provider = |prefix: &str| -> Option<Provider> {
        let name = name.strip_prefix(prefix)?;
        Provider::ALL.iter().copied().find(|provider| provider.resource_name() == name)
    };
    let webhook = name.strip_prefix("webhook-");
    if let Some(provider) = providers::webhooks().find(|known| Some(known.name()) == webhook) {
        return Some(functions::webhook::<accounts::Repository, E>(kit, provider));
    }
    if let Some(sender) = provider("sender-").and_then(providers::sender) {
        return Some(functions::consumer(sender::consumer(kit, sender)));
    }
    Some(match name {
        "consumer-inbound" => functions::consumer(inbound::consumer::<work::Repository, E>(kit)),
        "consumer-receipts" => functions::consumer(receipts::consumer(kit)),
        "consumer-automation" => functions::consumer(dispatch::consumer(kit)),
        "consumer-media" => functions::consumer(media::consumer(kit)),
        "consumer-events" => functions::consumer(record::consumer(kit)),
        "consumer-parked" => functions::consumer(parked::consumer(kit)),
        "consumer-replay" => functions::consumer(replay::consumer(kit)),
        "schedule-jobs" => functions::schedule(JobRepositories::of(kit), &kit.clock, sweep_jobs),
        "schedule-deliveries" => functions::schedule(retries::parts(kit), &kit.clock, deliver),
        "api-audit" => functions::api(kit, accounts::api::audit::resource(kit)),
        "api-authorizer" => functions::event(authorizer::authorizer(kit), authorize),
        "api-openapi" => Ok(functions::openapi(::functions::openapi)),
        "api-messages" => functions::api(kit, messaging::api::messages::resource(kit)),
        "api-conversations" => functions::api(kit, messaging::api::conversations::resource(kit)),
        "api-tenants" => functions::api(kit, accounts::api::tenants::resource(kit)),
        "api-integrations" => functions::api(kit, accounts::api::integrations::resource(kit)),
        "api-dead-letters" => functions::api(kit, operations::api::resource(kit)),
        "api-events" => functions::api(kit, events::api::resource(kit)),
        "api-voice" => functions::api(kit, voice::api::resource(kit)),
        "api-queue" => functions::api(kit, work::api::queue::resource(kit)),
        "api-status" => functions::api(kit, work::api::status::resource(kit)),
        "webhook-inbound" => functions::api(kit, work::api::inbound::resource(kit)),
        _ => return None,
    })
}

fn authorize<C: Clock>(authorizer: &Authorizer<C>, event: Value) -> Outcome<'_> {
    Box::pin(async move {
        let request = serde_json::from_value(event).map_err(|error| error.to_string())?;
        let answer = authorizer.answer(&request).await.map_err(|error| error.to_string())?;
        serde_json::to_value(answer).map(Output::Json).map_err(|error| error.to_string())
    })
}

fn sweep_jobs<'a, C: Clock>(repositories: &'a JobRepositories, clock: &'a C) -> Outcome<'a> {
    Box::pin(async move {
        let ended = sweep::handle(repositories, clock).await;
        ended.map(|ended| Output::Json(ended.into())).map_err(|error| error.to_string())
    })
}

fn deliver<'a, C: Clock>(
    (store, queue): &'a (endpoints::Repository, queue::SqsQueue),
    clock: &'a C,
) -> Outcome<'a> {
    Box::pin(async move {
        let count = retries::handle(store, queue, clock).await;
        count.map(|count| Output::Json(count.into())).map_err(|error| error.to_string())
    })
}
