//! The API for integrations.

fn main() -> Result<(), runtime::Error> {
    runtime::api::integrations::run()
}
