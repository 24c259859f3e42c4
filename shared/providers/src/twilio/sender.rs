//! Sends through Twilio: SMS, `WhatsApp` messages and calls.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::address::E164;
use domain::content::{Call, Content, Location, Media, Template};
use domain::fault::{ErrorFormat, Fault};
use domain::provider::Channel;
use domain::sender::{
    Accepted, AccountReader, AnswerReader, MediaFetcher, MediaRequest, MediaSource, MessageSender,
    Outgoing, RateLimit, RefusalScope, SendError, SenderProvider,
};
use domain::{Credentials, Integration, Provider};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::settings::{self, Twilio};
use super::{codes, wire};
use crate::content::receive_only;
use crate::form;
use crate::http::{
    check_coordinates, check_length, check_max_length, check_media_url, get, invalid, read,
    retry_after,
};
use crate::spec::ProviderApi;

/// Maximum length of a message, in characters. Source: README, facts 12.
const MAX_TEXT: usize = 1600;
/// Maximum length of a call's `TwiML`, in characters. Source: README, facts 18.
const MAX_TWIML: usize = 4000;
/// URL fragment that makes Twilio retry a failed callback three times. Source: README, facts 11.
const RETRY_FRAGMENT: &str = "#rc=3&rp=all";
/// Call statuses to be notified of. Source: README, facts 18.
const CALL_STATUSES: [&str; 4] = ["initiated", "ringing", "answered", "completed"];

/// Sender for Twilio.
#[derive(Clone, Copy, Debug)]
pub struct Sender;

impl SenderProvider for Sender {
    fn provider(&self) -> Provider {
        Provider::Twilio
    }

