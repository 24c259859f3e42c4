//! Receives webhooks of TikTok: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::tiktok::WEBHOOK)
}
