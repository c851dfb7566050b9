#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| offset_fuzz::decoders::app_to_node(bytes));
