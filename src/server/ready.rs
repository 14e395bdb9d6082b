//! Whether requests can be answered now, for load balancers.

use std::time::Duration;

use axum::{Json, Router, extract::State, routing::get};
use http::StatusCode;
use serde_json::{Value, json};
use storage::Database;
use tokio_util::sync::CancellationToken;

/// A balancer that waits longer for an answer has given up already.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone)]
struct Subject {
    database: Database,
    stopping: CancellationToken,
}

/// Adds `/ready`: the database answers, its schema is up to date, and the server is not stopping.
///
/// The router exists only after the migrations have been applied.
pub(crate) fn router(database: Database, stopping: CancellationToken) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .with_state(Subject { database, stopping })
}

async fn ready(State(subject): State<Subject>) -> (StatusCode, Json<Value>) {
    if subject.stopping.is_cancelled() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "ready": false, "reason": "stopping" })),
        );
    }
    match tokio::time::timeout(PATIENCE, subject.database.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, Json(json!({ "ready": true }))),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "ready": false, "reason": "database" })),
        ),
    }
}
