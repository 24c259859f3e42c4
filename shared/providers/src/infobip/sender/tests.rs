use super::*;
use crate::infobip::{SPEC, example};
use domain::content::{Choice, Location, Reaction, Section};
use domain::{Classify, IntegrationId, MessageId, TenantId};
use jiff::Timestamp;
use serde_json::json;

fn integration(settings: &Value) -> Integration {
    let settings = (SPEC.settings)(settings.as_object().unwrap()).unwrap();
    let credentials = example::credentials();
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&["i"]),
        tenant: TenantId::platform(),
        provider: Provider::Infobip,
        account: (SPEC.account)(crate::spec::RequestedBy::Tenant, &settings, &credentials).unwrap(),
        settings,
        hints: std::collections::BTreeMap::default(),
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

fn settings() -> Value {
    json!({ "base_url": "https://x1.api.infobip.com/", "from": "4915550001111" })
}

fn sender_of(settings: &Value) -> Number {
    Number::new(&integration(settings), &example::credentials()).unwrap()
}

fn sender() -> Number {
    sender_of(&settings())
}

fn outgoing(content: &Content) -> Outgoing<'_> {
    Outgoing {
        id: MessageId::derived(&["m"]),
        channel: Channel::Whatsapp,
        integration: IntegrationId::derived(&["i"]),
        hub_url: Some("https://hub.example.com"),
        to: "+49 1555 0009999",
        content,
        reply_to: Some("wamid.0"),
    }
}

fn text(text: &str) -> Content {
    Content::Text { text: text.into() }
}

fn media() -> Media {
    Media { url: Some("https://example.com/f".into()), ..Media::default() }
}

/// Returns the path and content of a sent message.
fn sent(content: &Content) -> Result<(String, Value), SendError> {
    let request = sender().request(&outgoing(content))?;
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    let message = body.pointer("/messages/0").unwrap_or(&body);
    let path = request.uri().path().strip_prefix("/whatsapp/1/message/").unwrap().to_owned();
    Ok((path, message["content"].clone()))
}

