#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wormhole_fuzzing::sdk::sdk_chat_copy(bytes));
