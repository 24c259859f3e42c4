//! API of the OpenAPI document.

pub(crate) fn main() -> Result<(), runtime::Error> {
    runtime::api::openapi::run(functions::openapi)
}
