//! Sends through Twilio: messages by SMS and on `WhatsApp`, and calls.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::content::{Call, Content, Location, Media, Template};
use domain::fault::{Fault, Form};
use domain::provider::Channel;
use domain::sender::{
    About, Accepted, Fetch, Locate, MessageSender, Outgoing, Pace, SendError, SenderProvider,
};
use domain::{Credentials, Integration, Provider};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::settings::{self, Twilio};
use super::{codes, wire};
use crate::form;
use crate::http::{at_most, get, invalid, on_earth, read, retry_after, web_address, within};

/// The most characters of a message. Source: README, facts 12.
const LONGEST: usize = 1600;
/// The most characters of a call's instructions. Source: README, facts 18.
const LONGEST_TWIML: usize = 4000;
/// What Twilio does after an error of ours: it tries again three times. Source: README, facts 11.
const AGAIN: &str = "#rc=3&rp=all";
/// What is told of a call. Source: README, facts 18.
const PROGRESS: [&str; 4] = ["initiated", "ringing", "answered", "completed"];

/// Twilio, to send through.
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
        let settings = settings::of(integration);
        let settings =
            settings.ok_or_else(|| invalid("provider", "the integration is not Twilio's"))?;
        let owner = credentials.first(super::ACCOUNT_SID).map(ExposeSecret::expose_secret);
        let sid = settings.account.as_deref().or(integration.account.as_deref()).or(owner);
        let sid = sid.filter(|sid| settings::is_sid(sid, "AC"));
        let sid = sid.ok_or_else(|| {
            invalid("credentials.TWILIO_ACCOUNT_SID", "is missing: AC, letters and digits")
        })?;
        let pair = |user, password| {
            let (user, password) = (credentials.first(user)?, credentials.first(password)?);
            let pair = format!("{}:{}", user.expose_secret(), password.expose_secret());
            Some(SecretString::from(format!("Basic {}", STANDARD.encode(pair))))
        };
        let owner = pair(super::ACCOUNT_SID, super::AUTH_TOKEN);
        let key = pair(super::API_KEY, super::API_SECRET).or_else(|| owner.clone());
        let key = key.ok_or_else(|| {
            let reason = "is missing: without it, give TWILIO_API_KEY and TWILIO_API_SECRET";
            invalid("credentials.TWILIO_AUTH_TOKEN", reason)
        })?;
        Ok(Box::new(Account {
            url: format!("{}/{}/Accounts/{sid}", settings.base_url(), wire::API_VERSION),
            sid: sid.to_owned(),
            origin: settings.origin().map(ToOwned::to_owned),
            settings,
            key,
            owner,
        }))
    }
}

/// A telephone number with its country, as Twilio writes it: `+4915550009999`. On `WhatsApp`
/// too: the channel is told besides.
///
/// # Errors
/// [`SendError::Invalid`] for the field `to`.
pub fn address(to: &str) -> Result<String, SendError> {
    let to = to.trim();
    let to = to.strip_prefix("whatsapp:").unwrap_or(to);
    let to = to.strip_prefix('+').unwrap_or(to);
    let digits: String = to.chars().filter(|c| !" -.()".contains(*c)).collect();
    let known = (8..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|c| c.is_ascii_digit());
    if known {
        return Ok(format!("+{digits}"));
    }
    Err(invalid("to", "must be a telephone number with its country, like +4915550009999"))
}

/// An account that sends.
struct Account {
    /// Where it is.
    url: String,
    sid: String,
    settings: Twilio,
    /// Scheme, host and port by which Twilio knows the hub, if the settings say so.
    origin: Option<String>,
    /// What requests are authorised by.
    key: SecretString,
    /// The same with the account's own token: only it opens the account itself.
    owner: Option<SecretString>,
}

