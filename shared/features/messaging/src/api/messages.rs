//! Messages: accepted from API clients, and returned with their history.

use std::time::Duration;

use accounts::api::tenants::{check_public_url, check_url};
use accounts::model::route;
use accounts::operator_credentials;
use accounts::ports::{Routes, TenantReader};
use domain::content::{
    Call, Content, Interactive, Location, MAX_CONTENT_BYTES, Media, Reaction, Template,
};
use domain::conversation::{Contact, Conversation, Parties};
use domain::failpoint::{self, Failpoint};
use domain::message::{Direction, Message, Status, Step};
use domain::ports::{Clock, MediaStore, Publisher, Rng};
use domain::provider::Channel;
use domain::task::{FailoverPlan, SendTask};
use domain::tenant::Scope;
use domain::{ConversationId, Integration, IntegrationId, MessageId, TenantId, sender};
use http::StatusCode;
use jiff::Timestamp;
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, SchemaOf, schema};
use runtime::digest::sha256;
use runtime::{AwsEnv, Env, Error, FeatureRepository, Kit, Network};
use schemars::JsonSchema;
use serde::Serialize;

use super::body::{MediaKind, SendMedia, SendMessage};
use super::compat::{self, CompatMessage, CreateCall, SendEndpoint};
use crate::outbound::{self, Outbound};
use crate::ports::{MediaState, MessageReader, Outgoing, Reservation};
use crate::{Repository, model};

/// Lifetime of a queued message: if it is not sent by then, it expires.
const MESSAGE_TTL: Duration = Duration::from_hours(24);
/// Lifetime of a media link.
const LINK_LIFETIME: Duration = Duration::from_mins(10);

/// API resource and its dependencies.
#[derive(Debug)]
pub struct Messages<E: Env> {
    /// Messages and conversations.
    pub store: Repository,
    /// Integrations and routes of the tenants.
    pub accounts: accounts::Repository,
    /// Outbound queues.
    pub outbound: Outbound<E::Queue>,
    /// Media storage.
    pub media_store: E::Bucket,
    /// Clock.
    pub clock: E::Clock,
    /// Random number generator, for ids.
    pub rng: E::Rng,
    /// DNS resolver for the hosts of media URLs.
    pub resolver: E::Resolver,
    /// Whether tenants may send media from a private network.
    pub skip_tenant_checks: bool,
}

/// Operations of the resource.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Send a message.
    Send(SendEndpoint),
    /// Get a message.
    Get,
    /// Get a presigned URL of a message's media.
    GetMedia,
}

/// A presigned URL of a message's media.
#[derive(Debug, Serialize, JsonSchema)]
struct MediaLink {
    /// Presigned URL.
    url: String,
    /// Lifetime of the URL in seconds.
    expires_in: u64,
}

const IDEMPOTENCY: &[(&str, &str, &str)] = &[(
    "Idempotency-Key",
    "header",
    "Idempotency key, 1 to 255 bytes. Requests with the same key and body within 24 hours return \
     the same message, which is sent once.",
)];

/// Returns a route that sends a message.
const fn send_route(
    endpoint: SendEndpoint,
    path: &'static str,
    summary: &'static str,
    request: SchemaOf,
) -> Route<Operation> {
    Route {
        operation: Operation::Send(endpoint),
        method: "POST",
        path,
        summary,
        scope: Some(Scope::Send),
        parameters: IDEMPOTENCY,
        request: Some(request),
        answer: (202, Some(schema::<Message>)),
    }
}

const TENANT: &[(&str, &str, &str)] =
    &[("tenant", "query", "Tenant to act for. Required with the platform key.")];

