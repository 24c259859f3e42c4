use super::*;
use crate::twilio::tests::integration;
use domain::content::{Choice, ContactCard, Interactive, Reaction};
use domain::fault::Classify as _;
use domain::{IntegrationId, MessageId};
use http::Method;
use std::collections::BTreeMap;

const SID: &str = "AC0123456789abcdef0123456789abcdef";
const TEMPLATE: &str = "HX0123456789abcdef0123456789abcdef";
const SERVICE: &str = "MG0123456789abcdef0123456789abcdef";
const PERSON: &str = "+4915550009999";
const HUB: &str = "https://hub.example.com";

fn settings() -> Value {
    json!({
        "from": "+15550001111", "whatsapp_from": "+15550002222",
        "templates": { "hello": TEMPLATE },
    })
}

fn credentials(pairs: &[(&str, &str)]) -> Credentials {
    Credentials::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).into()])))
}

fn token() -> Credentials {
    credentials(&[(super::super::ACCOUNT_SID, SID), (super::super::AUTH_TOKEN, "token")])
}

fn of(settings: &Value, credentials: &Credentials) -> Result<Account, SendError> {
    let mut integration = integration(&json!({}));
    integration.settings = settings::read(settings.as_object().unwrap()).unwrap();
    Account::new(&integration, credentials)
}

fn sender() -> Account {
    of(&settings(), &token()).unwrap()
}

fn outgoing(channel: Channel, content: &Content) -> Outgoing<'_> {
    Outgoing {
        id: MessageId::derived(&["m"]),
        channel,
        integration: IntegrationId::derived(&["twilio"]),
        hub_url: Some(HUB),
        to: PERSON,
        content,
        reply_to: None,
    }
}

type Form = BTreeMap<String, Vec<String>>;

fn form_of(request: &Request<Bytes>) -> Form {
    let mut fields = Form::new();
    for (name, value) in form::decode(request.body()) {
        fields.entry(name).or_default().push(value);
    }
    fields
}

fn sent(channel: Channel, content: &Content) -> Result<Form, SendError> {
    sender().request(&outgoing(channel, content)).map(|request| form_of(&request))
}

fn field<'a>(form: &'a Form, name: &str) -> &'a str {
    let [value] = form[name].as_slice() else { panic!("{name}: {form:?}") };
    value
}

