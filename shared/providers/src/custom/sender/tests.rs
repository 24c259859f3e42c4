use super::*;
use crate::custom::{API_KEY, API_SECRET, SENDER, SPEC, example};
use domain::content::{Choice, ContactCard, Location, Media, Reaction, Template};
use domain::integration::FieldError;
use domain::{Classify, Fault, IntegrationId, MessageId, TenantId};
use jiff::Timestamp;
use serde_json::json;

fn integration(settings: &Value) -> Integration {
    let settings = (SPEC.settings)(settings.as_object().unwrap()).unwrap();
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&["i"]),
        tenant: TenantId::platform(),
        provider: Provider::Custom,
        account: None,
        settings,
        hints: std::collections::BTreeMap::default(),
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

fn credentials() -> Credentials {
    let fields = [(API_KEY, "key"), (API_SECRET, "user:pass")];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

fn settings(send: &Value) -> Value {
    json!({ "scheme": { "type": "bearer" }, "base_url": "https://bsp.example/", "from": "49155111",
        "send": send })
}

fn sender(send: &Value) -> Box<dyn MessageSender> {
    SENDER.sender(&integration(&settings(send)), &credentials()).unwrap()
}

fn outgoing(content: &Content) -> Outgoing<'_> {
    Outgoing {
        id: MessageId::derived(&["m"]),
        channel: Channel::Whatsapp,
        integration: IntegrationId::derived(&["i"]),
        hub_url: Some("https://hub.example.com"),
        to: "+49 1555 0009999",
        content,
        reply_to: None,
    }
}

fn text(text: &str) -> Content {
    Content::Text { text: text.into() }
}

fn only_text(body: &Value) -> Value {
    json!({ "messages": { "text": { "body": body } } })
}

fn body(request: &Request<Bytes>) -> Value {
    serde_json::from_slice(request.body()).unwrap()
}

fn error(send: &Value) -> FieldError {
    (SPEC.settings)(settings(send).as_object().unwrap()).unwrap_err()
}

fn outcome(answer: &Value, status: u16, body: &Value) -> Result<Accepted, SendError> {
    let send = json!({ "messages": { "text": { "body": {} } }, "answer": answer });
    let response = Response::builder().status(status).body(body.to_string().into()).unwrap();
    sender(&send).outcome(&outgoing(&text("t")), &response)
}

fn refusal_of(answer: &Value, status: u16, body: &Value) -> (Fault, RefusalScope, String) {
    let error = outcome(answer, status, body).unwrap_err();
    let fault = error.fault();
    let SendError::Refused { scope, code, .. } = error else { panic!("{error:?}") };
    (fault, scope, code)
}

#[test]
fn a_bsp_with_metas_message_format_is_called_as_described() {
    let settings = Value::Object(example::sending_settings("https://waba.example"));
    let sender = SENDER.sender(&integration(&settings), &example::credentials()).unwrap();
    let content = text("hi");
    let message = Outgoing { reply_to: Some("wamid.0"), ..outgoing(&content) };
    let request = sender.request(&message).unwrap();
    assert_eq!(request.method(), http::Method::POST);
    assert_eq!(request.uri(), "https://waba.example/messages");
    assert_eq!(request.headers()["d360-api-key"], "test-custom-api-key");
    assert!(request.headers()["d360-api-key"].is_sensitive());
    assert_eq!(request.headers()["content-type"], "application/json");
    let expected = json!({ "messaging_product": "whatsapp", "to": "4915550009999",
        "biz_opaque_callback_data": MessageId::derived(&["m"]).to_string(),
        "context": { "message_id": "wamid.0" }, "type": "text", "text": { "body": "hi" } });
    assert_eq!(body(&request), expected);

    let template = Content::Template {
        template: Template {
            name: "hello".into(),
            language: "en".into(),
            components: vec![json!({ "type": "body", "parameters": [] })],
        },
    };
    let request = sender.request(&outgoing(&template)).unwrap();
    assert_eq!(body(&request)["template"]["components"][0]["type"], "body");
    let media = Media { url: Some("https://example.com/f".into()), ..Media::default() };
    let request = sender.request(&outgoing(&Content::Image { media })).unwrap();
    assert_eq!(body(&request)["image"], json!({ "link": "https://example.com/f" }));
    let choice = Choice { id: "y".into(), title: "Yes".into(), description: None };
    let (header, footer, buttons) = (None, None, vec![choice]);
    let interactive = Interactive::Button { body: "b".into(), header, footer, buttons };
    let request = sender.request(&outgoing(&Content::Interactive { interactive })).unwrap();
    let expected = json!([{ "type": "reply", "reply": { "id": "y", "title": "Yes" } }]);
    assert_eq!(body(&request)["interactive"]["action"]["buttons"], expected);
}

