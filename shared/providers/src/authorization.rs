//! Webhooks whose sender proves itself with the header `Authorization`.
//!
//! <https://www.rfc-editor.org/rfc/rfc9110#field.authorization>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::webhook::{Rejection, WebhookRequest};
use http::header;
use secrecy::SecretString;

use crate::signature;

/// Returns the scheme and the value of the header, which must occur exactly once.
///
/// # Errors
/// [`Rejection::Unauthenticated`]
pub fn parts(request: &WebhookRequest) -> Result<(&str, &str), Rejection> {
    let given = request.header(header::AUTHORIZATION.as_str())?.split_once(' ');
    let (scheme, value) = given.ok_or(Rejection::Unauthenticated("authorization has no value"))?;
    Ok((scheme, value.trim()))
}

/// Returns the value of the header, if it has this `scheme`, in upper or lower case.
///
/// # Errors
/// [`Rejection::Unauthenticated`]
pub fn value<'a>(request: &'a WebhookRequest, scheme: &str) -> Result<&'a str, Rejection> {
    match parts(request)? {
        (given, value) if given.eq_ignore_ascii_case(scheme) => Ok(value),
        _ => Err(Rejection::Unauthenticated("authorization has another scheme")),
    }
}

/// Verifies a bearer token: it must be one of `secrets`, of which several are valid during
/// rotation. Compared in constant time.
///
/// <https://www.rfc-editor.org/rfc/rfc6750#section-2.1>
///
/// # Errors
/// [`Rejection::Unauthenticated`], always without secrets.
pub fn verify_bearer(secrets: &[SecretString], request: &WebhookRequest) -> Result<(), Rejection> {
    if signature::is_one_of(secrets, value(request, "bearer")?) {
        return Ok(());
    }
    Err(Rejection::Unauthenticated("the bearer token does not match"))
}

/// Decodes the value of the scheme `Basic`: user and password, separated by a colon.
///
/// <https://www.rfc-editor.org/rfc/rfc7617>
///
/// # Errors
/// [`Rejection::Unauthenticated`]
pub fn decode_basic(value: &str) -> Result<String, Rejection> {
    let given = STANDARD.decode(value).ok().and_then(|given| String::from_utf8(given).ok());
    given.ok_or(Rejection::Unauthenticated("authorization is not base64"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn request(values: &[&str]) -> WebhookRequest {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        WebhookRequest { headers, ..WebhookRequest::default() }
    }

    fn verifies(values: &[&str], secrets: &[&str]) -> bool {
        let secrets: Vec<_> = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        match verify_bearer(&secrets, &request(values)) {
            Ok(()) => true,
            Err(Rejection::Unauthenticated(_)) => false,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn any_of_several_tokens_verifies_and_no_other() {
        for good in ["Bearer new", "bearer new", "BEARER  new ", "Bearer old"] {
            assert!(verifies(&[good], &["old", "new"]), "{good}");
        }
        for bad in ["", "new", "Bearer", "Bearer ", "Bearer ne", "Bearer new new", "Basic new"] {
            assert!(!verifies(&[bad], &["old", "new"]), "{bad}");
        }
    }

    #[test]
    fn nothing_verifies_without_a_token_a_secret_or_with_two_headers() {
        assert!(!verifies(&[], &["t"]));
        assert!(!verifies(&["Bearer t"], &[]));
        assert!(!verifies(&["Bearer "], &[""]));
        assert!(!verifies(&["Bearer t", "Bearer t"], &["t"]));
    }

    #[test]
    fn user_and_password_are_decoded() {
        let basic = request(&["basic YTpi"]);
        assert_eq!(decode_basic(value(&basic, "Basic").unwrap()).unwrap(), "a:b");
        for bad in ["!", "/w==", "YTpi YTpi"] {
            assert!(decode_basic(bad).is_err(), "{bad}");
        }
        assert!(value(&basic, "bearer").is_err());
    }
}
