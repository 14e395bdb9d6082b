//! The server: command line, wiring, sockets, start-up, shutdown.

pub mod app;
