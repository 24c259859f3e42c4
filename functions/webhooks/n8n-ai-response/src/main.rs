//! Receives what n8n's workflows answer: verify, parse, queue, answer.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::n8n::AI_RESPONSE)
}
