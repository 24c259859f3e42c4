//! WhatsApp, Telegram, Evolution, Twilio, Infobip, a BSP and a tenant's automation, with their rules.
//!
//! A fake that accepts anything proves nothing: this one refuses what the providers refuse,
//! signs as they sign, and tries again as they do. The rules ([`whatsapp`], [`telegram`],
//! [`evolution`], [`twilio`], [`infobip`], [`bsp`], [`automation`], [`faults`]) take state and
//! time and do no I/O; [`server`] and [`deliver`]
//! put them behind HTTP. `README.md` has the control API, and what is enforced and what not.

pub mod answer;
pub mod automation;
pub mod bsp;
pub mod callback;
pub mod clock;
mod control;
pub mod deliver;
pub mod evolution;
pub mod faults;
pub mod ids;
pub mod infobip;
pub mod limits;
pub mod log;
pub mod redelivery;
pub mod server;
pub mod sign;
pub mod telegram;
pub mod twilio;
pub mod whatsapp;
pub mod world;
