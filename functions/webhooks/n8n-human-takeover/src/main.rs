//! Receives the calls for a person of n8n's workflows: verify, parse, queue, answer.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::n8n::HUMAN_TAKEOVER)
}