    fn sender(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Result<Box<dyn MessageSender>, SendError> {
        Ok(Box::new(Account::new(integration, credentials)?))
    }
}

/// Returns a phone number in E.164, as Twilio writes it: `+4915550009999`. The same on `WhatsApp`,
/// where the channel is sent separately.
///
/// # Errors
/// [`SendError::Invalid`] for the field `to`.
pub fn address(to: &str) -> Result<String, SendError> {
    let to = to.trim();
    let number = to.strip_prefix("whatsapp:").unwrap_or(to).parse::<E164>().ok();
    // A shorter number is a short code, which has no country code.
    match number.filter(|number| number.digits().len() >= 8) {
        Some(number) => Ok(number.to_string()),
        None => Err(invalid("to", "must be an E.164 phone number such as +4915550009999")),
    }
}

/// Sender for one Twilio account.
pub(super) struct Account {
    /// URL of the account in the API.
    url: String,
    sid: String,
    settings: Twilio,
    /// Scheme, host and port of the hub as configured at Twilio, if the settings have a
    /// `public_url`.
    origin: Option<String>,
    /// `Authorization` header of requests.
    key: SecretString,
    /// `Authorization` header with the account's auth token: an API key may not read the account.
    owner: Option<SecretString>,
}

/// Form fields of a request.
type Fields = Vec<(&'static str, String)>;

impl ProviderApi for Account {
    fn new(integration: &Integration, credentials: &Credentials) -> Result<Self, SendError> {
        let settings = settings::of(integration);
        let settings = settings.ok_or_else(|| {
            invalid("provider", "is not Twilio: the integration belongs to another provider")
        })?;
        let sid = settings.account_sid(integration, credentials);
        let sid = sid.filter(|sid| settings::is_sid(sid, "AC")).map(ToOwned::to_owned);
        let sid = sid.ok_or_else(|| {
            invalid(
                "credentials.TWILIO_ACCOUNT_SID",
                "is missing: give the account SID, AC followed by letters and digits",
            )
        })?;
        let pair = |user, password| {
            let (user, password) = (credentials.first(user)?, credentials.first(password)?);
            let pair = format!("{}:{}", user.expose_secret(), password.expose_secret());
            Some(SecretString::from(format!("Basic {}", STANDARD.encode(pair))))
        };
        let owner = pair(super::ACCOUNT_SID, super::AUTH_TOKEN);
        let key = pair(super::API_KEY, super::API_SECRET).or_else(|| owner.clone());
        let key = key.ok_or_else(|| {
            let reason = "is missing: give it, or TWILIO_API_KEY and TWILIO_API_SECRET";
            invalid("credentials.TWILIO_AUTH_TOKEN", reason)
        })?;
        Ok(Self {
            url: format!("{}/{}/Accounts/{sid}", settings.base_url(), wire::API_VERSION),
            sid,
            origin: settings.origin().map(ToOwned::to_owned),
            settings,
            key,
            owner,
        })
    }
}

impl MessageSender for Account {
    /// Source: README, facts 13.
    fn idempotency_window(&self) -> Option<Duration> {
        None
    }

    /// Twilio queues messages that a number may not send yet; the limit only keeps that queue
    /// short. Source: README, facts 14.
    fn rate_limits(&self, _: &str) -> Vec<RateLimit> {
        vec![RateLimit::per_second(&self.sid, self.settings.messages_per_second.get())]
    }

    fn request(&self, message: &Outgoing<'_>) -> Result<Request<Bytes>, SendError> {
        let to = address(message.to)?;
        match (message.channel, message.content) {
            (Channel::Voice, Content::Call { call }) => {
                self.post("Calls", self.call(message, call, to)?)
            }
            (Channel::Voice, _) => Err(invalid("type", "must be `call` on the channel `voice`")),
            (_, Content::Call { .. }) => Err(invalid("call", "needs the channel `voice`")),
            (Channel::Sms | Channel::Whatsapp, _) => {
                self.post("Messages", self.message(message, &to)?)
            }
            (Channel::Telegram, _) => {
                Err(invalid("channel", "must be `sms`, `whatsapp` or `voice` for Twilio"))
            }
        }
    }

    fn outcome(&self, _: &Outgoing<'_>, response: &Response<Bytes>) -> Result<Accepted, SendError> {
        if !response.status().is_success() {
            return Err(refusal(response));
        }
        let sent: wire::Sent = read(response)?;
        if let ("failed" | "undelivered" | "canceled", code) = (&*sent.status, sent.error_code) {
            return Err(refused(StatusCode::UNPROCESSABLE_ENTITY, code, None));
        }
        let provider_message_id = Some(sent.sid).filter(|sid| !sid.is_empty());
        let provider_message_id = provider_message_id.ok_or(SendError::Unreadable)?;
        Ok(Accepted::new(provider_message_id))
    }
}

impl MediaFetcher for Account {
    /// Source: README, facts 19.
    fn locate_media(&self, provider_media_id: &str) -> Result<MediaRequest, SendError> {
        // The request carries the account's credentials, so it may only go to Twilio.
        if !self.is_own_media(provider_media_id) {
            let reason = "must be the URL of a file in this account at Twilio";
            return Err(invalid("media.provider_media_id", reason));
        }
        fetch(provider_media_id, &self.key).map(MediaRequest::Lookup)
    }

    fn fetch_media(&self, located: &Response<Bytes>) -> Result<MediaSource, SendError> {
        if located.status().is_success() {
            return Ok(MediaSource::Inline(located.body().clone()));
        }
        if !located.status().is_redirection() {
            return Err(refusal(located));
        }
        let location = located.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
        let location = location.filter(|location| self.is_media_host(location));
        // The URL is presigned: the request carries no credentials.
        get(location.ok_or(SendError::Unreadable)?, None).map(MediaSource::Download)
    }
}

impl AnswerReader for Account {
    /// Reads the account without the auth token that Twilio includes in the response.
    fn answer(&self, response: &Response<Bytes>) -> Result<Value, SendError> {
        if !response.status().is_success() {
            return Err(refusal(response));
        }
        let account: wire::Described = read(response)?;
        let sid = account.sid.as_deref().unwrap_or(&self.sid);
        Ok(json!({ "sid": sid, "name": account.friendly_name, "status": account.status }))
    }
}

impl AccountReader for Account {
    /// An API key may not read the account, only its numbers. Source: README, facts 15.
    fn describe_account(&self) -> Result<Request<Bytes>, SendError> {
        if let Some(owner) = &self.owner {
            return fetch(&format!("{}.json", self.url), owner);
        }
        fetch(&format!("{}/IncomingPhoneNumbers.json?PageSize=1", self.url), &self.key)
    }
}

impl Account {
    /// Returns the form fields of a message. Source of every limit: README, facts 12.
    fn message(&self, message: &Outgoing<'_>, to: &str) -> Result<Fields, SendError> {
        let whatsapp = message.channel == Channel::Whatsapp;
        let settings = &self.settings;
        let from = if whatsapp { &settings.whatsapp_from } else { &settings.from };
        let is_own = from.as_deref() == Some(to);
        let address = |number: &str| {
            if whatsapp { format!("whatsapp:{number}") } else { number.to_owned() }
        };
        let mut fields = vec![("To", address(to))];
        fields.push(match (from, &settings.messaging_service_sid) {
            (Some(_), _) if is_own => {
                return Err(invalid("to", "must not be the sender's own number"));
            }
            (Some(from), _) => ("From", address(from)),
            (None, Some(service)) if !whatsapp => ("MessagingServiceSid", service.clone()),
            (None, _) if whatsapp => {
                let reason = "is missing: give the number of the WhatsApp sender";
                return Err(invalid("settings.whatsapp_from", reason));
            }
            (None, _) => {
                let reason = "is missing: give the number to send SMS from, or \
                              messaging_service_sid";
                return Err(invalid("settings.from", reason));
            }
        });
        fields.extend(self.content(message.content, whatsapp)?);
        fields.extend(self.callback(message, "sms/status"));
        Ok(fields)
    }

    fn content(&self, content: &Content, whatsapp: bool) -> Result<Fields, SendError> {
        Ok(match content {
            Content::Text { text } => {
                check_length("text", text, MAX_TEXT)?;
                vec![("Body", text.clone())]
            }
            Content::Image { media } | Content::Video { media } | Content::Document { media } => {
                file(media)?
            }
            Content::Audio { media } | Content::Sticker { media } => {
                if whatsapp && media.caption.as_ref().is_some_and(|caption| !caption.is_empty()) {
                    let reason = "is not supported for audio and stickers on WhatsApp: send it as \
                                  a text";
                    return Err(invalid("media.caption", reason));
                }
                file(media)?
            }
            Content::Location { location } if whatsapp => place(location)?,
            Content::Template { template } => self.template(template)?,
            Content::Location { .. } => {
                return Err(invalid("location", "is not supported by SMS: send a link as a text"));
            }
            Content::Contacts { .. } => {
                return Err(invalid(
                    "contacts",
                    "is not supported by Twilio: send the contacts as a text",
                ));
            }
            Content::Reaction { .. } => {
                return Err(invalid(
                    "reaction",
                    "is not supported by Twilio: send the reaction as a text",
                ));
            }
            Content::Interactive { .. } => {
                let reason = "is not supported by Twilio outside content templates: send a \
                              template";
                return Err(invalid("interactive", reason));
            }
            Content::Call { .. } => {
                return Err(invalid("call", "needs the channel `voice`"));
            }
            Content::Button { .. }
            | Content::ButtonReply { .. }
            | Content::ListReply { .. }
            | Content::Unsupported { .. } => {
                return Err(receive_only());
            }
        })
    }

    /// Returns the fields of a content template, named by its id or by a name in the settings.
    /// Source: README, facts 17.
    fn template(&self, template: &Template) -> Result<Fields, SendError> {
        let sid = self.settings.declared_template(template);
        let id = Some(template.name.as_str()).filter(|name| settings::is_content_sid(name));
        let sid = sid.or(id);
        let sid = sid.ok_or_else(|| {
            let reason = "must be the id of a content template (HX...), or a name from the \
                          integration's setting `templates`";
            invalid("template.name", reason)
        })?;
        let mut fields = vec![("ContentSid", sid.to_owned())];
        let variables = variables(&template.components)?;
        if !variables.is_empty() {
            fields.push(("ContentVariables", Value::Object(variables).to_string()));
        }
        Ok(fields)
    }

    /// Returns the form fields of a call. Source of every limit: README, facts 18.
    fn call(&self, message: &Outgoing<'_>, call: &Call, to: String) -> Result<Fields, SendError> {
        let settings = &self.settings;
        let from = settings.voice_from.as_ref().or(settings.from.as_ref()).ok_or_else(|| {
            invalid("settings.voice_from", "is missing: give the number to call from")
        })?;
        if *from == to {
            return Err(invalid("to", "must not be the caller's own number"));
        }
        let mut fields = vec![("To", to), ("From", from.clone())];
        fields.push(match (&call.twiml, &call.url) {
            (Some(twiml), None) => {
                check_length("call.twiml", twiml, MAX_TWIML)?;
                if !settings::is_twiml(twiml) {
                    return Err(invalid("call.twiml", "must be TwiML: <Response>...</Response>"));
                }
                ("Twiml", twiml.clone())
            }
            (None, Some(url)) => {
                let url = check_media_url(Some(url));
                let url = url.map_err(|_| invalid("call.url", "must be an http or https URL"))?;
                ("Url", url.to_owned())
            }
            _ => return Err(invalid("call", "needs exactly one of `twiml` and `url`")),
        });
        if let Some(seconds) = call.timeout {
            if !(1..=600).contains(&seconds) {
                return Err(invalid("call.timeout", "must be between 1 and 600 seconds"));
            }
            fields.push(("Timeout", seconds.to_string()));
        }
        if call.record {
            fields.push(("Record", "true".to_owned()));
        }
        if call.detect_machine {
            fields.push(("MachineDetection", "Enable".to_owned()));
        }
        if let Some(callback) = self.callback(message, "voice/status") {
            fields.push(callback);
            fields.extend(CALL_STATUSES.map(|event| ("StatusCallbackEvent", event.to_owned())));
        }
        Ok(fields)
    }

    /// Status callback URL, with the hub's message id, which is signed with the URL.
    fn callback(&self, message: &Outgoing<'_>, path: &str) -> Option<(&'static str, String)> {
        let hub_url = self.origin.as_deref().or(message.hub_url);
        let address = Outgoing { hub_url, ..*message }.callback(path)?;
        Some((
            "StatusCallback",
            format!("{address}?{}={}{RETRY_FRAGMENT}", wire::REFERENCE, message.id),
        ))
    }

    fn post(&self, what: &str, fields: Fields) -> Result<Request<Bytes>, SendError> {
        let fields: Vec<_> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let request = Request::post(format!("{}/{what}.json", self.url))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        build(request, &self.key, form::encode(&fields).into())
    }

    /// Whether the credentials may be sent to `url`: only to the URL of a file of a message in this
    /// account. The credentials open the whole account, so no other URL may receive them.
    fn is_own_media(&self, url: &str) -> bool {
        let Ok(uri) = url.parse::<Uri>() else { return false };
        let is_word =
            |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric());
        let parts: Vec<&str> = uri.path().split('/').collect();
        let is_media = matches!(
            parts.as_slice(),
            ["", wire::API_VERSION, "Accounts", sid, "Messages", message, "Media", media]
                if *sid == self.sid && is_word(message) && is_word(media)
        );
        is_media && uri.query().is_none() && (self.is_own(&uri) || is_of(&uri, &["twilio.com"]))
    }

    /// Whether files may be fetched from `url`: only from the hosts where Twilio stores them.
    /// Source: README, facts 19.
    fn is_media_host(&self, url: &str) -> bool {
        let Ok(uri) = url.parse::<Uri>() else { return false };
        self.is_own(&uri) || is_of(&uri, &["twilio.com", "twiliocdn.com", "amazonaws.com"])
    }

    /// Whether the host is the one of the API in the settings.
    fn is_own(&self, uri: &Uri) -> bool {
        let own = self.url.parse::<Uri>().ok();
        own.is_some_and(|own| own.scheme() == uri.scheme() && own.authority() == uri.authority())
    }
}

/// Whether the URL points to one of `domains`, over TLS.
fn is_of(uri: &Uri, domains: &[&str]) -> bool {
    let host = uri.host().unwrap_or_default();
    let within = |domain: &str| {
        host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let plain = uri.authority().is_some_and(|authority| authority.as_str() == host);
    uri.scheme_str() == Some("https") && plain && domains.iter().any(|domain| within(domain))
}

fn fetch(url: &str, key: &SecretString) -> Result<Request<Bytes>, SendError> {
    build(Request::get(url), key, Bytes::new())
}

fn build(
    request: http::request::Builder,
    key: &SecretString,
    body: Bytes,
) -> Result<Request<Bytes>, SendError> {
    let mut value = HeaderValue::from_str(key.expose_secret()).map_err(|_| {
        invalid("credentials", "contain characters that are not allowed in an HTTP header")
    })?;
    // Its `Debug` output is then "Sensitive".
    value.set_sensitive(true);
    let request = request.header(header::AUTHORIZATION, value).body(body);
    request.map_err(|_| invalid("settings.base_url", "is not a valid URL"))
}

/// Fields of a file and its caption.
fn file(media: &Media) -> Result<Fields, SendError> {
    let url = check_media_url(media.url.as_deref())?;
    let mut fields = vec![("MediaUrl", url.to_owned())];
    if let Some(caption) = media.caption.as_ref().filter(|caption| !caption.is_empty()) {
        check_max_length("media.caption", caption, MAX_TEXT)?;
        fields.push(("Body", caption.clone()));
    }
    Ok(fields)
}

/// Fields of a location on `WhatsApp`, which also needs a body. Source: README, facts 12.
fn place(location: &Location) -> Result<Fields, SendError> {
    check_coordinates(location)?;
    let degrees = format!("{},{}", location.latitude, location.longitude);
    let label = location.name.as_ref().or(location.address.as_ref());
    let label = label.map(|label| label.replace('|', "/")).filter(|label| !label.trim().is_empty());
    let body = label.clone().unwrap_or_else(|| degrees.clone());
    check_length("location.name", &body, MAX_TEXT)?;
    let action = label.map_or_else(|| format!("geo:{degrees}"), |l| format!("geo:{degrees}|{l}"));
    Ok(vec![("Body", body), ("PersistentAction", action)])
}

/// Reads a template's variables. Each component is an object of names and values, the next numbered
/// value, or a component in Meta's format, whose parameters are the next values. Source: README,
/// facts 17.
fn variables(components: &[Value]) -> Result<Map<String, Value>, SendError> {
    let mut variables = Map::new();
    let mut place = 0;
    let mut add = |name: Option<&str>, value: &Value| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        if text.trim().is_empty() {
            return Err(invalid("template.components", "must be non-empty texts"));
        }
        place += 1;
        let name = name.map_or_else(|| place.to_string(), ToOwned::to_owned);
        variables.insert(name, Value::String(text));
        Ok(())
    };
    for component in components {
        match component {
            Value::Object(metas) if metas.contains_key("parameters") => {
                let parameters = metas.get("parameters").and_then(Value::as_array);
                for parameter in parameters.into_iter().flatten() {
                    let name = parameter.get("parameter_name").and_then(Value::as_str);
                    add(name, parameter.get("text").unwrap_or(&Value::Null))?;
                }
            }
            Value::Object(named) => {
                for (name, value) in named {
                    add(Some(name), value)?;
                }
            }
            value => add(None, value)?,
        }
    }
    Ok(variables)
}

/// Reads a refusal: Twilio's error code decides, and the HTTP status where the code is unknown.
fn refusal(response: &Response<Bytes>) -> SendError {
    let code = serde_json::from_slice::<wire::Refusal>(response.body()).ok();
    refused(response.status(), code.and_then(|body| body.code), retry_after(response.headers()))
}

fn refused(status: StatusCode, code: Option<i64>, wait: Option<Duration>) -> SendError {
    let shown = code.map_or_else(|| status.as_u16().to_string(), |code| code.to_string());
    let form = if code.is_some() { ErrorFormat::Documented } else { ErrorFormat::Other };
    let known = code.and_then(codes::known).filter(|_| !is_in_doubt(status));
    if let Some(known) = known {
        let fault = match (known.fault, wait) {
            (Fault::RateLimited { .. }, Some(retry_after)) => Fault::RateLimited { retry_after },
            (fault, _) => fault,
        };
        let (scope, remedy) = (known.scope, known.remedy.to_owned());
        return SendError::Refused { status, code: shown, remedy, fault, scope };
    }
    let (fault, remedy) = match status.as_u16() {
        // Twilio never processes a request it answers with 429. Source: README, facts 14.
        429 => {
            let retry_after = wait.unwrap_or(Duration::from_secs(2));
            (
                Fault::RateLimited { retry_after },
                "The account exceeded its limit of concurrent requests.",
            )
        }
        _ if is_in_doubt(status) => (Fault::Unknown, FAILED_IN_FLIGHT),
        _ => match Fault::from_response(status, form, wait) {
            fault @ Fault::Unknown => (fault, FAILED_IN_FLIGHT),
            fault @ Fault::Permanent => (
                fault,
                "Twilio rejected the request. Look up the code in Twilio's error dictionary.",
            ),
            fault => (fault, "Twilio failed and did not accept the request. The hub retries it."),
        },
    };
    let scope = RefusalScope::from_status(status);
    SendError::Refused { status, code: shown, remedy: remedy.to_owned(), fault, scope }
}

const FAILED_IN_FLIGHT: &str =
    "Twilio failed during the request. A status callback may still report the outcome.";

/// Whether Twilio may have accepted the message although it answered with an error of its own.
/// Source: README, facts 22.
fn is_in_doubt(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 504)
}

#[cfg(test)]
mod tests;
