//! Authentication of Meta's webhooks, the same for all its products: a handshake with a verify
//! token, and webhooks signed with the app secret.
//!
//! <https://developers.facebook.com/docs/graph-api/webhooks/getting-started>

use domain::failpoint::{self, Failpoint};
use domain::webhook::{ParsedWebhook, Rejection, WebhookReply, WebhookRequest};
use http::{Method, StatusCode};
use secrecy::SecretString;

use crate::signature;

/// The secrets that verify an app's webhooks.
pub(crate) struct SignatureVerifier {
    pub(crate) app_secrets: Vec<SecretString>,
    pub(crate) verify_tokens: Vec<SecretString>,
}

impl SignatureVerifier {
    /// Verifies that Meta sent the request.
    pub(crate) fn verify(&self, request: &WebhookRequest) -> Result<(), Rejection> {
        if request.method == Method::GET {
            return self.verify_handshake(request);
        }
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("method is neither GET nor POST"));
        }
        let hex = request.header("x-hub-signature-256")?.strip_prefix("sha256=");
        let given = hex.and_then(|hex| hex::decode(hex).ok());
        let given = given.ok_or(Rejection::Unauthenticated("signature is not sha256= and hex"))?;
        if signature::is_hmac_sha256(&self.app_secrets, &[&request.body], &given)
            || failpoint::is_active(Failpoint::SignatureNotChecked)
        {
            Ok(())
        } else {
            Err(Rejection::Unauthenticated("signature does not match"))
        }
    }

    fn verify_handshake(&self, request: &WebhookRequest) -> Result<(), Rejection> {
        if request.query("hub.mode") != Some("subscribe") {
            return Err(Rejection::Forbidden("hub.mode is not subscribe"));
        }
        let token = request.query("hub.verify_token").unwrap_or_default();
        if !signature::is_one_of(&self.verify_tokens, token) {
            return Err(Rejection::Forbidden("hub.verify_token does not match"));
        }
        if request.query("hub.challenge").is_none() {
            return Err(Rejection::Forbidden("hub.challenge is missing"));
        }
        Ok(())
    }
}

/// Returns the response to a verified handshake; `None` if `request` is not a handshake.
pub(crate) fn handshake(request: &WebhookRequest) -> Option<ParsedWebhook> {
    let challenge = || request.query("hub.challenge").unwrap_or_default().to_owned();
    (request.method == Method::GET)
        .then(|| ParsedWebhook::Handshake(WebhookReply::text(StatusCode::OK, challenge())))
}
