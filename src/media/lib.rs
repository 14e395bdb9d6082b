//! Uploads and downloads.
//!
//! A file is stored once under the hash of its content; media ids refer to it. Content types are
//! what uploaders say: whoever serves a file must not let a browser act on it.

mod download;
mod error;
mod handle;
mod pending;
mod store;
mod thumbnail;
mod upload;

pub use download::Download;
pub use error::{Error, Interrupted};
pub use handle::Media;
pub use pending::Created;
pub use thumbnail::Thumbnail;
pub use upload::{Body, Upload};
