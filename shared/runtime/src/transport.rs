//! HTTP clients for AWS, for providers and for webhooks. No other module creates clients.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use domain::ports::Resolver;
use domain::sender::SendError;
use http::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::Url;

use crate::address::{self, HostNetwork, is_public};
use crate::{Error, env};

/// Timeout of a request to a provider.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Connect timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Idle timeout of pooled connections. A thawed sandbox has dead connections, and a POST that
/// fails on one cannot be distinguished from a POST that was received: idle connections are
/// closed before the server closes them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of a media download.
const FILE_TIMEOUT: Duration = Duration::from_secs(25);
/// Maximum size of a response: those of providers are small.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;
/// Maximum size of a media download. WhatsApp allows documents of 100 MB and other media of
/// 16 MB; the function has 512 MB of memory.
const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

/// `User-Agent` header of the hub. Meta accepts only a name and a version of three numbers, as its
/// OpenAPI document says:
/// <https://github.com/facebook/openapi>
pub const USER_AGENT: &str = concat!("switchboard/", env!("CARGO_PKG_VERSION"));

/// HTTP client for providers.
#[derive(Clone, Debug)]
pub struct Transport {
    client: reqwest::Client,
    timeout: Duration,
    max_bytes: usize,
}

/// HTTP client for webhooks, whose URLs tenants choose.
#[derive(Clone, Debug)]
pub struct GuardedHttpClient {
    public: reqwest::Client,
    any: reqwest::Client,
    allow_http: bool,
}

/// Returns the public root certificates and those in the file that `AWS_CA_BUNDLE` names, as for
/// every AWS tool. This adds no risk: `AWS_ENDPOINT_URL` in a function's environment could already
/// redirect its requests.
fn roots() -> Result<rustls::RootCertStore, Error> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = env::optional("AWS_CA_BUNDLE") {
        for certificate in CertificateDer::pem_file_iter(file)? {
            roots.add(certificate?)?;
        }
    }
    Ok(roots)
}

/// Returns the TLS configuration, shared by all clients of a function.
pub(crate) fn tls() -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots()?)
        .with_no_client_auth())
}

fn builder(tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_nodelay(true)
        // Providers do not redirect, and a redirect of a tenant's endpoint could lead into the
        // private network.
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .http1_only()
        .user_agent(USER_AGENT)
}

impl Transport {
    /// Creates the client, once per process.
    ///
    /// # Errors
    /// If the TLS library rejects its own defaults.
    pub fn new() -> Result<Self, Error> {
        Self::over(tls()?)
    }

    pub(crate) fn over(tls: rustls::ClientConfig) -> Result<Self, Error> {
        Ok(Self { client: builder(tls).build()?, timeout: TIMEOUT, max_bytes: MAX_RESPONSE_BYTES })
    }

    /// Returns the client with the limits for media downloads.
    #[must_use]
    pub fn for_files(self) -> Self {
        Self { timeout: FILE_TIMEOUT, max_bytes: MAX_FILE_BYTES, ..self }
    }

    /// Sends a request and returns the response.
    ///
    /// # Errors
    /// [`SendError::Connect`] if nothing was sent, [`SendError::NoAnswer`] if the provider may have
    /// received the request.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        call(&self.client, request, self.timeout, self.max_bytes).await
    }
}

async fn call(
    client: &reqwest::Client,
    request: Request<Bytes>,
    timeout: Duration,
    max_bytes: usize,
) -> Result<Response<Bytes>, SendError> {
    let request = reqwest::Request::try_from(request.map(reqwest::Body::from)).map_err(|_| {
        SendError::Invalid { field: "base_url", reason: "is not a URL that can be called".into() }
    })?;
    let answer = async {
        let mut response = client.execute(request).await.map_err(|error| {
            if error.is_connect() { SendError::Connect } else { SendError::NoAnswer }
        })?;
        let mut head = Response::builder().status(response.status());
        if let Some(headers) = head.headers_mut() {
            std::mem::swap(headers, response.headers_mut());
        }
        let length = response.content_length().and_then(|length| usize::try_from(length).ok());
        let mut body = Vec::with_capacity(length.unwrap_or_default().min(max_bytes));
        // The body of a webhook response is not read.
        while max_bytes > 0
            && let Some(chunk) = response.chunk().await.map_err(|_| SendError::NoAnswer)?
        {
            if body.len() + chunk.len() > max_bytes {
                return Err(SendError::Unreadable);
            }
            body.extend_from_slice(&chunk);
        }
        head.body(Bytes::from(body)).map_err(|_| SendError::Unreadable)
    };
    // The server may have received a request that timed out.
    tokio::time::timeout(timeout, answer).await.unwrap_or(Err(SendError::NoAnswer))
}

/// Error of a webhook request.
#[derive(Debug, thiserror::Error)]
pub enum GuardedHttpError {
    /// The URL is in a private network, which the tenant did not allow.
    #[error("the URL is in a private network: set allow_private_network to allow it")]
    Private,
    /// The URL is not an http or https URL.
    #[error("the URL is not an http or https URL")]
    Address,
    /// The URL is an http URL.
    #[error("the URL is an http URL, which is not encrypted: set an https URL")]
    Insecure,
    /// No response.
    #[error("no response")]
    NoAnswer,
}

/// Webhook client.
pub trait WebhookClient: Send + Sync {
    /// Sends one request.
    ///
    /// # Errors
    /// [`GuardedHttpError`]
    fn notify(
        &self,
        request: Request<Bytes>,
        allow_private_network: bool,
    ) -> impl Future<Output = Result<Response<Bytes>, GuardedHttpError>> + Send;
}

