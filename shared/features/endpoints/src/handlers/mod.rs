//! Consumer and schedule.

pub mod dispatch;
pub mod retries;
