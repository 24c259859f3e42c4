//! Proves the key of a request to the API.

fn main() -> Result<(), runtime::Error> {
    runtime::api::authorizer::run()
}
