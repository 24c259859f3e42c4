//! The HTTP API: routes, authenticated principals, responses and errors.
//!
//! Each resource has one route table. Requests are matched against it and the OpenAPI document
//! is generated from it, so every route is documented.

mod limit;
pub mod openapi;
pub mod problem;
mod restrictions;

use std::net::IpAddr;
use std::pin::pin;

use bytes::Bytes;
use domain::TenantId;
use domain::tenant::{Principal, Scope};
use domain::trace::{self, TRACEPARENT};
use domain::webhook::MAX_BODY_BYTES;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, Response, StatusCode};
use lambda_http::{Body, Request, RequestExt};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use limit::{Permit, RateLimit, RateLimiter, RequestClass, Unlimited};
pub use problem::Problem;

use crate::telemetry::{self, Metric};
use crate::{Error, Kit};
use crate::{gateway, span};

/// A request to the API, after the authorizer.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// HTTP method.
    pub method: Method,
    /// Request path, as sent.
    pub path: String,
    /// Query parameters.
    pub query: Vec<(String, String)>,
    /// `Idempotency-Key` header.
    pub idempotency_key: Option<String>,
    /// Request body.
    pub body: Bytes,
    /// Principal authenticated by the API key. `None` on routes that need no key.
    pub principal: Option<Principal>,
    /// Base URL of the API, without a trailing slash.
    pub base_url: String,
    /// Client that sent the request.
    pub client: Client,
}

/// Client that sent a request, as API Gateway saw it.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Client's IP address.
    pub source_ip: Option<IpAddr>,
    /// API Gateway's id of the request, which the access log also has.
    pub request_id: Option<String>,
}

/// An API response.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiReply {
    /// HTTP status.
    pub status: StatusCode,
    /// JSON body, with the fields in the order of the Rust type.
    pub body: Option<String>,
    /// `Location` header.
    pub location: Option<String>,
}

impl ApiReply {
    /// Returns a response with a JSON body.
    ///
    /// # Errors
    /// Never for the API's own types.
    pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Result<Self, Problem> {
        let body = serde_json::to_string(body).map_err(|_| Problem::internal())?;
        Ok(Self { status, body: Some(body), location: None })
    }

    /// Returns 204 No Content.
    #[must_use]
    pub const fn empty() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, location: None }
    }
}

/// Function that returns the schema of a type for the OpenAPI document.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Returns the schema of `T`.
pub fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route<O> {
    /// Operation to call.
    pub operation: O,
    /// HTTP method.
    pub method: &'static str,
    /// Path pattern, with `{name}` placeholders.
    pub path: &'static str,
    /// One-line summary.
    pub summary: &'static str,
    /// Scope that the key must have; `None` for routes that require the platform admin key or no
    /// key.
    pub scope: Option<Scope>,
    /// Query parameters and headers: name, location, description.
    pub parameters: &'static [(&'static str, &'static str, &'static str)],
    /// Schema of the request body.
    pub request: Option<SchemaOf>,
    /// Status and body schema of a successful response.
    pub answer: (u16, Option<SchemaOf>),
}

/// Path parameters: the values of the pattern's placeholders.
#[derive(Debug, Default)]
pub struct Params<'a>(Vec<(&'static str, &'a str)>);

impl Params<'_> {
    /// Returns the parameter `name`, parsed as `T`.
    ///
    /// # Errors
    /// 404 if the value is not a valid `T`: no resource has such an id.
    pub fn get<T: std::str::FromStr>(&self, name: &str) -> Result<T, Problem> {
        let value = self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        value.and_then(|value| value.parse().ok()).ok_or_else(Problem::not_found)
    }
}

/// An API resource.
pub trait Resource: Send + Sync {
    /// Operations of the resource.
    type Operation: Copy + Send + Sync + 'static;

    /// Routes of the resource.
    const ROUTES: &'static [Route<Self::Operation>];

