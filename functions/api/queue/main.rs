//! API of the job queue, from which workers pull.

pub(crate) fn main() -> Result<(), runtime::Error> {
    work::api::queue::run()
}
