use super::event::{Forgery, RawWebhook};
use super::*;
use crate::ids::Ids;
use crate::log::Log;
use crate::provider::SimulatedAccount as _;
use crate::redelivery::AttemptResult;

const NAME: &str = "front-desk";
const TO: &str = "4915550009999";

struct World {
    now_ms: i64,
    ids: Ids,
    log: Log,
    instances: BTreeMap<String, Instance>,
}

impl World {
    fn new(extra: &Value) -> Self {
        let mut settings = json!({"token": "token-of-one", "global_key": "key-of-all"});
        settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let instance = Instance::new(NAME, serde_json::from_value(settings).unwrap());
        let now_ms = 1_795_000_000_000;
        Self {
            now_ms,
            ids: Ids::new(now_ms),
            log: Log::default(),
            instances: BTreeMap::from([(NAME.to_owned(), instance)]),
        }
    }

    fn ask(
        &mut self,
        key: Option<&str>,
        name: &str,
        method: &Method,
        path: (&str, &str),
        body: &Value,
    ) -> Outcome {
        let mut context =
            ProviderContext { now_ms: self.now_ms, ids: &mut self.ids, log: &mut self.log };
        let body = body.to_string();
        let asked = Call { method, path, key, body: body.as_bytes() };
        call(&mut self.instances, &mut context, name, asked)
    }

    fn send(&mut self, method: &str, body: &Value) -> Outcome {
        self.ask(Some("token-of-one"), NAME, &Method::POST, ("message", method), body)
    }

    fn text(&mut self) -> Outcome {
        self.send("sendText", &json!({"number": TO, "text": "hi"}))
    }

    fn set(&mut self, webhook: &Value) -> Answer {
        let body = json!({"webhook": webhook});
        let path = ("webhook", "set");
        self.ask(Some("token-of-one"), NAME, &Method::POST, path, &body).answer
    }

    fn listen(&mut self) {
        let webhook = json!({"enabled": true, "url": "http://127.0.0.1:1/hook",
            "headers": {"x-webhook-token": "proof"}, "events": []});
        assert_eq!(self.set(&webhook).status(), 201);
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Instance, &mut ProviderContext<'_>) -> T) -> T {
        let mut context =
            ProviderContext { now_ms: self.now_ms, ids: &mut self.ids, log: &mut self.log };
        act(self.instances.get_mut(NAME).unwrap(), &mut context)
    }

    fn write(&mut self, order: Value) -> (String, Vec<Delivery>) {
        let order = serde_json::from_value(order).unwrap();
        self.act(|instance, context| instance.customer_writes(context, &order)).unwrap()
    }

    fn fault(&mut self, fault: Value) {
        let fault = serde_json::from_value(fault).unwrap();
        self.act(|instance, _| instance.faults.add(vec![fault]));
    }

    fn accepted(&self) -> &[Accepted] {
        self.instances[NAME].accepted()
    }

    #[track_caller]
    fn bad(&mut self, method: &str, body: &Value, words: &str) {
        let answer = self.send(method, body).answer;
        assert_eq!(
            answer.body(),
            &json!({"status": 400, "error": "Bad Request", "response": {"message": [words]}})
        );
        assert!(self.accepted().is_empty());
    }
}

fn body(delivery: &Delivery) -> Value {
    serde_json::from_slice(&delivery.body).unwrap()
}

