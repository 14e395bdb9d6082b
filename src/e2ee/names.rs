//! Names that clients choose and the database looks things up by.

use crate::Error;

/// The longest name, in bytes: as for the identifiers of the specification.
const MAX_BYTES: usize = 255;

/// Whether something of that name can be there at all.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= MAX_BYTES && !text.contains('\0')
}

/// Refuses names that cannot be stored.
pub(crate) fn check_name(what: &'static str, text: &str) -> Result<(), Error> {
    if is_name(text) {
        Ok(())
    } else {
        Err(Error::InvalidName(what))
    }
}
