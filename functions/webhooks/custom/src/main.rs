//! Receives the webhooks whose scheme their integration declares: verify, parse, queue, answer.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::custom::WEBHOOK)
}
