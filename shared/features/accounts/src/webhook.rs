//! Webhook functions: the webhook edge, which finds the integration of a request.

use domain::webhook::WebhookProvider;
use runtime::Error;

use crate::Repository;

/// Serves the webhook of a provider until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run(provider: &'static dyn WebhookProvider) -> Result<(), Error> {
    runtime::webhook::run::<Repository>(provider)
}