/// Routes of the resource.
pub const ROUTES: &[Route<Operation>] = &[
    send_route(SendEndpoint::Messages, "/messages", "Send a message", schema::<SendMessage>),
    send_route(
        SendEndpoint::Engine,
        "/messages/send",
        "Send a message in the format of the WhatsApp engine API",
        schema::<CompatMessage>,
    ),
    send_route(
        SendEndpoint::Whatsapp,
        "/whatsapp/send",
        "Send a WhatsApp message",
        schema::<CompatMessage>,
    ),
    send_route(
        SendEndpoint::Telegram,
        "/telegram/send",
        "Send a Telegram message",
        schema::<CompatMessage>,
    ),
    send_route(SendEndpoint::Sms, "/sms/send", "Send an SMS message", schema::<CompatMessage>),
    send_route(SendEndpoint::Calls, "/calls", "Create a phone call", schema::<CreateCall>),
    Route {
        operation: Operation::Get,
        method: "GET",
        path: "/messages/{id}",
        summary: "Get a message and its history",
        scope: Some(Scope::Read),
        parameters: TENANT,
        request: None,
        answer: (200, Some(schema::<Message>)),
    },
    Route {
        operation: Operation::GetMedia,
        method: "GET",
        path: "/messages/{id}/media",
        summary: "Redirect to a presigned URL of the message's media",
        scope: Some(Scope::Read),
        parameters: TENANT,
        request: None,
        answer: (302, Some(schema::<MediaLink>)),
    },
];

impl<E: Env> Resource for Messages<E> {
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::Send(endpoint) => self.send(request, endpoint).await,
            Operation::Get => {
                let tenant = request.tenant(Scope::Read, None)?;
                let found = self.store.message(&tenant, params.get("id")?).await?;
                let (message, _) = found.ok_or_else(Problem::not_found)?;
                ApiReply::json(StatusCode::OK, &message)
            }
            Operation::GetMedia => {
                let tenant = request.tenant(Scope::Read, None)?;
                let found = self.store.message(&tenant, params.get("id")?).await?;
                self.media(found.ok_or_else(Problem::not_found)?.1).await
            }
        }
    }
}

/// Integration, recipient and conversation of a message to send.
struct Target {
    integration: Integration,
    channel: Channel,
    account: String,
    to: String,
    /// The conversation, if it exists already.
    conversation: Option<Conversation>,
    /// Failover plan.
    failover: FailoverPlan,
    /// The tenant's other integrations for the channel, with those of the failover plan.
    others: Vec<Integration>,
}

/// Returns the problem for a provider through which the hub cannot send.
pub(super) fn cannot_send() -> Problem {
    Problem::of_provider(&providers::cannot_send())
}

/// Returns whether messages can be sent through an integration. The operator's own app, which
/// serves all tenants, has no account to send from.
fn sends(integration: &Integration) -> bool {
    let has_account = integration.account.is_some() || !integration.tenant.is_platform();
    has_account && !integration.provider.channels().is_empty()
}

/// Idempotency key of a request.
#[derive(Clone, Copy, Debug)]
struct Idempotency<'a> {
    /// Hash of the key.
    key: &'a str,
    /// Hash of the request.
    request: &'a str,
}

impl Target {
    fn parties<'a>(&'a self, tenant: &'a TenantId) -> Parties<'a> {
        let channel = self.channel;
        Parties { tenant, channel, account: &self.account, counterpart: &self.to }
    }
}

impl<E: Env> Messages<E> {
    async fn media(&self, state: Option<MediaState>) -> Result<ApiReply, Problem> {
        match state {
            Some(MediaState::Stored { key, content_type }) => {
                let headers = model::headers(&content_type);
                let url = self.media_store.link(&key, headers, LINK_LIFETIME).await?;
                let link = MediaLink { url: url.clone(), expires_in: LINK_LIFETIME.as_secs() };
                let reply = ApiReply::json(StatusCode::FOUND, &link)?;
                Ok(ApiReply { location: Some(url), ..reply })
            }
            Some(MediaState::Pending) => Err(Problem::new(
                StatusCode::CONFLICT,
                "media_pending",
                "The media is not available yet",
                "it is being downloaded from the provider: try again in a moment".to_owned(),
            )),
            Some(MediaState::Failed { code }) => Err(Problem::new(
                StatusCode::GONE,
                "media_unavailable",
                "The media could not be downloaded",
                format!("the provider returned {code}: ask the sender to send the media again"),
            )),
            None => Err(Problem::not_found()),
        }
    }

