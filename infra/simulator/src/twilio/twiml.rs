//! Parser of the `TwiML` verbs in a response, limited to the needs of tests.

/// The parsed response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedTwiml {
    /// The names of the verbs, in order.
    Verbs(Vec<String>),
    /// Not a document: Twilio would send the text to the customer.
    Text,
    /// A document that Twilio cannot parse (12100, 12200).
    Broken,
}

/// The verbs allowed in `<Response>`.
const VERBS: [&str; 20] = [
    "Message", "Redirect", "Say", "Play", "Gather", "Record", "Dial", "Enqueue", "Leave", "Hangup",
    "Reject", "Pause", "Sms", "Refer", "Connect", "Start", "Stop", "Pay", "Prompt", "Queue",
];

/// Parses a response.
#[must_use]
pub fn read(answer: &[u8]) -> ParsedTwiml {
    let Ok(text) = std::str::from_utf8(answer) else { return ParsedTwiml::Broken };
    let mut rest = text.trim();
    if rest.is_empty() {
        return ParsedTwiml::Verbs(Vec::new());
    }
    if !rest.starts_with('<') {
        return ParsedTwiml::Text;
    }
    if let Some(declared) = rest.strip_prefix("<?xml") {
        let Some((_, after)) = declared.split_once("?>") else { return ParsedTwiml::Broken };
        rest = after.trim_start();
    }
    tags(rest).map_or(ParsedTwiml::Broken, ParsedTwiml::Verbs)
}

/// The elements directly below `<Response>`; `None` if the document is not well-formed.
fn tags(mut rest: &str) -> Option<Vec<String>> {
    let mut open: Vec<&str> = Vec::new();
    let mut verbs = Vec::new();
    let mut seen = false;
    while let Some(at) = rest.find('<') {
        let (text, after) = (rest.get(..at)?, rest.get(at + 1..)?);
        if open.is_empty() && !text.trim().is_empty() {
            return None;
        }
        let (tag, after) = after.split_once('>')?;
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop()? != name.trim() {
                return None;
            }
            continue;
        }
        if tag.starts_with('!') {
            continue;
        }
        let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let name = tag.split_whitespace().next()?;
        match open.len() {
            0 if seen || name != "Response" => return None,
            0 => seen = true,
            1 if !VERBS.contains(&name) => return None,
            1 => verbs.push(name.to_owned()),
            _ => {}
        }
        if !closed {
            open.push(name);
        }
    }
    (seen && open.is_empty() && rest.trim().is_empty()).then_some(verbs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbs(names: &[&str]) -> ParsedTwiml {
        ParsedTwiml::Verbs(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn the_verbs_of_a_response_are_parsed() {
        assert_eq!(read(b""), verbs(&[]));
        assert_eq!(read(b"<Response/>"), verbs(&[]));
        assert_eq!(read(br#"<Response><Reject reason="busy"/></Response>"#), verbs(&["Reject"]));
        let long = br#"<?xml version="1.0"?>
            <Response><Gather><Say>Hi &lt;you&gt;</Say></Gather><Hangup/></Response>"#;
        assert_eq!(read(long), verbs(&["Gather", "Hangup"]));
    }

    #[test]
    fn plain_text_and_malformed_documents_are_recognized() {
        assert_eq!(read(b"thank you"), ParsedTwiml::Text);
        for broken in [
            "<Response>",
            "<Response><Say></Response>",
            "<Answer/>",
            "<Response><Shout/></Response>",
            "<Response/><Response/>",
            "<Response/> and more",
            "<Response",
        ] {
            assert_eq!(read(broken.as_bytes()), ParsedTwiml::Broken, "{broken}");
        }
        assert_eq!(read(&[0xff, b'<']), ParsedTwiml::Broken);
    }
}
