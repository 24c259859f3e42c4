#![no_main]

fuzz::webhook!("evolution");