    /// Performs an operation.
    fn call(
        &self,
        operation: Self::Operation,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> impl Future<Output = Result<ApiReply, Problem>> + Send;
}

/// Handles one request.
///
/// # Errors
/// The problem to respond with; 413 if the body is larger than [`MAX_BODY_BYTES`], before it is
/// parsed.
pub async fn handle<R: Resource>(resource: &R, request: &ApiRequest) -> Result<ApiReply, Problem> {
    if request.body.len() > MAX_BODY_BYTES {
        return Err(Problem::too_large());
    }
    let (route, params) = find::<R>(request)?;
    resource.call(route.operation, request, &params).await
}

/// Route of a resource.
type RouteOf<R> = Route<<R as Resource>::Operation>;

/// Returns the route of a request and the values of its placeholders.
///
/// # Errors
/// 404 if no route has the path, 405 if none has the method.
fn find<R: Resource>(request: &ApiRequest) -> Result<(&'static RouteOf<R>, Params<'_>), Problem> {
    let mut path_known = false;
    for route in R::ROUTES {
        let Some(params) = matches(route.path, &request.path) else { continue };
        path_known = true;
        if route.method == request.method.as_str() {
            return Ok((route, params));
        }
    }
    Err(if path_known { Problem::wrong_method() } else { Problem::not_found() })
}

/// Returns the path parameters if `path` matches `pattern`.
fn matches<'a>(pattern: &'static str, path: &'a str) -> Option<Params<'a>> {
    let mut params = Params::default();
    let mut given = path.split('/');
    for wanted in pattern.split('/') {
        let given = given.next()?;
        match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => params.0.push((name, given)),
            None if wanted == given => {}
            None => return None,
        }
    }
    given.next().is_none().then_some(params)
}

impl ApiRequest {
    /// Returns the first query parameter `name`.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the principal if its key has `scope`.
    ///
    /// # Errors
    /// 401 without a key, 403 without the scope.
    pub fn principal(&self, scope: Scope) -> Result<&Principal, Problem> {
        let principal = self.principal.as_ref().ok_or_else(Problem::no_key)?;
        if principal.may(scope) { Ok(principal) } else { Err(Problem::missing_scope(scope)) }
    }

    /// Returns the tenant to act for: the tenant of the key or, with the platform key, the tenant
    /// in `named` or in `?tenant=`.
    ///
    /// # Errors
    /// As [`Self::principal`]; 404 if a tenant's key names another tenant; 422 if a request with the
    /// platform key names no tenant.
    pub fn tenant(&self, scope: Scope, named: Option<&TenantId>) -> Result<TenantId, Problem> {
        let principal = self.principal(scope)?;
        let tenant = match (named, self.query("tenant")) {
            (Some(named), _) => Some(named.clone()),
            (None, Some(text)) => {
                Some(text.parse().map_err(|e| Problem::invalid("tenant", format!("{e}")))?)
            }
            (None, None) => None,
        };
        match tenant {
            Some(tenant) if principal.tenant.is_platform() || tenant == principal.tenant => {
                Ok(tenant)
            }
            // 404, so that a tenant's key cannot find out which other tenants exist.
            Some(_) => Err(Problem::not_found()),
            None if principal.tenant.is_platform() => Err(Problem::invalid(
                "tenant",
                "the platform key acts for any tenant: name the tenant with ?tenant=".to_owned(),
            )),
            None => Ok(principal.tenant.clone()),
        }
    }

    /// Returns the principal if its key is the platform admin key.
    ///
    /// # Errors
    /// 401 without a key, 403 with any other key.
    pub fn platform(&self) -> Result<&Principal, Problem> {
        let principal = self.principal(Scope::Admin)?;
        if principal.tenant.is_platform() { Ok(principal) } else { Err(Problem::platform_only()) }
    }

    /// Parses the body as `T`.
    ///
    /// # Errors
    /// 400 if the body is not JSON; 422 with the field if it is not a valid `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        read(&self.body)
    }

    /// Returns the page size and the cursor of a list request.
    ///
    /// # Errors
    /// 422 if `limit` or `cursor` is invalid.
    pub fn page(&self) -> Result<(u32, Option<String>), Problem> {
        let limit = match self.query("limit") {
            None => 50,
            Some(text) => match text.parse() {
                Ok(limit @ 1..=100) => limit,
                _ => {
                    return Err(Problem::invalid(
                        "limit",
                        "must be a number from 1 to 100".to_owned(),
                    ));
                }
            },
        };
        let cursor = match self.query("cursor") {
            None | Some("") => None,
            Some(text) => Some(
                hex::decode(text)
                    .ok()
                    .filter(|bytes| bytes.len() <= 200)
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .ok_or_else(|| {
                        Problem::invalid("cursor", "must be the `next` value of a page".to_owned())
                    })?,
            ),
        };
        Ok((limit, cursor))
    }
}