/// Timeout of a webhook request: Standard Webhooks recommends 15 to 30 s.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);

impl GuardedHttpClient {
    /// Creates the clients, once per process. `allow_http` also permits requests without TLS, for
    /// the local cloud.
    ///
    /// # Errors
    /// If the TLS library rejects its own defaults.
    pub fn new(allow_http: bool) -> Result<Self, Error> {
        let tls = tls()?;
        let public = builder(tls.clone()).dns_resolver(Arc::new(PublicOnly)).build()?;
        Ok(Self { public, any: builder(tls).build()?, allow_http })
    }
}

impl WebhookClient for GuardedHttpClient {
    async fn notify(
        &self,
        request: Request<Bytes>,
        allow_private_network: bool,
    ) -> Result<Response<Bytes>, GuardedHttpError> {
        match request.uri().scheme_str() {
            Some("https") => {}
            Some("http") if self.allow_http => {}
            Some("http") => return Err(GuardedHttpError::Insecure),
            _ => return Err(GuardedHttpError::Address),
        }
        let client = if allow_private_network { &self.any } else { &self.public };
        // A host that does not resolve is not private; the request fails.
        if !allow_private_network {
            let url = Url::parse(&request.uri().to_string());
            let url = url.map_err(|_| GuardedHttpError::Address)?;
            if address::host_network(&Dns, &url).await == HostNetwork::Private {
                return Err(GuardedHttpError::Private);
            }
        }
        call(client, request, WEBHOOK_TIMEOUT, 0).await.map_err(|_| GuardedHttpError::NoAnswer)
    }
}

/// Timeout of a DNS lookup.
const DNS_TIMEOUT: Duration = Duration::from_secs(2);

/// DNS resolver of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct Dns;

impl Resolver for Dns {
    async fn resolve(&self, host: &str) -> Option<Vec<IpAddr>> {
        let found = tokio::time::timeout(DNS_TIMEOUT, tokio::net::lookup_host((host, 0))).await;
        Some(found.ok()?.ok()?.map(|address| address.ip()).collect())
    }
}

/// DNS resolver that returns only public addresses. The check and the connection use the same
/// lookup, which prevents DNS rebinding.
#[derive(Debug)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(GuardedHttpError::Private.into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// HTTP client of the AWS SDK. The SDK has its own retries, redirects and timeouts, so it gets the
/// plain `hyper` client on which `reqwest` is built: each layer adds to the cost of every request.
#[derive(Clone, Debug)]
pub(crate) struct SdkClient(Client<HttpsConnector<TcpConnector>, SdkBody>);

impl SdkClient {
    pub(crate) fn over(tls: rustls::ClientConfig) -> Self {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let mut client = Client::builder(TokioExecutor::new());
        Self(client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).build(connector))
    }
}

impl HttpConnector for SdkClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => {
                return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
            }
        };
        let answer = self.0.request(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await.map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

impl HttpClient for SdkClient {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpListener;

    use http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn a_private_address_is_never_called_without_permission() {
        let outside = GuardedHttpClient::new(true).unwrap();
        for url in [
            "http://127.0.0.1:9/",
            "http://10.0.0.5/",
            "http://169.254.169.254/latest/meta-data/",
            "http://[::1]:9/",
            "http://[::ffff:10.0.0.5]/",
            "http://localhost:9/",
            "http://metadata.google.internal/",
        ] {
            let request = Request::post(url).body(Bytes::new()).unwrap();
            let result = outside.notify(request, false).await;
            assert!(matches!(result, Err(GuardedHttpError::Private)), "{url}: {result:?}");
        }
    }

    #[tokio::test]
    async fn a_url_without_tls_is_never_called_outside_the_local_cloud() {
        let outside = GuardedHttpClient::new(false).unwrap();
        for allow_private_network in [false, true] {
            for url in ["http://n8n.example.com/", "HTTP://93.184.216.34/", "http://127.0.0.1:9/"] {
                let request = Request::post(url).body(Bytes::new()).unwrap();
                let result = outside.notify(request, allow_private_network).await;
                assert!(matches!(result, Err(GuardedHttpError::Insecure)), "{url}: {result:?}");
            }
        }
    }

    /// Starts a server that answers one request with a redirect to `target`.
    fn redirect_to(target: SocketAddr) -> SocketAddr {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            let head = "HTTP/1.1 307 Temporary Redirect\r\ncontent-length: 0\r\n";
            write!(stream, "{head}location: http://{target}/\r\n\r\n").unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_so_it_cannot_lead_to_a_url_without_tls() {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        target.set_nonblocking(true).unwrap();
        let request = || {
            let server = redirect_to(target.local_addr().unwrap());
            Request::post(format!("http://{server}/")).body(Bytes::new()).unwrap()
        };
        let webhooks = GuardedHttpClient::new(true).unwrap();
        let response = webhooks.notify(request(), true).await.unwrap();
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
        let response = Transport::new().unwrap().send(request()).await.unwrap();
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
        let called = target.accept().map(|_| ()).map_err(|error| error.kind());
        assert_eq!(called, Err(ErrorKind::WouldBlock), "the target was called");
    }

    #[test]
    fn the_user_agent_has_a_name_and_a_version_of_three_numbers() {
        let (name, version) = USER_AGENT.split_once('/').unwrap();
        let numbers: Vec<_> = version.split('.').collect();
        assert_eq!((name, numbers.len()), ("switchboard", 3), "{USER_AGENT}");
        assert!(numbers.iter().all(|number| number.parse::<u32>().is_ok()), "{USER_AGENT}");
    }
}
