//! Sends through the WhatsApp Cloud API: claim, send, settle.

fn main() -> Result<(), runtime::Error> {
    runtime::sender::run(&providers::whatsapp_cloud::SENDER)
}
