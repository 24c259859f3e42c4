//! OpenAPI document of the API, generated from the route tables.

use http::StatusCode;
use lambda_http::Body;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::problem::ProblemDetails;
use super::{ApiReply, Route, response, schema};
use crate::{Error, gateway};

/// A resource of the document: adds its paths.
#[derive(Clone, Copy, Debug)]
pub struct Described<O: 'static> {
    tag: &'static str,
    routes: &'static [Route<O>],
}

/// Adds the paths of a resource to the document.
pub trait Describe {
    /// Adds the paths.
    fn describe(&self, paths: &mut Map<String, Value>, generator: &mut SchemaGenerator);
}

impl<O> Describe for Described<O> {
    fn describe(&self, paths: &mut Map<String, Value>, generator: &mut SchemaGenerator) {
        describe(paths, generator, self.tag, self.routes);
    }
}

/// Returns the description of a resource's routes under `tag`.
#[must_use]
pub const fn resource<O>(tag: &'static str, routes: &'static [Route<O>]) -> Described<O> {
    Described { tag, routes }
}

/// Returns the OpenAPI 3.1 document of these resources.
///
/// <https://spec.openapis.org/oas/v3.1.0>
#[must_use]
pub fn document(resources: &[&dyn Describe]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for resource in resources {
        resource.describe(&mut paths, &mut generator);
    }
    describe(&mut paths, &mut generator, "openapi", ROUTES);
    let problem = schema::<ProblemDetails<'static>>(&mut generator);
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Switchboard",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A hub for customer messaging. The hub returns errors as problem \
                details (RFC 9457). Requests that API Gateway itself rejects (401, 403, an \
                unknown path, a body above 10 MB) return `{message}`. A body above 4.4 MB \
                returns 413 with the code `too_large`, and a request beyond the limits of its key \
                or tenant 429 with the code `rate_limited` and `Retry-After`. The headers \
                `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` show the limits. \
                The response header `traceparent` (W3C Trace Context) has the id by which the \
                operator finds the request, and all that follows from it, in the logs; a request \
                with this header continues its trace.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "key": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
            "responses": {
                "Problem": {
                    "description": "Error: what happened, to what, and what to do",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
            "schemas": schemas,
        },
    })
}

/// Operations of the resource. They need no key.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Get the document.
    Get,
}

/// Routes of the resource.
pub(crate) const ROUTES: &[Route<Operation>] = &[Route {
    operation: Operation::Get,
    method: "GET",
    path: "/openapi.json",
    summary: "Get the OpenAPI document",
    scope: None,
    parameters: &[],
    request: None,
    answer: (200, None),
}];

/// Adds the routes of one resource.
fn describe<O>(
    paths: &mut Map<String, Value>,
    generator: &mut SchemaGenerator,
    tag: &str,
    routes: &[Route<O>],
) {
    for route in routes {
        let mut answer = Map::from_iter([("description".to_owned(), json!("Success"))]);
        if let Some(of) = route.answer.1 {
            answer.insert("content".to_owned(), content(&of(generator)));
        }
        let mut operation = Map::new();
        let mut set = |name: &str, value: Value| operation.insert(name.to_owned(), value);
        set("tags", json!([tag]));
        set("summary", json!(route.summary));
        set("operationId", json!(operation_id(route.method, route.path)));
        set("parameters", parameters(route.path, route.parameters));
        let status = route.answer.0.to_string();
        let problem = json!({ "$ref": "#/components/responses/Problem" });
        set("responses", json!({ status: answer, "default": problem }));
        match route.scope {
            Some(scope) => set(
                "description",
                json!(format!("Requires a key with the scope `{}`.", scope.as_str())),
            ),
            None if matches!(tag, "openapi" | "status") => set("security", json!([])),
            None => set("description", json!("Requires the platform admin key.")),
        };
        if let Some(of) = route.request {
            set("requestBody", json!({ "required": true, "content": content(&of(generator)) }));
        }
        let methods = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(route.method.to_ascii_lowercase(), operation.into());
        }
    }
}

fn content(schema: &Schema) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn parameters(path: &str, more: &[(&str, &str, &str)]) -> Value {
    let in_path = path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        Some(
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
        )
    });
    let more = more.iter().map(|(name, place, description)| {
        json!({
            "name": name, "in": place, "description": description,
            "schema": { "type": "string" },
        })
    });
    in_path.chain(more).collect()
}

fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(['/', '.']).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.map(|word| word.trim_matches(['{', '}'])).collect();
    format!("{}_{}", method.to_ascii_lowercase(), words.join("_"))
}

/// Serves the document until Lambda stops the process.
///
/// # Errors
/// If the Lambda runtime cannot be reached.
pub fn run(document: fn() -> Value) -> Result<(), Error> {
    crate::start_bare(async move || {
        let document = document().to_string();
        let document = &document;
        gateway::serve(move |_request| async move { answer(document.clone()) }).await
    })
}

/// Returns the document as a response.
#[must_use]
pub fn answer(document: String) -> lambda_http::Response<Body> {
    response(Ok(ApiReply { status: StatusCode::OK, body: Some(document), location: None }))
}
