//! For tests only: databases and factories.

mod database;

pub use database::{TestDatabase, database, server_name, template};
