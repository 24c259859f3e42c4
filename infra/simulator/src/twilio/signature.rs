//! Twilio's webhook signature and retry rules.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The fields of a form, in the order in which they are sent.
pub type Params = Vec<(String, String)>;

/// `X-Twilio-Signature`: HMAC-SHA1 under the auth token over the address without its fragment and
/// each field, sorted by name.
#[must_use]
pub fn signature(token: &str, url: &str, params: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = params.iter().collect();
    sorted.sort();
    sorted.dedup();
    let mut text = without_fragment(url).to_owned();
    for (name, value) in sorted {
        text.push_str(name);
        text.push_str(value);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    STANDARD.encode(hmac::sign(&key, text.as_bytes()).as_ref())
}

/// The address without its fragment, which configures Twilio and is not sent.
#[must_use]
pub fn without_fragment(url: &str) -> &str {
    url.split_once('#').map_or(url, |(url, _)| url)
}

/// Encodes a form.
#[must_use]
pub fn encode(params: &[(String, String)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish()
}

/// Whether Twilio retries `url` after attempt `attempt` (from 1) ended with `status` (0: no
/// answer). Without `#rc=` it does not; `#rp=` lists the failures to retry, by default only failed
/// connections.
#[must_use]
pub fn is_retried(url: &str, attempt: u32, status: u16, timed_out: bool) -> bool {
    let fragment = url.split_once('#').map_or("", |(_, fragment)| fragment);
    let value = |name: &str| {
        fragment.split('&').filter_map(|part| part.split_once('=')).find(|(key, _)| *key == name)
    };
    let retries = value("rc").and_then(|(_, count)| count.parse::<u32>().ok()).unwrap_or(0);
    if attempt > retries.min(5) {
        return false;
    }
    let after = value("rp").map_or("ct", |(_, policy)| policy);
    after.split(',').any(|policy| match policy {
        "all" => !(200..400).contains(&status),
        "4xx" => (400..500).contains(&status),
        "5xx" => (500..600).contains(&status),
        "ct" => status == 0 && !timed_out,
        "rt" => status == 0 && timed_out,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(fields: &[(&str, &str)]) -> Params {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_form_is_signed_as_in_twilios_own_example() {
        let params = pairs(&[
            ("To", "+18005551212"),
            ("From", "+14158675309"),
            ("Digits", "1234"),
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
        ]);
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        let signed = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
        assert_eq!(signature("12345", url, &params), signed);
        assert_eq!(signature("12345", &format!("{url}#rc=2"), &params), signed);
        assert_ne!(signature("12346", url, &params), signed);
    }

    #[test]
    fn a_webhook_is_retried_only_if_its_address_asks_for_it() {
        assert!(!is_retried("https://h/", 1, 500, false));
        assert!(!is_retried("https://h/#rc=2", 1, 500, false));
        assert!(is_retried("https://h/#rc=2", 1, 0, false));
        assert!(!is_retried("https://h/#rc=2", 1, 0, true));
        assert!(is_retried("https://h/#rc=2&rp=all", 2, 500, false));
        assert!(!is_retried("https://h/#rc=2&rp=all", 3, 500, false));
        assert!(is_retried("https://h/#rc=9&rp=5xx,rt", 5, 0, true));
        assert!(!is_retried("https://h/#rc=9&rp=all", 6, 0, true));
        assert!(!is_retried("https://h/#rc=9&rp=all", 1, 200, false));
        assert!(!is_retried("https://h/#rc=9&rp=4xx", 1, 503, false));
    }
}
