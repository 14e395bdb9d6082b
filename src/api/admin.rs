//! The admin API, with the paths that Synapse's tools call.

pub(crate) mod register;
