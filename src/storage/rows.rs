//! From columns to Matrix types.

use std::fmt::Display;

use crate::Error;

/// Reads an identifier column.
pub(crate) fn id<T>(text: impl Into<String>) -> Result<T, Error>
where
    T: TryFrom<String>,
    T::Error: Display,
{
    T::try_from(text.into()).map_err(|error| Error::Corrupt(error.to_string()))
}
