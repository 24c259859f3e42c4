//! Receives webhooks of TikTok: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::tiktok::WEBHOOK)
}