fn header<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a str> {
    delivery.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn only_the_instances_token_and_the_servers_key_are_accepted() {
    let mut world = World::new(&json!({}));
    let state = ("instance", "connectionState");
    let ask =
        |world: &mut World, key, name| world.ask(key, name, &Method::GET, state, &json!({})).answer;
    let open = json!({"instance": {"instanceName": NAME, "state": "open"}});
    assert_eq!(ask(&mut world, Some("token-of-one"), NAME).body(), &open);
    assert_eq!(ask(&mut world, Some("key-of-all"), NAME).body(), &open);
    for wrong in [None, Some(""), Some("other")] {
        let answer = ask(&mut world, wrong, NAME);
        let words = json!({"status": 401, "error": "Unauthorized",
                           "response": {"message": "Unauthorized"}});
        assert_eq!((answer.status(), answer.body()), (401, &words));
    }
    let answer = ask(&mut world, None, "unknown");
    let words = json!({"status": 404, "error": "Not Found",
                       "response": {"message": ["The \"unknown\" instance does not exist"]}});
    assert_eq!((answer.status(), answer.body()), (404, &words));
}

#[test]
fn a_text_is_answered_with_the_message() {
    let mut world = World::new(&json!({}));
    let answer = world.text().answer;
    assert_eq!(answer.status(), 201);
    let body = answer.body();
    assert_eq!(body["key"]["remoteJid"], format!("{TO}@s.whatsapp.net"));
    assert_eq!((&body["key"]["fromMe"], &body["status"]), (&json!(true), &json!("PENDING")));
    assert_eq!(body["message"], json!({"conversation": "hi"}));
    assert_eq!(body["messageTimestamp"], 1_795_000_000);
    assert_eq!(body["key"]["id"], world.accepted()[0].id);
    assert_eq!(world.accepted()[0].to, TO);
}

#[test]
fn required_fields_must_be_present_and_have_the_right_type() {
    let mut world = World::new(&json!({}));
    let missing = "instance requires property \"text\"";
    world.bad("sendText", &json!({"number": TO}), missing);
    world.bad("sendText", &json!({"number": 49, "text": "x"}), "Invalid format");
    world.bad("sendText", &json!({"number": TO, "text": " "}), "Text is required");
    let wrong = json!({"number": TO, "text": "x", "delay": "1"});
    world.bad("sendText", &wrong, "Enter a value in milliseconds");
    let quoted = json!({"number": TO, "text": "x", "quoted": {"key": {}}});
    world.bad("sendText", &quoted, "quoted.key requires property \"id\"");
}

#[test]
fn a_field_that_evolution_ignores_is_a_violation() {
    let mut world = World::new(&json!({}));
    let odd = json!({"number": TO, "text": "x", "txet": "y"});
    assert_eq!(world.send("sendText", &odd).answer.status(), 201);
    assert_eq!(world.instances[NAME].summary()["violations"], 1);
}

#[test]
fn a_number_that_is_not_on_whatsapp_is_refused() {
    let mut world = World::new(&json!({"not_on_whatsapp": [TO]}));
    let answer = world.text().answer;
    let found = json!({"jid": format!("{TO}@s.whatsapp.net"), "exists": false, "number": TO});
    assert_eq!((answer.status(), &answer.body()["response"]["message"][0]), (400, &found));
    assert!(world.accepted().is_empty());
}

#[test]
fn media_needs_a_kind_and_an_address_or_base64() {
    let mut world = World::new(&json!({}));
    let media =
        |kind: &str, source: &str| json!({"number": TO, "mediatype": kind, "media": source});
    world.bad(
        "sendMedia",
        &media("gif", "https://example.com/a.gif"),
        "mediatype is not one of enum values: image,document,video,audio",
    );
    for source in ["", "no address", "https://localhost/a.png"] {
        world.bad("sendMedia", &media("image", source), "Owned media must be a url or base64");
    }
    let nameless = "For base64 the file name must be informed.";
    world.bad("sendMedia", &media("document", "AAEC"), nameless);
    let broken = world.send("sendMedia", &media("document", "https://example.com/invoice"));
    assert_eq!(broken.answer.status(), 500);
    for (kind, name) in [
        ("image", "imageMessage"),
        ("video", "videoMessage"),
        ("audio", "audioMessage"),
        ("document", "documentMessage"),
    ] {
        let answer = world.send("sendMedia", &media(kind, "http://127.0.0.1:9/a.pdf")).answer;
        assert_eq!((answer.status(), &answer.body()["messageType"]), (201, &json!(name)));
    }
}

#[test]
fn stickers_and_voice_notes_have_their_own_methods() {
    let mut world = World::new(&json!({}));
    world.bad("sendSticker", &json!({"number": TO}), "Owned media must be a url or base64");
    let sticker = json!({"number": TO, "sticker": "https://example.com/s.webp"});
    let answer = world.send("sendSticker", &sticker).answer;
    assert_eq!(answer.body()["messageType"], "stickerMessage");
    let voice = json!({"number": TO, "audio": "https://example.com/a.mp3"});
    let answer = world.send("sendWhatsAppAudio", &voice).answer;
    assert_eq!(answer.body()["message"]["audioMessage"]["ptt"], true);
}

#[test]
fn a_location_needs_a_name_and_an_address_which_can_be_empty() {
    let mut world = World::new(&json!({}));
    let place = json!({"number": TO, "latitude": 1.5, "longitude": 2, "name": ""});
    world.bad("sendLocation", &place, "instance requires property \"address\"");
    let place = json!({"number": TO, "latitude": 1.5, "longitude": 2, "name": "", "address": ""});
    let answer = world.send("sendLocation", &place).answer;
    assert_eq!(answer.body()["message"]["locationMessage"]["degreesLatitude"], 1.5);
}

#[test]
fn a_contact_needs_a_name_and_a_number_of_ten_characters() {
    let mut world = World::new(&json!({}));
    let card = |name: Option<&str>, phone: &str| {
        let mut card = json!({"phoneNumber": phone});
        if let Some(name) = name {
            card["fullName"] = json!(name);
        }
        json!({"number": TO, "contact": [card]})
    };
    let missing = "contact[0] requires property \"fullName\"";
    world.bad("sendContact", &card(None, "+4915550001111"), missing);
    let short = "contact[0].phoneNumber does not meet minimum length of 10";
    world.bad("sendContact", &card(Some("A"), "+49155"), short);
    let none = json!({"number": TO, "contact": []});
    world.bad("sendContact", &none, "contact does not meet minimum length of 1");
    let answer = world.send("sendContact", &card(Some("A"), "+4915550001111")).answer;
    let vcard = answer.body()["message"]["contactMessage"]["vcard"].as_str().unwrap();
    assert!(vcard.contains("TEL;waid=4915550001111:+4915550001111"));
}

#[test]
fn a_reaction_needs_a_complete_key_and_cannot_be_removed() {
    let mut world = World::new(&json!({}));
    let key = json!({"id": "3A1", "remoteJid": format!("{TO}@s.whatsapp.net"), "fromMe": false});
    let off = json!({"key": key, "reaction": ""});
    world.bad("sendReaction", &off, "\"reaction\" must be an emoji");
    let half = json!({"key": {"id": "3A1", "fromMe": true}, "reaction": "👍"});
    world.bad("sendReaction", &half, "key requires property \"remoteJid\"");
    let answer = world.send("sendReaction", &json!({"key": key, "reaction": "👍"})).answer;
    assert_eq!(answer.body()["message"]["reactionMessage"]["text"], "👍");
    assert_eq!(world.accepted()[0].to, TO);
}

#[test]
fn buttons_are_limited_to_three_of_one_type() {
    let mut world = World::new(&json!({}));
    let buttons = |kinds: &[&str]| {
        let one = |kind: &&str| json!({"type": kind, "displayText": "A", "id": "a"});
        let all: Vec<Value> = kinds.iter().map(one).collect();
        json!({"number": TO, "title": "t", "description": "d", "footer": "f", "buttons": all})
    };
    world.bad("sendButtons", &buttons(&[]), "At least one button is required");
    let many = buttons(&["reply", "reply", "reply", "reply"]);
    world.bad("sendButtons", &many, "Maximum of 3 reply buttons allowed");
    let mixed = "Reply buttons cannot be mixed with other button types";
    world.bad("sendButtons", &buttons(&["reply", "url"]), mixed);
    world.bad("sendButtons", &buttons(&["pix", "pix"]), "Only one PIX button is allowed");
    let strange = "buttons[0].type is not one of enum values: reply,copy,url,call,pix";
    world.bad("sendButtons", &buttons(&["list"]), strange);
    let answer = world.send("sendButtons", &buttons(&["reply", "reply"])).answer;
    assert_eq!(answer.body()["messageType"], "viewOnceMessage");
}

#[test]
fn a_list_has_sections_with_unique_rows() {
    let mut world = World::new(&json!({}));
    let list = |rows: Value| {
        json!({"number": TO, "title": "t", "footerText": "f", "buttonText": "b",
               "sections": [{"title": "s", "rows": rows}]})
    };
    let row = json!({"title": "r", "rowId": "1"});
    let none = "sections[0].rows does not meet minimum length of 1";
    world.bad("sendList", &list(json!([])), none);
    let twice = "sections[0].rows contains duplicate item";
    world.bad("sendList", &list(json!([row, row])), twice);
    let nameless = "sections[0].rows[0] requires property \"rowId\"";
    world.bad("sendList", &list(json!([{"title": "r"}])), nameless);
    assert_eq!(world.send("sendList", &list(json!([row]))).answer.status(), 201);
}

#[test]
fn an_instance_without_a_connection_answers_with_one_of_three_errors_and_sends_nothing() {
    let mut world = World::new(&json!({"state": "close"}));
    let words = |answer: Answer| (answer.status(), answer.body()["response"]["message"].clone());
    assert_eq!(words(world.text().answer), (500, json!("Connection Closed")));
    world.write(json!({"from": TO, "text": "hello"}));
    assert_eq!(words(world.text().answer), (400, json!(["Error: Connection Closed"])));
    let media = json!({"number": TO, "mediatype": "image", "media": "https://example.com/a.png"});
    let answer = world.send("sendMedia", &media).answer;
    assert_eq!(words(answer), (500, json!(["Error: Connection Closed"])));
    assert!(world.accepted().is_empty());

    let mut world = World::new(&json!({"state": "not_loaded"}));
    assert_eq!(world.text().answer.status(), 500);
    let path = ("instance", "connectionState");
    let answer = world.ask(Some("key-of-all"), NAME, &Method::GET, path, &json!({})).answer;
    assert_eq!(answer.body(), &json!({"instance": {"instanceName": NAME}}));
}

#[test]
fn the_webhook_request_follows_the_source_rather_than_the_documentation() {
    let mut world = World::new(&json!({}));
    let url = "https://hub.example.com/webhooks/evolution/int_1";
    let path = ("webhook", "set");
    let flat = json!({"enabled": true, "url": url, "events": []});
    let answer = world.ask(Some("token-of-one"), NAME, &Method::POST, path, &flat).answer;
    assert_eq!(answer.body()["response"]["message"][0], "instance requires property \"webhook\"");
    let missing = world.set(&json!({"enabled": true}));
    assert_eq!(missing.body()["response"]["message"][0], "webhook requires property \"url\"");
    assert_eq!(world.set(&json!({"enabled": true, "url": url})).status(), 500);
    let strange = json!({"enabled": true, "url": url, "events": ["MESSAGE"]});
    assert_eq!(world.set(&strange).status(), 400);
    let wrong = json!({"enabled": true, "url": "hub", "events": []});
    assert_eq!(world.set(&wrong).body()["response"]["message"][0], "Invalid \"url\" property");
    let answer = world.set(&json!({"enabled": true, "url": url, "byEvents": false,
        "base64": false, "headers": {"X-Webhook-Token": "t"}, "events": ["MESSAGES_UPSERT"]}));
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.body()["events"], json!(["MESSAGES_UPSERT"]));
    assert_eq!(answer.body()["headers"], json!({"x-webhook-token": "t"}));
    // Only subscribed events are delivered.
    assert!(world.text().deliveries.iter().all(|delivery| delivery.what == "messages.upsert"));
}