#[test]
fn a_form_field_may_be_written_as_json() {
    let send = json!({ "path": "/wa/api/v1/msg", "encoding": "form",
        "headers": { "apikey": "{{credential:CUSTOM_API_KEY}}" },
        "messages": { "text": { "body": { "channel": "whatsapp", "source": "{{from}}",
            "destination": "{{to}}", "message": { "type": "text", "text": "{{text}}" },
            "disablePreview": true, "context": "{{reply_to}}" } } } });
    let content = text("a&b=\"c\" é");
    let request = sender(&send).request(&outgoing(&content)).unwrap();
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    let fields = form::decode(request.body());
    let field = |name: &str| form::field(&fields, name);
    assert_eq!(field("source"), Some("49155111"));
    assert_eq!((field("disablePreview"), field("context")), (Some("true"), None));
    let message: Value = serde_json::from_str(field("message").unwrap()).unwrap();
    assert_eq!(message, json!({ "type": "text", "text": "a&b=\"c\" é" }));
}

#[test]
fn every_kind_of_content_can_be_described_and_others_are_invalid() {
    let media = Media { url: Some("https://example.com/f".into()), ..Media::default() };
    let location = Location { latitude: 1.5, longitude: 2.0, name: None, address: None };
    let reaction = |id: &str| Reaction { message_id: id.into(), emoji: "👍".into() };
    let list = Interactive::List {
        body: "b".into(),
        header: None,
        footer: None,
        button: "open".into(),
        sections: vec![],
    };
    let contents = [
        (Content::Video { media: media.clone() }, "video", "{{media.url}}"),
        (Content::Audio { media: media.clone() }, "audio", "{{media.url}}"),
        (Content::Document { media: media.clone() }, "document", "{{media.url}}"),
        (Content::Sticker { media }, "sticker", "{{media.url}}"),
        (Content::Location { location }, "location", "{{location.latitude}}"),
        (Content::Contacts { contacts: vec![ContactCard::default()] }, "contacts", "{{contacts}}"),
        (Content::Reaction { reaction: reaction("w") }, "reaction", "{{reaction.message_id}}"),
        (Content::Interactive { interactive: list }, "list", "{{interactive.sections}}"),
    ];
    let without = sender(&only_text(&json!({ "t": "{{text}}" })));
    for (content, kind, place) in contents {
        let send = json!({ "messages": { kind: { "body": { "it": place } } } });
        let request = sender(&send).request(&outgoing(&content)).unwrap();
        assert!(!body(&request)["it"].is_null(), "{kind}");
        let error = without.request(&outgoing(&content)).unwrap_err();
        assert!(matches!(error, SendError::Invalid { field: "type", .. }), "{kind}: {error:?}");
    }
    let own = Content::Reaction { reaction: reaction(&MessageId::derived(&["x"]).to_string()) };
    let send = json!({ "messages": { "reaction": { "body": {
        "on": "{{reaction.message_id}}" } } } });
    assert!(sender(&send).request(&outgoing(&own)).is_err());
    let known = Outgoing { reply_to: Some("provider-id"), ..outgoing(&own) };
    assert_eq!(body(&sender(&send).request(&known).unwrap())["on"], "provider-id");
    let call = Content::Call { call: domain::content::Call::default() };
    assert!(matches!(
        without.request(&outgoing(&call)),
        Err(SendError::Invalid { field: "call", .. })
    ));
}