#[track_caller]
fn field(content: &Content) -> &'static str {
    match sent(content) {
        Err(SendError::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

fn template(components: Vec<Value>) -> Content {
    let (name, language) = ("hello".to_owned(), "en_GB".to_owned());
    Content::Template { template: Template { name, language, components } }
}

fn buttons(buttons: Vec<(&str, &str)>) -> Content {
    let choice = |(id, title): (&str, &str)| Choice {
        id: id.into(),
        title: title.into(),
        description: None,
    };
    let buttons = buttons.into_iter().map(choice).collect();
    let (header, footer) = (Some("h".into()), None);
    Content::Interactive {
        interactive: Interactive::Button { body: "b".into(), header, footer, buttons },
    }
}

fn response(status: u16, wait: Option<&str>, body: &Value) -> Response<Bytes> {
    let mut response = Response::builder().status(status);
    if let Some(seconds) = wait {
        response = response.header("retry-after", seconds);
    }
    response.body(body.to_string().into()).unwrap()
}

fn outcome(status: u16, wait: Option<&str>, body: &Value) -> Result<Accepted, SendError> {
    sender().outcome(&outgoing(&text("t")), &response(status, wait, body))
}

fn refusal_of(status: u16, wait: Option<&str>, body: &Value) -> (Fault, RefusalScope, String) {
    let error = outcome(status, wait, body).unwrap_err();
    let fault = error.fault();
    let SendError::Refused { scope, code, .. } = error else { panic!("{error:?}") };
    (fault, scope, code)
}

fn state(group: &str, name: &str) -> Value {
    json!({ "to": "4915550009999", "messageCount": 1, "messageId": "other",
        "status": { "groupId": 5, "groupName": group, "id": 1, "name": name } })
}

fn exception(code: &str) -> Value {
    json!({ "requestError": { "serviceException": { "messageId": code, "text": "x" } } })
}

fn seconds(seconds: u64) -> Fault {
    Fault::RateLimited { retry_after: Duration::from_secs(seconds) }
}

#[test]
fn a_text_is_posted_to_the_base_url_with_the_key_and_the_message_id() {
    let content = text("hi");
    let request = sender().request(&outgoing(&content)).unwrap();
    assert_eq!(request.method(), http::Method::POST);
    assert_eq!(request.uri(), "https://x1.api.infobip.com/whatsapp/1/message/text");
    assert_eq!(request.headers()["authorization"], "App test-infobip-key");
    assert!(request.headers()["authorization"].is_sensitive());
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    let id = MessageId::derived(&["m"]).to_string();
    let expected = json!({ "from": "4915550001111", "to": "4915550009999", "messageId": id,
        "content": { "text": "hi" }, "callbackData": id });
    assert_eq!(body, expected);
}

#[test]
fn reports_go_to_the_messages_url_only_if_the_setting_says_so() {
    let content = text("hi");
    let mut settings = settings();
    settings["reports"] = "notify_url".into();
    let request = sender_of(&settings).request(&outgoing(&content)).unwrap();
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    let integration = IntegrationId::derived(&["i"]);
    let expected = format!("https://hub.example.com/webhooks/infobip/{integration}");
    assert_eq!(body["notifyUrl"], expected);
    let unknown = Outgoing { hub_url: None, ..outgoing(&content) };
    let request = sender_of(&settings).request(&unknown).unwrap();
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    assert!(body.get("notifyUrl").is_none());
}

#[test]
fn files_are_sent_by_url_each_type_to_its_own_path() {
    let with_caption = || Media { caption: Some("c".into()), ..media() };
    let (path, content) = sent(&Content::Image { media: with_caption() }).unwrap();
    let expected = json!({ "mediaUrl": "https://example.com/f", "caption": "c" });
    assert_eq!((&*path, content), ("image", expected));
    assert_eq!(sent(&Content::Video { media: with_caption() }).unwrap().0, "video");
    assert_eq!(sent(&Content::Audio { media: media() }).unwrap().0, "audio");
    assert_eq!(sent(&Content::Sticker { media: media() }).unwrap().0, "sticker");
    let named = Media { filename: Some("n.pdf".into()), ..with_caption() };
    let (path, content) = sent(&Content::Document { media: named }).unwrap();
    assert_eq!((&*path, &content["filename"]), ("document", &json!("n.pdf")));

    assert_eq!(field(&Content::Audio { media: with_caption() }), "media.caption");
    assert_eq!(field(&Content::Image { media: Media::default() }), "media.url");
    let long = Media { caption: Some("c".repeat(3001)), ..media() };
    assert_eq!(field(&Content::Image { media: long }), "media.caption");
    let long = Media { filename: Some("c".repeat(241)), ..media() };
    assert_eq!(field(&Content::Document { media: long }), "media.filename");
}

#[test]
fn locations_contacts_and_choices_have_infobips_format() {
    let location =
        Location { latitude: 52.5, longitude: -13.25, name: Some("n".into()), address: None };
    let (path, content) = sent(&Content::Location { location }).unwrap();
    let expected = json!({ "latitude": 52.5, "longitude": -13.25, "name": "n" });
    assert_eq!((&*path, content), ("location", expected));

    let card = ContactCard { name: "Zoë".into(), phones: vec!["+1".into()], emails: vec![] };
    let (path, content) = sent(&Content::Contacts { contacts: vec![card] }).unwrap();
    let expected = json!([{ "name": { "firstName": "Zoë", "formattedName": "Zoë" },
        "phones": [{ "phone": "+1" }], "emails": [] }]);
    assert_eq!((&*path, &content["contacts"]), ("contact", &expected));
    assert_eq!(field(&Content::Contacts { contacts: vec![] }), "contacts");

    let (path, content) = sent(&buttons(vec![("y", "Yes")])).unwrap();
    let expected = json!({ "body": { "text": "b" }, "header": { "type": "TEXT", "text": "h" },
        "action": { "buttons": [{ "type": "REPLY", "id": "y", "title": "Yes" }] } });
    assert_eq!((&*path, content), ("interactive/buttons", expected));
    assert_eq!(field(&buttons(vec![("y ", "Yes")])), "interactive.buttons");
    assert_eq!(field(&buttons(vec![])), "interactive.buttons");

    let rows = vec![Choice { id: "1".into(), title: "One".into(), description: Some("d".into()) }];
    let sections = vec![Section { title: String::new(), rows }];
    let (header, footer) = (None, Some("f".into()));
    let (body, button) = ("b".into(), "open".into());
    let interactive = Interactive::List { body, header, footer, button, sections };
    let (path, content) = sent(&Content::Interactive { interactive }).unwrap();
    let expected = json!({ "body": { "text": "b" }, "footer": { "text": "f" },
        "action": { "title": "open",
            "sections": [{ "rows": [{ "id": "1", "title": "One", "description": "d" }] }] } });
    assert_eq!((&*path, content), ("interactive/list", expected));
}

#[test]
fn a_template_is_a_batch_of_one_with_infobips_own_parts() {
    let parts = vec![
        json!({ "body": { "placeholders": ["a", "b"] } }),
        json!({ "header": { "type": "TEXT", "placeholder": "p" } }),
    ];
    let (path, content) = sent(&template(parts)).unwrap();
    let expected = json!({ "templateName": "hello", "language": "en_GB", "templateData": {
        "body": { "placeholders": ["a", "b"] },
        "header": { "type": "TEXT", "placeholder": "p" } } });
    assert_eq!((&*path, content), ("template", expected));
    let (_, content) = sent(&template(vec![])).unwrap();
    assert_eq!(content["templateData"], json!({ "body": { "placeholders": [] } }));
    for bad in [
        json!("x"),
        json!({ "type": "body" }),
        json!({ "body": {} }),
        json!({ "body": { "placeholders": [""] } }),
        json!({ "body": { "placeholders": [1] } }),
    ] {
        assert_eq!(field(&template(vec![bad])), "template.components");
    }
    let twice = json!({ "body": { "placeholders": [] } });
    assert_eq!(field(&template(vec![twice.clone(), twice])), "template.components");
}

#[test]
fn unsupported_content_is_rejected_before_the_request() {
    let reaction = Reaction { message_id: "wamid.1".into(), emoji: "👍".into() };
    assert_eq!(field(&Content::Reaction { reaction }), "reaction");
    assert_eq!(field(&Content::Call { call: domain::content::Call::default() }), "call");
    assert_eq!(field(&Content::Unsupported { raw: Value::Null }), "type");
    assert_eq!(field(&text("")), "text");
    assert_eq!(field(&text(&"é".repeat(4097))), "text");
    let content = text("hi");
    let sms = Outgoing { channel: Channel::Sms, ..outgoing(&content) };
    assert!(matches!(sender().request(&sms), Err(SendError::Invalid { field: "channel", .. })));
    for to in ["", "12345", "1234567890123456", "a@example.com"] {
        let error = sender().request(&Outgoing { to, ..outgoing(&content) }).unwrap_err();
        assert!(matches!(error, SendError::Invalid { field: "to", .. }), "{to}: {error:?}");
    }
}

#[test]
fn a_response_returns_the_message_id() {
    let one = state("PENDING", "PENDING_ENROUTE");
    assert_eq!(outcome(200, None, &one).unwrap().provider_message_id(), "other");
    let batch = json!({ "messages": [one], "bulkId": "1" });
    assert_eq!(outcome(200, None, &batch).unwrap().provider_message_id(), "other");
    for unreadable in [json!({}), json!({ "messages": [] }), json!({ "messageId": "" })] {
        let error = outcome(200, None, &unreadable).unwrap_err();
        assert!(matches!(error, SendError::Unreadable), "{error:?}");
    }
}

#[test]
fn a_duplicate_id_is_an_earlier_attempt_of_the_same_message() {
    let duplicate = state("REJECTED", "REJECTED_DUPLICATE_MESSAGE_ID");
    let own = MessageId::derived(&["m"]).to_string();
    assert_eq!(outcome(200, None, &duplicate).unwrap().provider_message_id(), own);
    for code in ["REJECTED_DUPLICATE_MESSAGE_ID", "EC_DUPLICATE_REQUEST"] {
        for refusal in [exception(code), json!({ "errorCode": code })] {
            for status in [400, 409, 500] {
                let accepted = outcome(status, None, &refusal);
                assert_eq!(accepted.unwrap().provider_message_id(), own, "{status}: {refusal}");
            }
        }
    }
}

#[test]
fn a_response_with_status_200_may_be_a_refusal() {
    let of = |name: &str| refusal_of(200, None, &state("REJECTED", name));
    let permanent = |scope, code: &str| (Fault::Permanent, scope, code.to_owned());
    for (code, scope) in [
        ("REJECTED_NOT_ENOUGH_CREDITS", RefusalScope::Account),
        ("REJECTED_SOURCE", RefusalScope::Account),
        ("REJECTED_DESTINATION_BLOCKLISTED", RefusalScope::Message),
        ("REJECTED_PREFIX_MISSING", RefusalScope::Message),
        ("SOMETHING_NEW", RefusalScope::Message),
    ] {
        assert_eq!(of(code), permanent(scope, code));
    }
    assert_eq!(of("REJECTED_SYSTEM_ERROR").0, Fault::Retryable);
}

#[test]
fn a_refusal_is_read_in_both_formats() {
    let newer = |code: &str| json!({ "errorCode": code, "description": "d", "violations": [] });
    for (status, codes, fault, scope) in [
        (401, ["UNAUTHORIZED", "E401"], Fault::Permanent, RefusalScope::Account),
        (403, ["FORBIDDEN", "E403"], Fault::Permanent, RefusalScope::Account),
        (400, ["BAD_REQUEST", "E400"], Fault::Permanent, RefusalScope::Message),
        (429, ["TOO_MANY_REQUESTS", "E429"], seconds(5), RefusalScope::Account),
        (500, ["GENERAL_ERROR", "E500"], Fault::Retryable, RefusalScope::Account),
        (503, ["GENERAL_ERROR", "E503"], Fault::Retryable, RefusalScope::Account),
    ] {
        let [old, new] = codes;
        assert_eq!(refusal_of(status, None, &exception(old)), (fault, scope, old.to_owned()));
        assert_eq!(refusal_of(status, None, &newer(new)), (fault, scope, new.to_owned()));
    }
    assert_eq!(refusal_of(429, Some("7"), &newer("E429")).0, seconds(7));
    assert_eq!(refusal_of(503, Some("7"), &Value::Null).0, seconds(7));
    assert_eq!(refusal_of(502, Some("7"), &Value::Null).0, Fault::Unknown);
    assert_eq!(
        refusal_of(418, None, &Value::Null),
        (Fault::Permanent, RefusalScope::Message, "418".into())
    );
}

#[test]
fn a_refusal_names_fields_and_never_quotes_values() {
    let body = json!({ "requestError": { "serviceException": { "messageId": "BAD_REQUEST",
        "text": "secret words", "validationErrors": {
            "content.text": ["secret words"], "messages[0].to": ["x"], "se cret": ["x"] } } } });
    let detail = outcome(400, None, &body).unwrap_err().detail();
    assert!(detail.ends_with("Infobip names: content.text, messages[0].to."), "{detail}");
}

#[test]
fn a_message_is_marked_as_read_with_its_id_escaped_in_the_path() {
    let request = sender().mark_read("wamid.a/b==").unwrap().unwrap();
    let expected = "/whatsapp/1/senders/4915550001111/message/wamid.a%2Fb%3D%3D/read";
    assert_eq!(request.uri().path(), expected);
    assert_eq!(request.headers()["authorization"], "App test-infobip-key");
}

#[test]
fn a_file_is_fetched_at_the_accounts_base_url_whatever_the_webhook_said() {
    let url = "https://elsewhere.example/whatsapp/1/senders/4915550001111/media/abc-1";
    let MediaRequest::Download(request) = sender().locate_media(url).unwrap() else { panic!() };
    let expected = "https://x1.api.infobip.com/whatsapp/1/senders/4915550001111/media/abc-1";
    assert_eq!(request.uri(), expected);
    for bad in [
        "",
        "https://elsewhere.example/media/1",
        "https://x/whatsapp/1/senders/../media/1",
        "https://x/whatsapp/1/senders/4915550002222/media/1",
        "https://x/whatsapp/1/senders/49/media/1/more",
        "https://x/whatsapp/1/senders/49/media/%2e%2e",
    ] {
        assert!(sender().locate_media(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_account_is_described_only_if_it_belongs_to_the_key() {
    let request = sender().describe_account().unwrap();
    assert_eq!(request.uri().query(), Some("senders=4915550001111"));
    let known = json!({ "results": [{ "sender": "4915550001111", "qualityRating": "HIGH" }] });
    let answer = sender().answer(&response(200, None, &known)).unwrap();
    assert_eq!(
        (&answer["id"], &answer["qualityRating"]),
        (&json!("4915550001111"), &json!("HIGH"))
    );
    assert!(sender().answer(&response(200, None, &json!({ "results": [] }))).is_err());
    assert!(sender().answer(&response(401, None, &exception("UNAUTHORIZED"))).is_err());
}

#[test]
fn sending_needs_a_base_url_a_number_and_a_key() {
    let missing = |settings: &Value, credentials: &Credentials| match Number::new(
        &integration(settings),
        credentials,
    ) {
        Err(SendError::Invalid { field, .. }) => field,
        _ => "",
    };
    assert_eq!(missing(&json!({}), &example::credentials()), "settings.base_url");
    let none = Credentials::default();
    assert_eq!(missing(&settings(), &none), "credentials.INFOBIP_API_KEY");
    let by_account = json!({ "base_url": "https://x.test", "account": "4915550002222" });
    let pace = sender_of(&by_account).rate_limits("");
    assert_eq!((&*pace[0].identity, pace[0].messages), ("4915550002222", 80));
    assert_eq!(integration(&settings()).account.as_deref(), Some("4915550001111"));
    let wrong = |settings: Value| (SPEC.settings)(settings.as_object().unwrap()).unwrap_err().field;
    assert_eq!(wrong(json!({ "base_url": "https://x.test" })), "settings.from");
    assert_eq!(wrong(json!({ "from": "+49 1" })), "settings.from");
    assert_eq!(wrong(json!({ "messages_per_second": 0 })), "settings.messages_per_second");
    assert_eq!(
        wrong(json!({ "base_url": "https://x.test", "account": "acme" })),
        "settings.account"
    );
}
