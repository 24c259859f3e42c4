//! Messages: taken in from callers, and shown with their history.

use std::time::Duration;

use domain::content::{Call, Content, Interactive, Location, Media, Reaction, Template};
use domain::conversation::{Contact, Conversation, Parties};
use domain::failpoint::{self, Failpoint};
use domain::job::{Relay, SendTask};
use domain::message::{Direction, Message, Status, Step};
use domain::ports::{
    Clock, Dice, Library, MediaShelf, MediaState, Outgoing, Publisher, Reservation, Resolver,
    Routes,
};
use domain::provider::Channel;
use domain::sender::SendError;
use domain::tenant::Scope;
use domain::{ConversationId, Integration, IntegrationId, MessageId, TenantId, sender};
use http::StatusCode;
use queue::{Bucket, SqsQueue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::DynamoStore;

use super::authorizer::hash;
use super::doors::{self, Door, EngineMessage, MakeCall};
use super::giver;
use super::tenants::{check_reach, check_url};
use super::{ApiReply, ApiRequest, Params, Problem, Resource, Route, SchemaOf, schema};
use crate::outbound::{Outbound, OutboundQueues};
use crate::{Error, Kit, Network};

/// How long a message may wait before it is too late to send it.
const EXPIRY: Duration = Duration::from_hours(24);
/// The largest content in bytes: far above what any provider takes, far below what the table
/// keeps.
const LARGEST_CONTENT: usize = 64 * 1024;
/// How long a link to a file works.
const LINK: Duration = Duration::from_mins(10);

/// What the resource needs.
#[derive(Debug)]
pub struct Messages<S, Q, B, C, R, D> {
    /// The table.
    pub store: S,
    /// The senders' queues.
    pub outbound: Q,
    /// Files.
    pub shelf: B,
    /// The time.
    pub clock: C,
    /// Ids.
    pub dice: R,
    /// Host names of files.
    pub resolver: D,
    /// Whether tenants may send files from a private network.
    pub trust_tenants: bool,
}

/// Its operations.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Send a message.
    Send(Door),
    /// Show a message.
    Show,
    /// Link to a message's file.
    Media,
}

/// Body of `POST /messages`: to whom, and exactly one kind of content.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SendMessage {
    /// Which tenant sends, for the platform's key.
    #[serde(default)]
    pub(super) tenant: Option<TenantId>,
    /// A telephone number in international form, or a chat id. With `channel`.
    #[serde(default)]
    pub(super) to: Option<String>,
    /// What it travels on. With `to`.
    #[serde(default)]
    pub(super) channel: Option<Channel>,
    /// A conversation, in the place of `to` and `channel`.
    #[serde(default)]
    pub(super) conversation: Option<ConversationId>,
    /// Which account sends it, where the tenant has several.
    #[serde(default)]
    pub(super) integration: Option<IntegrationId>,
    /// Plain text.
    #[serde(default)]
    pub(super) text: Option<String>,
    /// A file.
    #[serde(default)]
    pub(super) media: Option<SendMedia>,
    /// A message the provider approved beforehand.
    #[serde(default)]
    pub(super) template: Option<Template>,
    /// Text with buttons or a list.
    #[serde(default)]
    pub(super) interactive: Option<Interactive>,
    /// A place.
    #[serde(default)]
    pub(super) location: Option<Location>,
    /// An emoji on a message.
    #[serde(default)]
    pub(super) reaction: Option<Reaction>,
    /// A telephone call, on the channel `voice`.
    #[serde(default)]
    pub(super) call: Option<Call>,
    /// The message it answers.
    #[serde(default)]
    pub(super) reply_to: Option<MessageId>,
}

/// A file to send.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SendMedia {
    /// What kind.
    #[serde(rename = "type")]
    pub(super) kind: MediaKind,
    /// Where the provider fetches it.
    pub(super) url: String,
    /// Text shown with it.
    #[serde(default)]
    pub(super) caption: Option<String>,
    /// Its name.
    #[serde(default)]
    pub(super) filename: Option<String>,
}

/// The kinds of file.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MediaKind {
    Image,
    Video,
    Audio,
    Document,
    Sticker,
}

/// A link to a file.
#[derive(Debug, Serialize, JsonSchema)]
struct MediaLink {
    /// Works for `expires_in` seconds.
    url: String,
    /// Seconds.
    expires_in: u64,
}