#[test]
fn a_kind_may_have_its_own_path_with_escaped_values() {
    let send = json!({ "path": "/v1/{{from}}/messages", "method": "PUT", "messages": {
        "text": { "body": { "t": "{{text}}" } },
        "image": { "path": "/v1/media?to={{to}}&file={{media.url}}", "body": {} } } });
    let content = text("hi");
    let request = sender(&send).request(&outgoing(&content)).unwrap();
    assert_eq!(request.method(), http::Method::PUT);
    assert_eq!(request.uri(), "https://bsp.example/v1/49155111/messages");
    let url = "https://example.com/a?b=c#d/../e";
    let media = Media { url: Some(url.into()), ..Media::default() };
    let request = sender(&send).request(&outgoing(&Content::Image { media })).unwrap();
    let query = request.uri().query().unwrap();
    assert_eq!(query, "to=4915550009999&file=https%3A%2F%2Fexample.com%2Fa%3Fb%3Dc%23d%2F..%2Fe");
    let media = Media::default();
    assert!(sender(&send).request(&outgoing(&Content::Image { media })).is_err());
}

#[test]
fn credentials_are_inserted_into_headers_and_bodies_without_line_breaks() {
    let mut send = only_text(&json!({ "password": "{{credential:CUSTOM_API_KEY}}" }));
    send["headers"] = json!({ "Authorization": "Basic {{basic:CUSTOM_API_SECRET}}",
        "Idempotency-Key": "{{id}}" });
    let content = text("hi");
    let request = sender(&send).request(&outgoing(&content)).unwrap();
    assert_eq!(request.headers()["authorization"], "Basic dXNlcjpwYXNz");
    let id = MessageId::derived(&["m"]).to_string();
    assert_eq!(request.headers()["idempotency-key"], id);
    assert_eq!(body(&request), json!({ "password": "key" }));
    assert!(!format!("{request:?}").contains("dXNlcjpwYXNz"));

    let header = json!({ "messages": { "text": { "body": {} } },
        "headers": { "X-Key": "{{credential:CUSTOM_API_KEY}}" } });
    let broken = Credentials::new([(API_KEY.to_owned(), vec!["a\r\nX-More: b".into()])]);
    for credentials in [broken, Credentials::default()] {
        let sender = SENDER.sender(&integration(&settings(&header)), &credentials).unwrap();
        let error = sender.request(&outgoing(&content)).unwrap_err();
        assert!(error.is_account_error() && !format!("{error:?}").contains("X-More"), "{error:?}");
    }
    assert!((SPEC.check)(API_KEY, "a\nb").is_err() && (SPEC.check)(API_KEY, "ab").is_ok());
}

#[test]
fn the_message_id_is_read_where_the_settings_say() {
    let answer = json!({ "id": "/data/id", "accepted": [202] });
    let accepted = outcome(&answer, 202, &json!({ "data": { "id": 77 } })).unwrap();
    assert_eq!(accepted.provider_message_id(), "77");
    for (status, body) in
        [(202, json!({})), (202, json!({ "data": { "id": "" } })), (200, json!({ "data": {} }))]
    {
        let error = outcome(&answer, status, &body).unwrap_err();
        assert!(matches!(error, SendError::Unreadable), "{status} {body}: {error:?}");
    }
    let own = outcome(&json!({}), 200, &Value::Null).unwrap();
    assert_eq!(own.provider_message_id(), MessageId::derived(&["m"]).to_string());
}

