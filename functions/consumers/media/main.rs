//! Downloads the media of messages before the URLs of the providers expire.

pub(crate) fn main() -> Result<(), runtime::Error> {
    messaging::handlers::media::run()
}
