//! For those who run the server: the paths that Synapse's administration tools call.

pub(crate) mod register;
