//! Receives inbound WhatsApp messages from Twilio: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::twilio::WHATSAPP)
}