const IDEMPOTENCY: &[(&str, &str, &str)] = &[(
    "Idempotency-Key",
    "header",
    "The same key and body within 24 h give the same message, sent once.",
)];

/// A way to send a message.
const fn sending(
    door: Door,
    path: &'static str,
    summary: &'static str,
    request: SchemaOf,
) -> Route<Operation> {
    Route {
        operation: Operation::Send(door),
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
    &[("tenant", "query", "Which tenant's, for the platform's key.")];

/// The routes of messages.
pub(crate) const ROUTES: &[Route<Operation>] = &[
    sending(Door::Messages, "/messages", "Send a message", schema::<SendMessage>),
    sending(
        Door::Engine,
        "/messages/send",
        "Send a message, in the words of the WhatsApp engine",
        schema::<EngineMessage>,
    ),
    sending(Door::Whatsapp, "/whatsapp/send", "Send over WhatsApp", schema::<EngineMessage>),
    sending(Door::Telegram, "/telegram/send", "Send over Telegram", schema::<EngineMessage>),
    sending(Door::Sms, "/sms/send", "Send a text message", schema::<EngineMessage>),
    sending(Door::Calls, "/calls", "Make a telephone call", schema::<MakeCall>),
    Route {
        operation: Operation::Show,
        method: "GET",
        path: "/messages/{id}",
        summary: "Show a message and its history",
        scope: Some(Scope::Read),
        parameters: TENANT,
        request: None,
        answer: (200, Some(schema::<Message>)),
    },
    Route {
        operation: Operation::Media,
        method: "GET",
        path: "/messages/{id}/media",
        summary: "Lead to the message's file by a short-lived link",
        scope: Some(Scope::Read),
        parameters: TENANT,
        request: None,
        answer: (302, Some(schema::<MediaLink>)),
    },
];

impl<S, Q, B, C, R, D> Resource for Messages<S, Q, B, C, R, D>
where
    S: Library + Outgoing + Routes,
    Q: OutboundQueues,
    B: MediaShelf,
    C: Clock,
    R: Dice,
    D: Resolver,
{
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::Send(door) => self.send(request, door).await,
            Operation::Show => {
                let tenant = request.tenant(Scope::Read, None)?;
                let found = self.store.message(&tenant, params.get("id")?).await?;
                let (message, _) = found.ok_or_else(Problem::not_found)?;
                ApiReply::json(StatusCode::OK, &message)
            }
            Operation::Media => {
                let tenant = request.tenant(Scope::Read, None)?;
                let found = self.store.message(&tenant, params.get("id")?).await?;
                self.media(found.ok_or_else(Problem::not_found)?.1).await
            }
        }
    }
}

/// Where a message goes.
struct Target {
    integration: Integration,
    channel: Channel,
    account: String,
    to: String,
    /// The conversation, if it exists already.
    conversation: Option<Conversation>,
    /// Who else may carry it.
    relay: Relay,
}

/// The hub does not send through the provider.
pub(super) fn cannot_send() -> Problem {
    Problem::of_provider(&providers::cannot_send())
}

/// Whether messages can leave through an integration. The operator's own app, which speaks for
/// all tenants, has no account to send from.
fn sends(integration: &Integration) -> bool {
    let has_line = integration.account.is_some() || !integration.tenant.is_platform();
    has_line && !integration.provider.channels().is_empty()
}

impl Target {
    fn parties<'a>(&'a self, tenant: &'a TenantId) -> Parties<'a> {
        let channel = self.channel;
        Parties { tenant, channel, account: &self.account, counterpart: &self.to }
    }
}

