#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fantail_fuzz::targets::named("http2")(data));
