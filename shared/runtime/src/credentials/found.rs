//! What is stored in one of the places of credentials.

use domain::ports::PortResult;

/// What is stored in a place.
pub(super) enum Found<T> {
    Nothing,
    Stored(T),
    /// Something that cannot be read, for this reason.
    Unreadable(&'static str),
}

impl<T> Found<T> {
    /// Converts what is stored.
    pub(super) fn map<U>(self, read: impl FnOnce(T) -> Found<U>) -> Found<U> {
        match self {
            Self::Nothing => Found::Nothing,
            Self::Stored(stored) => read(stored),
            Self::Unreadable(reason) => Found::Unreadable(reason),
        }
    }

    /// Returns what is in the other place if nothing can be read here.
    pub(super) async fn or_else(
        self,
        other: impl Future<Output = PortResult<Self>>,
    ) -> PortResult<Self> {
        match self {
            Self::Stored(_) => Ok(self),
            Self::Nothing => other.await,
            Self::Unreadable(_) => match other.await? {
                Self::Nothing => Ok(self),
                found => Ok(found),
            },
        }
    }
}
