//! Messaging, automations, jobs and events in the simulation: functions, fixtures, scenarios and
//! invariants.

pub mod check;
pub mod fixtures;
pub mod functions;
mod part;
pub mod scenario;

use std::borrow::Cow;
use std::sync::Arc;

use simulation::feature::{Feature, Fixtures, Schedule, Work};
use simulation::functions::{Instance, SimulationKit};
use simulation::initial_state::Setup;
use simulation::monitor::Invariant;
use simulation::scenario::{CanonicalScenario, Scenario};
use testkit::cloud::Cloud;
use testkit::cloud::dynamo::Attribute;

/// The messaging feature of the simulation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Messaging;

impl Feature for Messaging {
    fn name(&self) -> &'static str {
        "messaging"
    }

    fn invariants(&self) -> Vec<Invariant> {
        check::INVARIANTS.to_vec()
    }

    fn secrets(&self) -> Vec<&'static str> {
        let shop = providers::shopify::example::API_SECRET;
        vec!["EAAG-", "app-secret", "verify-token", ":AAHdqTcv", shop]
    }

    fn function(
        &self,
        name: &str,
        kit: &SimulationKit,
    ) -> Option<Result<Box<dyn Instance>, String>> {
        functions::function(name, kit)
    }

    fn schedules(&self) -> Vec<Schedule> {
        vec![Schedule { function: "schedule-deliveries", next_due_ms: next_retry_ms }]
    }

    fn redact_path<'a>(&self, path: Cow<'a, str>) -> Cow<'a, str> {
        if path.starts_with("/webhooks/telegram/") {
            return Cow::Borrowed("/webhooks/telegram/{secret}");
        }
        if !path.contains("/bot") {
            return path;
        }
        // The path of a request to Telegram contains the bot's token.
        let hidden =
            |part: &str| match part.strip_prefix("bot").and_then(|rest| rest.split_once(':')) {
                Some((id, _)) => format!("bot{id}"),
                None => part.to_owned(),
            };
        Cow::Owned(path.split('/').map(hidden).collect::<Vec<_>>().join("/"))
    }

    fn set_up<'a>(&'a self, setup: &'a mut Setup) -> Work<'a, Result<Box<dyn Fixtures>, String>> {
        Box::pin(async move {
            let world = fixtures::set_up(setup).await?;
            Ok(Box::new(fixtures::MessagingFixtures(Arc::new(world))) as Box<dyn Fixtures>)
        })
    }

    fn scenarios(&self) -> Vec<CanonicalScenario> {
        scenario::canonical_scenarios()
    }

    fn random_scenario(&self, seed: u64) -> Option<Scenario> {
        Some(scenario::random_scenario(seed))
    }
}

/// Table of the messages and conversations.
pub(crate) const MESSAGING_TABLE: &str = "MessagingTable";
/// Table of the events.
pub(crate) const EVENTS_TABLE: &str = "EventsTable";
/// Table of the notifications.
const ENDPOINTS_TABLE: &str = "EndpointsTable";

/// When the next notification retry in the table is due.
fn next_retry_ms(cloud: &Cloud) -> Option<i64> {
    let due = cloud.dynamo.items(ENDPOINTS_TABLE).filter(|item| {
        item.get("pk").and_then(Attribute::text).is_some_and(|pk| pk.starts_with("DUE#"))
    });
    due.filter_map(|item| item.get("sk")?.text()?.split('#').next()?.parse().ok()).min()
}
