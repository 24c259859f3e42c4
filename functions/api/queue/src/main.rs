//! API of the job queue, from which workers pull.

fn main() -> Result<(), runtime::Error> {
    runtime::api::queue::run()
}
