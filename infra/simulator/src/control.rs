//! The control API, under `/_sim/`.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::answer::Answer;
use crate::automation::{self, Automation};
use crate::deliver::App;
use crate::evolution;
use crate::faults::{Fault, Faults, Kind};
use crate::server::Query;
use crate::telegram::update::{CustomerWrites as UserWrites, RawUpdate};
use crate::telegram::{self, Bot, ChatOrder};
use crate::twilio;
use crate::whatsapp::{self, CustomerWrites, Forgery, MediaUpload, Number, RawWebhook};

/// How long a call waits for the first attempts that it reports.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A call that the control API refuses: status and reason.
pub(crate) type Refusal = (u16, String);

/// One call.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a [&'a str],
    pub(crate) query: &'a Query,
    pub(crate) body: &'a Bytes,
    pub(crate) base: &'a str,
}

impl Call<'_> {
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { self.body };
        serde_json::from_slice(body).map_err(|error| (400, error.to_string()))
    }
}

/// Answers a call.
pub(crate) async fn answer(app: &App, call: Call<'_>) -> Answer {
    let result = match call.path {
        [] if call.method == Method::DELETE => {
            app.world().reset();
            Ok(json!({"ok": true}))
        }
        ["health"] if call.method == Method::GET => {
            let world = app.world();
            Ok(json!({"ok": true, "now_ms": app.clock.now_ms(),
                      "started_ms": world.ids.started_ms(), "last_seq": world.log.last_seq()}))
        }
        ["log"] if call.method == Method::GET => Ok(log(app, call.query).await),
        ["whatsapp", number] => one_number(app, &call, number),
        ["whatsapp", number, "faults"] => {
            with_number(app, number, |number, _| change_faults(number.faults(), &call, &[]))
                .and_then(|done| done)
        }
        ["whatsapp", number, what] => number_call(app, &call, number, what).await,
        ["telegram", bot] => bot_id(bot).and_then(|bot| one_bot(app, &call, bot)),
        ["telegram", bot, "faults"] => bot_id(bot)
            .and_then(|bot| with_bot(app, bot, |bot, _| change_faults(bot.faults(), &call, &[])))
            .and_then(|done| done),
        ["telegram", bot, what] => match bot_id(bot) {
            Ok(bot) => bot_call(app, &call, bot, what).await,
            Err(refusal) => Err(refusal),
        },
        ["twilio", account, what @ ..] => twilio::control::answer(app, &call, account, what).await,
        ["infobip", number] => crate::infobip::http::control(app, &call, number, None).await,
        ["infobip", number, what] => {
            crate::infobip::http::control(app, &call, number, Some(what)).await
        }
        ["bsp", name] => crate::bsp::http::control(app, &call, name, None).await,
        ["bsp", name, what] => crate::bsp::http::control(app, &call, name, Some(what)).await,
        ["evolution", name, rest @ ..] => evolution::control::answer(app, &call, name, rest).await,
        ["automation", name] => one_automation(app, &call, name),
        ["automation", name, "deliveries"] => deliveries(app, &call, name),
        _ => Err((404, "no such call".to_owned())),
    };
    match result {
        Ok(body) => Answer::json(200, body),
        Err((status, reason)) => Answer::json(status, json!({"error": reason})),
    }
}

pub(crate) fn no_method<T>() -> Result<T, Refusal> {
    Err((405, "not with this method".into()))
}

fn bot_id(text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_| (400, "bot_id: digits only".into()))
}

