#![no_main]

fuzz::webhook!("ghl");
