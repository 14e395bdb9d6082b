//! The whole program: its layers, its command line, its life as a process, and its URLs over HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test, a panic is how to say that something is wrong"
)]

mod app;
mod architecture;
mod client;
mod config_check;
mod process;
