#![no_main]

fuzz::webhook!("facebook");
