//! Receives n8n's webhooks: requests of the tenant's own workflows.

use std::borrow::Cow;

use domain::event::ParsedEvent;
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookReply, WebhookRequest,
    WebhookSource,
};
use domain::{Credentials, Integration, IntegrationId, Provider};
use http::{Method, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::wire::{self, Fields};
use crate::jwt::{self, Expiry};
use crate::{authorization, signature, standard_webhooks};

/// Header with the secret.
pub(super) const SECRET: &str = "x-webhook-secret";
/// Header that identifies the request and is equal when it is retried.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Prefix of a secret that can sign.
pub(super) const SIGNING_PREFIX: &str = "whsec_";

/// One of n8n's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook {
    name: &'static str,
    path: &'static str,
    event: Event,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    AiResponse,
    HumanTakeover,
}

impl Webhook {
    pub(super) const AI_RESPONSE: Self =
        Self { name: "n8n-ai-response", path: "n8n/ai-response", event: Event::AiResponse };
    pub(super) const HUMAN_TAKEOVER: Self = Self {
        name: "n8n-human-takeover",
        path: "n8n/human-takeover",
        event: Event::HumanTakeover,
    };
}

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::N8n
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn path(&self) -> &'static str {
        self.path
    }

    fn source(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Box<dyn WebhookSource> {
        let secrets = credentials.all(super::WEBHOOK_SECRET);
        let signing = |secret: &&SecretString| secret.expose_secret().starts_with(SIGNING_PREFIX);
        Box::new(Source {
            event: self.event,
            secrets: secrets.to_vec(),
            signing: secrets.iter().filter(signing).cloned().collect(),
            integration: integration.id,
            account: integration.account.clone().unwrap_or_default(),
        })
    }

    /// The response does not wait for processing; a workflow's HTTP node expects JSON.
    fn accepted(&self) -> WebhookReply {
        WebhookReply::json(StatusCode::ACCEPTED, &json!({ "status": "accepted" }))
    }
}

struct Source {
    event: Event,
    secrets: Vec<SecretString>,
    /// The secrets that can sign.
    signing: Vec<SecretString>,
    /// Two workflows of a tenant may use equal run ids.
    integration: IntegrationId,
    /// The account, because a body names none.
    account: String,
}

impl Source {
    /// Source: README, facts 1.
    fn verify_secret(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection> {
        if request.headers.contains_key(SECRET) {
            return self.is_secret(request.header(SECRET)?);
        }
        let (scheme, value) = authorization::parts(request)?;
        if scheme.eq_ignore_ascii_case("basic") {
            return self.is_secret(&authorization::decode_basic(value)?);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Rejection::Unauthenticated("authorization has an unknown scheme"));
        }
        // A bearer token may be the secret itself or a JWT; both are tried.
        self.is_secret(value).or_else(|_| {
            let claims = jwt::verify(&self.secrets, value, now, Expiry::Required);
            claims.map(|_: serde::de::IgnoredAny| ())
        })
    }

    fn is_secret(&self, given: &str) -> Result<(), Rejection> {
        if signature::is_one_of(&self.secrets, given) {
            return Ok(());
        }
        Err(Rejection::Unauthenticated("secret does not match"))
    }

    /// Returns the caller's idempotency key, which is equal when the request is retried.
    fn key<'a>(
        request: &'a WebhookRequest,
        fields: &Fields<'a>,
    ) -> Result<Cow<'a, str>, Rejection> {
        for (name, shown) in
            [(IDEMPOTENCY_KEY, "Idempotency-Key"), (standard_webhooks::ID, "webhook-id")]
        {
            if request.headers.contains_key(name) {
                // It must occur once and be plain text.
                let value = request.header(name);
                let value = value.map_err(|_| {
                    Rejection::Invalid(format!("{shown}: must be present once, as plain text"))
                })?;
                return wire::checked_key(shown, Cow::Borrowed(value));
            }
        }
        let missing =
            "Idempotency-Key: is missing: send it, webhook-id or the field idempotency_key";
        fields.idempotency_key()?.ok_or_else(|| Rejection::Invalid(missing.to_owned()))
    }
}

impl WebhookSource for Source {
    /// Source: README, facts 1. The secret is always required; a signature is verified in addition.
    fn verify(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        self.verify_secret(request, now)?;
        // An id without a signature is only an idempotency key.
        let signs = [standard_webhooks::SIGNATURE, standard_webhooks::TIMESTAMP];
        if signs.iter().any(|name| request.headers.contains_key(*name)) {
            for name in [standard_webhooks::ID, signs[0], signs[1]] {
                request.header(name)?;
            }
            standard_webhooks::verify(&self.signing, &request.headers, &request.body, now)?;
        }
        Ok(())
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let (name, known): (_, &[&str]) = match self.event {
            Event::AiResponse => (
                "ai.response",
                &["conversation", "epoch", "text", "content", "idempotency_key", "metadata"],
            ),
            Event::HumanTakeover => (
                "human.takeover",
                &["conversation", "epoch", "reason", "assignee", "idempotency_key", "metadata"],
            ),
        };
        let (fields, raw) = Fields::read(&request.body, known)?;
        let conversation = fields.conversation()?;
        fields.epoch()?;
        match self.event {
            Event::AiResponse => {
                fields.answer()?;
            }
            Event::HumanTakeover => {
                fields.optional_text("reason")?;
                fields.optional_text("assignee")?;
            }
        }
        fields.metadata()?;
        let key = Self::key(request, &fields)?;
        let id = format!("{}:{name}:{key}", self.integration);
        // The caller's time is not used: it would differ when the request is retried.
        let event = ParsedEvent::other(&self.account, id, name, None, raw);
        Ok(ParsedWebhook::Events(vec![event.ordered_by(conversation.to_string())]))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
