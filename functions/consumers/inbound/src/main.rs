//! Stores inbound messages and conversations, and notifies the tenant or queues a job.

fn main() -> Result<(), runtime::Error> {
    runtime::inbound::run()
}