    async fn send(
        &self,
        request: &ApiRequest,
        endpoint: SendEndpoint,
    ) -> Result<ApiReply, Problem> {
        request.principal(Scope::Send)?;
        let input = compat::read(request, endpoint)?;
        let tenant = request.tenant(Scope::Send, input.tenant.as_ref())?;
        let now = self.clock.now();
        let body = String::from_utf8_lossy(&request.body);
        let body = match endpoint {
            SendEndpoint::Messages => sha256(&body),
            // The same body means something else at another endpoint.
            _ => sha256(&format!("{} {body}", request.path)),
        };
        let key = request.idempotency_key.as_deref().map(idempotency_key).transpose()?;
        let idempotency = key.as_deref().map(|key| Idempotency { key, request: &body });
        if let Some(reply) = self.first_reply(&tenant, idempotency, now).await? {
            return Ok(reply);
        }
        let (mut target, mut content, reply_to) = self.prepare(&tenant, input).await?;
        self.check_window(&tenant, &target, &content).await?;
        let provider_reply_to =
            self.resolve_references(&tenant, &target, &mut content, reply_to).await?;
        let id = MessageId::new(now, self.rng.bits());
        let outgoing = sender::Outgoing {
            id,
            channel: target.channel,
            integration: target.integration.id,
            hub_url: None,
            to: &target.to,
            content: &content,
            reply_to: provider_reply_to.as_deref(),
        };
        providers::check(&target.integration, &outgoing).map_err(|e| Problem::of_provider(&e))?;
        let size = serde_json::to_vec(&content).map_err(|_| Problem::internal())?.len();
        if size > MAX_CONTENT_BYTES {
            return Err(content_too_large(&content));
        }
        self.check_trust(request, &mut target, &content).await?;
        let conversation = conversation(&tenant, &target, now);
        let is_known = target.conversation.is_some();
        // Create a new conversation before its first message is queued: nothing creates it later.
        let (reserved, created) =
            futures::join!(self.reserve(&tenant, idempotency, id, now), async {
                if is_known {
                    Ok(())
                } else {
                    self.store.upsert_outbound_conversation(&conversation).await
                }
            });
        let id = reserved?;
        created?;
        let message = Message {
            id,
            conversation: conversation.id,
            channel: target.channel,
            provider: target.integration.provider,
            integration: target.integration.id,
            direction: Direction::Outbound,
            content,
            status: Status::Queued,
            provider_message_id: None,
            reply_to: reply_to.map(|id| id.to_string()),
            created_at: now,
            occurred_at: None,
            history: vec![Step::plain(Status::Queued, now)],
            tenant,
        };
        let touched = is_known.then_some(conversation);
        let (to, failover) = (target.to, target.failover);
        let expires_at = message.created_at + MESSAGE_TTL;
        let reply_to = provider_reply_to;
        self.accept(SendTask { message, to, reply_to, expires_at, failover }, touched).await
    }

    /// Returns the response of the first request with this idempotency key, if there was one. A
    /// repeated request gets it even if other data has changed since.
    async fn first_reply(
        &self,
        tenant: &TenantId,
        idempotency: Option<Idempotency<'_>>,
        now: Timestamp,
    ) -> Result<Option<ApiReply>, Problem> {
        let Some(Idempotency { key, request }) = idempotency else { return Ok(None) };
        match self.store.reserved(tenant, key, request, now).await? {
            Reservation::Other => Err(key_reused()),
            Reservation::Same(id) => {
                let found = self.store.message(tenant, id).await?;
                found.map(|(message, _)| accepted(&message)).transpose()
            }
            Reservation::New => Ok(None),
        }
    }

