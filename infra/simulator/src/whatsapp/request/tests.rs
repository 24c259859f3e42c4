use serde_json::{Value, json};

use super::*;

fn with(kind: &str, content: &Value) -> Value {
    json!({"messaging_product": "whatsapp", "recipient_type": "individual",
           "to": "16505551234", "type": kind, kind: content})
}

fn run(body: &Value) -> Result<Request, GraphError> {
    check(body, &|id| id == "1003383421387256")
}

/// Code and message of the error, with its details after a bar.
fn refused(body: &Value) -> (i64, String) {
    let error = run(body).expect_err("accepted");
    assert_eq!(error.status, 400);
    let details = error.details.map(|details| format!(" | {details}")).unwrap_or_default();
    (error.code, error.message + &details)
}

#[track_caller]
fn accepted(kind: &str, content: &Value) {
    run(&with(kind, content)).expect("refused");
}

#[track_caller]
fn names(kind: &str, content: &Value, message: &str) {
    assert_eq!(refused(&with(kind, content)), (100, format!("(#100) {message}")));
}

#[track_caller]
fn not_valid(content: &Value, details: &str) {
    let (code, message) = refused(&with("interactive", content));
    assert_eq!(code, 131_009);
    assert_eq!(message, format!("(#131009) Parameter value is not valid | {details}"));
}

#[test]
fn each_required_parameter_is_named_when_it_is_missing() {
    for parameter in ["messaging_product", "recipient_type", "to", "type", "text"] {
        let mut body = with("text", &json!({"body": "hi"}));
        body.as_object_mut().unwrap().remove(parameter);
        let expected = format!("(#100) The parameter {parameter} is required.");
        assert_eq!(refused(&body), (100, expected));
    }
}

#[test]
fn a_text_has_1_to_4096_characters() {
    accepted("text", &json!({"body": "é".repeat(4096), "preview_url": true}));
    names(
        "text",
        &json!({"body": "x".repeat(4097)}),
        "Param text['body'] must be at most 4096 characters long.",
    );
    names("text", &json!({"body": ""}), "The parameter text['body'] is required.");
    names("text", &json!({"body": 7}), "Param text['body'] must be a string.");
}

#[test]
fn a_misspelled_key_is_refused() {
    names("text", &json!({"body": "x", "boody": 1}), "Unexpected key \"boody\" on param \"text\".");
    let mut body = with("text", &json!({"body": "hi"}));
    body["reply_to"] = json!("wamid.x");
    assert_eq!(refused(&body).1, "(#100) Unexpected key \"reply_to\" on param \"body\".");
}

#[test]
fn an_unknown_type_is_refused_with_the_list_of_types() {
    let (code, message) = refused(&with("hologram", &json!({})));
    assert_eq!(code, 100);
    assert_eq!(
        message,
        "(#100) Param type must be one of {AUDIO, CONTACTS, DOCUMENT, IMAGE, INTERACTIVE, \
         LOCATION, REACTION, STICKER, TEMPLATE, TEXT, VIDEO} - got \"hologram\"."
    );
}

#[test]
fn the_recipient_must_be_a_phone_number_and_is_reduced_to_digits() {
    let mut body = with("text", &json!({"body": "hi"}));
    body["to"] = json!("+1 (650) 555-1234");
    let Ok(Request::Send(send)) = run(&body) else { panic!("refused") };
    assert_eq!((send.input.as_str(), send.wa_id.as_str()), ("+1 (650) 555-1234", "16505551234"));
    for wrong in ["Anna", "123", "+1650555123456789", "16505551234;drop"] {
        body["to"] = json!(wrong);
        assert_eq!(refused(&body).1, "(#100) Param to must be a valid phone number.");
    }
}

#[test]
fn opaque_data_has_at_most_512_characters() {
    let mut body = with("text", &json!({"body": "hi"}));
    body["biz_opaque_callback_data"] = json!("o".repeat(512));
    let Ok(Request::Send(send)) = run(&body) else { panic!("refused") };
    assert_eq!(send.opaque.map(|opaque| opaque.len()), Some(512));
    body["biz_opaque_callback_data"] = json!("o".repeat(513));
    assert_eq!(
        refused(&body).1,
        "(#100) Param biz_opaque_callback_data must be at most 512 characters long."
    );
}

#[test]
fn a_reply_must_name_the_message_it_replies_to() {
    let mut body = with("text", &json!({"body": "hi"}));
    body["context"] = json!({"message_id": "wamid.a"});
    assert!(run(&body).is_ok());
    body["context"] = json!({});
    assert_eq!(refused(&body).1, "(#100) The parameter context['message_id'] is required.");
}

