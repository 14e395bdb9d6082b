//! The whole program: its layers, its command line, its life as a process.

mod architecture;
mod config_check;
mod process;
