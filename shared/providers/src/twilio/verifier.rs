//! Verifies that a request comes from Twilio. Source: README, facts 1 to 4.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::webhook::{Rejection, WebhookRequest};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::wire::{Fields, PayloadLocation};
use crate::form;

/// Header with the signature.
pub(super) const SIGNATURE: &str = "x-twilio-signature";
/// Header that names the shared key and the signature's algorithm.
pub(super) const SIGNATURE_SETTINGS: &str = "x-twilio-webhooks-signature-settings";

/// Secrets and settings that requests are verified with.
pub(super) struct SignatureVerifier {
    pub(super) auth_tokens: Vec<SecretString>,
    pub(super) shared_keys: Vec<SecretString>,
    /// Scheme, host and port as configured at Twilio, if the hub is called at others.
    pub(super) origin: Option<String>,
}

impl SignatureVerifier {
    pub(super) fn verify(&self, request: &WebhookRequest) -> Result<(), Rejection> {
        let location = PayloadLocation::of(request);
        let location = location.ok_or(Rejection::Unauthenticated("neither GET nor POST"))?;
        let given = STANDARD.decode(request.header(SIGNATURE)?);
        let given = given.map_err(|_| Rejection::Unauthenticated("signature is not base64"))?;
        let Scheme { algorithm, key_id } = Scheme::read(request)?;
        let addresses = self.addresses(request)?;
        let fields = match location {
            PayloadLocation::Query => Fields::new(Vec::new()),
            PayloadLocation::Form => Fields::of_form(&request.body)?,
            PayloadLocation::Hashed(hash) => {
                verify_hash(&request.body, hash)?;
                Fields::new(Vec::new())
            }
        };
        let keys = match key_id {
            Some(_) => &self.shared_keys,
            None => &self.auth_tokens,
        };
        let matches = keys
            .iter()
            .map(|key| secret_of(key.expose_secret(), key_id))
            .filter(|key| !key.is_empty())
            .map(|key| hmac::Key::new(algorithm, key.as_bytes()))
            .any(|key| {
                addresses.iter().any(|address| {
                    let tag = sign(&key, address, &fields);
                    verify_slices_are_equal(tag.as_ref(), &given).is_ok()
                })
            });
        if matches { Ok(()) } else { Err(Rejection::Unauthenticated("signature does not match")) }
    }

    /// Returns the URL in each form that may have been signed: with and without the port, and with
    /// the escaping of special characters that Twilio's own library applies.
    fn addresses(&self, request: &WebhookRequest) -> Result<Vec<String>, Rejection> {
        let called = Address::read(&request.url);
        let called = called.ok_or(Rejection::Unauthenticated("the request's URL is unknown"))?;
        let url = match &self.origin {
            Some(origin) => format!("{origin}{}", called.rest),
            None => request.url.clone(),
        };
        let mut urls = vec![url.clone()];
        // An HTTP client removes the user name and password from the URL and sends them as a
        // header.
        if let Some(address) = Address::read(&url)
            && address.userinfo.is_empty()
            && let Some(userinfo) = userinfo(request)
        {
            urls.push(Address { userinfo: &userinfo, ..address }.with_port(address.port));
        }
        if let Some(normal) = urls.last().and_then(|url| Url::parse(url).ok()) {
            urls.push(normal.to_string());
            if let (Some(query), Some((before, _))) =
                (normal.query(), normal.as_str().split_once('?'))
            {
                urls.push(format!("{before}?{}", reescape(query)));
            }
        }
        let mut addresses: Vec<String> = Vec::new();
        for address in urls.iter().filter_map(|url| Address::read(url)) {
            let default = if address.is_https() { ":443" } else { ":80" };
            let port = if address.port.is_empty() { default } else { address.port };
            for form in [address.with_port(""), address.with_port(port)] {
                if !addresses.contains(&form) {
                    addresses.push(form);
                }
            }
        }
        Ok(addresses)
    }
}

/// Returns the signature of a URL and form fields.
pub(super) fn sign(key: &hmac::Key, address: &str, fields: &Fields) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(address.as_bytes());
    for (name, value) in fields.iter() {
        context.update(name.as_bytes());
        context.update(value.as_bytes());
    }
    context.sign()
}

