//! Records verified webhooks that could not be parsed or match no account.

fn main() -> Result<(), runtime::Error> {
    runtime::parked::run()
}