#[test]
fn an_error_may_have_status_200_and_a_success_may_have_a_code() {
    let answer = json!({ "id": "/id", "error": "/code", "success": ["0"],
        "errors": { "1003": { "fault": "permanent", "scope": "account", "remedy": "Top it up." } } });
    assert!(outcome(&answer, 200, &json!({ "code": 0, "id": "a" })).is_ok());
    assert!(outcome(&answer, 200, &json!({ "id": "a" })).is_ok());
    let refused = json!({ "code": 1003, "id": "a" });
    assert_eq!(
        refusal_of(&answer, 200, &refused),
        (Fault::Permanent, RefusalScope::Account, "1003".into())
    );
    assert_eq!(outcome(&answer, 200, &refused).unwrap_err().detail(), "Top it up.");
    let unknown = json!({ "code": 9 });
    assert_eq!(
        refusal_of(&answer, 200, &unknown),
        (Fault::Permanent, RefusalScope::Message, "9".into())
    );
    let sentence = json!({ "code": "Zoe, 49155, is not here" });
    assert_eq!(refusal_of(&answer, 200, &sentence).2, "200");
}

#[test]
fn a_refusal_is_classified_by_code_then_by_status() {
    let wait = |seconds| Fault::RateLimited { retry_after: Duration::from_secs(seconds) };
    let answer = json!({ "error": "/code", "errors": {
        "busy": { "fault": "rate_limited", "retry_after_seconds": 9 },
        "gone": { "fault": "retryable", "scope": "account" },
        "lost": { "fault": "unknown" },
        "503": { "fault": "retryable" },
        "409": { "fault": "permanent", "scope": "account" } } });
    for (status, code, fault, scope) in [
        (400, "busy", wait(9), RefusalScope::Message),
        (400, "gone", Fault::Retryable, RefusalScope::Account),
        (502, "lost", Fault::Unknown, RefusalScope::Account),
        (503, "other", Fault::Retryable, RefusalScope::Account),
        (409, "other", Fault::Permanent, RefusalScope::Account),
        (500, "other", Fault::Retryable, RefusalScope::Account),
        (429, "other", wait(5), RefusalScope::Account),
        (401, "other", Fault::Permanent, RefusalScope::Account),
        (302, "other", Fault::Permanent, RefusalScope::Message),
        (422, "other", Fault::Permanent, RefusalScope::Message),
    ] {
        let body = json!({ "code": code });
        assert_eq!(refusal_of(&answer, status, &body), (fault, scope, code.into()), "{status}");
    }
    assert_eq!(refusal_of(&answer, 404, &Value::Null).2, "404");
    // No error code where the settings expect one: not the provider's own response.
    let page = (Fault::Unknown, RefusalScope::Account, "500".into());
    assert_eq!(refusal_of(&answer, 500, &Value::Null), page);
    // Without an `error` setting, no response counts as the provider's own.
    assert_eq!(refusal_of(&json!({}), 500, &json!({ "code": 9 })), page);
}

#[test]
fn invalid_send_settings_are_rejected_with_their_field() {
    let text = |part: Value| {
        let mut send = only_text(&json!({ "t": "{{text}}" }));
        send.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        send
    };
    for (send, field) in [
        (json!({ "messages": {} }), "settings.send.messages"),
        (json!({}), "settings.send.messages"),
        (only_text(&json!("x")), "settings.send.messages.text.body"),
        (only_text(&json!({ "a": "{{media.url}}" })), "settings.send.messages.text.body"),
        (
            only_text(&json!({ "a": "{{credential:CUSTOM_WEBHOOK_SECRET}}" })),
            "settings.send.messages.text.body",
        ),
        (
            json!({ "messages": { "video": { "body": {}, "path": "x" } } }),
            "settings.send.messages.video.path",
        ),
        (text(json!({ "path": "https://x.test/" })), "settings.send.path"),
        (text(json!({ "path": "//x.test/" })), "settings.send.path"),
        (text(json!({ "path": "/a/../b" })), "settings.send.path"),
        (text(json!({ "path": "/a#b" })), "settings.send.path"),
        (text(json!({ "path": "/{{text}}" })), "settings.send.path"),
        (text(json!({ "path": "/{{credential:CUSTOM_API_KEY}}" })), "settings.send.path"),
        (text(json!({ "headers": { "a b": "c" } })), "settings.send.headers"),
        (text(json!({ "headers": { "Host": "c" } })), "settings.send.headers"),
        (text(json!({ "headers": { "X-A": "b\nc" } })), "settings.send.headers.X-A"),
        (text(json!({ "headers": { "X-A": "{{to}}" } })), "settings.send.headers.X-A"),
        (text(json!({ "answer": { "accepted": [302] } })), "settings.send.answer.accepted"),
        (text(json!({ "answer": { "id": "id" } })), "settings.send.answer.id"),
        (text(json!({ "answer": { "error": "/~2" } })), "settings.send.answer.error"),
        (text(json!({ "answer": { "success": ["0"] } })), "settings.send.answer.success"),
        (
            text(
                json!({ "answer": { "errors": { "1": { "fault": "permanent", "retry_after_seconds": 0 } } } }),
            ),
            "settings.send.answer.errors",
        ),
        (text(json!({ "remembers_id_seconds": 0 })), "settings.send.remembers_id_seconds"),
        (text(json!({ "remembers_id_seconds": 60 })), "settings.send.remembers_id_seconds"),
        (text(json!({ "method": "GET" })), "settings.send.method"),
        (text(json!({ "url": "x" })), "settings.send.url"),
    ] {
        assert_eq!(error(&send).field, field, "{send}");
    }
    let mut nowhere = settings(&only_text(&json!({})));
    nowhere.as_object_mut().unwrap().remove("base_url");
    let error = (SPEC.settings)(nowhere.as_object().unwrap()).unwrap_err();
    assert_eq!(error.field, "settings.base_url");
}

