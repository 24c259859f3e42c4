//! The deployed functions of the hub, built in-process.

use domain::Provider;
use domain::ports::{Clock, Rng};
use runtime::{Kit, Network};
use simulation::functions::{self, Instance, Outcome, Output};

/// Creates the function `name` from `kit`, or returns `None` if there is no such function.
pub fn function<N, C, R>(
    name: &str,
    kit: &Kit<N, C, R>,
) -> Option<Result<Box<dyn Instance>, String>>
where
    N: Network,
    C: Clock + Clone + 'static,
    R: Rng + Clone + 'static,
{
    let provider = |prefix: &str| -> Option<Provider> {
        let name = name.strip_prefix(prefix)?;
        Provider::ALL.iter().copied().find(|provider| provider.resource_name() == name)
    };
    let webhook = name.strip_prefix("webhook-");
    if let Some(provider) = providers::webhooks().find(|known| Some(known.name()) == webhook) {
        return Some(functions::webhook(kit, provider));
    }
    if let Some(sender) = provider("sender-").and_then(providers::sender) {
        return Some(functions::consumer(runtime::sender::consumer(kit, sender)));
    }
    Some(match name {
        "consumer-inbound" => functions::consumer(runtime::inbound::consumer(kit)),
        "consumer-receipts" => functions::consumer(runtime::receipts::consumer(kit)),
        "consumer-automation" => functions::consumer(runtime::automation::consumer(kit)),
        "consumer-media" => functions::consumer(runtime::media::consumer(kit)),
        "consumer-events" => functions::consumer(runtime::events::consumer(kit)),
        "consumer-parked" => functions::consumer(runtime::parked::consumer(kit)),
        "consumer-replay" => functions::consumer(runtime::replay::consumer(kit)),
        "schedule-jobs" => functions::schedule(runtime::jobs::parts(kit), &kit.clock, sweep),
        "schedule-deliveries" => {
            functions::schedule(runtime::schedule::parts(kit), &kit.clock, deliver)
        }
        "api-authorizer" => functions::authorizer(runtime::api::authorizer::authorizer(kit)),
        "api-openapi" => Ok(functions::openapi()),
        "api-messages" => functions::api(kit, runtime::api::messages::resource(kit)),
        "api-conversations" => functions::api(kit, runtime::api::conversations::resource(kit)),
        "api-tenants" => functions::api(kit, runtime::api::tenants::resource(kit)),
        "api-integrations" => functions::api(kit, runtime::api::integrations::resource(kit)),
        "api-events" => functions::api(kit, runtime::api::events::resource(kit)),
        "api-voice" => functions::api(kit, runtime::api::voice::resource(kit)),
        "api-queue" => functions::api(kit, runtime::api::queue::resource(kit)),
        "api-status" => functions::api(kit, runtime::api::status::resource(kit)),
        "webhook-inbound" => functions::api(kit, runtime::api::inbound::resource(kit)),
        _ => return None,
    })
}

fn sweep<'a, C: Clock>(store: &'a store::DynamoStore, clock: &'a C) -> Outcome<'a> {
    Box::pin(async move {
        let ended = runtime::jobs::handle(store, clock).await;
        ended.map(|ended| Output::Json(ended.into())).map_err(|error| error.to_string())
    })
}

fn deliver<'a, C: Clock>(
    (store, queue): &'a (store::DynamoStore, queue::SqsQueue),
    clock: &'a C,
) -> Outcome<'a> {
    Box::pin(async move {
        let count = runtime::schedule::handle(store, queue, clock).await;
        count.map(|count| Output::Json(count.into())).map_err(|error| error.to_string())
    })
}
