//! AWS clients that call the simulated services in process, without a network.

use std::fmt;
use std::future::Future;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
pub use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use bytes::Bytes;
use serde_json::Value;

use super::Refusal;

/// Region of every client.
const REGION: &str = "eu-central-1";

/// AWS service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Amazon `DynamoDB`.
    DynamoDb,
    /// Amazon SQS.
    Sqs,
    /// Amazon S3.
    S3,
    /// AWS Secrets Manager.
    SecretsManager,
    /// AWS KMS.
    Kms,
}

impl Service {
    /// Returns the name of the service.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DynamoDb => "DynamoDB",
            Self::Sqs => "SQS",
            Self::S3 => "S3",
            Self::SecretsManager => "SecretsManager",
            Self::Kms => "KMS",
        }
    }
}

/// Request to AWS, as the AWS client wrote it.
#[derive(Clone, Debug)]
pub struct AwsRequest {
    /// Service that receives the request.
    pub service: Service,
    /// Operation, such as `GetItem`.
    pub operation: String,
    /// Bucket and key, joined by a slash. S3 only; empty otherwise.
    pub path: String,
    /// Content type of the request, which S3 stores with the object.
    pub content_type: String,
    /// Body.
    pub body: Bytes,
}

impl fmt::Display for AwsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.service.name(), self.operation)
    }
}

impl AwsRequest {
    fn read(request: &HttpRequest) -> Result<Self, String> {
        let body = request.body().bytes().ok_or("the body is a stream, which is not simulated")?;
        let body = Bytes::copy_from_slice(body);
        let url = request.uri().split_once("://").ok_or("the URL is not absolute")?.1;
        let (host, path) = url.split_once('/').unwrap_or((url, ""));
        let content_type = request.headers().get("content-type").unwrap_or_default().to_owned();
        if let Some(target) = request.headers().get("x-amz-target") {
            let (_, operation) = target.rsplit_once('.').ok_or("x-amz-target has no operation")?;
            let service = match host.split('.').next().unwrap_or_default() {
                "dynamodb" => Service::DynamoDb,
                "sqs" => Service::Sqs,
                "secretsmanager" => Service::SecretsManager,
                "kms" => Service::Kms,
                _ => return Err(format!("{host} is not simulated")),
            };
            let (operation, path) = (operation.to_owned(), String::new());
            return Ok(Self { service, operation, path, content_type, body });
        }
        let bucket = host.strip_suffix(&format!(".s3.{REGION}.amazonaws.com"));
        let bucket = bucket.ok_or_else(|| format!("{host} is not simulated"))?;
        let operation = match request.method() {
            "PUT" => "PutObject",
            "GET" => "GetObject",
            other => return Err(format!("S3 {other} is not simulated")),
        };
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let (operation, path) = (operation.to_owned(), format!("{bucket}/{path}"));
        Ok(Self { service: Service::S3, operation, path, content_type, body })
    }
}

/// HTTP response of an AWS service.
#[derive(Clone, Debug)]
pub struct AwsResponse {
    /// HTTP status code.
    pub status: u16,
    /// Body.
    pub body: Bytes,
}

impl AwsResponse {
    /// Returns the response of a service that uses the AWS JSON protocol.
    #[must_use]
    pub fn json(answer: Result<Value, Refusal>) -> Self {
        let (status, body) = match answer {
            Ok(answer) => (200, answer),
            Err(refusal) => {
                let mut body = refusal.more;
                let code = format!("com.amazonaws#{}", refusal.code);
                body.insert("__type".to_owned(), code.into());
                body.insert("message".to_owned(), refusal.message.into());
                (refusal.status, body.into())
            }
        };
        Self { status, body: body.to_string().into() }
    }
}

/// Endpoint that AWS clients call in place of AWS.
pub trait AwsEndpoint: Clone + fmt::Debug + Send + Sync + 'static {
    /// Serves one request.
    ///
    /// # Errors
    /// If the connection breaks and there is no response.
    fn serve(
        &self,
        request: AwsRequest,
    ) -> impl Future<Output = Result<AwsResponse, ConnectorError>> + Send;
}

/// Returns the configuration of AWS clients that call `endpoint`. They do not retry: either the
/// test sees each failure, or `endpoint` retries as the SDK would, at times that it chooses.
#[must_use]
pub fn config(endpoint: impl AwsEndpoint, time: impl TimeSource + 'static) -> SdkConfig {
    let credentials = Credentials::new("AKIDSIMULATED", "secret", None, None, "simulation");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(Connector(endpoint))
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(time)
        .retry_config(RetryConfig::disabled())
        .build()
}

/// HTTP client that passes requests of an AWS client to an endpoint.
#[derive(Clone, Debug)]
struct Connector<E>(E);

impl<E: AwsEndpoint> HttpConnector for Connector<E> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let endpoint = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = AwsRequest::read(&request);
            let request = request.map_err(|error| ConnectorError::user(error.into()))?;
            let AwsResponse { status, body } = endpoint.serve(request).await?;
            let status = status.try_into();
            let status =
                status.map_err(|_| ConnectorError::user("invalid HTTP status code".into()))?;
            let mut response = HttpResponse::new(status, SdkBody::from(body));
            response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
            Ok(response)
        })
    }
}

impl<E: AwsEndpoint> HttpClient for Connector<E> {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
