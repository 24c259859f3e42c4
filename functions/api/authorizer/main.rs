//! API Gateway authorizer: authenticates the API key of a request.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::authorizer::run()
}
