//! The API for jobs, which workers pull.

fn main() -> Result<(), runtime::Error> {
    runtime::api::queue::run()
}
