//! A small HTTP/1.1 server on loopback, with one thread per connection, with or without TLS.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::error::Result;

/// Largest accepted body, in bytes.
const LARGEST: usize = 64 * 1024 * 1024;

/// A complete request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The first header with this lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// A response with a JSON body.
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, body: body.to_string().into_bytes() }
    }

    /// A response without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }
}

/// Request handler, called from many threads concurrently.
pub(crate) type Handler = dyn Fn(Request) -> Response + Send + Sync;

/// A server that stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Server {
    /// Starts a server on a free loopback port, with TLS if there is a configuration.
    pub(crate) fn start(handler: Arc<Handler>, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        Self::at("localhost:0", handler, tls)
    }

    /// Starts a server at this address.
    pub(crate) fn at(
        address: &str,
        handler: Arc<Handler>,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&ended);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(io::Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (handler, tls) = (Arc::clone(&handler), tls.clone());
                // An error means that the client has disconnected.
                thread::spawn(move || drop(connection(stream, tls, handler.as_ref())));
            }
        });
        Ok(Self { address, ended })
    }

    /// The server's port.
    pub(crate) const fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for the next connection.
        drop(TcpStream::connect(self.address));
    }
}

fn connection(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    handler: &Handler,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        None => serve(stream, handler),
        Some(config) => {
            let session = ServerConnection::new(config).map_err(io::Error::other)?;
            serve(StreamOwned::new(session, stream), handler)
        }
    }
}

fn serve<S: Read + Write>(stream: S, handler: &Handler) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    while let Some(request) = read(&mut stream)? {
        let response = handler(request);
        write(stream.get_mut(), &response)?;
    }
    Ok(())
}

/// Reads the next request, or returns `None` if the client has closed the connection.
fn read<S: Read>(stream: &mut BufReader<S>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(malformed("request line"));
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = Vec::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(malformed("headers"));
        }
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or_else(|| malformed("header"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    request.body = read_body(stream, &request)?;
    Ok(Some(request))
}

fn read_body<S: Read>(stream: &mut BufReader<S>, request: &Request) -> io::Result<Vec<u8>> {
    if request.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        return read_chunks(stream);
    }
    let length = request.header("content-length").map_or(Ok(0), str::parse);
    let length = length.map_err(|_| malformed("length"))?;
    if length > LARGEST {
        return Err(malformed("length"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunks<S: Read>(stream: &mut BufReader<S>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| malformed("chunk"))?;
        if body.len() + size > LARGEST {
            return Err(malformed("length"));
        }
        let start = body.len();
        body.resize(start + size, 0);
        if let Some(chunk) = body.get_mut(start..) {
            stream.read_exact(chunk)?;
        }
        line.clear();
        stream.read_line(&mut line)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

/// Writes a response in one write, so that no part waits for a delayed acknowledgement.
fn write<S: Write>(stream: &mut S, response: &Response) -> io::Result<()> {
    let mut bytes = format!("HTTP/1.1 {} -\r\n", response.status).into_bytes();
    for (name, value) in &response.headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", response.body.len()).as_bytes());
    bytes.extend_from_slice(&response.body);
    stream.write_all(&bytes)?;
    stream.flush()
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("malformed {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Request> {
        read(&mut BufReader::new(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_request_is_read_with_its_headers_and_body() {
        let request = parse("POST /a?b HTTP/1.1\r\nX-One: 1\r\nContent-Length: 3\r\n\r\nabcNEXT");
        let request = request.unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/a?b"));
        assert_eq!((request.header("x-one"), request.body.as_slice()), (Some("1"), &b"abc"[..]));
    }

    #[test]
    fn chunks_are_concatenated() {
        let request = parse(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        );
        assert_eq!(request.unwrap().body, b"abcde");
    }

    #[test]
    fn a_closed_connection_has_no_request() {
        assert!(parse("").is_none());
    }
}
