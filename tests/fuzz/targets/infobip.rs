#![no_main]

fuzz::webhook!("infobip");