/// Parses JSON as `T`; the error names the invalid field.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // Check the JSON syntax first: a syntax error belongs to no field.
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        return Err(Problem::not_json(&error));
    }
    let mut parser = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut parser).map_err(|error| {
        let field_error = providers::spec::explain(&error);
        Problem::invalid(&field_error.field, field_error.reason)
    })
}

/// Encodes the position after the last item of a page as an opaque cursor.
#[must_use]
pub fn cursor(position: Option<String>) -> Option<String> {
    position.map(hex::encode)
}

/// Builds a resource without rate limits, opens its connections with `prewarm`, and serves it until
/// Lambda stops the process.
///
/// # Errors
/// If the resource cannot be built or the Lambda runtime cannot be reached.
pub fn run<R: Resource + 'static>(
    build: impl FnOnce(&Kit) -> Result<R, Error> + 'static,
    prewarm: impl AsyncFnOnce(&R) + 'static,
) -> Result<(), Error> {
    run_limited(build, |_kit| Ok(Unlimited), prewarm)
}

/// As [`run`], with a rate limiter.
///
/// # Errors
/// If the resource or the limiter cannot be built, or the Lambda runtime cannot be reached.
pub fn run_limited<R: Resource + 'static, L: RateLimiter + 'static>(
    build: impl FnOnce(&Kit) -> Result<R, Error> + 'static,
    limiter: impl FnOnce(&Kit) -> Result<L, Error> + 'static,
    prewarm: impl AsyncFnOnce(&R) + 'static,
) -> Result<(), Error> {
    crate::start(async move |kit| {
        let (resource, limiter) = (build(&kit)?, limiter(&kit)?);
        prewarm(&resource).await;
        let configured = kit.environment.optional("PUBLIC_BASE_URL");
        let (resource, limiter, configured) = (&resource, &limiter, &configured);
        gateway::serve(move |request| answer(resource, limiter, configured.as_deref(), request))
            .await
    })
}

/// Handles one request from API Gateway, if `limiter` permits it. `base_url` is the public URL of
/// the API, if it differs from the host of the request.
///
/// A client with an API key may choose the trace with a `traceparent` header; the response has the
/// trace in the same header.
pub async fn answer<R: Resource, L: RateLimiter>(
    resource: &R,
    limiter: &L,
    base_url: Option<&str>,
    request: Request,
) -> Response<Body> {
    let origin = gateway::origin(&request);
    let context = span::of_request(&request, origin.tenant.is_some());
    let answered = pin!(answer_permitted(resource, limiter, base_url, request, origin));
    let mut response = trace::scope(context, answered).await;
    if let Ok(value) = HeaderValue::try_from(context.to_string()) {
        response.headers_mut().insert(TRACEPARENT, value);
    }
    response
}

async fn answer_permitted<R: Resource, L: RateLimiter>(
    resource: &R,
    limiter: &L,
    base_url: Option<&str>,
    request: Request,
    origin: gateway::Origin,
) -> Response<Body> {
    let (permit, reply) = if let Err(problem) = restrictions::check(&origin) {
        (Permit::Unlimited, Err(problem))
    } else {
        let request = api_request(request, origin, base_url);
        let permit = permit::<R, L>(limiter, &request).await;
        let reply = match permit.refusal() {
            Some(problem) => {
                telemetry::count(Metric::RateLimited, "api", 1);
                Err(problem)
            }
            None => handle(resource, &request).await,
        };
        (permit, reply)
    };
    if let Err(problem) = &reply
        && problem.status.is_server_error()
    {
        tracing::error!(code = %problem.code, detail = %problem.detail, "request failed");
    }
    let mut response = response(reply);
    permit.add_headers(response.headers_mut());
    response
}

/// Takes a permit for a request. The operator's keys, and requests without a route, have no limit.
async fn permit<R: Resource, L: RateLimiter>(limiter: &L, request: &ApiRequest) -> Permit {
    let principal = request.principal.as_ref().filter(|one| !one.tenant.is_platform());
    let counted = principal.and_then(|principal| Some((&principal.tenant, principal.key?)));
    match (counted, find::<R>(request)) {
        (Some((tenant, key)), Ok((route, _))) => {
            let class = RequestClass::of(route.method, route.scope);
            limiter.take(tenant, key, class).await
        }
        _ => Permit::Unlimited,
    }
}

