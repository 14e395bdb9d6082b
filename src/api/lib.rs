//! Every HTTP endpoint: decodes the request, calls a domain crate, writes the response. No rules, no SQL.

mod admin;
mod app;
pub mod authenticate;
mod client;
mod endpoint;
mod errcode;
mod error;
mod federation;
mod guests;
mod health;
pub mod json;
pub mod limits;
mod matrix;
pub mod routes;
mod routing;
#[cfg(test)]
mod tests;
mod uia;
mod uia_response;
mod well_known;

pub use app::{App, Handles};
pub use error::{Error, Result};
pub use matrix::{IntoMatrixResponse, Matrix, PathDefaults};
pub use routing::{Route, Routes};
pub use uia_response::{UiaError, UiaFlow, UiaResponse};
