//! The 401 answer of user-interactive authentication.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use identity::uia::Stage;
use serde::Serialize;
use serde_json::{Map, Value};

use types::Fault;

use crate::{error, json};

/// What the client still has to do before the request is carried out.
///
/// Spec: client-server, "User-Interactive Authentication API".
#[derive(Clone, Debug, Default, Serialize)]
pub struct Challenge {
    /// The session that the client repeats in its next attempt.
    pub session: String,
    /// The ways to authenticate, each a list of stages that must all be completed.
    pub flows: Vec<Flow>,
    /// The stages completed so far.
    pub completed: Vec<String>,
    /// What a stage needs to be shown, by stage.
    pub params: Map<String, Value>,
    /// Why the attempt just made was refused.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

/// One way to authenticate.
#[derive(Clone, Debug, Serialize)]
pub struct Flow {
    /// The stages, such as `m.login.password`.
    pub stages: Vec<String>,
}

/// Why an attempt was refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// The `errcode`, such as `M_FORBIDDEN`.
    pub errcode: String,
    /// The text for humans.
    pub error: String,
}

impl From<identity::uia::Challenge> for Challenge {
    fn from(challenge: identity::uia::Challenge) -> Self {
        let flow = |flow: &&[Stage]| Flow {
            stages: flow.iter().map(|stage| stage.as_str().to_owned()).collect(),
        };
        let refused = challenge.refused.map(|error| Refused {
            errcode: error::errcode(&error.kind()).to_owned(),
            error: error.to_string(),
        });
        Self {
            session: challenge.session,
            flows: challenge.flows.iter().map(flow).collect(),
            completed: challenge.completed,
            params: Map::new(),
            refused,
        }
    }
}

impl IntoResponse for Challenge {
    fn into_response(self) -> Response {
        match serde_json::to_string(&self) {
            Ok(body) => json::answer(StatusCode::UNAUTHORIZED, body),
            Err(error) => json::unwritable(&error),
        }
    }
}