fn api_request(request: Request, origin: gateway::Origin, configured: Option<&str>) -> ApiRequest {
    let principal = origin.tenant.and_then(|tenant| tenant.parse().ok()).map(|tenant| Principal {
        tenant,
        scopes: origin
            .scopes
            .iter()
            .flat_map(|s| s.split(','))
            .filter_map(Scope::from_name)
            .collect(),
        key: origin.key.and_then(|key| key.parse().ok()),
    });
    let base_url = match (configured, origin.domain_name) {
        (Some(configured), _) => configured.trim_end_matches('/').to_owned(),
        (None, Some(domain)) => format!("https://{domain}"),
        (None, None) => String::new(),
    };
    let query = gateway::query(&request);
    // The raw path: the URI would end at a `?` or `#` that was encoded in the path.
    let path = request.raw_http_path().to_owned();
    let (head, body) = request.into_parts();
    // Accept a key that is not valid UTF-8: ignoring it could send a message twice.
    let key = head.headers.get("idempotency-key");
    let key = key.map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
    ApiRequest {
        method: head.method,
        path,
        query,
        idempotency_key: key,
        body: gateway::bytes(body),
        principal,
        base_url,
        client: Client { source_ip: origin.source_ip, request_id: origin.request_id },
    }
}

fn response(reply: Result<ApiReply, Problem>) -> Response<Body> {
    let retry_after = reply.as_ref().err().and_then(|problem| {
        let is_short =
            problem.status == StatusCode::SERVICE_UNAVAILABLE || problem.code == "media_pending";
        problem.retry_after.or(is_short.then_some(2))
    });
    let (status, body, kind, location) = match reply {
        Ok(reply) => (reply.status, reply.body, "application/json", reply.location),
        Err(problem) => (problem.status, problem.body(), "application/problem+json", None),
    };
    let mut response = Response::new(body.map_or(Body::Empty, Body::Text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(location) = location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        headers.insert(LOCATION, location);
    }
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[test]
    fn an_encoded_question_mark_or_hash_does_not_end_the_path() {
        for id in ["x?", "x#", "x%3F"] {
            let path = format!("/tenants/{id}/keys");
            let event = serde_json::json!({
                "version": "2.0", "routeKey": "GET /tenants/{tenant}/keys", "rawPath": path,
                "rawQueryString": "limit=5", "headers": {}, "isBase64Encoded": false,
                "requestContext": {
                    "accountId": "1", "apiId": "a", "domainName": "h", "domainPrefix": "h",
                    "http": {
                        "method": "GET", "path": path, "protocol": "HTTP/1.1",
                        "sourceIp": "192.0.2.1", "userAgent": "test",
                    },
                    "requestId": "r", "routeKey": "GET /tenants/{tenant}/keys",
                    "stage": "$default", "time": "12/Mar/2026:19:03:58 +0000",
                    "timeEpoch": 1_773_342_238_000_i64,
                },
            });
            let request = lambda_http::request::from_str(&event.to_string()).unwrap();
            let origin = gateway::origin(&request);
            let request = api_request(request, origin, None);
            assert_eq!(request.path, path);
            assert!(matches("/tenants/{tenant}", &request.path).is_none());
        }
    }

    #[test]
    fn a_path_matches_its_pattern_segment_by_segment() {
        let params = matches("/a/{x}/b", "/a/1/b").unwrap();
        assert_eq!(params.get::<u8>("x").unwrap(), 1);
        assert!(params.get::<u8>("y").is_err());
        assert!(matches("/a/{x}", "/a/1/b").is_none());
        assert!(matches("/a/{x}/b", "/a/1").is_none());
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsing is tested")]
    struct Outer {
        inner: Inner,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsing is tested")]
    struct Inner {
        count: u8,
    }

    #[test]
    fn an_invalid_field_is_named_and_its_value_is_not_quoted() {
        let field = |body: &str| {
            let problem = read::<Outer>(body.as_bytes()).unwrap_err();
            assert!(!problem.detail.contains("secret"), "{}", problem.detail);
            (problem.status.as_u16(), problem.field.unwrap_or_default())
        };
        assert_eq!(field("{"), (400, String::new()));
        assert_eq!(field("{}"), (422, "inner".into()));
        assert_eq!(field(r#"{"inner":{}}"#), (422, "inner.count".into()));
        assert_eq!(field(r#"{"inner":{"count":"secret"}}"#), (422, "inner.count".into()));
        assert_eq!(field(r#"{"inner":{"count":1,"x":1}}"#), (422, "inner.x".into()));
    }
}
