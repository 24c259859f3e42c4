//! Access tokens for voice clients, which make and receive calls in a browser or an app.

pub mod api;
