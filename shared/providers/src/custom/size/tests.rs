use bytes::Bytes;
use domain::content::{Choice, Content, Interactive};
use domain::provider::Channel;
use domain::sender::{Outgoing, SendError, SenderProvider as _};
use domain::{Credentials, Integration, IntegrationId, MessageId, Provider, TenantId};
use http::Request;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::custom::{API_KEY, API_SECRET, SENDER, SPEC};

fn settings(send: &Value) -> Result<domain::integration::Settings, FieldError> {
    let settings = json!({ "scheme": { "type": "bearer" }, "base_url": "https://bsp.example/",
        "from": "49155111", "send": send });
    (SPEC.settings)(settings.as_object().unwrap())
}

fn body_of(kind: &str, body: &Value) -> Value {
    json!({ "messages": { kind: { "body": body } } })
}

fn error(send: &Value) -> FieldError {
    settings(send).unwrap_err()
}

#[test]
fn a_text_may_be_inserted_three_times() {
    let text = |times: usize| body_of("text", &json!(vec!["{{text}}"; times]));
    let in_object = |times: usize| body_of("text", &json!({ "t": vec!["<{{text}}>"; times] }));
    for encoding in ["json", "form"] {
        for times in 1..=3 {
            let mut send = in_object(times);
            send["encoding"] = encoding.into();
            assert!(settings(&send).is_ok(), "{times}");
        }
        let mut send = in_object(4);
        send["encoding"] = encoding.into();
        let error = error(&send);
        assert_eq!(error.field, "settings.send.messages.text.body");
        assert!(error.reason.contains("`text`") && error.reason.contains("262144"), "{error}");
        assert!(error.reason.contains("fewer times"), "{error}");
    }
    // A body must be an object.
    assert_eq!(error(&text(1)).reason, "must be an object");
    // The path counts too.
    let mut send = in_object(3);
    send["messages"]["text"]["path"] = "/x?t={{text}}".into();
    assert!(error(&send).reason.contains("`text`"));
}

#[test]
fn a_field_and_the_object_that_contains_it_add_up() {
    let interactive = |more: &[&str]| {
        let body = [&["{{interactive}}", "{{interactive.buttons}}"][..], more].concat();
        settings(&body_of("buttons", &json!({ "it": body })))
    };
    assert!(interactive(&["{{interactive.body}}", "{{interactive.footer}}"]).is_ok());
    assert!(interactive(&["{{interactive.buttons.0.id}}"]).is_ok());
    let twice = ["{{interactive.buttons.0.id}}", "{{interactive.buttons.1}}"];
    let error = interactive(&twice).unwrap_err();
    assert!(error.reason.contains("`interactive.buttons.*.id`"), "{error}");
}

#[test]
fn each_repeats_small_parts_only() {
    let each = |part: Value| json!({ "it": { "{{each interactive.buttons}}": part } });
    let button = json!({ "type": "reply", "reply": { "id": "{{item.id}}",
        "title": "{{item.title}}", "more": "{{item.title}} for {{to}}", "of": "{{id}}" } });
    assert!(settings(&body_of("buttons", &each(button))).is_ok());
    let rows = json!({ "title": "{{item.title}}", "rows": { "{{each item.rows}}":
        { "id": "{{item.id}}", "title": "{{item.title}}", "text": "{{item.description}}" } } });
    let sections = json!({ "it": { "{{each interactive.sections}}": rows } });
    assert!(settings(&body_of("list", &sections)).is_ok());

    let repeated = error(&body_of("buttons", &each(json!("{{interactive.body}}"))));
    assert!(repeated.reason.contains("`interactive.body`"), "{repeated}");
    // Every element is visited once for each element of the outer list.
    let nested = each(json!({ "{{each interactive.buttons}}": "{{item.id}}" }));
    let nested = error(&body_of("buttons", &nested));
    assert!(nested.reason.contains("`interactive.buttons.*.id`"), "{nested}");
    let large = error(&body_of("buttons", &each(json!("x".repeat(2_700)))));
    assert_eq!(large.field, "settings.send.messages.buttons.body");
    assert!(large.reason.contains("{{each}}") && large.reason.contains("shorten"), "{large}");
}

