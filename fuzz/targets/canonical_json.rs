//! Canonical JSON: text from outside is refused, or has one form that is its own canonical form.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(object) = event::canonical_object(text) else {
        return;
    };
    let canonical = serde_json::to_string(&object).expect("an object is written");
    let again = event::canonical_object(&canonical).expect("what was written is read");
    assert_eq!(object, again);
    assert_eq!(canonical, serde_json::to_string(&again).expect("written"));
});