fn with_number<T>(
    app: &App,
    id: &str,
    act: impl FnOnce(&mut Number, &mut crate::log::Scene<'_>) -> T,
) -> Result<T, Refusal> {
    let done = app.world().number(app.clock.now_ms(), id, act);
    done.ok_or_else(|| (404, format!("PUT /_sim/whatsapp/{id} first")))
}

fn with_bot<T>(
    app: &App,
    id: i64,
    act: impl FnOnce(&mut Bot, &mut crate::log::Scene<'_>) -> T,
) -> Result<T, Refusal> {
    let done = app.world().bot(app.clock.now_ms(), id, act);
    done.ok_or_else(|| (404, format!("PUT /_sim/telegram/{id} first")))
}

pub(crate) fn wrong(reason: String) -> Refusal {
    (400, reason)
}

async fn log(app: &App, query: &Query) -> Value {
    let number = |name: &str| query.get(name).and_then(|value| value.parse::<u64>().ok());
    let since = number("since").unwrap_or(0);
    let limit = usize::try_from(number("limit").unwrap_or(1000)).unwrap_or(1000);
    let wait_ms = number("wait_ms").unwrap_or(0).min(30_000);
    let began = app.clock.now_ms();
    loop {
        let (events, next) = app.world().log.since(since, limit);
        let waited = u64::try_from(app.clock.now_ms() - began).unwrap_or(0);
        if !events.is_empty() || waited >= wait_ms {
            return json!({"events": events, "next": next});
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Changes the scripted faults. `in_doubt` are the statuses after which the provider may have
/// accepted a message although it answers with an error of its own.
pub(crate) fn change_faults(
    faults: &mut Faults,
    call: &Call<'_>,
    in_doubt: &[u16],
) -> Result<Value, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        faults: Vec<Fault>,
    }
    match *call.method {
        Method::GET => {}
        Method::DELETE => faults.clear(),
        Method::POST => {
            let order = call.read::<Order>()?;
            let hides = |fault: &Fault| {
                let status = fault.status.unwrap_or(500);
                fault.kind == Kind::Status && fault.accepts() && !in_doubt.contains(&status)
            };
            if order.faults.iter().any(hides) {
                let why = "an error in the provider's own form says that the message was not \
                           accepted: script a `page`";
                return Err(wrong(why.to_owned()));
            }
            faults.add(order.faults);
        }
        _ => return no_method(),
    }
    Ok(json!({"faults": faults.remaining()}))
}

fn one_number(app: &App, call: &Call<'_>, id: &str) -> Result<Value, Refusal> {
    match *call.method {
        Method::GET => with_number(app, id, |number, _| number.summary()),
        Method::PUT => {
            if id.is_empty() || !id.chars().all(|c| c.is_ascii_digit()) {
                return Err(wrong("phone_number_id: digits only".into()));
            }
            let settings: whatsapp::Settings = call.read()?;
            let mut world = app.world();
            match world.numbers.get_mut(id) {
                Some(number) => number.change(settings),
                None => {
                    world.numbers.insert(id.to_owned(), Number::new(id, settings));
                }
            }
            Ok(json!({"ok": true, "phone_number_id": id}))
        }
        _ => no_method(),
    }
}

/// The statuses of the first attempts; 0 where there was no answer in time.
pub(crate) async fn statuses(told: Vec<oneshot::Receiver<u16>>) -> Vec<Option<u16>> {
    let mut statuses = Vec::new();
    for first in told {
        // The channel closes at once when there is no address to deliver to.
        let status = tokio::time::timeout(PATIENCE, first).await;
        statuses.push(status.map_or(Some(0), Result::ok));
    }
    statuses
}

async fn number_call(app: &App, call: &Call<'_>, id: &str, what: &str) -> Result<Value, Refusal> {
    match (call.method, what) {
        (&Method::GET, "accepted") => with_number(app, id, |number, _| {
            let wanted = |name: &str, value: Option<&str>| {
                call.query.get(name).is_none_or(|wanted| value == Some(wanted))
            };
            let accepted: Vec<_> = number
                .accepted()
                .iter()
                .filter(|one| {
                    wanted("to", Some(&one.to)) && wanted("opaque", one.opaque.as_deref())
                })
                .collect();
            json!({"count": accepted.len(), "accepted": accepted})
        }),
        (&Method::GET, "reads") => {
            with_number(app, id, |number, _| json!({"reads": number.reads()}))
        }
        (&Method::POST, "customer-writes") => {
            let order: CustomerWrites = call.read()?;
            let written =
                with_number(app, id, |number, scene| number.customer_writes(scene, &order))?;
            let (wamid, media_id, deliveries) = written.map_err(wrong)?;
            let told = app.deliver(id, deliveries);
            let first = if order.wait { statuses(told).await } else { Vec::new() };
            Ok(json!({"wamid": wamid, "media_id": media_id,
                      "webhook_status": first.first().copied().flatten(),
                      "webhook_statuses": first}))
        }
        (&Method::POST, "webhook") => {
            let order: RawWebhook = call.read()?;
            let deliveries = with_number(app, id, |number, scene| number.webhook(scene, &order))?;
            let first = statuses(app.deliver(id, deliveries.map_err(wrong)?)).await;
            Ok(json!({"webhook_status": first.first().copied().flatten(),
                      "webhook_statuses": first}))
        }
        (&Method::POST, "forge") => {
            let order: Forgery = call.read()?;
            let delivery = with_number(app, id, |number, scene| number.forge(scene, &order))?;
            let first = statuses(app.deliver(id, vec![delivery])).await;
            Ok(json!({"webhook_status": first.first().copied().flatten()}))
        }
        (&Method::POST, "handshake") => handshake(app, call, id).await,
        (&Method::POST, "window") => window(app, call, id),
        (&Method::POST, "media") => {
            let order: MediaUpload = call.read()?;
            let bytes = order.bytes().map_err(wrong)?;
            with_number(
                app,
                id,
                |number, scene| json!({"id": number.add_media(scene, &order.mime_type, bytes)}),
            )
        }
        _ => Err((404, "no such call".to_owned())),
    }
}

fn window(app: &App, call: &Call<'_>, id: &str) -> Result<Value, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        customer: String,
        last_wrote_ms_ago: Option<i64>,
    }
    let order: Order = call.read()?;
    with_number(app, id, |number, scene| {
        let last_wrote = order.last_wrote_ms_ago.map(|ago| scene.now_ms - ago);
        number.set_window(&order.customer, last_wrote);
        json!({"ok": true, "open": number.window_open(scene.now_ms, &order.customer)})
    })
}

async fn handshake(app: &App, call: &Call<'_>, id: &str) -> Result<Value, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        verify_token: Option<String>,
    }
    let order: Order = call.read()?;
    let (url, token, timeout_ms, serial) = with_number(app, id, |number, scene| {
        let (url, timeout_ms) = number.target();
        let (url, token) = (url.to_owned(), number.verify_token().to_owned());
        (url, token, timeout_ms, scene.ids.serial())
    })?;
    let challenge = (1_158_201_000 + serial).to_string();
    let token = order.verify_token.unwrap_or(token);
    let mut url = url::Url::parse(&url).map_err(|error| wrong(format!("hub_url: {error}")))?;
    url.query_pairs_mut()
        .append_pair("hub.mode", "subscribe")
        .append_pair("hub.challenge", &challenge)
        .append_pair("hub.verify_token", &token);
    let headers = [("user-agent", "facebookplatform/1.0".to_owned())];
    let (how, body) =
        app.request(Method::GET, url.as_str(), &headers, Bytes::new(), timeout_ms).await;
    let body = String::from_utf8_lossy(&body).into_owned();
    let ok = how.status == 200 && body == challenge;
    let now_ms = app.clock.now_ms();
    let fields = json!({"status": how.status, "ok": ok});
    app.world().log.push(now_ms, "whatsapp", id, "handshake", fields);
    Ok(json!({"status": how.status, "body": body, "ok": ok}))
}

fn one_bot(app: &App, call: &Call<'_>, id: i64) -> Result<Value, Refusal> {
    match *call.method {
        Method::GET => with_bot(app, id, |bot, _| bot.summary()),
        Method::PUT => {
            let settings: telegram::Settings = call.read()?;
            let own = settings.token.starts_with(&format!("{id}:"));
            if !own || !telegram::is_token(&settings.token) {
                return Err(wrong(format!("token: must be {id}:<letters, digits, - and _>")));
            }
            let mut world = app.world();
            let base = world.new_bot_base();
            match world.bots.get_mut(&id) {
                Some(bot) => bot.change(settings),
                None => {
                    world.bots.insert(id, Bot::new(id, settings, base));
                }
            }
            Ok(json!({"ok": true, "bot_id": id.to_string()}))
        }
        _ => no_method(),
    }
}

async fn bot_call(app: &App, call: &Call<'_>, id: i64, what: &str) -> Result<Value, Refusal> {
    match (call.method, what) {
        (&Method::GET, "accepted") => with_bot(app, id, |bot, _| {
            let chat = call.query.get("chat_id").and_then(|chat| chat.parse::<i64>().ok());
            let wanted = |one: &&telegram::Accepted| chat.is_none_or(|chat| one.chat_id == chat);
            let accepted: Vec<_> = bot.accepted().iter().filter(wanted).collect();
            json!({"count": accepted.len(), "accepted": accepted})
        }),
        (&Method::POST, "customer-writes") => {
            let order: UserWrites = call.read()?;
            let written = with_bot(app, id, |bot, scene| bot.customer_writes(scene, &order))?;
            let written = written.map_err(wrong)?;
            app.pump(id);
            let wait = order.wait && written.delivered;
            let first = if wait {
                first_attempt(app, id, order.chat_id, written.update_id).await
            } else {
                None
            };
            Ok(json!({
                "update_id": written.update_id, "message_id": written.message_id,
                "file_id": written.file_id, "delivered": written.delivered,
                "webhook_status": first.as_ref().and_then(|first| first.first()),
                "webhook_statuses": first.unwrap_or_default(),
            }))
        }
        (&Method::POST, "update") => {
            let order: RawUpdate = call.read()?;
            let queued = with_bot(app, id, |bot, _| bot.raw_update(&order))?;
            let (chat, update_id) = queued.map_err(wrong)?;
            app.pump(id);
            let first = first_attempt(app, id, chat, update_id).await;
            Ok(json!({"update_id": update_id,
                      "webhook_status": first.as_ref().and_then(|first| first.first()),
                      "webhook_statuses": first.unwrap_or_default()}))
        }
        (&Method::POST, "chats") => {
            let order: ChatOrder = call.read()?;
            with_bot(app, id, |bot, _| bot.set_chat(&order))?;
            Ok(json!({"ok": true}))
        }
        (&Method::POST, "forge") => forge_update(app, call, id).await,
        _ => Err((404, "no such call".to_owned())),
    }
}

async fn forge_update(app: &App, call: &Call<'_>, id: i64) -> Result<Value, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        kind: Kind,
        #[serde(default)]
        text: Option<String>,
    }
    #[derive(Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        WrongSecret,
        NoSecret,
    }
    let order: Order = call.read()?;
    let text = order.text.unwrap_or_else(|| "I am not Telegram".into());
    let with_secret = order.kind == Kind::WrongSecret;
    let job = with_bot(app, id, |bot, scene| bot.forge(scene, with_secret, &text))?;
    let job = job.ok_or_else(|| wrong("no webhook is set".into()))?;
    let status = app.send_copies(&job).await.first().map(|how| how.status);
    let fields = json!({"update_id": job.update_id, "status": status, "forged": true});
    let now_ms = app.clock.now_ms();
    app.world().log.push(now_ms, "telegram", &id.to_string(), "webhook.answered", fields);
    Ok(json!({"webhook_status": status}))
}

