//! HTTP/1.1 messages on the wire, read completely and forwarded unchanged.

use std::io::{self, BufRead, Read as _};

/// Largest head, in bytes. Heads of the hub and of AWS are smaller.
const LARGEST_HEAD: usize = 64 * 1024;

/// A request or a response.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// The head, including the empty line.
    pub(crate) head: Vec<u8>,
    /// The body, including the framing of chunks.
    pub(crate) body: Vec<u8>,
    /// Whether the connection closes after this message.
    pub(crate) last: bool,
}

/// Reads a request. Returns `None` if the client has disconnected. `send_continue` is called if the
/// client expects `100 Continue` before it sends the body.
pub(crate) fn read_request(
    from: &mut impl BufRead,
    send_continue: impl FnOnce() -> io::Result<()>,
) -> io::Result<Option<Message>> {
    let Some(head) = read_head(from)? else { return Ok(None) };
    if header(&head, "expect").is_some() {
        send_continue()?;
    }
    let body = read_body(from, &head, false)?;
    Ok(Some(Message { last: ends(&head), head, body }))
}

/// Reads the response to a request with this method.
pub(crate) fn read_answer(from: &mut impl BufRead, method: &str) -> io::Result<Message> {
    loop {
        let head = read_head(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = first_line(&head).split(' ').nth(1).unwrap_or_default().to_owned();
        if status.starts_with('1') {
            continue;
        }
        let bare = method == "HEAD" || status == "204" || status == "304";
        let framed = bare
            || header(&head, "content-length").is_some()
            || header(&head, "transfer-encoding").is_some();
        let body = if bare { Vec::new() } else { read_body(from, &head, true)? };
        return Ok(Message { last: ends(&head) || !framed, head, body });
    }
}

/// Returns the method of a request.
pub(crate) fn method(head: &[u8]) -> &str {
    first_line(head).split(' ').next().unwrap_or_default()
}

fn first_line(head: &[u8]) -> &str {
    lines(head).next().unwrap_or_default()
}

fn lines(head: &[u8]) -> impl Iterator<Item = &str> {
    head.split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim_end)
}

/// Returns the value of a header.
pub(crate) fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    lines(head).skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn ends(head: &[u8]) -> bool {
    header(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

fn read_head(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        let read = from.read_until(b'\n', &mut head)?;
        if read == 0 && before == 0 {
            return Ok(None);
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = head.get(before..).unwrap_or_default();
        if before > 0 && (line == b"\r\n" || line == b"\n") {
            return Ok(Some(head));
        }
        if head.len() > LARGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

fn read_body(from: &mut impl BufRead, head: &[u8], to_the_end: bool) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(encoding) = header(head, "transfer-encoding")
        && encoding.to_ascii_lowercase().contains("chunked")
    {
        read_chunks(from, &mut body)?;
    } else if let Some(length) = header(head, "content-length") {
        let length = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        read_exactly(from, length, &mut body)?;
    } else if to_the_end {
        from.read_to_end(&mut body)?;
    }
    Ok(body)
}

fn read_exactly(from: &mut impl BufRead, length: u64, into: &mut Vec<u8>) -> io::Result<()> {
    let read = from.take(length).read_to_end(into)?;
    if u64::try_from(read).is_ok_and(|read| read == length) {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn read_chunks(from: &mut impl BufRead, into: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let before = into.len();
        from.read_until(b'\n', into)?;
        let line = std::str::from_utf8(into.get(before..).unwrap_or_default());
        let line = line.map_err(|_| io::ErrorKind::InvalidData)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if size == 0 {
            return read_trailers(from, into);
        }
        read_exactly(from, size + 2, into)?;
    }
}

fn read_trailers(from: &mut impl BufRead, into: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let before = into.len();
        if from.read_until(b'\n', into)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if into.get(before..).unwrap_or_default().trim_ascii().is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_requests_on_one_connection_are_separated() {
        let mut wire: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
            PUT /b HTTP/1.1\r\ntransfer-encoding: chunked\r\nConnection: close\r\n\r\n\
            2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n";
        let first = read_request(&mut wire, || Ok(())).unwrap().unwrap();
        assert_eq!((method(&first.head), first.body.as_slice()), ("POST", &b"abc"[..]));
        assert!(!first.last);
        let second = read_request(&mut wire, || Ok(())).unwrap().unwrap();
        assert_eq!(method(&second.head), "PUT");
        assert_eq!(second.body, b"2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n");
        assert!(second.last);
        assert!(read_request(&mut wire, || Ok(())).unwrap().is_none());
    }

    #[test]
    fn a_client_that_expects_100_continue_gets_it_before_its_body_is_read() {
        let mut wire: &[u8] =
            b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\ncontent-length: 1\r\n\r\nx";
        let mut continued = false;
        let read = read_request(&mut wire, || {
            continued = true;
            Ok(())
        });
        assert_eq!(read.unwrap().unwrap().body, b"x");
        assert!(continued);
    }

    #[test]
    fn a_response_ends_where_its_head_says() {
        let mut wire: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\
            HTTP/1.1 204 No Content\r\n\r\n\
            HTTP/1.1 200 OK\r\n\r\nall the rest";
        assert_eq!(read_answer(&mut wire, "POST").unwrap().body, b"ok");
        let nothing = read_answer(&mut wire, "DELETE").unwrap();
        assert!(nothing.body.is_empty() && !nothing.last);
        let rest = read_answer(&mut wire, "GET").unwrap();
        assert!(rest.body == b"all the rest" && rest.last);
    }

    #[test]
    fn a_truncated_message_is_an_error() {
        for broken in [
            &b"POST / HTTP/1.1\r\nconte"[..],
            b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc",
            b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\nabc",
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        ] {
            let mut wire = broken;
            assert!(read_request(&mut wire, || Ok(())).is_err());
        }
        assert!(read_answer(&mut &b""[..], "GET").is_err());
    }
}
