//! Receives webhooks of Shopify: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::shopify::WEBHOOK)
}
