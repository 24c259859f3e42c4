#![no_main]

fuzz::libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::drive(data));
