//! Queues due notification retries, once a minute.

pub(crate) fn main() -> Result<(), runtime::Error> {
    endpoints::handlers::retries::run()
}
