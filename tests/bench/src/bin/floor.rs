//! Minimal WhatsApp webhook in Rust, as a lower bound: no Lambda runtime, no SDK, no tracing. It
//! verifies the signature, sends one record to the queue and responds. The hub's webhook also reads
//! the integration, its secret and the tenant, splits batches, retries and records metrics.
#![expect(clippy::print_stdout, reason = "a function's log is its standard output")]

use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Connection = SendRequest<Full<Bytes>>;

fn main() -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> Result<(), Error> {
    let runtime_api = variable("AWS_LAMBDA_RUNTIME_API")?;
    let queue = Queue::new()?;
    let secret = hmac::Key::new(hmac::HMAC_SHA256, variable("WHATSAPP_APP_SECRET")?.as_bytes());
    let mut lambda = open(TcpStream::connect(&runtime_api).await?).await?;
    let mut sqs = None;
    let base = "/2018-06-01/runtime/invocation";
    loop {
        let next = request(Method::GET, &format!("{base}/next"), &runtime_api, Bytes::new())?;
        let (headers, event) = call(&mut lambda, next).await?;
        let id = headers.get("lambda-runtime-aws-request-id").ok_or("no request id")?.to_str()?;
        let answer = handle(&event, &secret, &queue, &mut sqs).await?.to_string();
        let path = format!("{base}/{id}/response");
        call(&mut lambda, request(Method::POST, &path, &runtime_api, answer.into())?).await?;
    }
}

async fn handle(
    event: &[u8],
    secret: &hmac::Key,
    queue: &Queue,
    sqs: &mut Option<Connection>,
) -> Result<Value, Error> {
    let event: Value = serde_json::from_slice(event)?;
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let body = text("/body");
    let given = text("/headers/x-hub-signature-256").trim_start_matches("sha256=");
    let given = hex::decode(given).unwrap_or_default();
    if hmac::verify(secret, body.as_bytes(), &given).is_err() {
        return Ok(json!({ "statusCode": 401, "body": "" }));
    }
    let body: Value = serde_json::from_str(body)?;
    let value = body.pointer("/entry/0/changes/0/value").ok_or("no value")?;
    let message = value.pointer("/messages/0").ok_or("no message")?;
    let field = |value: &Value, name: &str| -> String {
        value.pointer(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let account = field(value, "/metadata/phone_number_id");
    let record = json!({ "account": account, "message": message }).to_string();
    let group = format!("{account}:{}", field(message, "/from"));
    queue.send(sqs, &record, &group, &field(message, "/id")).await?;
    println!("{}", json!({ "level": "INFO", "message": "webhook accepted", "events": 1 }));
    Ok(json!({ "statusCode": 200, "body": "" }))
}

/// An SQS queue with the credentials to sign requests.
struct Queue {
    endpoint: Uri,
    url: String,
    region: String,
    key: String,
    secret: String,
    token: String,
    tls: Option<TlsConnector>,
}

impl Queue {
    fn new() -> Result<Self, Error> {
        let endpoint: Uri = variable("AWS_ENDPOINT_URL")?.parse()?;
        let tls = if endpoint.scheme_str() == Some("https") { Some(connector()?) } else { None };
        Ok(Self {
            endpoint,
            url: variable("INBOUND_QUEUE_URL")?,
            region: variable("AWS_REGION")?,
            key: variable("AWS_ACCESS_KEY_ID")?,
            secret: variable("AWS_SECRET_ACCESS_KEY")?,
            token: variable("AWS_SESSION_TOKEN")?,
            tls,
        })
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let authority = self.endpoint.authority().ok_or("no authority")?;
        let stream = TcpStream::connect(authority.as_str()).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => open(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(authority.host().to_owned())?;
                open(tls.connect(name, stream).await?).await
            }
        }
    }

    async fn send(
        &self,
        connection: &mut Option<Connection>,
        record: &str,
        group: &str,
        deduplication_id: &str,
    ) -> Result<(), Error> {
        let body = json!({ "QueueUrl": self.url, "MessageBody": record, "MessageGroupId": group,
            "MessageDeduplicationId": deduplication_id });
        let signed = self.sign(body.to_string())?;
        if connection.is_none() {
            *connection = Some(self.connect().await?);
        }
        let connection = connection.as_mut().ok_or("no connection")?;
        call(connection, signed).await.map(|_| ())
    }

    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    fn sign(&self, body: String) -> Result<Request<Full<Bytes>>, Error> {
        #[expect(clippy::disallowed_methods, reason = "a signature is made on the real clock")]
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = now.split('T').next().unwrap_or_default();
        let host = self.endpoint.authority().ok_or("no authority")?.as_str();
        let target = "AmazonSQS.SendMessage";
        let names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target";
        let canonical = format!(
            "POST\n/\n\ncontent-type:application/x-amz-json-1.0\nhost:{host}\nx-amz-date:{now}\n\
             x-amz-security-token:{}\nx-amz-target:{target}\n\n{names}\n{}",
            self.token,
            hash(&body)
        );
        let scope = format!("{day}/{}/sqs/aws4_request", self.region);
        let signed = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{}", hash(&canonical));
        let first = format!("AWS4{}", self.secret);
        let key = [day, &self.region, "sqs", "aws4_request"]
            .into_iter()
            .fold(first.into_bytes(), |key, part| mac(&key, part));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.key,
            hex::encode(mac(&key, &signed))
        );
        let request = Request::post("/")
            .header("host", host)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-date", &now)
            .header("x-amz-security-token", &self.token)
            .header("x-amz-target", target)
            .header("authorization", authorization);
        Ok(request.body(Full::new(Bytes::from(body)))?)
    }
}

fn hash(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn connector() -> Result<TlsConnector, Error> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in CertificateDer::pem_file_iter(variable("AWS_CA_BUNDLE")?)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn open<S>(stream: S) -> Result<Connection, Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn request(
    method: Method,
    path: &str,
    host: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Error> {
    let request = Request::builder().method(method).uri(path).header("host", host);
    Ok(request.body(Full::new(body))?)
}

async fn call(
    connection: &mut Connection,
    request: Request<Full<Bytes>>,
) -> Result<(HeaderMap, Bytes), Error> {
    connection.ready().await?;
    let (head, body) = connection.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    if !head.status.is_success() {
        return Err(format!("the response status is {}", head.status).into());
    }
    Ok((head.headers, body))
}

fn variable(name: &'static str) -> Result<String, Error> {
    #[expect(clippy::disallowed_methods, reason = "this program does not use the hub's libraries")]
    let value = std::env::var(name);
    value.map_err(|_| format!("the environment variable {name} is missing").into())
}
