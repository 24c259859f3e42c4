//! Sends notifications to webhook endpoints: signed, and retried for three days.

fn main() -> Result<(), runtime::Error> {
    runtime::automation::run()
}
