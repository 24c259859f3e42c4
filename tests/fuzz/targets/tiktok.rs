#![no_main]

fuzz::webhook!("tiktok");
