//! Receives human takeover requests of n8n workflows: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::n8n::HUMAN_TAKEOVER)
}
