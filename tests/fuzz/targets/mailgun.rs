#![no_main]

fuzz::webhook!("mailgun");
