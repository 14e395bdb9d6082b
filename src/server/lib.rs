//! The server: command line, wiring, sockets, start-up, shutdown.

pub mod app;
mod cli;
mod database;
mod lifecycle;
mod listen;
mod ready;
mod reload;
mod settings;
mod sockets;
mod stack;
mod telemetry;
mod tls;
mod workers;

pub use cli::run;
