//! Parser for the text fields of a `multipart/form-data` body, with limits. Attachments are
//! skipped.
//!
//! <https://www.rfc-editor.org/rfc/rfc7578>, <https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1>

use crate::form::MAX_FIELDS;

/// Maximum size of the headers of a part, in bytes.
const MAXIMUM_HEAD: usize = 8 * 1024;
/// Maximum length of a boundary. Source: RFC 2046.
const MAXIMUM_BOUNDARY: usize = 70;

/// Returns the fields in order; `None` if the body does not match `content_type` or exceeds a
/// limit.
///
/// The work is linear in the size of the body: a delimiter begins with its only CR, so a search
/// never reads a byte more than twice.
pub(super) fn fields(content_type: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let boundary = parameter(content_type, "boundary")?;
    let fits = |c: u8| c.is_ascii_graphic() || c == b' ';
    if boundary.is_empty() || boundary.len() > MAXIMUM_BOUNDARY || !boundary.bytes().all(fits) {
        return None;
    }
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    // The first delimiter has no line before it.
    let mut rest = body.strip_prefix(delimiter.get(2..)?)?;
    let mut fields = Vec::new();
    for _ in 0..MAX_FIELDS {
        if rest.starts_with(b"--") {
            return Some(fields);
        }
        let (head, content) = head(rest)?;
        let end = find(content, &delimiter)?;
        if let Some(name) = field_name(head) {
            let value = String::from_utf8_lossy(content.get(..end)?).into_owned();
            fields.push((name, value));
        }
        rest = content.get(end + delimiter.len()..)?;
    }
    None
}

/// Splits a part into its headers and the rest.
fn head(part: &[u8]) -> Option<(&str, &[u8])> {
    const END: &[u8] = b"\r\n\r\n";
    let near = part.get(..MAXIMUM_HEAD.min(part.len()))?;
    let end = find(near, END)?;
    let head = std::str::from_utf8(part.get(..end)?).ok()?;
    Some((head, part.get(end + END.len()..)?))
}

/// Returns the name of the field with these headers; `None` if it is a file.
fn field_name(head: &str) -> Option<String> {
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let is_file =
        ["filename", "filename*"].iter().any(|name| parameter(disposition, name).is_some());
    parameter(disposition, "name").filter(|_| !is_file)
}

/// Returns the parameter `wanted` of a header, such as `form-data; name="a"`.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let (_, mut rest) = header.split_once(';')?;
    loop {
        let (name, value) = rest.split_once('=')?;
        let (value, after) = match value.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                value.split_once(';').map_or((value.trim().to_owned(), ""), |(value, after)| {
                    (value.trim().to_owned(), after)
                })
            }
        };
        if name.trim_start_matches([' ', '\t', ';']).trim_end().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

/// Splits a quoted string into its unescaped content and the rest.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut escaped = false;
    for (place, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return Some((value, text.get(place + 1..)?)),
            c => {
                value.push(c);
                escaped = false;
            }
        }
    }
    None
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=xYz";

    fn read(body: &str) -> Option<Vec<(String, String)>> {
        fields(TYPE, body.replace('\n', "\r\n").as_bytes())
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn fields_are_read_in_order_and_files_are_skipped() {
        let body = "--xYz\nContent-Disposition: form-data; name=\"token\"\n\nabc\n\
            --xYz\ncontent-disposition: form-data; name=\"file\"; filename=\"a.png\"\nContent-Type: image/png\n\n\u{1}\n--x\n\
            --xYz\nContent-Type: text/plain\nContent-Disposition: form-data; name=plain\n\ntwo\n\nlines\n--xYz--\n";
        assert_eq!(read(body), Some(pairs(&[("token", "abc"), ("plain", "two\r\n\r\nlines")])));
        assert_eq!(read("--xYz--"), Some(Vec::new()));
    }

    #[test]
    fn a_quoted_name_may_have_any_character() {
        let body = |name: &str| {
            format!("--xYz\nContent-Disposition: form-data; name={name}\n\nv\n--xYz--")
        };
        for (written, name) in [
            (r#""a; filename=b""#, "a; filename=b"),
            (r#""a\"b""#, "a\"b"),
            ("\"ü=\"", "ü="),
            ("bare ", "bare"),
        ] {
            assert_eq!(read(&body(written)), Some(pairs(&[(name, "v")])), "{written}");
        }
        assert_eq!(read(&body("\"open")), Some(Vec::new()));
    }

    #[test]
    fn a_boundary_may_be_quoted_and_must_be_present() {
        let body = b"--a b--";
        assert!(fields("multipart/form-data; charset=utf-8; Boundary=\"a b\"", body).is_some());
        let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
        for content_type in ["multipart/form-data", "multipart/form-data; boundary=", &long] {
            assert_eq!(fields(content_type, body), None, "{content_type}");
        }
    }

    #[test]
    fn a_truncated_body_or_one_over_a_limit_is_rejected() {
        let part = "--xYz\nContent-Disposition: form-data; name=a\n\nb\n";
        assert!(read(&format!("{part}--xYz--")).is_some());
        let long = format!("--xYz\nX: {}\n\nb\n--xYz--", "a".repeat(9000));
        for broken in ["", "--xY", "--xYz", "--xYz\n", part, "junk\n--xYz--", &long] {
            assert_eq!(read(broken), None, "{broken}");
        }
        assert!(read(&format!("{}--xYz--", part.repeat(999))).is_some());
        assert_eq!(read(&format!("{}--xYz--", part.repeat(1000))), None);
        assert_eq!(fields(TYPE, b"--xYz\r\nX: \xff\r\n\r\nb\r\n--xYz--"), None);
    }

    proptest! {
        #[test]
        fn any_body_is_parsed_or_rejected(
            content_type in "(multipart/form-data; boundary=)?[ -~]{0,20}",
            parts in prop::collection::vec(
                prop_oneof![
                    Just("\r\n--xYz".to_owned()),
                    Just("--xYz".to_owned()),
                    Just("--".to_owned()),
                    Just("\r\n\r\n".to_owned()),
                    Just("Content-Disposition: form-data; name=\"".to_owned()),
                    "[\\PC\r\n\";=]{0,9}",
                ],
                0..12,
            ),
        ) {
            let body = parts.concat();
            for content_type in [TYPE, &content_type] {
                if let Some(fields) = fields(content_type, body.as_bytes()) {
                    let lengths = fields.iter().map(|(name, value)| name.len() + value.len());
                    let read: usize = lengths.sum();
                    prop_assert!(read <= body.len());
                }
            }
        }

        #[test]
        fn a_written_body_is_parsed_back(
            fields in prop::collection::vec(("[a-z-]{1,9}", "[\\PC\r\n]{0,20}"), 0..9),
        ) {
            let part = |(name, value): &(String, String)| {
                format!("--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
            };
            let body = format!("{}--b0undary--\r\n", fields.iter().map(part).collect::<String>());
            let read = super::fields("multipart/form-data; boundary=b0undary", body.as_bytes());
            prop_assert_eq!(read, Some(fields));
        }
    }
}
