//! The whole program: its layers, its command line, its life as a process, and its URLs over HTTP.

<<<<<<< HEAD
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test, a panic is how to say that something is wrong"
)]

=======
mod app;
>>>>>>> 93c575b (server: Try the client API over HTTP, on a database of each test's own)
mod architecture;
mod client;
mod config_check;
mod process;
