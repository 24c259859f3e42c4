//! What the operator does with the hub's queues: list and redrive dead letters.

pub mod api;
pub mod model;
pub mod redrive;
