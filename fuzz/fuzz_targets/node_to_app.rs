#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| offset_fuzz::decoders::node_to_app(bytes));