/// The fields of a request.
type Fields = Vec<(&'static str, String)>;

impl MessageSender for Account {
    /// Source: README, facts 13.
    fn idempotency_window(&self) -> Option<Duration> {
        None
    }

    /// Twilio queues what a number may not send yet: this only keeps the queue short. Source:
    /// README, facts 14.
    fn pace(&self, _: &str) -> Vec<Pace> {
        let messages = self.settings.messages_per_second;
        vec![Pace { identity: self.sid.clone(), messages, per: Duration::from_secs(1) }]
    }

    fn request(&self, message: &Outgoing<'_>) -> Result<Request<Bytes>, SendError> {
        let to = address(message.to)?;
        match (message.channel, message.content) {
            (Channel::Voice, Content::Call { call }) => {
                self.post("Calls", self.call(message, call, to)?)
            }
            (Channel::Voice, _) => {
                Err(invalid("type", "on the channel voice there are calls only: give call"))
            }
            (_, Content::Call { .. }) => Err(invalid("call", "is made on the channel voice")),
            (Channel::Sms | Channel::Whatsapp, _) => {
                self.post("Messages", self.message(message, &to)?)
            }
            (Channel::Telegram, _) => {
                Err(invalid("channel", "Twilio carries sms, whatsapp and voice"))
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
        Ok(Accepted { provider_message_id })
    }

    /// Source: README, facts 19.
    fn locate_media(&self, provider_media_id: &str) -> Result<Locate, SendError> {
        // The credentials go along, so only to Twilio.
        if !self.is_own_media(provider_media_id) {
            let reason = "is no address of a file of this account's at Twilio";
            return Err(invalid("media.provider_media_id", reason));
        }
        fetch(provider_media_id, &self.key).map(Locate::Ask)
    }

    fn fetch_media(&self, located: &Response<Bytes>) -> Result<Fetch, SendError> {
        if located.status().is_success() {
            return Ok(Fetch::Here(located.body().clone()));
        }
        if !located.status().is_redirection() {
            return Err(refusal(located));
        }
        let location = located.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
        let location = location.filter(|location| self.is_a_store(location));
        // The address is the proof: no credentials go along.
        get(location.ok_or(SendError::Unreadable)?, None).map(Fetch::From)
    }

    /// An API key may not ask for the account itself; its numbers it may. Source: README,
    /// facts 15.
    fn describe_account(&self) -> Result<Request<Bytes>, SendError> {
        if let Some(owner) = &self.owner {
            return fetch(&format!("{}.json", self.url), owner);
        }
        fetch(&format!("{}/IncomingPhoneNumbers.json?PageSize=1", self.url), &self.key)
    }

    fn register(&self, _: &str, _: Option<&str>) -> Result<Request<Bytes>, SendError> {
        Err(invalid("provider", "is connected in Twilio's console: paste the webhook's address"))
    }

    /// The account as Twilio shows it, without the token that it shows too.
    fn answer(&self, response: &Response<Bytes>) -> Result<Value, SendError> {
        if !response.status().is_success() {
            return Err(refusal(response));
        }
        let account: wire::Described = read(response)?;
        let sid = account.sid.as_deref().unwrap_or(&self.sid);
        Ok(json!({ "sid": sid, "name": account.friendly_name, "status": account.status }))
    }
}

impl Account {
    /// The fields of a message. Source of every limit: README, facts 12.
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
                return Err(invalid("to", "is the number it would be sent from"));
            }
            (Some(from), _) => ("From", address(from)),
            (None, Some(service)) if !whatsapp => ("MessagingServiceSid", service.clone()),
            (None, _) if whatsapp => {
                let reason = "is missing: the number of the sender on WhatsApp";
                return Err(invalid("settings.whatsapp_from", reason));
            }
            (None, _) => {
                let reason = "is missing: the number to send SMS from, or messaging_service_sid";
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
                within("text", text, LONGEST)?;
                vec![("Body", text.clone())]
            }
            Content::Image { media } | Content::Video { media } | Content::Document { media } => {
                file(media)?
            }
            Content::Audio { media } | Content::Sticker { media } => {
                if whatsapp && media.caption.as_ref().is_some_and(|caption| !caption.is_empty()) {
                    let reason = "sounds and stickers have none on WhatsApp: send it as text";
                    return Err(invalid("media.caption", reason));
                }
                file(media)?
            }
            Content::Location { location } if whatsapp => place(location)?,
            Content::Template { template } => self.template(template)?,
            Content::Location { .. } => {
                return Err(invalid("location", "SMS carries none: send a link as text"));
            }
            Content::Contacts { .. } => {
                return Err(invalid("contacts", "Twilio carries none: send them as text"));
            }
            Content::Reaction { .. } => {
                return Err(invalid("reaction", "Twilio carries none: send it as text"));
            }
            Content::Interactive { .. } => {
                let reason = "Twilio shows choices from content templates only: send a template";
                return Err(invalid("interactive", reason));
            }
            Content::Call { .. } => {
                return Err(invalid("call", "is made on the channel voice"));
            }
            Content::Button { .. }
            | Content::ButtonReply { .. }
            | Content::ListReply { .. }
            | Content::Unsupported { .. } => {
                return Err(invalid("type", "Twilio carries this from people only, not to them"));
            }
        })
    }

    /// A content template: by its id, or by a name that the settings know. Source: README,
    /// facts 17.
    fn template(&self, template: &Template) -> Result<Fields, SendError> {
        let name = template.name.as_str();
        let in_language = format!("{name}/{}", template.language);
        let known = &self.settings.templates;
        let sid = known.get(&in_language).or_else(|| known.get(name)).map(String::as_str);
        let sid = sid.or_else(|| Some(name).filter(|name| settings::is_content_sid(name)));
        let sid = sid.ok_or_else(|| {
            let reason = "must be the id of a content template (HX...), or a name that the \
                          integration's setting templates knows";
            invalid("template.name", reason)
        })?;
        let mut fields = vec![("ContentSid", sid.to_owned())];
        let variables = variables(&template.components)?;
        if !variables.is_empty() {
            fields.push(("ContentVariables", Value::Object(variables).to_string()));
        }
        Ok(fields)
    }

    /// The fields of a call. Source of every limit: README, facts 18.
    fn call(&self, message: &Outgoing<'_>, call: &Call, to: String) -> Result<Fields, SendError> {
        let settings = &self.settings;
        let from =
            settings.voice_from.as_ref().or(settings.from.as_ref()).ok_or_else(|| {
                invalid("settings.voice_from", "is missing: the number to call from")
            })?;
        if *from == to {
            return Err(invalid("to", "is the number it would be called from"));
        }
        let mut fields = vec![("To", to), ("From", from.clone())];
        fields.push(match (&call.twiml, &call.url) {
            (Some(twiml), None) => {
                within("call.twiml", twiml, LONGEST_TWIML)?;
                if !settings::is_twiml(twiml) {
                    return Err(invalid("call.twiml", "must be a <Response>...</Response>"));
                }
                ("Twiml", twiml.clone())
            }
            (None, Some(url)) => {
                let url = web_address(Some(url));
                let url = url.map_err(|_| invalid("call.url", "must be a web address"))?;
                ("Url", url.to_owned())
            }
            _ => return Err(invalid("call", "needs one of twiml and url")),
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
            fields.extend(PROGRESS.map(|event| ("StatusCallbackEvent", event.to_owned())));
        }
        Ok(fields)
    }

    /// Where Twilio is to tell what became of it: with our id, which is signed with the address.
    fn callback(&self, message: &Outgoing<'_>, path: &str) -> Option<(&'static str, String)> {
        let hub_url = self.origin.as_deref().or(message.hub_url);
        let address = Outgoing { hub_url, ..*message }.callback(path)?;
        Some(("StatusCallback", format!("{address}?{}={}{AGAIN}", wire::REFERENCE, message.id)))
    }

    fn post(&self, what: &str, fields: Fields) -> Result<Request<Bytes>, SendError> {
        let fields: Vec<_> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let request = Request::post(format!("{}/{what}.json", self.url))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        build(request, &self.key, form::encode(&fields).into())
    }

    /// Whether the credentials may go to that address: that of a file of a message of this
    /// account. They open more than that, which is not for whoever wrote the address.
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

    /// Whether files may be fetched from there: where Twilio keeps them. Source: README,
    /// facts 19.
    fn is_a_store(&self, url: &str) -> bool {
        let Ok(uri) = url.parse::<Uri>() else { return false };
        self.is_own(&uri) || is_of(&uri, &["twilio.com", "twiliocdn.com", "amazonaws.com"])
    }

    /// Whether it is where the settings say that the API is.
    fn is_own(&self, uri: &Uri) -> bool {
        let own = self.url.parse::<Uri>().ok();
        own.is_some_and(|own| own.scheme() == uri.scheme() && own.authority() == uri.authority())
    }
}

