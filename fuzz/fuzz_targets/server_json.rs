#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wormhole_fuzzing::server::json(bytes));
