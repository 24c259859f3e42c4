//! Queues due notification retries, once a minute.

fn main() -> Result<(), runtime::Error> {
    runtime::schedule::run()
}
