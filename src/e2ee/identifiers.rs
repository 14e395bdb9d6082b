//! Limits on identifiers that clients choose.

use crate::Error;

/// The longest identifier, in bytes, as in the specification.
const MAX_BYTES: usize = 255;

/// Whether the identifier can be stored.
pub(crate) fn is_valid_identifier(text: &str) -> bool {
    text.len() <= MAX_BYTES && !text.contains('\0')
}

/// Checks that an identifier can be stored.
pub(crate) fn check_identifier(what: &'static str, text: &str) -> Result<(), Error> {
    if is_valid_identifier(text) {
        Ok(())
    } else {
        Err(Error::InvalidIdentifier(what))
    }
}
