//! The body of `/.well-known/matrix/server`.
#![no_main]

use federation::inputs::well_known;
use libfuzzer_sys::fuzz_target;
use ruma::ServerName;

fuzz_target!(|body: &[u8]| {
    if let Some(server) = well_known(body) {
        assert_eq!(ServerName::parse(server.as_str()).as_ref(), Ok(&server));
    }
});
