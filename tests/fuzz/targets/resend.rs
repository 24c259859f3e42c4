#![no_main]

fuzz::webhook!("resend");
