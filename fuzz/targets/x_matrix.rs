//! The `Authorization` header of a request of another server: what is accepted is written as it was read.
#![no_main]

use federation::inputs::x_matrix;
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &str| {
    let Some(read) = x_matrix(header) else {
        return;
    };
    let written = HeaderValue::from(&read);
    let written = written.to_str().expect("text");
    let again = x_matrix(written).expect("its own text");
    assert_eq!(again.origin, read.origin);
    assert_eq!(again.destination, read.destination);
    assert_eq!(again.key, read.key);
    assert_eq!(again.sig.as_bytes(), read.sig.as_bytes());
});
