//! Serves the description of the API.

fn main() -> Result<(), runtime::Error> {
    runtime::api::openapi::run()
}