/// Whether the address leads to one of those domains, over TLS.
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
    let mut value = HeaderValue::from_str(key.expose_secret())
        .map_err(|_| invalid("credentials", "have characters no header can carry"))?;
    // Its debug form is then "Sensitive".
    value.set_sensitive(true);
    let request = request.header(header::AUTHORIZATION, value).body(body);
    request.map_err(|_| invalid("settings.base_url", "makes no address to call"))
}

/// A file and what is written under it.
fn file(media: &Media) -> Result<Fields, SendError> {
    let url = web_address(media.url.as_deref())?;
    let mut fields = vec![("MediaUrl", url.to_owned())];
    if let Some(caption) = media.caption.as_ref().filter(|caption| !caption.is_empty()) {
        at_most("media.caption", caption, LONGEST)?;
        fields.push(("Body", caption.clone()));
    }
    Ok(fields)
}

/// A place, on `WhatsApp`: a body it must have too. Source: README, facts 12.
fn place(location: &Location) -> Result<Fields, SendError> {
    on_earth(location)?;
    let degrees = format!("{},{}", location.latitude, location.longitude);
    let label = location.name.as_ref().or(location.address.as_ref());
    let label = label.map(|label| label.replace('|', "/")).filter(|label| !label.trim().is_empty());
    let body = label.clone().unwrap_or_else(|| degrees.clone());
    within("location.name", &body, LONGEST)?;
    let action = label.map_or_else(|| format!("geo:{degrees}"), |l| format!("geo:{degrees}|{l}"));
    Ok(vec![("Body", body), ("PersistentAction", action)])
}