#[test]
fn a_message_is_echoed_and_each_status_is_a_separate_update() {
    let mut world = World::new(&json!({}));
    world.listen();
    let sent = world.text();
    let events: Vec<&str> = sent.deliveries.iter().map(|delivery| delivery.what.as_str()).collect();
    let update = "messages.update";
    assert_eq!(events, ["send.message", "messages.upsert", update, update, update]);
    let id = world.accepted()[0].id.clone();
    let echo = body(&sent.deliveries[1]);
    assert_eq!((&echo["event"], &echo["instance"]), (&json!("messages.upsert"), &json!(NAME)));
    assert_eq!(echo["data"]["key"]["fromMe"], true);
    assert_eq!((&echo["data"]["key"]["id"], &echo["apikey"]), (&json!(id), &Value::Null));
    let statuses: Vec<Value> = sent.deliveries[2..]
        .iter()
        .map(|delivery| body(delivery)["data"]["status"].clone())
        .collect();
    assert_eq!(statuses, ["SERVER_ACK", "DELIVERY_ACK", "READ"]);
    let update = body(&sent.deliveries[2]);
    assert_eq!(update["data"]["keyId"], id);
    assert_ne!(update["data"]["messageId"], id);
    assert_eq!(header(&sent.deliveries[0], "x-webhook-token"), Some("proof"));
}

