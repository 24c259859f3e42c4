//! The HTTP server.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::answer::{Answer, Body};
use crate::connection::{ConnectionKiller, KillableListener};
use crate::control;
use crate::deliver::App;
use crate::providers::PROVIDERS;
use crate::request::{Request, decoded_path};

/// The largest request body.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// Serves the simulator.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, app: App) -> io::Result<()> {
    let router =
        Router::new().fallback(handle).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(app);
    let service = router.into_make_service_with_connect_info::<ConnectionKiller>();
    axum::serve(KillableListener(listener), service).await
}

async fn handle(
    State(app): State<App>,
    ConnectInfo(killer): ConnectInfo<ConnectionKiller>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = route(&app, &method, &uri, &headers, &body).await;
    match answer {
        Answer::HangUp { after_ms } => {
            sleep(Duration::from_millis(after_ms)).await;
            killer.kill();
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

/// Answers a request: a control call, or a request to one of the providers.
pub async fn route(
    app: &App,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Answer {
    let decoded = decoded_path(uri.path());
    let segments: Vec<&str> = decoded.split('/').filter(|part| !part.is_empty()).collect();
    let request = Request::new(method, uri, &segments, headers, body);
    if let ["_sim", path @ ..] = segments.as_slice() {
        return control::answer(app, &request, path).await;
    }
    let answer = PROVIDERS.iter().find_map(|provider| provider.answer(app, &request));
    answer.unwrap_or_else(|| Answer::json(404, json!({"error": "no such path"})))
}
