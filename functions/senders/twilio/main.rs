//! Sends SMS, WhatsApp messages and calls through Twilio: claim, send, settle.

pub(crate) fn main() -> Result<(), runtime::Error> {
    messaging::handlers::sender::run(&providers::twilio::SENDER)
}