impl<S, Q, B, C, R, D> Messages<S, Q, B, C, R, D>
where
    S: Library + Outgoing + Routes,
    Q: OutboundQueues,
    B: MediaShelf,
    C: Clock,
    R: Dice,
    D: Resolver,
{
    async fn media(&self, state: Option<MediaState>) -> Result<ApiReply, Problem> {
        match state {
            Some(MediaState::Stored { key }) => {
                let url = self.shelf.link(&key, LINK).await?;
                let link = MediaLink { url: url.clone(), expires_in: LINK.as_secs() };
                let reply = ApiReply::json(StatusCode::FOUND, &link)?;
                Ok(ApiReply { location: Some(url), ..reply })
            }
            Some(MediaState::Pending) => Err(Problem::new(
                StatusCode::CONFLICT,
                "media_pending",
                "The file is not here yet",
                "it is being fetched from the provider; ask again in a moment".to_owned(),
            )),
            Some(MediaState::Failed { code }) => Err(Problem::new(
                StatusCode::GONE,
                "media_unavailable",
                "The provider did not give the file",
                format!("the provider's answer was {code}; ask the person to send it again"),
            )),
            None => Err(Problem::not_found()),
        }
    }

    async fn send(&self, request: &ApiRequest, door: Door) -> Result<ApiReply, Problem> {
        request.caller(Scope::Send)?;
        let asked = doors::read(request, door)?;
        let tenant = request.tenant(Scope::Send, asked.tenant.as_ref())?;
        let now = self.clock.now();
        let body = String::from_utf8_lossy(&request.body);
        let body = match door {
            Door::Messages => hash(&body),
            // The same words mean something else at another door.
            _ => hash(&format!("{} {body}", request.path)),
        };
        let key = request.idempotency_key.as_deref().map(idempotency_key).transpose()?;
        if let Some(key) = &key {
            // Before anything else: a repetition is answered as the first was, even if the
            // world has changed since.
            match self.store.reserved(&tenant, key, &body, now).await? {
                Reservation::Other => return Err(key_reused()),
                Reservation::Same(id) => {
                    if let Some((message, _)) = self.store.message(&tenant, id).await? {
                        return accepted(&message);
                    }
                }
                Reservation::New => {}
            }
        }
        let (target, mut content, reply_to) = self.prepare(&tenant, asked).await?;
        self.check_window(&tenant, &target, &content).await?;
        let talk = target.parties(&tenant).conversation();
        let over = target.integration.id;
        let answered = self.resolve(&tenant, talk, "reply_to", reply_to).await?;
        // Another account's id would name nothing there: the answer then stands alone.
        let reply_to_theirs = answered.filter(|(carrier, _)| *carrier == over).map(|(_, id)| id);
        if let Content::Reaction { reaction } = &mut content
            && let Ok(id) = reaction.message_id.parse::<MessageId>()
        {
            let field = "reaction.message_id";
            let theirs = self.resolve(&tenant, talk, field, Some(id)).await?;
            let theirs = theirs.filter(|(carrier, _)| *carrier == over).map(|(_, id)| id);
            reaction.message_id = theirs.ok_or_else(|| {
                let detail = "that message went over another account, which alone can react to it";
                Problem::invalid(field, detail.to_owned())
            })?;
        }
        let mut id = MessageId::new(now, self.dice.bits());
        let outgoing = sender::Outgoing {
            id,
            channel: target.channel,
            integration: target.integration.id,
            hub_url: None,
            to: &target.to,
            content: &content,
            reply_to: reply_to_theirs.as_deref(),
        };
        providers::check(&target.integration, &outgoing).map_err(|e| Problem::of_provider(&e))?;
        let size = serde_json::to_vec(&content).map_err(|_| Problem::internal())?.len();
        if size > LARGEST_CONTENT {
            let detail = "at most 64 KiB in all".to_owned();
            return Err(Problem::invalid(content_field(&content), detail));
        }
        self.check_trust(request, &target.integration, &content).await?;
        let conversation = conversation(&tenant, &target, now);
        let is_known = target.conversation.is_some();
        // A new conversation is there before its first message can be: once the message is in
        // the queue nobody comes back to make it.
        let (reserved, made) = futures::join!(
            async {
                let Some(key) = &key else { return Ok(Reservation::New) };
                self.store.reserve(&tenant, key, &body, id, now).await
            },
            async {
                if is_known { Ok(()) } else { self.store.touch_outbound(&conversation).await }
            },
        );
        match reserved? {
            Reservation::New => {}
            // A twin was faster, or an earlier try died before it could answer.
            Reservation::Same(_) if failpoint::is_active(Failpoint::KeyForgotten) => {}
            Reservation::Same(first) => id = first,
            Reservation::Other => return Err(key_reused()),
        }
        made?;
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
        let (to, relay) = (target.to, target.relay);
        let expires_at = message.created_at + EXPIRY;
        let reply_to = reply_to_theirs;
        self.accept(SendTask { message, to, reply_to, expires_at, relay }, touched).await
    }

    /// Refuses what a provider would have to fetch from a private network: a public one cannot,
    /// and a server in the operator's network must not, unless the operator says so. Refuses
    /// calls that use more of the operator's account than the integration.
    async fn check_trust(
        &self,
        request: &ApiRequest,
        integration: &Integration,
        content: &Content,
    ) -> Result<(), Problem> {
        if self.trust_tenants || request.platform().is_ok() {
            return Ok(());
        }
        let (field, url) = match content {
            Content::Call { call } => {
                giver::check_call(integration, call)?;
                ("call.url", call.url.as_deref())
            }
            other => ("media.url", other.media().and_then(|media| media.url.as_deref())),
        };
        let Some(url) = url else { return Ok(()) };
        let remedy = "or have the operator send it with the platform's key";
        // A name that is not there now is for the provider to say: it may know it.
        check_reach(&self.resolver, field, url, remedy).await.map(|_| ())
    }

    /// Puts the message where it cannot be lost, then writes down that it is there, and in
    /// `known` that it leaves.
    async fn accept(
        &self,
        task: SendTask,
        known: Option<Conversation>,
    ) -> Result<ApiReply, Problem> {
        let message = task.message.clone();
        let record = crate::outbound::record(task)?;
        // From here on it is accepted: the record has all the sender needs, also to write
        // the message down if the next two writes do not come to pass.
        let queue = self.outbound.of(message.provider).ok_or_else(cannot_send)?;
        queue.publish(vec![record]).await?;
        let (enqueued, touched) = futures::join!(self.store.enqueue(&message), async {
            match &known {
                Some(known) => self.store.touch_outbound(known).await,
                None => Ok(()),
            }
        });
        if let Err(error) = enqueued.and(touched) {
            tracing::warn!(message_id = %message.id, %error, "accepted, but not yet written down");
        }
        tracing::info!(
            tenant = %message.tenant, message_id = %message.id, kind = message.content.kind(),
            "message queued"
        );
        accepted(&message)
    }

    /// Finds where the message goes, and its one content.
    async fn prepare(
        &self,
        tenant: &TenantId,
        asked: SendMessage,
    ) -> Result<(Target, Content, Option<MessageId>), Problem> {
        let to = match (asked.conversation, asked.to) {
            (Some(id), None) => To::Conversation(id),
            (None, Some(to)) => To::Address(to, asked.channel),
            (Some(_), Some(_)) => {
                let detail = "either `to` or `conversation`, not both".to_owned();
                return Err(Problem::invalid("to", detail));
            }
            (None, None) => {
                let detail = "missing: a number or chat id with `channel`, or a `conversation`";
                return Err(Problem::invalid("to", detail.to_owned()));
            }
        };
        let content = content(
            asked.text,
            asked.media,
            asked.template,
            asked.interactive,
            asked.location,
            asked.reaction,
            asked.call,
        )?;
        let target = match to {
            To::Conversation(id) => self.known(tenant, id, asked.integration).await?,
            To::Address(to, channel) => {
                self.addressed(tenant, &to, channel, asked.integration).await?
            }
        };
        if matches!(content, Content::Call { .. }) != (target.channel == Channel::Voice) {
            let detail = "a `call` travels on the channel voice, and nothing else does".to_owned();
            return Err(Problem::invalid("channel", detail));
        }
        Ok((target, content, asked.reply_to))
    }

    async fn known(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        integration: Option<IntegrationId>,
    ) -> Result<Target, Problem> {
        let (conversation, integrations) =
            futures::join!(self.store.conversation(tenant, id), self.store.integrations(tenant),);
        let conversation = conversation?.ok_or_else(|| {
            Problem::invalid("conversation", "there is no such conversation".to_owned())
        })?;
        let channel = conversation.channel;
        let mut candidates = integrations?;
        candidates.retain(|candidate| carries(candidate, channel));
        let wanted = integration.unwrap_or(conversation.integration);
        let position = candidates.iter().position(|candidate| candidate.id == wanted);
        let own = position.map(|position| candidates.swap_remove(position));
        if own.as_ref().is_some_and(|own| own.line() != conversation.account) {
            let detail = "the conversation goes over another account".to_owned();
            return Err(Problem::invalid("integration", detail));
        }
        // Who names an integration wants that one and no other.
        let route = match integration {
            None => self.store.route(tenant, channel).await?,
            Some(_) => None,
        };
        let mut others = route.as_ref().map_or_else(Vec::new, |r| r.order(Some(wanted), 0.0));
        others.retain(|id| candidates.iter().any(|candidate| candidate.id == *id));
        let own = own.or_else(|| {
            // What brought the conversation cannot answer in it: the route can, or the only
            // integration that the tenant has for the channel.
            let stands_in = match (integration, others.first(), &candidates[..]) {
                (None, Some(first), _) => candidates.iter().find(|c| c.id == *first).cloned(),
                (None, None, [one]) => Some(one.clone()),
                // Who names one wants that one.
                _ => None,
            };
            others.retain(|id| stands_in.as_ref().is_none_or(|one| one.id != *id));
            stands_in
        });
        let first = own.ok_or_else(|| no_integration(channel))?;
        let relay = relay(others, route.as_ref());
        Ok(Target {
            integration: first,
            channel,
            account: conversation.account.clone(),
            to: conversation.contact.address.clone(),
            conversation: Some(conversation),
            relay,
        })
    }

    async fn addressed(
        &self,
        tenant: &TenantId,
        to: &str,
        channel: Option<Channel>,
        integration: Option<IntegrationId>,
    ) -> Result<Target, Problem> {
        let (integration, channel, relay) = match (integration, channel) {
            (None, None) => {
                let detail = "missing: whatsapp, telegram, sms or voice".to_owned();
                return Err(Problem::invalid("channel", detail));
            }
            (Some(id), channel) => {
                let (integration, channel) = self.named(tenant, id, channel).await?;
                (integration, channel, Relay::default())
            }
            (None, Some(channel)) => {
                let (integration, relay) = self.routed(tenant, to, channel).await?;
                (integration, channel, relay)
            }
        };
        let to = providers::address(integration.provider, to)
            .map_err(|error| Problem::of_provider(&error))?;
        let account = integration.line();
        let parties = Parties { tenant, channel, account: &account, counterpart: &to };
        let conversation = self.store.conversation(tenant, parties.conversation()).await?;
        Ok(Target { integration, channel, account, to, conversation, relay })
    }

    /// The integration that the caller names.
    async fn named(
        &self,
        tenant: &TenantId,
        id: IntegrationId,
        channel: Option<Channel>,
    ) -> Result<(Integration, Channel), Problem> {
        let integrations = self.store.integrations(tenant).await?;
        let found = integrations.into_iter().find(|integration| integration.id == id);
        let found = found.and_then(|integration| {
            let first = integration.provider.channels().first().copied();
            let channel = channel.or(first)?;
            carries(&integration, channel).then_some((integration, channel))
        });
        found.ok_or_else(|| {
            let detail = "the tenant has no such integration for this channel".to_owned();
            Problem::invalid("integration", detail)
        })
    }

    /// Who carries a message to somebody on `channel`: by the tenant's route, or the one
    /// integration they have for it.
    async fn routed(
        &self,
        tenant: &TenantId,
        to: &str,
        channel: Channel,
    ) -> Result<(Integration, Relay), Problem> {
        let (route, integrations) =
            futures::join!(self.store.route(tenant, channel), self.store.integrations(tenant));
        let (route, mut candidates) = (route?, integrations?);
        candidates.retain(|candidate| carries(candidate, channel));
        if let Some(route) = &route {
            // The same person is always drawn the same, so that they hear from one account.
            let order = route.order(None, drawn(tenant, to));
            let mut order = order.into_iter().filter(|id| candidates.iter().any(|c| c.id == *id));
            if let Some(first) = order.next()
                && let Some(position) = candidates.iter().position(|c| c.id == first)
            {
                let relay = relay(order.collect(), Some(route));
                return Ok((candidates.swap_remove(position), relay));
            }
        }
        let mut candidates = candidates.into_iter();
        match (candidates.next(), candidates.next()) {
            (Some(one), None) => Ok((one, Relay::default())),
            (Some(_), Some(_)) => {
                let detail = "the tenant has several for this channel: say which".to_owned();
                Err(Problem::invalid("integration", detail))
            }
            (None, _) => Err(no_integration(channel)),
        }
    }

    /// Checks the channel's service window before anything is promised: that of the account it
    /// leaves from, which need not be the conversation's.
    async fn check_window(
        &self,
        tenant: &TenantId,
        target: &Target,
        content: &Content,
    ) -> Result<(), Problem> {
        let bound = providers::is_windowed(target.integration.provider, target.channel);
        if !bound || matches!(content, Content::Template { .. }) {
            return Ok(());
        }
        let now = self.clock.now();
        let account = target.integration.line();
        let talk = if account == target.account {
            target.conversation.clone()
        } else {
            let to = providers::address(target.integration.provider, &target.to);
            let to = to.map_err(|error| Problem::of_provider(&error))?;
            let parties =
                Parties { tenant, channel: target.channel, account: &account, counterpart: &to };
            self.store.conversation(tenant, parties.conversation()).await?
        };
        if talk.is_some_and(|talk| talk.in_service_window(now)) {
            return Ok(());
        }
        let detail = "the person has not written within the last 24 hours, so WhatsApp takes \
             only templates: send a `template`, or wait until they write";
        Err(Problem::invalid(content_field(content), detail.to_owned())
            .with_code("outside_service_window"))
    }

    /// The provider's id of one of the conversation's messages, and the account it went over.
    async fn resolve(
        &self,
        tenant: &TenantId,
        talk: ConversationId,
        field: &str,
        id: Option<MessageId>,
    ) -> Result<Option<(IntegrationId, String)>, Problem> {
        let Some(id) = id else { return Ok(None) };
        let found = self.store.message(tenant, id).await?;
        let (message, _) =
            found.ok_or_else(|| Problem::invalid(field, "there is no such message".to_owned()))?;
        if message.conversation != talk {
            let detail = "that message belongs to another conversation".to_owned();
            return Err(Problem::invalid(field, detail));
        }
        let carrier = message.integration;
        message.provider_message_id.map(|id| Some((carrier, id))).ok_or_else(|| {
            Problem::invalid(field, "the provider has not taken that message yet".to_owned())
        })
    }
}

