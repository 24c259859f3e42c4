//! Receives Facebook's and Instagram's webhooks: verify, parse, queue, answer.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::facebook::WEBHOOK)
}
