//! API of tenants, their API keys and their automations.

fn main() -> Result<(), runtime::Error> {
    runtime::api::tenants::run()
}
