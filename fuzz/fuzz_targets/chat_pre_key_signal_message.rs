#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wormhole_fuzzing::chat::pre_key_signal_message(bytes));
