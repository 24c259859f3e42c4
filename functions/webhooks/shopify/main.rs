//! Receives webhooks of Shopify: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::shopify::WEBHOOK)
}
