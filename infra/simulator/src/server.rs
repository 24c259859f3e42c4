//! The HTTP side: who is asked what, and connections that break on demand.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::answer::{Answer, Body};
use crate::automation::Headers;
use crate::control;
use crate::deliver::App;
use crate::evolution;
use crate::telegram;
use crate::twilio;
use crate::whatsapp::{self, error::GraphError};

/// The largest request body.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Serves the simulator.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, app: App) -> io::Result<()> {
    let router =
        Router::new().fallback(handle).layer(DefaultBodyLimit::max(MOST_BYTES)).with_state(app);
    let service = router.into_make_service_with_connect_info::<Scissors>();
    axum::serve(Cuttable(listener), service).await
}

/// A query string.
#[derive(Debug, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    fn of(uri: &Uri) -> Self {
        let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// The value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

async fn handle(
    State(app): State<App>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = route(&app, &method, &uri, &headers, &body).await;
    match answer {
        Answer::HangUp { after_ms } => {
            sleep(Duration::from_millis(after_ms)).await;
            scissors.cut();
            Response::default()
        }
        Answer::Redirect { to } => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            if let Ok(to) = to.parse() {
                response.headers_mut().insert(LOCATION, to);
            }
            response
        }
        Answer::Reply(reply) => {
            sleep(Duration::from_millis(reply.delay_ms)).await;
            let (kind, bytes) = match reply.body {
                Body::Json(json) => ("application/json".to_owned(), json.to_string().into()),
                Body::File { mime, bytes } => (mime, bytes),
            };
            let mut response = Response::new(axum::body::Body::from(bytes));
            *response.status_mut() =
                StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if let Ok(kind) = kind.parse() {
                response.headers_mut().insert(CONTENT_TYPE, kind);
            }
            if let Some(seconds) = reply.retry_after_s {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            response
        }
    }
}

/// What whoever is at `uri` does with a request.
pub async fn route(
    app: &App,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Answer {
    let decoded = percent_decoded(uri.path());
    let segments: Vec<&str> = decoded.split('/').filter(|part| !part.is_empty()).collect();
    let query = Query::of(uri);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let base = format!("http://{}", header(HOST.as_str()).unwrap_or("127.0.0.1"));
    match segments.as_slice() {
        ["_sim", path @ ..] => {
            let call = control::Call { method, path, query: &query, body, base: &base };
            control::answer(app, call).await
        }
        [folder @ ("message" | "instance" | "webhook" | "chat"), what, name] => {
            let key = header("apikey");
            let call = evolution::Call { method, path: (folder, what), key, body };
            evolution(app, name, call)
        }
        ["automation", name] => automation(app, method, headers, name, body),
        ["whatsapp_business", "attachments"] => {
            let asked = |name: &str| query.get(name).unwrap_or_default().to_owned();
            let (id, ext, hash) = (asked("mid"), asked("ext"), asked("hash"));
            as_number(app, method, &id, header(AUTHORIZATION.as_str()), |number, scene| {
                number.download(scene, &id, &ext, &hash).into()
            })
        }
        [twilio::API_VERSION, "Accounts", path @ ..] => {
            twilio::http::answer(app, method, path, headers, body, &base)
        }
        ["twilio-files", path @ ..] => twilio::http::file(app, path),
        ["whatsapp", "1", path @ ..] => {
            let authorization = header(AUTHORIZATION.as_str());
            crate::infobip::http::serve(app, method, path, &query, authorization, body)
        }
        ["bsp", name, path @ ..] => crate::bsp::http::serve(app, method, name, path, headers, body),
        [version, rest @ ..] if is_version(version) => {
            let authorization = header(AUTHORIZATION.as_str());
            graph(app, method, rest, authorization, body, &base)
        }
        ["file", token, path @ ..] if token.starts_with("bot") => {
            as_bot(app, token, |bot, _| bot.download(&path.join("/")))
        }
        [token, name] if token.starts_with("bot") => {
            let kind = header(CONTENT_TYPE.as_str()).unwrap_or_default();
            match params(uri, kind, body) {
                Ok(params) => {
                    let answer = as_bot(app, token, |bot, scene| bot.call(scene, name, &params));
                    // The call may have set the webhook that updates waited for.
                    if let Some(id) = bot_of(token) {
                        app.pump(id);
                    }
                    answer
                }
                Err(answer) => answer,
            }
        }
        _ => GraphError::unknown_path(uri.path()).answer("Apath"),
    }
}

fn percent_decoded(path: &str) -> String {
    // The parser of query strings decodes a single value just as well; a plus stays a plus.
    let escaped = path.replace('+', "%2B").replace('=', "%3D").replace('&', "%26");
    url::form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map_or_else(String::new, |(path, _)| path.into_owned())
}

/// Whether a path begins with a version of the Graph API: `v26.0`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').and_then(|numbers| numbers.split_once('.')).is_some_and(
        |(major, minor)| {
            let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
            digits(major) && digits(minor)
        },
    )
}

