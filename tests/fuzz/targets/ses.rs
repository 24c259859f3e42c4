#![no_main]

fuzz::webhook!("ses");
