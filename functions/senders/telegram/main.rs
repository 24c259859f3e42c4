//! Sends through the Telegram Bot API: claim, send, settle.

pub(crate) fn main() -> Result<(), runtime::Error> {
    messaging::handlers::sender::run(&providers::telegram::SENDER)
}
