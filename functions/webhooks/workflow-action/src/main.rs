//! Receives the actions of GoHighLevel's workflows: verify, parse, queue, answer.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::ghl::WORKFLOW_ACTION)
}
