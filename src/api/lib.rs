//! Every HTTP endpoint: decodes, asks a domain crate, answers. No rules, no SQL.

mod admin;
mod app;
pub mod authenticate;
mod client;
mod error;
mod federation;
mod health;
mod interactive;
pub mod json;
pub mod limits;
mod matrix;
pub mod routes;
mod routing;
#[cfg(test)]
mod tests;
mod uia;
mod well_known;

pub use app::{App, Handles};
pub use error::{Error, Result};
pub use matrix::{Answer, Fixed, Matrix};
pub use routing::{Route, Routes};
pub use uia::{Challenge, Flow, Refused};
