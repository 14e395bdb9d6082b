//! The readiness check for load balancers.

use std::time::Duration;

use axum::{Json, Router, extract::State, routing::get};
use http::StatusCode;
use serde_json::{Value, json};
use storage::Database;
use tokio_util::sync::CancellationToken;

/// How long the database may take to answer.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone)]
struct ReadyState {
    database: Database,
    stopping: CancellationToken,
}

/// Adds `/ready`: the database answers, its schema is up to date, and the server is not stopping.
///
/// The router exists only after the migrations have been applied.
pub(crate) fn router(database: Database, stopping: CancellationToken) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .with_state(ReadyState { database, stopping })
}

async fn ready(State(state): State<ReadyState>) -> (StatusCode, Json<Value>) {
    if state.stopping.is_cancelled() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "ready": false, "reason": "stopping" })),
        );
    }
    match tokio::time::timeout(DATABASE_TIMEOUT, state.database.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, Json(json!({ "ready": true }))),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "ready": false, "reason": "database" })),
        ),
    }
}