/// Runs `act` on the number that owns `id`, if the token may use it.
fn as_number(
    app: &App,
    method: &Method,
    id: &str,
    authorization: Option<&str>,
    act: impl FnOnce(&mut whatsapp::Number, &mut crate::log::Scene<'_>) -> whatsapp::Outcome,
) -> Answer {
    let now_ms = app.clock.now_ms();
    let (answer, number, deliveries) = {
        let mut world = app.world();
        let world = &mut *world;
        match whatsapp::authorize(&mut world.numbers, method.as_str(), id, authorization) {
            Err(error) => {
                let fields = serde_json::json!({"status": error.status, "code": error.code,
                                                "detail": error.message});
                world.log.push(now_ms, "whatsapp", id, "send.refused", fields);
                return error.answer(&world.ids.fbtrace());
            }
            Ok(number) => {
                let mut scene =
                    crate::log::Scene { now_ms, ids: &mut world.ids, log: &mut world.log };
                let outcome = act(number, &mut scene);
                (outcome.answer, number.id().to_owned(), outcome.deliveries)
            }
        }
    };
    drop(app.deliver(&number, deliveries));
    answer
}

fn graph(
    app: &App,
    method: &Method,
    path: &[&str],
    authorization: Option<&str>,
    body: &Bytes,
    base: &str,
) -> Answer {
    match (method, path) {
        (&Method::POST, [id, "messages"]) => {
            as_number(app, method, id, authorization, |number, scene| {
                if number.id() == *id {
                    number.messages(scene, body)
                } else {
                    GraphError::no_object("POST", id).answer(&scene.ids.fbtrace()).into()
                }
            })
        }
        (&Method::POST, [id, "register"]) => {
            as_number(app, method, id, authorization, |number, scene| {
                number.register(scene, body).into()
            })
        }
        (&Method::GET, [id]) => as_number(app, method, id, authorization, |number, scene| {
            if number.id() == *id {
                number.describe().into()
            } else {
                number.media_info(scene, id, base).into()
            }
        }),
        _ => GraphError::unknown_path(&format!("/{}", path.join("/"))).answer("Apath"),
    }
}

/// Runs a call of the Evolution API.
fn evolution(app: &App, name: &str, call: evolution::Call<'_>) -> Answer {
    let now_ms = app.clock.now_ms();
    let outcome = {
        let mut world = app.world();
        let world = &mut *world;
        let mut scene = crate::log::Scene { now_ms, ids: &mut world.ids, log: &mut world.log };
        evolution::call(&mut world.instances, &mut scene, name, call)
    };
    drop(app.deliver_of_instance(name, outcome.deliveries));
    outcome.answer
}

fn bot_of(token: &str) -> Option<i64> {
    token.strip_prefix("bot")?.split_once(':')?.0.parse().ok()
}

/// Runs `act` on the bot whose token this is.
fn as_bot(
    app: &App,
    token: &str,
    act: impl FnOnce(&mut telegram::Bot, &mut crate::log::Scene<'_>) -> Answer,
) -> Answer {
    let token = token.strip_prefix("bot").unwrap_or(token);
    if !telegram::is_token(token) {
        return telegram::error(404, "Not Found");
    }
    let now_ms = app.clock.now_ms();
    let mut world = app.world();
    let id = world.bots.iter().find(|(_, bot)| bot.has_token(token)).map(|(id, _)| *id);
    let answer = id.and_then(|id| world.bot(now_ms, id, act));
    answer.unwrap_or_else(|| telegram::error(401, "Unauthorized"))
}

/// The parameters of a call: from the address, a form or JSON.
fn params(uri: &Uri, kind: &str, body: &Bytes) -> Result<telegram::Params, Answer> {
    let mut params = telegram::Params::new();
    let mut add = |bytes: &[u8]| {
        for (name, value) in url::form_urlencoded::parse(bytes).into_owned() {
            params.insert(name, Value::String(value));
        }
    };
    add(uri.query().unwrap_or_default().as_bytes());
    if kind.starts_with("application/x-www-form-urlencoded") {
        add(body);
    } else if kind.starts_with("application/json") && !body.is_empty() {
        let Ok(Value::Object(json)) = serde_json::from_slice(body) else {
            return Err(telegram::error(400, "Bad Request: can't parse request JSON object"));
        };
        params.extend(json);
    }
    Ok(params)
}

fn automation(app: &App, method: &Method, headers: &HeaderMap, name: &str, body: &Bytes) -> Answer {
    if *method != Method::POST {
        return Answer::json(405, serde_json::json!({"error": "POST only"}));
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let told = Headers {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
    };
    let received = app.world().automation(app.clock.now_ms(), name, |automation, scene| {
        automation.receive(scene, told, body)
    });
    let Some((answer, reply)) = received else {
        return Answer::json(404, serde_json::json!({"error": "no such automation"}));
    };
    if let Some(job) = reply {
        app.reply(name, job);
    }
    answer
}

/// A listener whose connections can be cut.
struct Cuttable(TcpListener);

/// Cuts the connection of a request: the caller gets no answer.
#[derive(Clone, Debug, Default)]
struct Scissors(Arc<AtomicBool>);

impl Scissors {
    fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A connection that can be cut.
struct Connection {
    stream: TcpStream,
    scissors: Scissors,
}

impl Connection {
    /// An error once the connection has been cut, so that the server closes it unanswered.
    fn whole(&self) -> io::Result<()> {
        if self.scissors.0.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl Listener for Cuttable {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok((stream, address)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "no delay could not be set");
                    }
                    return (Connection { stream, scissors: Scissors::default() }, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Cuttable>> for Scissors {
    fn connect_info(stream: IncomingStream<'_, Cuttable>) -> Self {
        stream.io().scissors.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.whole()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.whole()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_two_numbers() {
        assert!(is_version("v26.0") && is_version("v18.0"));
        for wrong in ["v26", "26.0", "v26.", "va.b", "_sim"] {
            assert!(!is_version(wrong), "{wrong}");
        }
    }

    #[test]
    fn paths_are_decoded() {
        assert_eq!(percent_decoded("/bot1%3Aa+b/getMe"), "/bot1:a+b/getMe");
    }

    #[test]
    fn parameters_come_from_the_address_a_form_or_json() {
        let uri: Uri = "/bot1:a/sendMessage?chat_id=1&text=a%20b".parse().unwrap();
        let found = params(&uri, "", &Bytes::new()).unwrap();
        assert_eq!(found["text"], "a b");
        let form = params(&uri, "application/x-www-form-urlencoded", &"text=c".into()).unwrap();
        assert_eq!((&form["text"], &form["chat_id"]), (&"c".into(), &"1".into()));
        let json = params(&uri, "application/json", &"{\"text\":\"d\"}".into()).unwrap();
        assert_eq!(json["text"], "d");
        assert!(params(&uri, "application/json", &"[".into()).is_err());
    }
}
