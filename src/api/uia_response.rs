//! The 401 response of user-interactive authentication.

use identity::uia::Stage;
use serde::Serialize;
use serde_json::{Map, Value};
use types::Fault;

use crate::errcode::errcode;

/// The flows, completed stages and last error of an incomplete authentication.
///
/// Spec: client-server, "User-Interactive Authentication API".
#[derive(Clone, Debug, Default, Serialize)]
pub struct UiaResponse {
    /// The session that the client repeats in its next attempt.
    pub session: String,
    /// The flows, each a list of stages that must all be completed.
    pub flows: Vec<UiaFlow>,
    /// The stages completed so far.
    pub completed: Vec<String>,
    /// Parameters that a stage needs, by stage.
    pub params: Map<String, Value>,
    /// Why the last attempt failed.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub error: Option<UiaError>,
}

/// One authentication flow.
#[derive(Clone, Debug, Serialize)]
pub struct UiaFlow {
    /// The stages, such as `m.login.password`.
    pub stages: Vec<String>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, Serialize)]
pub struct UiaError {
    /// The `errcode`, such as `M_FORBIDDEN`.
    pub errcode: String,
    /// The human-readable text.
    pub error: String,
}

impl From<identity::uia::IncompleteUia> for UiaResponse {
    fn from(incomplete: identity::uia::IncompleteUia) -> Self {
        let flow = |flow: &&[Stage]| UiaFlow {
            stages: flow.iter().map(|stage| stage.as_str().to_owned()).collect(),
        };
        let error = incomplete.error.map(|error| UiaError {
            errcode: errcode(&error.kind()).to_owned(),
            error: error.to_string(),
        });
        Self {
            session: incomplete.session,
            flows: incomplete.flows.iter().map(flow).collect(),
            completed: incomplete.completed,
            params: Map::new(),
            error,
        }
    }
}
