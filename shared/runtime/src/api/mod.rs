//! The HTTP API: routes, callers, answers and errors.
//!
//! A resource's routes are one table. It is what requests are matched against and what the
//! OpenAPI document is made from, so no route can be without its description.

pub mod authorizer;
pub mod conversations;
pub mod doors;
pub mod events;
mod giver;
pub mod inbound;
pub mod integrations;
pub mod messages;
pub mod openapi;
pub mod problem;
pub mod queue;
pub mod status;
pub mod tenants;
pub mod voice;
mod whatsapp_settings;

use bytes::Bytes;
use domain::TenantId;
use domain::tenant::{Caller, Scope};
use domain::webhook::LARGEST_BODY;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, Response, StatusCode};
use lambda_http::{Body, Request};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use problem::Problem;

use crate::gateway;
use crate::{Error, Kit};

/// A request to the API, after the authorizer.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// HTTP method.
    pub method: Method,
    /// The path as it was sent.
    pub path: String,
    /// Query parameters.
    pub query: Vec<(String, String)>,
    /// The header `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// The body.
    pub body: Bytes,
    /// Whose key it was. `None` on routes that need none.
    pub caller: Option<Caller>,
    /// Where the API is, without a trailing slash.
    pub base_url: String,
}

/// An answer of the API.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiReply {
    /// HTTP status.
    pub status: StatusCode,
    /// JSON, its fields in the order of their type.
    pub body: Option<String>,
    /// The header `Location`.
    pub location: Option<String>,
}

impl ApiReply {
    /// An answer with a body.
    ///
    /// # Errors
    /// Never for the API's own types.
    pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Result<Self, Problem> {
        let body = serde_json::to_string(body).map_err(|_| Problem::internal())?;
        Ok(Self { status, body: Some(body), location: None })
    }

    /// An answer that says only that it is done.
    #[must_use]
    pub const fn empty() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, location: None }
    }
}

/// Describes a type in the OpenAPI document.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The description of `T`.
pub fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub struct Route<O> {
    /// What it does.
    pub operation: O,
    /// HTTP method.
    pub method: &'static str,
    /// The path, with `{names}`.
    pub path: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// What a key must be good for; `None` for the platform's own.
    pub scope: Option<Scope>,
    /// Query parameters and headers: name, where, what.
    pub parameters: &'static [(&'static str, &'static str, &'static str)],
    /// The request's body.
    pub request: Option<SchemaOf>,
    /// The status and body of success.
    pub answer: (u16, Option<SchemaOf>),
}

/// What the path's `{names}` stood for.
#[derive(Debug, Default)]
pub struct Params<'a>(Vec<(&'static str, &'a str)>);

impl Params<'_> {
    /// The value of `name`, read as `T`.
    ///
    /// # Errors
    /// 404: what cannot be an id names nothing.
    pub fn get<T: std::str::FromStr>(&self, name: &str) -> Result<T, Problem> {
        let value = self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        value.and_then(|value| value.parse().ok()).ok_or_else(Problem::not_found)
    }
}

/// A resource of the API.
pub trait Resource: Send + Sync {
    /// Its operations.
    type Operation: Copy + Send + Sync + 'static;

    /// Its routes.
    const ROUTES: &'static [Route<Self::Operation>];

    /// Does one.
    fn call(
        &self,
        operation: Self::Operation,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> impl Future<Output = Result<ApiReply, Problem>> + Send;
}

/// Answers one request.
///
/// # Errors
/// The problem to answer with; 413 for a body larger than [`LARGEST_BODY`], before it is read.
pub async fn handle<R: Resource>(resource: &R, request: &ApiRequest) -> Result<ApiReply, Problem> {
    if request.body.len() > LARGEST_BODY {
        return Err(Problem::too_large());
    }
    let mut path_known = false;
    for route in R::ROUTES {
        let Some(params) = matches(route.path, &request.path) else { continue };
        path_known = true;
        if route.method == request.method.as_str() {
            return resource.call(route.operation, request, &params).await;
        }
    }
    Err(if path_known { Problem::wrong_method() } else { Problem::not_found() })
}

/// What the names of `pattern` stand for in `path`, if it fits.
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
    /// The first query parameter `name`.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The caller, if their key is good for `scope`.
    ///
    /// # Errors
    /// 401 without a key, 403 without the scope.
    pub fn caller(&self, scope: Scope) -> Result<&Caller, Problem> {
        let caller = self.caller.as_ref().ok_or_else(Problem::no_key)?;
        if caller.may(scope) { Ok(caller) } else { Err(Problem::missing_scope(scope)) }
    }

    /// The tenant to act for: the key's own; for the platform's key the one that is
    /// `named`, or given as `?tenant=`.
    ///
    /// # Errors
    /// As [`Self::caller`]; 404 if a tenant's key names another tenant; 422 if the
    /// platform's names none.
    pub fn tenant(&self, scope: Scope, named: Option<&TenantId>) -> Result<TenantId, Problem> {
        let caller = self.caller(scope)?;
        let asked = match (named, self.query("tenant")) {
            (Some(named), _) => Some(named.clone()),
            (None, Some(text)) => {
                Some(text.parse().map_err(|e| Problem::invalid("tenant", format!("{e}")))?)
            }
            (None, None) => None,
        };
        match asked {
            Some(asked) if caller.tenant.is_platform() || asked == caller.tenant => Ok(asked),
            // Whether that tenant exists is none of this caller's business.
            Some(_) => Err(Problem::not_found()),
            None if caller.tenant.is_platform() => Err(Problem::invalid(
                "tenant",
                "the platform's key acts for any tenant: say which, as ?tenant=".to_owned(),
            )),
            None => Ok(caller.tenant.clone()),
        }
    }

