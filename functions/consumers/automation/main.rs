//! Sends notifications to webhook endpoints: signed, and retried for three days.

pub(crate) fn main() -> Result<(), runtime::Error> {
    endpoints::handlers::dispatch::run()
}
