#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| offset_fuzz::decoders::knock(bytes));
