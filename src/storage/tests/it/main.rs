//! The stream and the committer against a real PostgreSQL.

mod committer;
mod feed;
mod support;