#[test]
fn the_idempotency_window_comes_from_the_settings() {
    assert_eq!(sender(&only_text(&json!({}))).idempotency_window(), None);
    let mut send = only_text(&json!({ "ref": "{{id}}" }));
    send["remembers_id_seconds"] = 60.into();
    assert_eq!(sender(&send).idempotency_window(), Some(Duration::from_mins(1)));
    let pace = sender(&send).rate_limits("");
    assert_eq!(pace[0].messages, 10);
}

#[test]
fn an_integration_without_send_settings_cannot_send() {
    let settings = json!({ "scheme": { "type": "bearer" } });
    let error = SENDER.sender(&integration(&settings), &credentials()).map(|_| ()).unwrap_err();
    assert!(matches!(error, SendError::Invalid { field: "settings.send", .. }), "{error:?}");
}

#[test]
fn the_readmes_examples_are_valid() {
    let blocks = include_str!("../README.md").split("```json\n").skip(1);
    let blocks: Vec<Value> = blocks
        .map(|block| serde_json::from_str(block.split("```").next().unwrap()).unwrap())
        .collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let given = if block.get("scheme").is_some() { block } else { settings(&block) };
        (SPEC.settings)(given.as_object().unwrap()).unwrap();
    }
}

proptest::proptest! {
    #[test]
    fn any_message_text_is_inserted_as_a_value_only(said in ".*") {
        let content = text(&said);
        let send = only_text(&json!({ "a": "{{text}}", "b": ["<{{text}}>"], "c": 1 }));
        let request = sender(&send).request(&outgoing(&content)).unwrap();
        let expected = json!({ "a": said, "b": [format!("<{said}>")], "c": 1 });
        proptest::prop_assert_eq!(body(&request), expected);

        let mut send = only_text(&json!({ "a": "{{text}}", "b": { "c": "{{text}}" } }));
        send["encoding"] = "form".into();
        send["messages"]["text"]["path"] = "/x?t={{text}}".into();
        let sender = sender(&send);
        let Ok(request) = sender.request(&outgoing(&content)) else {
            // Only values that cannot be part of a URL.
            proptest::prop_assert!(matches!(&*said, "" | "." | ".."));
            return Ok(());
        };
        let inner = json!({ "c": said }).to_string();
        let fields = vec![("a".to_owned(), said.clone()), ("b".to_owned(), inner)];
        proptest::prop_assert_eq!(form::decode(request.body()), fields);
        proptest::prop_assert_eq!(request.uri().host(), Some("bsp.example"));
        let query = request.uri().query().unwrap();
        proptest::prop_assert_eq!(form::decode(query.as_bytes()), [("t".to_owned(), said)]);
    }
}
