//! Uploads and downloads.
//!
//! A file is stored once under the hash of its content; media ids refer to it. Content types are
//! as the uploaders declared them and must not be trusted by a browser.

mod download;
mod error;
mod handle;
mod image;
mod last_access;
mod pending;
mod store;
mod thumbnail;
mod upload;

pub use download::Download;
pub use error::{Error, Interrupted};
pub use handle::Media;
pub use image::{ThumbnailResult, ThumbnailSize, create_thumbnail};
pub use pending::PendingMedia;
pub use thumbnail::ThumbnailRequest;
pub use upload::{Body, Upload};