    /// Reserves the idempotency key for the message `id`. Returns the id of the message to create:
    /// that of the first request with the key, if there was one.
    async fn reserve(
        &self,
        tenant: &TenantId,
        idempotency: Option<Idempotency<'_>>,
        id: MessageId,
        now: Timestamp,
    ) -> Result<MessageId, Problem> {
        let Some(Idempotency { key, request }) = idempotency else { return Ok(id) };
        match self.store.reserve(tenant, key, request, id, now).await? {
            Reservation::New => Ok(id),
            // A concurrent request was faster, or an earlier one crashed before it responded.
            Reservation::Same(_) if failpoint::is_active(Failpoint::KeyForgotten) => Ok(id),
            Reservation::Same(first) => Ok(first),
            Reservation::Other => Err(key_reused()),
        }
    }

    /// Replaces the id of the message that a reaction is about by its provider message id, and
    /// returns the provider message id of the message `reply_to`.
    ///
    /// A provider message id is valid only for the account it belongs to. If the message is sent
    /// through another integration, it is sent without the reply reference.
    async fn resolve_references(
        &self,
        tenant: &TenantId,
        target: &Target,
        content: &mut Content,
        reply_to: Option<MessageId>,
    ) -> Result<Option<String>, Problem> {
        let conversation = target.parties(tenant).conversation();
        let of_account = |found: Option<(IntegrationId, String)>| {
            let (_, id) = found.filter(|(integration, _)| *integration == target.integration.id)?;
            Some(id)
        };
        let answered = self.resolve(tenant, conversation, "reply_to", reply_to).await?;
        if let Content::Reaction { reaction } = content
            && let Ok(id) = reaction.message_id.parse::<MessageId>()
        {
            let field = "reaction.message_id";
            let resolved = self.resolve(tenant, conversation, field, Some(id)).await?;
            reaction.message_id = of_account(resolved).ok_or_else(|| {
                let detail =
                    "that message belongs to another account; only that account can react to it";
                Problem::invalid(field, detail.to_owned())
            })?;
        }
        Ok(of_account(answered))
    }

    /// Rejects media and call URLs in a private network, unless the operator sends them: a public
    /// provider cannot fetch them, and a server in the operator's network must not. Rejects calls
    /// and templates that could use more of the operator's account than the integration, and
    /// removes integrations that would be used for more from the failover plan.
    async fn check_trust(
        &self,
        request: &ApiRequest,
        target: &mut Target,
        content: &Content,
    ) -> Result<(), Problem> {
        if self.skip_tenant_checks || request.platform().is_ok() {
            return Ok(());
        }
        operator_credentials::check_content(&target.integration, content)?;
        let others = &target.others;
        let is_refused = |id: &IntegrationId| {
            let mut planned = others.iter().filter(|other| other.id == *id);
            planned.any(|other| operator_credentials::check_content(other, content).is_err())
        };
        target.failover.remaining.retain(|id| !is_refused(id));
        let (field, url) = match content {
            Content::Call { call } => ("call.url", call.url.as_deref()),
            other => ("media.url", other.media().and_then(|media| media.url.as_deref())),
        };
        let Some(url) = url else { return Ok(()) };
        let remedy = "or ask the operator to send it with the platform key";
        // Ignore a host name that does not resolve here: the provider may resolve it.
        check_public_url(&self.resolver, field, url, remedy).await.map(|_| ())
    }

