use super::*;

fn around(content: &Value) -> Value {
    json!({"from": "441134960000", "to": "441134960001", "messageId": "msg-1",
           "content": content, "callbackData": "data", "notifyUrl": "https://example.com/x"})
}

#[track_caller]
fn good(kind: &str, content: &Value) -> Send {
    let body = around(content);
    let body = if kind == "template" { json!({"messages": [body]}) } else { body };
    check(kind, &body).unwrap().unwrap().remove(0)
}

/// The errors of a message, each under its path inside the message.
#[track_caller]
fn errors(kind: &str, content: &Value) -> Vec<String> {
    let body = around(content);
    let body = if kind == "template" { json!({"messages": [body]}) } else { body };
    let Err(FieldErrors(errors)) = check(kind, &body).unwrap() else { return Vec::new() };
    errors.into_keys().map(|path| path.replace("messages[0].", "")).collect()
}

#[test]
fn infobips_published_examples_are_valid() {
    let media = json!({"mediaUrl": "http://example.com/file"});
    for kind in ["image", "video", "audio", "document", "sticker"] {
        assert_eq!(good(kind, &media).kind, kind);
    }
    good("document", &json!({"mediaUrl": "http://example.com/d", "caption": "c", "filename": "f"}));
    good("text", &json!({"text": "with http://example.com", "previewUrl": true}));
    good("location", &json!({"latitude": 44.95, "longitude": 13.85, "name": "n", "address": "a"}));
    good(
        "contact",
        &json!({"contacts": [{"name": {"firstName": "John", "formattedName": "Mr. John"},
            "phones": [{"phone": "+441134960019", "type": "HOME", "waId": "441134960019"}],
            "emails": [{"email": "a@example.com", "type": "WORK"}], "birthday": "2010-01-01"}]}),
    );
    let buttons = json!({"buttons": [{"type": "REPLY", "id": "1", "title": "Yes"}]});
    good(
        "interactive/buttons",
        &json!({"body": {"text": "b"}, "action": buttons, "footer": {"text": "f"},
            "header": {"type": "DOCUMENT", "mediaUrl": "https://example.com/d"}}),
    );
    let rows = json!([{"rows": [{"id": "1", "title": "row"}]}]);
    good(
        "interactive/list",
        &json!({"body": {"text": "b"}, "action": {"title": "Choose", "sections": rows}}),
    );
    let send = good(
        "template",
        &json!({"templateName": "name_1", "language": "en_GB", "templateData": {
            "body": {"placeholders": ["a", "b"]}, "header": {"type": "TEXT", "placeholder": "p"},
            "buttons": [{"type": "QUICK_REPLY", "parameter": "Yes"}]}}),
    );
    assert_eq!(send.template, Some(("name_1".to_owned(), "en_GB".to_owned())));
}

#[test]
fn every_error_is_reported_under_its_path() {
    let body = json!({"from": "x", "messageId": "m".repeat(51), "content": {"text": ""},
                      "notifyUrl": "ftp://x", "callbackData": "c".repeat(4001), "more": 1});
    let errors = check("text", &body).unwrap().unwrap_err();
    let paths: Vec<_> = errors.0.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        ["callbackData", "content.text", "from", "messageId", "more", "notifyUrl", "to"]
    );
    assert_eq!(
        errors.to_json()["content.text"],
        json!(["size must be between 1 and 4096", "must not be blank"])
    );
}

#[test]
fn lengths_ranges_and_types_are_checked() {
    let text = |n: usize| "é".repeat(n);
    assert_eq!(errors("text", &json!({"text": text(4096)})), [""; 0]);
    assert_eq!(errors("text", &json!({"text": text(4097)})), ["content.text"]);
    assert_eq!(errors("text", &json!({"text": 1})), ["content.text"]);
    assert_eq!(
        errors("text", &json!({"text": "no link", "previewUrl": true})),
        ["content.previewUrl"]
    );
    assert_eq!(
        errors("audio", &json!({"mediaUrl": "http://x.test/", "caption": "c"})),
        ["content.caption"]
    );
    assert_eq!(errors("image", &json!({"mediaUrl": "/a.png"})), ["content.mediaUrl"]);
    assert_eq!(
        errors("location", &json!({"latitude": 91, "longitude": "1"})),
        ["content.latitude", "content.longitude"]
    );
    assert_eq!(errors("contact", &json!({"contacts": []})), ["content.contacts"]);
    assert_eq!(
        errors("contact", &json!({"contacts": [{"name": {"formattedName": "x"}}]})),
        ["content.contacts[0].name.firstName"]
    );
}

#[test]
fn buttons_and_rows_are_limited_in_number_and_length_and_unique() {
    let button = |id: &str, title: &str| json!({"type": "REPLY", "id": id, "title": title});
    let buttons = |buttons: Vec<Value>| {
        errors(
            "interactive/buttons",
            &json!({"body": {"text": "b"}, "action": {"buttons": buttons}}),
        )
    };
    assert!(buttons(vec![button("1", "a"), button("2", "b")]).is_empty());
    assert_eq!(buttons(vec![]), ["content.action.buttons"]);
    assert_eq!(
        buttons(vec![button("1", "a"), button("1", "a")]),
        ["content.action.buttons[1].id", "content.action.buttons[1].title"]
    );
    assert_eq!(
        buttons(vec![button(" 1", &"x".repeat(21))]),
        ["content.action.buttons[0].id", "content.action.buttons[0].title"]
    );
    let row = |id: String| json!({"id": id, "title": "t"});
    let list = |sections: Value| {
        errors(
            "interactive/list",
            &json!({"body": {"text": "b"}, "action": {"title": "t", "sections": sections}}),
        )
    };
    let eleven =
        |part: &str, n: u32| -> Vec<_> { (0..n).map(|n| row(format!("{part}{n}"))).collect() };
    assert_eq!(
        list(
            json!([{"title": "a", "rows": eleven("a", 6)}, {"title": "b", "rows": eleven("b", 5)}])
        ),
        ["content.action.sections"]
    );
    assert_eq!(
        list(json!([{"rows": eleven("a", 1)}, {"rows": eleven("b", 1)}])),
        ["content.action.sections[0].title", "content.action.sections[1].title"]
    );
    assert_eq!(list(json!([{"rows": []}])), ["content.action.sections[0].rows"]);
}

#[test]
fn a_template_needs_a_body_and_nonblank_parameters() {
    let data = |data: Value| {
        errors("template", &json!({"templateName": "n", "language": "en", "templateData": data}))
    };
    assert_eq!(data(json!({})), ["content.templateData.body"]);
    assert_eq!(data(json!({"body": {}})), ["content.templateData.body.placeholders"]);
    assert_eq!(
        data(json!({"body": {"placeholders": [" "]}})),
        ["content.templateData.body.placeholders"]
    );
    assert_eq!(
        data(json!({"body": {"placeholders": []}, "buttons": [{"type": "OTHER"}]})),
        ["content.templateData.buttons[0].parameter", "content.templateData.buttons[0].type"]
    );
    assert_eq!(
        data(json!({"body": {"placeholders": []}, "header": {"type": "IMAGE"}})),
        ["content.templateData.header.mediaUrl"]
    );
    assert_eq!(
        errors(
            "template",
            &json!({"templateName": "With Space", "language": "e",
            "templateData": {"body": {"placeholders": []}}})
        ),
        ["content.language", "content.templateName"]
    );
}

#[test]
fn an_unknown_message_kind_is_not_found() {
    for kind in ["reaction", "interactive", "texts", ""] {
        assert!(check(kind, &json!({})).is_none(), "{kind}");
    }
}
