//! Sends through the WhatsApp Cloud API: claim, send, settle.

pub(crate) fn main() -> Result<(), runtime::Error> {
    messaging::handlers::sender::run(&providers::whatsapp_cloud::SENDER)
}
