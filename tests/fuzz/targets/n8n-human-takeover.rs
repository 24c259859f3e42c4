#![no_main]

fuzz::webhook!("n8n-human-takeover");
