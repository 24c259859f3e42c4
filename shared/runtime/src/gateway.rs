//! Conversion of API Gateway requests and responses.

use std::net::IpAddr;

use bytes::Bytes;
use domain::webhook::{WebhookReply, WebhookRequest};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use jiff::Timestamp;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, service_fn};

use crate::Error;

/// Serves requests until Lambda stops the process.
pub(crate) async fn serve<H, F>(handler: H) -> Result<(), Error>
where
    H: Fn(Request) -> F + Sync,
    F: Future<Output = Response<Body>> + Send,
{
    let handler = &handler;
    let service = service_fn(move |request: Request| {
        // On the heap: otherwise each layer would move the future's many kilobytes.
        let answer = Box::pin(handler(request));
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    lambda_http::run(service).await
}

/// Returns the body as received. API Gateway encodes binary bodies; `lambda_http` has decoded
/// them.
pub(crate) fn bytes(body: Body) -> Bytes {
    match body {
        Body::Text(text) => Bytes::from(text),
        Body::Binary(bytes) => Bytes::from(bytes),
        _ => Bytes::new(),
    }
}

/// Returns the query parameters, decoded, in order.
pub(crate) fn query(request: &Request) -> Vec<(String, String)> {
    let query = request.uri().query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

pub(crate) fn webhook_request(request: Request, base_url: Option<&str>) -> WebhookRequest {
    let query = query(&request);
    let url = url(&request, base_url);
    let parameters = request.path_parameters();
    let path_suffix = ["integration", "secret"].into_iter().find_map(|name| parameters.first(name));
    let path_suffix = path_suffix.map(ToOwned::to_owned);
    let (head, body) = request.into_parts();
    WebhookRequest {
        method: head.method,
        query,
        headers: head.headers,
        body: bytes(body),
        path_suffix,
        url,
        signing_certificate: None,
    }
}

/// Returns the URL as the client requested it. API Gateway reports the host; `base_url` replaces it
/// if there is a proxy in front.
fn url(request: &Request, base_url: Option<&str>) -> String {
    let mut url = match (base_url, request.request_context_ref()) {
        (Some(base_url), _) => base_url.trim_end_matches('/').to_owned(),
        (None, Some(RequestContext::ApiGatewayV2(context))) => {
            format!("https://{}", context.domain_name.as_deref().unwrap_or_default())
        }
        _ => String::new(),
    };
    url.push_str(request.raw_http_path());
    if let Some(query) = request.uri().query() {
        url.push('?');
        url.push_str(query);
    }
    url
}

pub(crate) fn webhook_reply(reply: WebhookReply) -> Response<Body> {
    let mut response =
        Response::new(if reply.body.is_empty() { Body::Empty } else { Body::Text(reply.body) });
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    if reply.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// Authorizer context, host and client of a request.
#[derive(Default)]
pub(crate) struct Origin {
    pub(crate) tenant: Option<String>,
    pub(crate) scopes: Option<String>,
    /// Id of the API key.
    pub(crate) key: Option<String>,
    /// When the API key expires.
    pub(crate) expires_at: Option<String>,
    /// Addresses that the API key may be used from, separated by commas.
    pub(crate) allowed_ips: Option<String>,
    pub(crate) domain_name: Option<String>,
    /// Address of the client.
    pub(crate) source_ip: Option<IpAddr>,
    /// API Gateway's id of the request.
    pub(crate) request_id: Option<String>,
    /// When API Gateway received the request.
    pub(crate) received_at: Option<Timestamp>,
}

pub(crate) fn origin(request: &Request) -> Origin {
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return Origin::default();
    };
    let field = |name: &str| {
        let value = context.authorizer.as_ref()?.fields.get(name)?;
        value.as_str().map(ToOwned::to_owned)
    };
    Origin {
        tenant: field("tenant"),
        scopes: field("scopes"),
        key: field("key"),
        expires_at: field("expires_at"),
        allowed_ips: field("allowed_ips"),
        domain_name: context.domain_name.clone(),
        source_ip: context.http.source_ip.as_deref().and_then(|address| address.parse().ok()),
        request_id: context.request_id.clone(),
        received_at: Some(context.time_epoch)
            .filter(|epoch| *epoch > 0)
            .and_then(|epoch| Timestamp::from_millisecond(epoch).ok()),
    }
}