    /// Queues the message durably, then records it in the table and updates the conversation
    /// `known`.
    async fn accept(
        &self,
        task: SendTask,
        known: Option<Conversation>,
    ) -> Result<ApiReply, Problem> {
        let message = task.message.clone();
        let record = outbound::record(task)?;
        // The message is accepted once it is queued: the record has everything the sender needs,
        // including what it needs to store the message if the next two writes fail.
        let queue = self.outbound.of(message.provider).ok_or_else(cannot_send)?;
        queue.publish(vec![record]).await?;
        let (enqueued, touched) = futures::join!(self.store.enqueue(&message), async {
            match &known {
                Some(known) => self.store.upsert_outbound_conversation(known).await,
                None => Ok(()),
            }
        });
        if let Err(error) = enqueued.and(touched) {
            tracing::warn!(message_id = %message.id, %error, "message queued, but not yet stored");
        }
        tracing::info!(
            tenant = %message.tenant, message_id = %message.id, kind = message.content.kind(),
            "message queued"
        );
        accepted(&message)
    }

    /// Resolves the target and the content of a message.
    async fn prepare(
        &self,
        tenant: &TenantId,
        input: SendMessage,
    ) -> Result<(Target, Content, Option<MessageId>), Problem> {
        let to = match (input.conversation, input.to) {
            (Some(id), None) => To::Conversation(id),
            (None, Some(to)) => To::Address(to, input.channel),
            (Some(_), Some(_)) => {
                let detail = "set either `to` or `conversation`, not both".to_owned();
                return Err(Problem::invalid("to", detail));
            }
            (None, None) => {
                let detail = "missing: set `to` and `channel`, or set `conversation`";
                return Err(Problem::invalid("to", detail.to_owned()));
            }
        };
        let content = content(
            input.text,
            input.media,
            input.template,
            input.interactive,
            input.location,
            input.reaction,
            input.call,
        )?;
        let target = match to {
            To::Conversation(id) => self.known(tenant, id, input.integration).await?,
            To::Address(to, channel) => {
                self.addressed(tenant, &to, channel, input.integration).await?
            }
        };
        if matches!(content, Content::Call { .. }) != (target.channel == Channel::Voice) {
            let detail =
                "a `call` needs the channel `voice`, and `voice` accepts only a `call`".to_owned();
            return Err(Problem::invalid("channel", detail));
        }
        Ok((target, content, input.reply_to))
    }

    async fn known(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        integration: Option<IntegrationId>,
    ) -> Result<Target, Problem> {
        let (conversation, integrations) = futures::join!(
            self.store.conversation(tenant, id),
            self.accounts.integrations_of(tenant),
        );
        let conversation = conversation?.ok_or_else(|| {
            Problem::invalid("conversation", "no such conversation exists".to_owned())
        })?;
        let channel = conversation.channel;
        let mut candidates = integrations?;
        candidates.retain(|candidate| can_send(candidate, channel));
        let wanted = integration.unwrap_or(conversation.integration);
        let position = candidates.iter().position(|candidate| candidate.id == wanted);
        let own = position.map(|position| candidates.swap_remove(position));
        if own.as_ref().is_some_and(|own| own.conversation_account() != conversation.account) {
            let detail = "the conversation belongs to another account: send with `to`".to_owned();
            return Err(Problem::invalid("integration", detail));
        }
        // Naming an integration disables failover.
        let route = match integration {
            None => self.accounts.route(tenant, channel).await?,
            Some(_) => None,
        };
        let mut remaining = route.as_ref().map_or_else(Vec::new, |r| r.order(Some(wanted), 0.0));
        remaining.retain(|id| candidates.iter().any(|candidate| candidate.id == *id));
        let own = own.or_else(|| {
            // The conversation's integration cannot send. Use the route instead, or the only
            // integration that the tenant has for the channel.
            let substitute = match (integration, remaining.first(), &candidates[..]) {
                (None, Some(first), _) => candidates.iter().find(|c| c.id == *first).cloned(),
                (None, None, [one]) => Some(one.clone()),
                // A named integration is not replaced.
                _ => None,
            };
            remaining.retain(|id| substitute.as_ref().is_none_or(|one| one.id != *id));
            substitute
        });
        let first = own.ok_or_else(|| no_integration(channel))?;
        let failover = failover(remaining, route.as_ref());
        Ok(Target {
            integration: first,
            channel,
            account: conversation.account.clone(),
            to: conversation.contact.address.clone(),
            conversation: Some(conversation),
            failover,
            others: candidates,
        })
    }

