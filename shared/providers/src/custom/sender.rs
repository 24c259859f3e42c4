//! Sends as the integration's settings describe.

use std::time::Duration;

use bytes::Bytes;
use domain::content::{Content, Interactive};
use domain::fault::{ErrorFormat, Fault};
use domain::provider::Channel;
use domain::sender::{
    Accepted, MessageSender, Outgoing, RateLimit, RefusalScope, SendError, SenderProvider,
};
use domain::{Credentials, Integration, Provider};
use http::{HeaderName, Request, Response, StatusCode, header};
use serde_json::{Map, Value};

use super::sending::{Encoding, Kind, Method, Send};
use super::settings::Settings;
use super::template::{MAX_MESSAGE_BYTES, Scope, SizeBudget, as_text, too_large};
use super::webhook::scalar_text;
use crate::address::phone_number;
use crate::content::receive_only;
use crate::form;
use crate::http::{invalid, retry_after, secret_value};
use crate::settings::base_url;
use crate::spec::{ProviderApi, settings_of};

/// Sender for custom providers.
#[derive(Clone, Copy, Debug)]
pub struct Sender;

impl SenderProvider for Sender {
    fn provider(&self) -> Provider {
        Provider::Custom
    }

    fn sender(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Result<Box<dyn MessageSender>, SendError> {
        Ok(Box::new(DeclaredSender::new(integration, credentials)?))
    }
}

/// Returns the scope that the settings declare for the error code in a receipt.
pub(super) fn failure_scope(integration: &Integration, code: &str) -> RefusalScope {
    let send = settings_of::<Settings>(integration).and_then(|settings| settings.send);
    let meaning = send.as_ref().and_then(|send| send.answer.errors.get(code));
    meaning.map_or(RefusalScope::Message, |meaning| meaning.scope(StatusCode::OK))
}

/// Sender described by an integration's settings.
struct DeclaredSender {
    send: Send,
    base_url: String,
    from: Option<String>,
    identity: String,
    per_second: u32,
    credentials: Credentials,
}

impl ProviderApi for DeclaredSender {
    fn new(integration: &Integration, credentials: &Credentials) -> Result<Self, SendError> {
        let settings = settings_of::<Settings>(integration).ok_or_else(|| {
            invalid("provider", "is not custom: the integration belongs to another provider")
        })?;
        let send = settings.send.ok_or_else(|| {
            invalid("settings.send", "is missing: describe how to send, or use another integration")
        })?;
        let what = "is missing: give the URL of the provider's API";
        let base_url = base_url(settings.base_url.as_deref(), what)?;
        Ok(Self {
            send,
            base_url,
            from: settings.from.or(settings.account),
            identity: integration.conversation_account(),
            per_second: settings.messages_per_second.get(),
            credentials: credentials.clone(),
        })
    }
}

impl MessageSender for DeclaredSender {
    fn idempotency_window(&self) -> Option<Duration> {
        self.send.remembers_id_seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }

    fn rate_limits(&self, _: &str) -> Vec<RateLimit> {
        vec![RateLimit::per_second(&self.identity, self.per_second)]
    }

    fn request(&self, message: &Outgoing<'_>) -> Result<Request<Bytes>, SendError> {
        if message.channel != Channel::Whatsapp {
            return Err(invalid("channel", "must be `whatsapp` for a custom provider"));
        }
        let kind = kind(message.content)?;
        let declared = self.send.messages.get(&kind).ok_or_else(|| {
            invalid(
                "type",
                "is not in the setting `send.messages`: describe how to send this content",
            )
        })?;
        let fields = self.fields(message)?;
        let budget = SizeBudget::new();
        let scope = Scope::new(&fields, &self.credentials, &budget);
        let path = scope.path(declared.path.as_ref().unwrap_or(&self.send.path))?;
        let path =
            path.ok_or_else(|| invalid("type", "lacks a value that the setting `send.path` uses"))?;
        let body = scope.value(&declared.body)?.unwrap_or_default();
        let (kind, body) = match self.send.encoding {
            Encoding::Json => ("application/json", body.to_string()),
            Encoding::Form => ("application/x-www-form-urlencoded", as_form(&body)),
        };
        if body.len() > MAX_MESSAGE_BYTES {
            return Err(too_large());
        }
        let method = match self.send.method {
            Method::Post => http::Method::POST,
            Method::Put => http::Method::PUT,
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url))
            .header(header::CONTENT_TYPE, kind)
            .body(Bytes::from(body));
        let mut request =
            request.map_err(|_| invalid("settings.base_url", "is not a valid URL"))?;
        for (name, value) in &self.send.headers {
            let name = name.parse::<HeaderName>();
            let name = name.map_err(|_| invalid("settings.send", "has an invalid header name"))?;
            if let Some(value) = scope.text(value)? {
                // The value may contain a credential, so it is marked as sensitive.
                request.headers_mut().insert(name, secret_value(&value)?);
            }
        }
        Ok(request)
    }

