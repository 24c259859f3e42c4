//! API of integrations.

fn main() -> Result<(), runtime::Error> {
    runtime::api::integrations::run()
}
