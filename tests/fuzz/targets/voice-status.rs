#![no_main]

fuzz::webhook!("voice-status");
