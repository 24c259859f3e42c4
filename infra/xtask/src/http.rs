//! JSON over HTTP client for the hub and the simulator.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use ureq::{
    Agent,
    config::ConfigBuilder,
    tls::{RootCerts, TlsConfig},
    typestate::AgentScope,
};

use crate::error::{Error, Result};

/// Settings of every client.
fn configuration() -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(40)))
}

/// HTTP client of a JSON API.
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    key: Option<String>,
}

impl Client {
    /// A client for this machine.
    pub(crate) fn new(base: impl Into<String>, key: Option<String>) -> Self {
        // A configured HTTP proxy cannot reach this machine's loopback.
        let config = configuration().proxy(None).build();
        Self { agent: config.into(), base: base.into(), key }
    }

    /// A client for a deployed hub, by HTTPS.
    pub(crate) fn of_deployed(base: &str, key: String) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::WebPki)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = configuration().tls_config(tls).build();
        let base = base.trim_end_matches('/').to_owned();
        Self { agent: config.into(), base, key: Some(key) }
    }

    /// Whether a GET of `path` returns 200.
    pub(crate) fn is_up(&self, path: &str) -> bool {
        self.agent
            .get(format!("{}{path}", self.base))
            .call()
            .is_ok_and(|response| response.status() == 200)
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.send("GET", path, None)
            .and_then(|(status, answer)| self.accepted("GET", path, status, answer))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("POST", path, Some(body))
            .and_then(|(status, answer)| self.accepted("POST", path, status, answer))
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("PUT", path, Some(body))
            .and_then(|(status, answer)| self.accepted("PUT", path, status, answer))
    }

    /// Sends a request. Returns the status and body of any response.
    pub(crate) fn send(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        self.send_with(method, path, &[], body)
    }

    /// Sends a request with additional headers. Returns the status and body of any response.
    pub(crate) fn send_with(
        &self,
        method: &'static str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let url = format!("{}{path}", self.base);
        let failed = |detail: String| Error::Http { method, url: url.clone(), detail };
        let mut request = ureq::http::Request::builder().method(method).uri(&url);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if body.is_some() && headers.iter().all(|(name, _)| *name != "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(body).map_err(|error| failed(error.to_string()))?;
        let mut response = self.agent.run(request).map_err(|error| failed(error.to_string()))?;
        let text =
            response.body_mut().read_to_string().map_err(|error| failed(error.to_string()))?;
        Ok((response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Sends a webhook request unchanged to its own URL. Returns the response's status and text.
    pub(crate) fn deliver(
        &self,
        request: &domain::webhook::WebhookRequest,
    ) -> Result<(u16, String)> {
        let method = if request.method == ureq::http::Method::GET { "GET" } else { "POST" };
        let failed = |detail: String| Error::Http { method, url: request.url.clone(), detail };
        let mut call = ureq::http::Request::builder().method(&request.method).uri(&request.url);
        for (name, value) in &request.headers {
            call = call.header(name, value);
        }
        let call = call.body(request.body.as_ref()).map_err(|error| failed(error.to_string()))?;
        let mut response = self.agent.run(call).map_err(|error| failed(error.to_string()))?;
        let text =
            response.body_mut().read_to_string().map_err(|error| failed(error.to_string()))?;
        Ok((response.status().as_u16(), text))
    }

    fn accepted(
        &self,
        method: &'static str,
        path: &str,
        status: u16,
        answer: Value,
    ) -> Result<Value> {
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let url = format!("{}{path}", self.base);
        Err(Error::Http { method, url, detail: format!("{status} {answer}") })
    }
}
