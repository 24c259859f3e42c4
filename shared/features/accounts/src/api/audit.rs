//! Audit log: the administrative changes of a tenant.

use domain::ports::{Clock, Rng};
use domain::tenant::Scope;
use domain::{AuditId, TenantId};
use http::StatusCode;
use jiff::Timestamp;
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, cursor, schema};
use runtime::{AwsEnv, Error, FeatureRepository, Kit};
use schemars::JsonSchema;
use serde::Serialize;

use crate::Repository;
use crate::model::audit::{Action, Actor, AuditFilter, AuditRecord, Change};
use crate::ports::AuditReader;

/// API resource and its dependencies.
#[derive(Debug)]
pub struct Audit {
    /// DynamoDB table.
    pub store: Repository,
}

/// Operations of the resource.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// List audit records.
    List,
}

/// A page of audit records.
#[derive(Debug, Serialize, JsonSchema)]
struct AuditPage {
    /// Audit records, newest first. A page may be empty although another one follows.
    records: Vec<AuditRecord>,
    /// Cursor of the next page; `null` on the last page.
    next: Option<String>,
}

/// Routes of the resource.
pub const ROUTES: &[Route<Operation>] = &[Route {
    operation: Operation::List,
    method: "GET",
    path: "/audit",
    summary: "List administrative changes, newest first",
    scope: Some(Scope::Admin),
    parameters: &[
        ("action", "query", "Only changes with this action, such as `api_key.created`."),
        ("actor", "query", "Only changes by this API key, or by the operator: `platform`."),
        ("from", "query", "Only changes made at this time or later (RFC 3339)."),
        ("to", "query", "Only changes made before this time (RFC 3339)."),
        ("limit", "query", "Number of items per page, 1 to 100. Default: 50."),
        ("cursor", "query", "The `next` value of the previous page."),
        ("tenant", "query", "Tenant to act for. Required with the platform key."),
    ],
    request: None,
    answer: (200, Some(schema::<AuditPage>)),
}];

impl Resource for Audit {
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        _: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::List => self.list(request).await,
        }
    }
}

impl Audit {
    async fn list(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Admin, None)?;
        let filter = filter(request)?;
        let (limit, from) = request.page()?;
        let page = self.store.audit_records(&tenant, &filter, limit, from.as_deref()).await?;
        let page = AuditPage { records: page.items, next: cursor(page.next) };
        ApiReply::json(StatusCode::OK, &page)
    }
}

/// Parses the filters of the query.
fn filter(request: &ApiRequest) -> Result<AuditFilter, Problem> {
    let action = request.query("action").map(|name| {
        Action::from_name(name).ok_or_else(|| {
            let names = Action::ALL.map(Action::as_str).join(", ");
            Problem::invalid("action", format!("must be one of {names}"))
        })
    });
    let actor = request.query("actor").map(|name| {
        name.parse::<Actor>().map_err(|_| {
            let detail = "must be the id of an API key, or `platform`".to_owned();
            Problem::invalid("actor", detail)
        })
    });
    let time = |name: &'static str| {
        let read = request.query(name).map(|text| {
            let detail = "must be an RFC 3339 time such as 2026-01-31T12:00:00Z".to_owned();
            text.parse::<Timestamp>().map_err(|_| Problem::invalid(name, detail))
        });
        read.transpose()
    };
    Ok(AuditFilter {
        action: action.transpose()?,
        actor: actor.transpose()?,
        from: time("from")?,
        to: time("to")?,
    })
}

/// Returns the audit record of a change that `request` makes to data of `tenant`.
///
/// # Errors
/// 401 or 403 if the request may make no administrative change.
pub fn record(
    request: &ApiRequest,
    (clock, rng): (&impl Clock, &impl Rng),
    tenant: &TenantId,
    change: Change,
) -> Result<AuditRecord, Problem> {
    let at = clock.now();
    Ok(AuditRecord {
        id: AuditId::new(at, rng.bits()),
        at,
        tenant: tenant.clone(),
        actor: request.principal(Scope::Admin)?.into(),
        source_ip: request.client.source_ip,
        request_id: request.client.request_id.clone(),
        change,
    })
}

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<E: AwsEnv>(kit: &Kit<E>) -> Result<Audit, Error> {
    Ok(Audit { store: kit.repository()? })
}

/// Serves the resource until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    crate::rate_limit::serve(resource, async |resource| resource.store.prewarm().await)
}
