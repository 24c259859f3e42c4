//! The one place with HTTP clients: for AWS, for providers and for automations.

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
use domain::automation::is_public;
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

use crate::address::{self, Reach};
use crate::{Error, env};

/// How long a provider or an automation may take to answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// A thawed sandbox holds dead connections, and a POST on one cannot be told from a POST
/// that was taken: idle connections are dropped before the other side does.
const IDLE: Duration = Duration::from_secs(15);
/// How long a provider may take to give a file.
const FILE_TIMEOUT: Duration = Duration::from_secs(25);
/// The largest answer that is read: providers' are small.
const LARGEST_ANSWER: usize = 1024 * 1024;
/// The largest file that is fetched: WhatsApp's documents may have 100 MB, but its other
/// media 16 MB, and the function has 512 MB.
const LARGEST_FILE: usize = 64 * 1024 * 1024;

/// What the hub calls itself: Meta takes a name and a version of three numbers only, and
/// documents it in the header `User-Agent` of its description.
/// <https://github.com/facebook/openapi>
pub const USER_AGENT: &str = concat!("switchboard/", env!("CARGO_PKG_VERSION"));

/// The client for providers.
#[derive(Clone, Debug)]
pub struct Transport {
    client: reqwest::Client,
    timeout: Duration,
    largest: usize,
}

/// The client for automations, whose addresses tenants choose.
#[derive(Clone, Debug)]
pub struct Outside {
    public: reqwest::Client,
    any: reqwest::Client,
}

/// The public roots, and those in the file that `AWS_CA_BUNDLE` names, as for every AWS tool.
/// Whoever sets a function's environment could already lead it elsewhere with
/// `AWS_ENDPOINT_URL`.
fn roots() -> Result<rustls::RootCertStore, Error> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = env::optional("AWS_CA_BUNDLE") {
        for certificate in CertificateDer::pem_file_iter(file)? {
            roots.add(certificate?)?;
        }
    }
    Ok(roots)
}

/// How every server is made sure of. Made once for all of a function's clients.
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
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        // A provider that redirects is not the provider; a tenant's redirect could lead
        // inside.
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .http1_only()
        .user_agent(USER_AGENT)
}

impl Transport {
    /// The client. Made once a process.
    ///
    /// # Errors
    /// If the TLS library refuses its own defaults.
    pub fn new() -> Result<Self, Error> {
        Self::over(tls()?)
    }

    pub(crate) fn over(tls: rustls::ClientConfig) -> Result<Self, Error> {
        Ok(Self { client: builder(tls).build()?, timeout: TIMEOUT, largest: LARGEST_ANSWER })
    }

    /// The same client, for files.
    #[must_use]
    pub fn for_files(self) -> Self {
        Self { timeout: FILE_TIMEOUT, largest: LARGEST_FILE, ..self }
    }

    /// Makes the one call between a sender's two halves.
    ///
    /// # Errors
    /// [`SendError::Connect`] if nothing was sent, [`SendError::NoAnswer`] if that is not
    /// sure.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        call(&self.client, request, self.timeout, self.largest).await
    }
}

async fn call(
    client: &reqwest::Client,
    request: Request<Bytes>,
    timeout: Duration,
    largest: usize,
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
        let mut body = Vec::with_capacity(length.unwrap_or_default().min(largest));
        // Of an automation's answer only the head is of interest.
        while largest > 0
            && let Some(chunk) = response.chunk().await.map_err(|_| SendError::NoAnswer)?
        {
            if body.len() + chunk.len() > largest {
                return Err(SendError::Unreadable);
            }
            body.extend_from_slice(&chunk);
        }
        head.body(Bytes::from(body)).map_err(|_| SendError::Unreadable)
    };
    // What is still under way then may have been taken.
    tokio::time::timeout(timeout, answer).await.unwrap_or(Err(SendError::NoAnswer))
}

/// Why an automation could not be told.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// The address leads into a private network, and the tenant did not allow that.
    #[error("the address is private: set allow_private_network to allow it")]
    Private,
    /// It is not an address that can be called.
    #[error("the address is not an http or https URL")]
    Address,
    /// No answer.
    #[error("no answer")]
    NoAnswer,
}

/// Tells a tenant's automation.
pub trait Messenger: Send + Sync {
    /// Makes one call.
    ///
    /// # Errors
    /// [`OutsideError`]
    fn tell(
        &self,
        request: Request<Bytes>,
        allow_private_network: bool,
    ) -> impl Future<Output = Result<Response<Bytes>, OutsideError>> + Send;
}

/// How long an automation may take to answer: Standard Webhooks suggests 15 to 30 s.
const AUTOMATION_TIMEOUT: Duration = Duration::from_secs(15);

impl Outside {
    /// The clients. Made once a process.
    ///
    /// # Errors
    /// If the TLS library refuses its own defaults.
    pub fn new() -> Result<Self, Error> {
        let tls = tls()?;
        let public = builder(tls.clone()).dns_resolver(Arc::new(PublicOnly)).build()?;
        Ok(Self { public, any: builder(tls).build()? })
    }
}

impl Messenger for Outside {
    async fn tell(
        &self,
        request: Request<Bytes>,
        allow_private_network: bool,
    ) -> Result<Response<Bytes>, OutsideError> {
        if !matches!(request.uri().scheme_str(), Some("http" | "https")) {
            return Err(OutsideError::Address);
        }
        let client = if allow_private_network { &self.any } else { &self.public };
        // A host that does not resolve is no private one: it is not there today.
        if !allow_private_network {
            let url = Url::parse(&request.uri().to_string());
            let url = url.map_err(|_| OutsideError::Address)?;
            if address::reach(&Dns, &url).await == Reach::Private {
                return Err(OutsideError::Private);
            }
        }
        call(client, request, AUTOMATION_TIMEOUT, 0).await.map_err(|_| OutsideError::NoAnswer)
    }
}

/// How long a host name may take to be resolved.
const LOOKUP: Duration = Duration::from_secs(2);

/// The resolver of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Dns;

impl Resolver for Dns {
    async fn resolve(&self, host: &str) -> Option<Vec<IpAddr>> {
        let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, 0))).await;
        Some(found.ok()?.ok()?.map(|address| address.ip()).collect())
    }
}

/// Resolves names to public addresses only. The check and the connection use one answer, so
/// a name that changes its mind in between gains nothing.
#[derive(Debug)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(OutsideError::Private.into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// What the AWS SDK calls through. The SDK retries, follows and times out itself, so it is
/// given the bare client that `reqwest` too is built upon: every layer less is felt in every
/// call.
#[derive(Clone, Debug)]
pub(crate) struct SdkClient(Client<HttpsConnector<TcpConnector>, SdkBody>);

impl SdkClient {
    pub(crate) fn over(tls: rustls::ClientConfig) -> Self {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let mut client = Client::builder(TokioExecutor::new());
        Self(client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector))
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
    use super::*;

    #[tokio::test]
    async fn a_private_address_is_never_called_without_permission() {
        let outside = Outside::new().unwrap();
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
            let told = outside.tell(request, false).await;
            assert!(matches!(told, Err(OutsideError::Private)), "{url}: {told:?}");
        }
    }

    #[test]
    fn the_hub_names_itself_and_a_version_of_three_numbers() {
        let (name, version) = USER_AGENT.split_once('/').unwrap();
        let numbers: Vec<_> = version.split('.').collect();
        assert_eq!((name, numbers.len()), ("switchboard", 3), "{USER_AGENT}");
        assert!(numbers.iter().all(|number| number.parse::<u32>().is_ok()), "{USER_AGENT}");
    }
}
