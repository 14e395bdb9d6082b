//! Uploads and downloads on a real PostgreSQL and a folder of their own.

mod pending;
mod support;
mod thumbnail;
mod upload;
