//! The content of events that are made here.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::Error;

/// The text of a value.
pub(crate) fn raw(value: &impl Serialize) -> Result<Box<RawValue>, Error> {
    to_raw_value(value).map_err(|error| Error::BadContent(error.to_string()))
}
