//! The stream and the committer against a real PostgreSQL.

mod committer;
mod device_lists;
mod feed;
mod support;