    async fn addressed(
        &self,
        tenant: &TenantId,
        to: &str,
        channel: Option<Channel>,
        integration: Option<IntegrationId>,
    ) -> Result<Target, Problem> {
        let (integration, channel, failover, others) = match (integration, channel) {
            (None, None) => {
                let detail = "missing: set it to whatsapp, telegram, sms or voice".to_owned();
                return Err(Problem::invalid("channel", detail));
            }
            (Some(id), channel) => {
                let (integration, channel) = self.named(tenant, id, channel).await?;
                (integration, channel, FailoverPlan::default(), Vec::new())
            }
            (None, Some(channel)) => {
                let (integration, failover, others) = self.routed(tenant, to, channel).await?;
                (integration, channel, failover, others)
            }
        };
        let to = providers::address(integration.provider, to)
            .map_err(|error| Problem::of_provider(&error))?;
        let account = integration.conversation_account();
        let parties = Parties { tenant, channel, account: &account, counterpart: &to };
        let conversation = self.store.conversation(tenant, parties.conversation()).await?;
        Ok(Target { integration, channel, account, to, conversation, failover, others })
    }

    /// Returns the integration that the request names.
    async fn named(
        &self,
        tenant: &TenantId,
        id: IntegrationId,
        channel: Option<Channel>,
    ) -> Result<(Integration, Channel), Problem> {
        let integrations = self.accounts.integrations_of(tenant).await?;
        let found = integrations.into_iter().find(|integration| integration.id == id);
        let found = found.and_then(|integration| {
            let first = integration.provider.channels().first().copied();
            let channel = channel.or(first)?;
            can_send(&integration, channel).then_some((integration, channel))
        });
        found.ok_or_else(|| {
            let detail = "the tenant has no such integration for this channel".to_owned();
            Problem::invalid("integration", detail)
        })
    }

    /// Returns the integration, the failover plan and the other integrations for a message on
    /// `channel`: from the tenant's route or, without one, the tenant's only integration for the
    /// channel.
    async fn routed(
        &self,
        tenant: &TenantId,
        to: &str,
        channel: Channel,
    ) -> Result<(Integration, FailoverPlan, Vec<Integration>), Problem> {
        let (route, integrations) = futures::join!(
            self.accounts.route(tenant, channel),
            self.accounts.integrations_of(tenant)
        );
        let (route, mut candidates) = (route?, integrations?);
        candidates.retain(|candidate| can_send(candidate, channel));
        if let Some(route) = &route {
            // The choice is always the same for a recipient, who so sees one account.
            let order = route.order(None, recipient_fraction(tenant, to));
            let mut order = order.into_iter().filter(|id| candidates.iter().any(|c| c.id == *id));
            if let Some(first) = order.next()
                && let Some(position) = candidates.iter().position(|c| c.id == first)
            {
                let failover = failover(order.collect(), Some(route));
                return Ok((candidates.swap_remove(position), failover, candidates));
            }
        }
        let mut candidates = candidates.into_iter();
        match (candidates.next(), candidates.next()) {
            (Some(one), None) => Ok((one, FailoverPlan::default(), Vec::new())),
            (Some(_), Some(_)) => {
                let detail =
                    "the tenant has several integrations for this channel: name one".to_owned();
                Err(Problem::invalid("integration", detail))
            }
            (None, _) => Err(no_integration(channel)),
        }
    }

