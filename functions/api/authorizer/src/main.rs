//! API Gateway authorizer: authenticates the API key of a request.

fn main() -> Result<(), runtime::Error> {
    runtime::api::authorizer::run()
}
