//! Tells tenants' automations, signed and once, and retries for three days.

fn main() -> Result<(), runtime::Error> {
    runtime::automation::run()
}