#[test]
fn without_a_database_there_are_no_updates() {
    let mut world = World::new(&json!({"save_messages": false}));
    world.listen();
    assert!(world.text().deliveries.iter().all(|delivery| delivery.what != "messages.update"));
}

#[test]
fn a_later_failure_is_an_error_update() {
    let mut world = World::new(&json!({}));
    world.listen();
    world.fault(json!({"kind": "fail_later"}));
    let sent = world.text();
    assert_eq!(sent.answer.status(), 201);
    let last = body(sent.deliveries.last().unwrap());
    assert_eq!(last["data"]["status"], "ERROR");
    assert!(world.accepted()[0].fails);
}

#[test]
fn a_jwt_key_becomes_a_bearer_token_that_expires_after_ten_minutes() {
    let mut world = World::new(&json!({}));
    world.set(&json!({"enabled": true, "url": "http://127.0.0.1:1/h", "byEvents": true,
                      "headers": {"jwt_key": "secret"}, "events": []}));
    let sent = world.text();
    let delivery = &sent.deliveries[0];
    assert_eq!(delivery.url, "http://127.0.0.1:1/h/send-message");
    let bearer = header(delivery, "authorization").unwrap();
    let claims = bearer.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let (iat, exp) = (1_795_000_000, 1_795_000_600);
    let all = json!({"iat": iat, "exp": exp, "app": "evolution", "action": "webhook"});
    assert_eq!(claims, all);
    assert_eq!(header(delivery, "jwt_key"), None);
}

