#![no_main]

fuzz::webhook!("shopify");