    /// Checks the service window before the message is accepted: that of the sending account, which
    /// is not always the conversation's account.
    async fn check_window(
        &self,
        tenant: &TenantId,
        target: &Target,
        content: &Content,
    ) -> Result<(), Problem> {
        let window = providers::service_window(target.integration.provider, target.channel);
        let Some(window) = window.filter(|_| !matches!(content, Content::Template { .. })) else {
            return Ok(());
        };
        let now = self.clock.now();
        let account = target.integration.conversation_account();
        let conversation = if account == target.account {
            target.conversation.clone()
        } else {
            let to = providers::address(target.integration.provider, &target.to);
            let to = to.map_err(|error| Problem::of_provider(&error))?;
            let parties =
                Parties { tenant, channel: target.channel, account: &account, counterpart: &to };
            self.store.conversation(tenant, parties.conversation()).await?
        };
        if conversation.is_some_and(|conversation| conversation.in_service_window(now, window)) {
            return Ok(());
        }
        let detail = "the recipient has not written within the last 24 hours, so WhatsApp accepts \
             only templates: send a `template`, or wait until the recipient writes";
        Err(Problem::invalid(content_field(content), detail.to_owned())
            .with_code("outside_service_window"))
    }

    /// Returns the integration and the provider message id of a message in the conversation.
    async fn resolve(
        &self,
        tenant: &TenantId,
        conversation: ConversationId,
        field: &str,
        id: Option<MessageId>,
    ) -> Result<Option<(IntegrationId, String)>, Problem> {
        let Some(id) = id else { return Ok(None) };
        let found = self.store.message(tenant, id).await?;
        let (message, _) =
            found.ok_or_else(|| Problem::invalid(field, "no such message exists".to_owned()))?;
        if message.conversation != conversation {
            let detail = "that message belongs to another conversation".to_owned();
            return Err(Problem::invalid(field, detail));
        }
        let integration = message.integration;
        message.provider_message_id.map(|id| Some((integration, id))).ok_or_else(|| {
            let detail = "the provider has not accepted that message yet: try again later";
            Problem::invalid(field, detail.to_owned())
        })
    }
}

/// Returns whether messages on `channel` can be sent through an integration.
fn can_send(integration: &Integration, channel: Channel) -> bool {
    sends(integration) && integration.provider.supports(channel)
}

fn failover(remaining: Vec<IntegrationId>, route: Option<&route::Route>) -> FailoverPlan {
    let policy = route.map(|route| route.policy);
    let patience = policy.map_or(0, |policy| policy.patience_seconds);
    let after_acceptance = policy.is_some_and(|policy| policy.failover_after_acceptance);
    if remaining.is_empty() {
        FailoverPlan::default()
    } else {
        FailoverPlan { remaining, patience, after_acceptance, ..FailoverPlan::default() }
    }
}

