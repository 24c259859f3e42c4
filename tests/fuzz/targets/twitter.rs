#![no_main]

fuzz::webhook!("twitter");