/// Waits for the first attempt of an update; `None` if there will be none soon.
async fn first_attempt(app: &App, bot: i64, chat: i64, update_id: i64) -> Option<Vec<u16>> {
    let waiting = async {
        loop {
            {
                let world = app.world();
                let bot = world.bots.get(&bot)?;
                if let Some(statuses) = bot.first_attempt(update_id) {
                    return Some(statuses);
                }
                if !bot.has_webhook() || bot.is_blocked(chat, update_id) {
                    return None;
                }
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.ok().flatten()
}

fn one_automation(app: &App, call: &Call<'_>, name: &str) -> Result<Value, Refusal> {
    if *call.method != Method::PUT {
        return no_method();
    }
    let settings: automation::Settings = call.read()?;
    let mut world = app.world();
    match world.automations.get_mut(name) {
        Some(automation) => automation.change(settings),
        None => {
            world.automations.insert(name.to_owned(), Automation::new(name, settings));
        }
    }
    Ok(json!({"ok": true, "url": format!("{}/automation/{name}", call.base)}))
}

fn deliveries(app: &App, call: &Call<'_>, name: &str) -> Result<Value, Refusal> {
    let mut world = app.world();
    let automation = world.automations.get_mut(name);
    let automation =
        automation.ok_or_else(|| (404, format!("PUT /_sim/automation/{name} first")))?;
    match *call.method {
        Method::GET => Ok(automation.report(call.query.get("type"))),
        Method::DELETE => {
            automation.clear();
            Ok(json!({"ok": true}))
        }
        _ => no_method(),
    }
}
