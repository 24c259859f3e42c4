#![no_main]

fuzz::webhook!("custom");