#[test]
fn a_customers_file_is_downloaded_by_its_message() {
    let mut world = World::new(&json!({}));
    world.listen();
    let media = json!({"mime_type": "image/jpeg", "content_base64": "AAEC"});
    let order = json!({"from": TO, "type": "imageMessage", "object": {"caption": "Look"},
                       "media": media, "repeat": 2, "reply_to": "3EB0"});
    let (id, deliveries) = world.write(order);
    assert_eq!(deliveries.len(), 2);
    assert_eq!(deliveries[0].body, deliveries[1].body);
    let data = body(&deliveries[0])["data"].clone();
    assert_eq!(data["message"]["imageMessage"]["mimetype"], "image/jpeg");
    assert_eq!(data["contextInfo"]["stanzaId"], "3EB0");
    let fetch = |world: &mut World, id: &str| {
        let asked = json!({"message": {"key": {"id": id}}, "convertToMp4": false});
        let path = ("chat", "getBase64FromMediaMessage");
        world.ask(Some("token-of-one"), NAME, &Method::POST, path, &asked).answer
    };
    let file = fetch(&mut world, &id);
    assert_eq!((file.status(), &file.body()["base64"]), (201, &json!("AAEC")));
    assert_eq!(file.body()["fileName"], format!("{id}.jpeg"));
    assert_eq!(fetch(&mut world, "none").status(), 400);
    let (id, _) = world.write(json!({"from": TO, "text": "no file"}));
    let words = fetch(&mut world, &id).body()["response"]["message"][0].clone();
    assert_eq!(words, "The message is not of the media type");
}

#[test]
fn a_hidden_number_is_replaced_by_a_lid_with_the_number_beside_it() {
    let mut world = World::new(&json!({}));
    world.listen();
    let (_, deliveries) = world.write(json!({"from": TO, "text": "hi", "lid": "77@lid"}));
    let key = body(&deliveries[0])["data"]["key"].clone();
    assert_eq!(key["remoteJid"], "77@lid");
    assert_eq!(key["remoteJidAlt"], format!("{TO}@s.whatsapp.net"));
}

#[test]
fn a_quote_of_an_unknown_message_is_omitted() {
    let mut world = World::new(&json!({}));
    let (id, _) = world.write(json!({"from": TO, "text": "hello"}));
    for (asked, quoted) in [(id.as_str(), Some(id.clone())), ("none", None)] {
        let body = json!({"number": TO, "text": "x", "quoted": {"key": {"id": asked}}});
        assert_eq!(world.send("sendText", &body).answer.status(), 201);
        assert_eq!(world.accepted().last().unwrap().quoted, quoted);
    }
}

#[test]
fn an_accepted_message_without_an_answer_is_still_sent() {
    for (kind, name) in [("accept_then_time_out", "held"), ("accept_then_drop", "dropped")] {
        let mut world = World::new(&json!({}));
        world.fault(json!({"kind": kind, "to": TO}));
        assert!(matches!(world.text().answer, Answer::HangUp { .. }));
        assert_eq!(world.accepted()[0].answer, name);
    }
    // The database failed after `WhatsApp` had accepted the message: the answer is 400.
    let mut world = World::new(&json!({}));
    let words = "PrismaClientKnownRequestError: the database is gone";
    let fault = json!({"kind": "status", "status": 400, "accepted": true, "description": words});
    world.fault(fault);
    let answer = world.text().answer;
    assert_eq!((answer.status(), &answer.body()["response"]["message"][0]), (400, &json!(words)));
    assert_eq!(world.accepted()[0].answer, "status_400");
}

