//! Receives inbound WhatsApp messages from Twilio: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::twilio::WHATSAPP)
}
