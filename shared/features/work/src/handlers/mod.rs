//! Schedule.

pub mod sweep;
