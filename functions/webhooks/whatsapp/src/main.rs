//! Receives webhooks of the WhatsApp Cloud API: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::whatsapp_cloud::WEBHOOK)
}
