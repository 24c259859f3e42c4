use super::*;
use crate::evolution::example;
use domain::circuit::Breaker;
use domain::content::{Call, Location, Section, Template};
use domain::integration::Settings;
use domain::provider::Channel;
use domain::{Classify, IntegrationId, MessageId, TenantId};
use jiff::Timestamp;
use serde_json::{Value, json};

fn integration(settings: &Value) -> Integration {
    let Value::Object(mut given) = settings.clone() else { panic!("no settings") };
    given.entry("base_url").or_insert_with(|| "https://evolution.example.com/".into());
    given.entry("account").or_insert_with(|| example::INSTANCE.into());
    given.retain(|_, value| !value.is_null());
    let settings = (crate::evolution::SPEC.settings)(&given).unwrap();
    Integration {
        circuit: Breaker::default(),
        id: IntegrationId::derived(&["i"]),
        tenant: "acme".parse::<TenantId>().unwrap(),
        provider: Provider::Evolution,
        account: given.get("account").and_then(Value::as_str).map(ToOwned::to_owned),
        settings,
        hints: BTreeMap::default(),
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

fn sender_with(settings: &Value) -> Instance {
    Instance::new(&integration(settings), &example::credentials()).unwrap()
}

fn sender() -> Instance {
    sender_with(&json!({}))
}

fn native() -> Instance {
    sender_with(&json!({ "buttons": "native" }))
}

fn outgoing<'a>(content: &'a Content, reply_to: Option<&'a str>) -> Outgoing<'a> {
    Outgoing {
        id: MessageId::derived(&["m"]),
        channel: Channel::Whatsapp,
        integration: IntegrationId::derived(&["i"]),
        hub_url: None,
        to: "+49 155 5000-9999",
        content,
        reply_to,
    }
}

fn request_of(
    sender: &Instance,
    content: &Content,
    reply_to: Option<&str>,
) -> Result<(String, Value), SendError> {
    let request = sender.request(&outgoing(content, reply_to))?;
    let path = request.uri().path().to_owned();
    let method = path.strip_prefix("/message/").unwrap().strip_suffix("/front-desk").unwrap();
    Ok((method.to_owned(), serde_json::from_slice(request.body()).unwrap()))
}

fn sent(content: &Content) -> Result<(String, Value), SendError> {
    request_of(&sender(), content, None)
}

#[track_caller]
fn field(content: &Content) -> &'static str {
    match sent(content) {
        Err(SendError::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

fn text(text: &str) -> Content {
    Content::Text { text: text.into() }
}

fn media(url: &str) -> Media {
    Media { url: Some(url.into()), ..Media::default() }
}

fn response(status: u16, body: &str) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn outcome_of(content: &Content, status: u16, body: &str) -> Result<Accepted, SendError> {
    sender().outcome(&outgoing(content, None), &response(status, body))
}

/// Returns Evolution's refusal with `message`, in its own format.
fn refused_as(content: &Content, status: u16, message: &Value) -> SendError {
    let body = json!({ "status": status, "error": "E", "response": { "message": message } });
    outcome_of(content, status, &body.to_string()).unwrap_err()
}

fn refused(status: u16, message: &Value) -> SendError {
    refused_as(&text("t"), status, message)
}

fn scope(error: &SendError) -> RefusalScope {
    match error {
        SendError::Refused { scope, .. } => *scope,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_is_posted_to_the_instance_with_its_key_and_errors_never_show_the_key() {
    let content = text("hi");
    let request = sender().request(&outgoing(&content, Some("3EB0AA"))).unwrap();
    assert_eq!(request.uri(), "https://evolution.example.com/message/sendText/front-desk");
    assert_eq!(request.headers()["apikey"], "test-evolution-key");
    assert!(!format!("{request:?}").contains("test-evolution-key"));
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    let quoted = json!({ "key": { "id": "3EB0AA" } });
    assert_eq!(body, json!({ "number": "4915550009999", "text": "hi", "quoted": quoted }));
    // A customer's message is quoted by WhatsApp's own id.
    let incoming = "4915550009999@s.whatsapp.net:3A11";
    let (_, body) = request_of(&sender(), &content, Some(incoming)).unwrap();
    assert_eq!(body["quoted"]["key"]["id"], "3A11");
    assert_eq!(field(&text(" ")), "text");
}

#[test]
fn the_instance_may_differ_from_the_account_and_is_one_path_segment() {
    let settings = json!({ "account": null, "instance": "Loja 1/ção" });
    let content = text("hi");
    let request = sender_with(&settings).request(&outgoing(&content, None)).unwrap();
    assert_eq!(request.uri().path(), "/message/sendText/Loja%201%2F%C3%A7%C3%A3o");
    for name in ["", ".", ".."] {
        let given = json!({ "instance": name });
        let error = (crate::evolution::SPEC.settings)(given.as_object().unwrap()).unwrap_err();
        assert_eq!(error.field, "settings.instance");
    }
}

#[test]
fn sending_needs_a_server_an_instance_and_a_key() {
    let none = Credentials::default();
    for (settings, credentials, field) in [
        (json!({ "base_url": null }), &example::credentials(), "settings.base_url"),
        (json!({ "account": null }), &example::credentials(), "settings.instance"),
        (json!({}), &none, "credentials.EVOLUTION_API_KEY"),
    ] {
        let error = Instance::new(&integration(&settings), credentials).err().unwrap();
        assert!(matches!(error, SendError::Invalid { field: f, .. } if f == field), "{error:?}");
    }
    let odd = Credentials::new([(crate::evolution::API_KEY.to_owned(), vec!["a\nb".into()])]);
    let sender = Instance::new(&integration(&json!({})), &odd).unwrap();
    let error = sender.describe_account().unwrap_err();
    assert!(!format!("{error:?} {error}").contains("a\nb"));
}

#[test]
fn settings_have_safe_defaults_and_unknown_settings_are_rejected() {
    let read = |given: Value| (crate::evolution::SPEC.settings)(given.as_object().unwrap());
    let Settings(kept) = read(json!({})).unwrap();
    let expected =
        json!({ "buttons": "text", "delivery": "at_most_once", "messages_per_second": 1 });
    assert_eq!(Value::Object(kept), expected);
    let per_second = read(json!({ "messages_per_second": 0 })).unwrap_err();
    assert_eq!(per_second.field, "settings.messages_per_second");
    assert_eq!(read(json!({ "buttons": "big" })).unwrap_err().field, "settings.buttons");
    assert_eq!(read(json!({ "base_urls": "x" })).unwrap_err().field, "settings.base_urls");
}

#[test]
fn an_address_is_digits_a_group_or_a_hidden_number() {
    for (given, kept) in [
        ("+49 (155) 5000-9999", "4915550009999"),
        ("4915550009999", "4915550009999"),
        ("4915550009999@s.whatsapp.net", "4915550009999"),
        ("120363041234567890@g.us", "120363041234567890@g.us"),
        ("4915550009999-1600000000@g.us", "4915550009999-1600000000@g.us"),
        (" 77@lid ", "77@lid"),
    ] {
        assert_eq!(address(given).unwrap(), kept);
    }
    let bad = [
        "",
        "+",
        "abc",
        "0155500099",
        "123456",
        "1234567890123456",
        "@g.us",
        "-1@g.us",
        "x@lid",
        "1@newsletter",
        "1@g.us@g.us",
        "4915550009999:2@s.whatsapp.net",
    ];
    for bad in bad {
        assert!(address(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_file_has_a_name_and_is_sent_by_its_url() {
    let picture = Media {
        caption: Some("c".into()),
        mime_type: Some("image/jpeg".into()),
        ..media("https://example.com/a/b.jpg?x=1")
    };
    let (method, body) = sent(&Content::Image { media: picture }).unwrap();
    let expected = json!({ "number": "4915550009999", "mediatype": "image", "caption": "c",
        "media": "https://example.com/a/b.jpg?x=1", "mimetype": "image/jpeg",
        "fileName": "b.jpg" });
    assert_eq!((method.as_str(), body), ("sendMedia", expected));
    let (_, body) = sent(&Content::Document { media: media("https://example.com/i") }).unwrap();
    assert_eq!((&body["mediatype"], &body["fileName"]), (&json!("document"), &json!("file")));
    let named = Media { filename: Some("n.pdf".into()), ..media("https://example.com/i.doc") };
    let (_, body) = sent(&Content::Document { media: named }).unwrap();
    assert_eq!(body["fileName"], "n.pdf");
    let (_, body) = sent(&Content::Video { media: media("https://example.com/v") }).unwrap();
    assert_eq!((&body["mediatype"], body.get("fileName")), (&json!("video"), None));
    let (_, body) = sent(&Content::Audio { media: media("https://1.2.3.4/a.mp3") }).unwrap();
    assert_eq!(body["mediatype"], "audio");
}

#[test]
fn an_unsupported_file_url_is_rejected_with_its_field() {
    let long = format!("https://example.com/{}", "x".repeat(2083));
    for url in ["", "file:///etc/passwd", "https://localhost/a.png", "https://a.1/x", &long] {
        assert_eq!(field(&Content::Image { media: media(url) }), "media.url", "{url}");
    }
    let captioned = || Media { caption: Some("c".into()), ..media("https://example.com/a") };
    assert_eq!(field(&Content::Audio { media: captioned() }), "media.caption");
    assert_eq!(field(&Content::Sticker { media: captioned() }), "media.caption");
}

#[test]
fn the_timestamp_evolution_appends_to_a_sticker_url_does_not_change_its_query() {
    let sticker = |url: &str| {
        let (method, body) = sent(&Content::Sticker { media: media(url) }).unwrap();
        assert_eq!(method, "sendSticker");
        body["sticker"].as_str().unwrap().to_owned()
    };
    assert_eq!(sticker("https://example.com/s.webp"), "https://example.com/s.webp");
    let signed = "https://example.com/s.webp?signature=a";
    assert_eq!(sticker(signed), format!("{signed}#"));
}

#[test]
fn a_location_has_a_name_and_an_address_even_if_empty() {
    let location =
        Location { latitude: 1.5, longitude: 2.5, name: Some("n".into()), address: None };
    let (method, body) = sent(&Content::Location { location: location.clone() }).unwrap();
    let expected = json!({ "number": "4915550009999", "latitude": 1.5, "longitude": 2.5,
        "name": "n", "address": "" });
    assert_eq!((method.as_str(), body), ("sendLocation", expected));
    let far = Location { latitude: 91.0, ..location };
    assert_eq!(field(&Content::Location { location: far }), "location.latitude");
}

#[test]
fn contacts_have_a_number_and_quote_nothing() {
    let card = ContactCard {
        name: "A".into(),
        phones: vec!["+49 155 5000 1111".into()],
        emails: vec!["a@example.com".into()],
    };
    let contacts = Content::Contacts { contacts: vec![card.clone()] };
    let (method, body) = request_of(&sender(), &contacts, Some("3EB0AA")).unwrap();
    let expected = json!({ "number": "4915550009999", "contact": [{ "fullName": "A",
        "phoneNumber": "+49 155 5000 1111", "wuid": "4915550001111",
        "email": "a@example.com" }] });
    assert_eq!((method.as_str(), body), ("sendContact", expected));
    assert_eq!(field(&Content::Contacts { contacts: vec![] }), "contacts");
    assert_eq!(
        field(&Content::Contacts { contacts: vec![card.clone(), card.clone()] }),
        "contacts"
    );
    let short = ContactCard { phones: vec!["112".into()], ..card.clone() };
    assert_eq!(field(&Content::Contacts { contacts: vec![short] }), "contacts.phones");
    let nameless = ContactCard { name: " ".into(), ..card };
    assert_eq!(field(&Content::Contacts { contacts: vec![nameless] }), "contacts.name");
}

fn reaction(message_id: &str, emoji: &str) -> Content {
    let (message_id, emoji) = (message_id.into(), emoji.into());
    Content::Reaction { reaction: Reaction { message_id, emoji } }
}

#[test]
fn a_reaction_names_the_chat_and_the_author() {
    let (method, body) = sent(&reaction("3EB0AA", "👍")).unwrap();
    let own =
        json!({ "remoteJid": "4915550009999@s.whatsapp.net", "fromMe": true, "id": "3EB0AA" });
    assert_eq!((method.as_str(), body), ("sendReaction", json!({ "key": own, "reaction": "👍" })));
    let (_, body) = sent(&reaction("77@lid:3A11", "👍")).unwrap();
    let incoming = json!({ "remoteJid": "77@lid", "fromMe": false, "id": "3A11" });
    assert_eq!(body["key"], incoming);
    assert_eq!(field(&reaction("3EB0AA", "")), "reaction.emoji");
    assert_eq!(field(&reaction("3EB0AA", "ok")), "reaction.emoji");
    // A message of another provider.
    for foreign in ["", "wamid.HBgL=", "42:7", "4915550009999@s.whatsapp.net:"] {
        assert_eq!(field(&reaction(foreign, "👍")), "reaction.message_id", "{foreign}");
    }
    assert_eq!(field(&reaction("1@g.us:3A11", "👍")), "reaction.message_id");
}

fn choice(id: &str, title: &str) -> Choice {
    Choice { id: id.into(), title: title.into(), description: None }
}

fn buttons(header: Option<&str>, buttons: Vec<Choice>) -> Content {
    let interactive = Interactive::Button {
        body: "Open?".into(),
        header: header.map(ToOwned::to_owned),
        footer: Some("f".into()),
        buttons,
    };
    Content::Interactive { interactive }
}

fn list(sections: Vec<Section>) -> Content {
    let interactive = Interactive::List {
        body: "Which?".into(),
        header: None,
        footer: None,
        button: "Show".into(),
        sections,
    };
    Content::Interactive { interactive }
}

fn section(title: &str, rows: Vec<Choice>) -> Section {
    Section { title: title.into(), rows }
}

#[test]
fn choices_are_sent_as_text_unless_native_buttons_are_set() {
    let two = || vec![choice("y", "Yes"), choice("n", "No")];
    let (method, body) = sent(&buttons(Some("h"), two())).unwrap();
    assert_eq!(method, "sendText");
    assert_eq!(body["text"], "*h*\n\nOpen?\n\n1. Yes\n2. No\n\n_f_");
    let row = Choice { description: Some("d".into()), ..choice("1", "One") };
    let sections = vec![section("A", vec![row]), section("B", vec![choice("2", "Two")])];
    let (_, body) = sent(&list(sections)).unwrap();
    assert_eq!(body["text"], "Which?\n\n*A*\n1. One: d\n\n*B*\n2. Two");

    let (method, body) = request_of(&native(), &buttons(Some("h"), two()), None).unwrap();
    let reply = |id: &str, title: &str| json!({ "type": "reply", "displayText": title, "id": id });
    let expected = json!({ "number": "4915550009999", "title": "h", "description": "Open?",
        "footer": "f", "buttons": [reply("y", "Yes"), reply("n", "No")] });
    assert_eq!((method.as_str(), body), ("sendButtons", expected));
    let (_, body) = request_of(&native(), &buttons(None, two()), None).unwrap();
    assert_eq!((&body["title"], body.get("description")), (&json!("Open?"), None));
}

#[test]
fn a_native_list_has_every_required_field() {
    let row = Choice { description: Some("d".into()), ..choice("1", "One") };
    let (method, body) =
        request_of(&native(), &list(vec![section("", vec![row.clone()])]), None).unwrap();
    let rows = json!([{ "title": "One", "description": "d", "rowId": "1" }]);
    let expected = json!({ "number": "4915550009999", "title": "Which?", "buttonText": "Show",
        "footerText": "", "sections": [{ "title": "", "rows": rows }] });
    assert_eq!((method.as_str(), body), ("sendList", expected));
    let refused = |sections| match request_of(&native(), &list(sections), None) {
        Err(SendError::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let twice = vec![section("A", vec![row.clone(), row.clone()])];
    assert_eq!(refused(twice), "interactive.sections");
    let unnamed = vec![section("A", vec![row.clone()]), section("", vec![row])];
    assert_eq!(refused(unnamed), "interactive.sections");
}

#[test]
fn an_interactive_message_without_choices_is_rejected() {
    assert_eq!(field(&buttons(None, vec![])), "interactive.buttons");
    let four = (0..4).map(|n| choice(&n.to_string(), "x")).collect();
    assert_eq!(field(&buttons(None, four)), "interactive.buttons");
    assert_eq!(field(&buttons(None, vec![choice("", "x")])), "interactive.buttons");
    assert_eq!(field(&list(vec![])), "interactive.sections");
    assert_eq!(field(&list(vec![section("A", vec![])])), "interactive.sections");
    assert_eq!(field(&list(vec![section("A", vec![choice("1", " ")])])), "interactive.sections");
}

#[test]
fn unsupported_content_is_rejected_with_its_field() {
    let template = Template { name: "t".into(), language: "en".into(), components: vec![] };
    assert_eq!(field(&Content::Template { template }), "template");
    assert_eq!(field(&Content::Call { call: Call::default() }), "call");
    assert_eq!(field(&Content::Unsupported { raw: Value::Null }), "type");
}

#[test]
fn an_accepted_message_returns_whatsapps_own_id() {
    let body = r#"{"key":{"remoteJid":"1@s.whatsapp.net","fromMe":true,"id":"3EB0AA"},
        "message":{"conversation":"t"},"messageTimestamp":1717689097,"status":"PENDING"}"#;
    assert_eq!(outcome_of(&text("t"), 201, body).unwrap().provider_message_id(), "3EB0AA");
    for body in ["", "{}", r#"{"key":{}}"#, "<html>"] {
        let error = outcome_of(&text("t"), 201, body).unwrap_err();
        assert_eq!(error.fault(), Fault::Unknown, "{body}");
    }
    // A number on Meta's Cloud API: Graph's error has a success status.
    let body = r#"{"message":"(#131030) Recipient not in allowed list","code":131030}"#;
    let error = outcome_of(&text("t"), 201, body).unwrap_err();
    assert_eq!((error.code(), error.fault()), ("131030", Fault::Permanent));
}

#[test]
fn a_lost_connection_is_an_account_failure_and_sent_nothing() {
    let unloaded = "Cannot read properties of undefined (reading 'textMessage')";
    for error in [
        refused(500, &json!("Connection Closed")),
        refused(500, &json!(["Error: Connection Closed"])),
        refused(400, &json!(["Error: Connection Closed"])),
        refused(500, &json!(unloaded)),
    ] {
        assert_eq!((error.code(), error.fault()), ("disconnected", Fault::Retryable));
        assert_eq!(scope(&error), RefusalScope::Account);
        assert!(error.detail().contains("QR code"));
    }
}

#[test]
fn a_bad_request_may_hide_a_message_that_was_sent() {
    for (words, at_fault) in [
        ("PrismaClientKnownRequestError: the database is gone", RefusalScope::Account),
        ("Error: Timed Out", RefusalScope::Account),
        ("TypeError: Cannot read properties of undefined (reading 'id')", RefusalScope::Account),
        ("Error: forbidden", RefusalScope::Message),
        ("[object Object]", RefusalScope::Message),
    ] {
        let error = refused(400, &json!([words]));
        assert_eq!((error.fault(), scope(&error)), (Fault::Unknown, at_fault), "{words}");
    }
}

#[test]
fn an_internal_error_of_evolution_happened_before_the_send() {
    for status in [500, 502, 503] {
        for words in [json!("Something"), json!(["Error: Timed Out"])] {
            let error = refused(status, &words);
            assert_eq!((error.fault(), scope(&error)), (Fault::Retryable, RefusalScope::Account));
        }
    }
}

#[test]
fn an_invalid_message_is_a_permanent_failure() {
    for message in [
        json!(["instance requires property \"text\""]),
        json!(["Maximum of 3 reply buttons allowed"]),
        json!("Text is required"),
        json!(["Note: no error"]),
    ] {
        let error = refused(400, &message);
        assert_eq!((error.code(), error.fault()), ("400", Fault::Permanent), "{message}");
        assert_eq!(scope(&error), RefusalScope::Message);
    }
    let unknown = json!([{ "jid": "1@s.whatsapp.net", "exists": false, "number": "1" }]);
    let error = refused(400, &unknown);
    assert_eq!((error.code(), error.fault()), ("not_on_whatsapp", Fault::Permanent));
    assert_eq!(scope(&error), RefusalScope::Message);
    assert!(!error.detail().contains("@s.whatsapp.net"));
}

#[test]
fn a_file_that_could_not_be_fetched_was_not_sent() {
    let image = Content::Image { media: media("https://example.com/a.png") };
    let words = json!(["AxiosError: Request failed with status code 404"]);
    let error = refused_as(&image, 500, &words);
    assert_eq!((error.code(), error.fault()), ("no_file", Fault::Retryable));
    assert_eq!(scope(&error), RefusalScope::Message);
    // After a text, the same error is about the server.
    assert_eq!(scope(&refused(500, &words)), RefusalScope::Account);
}

#[test]
fn an_unknown_key_or_instance_is_an_account_failure() {
    for (status, words) in [(401, "Store"), (404, "no such instance"), (403, "forbids")] {
        let error = refused(status, &json!("x"));
        assert_eq!((error.fault(), scope(&error)), (Fault::Permanent, RefusalScope::Account));
        assert!(error.detail().contains(words), "{}", error.detail());
    }
}

#[test]
fn an_answer_of_a_proxy_is_read_by_its_status() {
    let wait = |error: &SendError| match error.fault() {
        Fault::RateLimited { retry_after } => retry_after.as_secs(),
        other => panic!("{other:?}"),
    };
    let limited = Response::builder().status(429).header("retry-after", "7");
    let limited = limited.body(Bytes::new()).unwrap();
    let content = text("t");
    let error = sender().outcome(&outgoing(&content, None), &limited).unwrap_err();
    assert_eq!((wait(&error), error.is_account_error()), (7, false));
    assert_eq!(wait(&outcome_of(&content, 429, "").unwrap_err()), 30);
    for (status, fault) in [
        (502, Fault::Unknown),
        (504, Fault::Unknown),
        (500, Fault::Unknown),
        (503, Fault::Unknown),
        (408, Fault::Retryable),
        (413, Fault::Permanent),
    ] {
        let error = outcome_of(&content, status, "<html>").unwrap_err();
        assert_eq!(error.fault(), fault, "{status}");
    }
}

#[test]
fn an_instances_rate_limit_comes_from_its_settings() {
    let per = Duration::from_secs(1);
    let one = RateLimit { identity: example::INSTANCE.into(), messages: 1, per };
    assert_eq!(sender().rate_limits("1"), [one]);
    let fast = sender_with(&json!({ "messages_per_second": 5 }));
    assert_eq!(fast.rate_limits("1")[0].messages, 5);
    assert_eq!(sender().idempotency_window(), None);
}

#[test]
fn an_incoming_message_is_marked_as_read_by_its_chat_and_id() {
    let request = sender().mark_read("77@lid:3A11").unwrap().unwrap();
    assert_eq!(request.uri().path(), "/chat/markMessageAsRead/front-desk");
    let key = json!({ "remoteJid": "77@lid", "fromMe": false, "id": "3A11" });
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(body, json!({ "readMessages": [key] }));
    assert!(sender().mark_read("3EB0AA").unwrap().is_none());
}

#[test]
fn a_file_is_fetched_in_base64_by_the_messages_id() {
    let MediaRequest::Lookup(request) = sender().locate_media("3A11").unwrap() else { panic!() };
    assert_eq!(request.uri().path(), "/chat/getBase64FromMediaMessage/front-desk");
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(body, json!({ "message": { "key": { "id": "3A11" } }, "convertToMp4": false }));
    let located = response(201, r#"{"mediaType":"imageMessage","base64":"AAEC"}"#);
    let MediaSource::Inline(bytes) = sender().fetch_media(&located).unwrap() else { panic!() };
    assert_eq!(bytes, Bytes::from_static(&[0, 1, 2]));
    let broken = response(201, r#"{"base64":"%"}"#);
    assert!(matches!(sender().fetch_media(&broken), Err(SendError::Unreadable)));
    let gone = response(400, r#"{"status":400,"response":{"message":["Message not found"]}}"#);
    assert_eq!(sender().fetch_media(&gone).unwrap_err().fault(), Fault::Permanent);
}

#[test]
fn an_account_is_healthy_while_its_instance_is_connected() {
    let request = sender().describe_account().unwrap();
    assert_eq!(request.method(), http::Method::GET);
    assert_eq!(request.uri().path(), "/instance/connectionState/front-desk");
    assert_eq!(request.headers()["apikey"], "test-evolution-key");
    let state = |state: &str| {
        let body = format!(r#"{{"instance":{{"instanceName":"front-desk"{state}}}}}"#);
        sender().answer(&response(200, &body))
    };
    assert_eq!(state(r#","state":"open""#).unwrap()["instance"]["state"], "open");
    for other in [r#","state":"close""#, r#","state":"connecting""#, ""] {
        let error = state(other).unwrap_err();
        assert_eq!((error.code(), error.fault()), ("disconnected", Fault::Retryable), "{other}");
    }
}

#[test]
fn the_webhook_is_registered_with_the_token_and_the_answer_hides_it() {
    let url = "https://hub/webhooks/evolution/int_1";
    let request = sender().register(url, None).unwrap();
    assert_eq!(request.uri().path(), "/webhook/set/front-desk");
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    let headers = json!({ "x-webhook-token": example::WEBHOOK_TOKEN });
    let expected = json!({ "webhook": { "enabled": true, "url": url, "headers": headers,
        "byEvents": false, "base64": false, "events": SUBSCRIBED_EVENTS } });
    assert_eq!(body, expected);
    let set = json!({ "url": url, "headers": headers, "enabled": true }).to_string();
    let answer = sender().answer(&response(201, &set)).unwrap();
    assert_eq!(answer, json!({ "url": url, "enabled": true }));

    let key = vec!["k".into()];
    let bare = Credentials::new([(crate::evolution::API_KEY.to_owned(), key)]);
    let bare = Instance::new(&integration(&json!({})), &bare).unwrap();
    assert!(bare.register(url, None).is_err());
}
