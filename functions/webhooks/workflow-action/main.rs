//! Receives actions of GoHighLevel workflows: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::ghl::WORKFLOW_ACTION)
}
