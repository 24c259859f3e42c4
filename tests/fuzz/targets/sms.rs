#![no_main]

fuzz::webhook!("sms");
