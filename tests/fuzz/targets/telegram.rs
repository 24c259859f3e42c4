#![no_main]

fuzz::webhook!("telegram");