fn verify_hash(body: &[u8], hash: &str) -> Result<(), Rejection> {
    let digest = digest::digest(&digest::SHA256, body);
    let given = hex::decode(hash).unwrap_or_default();
    verify_slices_are_equal(digest.as_ref(), &given)
        .map_err(|_| Rejection::Unauthenticated("the body does not match the hash in the URL"))
}

/// Signature scheme of a request.
struct Scheme<'a> {
    algorithm: hmac::Algorithm,
    /// Id of the shared key; `None` if the auth token signs.
    key_id: Option<&'a str>,
}

impl<'a> Scheme<'a> {
    /// An unknown algorithm is rejected.
    fn read(request: &'a WebhookRequest) -> Result<Self, Rejection> {
        let mut scheme = Self { algorithm: hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key_id: None };
        if !request.headers.contains_key(SIGNATURE_SETTINGS) {
            return Ok(scheme);
        }
        for part in request.header(SIGNATURE_SETTINGS)?.split(',') {
            let (name, value) = part.split_once('=').unwrap_or_default();
            match (name.trim(), value.trim()) {
                (_, "") => {}
                ("key", id) => scheme.key_id = Some(id),
                ("algorithm", name) if name.eq_ignore_ascii_case("HMAC_SHA256") => {
                    scheme.algorithm = hmac::HMAC_SHA256;
                }
                ("algorithm", name) if name.eq_ignore_ascii_case("HMAC_SHA1") => {}
                ("algorithm", _) => {
                    return Err(Rejection::Unauthenticated("signature has an unknown algorithm"));
                }
                _ => {}
            }
        }
        Ok(scheme)
    }
}

/// Returns the secret of a credential, which is either the secret or a key's id, a colon and its
/// secret.
fn secret_of<'a>(credential: &'a str, key_id: Option<&str>) -> &'a str {
    let own = key_id.and_then(|id| credential.strip_prefix(id)?.strip_prefix(':'));
    own.unwrap_or(credential)
}

/// Parts of a URL, exactly as written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address<'a> {
    /// Includes `://`.
    pub(super) scheme: &'a str,
    /// User name and password, with the `@`; or empty.
    pub(super) userinfo: &'a str,
    pub(super) host: &'a str,
    /// Includes the colon; or empty.
    pub(super) port: &'a str,
    /// Path and query.
    pub(super) rest: &'a str,
}

impl<'a> Address<'a> {
    /// Splits `url` into its parts; `None` if it has no scheme.
    pub(super) fn read(url: &'a str) -> Option<Self> {
        let (scheme, after) = url.split_at_checked(url.find("://")? + 3)?;
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, rest) = after.split_at_checked(end)?;
        let at = authority.rfind('@').map_or(0, |at| at + 1);
        let (userinfo, host) = authority.split_at_checked(at)?;
        // A colon inside brackets belongs to an IPv6 host.
        let bracket = host.rfind(']').unwrap_or(0);
        let colon = host.get(bracket..)?.find(':').map_or(host.len(), |colon| bracket + colon);
        let (host, port) = host.split_at_checked(colon)?;
        Some(Self { scheme, userinfo, host, port, rest })
    }

    fn is_https(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("https://")
    }

    fn with_port(&self, port: &str) -> String {
        [self.scheme, self.userinfo, self.host, port, self.rest].concat()
    }
}

/// Returns the user name and password of the request, as written in a URL.
fn userinfo(request: &WebhookRequest) -> Option<String> {
    let (scheme, encoded) = request.header("authorization").ok()?.split_once(' ')?;
    let basic = scheme.eq_ignore_ascii_case("basic");
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    // A user name alone is sent with an empty password and written without one.
    let plain = decoded.strip_suffix(':').unwrap_or(&decoded);
    (basic && !plain.is_empty()).then(|| format!("{plain}@"))
}

/// Returns a query as Node's module `querystring` writes it.
///
/// <https://nodejs.org/api/querystring.html#querystringescapestr>
fn reescape(query: &str) -> String {
    let mut out = String::with_capacity(query.len());
    let fields = form::decode(query.as_bytes());
    for (place, (name, value)) in fields.iter().enumerate() {
        if place > 0 {
            out.push('&');
        }
        escape(name, &mut out);
        out.push('=');
        escape(value, &mut out);
    }
    out
}

fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{Draft, Seed};
    use crate::twilio::example::{self, AUTH_TOKEN, EXAMPLES};
    use crate::twilio::{SHARED_KEY, SMS, tests::integration};
    use crate::vectors::Vector;
    use domain::Credentials;
    use domain::webhook::WebhookProvider as _;
    use http::{HeaderMap, HeaderValue};
    use jiff::Timestamp;
    use serde_json::json;

    fn vectors() -> Vec<Vector> {
        crate::vectors::read(include_str!("vectors.json"), 33)
    }

    /// Id of the shared key in the vectors.
    const KEY_ID: &str = "webhooks_sharedkey_0001";

    fn secrets(values: &[&str]) -> Vec<SecretString> {
        values.iter().map(|value| (*value).into()).collect()
    }

    fn verifier(auth_tokens: &[&str], shared_keys: &[&str]) -> SignatureVerifier {
        SignatureVerifier {
            auth_tokens: secrets(auth_tokens),
            shared_keys: secrets(shared_keys),
            origin: None,
        }
    }

    fn vector(id: &str) -> Vector {
        vectors().into_iter().find(|vector| vector.name == id).unwrap()
    }

    #[test]
    fn every_vector_verifies_as_recorded() {
        for vector in vectors() {
            let secret = vector.secret.as_str();
            let is_shared = vector.headers.contains_key(SIGNATURE_SETTINGS);
            let both = verifier(&["other", secret], &["other", secret]);
            vector.check_verified(&both.verify(&vector.request()));
            // An auth token only verifies its own kind of signature, and so does a shared key.
            let tokens = verifier(&[secret], &[]);
            let expected = vector.accepted && !is_shared;
            assert_eq!(tokens.verify(&vector.request()).is_ok(), expected, "{}", vector.name);
            let keys = verifier(&[], &[secret]);
            let expected = vector.accepted && is_shared;
            assert_eq!(keys.verify(&vector.request()).is_ok(), expected, "{}", vector.name);
        }
    }

    #[test]
    fn nothing_verifies_without_a_secret() {
        for vector in vectors() {
            for (tokens, keys) in [(&[][..], &[][..]), (&["", "wrong"], &["", "wrong"])] {
                assert!(
                    verifier(tokens, keys).verify(&vector.request()).is_err(),
                    "{}",
                    vector.name
                );
            }
        }
        // Not even a request signed with an empty secret.
        let nothing = [format!("{KEY_ID}:")];
        for id in ["form-basic", "sharedkey-hmac-sha256"] {
            let mut request = vector(id).request();
            let shared = request.headers.contains_key(SIGNATURE_SETTINGS);
            let algorithm =
                if shared { hmac::HMAC_SHA256 } else { hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY };
            let fields = Fields::of_form(&request.body).unwrap();
            let tag = sign(&hmac::Key::new(algorithm, b""), &request.url, &fields);
            request.headers.insert(SIGNATURE, STANDARD.encode(tag).parse().unwrap());
            assert!(verifier(&[""], &["", &nothing[0]]).verify(&request).is_err(), "{id}");
        }
    }

    #[test]
    fn a_shared_key_may_be_prefixed_with_its_own_id_only() {
        let vector = vector("sharedkey-hmac-sha256");
        let secret = &vector.secret;
        let verify = |key: String| verifier(&[], &[&key]).verify(&vector.request()).is_ok();
        assert!(verify(format!("{KEY_ID}:{secret}")));
        assert!(!verify(format!("webhooks_sharedkey_0002:{secret}")));
        assert!(!verify(format!("{KEY_ID}{secret}")));
    }

    #[test]
    fn a_settings_header_without_a_key_means_the_auth_token_and_a_repeated_header_is_rejected() {
        let basic = vector("form-basic");
        let verify = |values: &[&'static str]| {
            let mut request = basic.request();
            for value in values {
                request.headers.append(SIGNATURE_SETTINGS, HeaderValue::from_static(value));
            }
            verifier(&[&basic.secret], &[&basic.secret]).verify(&request).is_ok()
        };
        assert!(verify(&[""]));
        assert!(verify(&["algorithm=HMAC_SHA1"]));
        assert!(verify(&[" algorithm = hmac_sha1 , other=1"]));
        assert!(!verify(&["algorithm=HMAC_SHA256"]));
        assert!(!verify(&["algorithm=none"]));
        assert!(!verify(&["", ""]));
    }

    #[test]
    fn two_signature_headers_are_rejected() {
        let basic = vector("form-basic");
        let mut request = basic.request();
        let signature = request.headers[SIGNATURE].clone();
        request.headers.append(SIGNATURE, signature);
        assert!(verifier(&[&basic.secret], &[]).verify(&request).is_err());
    }

    #[test]
    fn only_get_and_post_are_accepted() {
        let basic = vector("form-basic");
        for method in ["PUT", "DELETE", "HEAD", "PATCH"] {
            let mut request = basic.request();
            request.method = method.parse().unwrap();
            assert!(verifier(&[&basic.secret], &[]).verify(&request).is_err(), "{method}");
        }
    }

    #[test]
    fn a_changed_url_signature_or_field_is_rejected() {
        for id in ["form-basic", "json-bodySHA256", "get-webhook", "sharedkey-hmac-sha256"] {
            let vector = vector(id);
            let verifier = verifier(&[&vector.secret], &[&vector.secret]);
            let good = vector.request();
            assert!(verifier.verify(&good).is_ok(), "{id}");
            for at in 0..good.url.len() {
                let mut url = good.url.clone().into_bytes();
                url[at] ^= 1;
                let request =
                    WebhookRequest { url: String::from_utf8(url).unwrap(), ..good.clone() };
                assert!(verifier.verify(&request).is_err(), "{id}: {}", request.url);
            }
            for at in 0..good.body.len() {
                let mut body = good.body.to_vec();
                // Skip changes that decode to the same form: `+` and a space, or hex in either
                // case.
                body[at] ^= 1;
                let request = WebhookRequest { body: body.into(), ..good.clone() };
                assert!(verifier.verify(&request).is_err(), "{id}: {at}");
            }
            let signature = good.headers[SIGNATURE].as_bytes().to_vec();
            for at in 0..signature.len() - 2 {
                let mut changed = signature.clone();
                changed[at] ^= 1;
                let mut request = good.clone();
                request.headers.insert(SIGNATURE, HeaderValue::from_bytes(&changed).unwrap());
                assert!(verifier.verify(&request).is_err(), "{id}: {at}");
            }
        }
    }

    #[test]
    fn a_signature_of_a_form_does_not_cover_json_nor_that_of_a_url_a_body() {
        let get = vector("get-webhook");
        let mut request = get.request();
        request.method = http::Method::POST;
        request.body = "Evil=1".into();
        assert!(verifier(&[&get.secret], &[]).verify(&request).is_err());
        request.body = r#"{"evil":1}"#.into();
        let json = HeaderValue::from_static("application/json");
        request.headers.insert(http::header::CONTENT_TYPE, json);
        assert!(verifier(&[&get.secret], &[]).verify(&request).is_err());
    }

    #[test]
    fn the_content_type_is_not_signed_and_changes_nothing() {
        for id in ["form-basic", "json-bodySHA256"] {
            let vector = vector(id);
            let mut request = vector.request();
            for value in ["application/json", "application/x-www-form-urlencoded", "text/plain"] {
                request.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(value));
                assert!(verifier(&[&vector.secret], &[]).verify(&request).is_ok(), "{id} {value}");
            }
        }
    }

    #[test]
    fn public_url_replaces_scheme_host_and_port() {
        let basic = vector("form-basic");
        let mut request = basic.request();
        request.url = "http://10.0.0.1:8080/myapp.php?foo=1&bar=2".to_owned();
        let mut verifier = verifier(&[&basic.secret], &[]);
        assert!(verifier.verify(&request).is_err());
        for origin in ["https://mycompany.com", "https://mycompany.com:443"] {
            verifier.origin = Some(origin.to_owned());
            assert!(verifier.verify(&request).is_ok(), "{origin}");
        }
        for origin in ["http://mycompany.com", "https://mycompany.org"] {
            verifier.origin = Some(origin.to_owned());
            assert!(verifier.verify(&request).is_err(), "{origin}");
        }
    }

    #[test]
    fn the_setting_public_url_reaches_verification() {
        let seed = Seed { at: Timestamp::UNIX_EPOCH, nonce: "0123456789abcdef".to_owned() };
        let draft: Draft = (EXAMPLES.events[0].draft)(&seed);
        let url = "https://public.example/webhooks/sms";
        let mut request =
            (EXAMPLES.sign)(&EXAMPLES.events[0], &draft, &example::credentials(), url, seed.at);
        request.url = "https://abc.execute-api.example/webhooks/sms".to_owned();
        let settings = json!({ "public_url": "https://public.example/webhooks/sms/x" });
        let at_twilio = SMS.source(&integration(&settings), &example::credentials());
        assert!(at_twilio.verify(&request, seed.at).is_ok());
        let as_called = SMS.source(&integration(&json!({})), &example::credentials());
        assert!(as_called.verify(&request, seed.at).is_err());
    }

    #[test]
    fn credentials_removed_from_the_url_are_restored() {
        for (id, called, userinfo) in [
            ("userinfo-in-url", "https://mycompany.com/myapp.php?foo=1&bar=2", "user:pass"),
            (
                "userinfo-signed-with-443",
                "https://mycompany.com/myapp.php?foo=1&bar=2",
                "user:pass",
            ),
            ("username-only-in-url", "https://mycompany.com/myapp.php?foo=1&bar=2", "user:"),
        ] {
            let vector = vector(id);
            let mut request = vector.request();
            request.url = called.to_owned();
            assert!(verifier(&[&vector.secret], &[]).verify(&request).is_err(), "{id}");
            let basic = format!("Basic {}", STANDARD.encode(userinfo));
            request.headers.insert("authorization", basic.parse().unwrap());
            assert!(verifier(&[&vector.secret], &[]).verify(&request).is_ok(), "{id}");
        }
    }

    #[test]
    fn a_query_is_also_tried_as_twilios_library_writes_it() {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345");
        for signed in ["a=It's+%C3%BC", "a=It%27s+%C3%BC", "a=It's%20%C3%BC"] {
            let fields = Fields::new(Vec::new());
            let tag = sign(&key, &format!("https://h.example/x?{signed}"), &fields);
            let mut headers = HeaderMap::new();
            headers.insert(SIGNATURE, STANDARD.encode(tag).parse().unwrap());
            let url = "https://h.example/x?a=It's+%C3%BC".to_owned();
            let request = WebhookRequest { headers, url, ..WebhookRequest::default() };
            assert!(verifier(&["12345"], &[]).verify(&request).is_ok(), "{signed}");
        }
        assert_eq!(reescape("a=1&b=+%2B&c"), "a=1&b=%20%2B&c=");
    }

    #[test]
    fn a_url_is_split_exactly_as_written() {
        let parts = |url| {
            let a = Address::read(url).unwrap();
            [a.scheme, a.userinfo, a.host, a.port, a.rest]
        };
        assert_eq!(parts("https://h"), ["https://", "", "h", "", ""]);
        assert_eq!(parts("HTTP://u:p@H:1/a?b@c:2"), ["HTTP://", "u:p@", "H", ":1", "/a?b@c:2"]);
        assert_eq!(parts("https://[::1]:8?x"), ["https://", "", "[::1]", ":8", "?x"]);
        assert_eq!(parts("https://[::1]/"), ["https://", "", "[::1]", "", "/"]);
        assert!(Address::read("h.example/a").is_none());
        assert!(Address::read("").is_none());
    }

    #[test]
    fn an_unknown_url_is_rejected() {
        let basic = vector("form-basic");
        for url in ["", "/myapp.php", "://", "https://"] {
            let request = WebhookRequest { url: url.to_owned(), ..basic.request() };
            assert!(verifier(&[&basic.secret], &[]).verify(&request).is_err(), "{url}");
        }
    }

    #[test]
    fn examples_are_signed_with_a_shared_key_if_there_is_one() {
        let shared = (SHARED_KEY.to_owned(), vec![format!("{KEY_ID}:secret").into()]);
        let credentials = Credentials::new([shared]);
        let seed = Seed { at: Timestamp::UNIX_EPOCH, nonce: "0123456789abcdef".to_owned() };
        for example in EXAMPLES.events {
            let draft = (example.draft)(&seed);
            let url = "https://h.example/webhooks/x";
            let request = (EXAMPLES.sign)(example, &draft, &credentials, url, seed.at);
            assert!(verifier(&[], &["secret"]).verify(&request).is_ok(), "{}", example.name);
            assert!(verifier(&[AUTH_TOKEN], &["x"]).verify(&request).is_err(), "{}", example.name);
        }
    }
}
