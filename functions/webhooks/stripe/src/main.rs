//! Receives webhooks of Stripe: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::stripe::WEBHOOK)
}
