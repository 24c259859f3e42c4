//! API of the OpenAPI document.

fn main() -> Result<(), runtime::Error> {
    runtime::api::openapi::run()
}
