//! Stores inbound messages and conversations, and notifies the tenant or queues a job.

pub(crate) fn main() -> Result<(), runtime::Error> {
    messaging::handlers::inbound::run::<work::Repository>()
}