    fn outcome(
        &self,
        message: &Outgoing<'_>,
        response: &Response<Bytes>,
    ) -> Result<Accepted, SendError> {
        let declared = &self.send.answer;
        let status = response.status();
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let at = |place: &Option<String>| scalar_text(body.pointer(place.as_deref()?)?);
        let code =
            at(&declared.error).filter(|code| !code.is_empty() && !declared.success.contains(code));
        let accepted = if declared.accepted.is_empty() {
            status.is_success()
        } else {
            declared.accepted.contains(&status.as_u16())
        };
        if code.is_none() && accepted {
            let id = match &declared.id {
                None => Some(message.id.to_string()),
                place => at(place).filter(|id| !id.is_empty() && id.len() <= super::MAX_NAME_BYTES),
            };
            return Ok(Accepted::new(id.ok_or(SendError::Unreadable)?));
        }
        if code.is_none() && status.is_success() {
            // A success status that the settings do not list.
            return Err(SendError::Unreadable);
        }
        let wait = retry_after(response.headers());
        let by_status = status.as_u16().to_string();
        let errors = &declared.errors;
        let meaning = code.as_ref().and_then(|code| errors.get(code));
        // An error in a response with a success status is looked up by its code only.
        let meaning = meaning.or_else(|| errors.get(&by_status).filter(|_| !status.is_success()));
        // A response with an error code where the settings say so comes from the provider itself.
        let form = if code.is_some() { ErrorFormat::Documented } else { ErrorFormat::Other };
        let (fault, scope, remedy) = match meaning {
            Some(meaning) => (meaning.fault(wait), meaning.scope(status), meaning.remedy.clone()),
            None => {
                (Fault::from_response(status, form, wait), RefusalScope::from_status(status), None)
            }
        };
        let remedy = remedy.unwrap_or_else(|| {
            "The provider rejected the message. Look up the code in its documentation.".to_owned()
        });
        // A code is a word; a longer text could quote the message or name the customer.
        let word = |code: &String| {
            let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.' | b':');
            (1..=64).contains(&code.len()) && code.bytes().all(plain)
        };
        let code = code.filter(word).unwrap_or(by_status);
        Err(SendError::Refused { status, code, remedy, fault, scope })
    }
}

impl DeclaredSender {
    /// Returns the values of placeholders: the content in the form of `POST /messages`, and the ids
    /// and addresses.
    fn fields(&self, message: &Outgoing<'_>) -> Result<Map<String, Value>, SendError> {
        // Only a number without a JSON form can fail.
        let content = serde_json::to_value(message.content);
        let Ok(Value::Object(mut fields)) = content else {
            return Err(invalid("type", "cannot be written as JSON"));
        };
        if let (Content::Reaction { reaction }, Some(Value::Object(fields))) =
            (message.content, fields.get_mut("reaction"))
            && reaction.message_id.starts_with(domain::MessageId::PREFIX)
        {
            // The provider does not know the hub's message ids; for those, the caller gives the
            // provider's id as `reply_to`.
            let id = message.reply_to.ok_or_else(|| {
                invalid("reaction.message_id", "must be a message that has an id at the provider")
            })?;
            fields.insert("message_id".to_owned(), id.into());
        }
        fields.insert("id".to_owned(), message.id.to_string().into());
        fields.insert("to".to_owned(), phone_number(message.to)?.into());
        fields.insert("from".to_owned(), self.from.clone().into());
        fields.insert("reply_to".to_owned(), message.reply_to.into());
        fields.insert("callback_url".to_owned(), message.callback("custom").into());
        Ok(fields)
    }
}

fn kind(content: &Content) -> Result<Kind, SendError> {
    Ok(match content {
        Content::Text { .. } => Kind::Text,
        Content::Image { .. } => Kind::Image,
        Content::Video { .. } => Kind::Video,
        Content::Audio { .. } => Kind::Audio,
        Content::Document { .. } => Kind::Document,
        Content::Sticker { .. } => Kind::Sticker,
        Content::Location { .. } => Kind::Location,
        Content::Contacts { .. } => Kind::Contacts,
        Content::Reaction { .. } => Kind::Reaction,
        Content::Template { .. } => Kind::Template,
        Content::Interactive { interactive: Interactive::Button { .. } } => Kind::Buttons,
        Content::Interactive { interactive: Interactive::List { .. } } => Kind::List,
        Content::Call { .. } => {
            return Err(invalid(
                "call",
                "is not supported by custom providers: use an integration that makes calls",
            ));
        }
        Content::Button { .. }
        | Content::ButtonReply { .. }
        | Content::ListReply { .. }
        | Content::Unsupported { .. } => {
            return Err(receive_only());
        }
    })
}

/// Writes the fields of a body as a form.
fn as_form(body: &Value) -> String {
    let fields = body.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let fields: Vec<_> = fields.map(|(name, value)| (name.clone(), as_text(value))).collect();
    form::encode(&fields)
}

#[cfg(test)]
mod tests;