/// Whether messages on `channel` can leave through an integration.
fn carries(integration: &Integration, channel: Channel) -> bool {
    sends(integration) && integration.provider.carries(channel)
}

fn relay(others: Vec<IntegrationId>, route: Option<&domain::route::Route>) -> Relay {
    let patience = route.map_or(0, |route| route.policy.patience_seconds);
    if others.is_empty() {
        Relay::default()
    } else {
        Relay { others, patience, ..Relay::default() }
    }
}

/// A number in `0.0..1.0` that is always the same for the same person.
fn drawn(tenant: &TenantId, to: &str) -> f64 {
    // However the number is written.
    let to: String = to.chars().filter(char::is_ascii_alphanumeric).collect();
    let hash = hash(&format!("{tenant}:{to}"));
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
        Ok(hash(key))
    } else {
        Err(Problem::invalid("Idempotency-Key", "1 to 255 characters".to_owned()))
    }
}

fn key_reused() -> Problem {
    let detail = "this key stands for another request; use a new one".to_owned();
    Problem::invalid("Idempotency-Key", detail).with_code("idempotency_key_reused")
}

fn no_integration(channel: Channel) -> Problem {
    let detail = format!("the tenant has no integration for {channel}; make one first");
    Problem::invalid("channel", detail).with_code("no_integration")
}

