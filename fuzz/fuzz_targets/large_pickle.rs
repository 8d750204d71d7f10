#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    vlsm_fuzz::large_pickle(bytes);
});
