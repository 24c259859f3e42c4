//! Hashes.

use aws_lc_rs::digest;

/// Returns the SHA-256 hash of a text, in hexadecimal.
#[must_use]
pub fn sha256(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}
