//! Receives the calls of workflows: an app's own action, and the actions "Webhook" and "Custom
//! Webhook".

use std::collections::BTreeMap;

use domain::event::ParsedEvent;
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookReply, WebhookRequest,
    WebhookSource,
};
use domain::{Credentials, Integration, Provider};
use http::{Method, StatusCode};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::value::RawValue;

use super::wire::time;
use crate::raw::{fit, text_or_number};
use crate::{authorization, signature};

/// Event name of a workflow call: GoHighLevel gives it none.
const NAME: &str = "workflow.action";

/// Webhook for the calls of workflows.
#[derive(Clone, Copy, Debug)]
pub struct WorkflowAction;

impl WebhookProvider for WorkflowAction {
    fn provider(&self) -> Provider {
        Provider::Ghl
    }

    fn name(&self) -> &'static str {
        "workflow-action"
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(Source { tokens: credentials.all(super::WORKFLOW_TOKEN).to_vec() })
    }

    /// The response of an action becomes values in the workflow: README, fact 6.
    fn accepted(&self) -> WebhookReply {
        WebhookReply::json(StatusCode::OK, &serde_json::json!({ "success": true }))
    }
}

struct Source {
    tokens: Vec<SecretString>,
}

/// Fields that identify a call, so that retries are deduplicated: README, facts 6 and 7.
const IDS: &[&str] =
    &["webhookId", "executionId", "execution_id", "eventId", "event_id", "messageId", "message_id"];
/// Fields that name the location.
const LOCATIONS: &[&str] = &["locationId", "location_id"];
/// Fields that name the contact.
const CONTACTS: &[&str] = &["contactId", "contact_id"];

type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// A call: its body, and the nested objects with fields that the workflow's author defined.
struct Call<'a>(Vec<Fields<'a>>);

impl<'a> Call<'a> {
    /// The nested objects are those of an app's own action (`data`, `extras`) and of the action
    /// "Webhook" (`customData`). Outer fields take precedence.
    fn new(body: Fields<'a>) -> Self {
        let part = |name: &str| fit::<Fields<'a>>(body.get(name).copied());
        let parts: Vec<_> = ["data", "customData", "extras"].into_iter().filter_map(part).collect();
        Self(std::iter::once(body).chain(parts).collect())
    }

    /// Returns the first of the fields `names` that has a value, and its name.
    fn find<'n>(&self, names: &[&'n str]) -> Option<(&'n str, String)> {
        let value = |name: &'n str| {
            let mut values = self.0.iter().map(|part| text_or_number(part.get(name).copied()));
            values.find_map(|value| Some((name, value?)))
        };
        names.iter().copied().find_map(value)
    }

    fn account(&self) -> String {
        let location = || {
            let location = self.0.first()?.get("location").copied();
            text_or_number(fit::<Fields<'_>>(location)?.get("id").copied())
        };
        let named = |names| self.find(names).map(|(_, value)| value);
        let location = named(LOCATIONS).or_else(location);
        location.or_else(|| named(&["companyId"])).unwrap_or_default()
    }
}

