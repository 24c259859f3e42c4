//! Tests of the whole hub.