/// Returns the field named in the error.
fn wrong(channel: Channel, content: &Content) -> &'static str {
    match sent(channel, content) {
        Err(SendError::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

fn text(text: &str) -> Content {
    Content::Text { text: text.to_owned() }
}

fn media(caption: Option<&str>) -> Media {
    Media {
        url: Some("https://example.com/a.png".to_owned()),
        caption: caption.map(ToOwned::to_owned),
        ..Media::default()
    }
}

fn call(value: Value) -> Content {
    Content::Call { call: serde_json::from_value(value).unwrap() }
}

fn response(status: u16, body: &Value) -> Response<Bytes> {
    Response::builder().status(status).body(body.to_string().into()).unwrap()
}

#[test]
fn a_text_is_posted_as_a_form_with_the_accounts_credentials() {
    let content = text("Grüße & mehr");
    let request = sender().request(&outgoing(Channel::Sms, &content)).unwrap();
    assert_eq!(request.method(), Method::POST);
    let url = format!("https://api.twilio.com/2010-04-01/Accounts/{SID}/Messages.json");
    assert_eq!(request.uri(), url.as_str());
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    let basic = format!("Basic {}", STANDARD.encode(format!("{SID}:token")));
    assert_eq!(request.headers()["authorization"], basic);
    assert!(!format!("{request:?}").contains(&basic));
    let form = form_of(&request);
    assert_eq!(field(&form, "To"), PERSON);
    assert_eq!(field(&form, "From"), "+15550001111");
    assert_eq!(field(&form, "Body"), "Grüße & mehr");
    assert_eq!(form.len(), 4);
}

#[test]
fn status_callbacks_go_to_the_integrations_url_with_the_message_id() {
    let (id, integration) = (MessageId::derived(&["m"]), IntegrationId::derived(&["twilio"]));
    let form = sent(Channel::Whatsapp, &text("hi")).unwrap();
    let status = format!("{HUB}/webhooks/sms/status/{integration}?message={id}#rc=3&rp=all");
    assert_eq!(field(&form, "StatusCallback"), status);
    let form = sent(Channel::Voice, &call(json!({"url": "https://e.com/x"}))).unwrap();
    let status = format!("{HUB}/webhooks/voice/status/{integration}?message={id}#rc=3&rp=all");
    assert_eq!(field(&form, "StatusCallback"), status);
    // The URL as configured at Twilio, which is the one that it signs.
    let mut settings = settings();
    settings["public_url"] = json!("https://proxy.example/webhooks/sms");
    let content = text("hi");
    let request = of(&settings, &token()).unwrap();
    let request = request.request(&outgoing(Channel::Sms, &content)).unwrap();
    let callback = field(&form_of(&request), "StatusCallback").to_owned();
    assert!(callback.starts_with("https://proxy.example/webhooks/sms/status/int_"), "{callback}");
    let unknown = Outgoing { hub_url: None, ..outgoing(Channel::Sms, &content) };
    let form = form_of(&sender().request(&unknown).unwrap());
    assert!(!form.contains_key("StatusCallback"));
}

#[test]
fn an_api_key_replaces_the_auth_token() {
    let key = credentials(&[
        (super::super::ACCOUNT_SID, SID),
        (super::super::API_KEY, "SK1"),
        (super::super::API_SECRET, "secret"),
    ]);
    let sender = of(&settings(), &key).unwrap();
    let content = text("hi");
    let request = sender.request(&outgoing(Channel::Sms, &content)).unwrap();
    let basic = format!("Basic {}", STANDARD.encode("SK1:secret"));
    assert_eq!(request.headers()["authorization"], basic);
    // An API key may not read the account.
    let request = sender.describe_account().unwrap();
    assert!(request.uri().path().ends_with("/IncomingPhoneNumbers.json"));
    let request = self::sender().describe_account().unwrap();
    assert_eq!(request.uri().path(), format!("/2010-04-01/Accounts/{SID}.json"));
}

#[test]
fn a_sender_requires_an_account_and_a_secret() {
    for (missing, pairs) in [
        ("credentials.TWILIO_ACCOUNT_SID", &[(super::super::AUTH_TOKEN, "token")] as &[_]),
        ("credentials.TWILIO_AUTH_TOKEN", &[(super::super::ACCOUNT_SID, SID)]),
        (
            "credentials.TWILIO_AUTH_TOKEN",
            &[(super::super::ACCOUNT_SID, SID), (super::super::API_KEY, "SK1")],
        ),
    ] {
        let Err(SendError::Invalid { field, .. }) = of(&settings(), &credentials(pairs)) else {
            panic!("{missing}");
        };
        assert_eq!(field, missing);
    }
    let subaccount = json!({ "account": "AC9", "from": "+15550001111" });
    let content = text("hi");
    let request = of(&subaccount, &token()).unwrap();
    let request = request.request(&outgoing(Channel::Sms, &content)).unwrap();
    assert_eq!(request.uri().path(), "/2010-04-01/Accounts/AC9/Messages.json");
}

#[test]
fn each_channel_has_its_own_sender_number() {
    let form = sent(Channel::Whatsapp, &text("hi")).unwrap();
    assert_eq!(field(&form, "From"), "whatsapp:+15550002222");
    assert_eq!(field(&form, "To"), "whatsapp:+4915550009999");
    let content = text("hi");
    let request = |settings: &Value, channel| {
        let content = outgoing(channel, &content);
        of(settings, &token()).unwrap().request(&content).map(|request| form_of(&request))
    };
    let form = request(&json!({ "messaging_service_sid": SERVICE }), Channel::Sms).unwrap();
    assert_eq!(field(&form, "MessagingServiceSid"), SERVICE);
    assert!(!form.contains_key("From"));
    for (channel, missing) in
        [(Channel::Sms, "settings.from"), (Channel::Whatsapp, "settings.whatsapp_from")]
    {
        let error = request(&json!({}), channel).unwrap_err();
        assert!(matches!(error, SendError::Invalid { field, .. } if field == missing), "{error}");
        assert!(error.is_account_error());
    }
    let telegram = request(&settings(), Channel::Telegram).unwrap_err();
    assert!(matches!(telegram, SendError::Invalid { field: "channel", .. }));
}

#[test]
fn an_address_is_normalized_from_every_form() {
    for same in [
        PERSON,
        "4915550009999",
        "whatsapp:+4915550009999",
        " +49 (1555) 000-99.99 ",
        "whatsapp:4915550009999",
    ] {
        assert_eq!(address(same).unwrap(), PERSON, "{same}");
    }
    for bad in ["", "+", "12345", "015550009999", "+49155500099991234", "rcs:x", "@someone"] {
        assert!(address(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_file_needs_a_url_and_may_have_a_caption() {
    let image = Content::Image { media: media(Some("Look")) };
    for channel in [Channel::Sms, Channel::Whatsapp] {
        let form = sent(channel, &image).unwrap();
        assert_eq!(field(&form, "MediaUrl"), "https://example.com/a.png");
        assert_eq!(field(&form, "Body"), "Look");
    }
    let audio = Content::Audio { media: media(Some("Hear")) };
    assert!(sent(Channel::Sms, &audio).is_ok());
    assert_eq!(wrong(Channel::Whatsapp, &audio), "media.caption");
    let sticker = Content::Sticker { media: media(None) };
    assert!(!sent(Channel::Whatsapp, &sticker).unwrap().contains_key("Body"));
    let nowhere = Content::Video { media: Media::default() };
    assert_eq!(wrong(Channel::Sms, &nowhere), "media.url");
    let long = Content::Document { media: media(Some(&"x".repeat(1601))) };
    assert_eq!(wrong(Channel::Sms, &long), "media.caption");
}

#[test]
fn a_template_is_found_by_id_or_setting_and_its_variables_are_numbered() {
    let template = |name: &str, language: &str, components: Value| Content::Template {
        template: Template {
            name: name.to_owned(),
            language: language.to_owned(),
            components: serde_json::from_value(components).unwrap(),
        },
    };
    let form = sent(Channel::Whatsapp, &template("hello", "en", json!([]))).unwrap();
    assert_eq!(field(&form, "ContentSid"), TEMPLATE);
    assert!(!form.contains_key("ContentVariables") && !form.contains_key("Body"));
    let variables = |components: Value| {
        let form = sent(Channel::Whatsapp, &template(TEMPLATE, "en", components)).unwrap();
        serde_json::from_str::<Value>(field(&form, "ContentVariables")).unwrap()
    };
    assert_eq!(variables(json!(["Anna", 3])), json!({ "1": "Anna", "2": "3" }));
    assert_eq!(
        variables(json!([{ "1": "Anna", "day": "Tuesday" }])),
        json!({ "1": "Anna", "day": "Tuesday" })
    );
    let metas = json!([
        { "type": "header", "parameters": [{ "type": "text", "text": "Hello" }] },
        { "type": "body", "parameters": [
            { "type": "text", "text": "Anna" },
            { "type": "text", "parameter_name": "day", "text": "Tuesday" },
        ] },
    ]);
    assert_eq!(variables(metas), json!({ "1": "Hello", "2": "Anna", "day": "Tuesday" }));
    for empty in [json!([""]), json!([{ "1": null }]), json!([{ "parameters": [{}] }])] {
        let wrong = wrong(Channel::Whatsapp, &template("hello", "en", empty));
        assert_eq!(wrong, "template.components");
    }
    assert_eq!(wrong(Channel::Sms, &template("other", "en", json!([]))), "template.name");
    let german = "HXffffffffffffffffffffffffffffffff";
    let settings = json!({ "from": "+15550001111",
        "templates": { "hello": TEMPLATE, "hello/de": german } });
    let content = template("hello", "de", json!([]));
    let request = of(&settings, &token()).unwrap();
    let form = form_of(&request.request(&outgoing(Channel::Sms, &content)).unwrap());
    assert_eq!(field(&form, "ContentSid"), german);
}

#[test]
fn a_location_is_sent_on_whatsapp_only() {
    let place = |name: Option<&str>| Content::Location {
        location: Location {
            latitude: 52.5163,
            longitude: 13.3777,
            name: name.map(ToOwned::to_owned),
            address: None,
        },
    };
    let form = sent(Channel::Whatsapp, &place(Some("Brandenburger | Tor"))).unwrap();
    assert_eq!(field(&form, "PersistentAction"), "geo:52.5163,13.3777|Brandenburger / Tor");
    assert_eq!(field(&form, "Body"), "Brandenburger / Tor");
    let form = sent(Channel::Whatsapp, &place(None)).unwrap();
    assert_eq!(field(&form, "PersistentAction"), "geo:52.5163,13.3777");
    assert_eq!(field(&form, "Body"), "52.5163,13.3777");
    assert_eq!(wrong(Channel::Sms, &place(None)), "location");
    let mut off = place(None);
    if let Content::Location { location } = &mut off {
        location.latitude = 91.0;
    }
    assert_eq!(wrong(Channel::Whatsapp, &off), "location.latitude");
}

#[test]
fn a_call_includes_its_twiml_and_options() {
    let twiml = "<Response><Say>Hello</Say></Response>";
    let given = json!({ "twiml": twiml, "timeout": 20, "record": true, "detect_machine": true });
    let content = call(given);
    let request = sender().request(&outgoing(Channel::Voice, &content)).unwrap();
    assert_eq!(request.uri().path(), format!("/2010-04-01/Accounts/{SID}/Calls.json"));
    let form = form_of(&request);
    assert_eq!(field(&form, "Twiml"), twiml);
    assert_eq!(field(&form, "Timeout"), "20");
    assert_eq!(field(&form, "Record"), "true");
    assert_eq!(field(&form, "MachineDetection"), "Enable");
    assert_eq!(form["StatusCallbackEvent"], CALL_STATUSES);
    assert_eq!((field(&form, "To"), field(&form, "From")), (PERSON, "+15550001111"));
    let url = json!({ "url": "https://example.com/twiml" });
    assert_eq!(
        field(&sent(Channel::Voice, &call(url)).unwrap(), "Url"),
        "https://example.com/twiml"
    );
    for (given, expected) in [
        (json!({}), "call"),
        (json!({ "twiml": twiml, "url": "https://example.com" }), "call"),
        (json!({ "twiml": "hello" }), "call.twiml"),
        (json!({ "twiml": format!("<Response>{}</Response>", "x".repeat(4000)) }), "call.twiml"),
        (json!({ "url": "example.com" }), "call.url"),
        (json!({ "twiml": twiml, "timeout": 0 }), "call.timeout"),
        (json!({ "twiml": twiml, "timeout": 601 }), "call.timeout"),
    ] {
        assert_eq!(wrong(Channel::Voice, &call(given)), expected);
    }
    assert_eq!(wrong(Channel::Sms, &call(json!({ "twiml": twiml }))), "call");
    assert_eq!(wrong(Channel::Voice, &text("hi")), "type");
    let request = of(&json!({ "voice_from": "+15550003333" }), &token()).unwrap();
    let content = call(json!({ "twiml": twiml }));
    let form = form_of(&request.request(&outgoing(Channel::Voice, &content)).unwrap());
    assert_eq!(field(&form, "From"), "+15550003333");
}

#[test]
fn unsupported_content_is_rejected_with_its_field() {
    let card = ContactCard { name: "Anna".into(), ..ContactCard::default() };
    let reaction = Reaction { message_id: "SM1".into(), emoji: "👍".into() };
    let yes = Choice { id: "yes".into(), title: "Yes".into(), description: None };
    let interactive = Interactive::Button {
        body: "Shall we?".into(),
        header: None,
        footer: None,
        buttons: vec![yes],
    };
    let long = "ä".repeat(1601);
    for (content, expected) in [
        (text(""), "text"),
        (text(&long), "text"),
        (Content::Contacts { contacts: vec![card] }, "contacts"),
        (Content::Reaction { reaction }, "reaction"),
        (Content::Interactive { interactive }, "interactive"),
        (Content::Unsupported { raw: json!({}) }, "type"),
    ] {
        for channel in [Channel::Sms, Channel::Whatsapp] {
            assert_eq!(wrong(channel, &content), expected);
        }
    }
    assert!(sent(Channel::Sms, &text(&"ä".repeat(1600))).is_ok());
    let content = text("hi");
    let itself = Outgoing { to: "+15550001111", ..outgoing(Channel::Sms, &content) };
    let error = sender().request(&itself).unwrap_err();
    assert!(matches!(error, SendError::Invalid { field: "to", .. }));
}

fn outcome(status: u16, body: &Value) -> Result<Accepted, SendError> {
    let content = text("hi");
    sender().outcome(&outgoing(Channel::Sms, &content), &response(status, body))
}

#[test]
fn an_accepted_message_returns_the_sid_of_its_statuses() {
    let body = json!({ "sid": "SM1", "status": "queued", "error_code": null });
    assert_eq!(outcome(201, &body).unwrap().provider_message_id(), "SM1");
    for odd in [json!({}), json!([]), json!({ "sid": "" })] {
        assert!(matches!(outcome(201, &odd), Err(SendError::Unreadable)), "{odd}");
    }
    let failed = json!({ "sid": "SM1", "status": "failed", "error_code": 30005 });
    let error = outcome(201, &failed).unwrap_err();
    assert_eq!((error.code(), error.fault()), ("30005", Fault::Permanent));
    let calls = json!({ "sid": "CA1", "status": "queued" });
    assert_eq!(outcome(201, &calls).unwrap().provider_message_id(), "CA1");
}

#[test]
fn a_refusal_is_classified_by_code_then_by_status() {
    let seconds = |n| Fault::RateLimited { retry_after: Duration::from_secs(n) };
    let (permanent, unknown) = (Fault::Permanent, Fault::Unknown);
    let (account, message) = (RefusalScope::Account, RefusalScope::Message);
    for (status, code, fault, scope) in [
        (401, 20_003, permanent, account),
        (400, 21_211, permanent, message),
        (400, 21_408, permanent, RefusalScope::Route),
        (400, 21_606, permanent, account),
        (400, 21_610, permanent, message),
        (400, 21_614, permanent, message),
        (400, 63_007, permanent, account),
        (400, 30_001, seconds(60), account),
        (429, 20_429, seconds(2), account),
        (429, 21_611, seconds(60), account),
        (429, 99_999, seconds(2), account),
        (400, 99_999, permanent, message),
        (403, 99_999, permanent, account),
        (500, 20_500, unknown, account),
        // The status decides, whatever the code.
        (500, 21_211, unknown, account),
        (504, 20_504, unknown, account),
        (502, 20_502, Fault::Retryable, account),
        (503, 20_503, Fault::Retryable, account),
        (503, 21_211, permanent, message),
    ] {
        let body = json!({ "code": code, "message": "to +4915550009999", "status": status });
        let error = outcome(status, &body).unwrap_err();
        assert_eq!(error.fault(), fault, "{status} {code}");
        assert_eq!(error.code(), code.to_string());
        assert!(!format!("{error:?} {}", error.detail()).contains("4915550009999"));
        let SendError::Refused { scope: found, .. } = error else { panic!("{error}") };
        assert_eq!(found, scope, "{status} {code}");
    }
    let plain = outcome(502, &json!("Bad Gateway")).unwrap_err();
    assert_eq!((plain.code(), plain.fault()), ("502", unknown));
    let mut limited = response(429, &json!({ "code": 20_429 }));
    limited.headers_mut().insert("retry-after", HeaderValue::from_static("9"));
    let content = text("hi");
    let error = sender().outcome(&outgoing(Channel::Sms, &content), &limited).unwrap_err();
    assert_eq!(error.fault(), seconds(9));
}

#[test]
fn an_opt_out_never_fails_over() {
    let error = outcome(400, &json!({ "code": 21_610 })).unwrap_err();
    assert!(!error.allows_failover());
    assert!(error.detail().contains("START"));
}

#[test]
fn a_file_is_located_with_credentials_and_fetched_without() {
    let path = format!("2010-04-01/Accounts/{SID}/Messages/MM1/Media/ME1");
    let MediaRequest::Lookup(request) =
        sender().locate_media(&format!("https://api.twilio.com/{path}")).unwrap()
    else {
        panic!()
    };
    assert!(request.headers().contains_key("authorization"));
    for elsewhere in [
        format!("http://api.twilio.com/{path}"),
        format!("https://evil.example/{path}"),
        format!("https://api.twilio.com.evil.example/{path}"),
        format!("https://api.twilio.com@evil.example/{path}"),
        format!("https://nottwilio.com/{path}"),
        format!("https://api.twilio.com:8443/{path}"),
        "https://api.twilio.com/2010-04-01/Accounts/../../x".to_owned(),
        "https://api.twilio.com/2008-08-01/Accounts/AC1".to_owned(),
        format!("https://api.twilio.com/2010-04-01/Accounts/{SID}/Messages.json"),
        format!("https://api.twilio.com/{path}?PageSize=1000"),
        format!("https://api.twilio.com/{path}/more"),
        "https://api.twilio.com/2010-04-01/Accounts/AC9/Messages/MM1/Media/ME1".to_owned(),
        path.clone(),
    ] {
        assert!(sender().locate_media(&elsewhere).is_err(), "{elsewhere}");
    }
    let moved = |to: &str| {
        let mut response = response(307, &json!({}));
        response.headers_mut().insert("location", HeaderValue::from_str(to).unwrap());
        sender().fetch_media(&response)
    };
    let MediaSource::Download(request) = moved("https://mms.twiliocdn.com/AC1/x?y=z").unwrap()
    else {
        panic!()
    };
    assert!(!request.headers().contains_key("authorization"));
    for inside in ["https://169.254.169.254/", "http://mms.twiliocdn.com/x", "/x", "https://h/"] {
        assert!(moved(inside).is_err(), "{inside}");
    }
    let MediaSource::Inline(file) = sender().fetch_media(&response(200, &json!("file"))).unwrap()
    else {
        panic!()
    };
    assert_eq!(file, "\"file\"");
    let gone = sender().fetch_media(&response(404, &json!({ "code": 20_404 })));
    assert!(matches!(gone, Err(SendError::Refused { .. })));
}

#[test]
fn the_account_is_read_without_its_token() {
    let body = json!({ "sid": SID, "friendly_name": "Shop", "status": "active",
        "auth_token": "very-secret" });
    let shown = sender().answer(&response(200, &body)).unwrap();
    assert_eq!(shown, json!({ "sid": SID, "name": "Shop", "status": "active" }));
    let numbers = json!({ "incoming_phone_numbers": [] });
    assert_eq!(sender().answer(&response(200, &numbers)).unwrap()["sid"], SID);
    assert!(sender().answer(&response(401, &json!({ "code": 20_003 }))).is_err());
}

#[test]
fn there_is_no_idempotency_window_and_one_rate_limit_per_account() {
    assert_eq!(sender().idempotency_window(), None);
    let [rate_limit] = sender().rate_limits(PERSON).try_into().unwrap();
    assert_eq!((rate_limit.identity.as_str(), rate_limit.messages), (SID, 10));
}

#[test]
fn webhooks_are_registered_by_hand_and_messages_are_not_marked_as_read() {
    let spec = &crate::twilio::SPEC;
    assert!(spec.webhook_registrar.is_none() && spec.read_receipts.is_none());
    let error = spec.missing(crate::spec::Capability::RegisterWebhook);
    assert!(error.to_string().ends_with("paste the webhook's URL in Twilio's console"));
}
