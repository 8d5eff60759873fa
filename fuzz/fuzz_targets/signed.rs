#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smol_gossip_fuzz::targets::signed::run(data));