fn conversation(tenant: &TenantId, target: &Target, now: jiff::Timestamp) -> Conversation {
    if let Some(known) = &target.conversation {
        // Who only stands in does not take the conversation over.
        let is_own = target.integration.line() == known.account;
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

/// The field of `POST /messages` a content came from.
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

/// The one content that was given.
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
                "missing: one of text, media, template, interactive, location, reaction, call";
            Err(Problem::invalid("text", detail.to_owned()))
        }
        (Some(_), Some(second)) => {
            let detail = "a message has one content; send several messages".to_owned();
            Err(Problem::invalid(content_field(&second), detail))
        }
    }
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        Self::of_provider(&error)
    }
}

/// The resource as it is deployed.
pub type OwnMessages<N, C, R> =
    Messages<DynamoStore, Outbound<SqsQueue>, Bucket, C, R, <N as Network>::Resolver>;

/// The resource.
///
/// # Errors
/// If the environment is incomplete.
pub fn resource<N: Network, C: Clock + Clone, R: Dice + Clone>(
    kit: &Kit<N, C, R>,
) -> Result<OwnMessages<N, C, R>, Error> {
    let bucket = kit.bucket()?;
    Ok(Messages {
        store: kit.store()?,
        outbound: Outbound::new(kit, Some(&bucket))?,
        shelf: bucket,
        clock: kit.clock.clone(),
        dice: kit.dice.clone(),
        resolver: kit.network.resolver(),
        trust_tenants: super::trust_tenants(kit),
    })
}

/// Runs the resource until Lambda ends it.
///
/// # Errors
/// If the environment is incomplete.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let resource = resource(&kit)?;
        let queue = async {
            if let Some(queue) = resource.outbound.any() {
                queue.prewarm().await;
            }
        };
        futures::join!(resource.store.prewarm(), queue);
        super::serve(&kit, resource).await
    })
}
