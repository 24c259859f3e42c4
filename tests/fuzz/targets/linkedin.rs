#![no_main]

fuzz::webhook!("linkedin");