#[test]
fn media_needs_exactly_one_of_id_and_link() {
    let (id, link) = ("1003383421387256", "https://example.com/a.jpg");
    for kind in ["image", "video", "audio", "document", "sticker"] {
        accepted(kind, &json!({"id": id}));
        accepted(kind, &json!({"link": link}));
        names(kind, &json!({}), &format!("The parameter {kind}['id'] or ['link'] is required."));
        let both = "and link exclude each other: exactly one is required.";
        names(kind, &json!({"id": id, "link": link}), &format!("Param {kind}['id'] {both}"));
    }
    accepted("document", &json!({"link": link, "caption": "c", "filename": "f.pdf"}));
    names(
        "audio",
        &json!({"id": id, "caption": "c"}),
        "Unexpected key \"caption\" on param \"audio\".",
    );
    names(
        "image",
        &json!({"link": "ftp://x/y"}),
        "Param image['link'] must be an http or https URL.",
    );
    names(
        "image",
        &json!({"link": link, "caption": "c".repeat(1025)}),
        "Param image['caption'] must be at most 1024 characters long.",
    );
    names(
        "image",
        &json!({"id": "42"}),
        "Param image['id'] is not a valid whatsapp business account media attachment ID",
    );
}

#[test]
fn a_location_needs_two_valid_coordinates() {
    accepted("location", &json!({"latitude": 37.75, "longitude": -122.42, "name": "HQ"}));
    accepted("location", &json!({"latitude": "37.75", "longitude": "-122.42"}));
    names(
        "location",
        &json!({"latitude": 37.75}),
        "The parameter location['longitude'] is required.",
    );
    names(
        "location",
        &json!({"latitude": 91, "longitude": 0}),
        "Param location['latitude'] must be a number between -90 and 90.",
    );
}

#[test]
fn a_reaction_needs_a_message_and_can_be_removed() {
    accepted("reaction", &json!({"message_id": "wamid.a", "emoji": ""}));
    names("reaction", &json!({"emoji": "👍"}), "The parameter reaction['message_id'] is required.");
    names(
        "reaction",
        &json!({"message_id": "wamid.a"}),
        "The parameter reaction['emoji'] is required.",
    );
}

#[test]
fn a_template_needs_a_name_and_a_language_code() {
    accepted("template", &json!({"name": "hello_world", "language": {"code": "en_US"}}));
    names(
        "template",
        &json!({"language": {"code": "en"}}),
        "The parameter template['name'] is required.",
    );
    names("template", &json!({"name": "a"}), "The parameter template['language'] is required.");
    names(
        "template",
        &json!({"name": "a", "language": {}}),
        "The parameter template['language']['code'] is required.",
    );
    let empty = json!({"name": "a", "language": {"code": "en"},
        "components": [{"type": "body", "parameters": [{"type": "text"}]}]});
    assert_eq!(
        refused(&with("template", &empty)),
        (
            100,
            "(#100) Invalid parameter | Parameter 'text' is mandatory for component parameter \
             type 'text'"
                .into()
        )
    );
}

fn button(id: &str, title: &str) -> Value {
    json!({"type": "reply", "reply": {"id": id, "title": title}})
}

fn with_buttons(buttons: &[Value]) -> Value {
    json!({"type": "button", "body": {"text": "Sure?"}, "action": {"buttons": buttons}})
}

#[test]
fn one_to_three_unique_short_buttons_are_accepted() {
    let three = [button("1", "Yes"), button("2", "No"), button("3", "x".repeat(20).as_str())];
    accepted("interactive", &with_buttons(&three));
    let count = "Invalid buttons count. Min allowed buttons: 1, Max allowed buttons: 3";
    not_valid(&with_buttons(&[]), count);
    let four: Vec<Value> = (0..4).map(|n| button(&n.to_string(), &n.to_string())).collect();
    not_valid(&with_buttons(&four), count);
    not_valid(
        &with_buttons(&[button("1", &"x".repeat(21))]),
        "Button title length invalid. Min length: 1, Max length: 20",
    );
    not_valid(
        &with_buttons(&[button(&"x".repeat(257), "a")]),
        "Button id length invalid. Min length: 1, Max length: 256",
    );
    not_valid(
        &with_buttons(&[button("1", "a"), button("1", "b")]),
        "Button ids and titles must be unique",
    );
}