impl WebhookSource for Source {
    fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        authorization::verify_bearer(&self.tokens, request)
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        // The workflow's author sees the response and can correct the body.
        let invalid = |_| Rejection::Invalid("the body must be a JSON object".to_owned());
        let raw: &RawValue = serde_json::from_slice(&request.body).map_err(invalid)?;
        let call = Call::new(serde_json::from_str(raw.get()).map_err(invalid)?);
        let id = call.find(IDS).map(|(name, value)| format!("{name}:{value}"));
        let id = id.unwrap_or_else(|| signature::fingerprint(&request.body));
        let at = call.0.first().and_then(|body| time(body.get("timestamp").copied()));
        let event = ParsedEvent::other(&call.account(), id, NAME, at, raw);
        Ok(ParsedWebhook::Events(vec![match call.find(CONTACTS) {
            Some((_, contact)) => event.ordered_by(format!("contact:{contact}")),
            None => event,
        }]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Seed;
    use crate::ghl::{WORKFLOW_ACTION, WORKFLOW_TOKEN, example};
    use bytes::Bytes;
    use domain::event::EventKind;
    use domain::integration::Settings;
    use domain::webhook::receive;
    use domain::{IntegrationId, TenantId};
    use http::HeaderMap;
    use serde_json::{Map, Value, json};

    fn receive_with(tokens: &[&str], request: &WebhookRequest) -> Result<ParsedWebhook, Rejection> {
        let integration = Integration {
            circuit: domain::circuit::Breaker::default(),
            id: IntegrationId::derived(&["ghl"]),
            tenant: TenantId::platform(),
            provider: Provider::Ghl,
            settings: Settings(Map::new()),
            account: None,
            hints: BTreeMap::default(),
            created_at: Timestamp::UNIX_EPOCH,
            credentials_at: Timestamp::UNIX_EPOCH,
            tenant_credentials: std::collections::BTreeSet::new(),
            trusted_ingest: false,
        };
        let tokens = tokens.iter().map(|token| (*token).into()).collect();
        let credentials = Credentials::new([(WORKFLOW_TOKEN.to_owned(), tokens)]);
        let source = WORKFLOW_ACTION.source(&integration, &credentials);
        receive(&*source, request, Timestamp::UNIX_EPOCH)
    }

    fn request(authorization: &str, body: &[u8]) -> WebhookRequest {
        let header = (http::header::AUTHORIZATION, authorization.parse().unwrap());
        WebhookRequest {
            method: Method::POST,
            headers: HeaderMap::from_iter([header]),
            body: Bytes::copy_from_slice(body),
            ..WebhookRequest::default()
        }
    }

    fn one(delivery: ParsedWebhook) -> ParsedEvent {
        match delivery {
            ParsedWebhook::Events(mut events) if events.len() == 1 => events.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn parse(body: &Value) -> ParsedEvent {
        let request = request("Bearer t", body.to_string().as_bytes());
        one(receive_with(&["t"], &request).unwrap())
    }

    #[test]
    fn every_example_is_accepted_and_has_its_account() {
        let seed = Seed {
            at: Timestamp::from_second(1_795_176_000).unwrap(),
            nonce: "0123456789abcdef".to_owned(),
        };
        let examples = example::EXAMPLES.events.iter();
        let examples = examples.filter(|one| one.webhook == WORKFLOW_ACTION.name());
        let ids =
            [Some("executionId:run-0123456789abcdef"), Some("event_id:run-0123456789abcdef"), None];
        for (example, id) in examples.zip(ids) {
            let draft = (example.draft)(&seed);
            let credentials = example::credentials();
            let signed = (example::EXAMPLES.sign)(example, &draft, &credentials, "", seed.at);
            let event = one(receive_with(&["old", "test-workflow-token"], &signed).unwrap());
            let fingerprint = signature::fingerprint(&signed.body);
            assert_eq!(event.id, id.unwrap_or(&fingerprint));
            assert_eq!(event.account, example::LOCATION);
            assert_eq!(event.ordering_key.unwrap(), format!("contact:{}", example::CONTACT));
            assert_eq!(event.kind, EventKind::Other { name: "workflow.action".into() });
            assert_eq!(event.raw.get().as_bytes(), &signed.body);
            assert!(receive_with(&["another"], &signed).is_err());
        }
    }

    #[test]
    fn every_token_verifies_during_rotation_and_nothing_verifies_without_one() {
        let proves =
            |tokens: &[&str], header: &str| match receive_with(tokens, &request(header, b"{}")) {
                Ok(_) => true,
                Err(Rejection::Unauthenticated(_)) => false,
                Err(other) => panic!("{other}"),
            };
        assert!(proves(&["old", "new"], "Bearer new"));
        assert!(proves(&["old", "new"], "bearer old"));
        for (tokens, header) in [
            (&[][..], "Bearer "),
            (&[""], "Bearer "),
            (&["t"], "Bearer"),
            (&["t"], "t"),
            (&["t"], ""),
            (&["t"], "Basic t"),
            (&["t"], "Bearer T"),
            (&["t"], "Bearer t t"),
            (&["t"], "Bearer"),
        ] {
            assert!(!proves(tokens, header), "{header}");
        }
        let mut get = request("Bearer t", b"{}");
        get.method = Method::GET;
        assert!(receive_with(&["t"], &get).is_err());
        let mut bare = request("Bearer t", b"{}");
        bare.headers.clear();
        assert!(receive_with(&["t"], &bare).is_err());
    }

    #[test]
    fn outer_fields_take_precedence() {
        let event = parse(&json!({
            "executionId": "outer", "data": { "executionId": "inner", "locationId": "inner" },
            "extras": { "locationId": "extra", "contactId": 7 }, "timestamp": 1,
        }));
        assert_eq!((event.id.as_str(), event.account.as_str()), ("executionId:outer", "inner"));
        assert_eq!(event.ordering_key.as_deref(), Some("contact:7"));
        assert_eq!(event.occurred_at.unwrap().as_second(), 1);
        assert_eq!(parse(&json!({ "companyId": "c" })).account, "c");
        assert_eq!(parse(&json!({})).account, "");
    }

    #[test]
    fn two_calls_without_an_id_differ_by_their_bytes() {
        let (first, second) = (parse(&json!({ "n": 1 })), parse(&json!({ "n": 2 })));
        assert_ne!(first.id, second.id);
        assert_eq!(first.id, parse(&json!({ "n": 1 })).id);
        // A contact has many calls: its id does not identify a call.
        let event = parse(&json!({ "contact_id": "c", "id": "c" }));
        assert_eq!(event.id.len(), 64);
    }

    #[test]
    fn an_invalid_body_is_reported_to_the_workflows_author() {
        for body in [&b""[..], b"{", b"[]", b"a=1", b"null", b"{\"a\":\"\xff\"}", b"1e999"] {
            let result = receive_with(&["t"], &request("Bearer t", body));
            assert!(matches!(result, Err(Rejection::Invalid(_))), "{body:?}");
        }
        let odd = json!({ "data": 1, "extras": [], "location": "l", "timestamp": {}, "id": null });
        assert_eq!(parse(&odd).account, "");
    }
}
