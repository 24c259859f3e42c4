#![no_main]

fuzz::webhook!("whatsapp-twilio");
