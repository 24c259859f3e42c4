//! Sends through the Telegram Bot API: claim, send, settle.

fn main() -> Result<(), runtime::Error> {
    runtime::sender::run(&providers::telegram::SENDER)
}
