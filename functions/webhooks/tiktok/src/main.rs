//! Receives TikTok's webhooks: verify, parse, queue, answer.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::tiktok::WEBHOOK)
}
