#![no_main]

fuzz::webhook!("stripe");
