//! Check that `TwiML` only speaks, plays, pauses and hangs up.

/// Verbs that neither use another of the account's numbers nor fetch further instructions.
/// Source: the page of each verb below <https://www.twilio.com/docs/voice/twiml>.
const VERBS: [&str; 6] = ["Response", "Say", "Play", "Pause", "Hangup", "Reject"];

/// Whether `twiml` only speaks, plays, pauses and hangs up. `Dial`, `Sms`, `Message` and `Refer`
/// act in the account of the call and may use any of its numbers; `Redirect`, `Gather` and `Record`
/// fetch instructions that the hub has not checked.
#[must_use]
pub fn only_speaks(twiml: &str) -> bool {
    // Comments, declarations and `CDATA` sections begin with `<!` or `<?` and are never verbs, so
    // they are refused too.
    twiml.split('<').skip(1).all(|tag| {
        let name = tag.strip_prefix('/').unwrap_or(tag);
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        let (name, rest) = name.split_at(end);
        VERBS.contains(&name) && rest.starts_with(['>', '/', ' ', '\n', '\r', '\t'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaking_and_playing_are_allowed() {
        for twiml in [
            "<Response><Say voice=\"alice\">Your parcel is here.</Say><Hangup/></Response>",
            "<Response>\n  <Pause length=\"2\"/>\n  <Play>https://example.com/a.mp3</Play>\n</Response>",
            "<Response />",
        ] {
            assert!(only_speaks(twiml), "{twiml}");
        }
    }

    #[test]
    fn verbs_that_use_a_number_or_fetch_instructions_are_refused() {
        for twiml in [
            "<Response><Dial callerId=\"+15550001\"><Number>+15550002</Number></Dial></Response>",
            "<Response><Sms from=\"+15550001\" to=\"+15550002\">x</Sms></Response>",
            "<Response><Message from=\"+15550001\">x</Message></Response>",
            "<Response><Redirect>https://example.com</Redirect></Response>",
            "<Response><Gather action=\"https://example.com\"/></Response>",
            "<?xml version=\"1.0\"?><!DOCTYPE r [<!ENTITY d \"x\">]><Response>&d;</Response>",
            "<Response><x:Dial>+15550002</x:Dial></Response>",
            "<Response><Say:Dial/></Response>",
            "<Response>< Dial>1</Dial></Response>",
        ] {
            assert!(!only_speaks(twiml), "{twiml}");
        }
    }
}
