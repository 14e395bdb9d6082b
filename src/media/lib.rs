//! Uploads and downloads, of this server's files and of other servers'.
//!
//! A file of this server is stored once under the hash of its content; media ids refer to it. Files of other servers are
//! fetched when they are asked for, and kept in a cache. Content types are
//! as the uploaders declared them and must not be trusted by a browser.

mod cache;
mod download;
mod error;
mod fetch;
mod handle;
mod image;
mod last_access;
mod metrics;
mod pending;
mod range;
mod remote;
mod store;
mod thumbnail;
mod upload;

pub use download::Download;
pub use error::{Error, Interrupted};
pub use federation::ThumbnailRequest;
pub use handle::Media;
pub use image::{ThumbnailResult, ThumbnailSize, create_thumbnail};
pub use pending::PendingMedia;
pub use range::RangeRequest;
pub use upload::{Body, Upload};
