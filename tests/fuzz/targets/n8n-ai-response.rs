#![no_main]

fuzz::webhook!("n8n-ai-response");
