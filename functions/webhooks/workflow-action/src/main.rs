//! Receives actions of GoHighLevel workflows: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::ghl::WORKFLOW_ACTION)
}