#[test]
fn an_interactive_message_needs_a_body_and_an_action() {
    names(
        "interactive",
        &json!({"type": "button", "body": {"text": "x"}}),
        "The parameter interactive['action'] is required.",
    );
    names(
        "interactive",
        &json!({"type": "button", "action": {"buttons": [button("1", "a")]}}),
        "The parameter interactive['body'] is required.",
    );
    let mut long = with_buttons(&[button("1", "a")]);
    long["body"]["text"] = json!("x".repeat(1025));
    names(
        "interactive",
        &long,
        "Param interactive['body']['text'] must be at most 1024 characters long.",
    );
    let mut footer = with_buttons(&[button("1", "a")]);
    footer["footer"] = json!({"text": "x".repeat(61)});
    not_valid(&footer, "Footer text length invalid. Min length: 1, Max length: 60");
}

fn with_rows(rows: usize) -> Value {
    let rows: Vec<Value> =
        (0..rows).map(|n| json!({"id": n.to_string(), "title": "Row"})).collect();
    json!({"type": "list", "body": {"text": "Pick"},
           "action": {"button": "Menu", "sections": [{"rows": rows}]}})
}

#[test]
fn a_list_has_one_to_ten_rows_in_all() {
    accepted("interactive", &with_rows(10));
    let count = "Total row count exceed max allowed count: 10, or there are no rows";
    not_valid(&with_rows(11), count);
    not_valid(&with_rows(0), count);
    let mut long = with_rows(1);
    long["action"]["sections"][0]["rows"][0]["title"] = json!("x".repeat(25));
    not_valid(&long, "Row title length invalid. Min length: 1, Max length: 24");
    let mut nameless = with_rows(1);
    let section = nameless["action"]["sections"][0].clone();
    nameless["action"]["sections"].as_array_mut().unwrap().push(section);
    not_valid(&nameless, "Section title length invalid. Min length: 1, Max length: 24");
    let mut label = with_rows(1);
    label["action"]["button"] = json!("x".repeat(21));
    not_valid(&label, "Button label length invalid. Min length: 1, Max length: 20");
}

#[test]
fn contacts_need_a_name() {
    accepted("contacts", &json!([{"name": {"formatted_name": "A B", "first_name": "A"}}]));
    names("contacts", &json!([]), "Param contacts must be an array of 1 to 5 contacts.");
    names("contacts", &json!([{"phones": []}]), "The parameter contacts[0]['name'] is required.");
}

#[test]
fn a_read_receipt_needs_its_message() {
    let mut body = json!({"messaging_product": "whatsapp", "status": "read", "message_id": "w"});
    assert_eq!(run(&body), Ok(Request::Read { message_id: "w".into() }));
    body["typing_indicator"] = json!({"type": "text"});
    assert!(run(&body).is_ok());
    body.as_object_mut().unwrap().remove("message_id");
    assert_eq!(refused(&body).1, "(#100) The parameter message_id is required.");
    let other = json!({"messaging_product": "whatsapp", "status": "seen", "message_id": "w"});
    assert_eq!(refused(&other).1, "(#100) Param status must be one of {READ}.");
}

#[test]
fn a_body_that_is_not_an_object_is_refused() {
    assert_eq!(
        refused(&json!([1])),
        (100, "(#100) Invalid parameter | The request body is not a JSON object.".into())
    );
}

/// Meta's own examples, if the `contracts` folder is beside the checkout. Examples that omit
/// `recipient_type` or `type` violate the published schema; two interactive kinds contain only
/// their envelope.
#[test]
fn the_published_examples_are_accepted() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/contracts/payloads/meta_whatsapp_outbound.json"
    );
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let examples: std::collections::BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let mut accepted = 0;
    for (name, mut body) in examples {
        if body.get("status").is_none() && body.get("recipient_type").is_none() {
            body["recipient_type"] = json!("individual");
        }
        // Replace placeholders with valid values.
        let filled = body
            .to_string()
            .replace("{{Recipient-Phone-Number}}", "16505551234")
            .replace("{{Recipient-WA-Phone-Number}}", "16505551234")
            .replace("<http(s)://", "http://example.com/")
            .replace("http(s)://", "http://example.com/");
        let body: Value = serde_json::from_str(&filled).unwrap();
        match check(&body, &|_| true) {
            Ok(_) => accepted += 1,
            Err(error) => {
                assert!(
                    body.get("type").is_none(),
                    "{name}: {} {:?}",
                    error.message,
                    error.details
                );
            }
        }
    }
    assert!(accepted >= 45, "{accepted}");
}
