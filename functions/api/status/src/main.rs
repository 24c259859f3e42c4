//! Health check.

fn main() -> Result<(), runtime::Error> {
    runtime::api::status::run()
}