/// Returns a number in `0.0..1.0` that is always the same for a recipient.
fn recipient_fraction(tenant: &TenantId, to: &str) -> f64 {
    // Ignore how the number is formatted.
    let to: String = to.chars().filter(char::is_ascii_alphanumeric).collect();
    let hash = sha256(&format!("{tenant}:{to}"));
    let bits = hash.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    f64::from(bits.unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}

enum To {
    Conversation(ConversationId),
    Address(String, Option<Channel>),
}

fn accepted(message: &Message) -> Result<ApiReply, Problem> {
    ApiReply::json(StatusCode::ACCEPTED, message)
}

fn idempotency_key(key: &str) -> Result<String, Problem> {
    if (1..=255).contains(&key.len()) {
        Ok(sha256(key))
    } else {
        Err(Problem::invalid("Idempotency-Key", "must be 1 to 255 bytes".to_owned()))
    }
}

fn content_too_large(content: &Content) -> Problem {
    let detail = "the content must be at most 64 KiB of JSON".to_owned();
    Problem::invalid(content_field(content), detail)
}

fn key_reused() -> Problem {
    let detail = "this key was used for a different request: use a new key".to_owned();
    Problem::invalid("Idempotency-Key", detail).with_code("idempotency_key_reused")
}

fn no_integration(channel: Channel) -> Problem {
    let detail = format!("the tenant has no integration for {channel}: create one first");
    Problem::invalid("channel", detail).with_code("no_integration")
}

fn conversation(tenant: &TenantId, target: &Target, now: jiff::Timestamp) -> Conversation {
    if let Some(known) = &target.conversation {
        // A substitute integration does not become the conversation's integration.
        let is_own = target.integration.conversation_account() == known.account;
        let integration = if is_own { target.integration.id } else { known.integration };
        return Conversation { last_activity_at: now, integration, ..known.clone() };
    }
    let parties = target.parties(tenant);
    let channel = parties.channel;
    Conversation {
        id: parties.conversation(),
        contact: Contact { id: parties.contact(), address: target.to.clone(), name: None },
        tenant: tenant.clone(),
        channel,
        provider: target.integration.provider,
        integration: target.integration.id,
        account: target.account.clone(),
        created_at: now,
        last_activity_at: now,
        last_inbound_at: None,
        last_inbound_message: None,
    }
}

/// Returns the field of `POST /messages` that holds a content.
fn content_field(content: &Content) -> &'static str {
    match content {
        Content::Text { .. } => "text",
        Content::Interactive { .. } => "interactive",
        Content::Location { .. } => "location",
        Content::Reaction { .. } => "reaction",
        Content::Template { .. } => "template",
        Content::Call { .. } => "call",
        _ => "media",
    }
}

/// Returns the only content of the request.
fn content(
    text: Option<String>,
    media: Option<SendMedia>,
    template: Option<Template>,
    interactive: Option<Interactive>,
    location: Option<Location>,
    reaction: Option<Reaction>,
    call: Option<Call>,
) -> Result<Content, Problem> {
    let media = media.map(|given| {
        let media = Media {
            url: Some(given.url),
            caption: given.caption,
            filename: given.filename,
            ..Media::default()
        };
        match given.kind {
            MediaKind::Image => Content::Image { media },
            MediaKind::Video => Content::Video { media },
            MediaKind::Audio => Content::Audio { media },
            MediaKind::Document => Content::Document { media },
            MediaKind::Sticker => Content::Sticker { media },
        }
    });
    let given = [
        text.map(|text| Content::Text { text }),
        media,
        template.map(|template| Content::Template { template }),
        interactive.map(|interactive| Content::Interactive { interactive }),
        location.map(|location| Content::Location { location }),
        reaction.map(|reaction| Content::Reaction { reaction }),
        call.map(|call| Content::Call { call }),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(content), None) => {
            if let Some(url) = content.media().and_then(|media| media.url.as_deref()) {
                check_url("media.url", url)?;
            }
            Ok(content)
        }
        (None, _) => {
            let detail =
                "missing: set one of text, media, template, interactive, location, reaction, call";
            Err(Problem::invalid("text", detail.to_owned()))
        }
        (Some(_), Some(second)) => {
            let detail = "a message has exactly one content: send several messages".to_owned();
            Err(Problem::invalid(content_field(&second), detail))
        }
    }
}

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<E: AwsEnv>(kit: &Kit<E>) -> Result<Messages<E>, Error> {
    let bucket = kit.bucket()?;
    Ok(Messages {
        store: kit.repository()?,
        accounts: kit.repository()?,
        outbound: Outbound::new(kit, Some(&bucket))?,
        media_store: bucket,
        clock: kit.clock.clone(),
        rng: kit.rng.clone(),
        resolver: kit.network.resolver(),
        skip_tenant_checks: kit.skip_tenant_checks(),
    })
}

/// Serves the resource until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    accounts::rate_limit::serve(resource, async |resource| {
        let queue = async {
            if let Some(queue) = resource.outbound.any() {
                queue.prewarm().await;
            }
        };
        futures::join!(resource.store.prewarm(), queue);
    })
}
