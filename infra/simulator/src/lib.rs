//! Simulator of WhatsApp, Telegram, Evolution, Twilio, Infobip, a BSP and a tenant's automation.
//!
//! A fake that accepts anything proves nothing: this one refuses what the providers refuse, signs
//! as they sign, and retries as they do. A provider is a folder with an implementation of
//! [`provider::SimulatedProvider`] and a line in [`providers`]; it gets requests and the time as
//! arguments and does no I/O. [`server`], [`entry`] and [`deliver`] put all of them behind HTTP.
//! `README.md` documents the control API, what is enforced and what is not.

pub mod answer;
pub mod automation;
pub mod bsp;
pub mod calls;
pub mod clock;
mod connection;
mod control;
pub mod deliver;
pub mod entry;
pub mod evolution;
pub mod faults;
pub mod fields;
pub mod ids;
pub mod infobip;
pub mod limits;
pub mod log;
pub mod provider;
pub mod providers;
pub mod receipts;
pub mod redelivery;
pub mod request;
pub mod server;
pub mod sign;
pub mod telegram;
pub mod twilio;
pub mod webhook;
pub mod whatsapp;
pub mod world;