    /// The caller, if their key is the platform's own admin key.
    ///
    /// # Errors
    /// 401, or 403.
    pub fn platform(&self) -> Result<&Caller, Problem> {
        let caller = self.caller(Scope::Admin)?;
        if caller.tenant.is_platform() { Ok(caller) } else { Err(Problem::platform_only()) }
    }

    /// The body, read as `T`.
    ///
    /// # Errors
    /// 400 if it is not JSON, 422 naming the field if it is not a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        read(&self.body)
    }

    /// How many items of a list are wanted, and from where.
    ///
    /// # Errors
    /// 422
    pub fn page(&self) -> Result<(u32, Option<String>), Problem> {
        let limit = match self.query("limit") {
            None => 50,
            Some(text) => match text.parse() {
                Ok(limit @ 1..=100) => limit,
                _ => return Err(Problem::invalid("limit", "a number from 1 to 100".to_owned())),
            },
        };
        let cursor = match self.query("cursor") {
            None | Some("") => None,
            Some(text) => Some(
                hex::decode(text)
                    .ok()
                    .filter(|bytes| bytes.len() <= 200)
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .ok_or_else(|| Problem::invalid("cursor", "the `next` of a page".to_owned()))?,
            ),
        };
        Ok((limit, cursor))
    }
}

/// Reads JSON as `T`, and names the field that does not fit.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // First as JSON at all: a broken document has no field at fault.
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        return Err(Problem::not_json(&error));
    }
    let mut parser = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut parser).map_err(|error| {
        let flaw = providers::entry::explain(&error);
        Problem::invalid(&flaw.field, flaw.reason)
    })
}

/// The place after the last item of a page, as callers see it.
fn cursor(place: Option<String>) -> Option<String> {
    place.map(hex::encode)
}

/// Whether tenants are believed as the operator is: on the operator's own machine they are.
fn trust_tenants<N, C, R>(kit: &Kit<N, C, R>) -> bool {
    kit.environment.optional("TRUST_TENANTS").is_some()
}

/// Serves a resource until Lambda ends the process.
async fn serve<R: Resource>(kit: &Kit, resource: R) -> Result<(), Error> {
    let configured = kit.environment.optional("PUBLIC_BASE_URL");
    let (resource, configured) = (&resource, &configured);
    gateway::serve(move |request| answer(resource, configured.as_deref(), request)).await
}

/// Answers one request of API Gateway's. `base_url` is where callers reach the API, if that is
/// not the address they called.
pub async fn answer<R: Resource>(
    resource: &R,
    base_url: Option<&str>,
    request: Request,
) -> Response<Body> {
    let request = api_request(request, base_url);
    let reply = handle(resource, &request).await;
    if let Err(problem) = &reply
        && problem.status.is_server_error()
    {
        tracing::error!(code = %problem.code, detail = %problem.detail, "request failed");
    }
    response(reply)
}

fn api_request(request: Request, configured: Option<&str>) -> ApiRequest {
    let origin = gateway::origin(&request);
    let caller = origin.tenant.and_then(|tenant| tenant.parse().ok()).map(|tenant| Caller {
        tenant,
        scopes: origin
            .scopes
            .iter()
            .flat_map(|s| s.split(','))
            .filter_map(Scope::from_name)
            .collect(),
    });
    let base_url = match (configured, origin.domain_name) {
        (Some(configured), _) => configured.trim_end_matches('/').to_owned(),
        (None, Some(domain)) => format!("https://{domain}"),
        (None, None) => String::new(),
    };
    let query = gateway::query(&request);
    let (head, body) = request.into_parts();
    // Whatever it is written in, it is a key: one that is passed over would send twice.
    let key = head.headers.get("idempotency-key");
    let key = key.map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
    ApiRequest {
        method: head.method,
        path: head.uri.path().to_owned(),
        query,
        idempotency_key: key,
        body: gateway::bytes(body),
        caller,
        base_url,
    }
}

fn response(reply: Result<ApiReply, Problem>) -> Response<Body> {
    let retry = reply.as_ref().is_err_and(|problem| {
        problem.status == StatusCode::SERVICE_UNAVAILABLE || problem.code == "media_pending"
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
    if retry {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[test]
    fn a_path_fits_its_pattern_segment_by_segment() {
        let params = matches("/a/{x}/b", "/a/1/b").unwrap();
        assert_eq!(params.get::<u8>("x").unwrap(), 1);
        assert!(params.get::<u8>("y").is_err());
        assert!(matches("/a/{x}", "/a/1/b").is_none());
        assert!(matches("/a/{x}/b", "/a/1").is_none());
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only reading is tested")]
    struct Outer {
        inner: Inner,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only reading is tested")]
    struct Inner {
        count: u8,
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_field_and_its_value_is_not_quoted() {
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