#[test]
fn a_fault_before_acceptance_leaves_no_message() {
    let mut world = World::new(&json!({}));
    world.fault(json!({"kind": "drop"}));
    world.fault(json!({"kind": "rate_limited", "retry_after_s": 5}));
    world.fault(json!({"kind": "error", "code": 400, "description": "Error: Timed Out"}));
    world.fault(json!({"kind": "status", "status": 502}));
    assert_eq!(world.text().answer, Answer::HangUp { after_ms: 0 });
    let limited = world.text().answer;
    assert!(matches!(&limited, Answer::Reply(reply) if reply.retry_after_s == Some(5)));
    assert_eq!(world.text().answer.body()["response"]["message"][0], "Error: Timed Out");
    assert_eq!(world.text().answer.status(), 502);
    assert!(world.accepted().is_empty());
}

#[test]
fn a_webhook_is_attempted_ten_times_and_not_retried_after_a_final_answer() {
    let redelivery = Redelivery::default();
    let waits: Vec<_> = (1..=10).map(|attempt| redelivery.wait_ms(attempt, 503)).collect();
    let ms = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000].map(Some);
    assert_eq!(waits, [&ms[..], &[None]].concat());
    for last in [400, 401, 403, 404, 422] {
        assert_eq!(redelivery.wait_ms(1, last), None, "{last}");
    }
    assert!(redelivery.wait_ms(1, 0).is_some());

    let mut world = World::new(&json!({}));
    world.listen();
    let (_, deliveries) = world.write(json!({"from": TO, "text": "hi"}));
    let refused = AttemptResult { status: 422, ..AttemptResult::default() };
    let wait =
        world.act(|instance, context| instance.attempted(context, &deliveries[0], 1, 0, &refused));
    assert_eq!(wait, None);
    let summary = world.instances[NAME].summary();
    assert_eq!((&summary["given_up"], &summary["pending_webhooks"]), (&json!(1), &json!(0)));
}

#[test]
fn forged_webhooks_are_not_authentic() {
    let mut world = World::new(&json!({}));
    world.listen();
    for (kind, token, bearer) in [
        ("wrong_token", Some("not-proof"), false),
        ("no_token", None, false),
        ("key_in_body", None, false),
        ("expired_jwt", None, true),
    ] {
        let order: Forgery = serde_json::from_value(json!({"kind": kind})).unwrap();
        let forged = world.act(|instance, context| instance.forge(context, &order)).unwrap();
        assert_eq!(header(&forged, "x-webhook-token"), token, "{kind}");
        assert_eq!(header(&forged, "authorization").is_some(), bearer, "{kind}");
        assert_eq!(body(&forged)["apikey"] == "token-of-one", kind == "key_in_body");
    }
    let raw: RawWebhook = serde_json::from_value(json!({"raw": "{", "repeat": 2})).unwrap();
    let deliveries = world.act(|instance, context| instance.deliver(context, &raw)).unwrap();
    assert_eq!((deliveries.len(), &deliveries[0].body[..]), (2, &b"{"[..]));
}

#[test]
fn a_lost_connection_is_reported() {
    let mut world = World::new(&json!({}));
    world.listen();
    let order = serde_json::from_value(json!({"state": "close", "status_reason": 401})).unwrap();
    let deliveries = world.act(|instance, context| instance.connect(context, order));
    let data = json!({"instance": NAME, "state": "close", "statusReason": 401});
    assert_eq!(body(&deliveries[0])["data"], data);
    assert_eq!(world.text().answer.status(), 500);
}

#[test]
fn a_message_is_marked_as_read_by_its_full_key() {
    let mut world = World::new(&json!({}));
    let message =
        json!({"id": "3A1", "fromMe": false, "remoteJid": format!("{TO}@s.whatsapp.net")});
    let path = ("chat", "markMessageAsRead");
    let asked = json!({"readMessages": [message]});
    let answer = world.ask(Some("token-of-one"), NAME, &Method::POST, path, &asked).answer;
    assert_eq!((answer.status(), &answer.body()["read"]), (201, &json!("success")));
    assert_eq!(world.instances[NAME].reads()[0].message_id, "3A1");
    let half = json!({"readMessages": [{"id": "3A1"}]});
    let answer = world.ask(Some("token-of-one"), NAME, &Method::POST, path, &half).answer;
    assert_eq!(answer.status(), 400);
}

#[test]
fn long_numbers_are_groups_and_signs_are_ignored() {
    for (number, address) in [
        ("+49 155 5000 9999", "4915550009999@s.whatsapp.net"),
        ("120363041234567890", "120363041234567890@g.us"),
        ("77@lid", "77@lid"),
        ("120363041234567890@g.us", "120363041234567890@g.us"),
    ] {
        assert_eq!(jid(number), address);
    }
}
