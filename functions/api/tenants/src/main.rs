//! The API for tenants, their keys and their automation.

fn main() -> Result<(), runtime::Error> {
    runtime::api::tenants::run()
}
