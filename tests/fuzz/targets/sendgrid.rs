#![no_main]

fuzz::webhook!("sendgrid");
