//! The answer to a request for a server's keys: nobody here can sign one, so that none holds.
#![no_main]

use federation::inputs::server_keys;
use libfuzzer_sys::fuzz_target;
use ruma::server_name;

const NOW: u64 = 1_700_000_000_000;

fuzz_target!(|body: &[u8]| {
    assert_eq!(server_keys(server_name!("a.org"), body, NOW), None);
});
