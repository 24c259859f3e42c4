//! Receives webhooks of the WhatsApp Cloud API: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::whatsapp_cloud::WEBHOOK)
}
