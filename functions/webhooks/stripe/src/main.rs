//! Receives Stripe's webhooks: verify, parse, queue, answer.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::stripe::WEBHOOK)
}
