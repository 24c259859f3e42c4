#![no_main]

fuzz::webhook!("workflow-action");
