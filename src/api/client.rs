//! The client-server API, one file per group of the specification.

pub(crate) mod capabilities;
pub(crate) mod versions;
