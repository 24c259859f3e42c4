//! Records verified webhooks that could not be parsed or match no account.

pub(crate) fn main() -> Result<(), runtime::Error> {
    events::handlers::parked::run()
}