#[test]
fn headers_that_are_too_large_together_are_refused() {
    let headers = |count: usize, value: &str| {
        let headers = (0..count).map(|n| (format!("X-{n}"), Value::from(value)));
        let mut send = body_of("text", &json!({ "t": "{{text}}" }));
        send["headers"] = Value::Object(headers.collect());
        settings(&send)
    };
    assert!(headers(2, "{{credential:CUSTOM_API_KEY}}{{credential:CUSTOM_API_SECRET}}").is_ok());
    for value in ["{{basic:CUSTOM_API_KEY}}", "{{credential:CUSTOM_API_KEY}}"] {
        let error = headers(40, value).unwrap_err();
        assert_eq!(error.field, "settings.send.headers");
        assert!(error.reason.contains("remove headers"), "{error}");
    }
}

/// The body of a message with buttons.
fn bodies() -> impl Strategy<Value = Value> {
    let names = "(to|from|id|reply_to|callback_url|interactive|interactive\\.(body|buttons|footer)|\
                 interactive\\.buttons\\.[01](\\.id|\\.title|)|item|item\\.id|item\\.title)";
    let placeholder = (names, "(|<)").prop_map(|(name, before)| format!("{before}{{{{{name}}}}}"));
    let leaf = prop_oneof![
        4 => placeholder.prop_map(Value::from),
        1 => "[a-z\"\\\\\n]{0,9}".prop_map(Value::from),
        1 => Just(json!(null)),
        1 => Just(json!(-1.5)),
    ];
    let any = leaf.prop_recursive(4, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec(("[a-c]{1,40}", inner.clone()), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            inner.prop_map(|part| json!({ "{{each interactive.buttons}}": part })),
        ]
    });
    any.prop_map(|part| json!({ "it": part }))
}

/// A message of at most 64 KiB with up to 100 buttons, without a character that needs an escape.
fn content(buttons: usize, title: usize, body: usize) -> Content {
    let choice =
        |n: usize| Choice { id: n.to_string(), title: "t".repeat(title), description: None };
    let message = |body: usize| Content::Interactive {
        interactive: Interactive::Button {
            body: "b".repeat(body),
            header: None,
            footer: Some("f".to_owned()),
            buttons: (0..buttons).map(choice).collect(),
        },
    };
    let rest = MAX_CONTENT_BYTES - serde_json::to_vec(&message(0)).unwrap().len();
    message(body.min(rest))
}

fn integration(settings: domain::integration::Settings) -> Integration {
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

fn size(request: &Request<Bytes>) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    request.uri().to_string().len() + headers.sum::<usize>() + request.body().len()
}

proptest! {
    #[test]
    fn accepted_settings_make_no_request_that_is_too_large(
        body in bodies(),
        form in any::<bool>(),
        buttons in prop_oneof![Just(0), Just(3), Just(MAX_ELEMENTS)],
        title in prop_oneof![Just(0), Just(20), Just(600)],
        text in prop_oneof![Just(0), Just(MAX_CONTENT_BYTES)],
    ) {
        let mut send = body_of("buttons", &body);
        send["encoding"] = if form { "form" } else { "json" }.into();
        send["headers"] = json!({ "Authorization": "Basic {{basic:CUSTOM_API_KEY}}" });
        let Ok(settings) = settings(&send) else { return Ok(()) };
        let long = "k".repeat(MAX_CREDENTIAL_BYTES);
        let credentials = [API_KEY, API_SECRET].map(|name| (name.to_owned(), vec![long.as_str().into()]));
        let sender =
            SENDER.sender(&integration(settings), &Credentials::new(credentials)).unwrap();
        let (content, reply_to) = (content(buttons, title, text), "r".repeat(MAX_NAME_BYTES));
        let request = sender.request(&Outgoing {
            id: MessageId::derived(&["m"]),
            channel: Channel::Whatsapp,
            integration: IntegrationId::derived(&["i"]),
            hub_url: Some("https://hub.example.com"),
            to: "+49 1555 0009999",
            content: &content,
            reply_to: Some(&reply_to),
        });
        // The lists of a permitted message are not too long for the template.
        if let Err(SendError::Invalid { reason, .. }) = &request
            && reason.contains("list elements")
        {
            return Ok(());
        }
        let size = request.as_ref().map(size).map_err(|error| format!("{error:?}"));
        prop_assert!(matches!(size, Ok(size) if size <= MAX_MESSAGE_BYTES), "{size:?} {send}");
    }
}
