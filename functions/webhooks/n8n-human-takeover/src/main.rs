//! Receives human takeover requests of n8n workflows: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::n8n::HUMAN_TAKEOVER)
}