/// A template's variables. Each component is an object of names and values, the next value by
/// number, or a component as Meta writes it, whose parameters are the next values. Source:
/// README, facts 17.
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
            return Err(invalid("template.components", "must be texts that say something"));
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

/// Reads a refusal: Twilio's code decides, and the HTTP status where it is not known.
fn refusal(response: &Response<Bytes>) -> SendError {
    let code = serde_json::from_slice::<wire::Refusal>(response.body()).ok();
    refused(response.status(), code.and_then(|body| body.code), retry_after(response.headers()))
}

fn refused(status: StatusCode, code: Option<i64>, wait: Option<Duration>) -> SendError {
    let shown = code.map_or_else(|| status.as_u16().to_string(), |code| code.to_string());
    let form = if code.is_some() { Form::Documented } else { Form::Other };
    let known = code.and_then(codes::known).filter(|_| !is_in_doubt(status));
    if let Some(known) = known {
        let fault = match (known.fault, wait) {
            (Fault::RateLimited { .. }, Some(retry_after)) => Fault::RateLimited { retry_after },
            (fault, _) => fault,
        };
        let (about, remedy) = (known.about, known.remedy.to_owned());
        return SendError::Refused { status, code: shown, remedy, fault, about };
    }
    let (fault, remedy) = match status.as_u16() {
        // It is never processed. Source: README, facts 14.
        429 => {
            let retry_after = wait.unwrap_or(Duration::from_secs(2));
            (Fault::RateLimited { retry_after }, "more requests at once than the account may make")
        }
        _ if is_in_doubt(status) => (Fault::Unknown, BROKEN_OFF),
        _ => match Fault::of_answer(status, form, wait) {
            fault @ Fault::Unknown => (fault, BROKEN_OFF),
            fault @ Fault::Permanent => {
                (fault, "Twilio refused it: look the code up among Twilio's errors")
            }
            fault => (fault, "Twilio had trouble and did not take it: it is asked again"),
        },
    };
    let about = About::from_status(status);
    SendError::Refused { status, code: shown, remedy: remedy.to_owned(), fault, about }
}

const BROKEN_OFF: &str = "Twilio broke off: a state callback may still tell";

/// Whether Twilio may have taken the message although it answers with an error of its own.
/// Source: README, facts 22.
fn is_in_doubt(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 504)
}

#[cfg(test)]
mod tests;
