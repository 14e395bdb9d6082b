//! Requests to policy servers.
//!
//! Spec: server-server, "Policy Servers".

use std::time::Duration;

use event::Pdu;
use ruma::{ServerName, api::federation::policy::sign_event};
use serde_json::value::RawValue;

use crate::{Error, Federation, Result, client::Limits};

/// A signature, for which a client may wait.
const SIGNATURE: Limits = Limits {
    timeout: Duration::from_secs(10),
    max_body: 64 * 1024,
};

impl Federation {
    /// Asks a policy server to sign an event; returns the signature. Fails if the server does not
    /// recommend the event, or does not answer within ten seconds.
    pub async fn policy_signature(&self, server: &ServerName, event: &Pdu) -> Result<String> {
        let text = RawValue::from_string(event.json().to_owned());
        let text = text.map_err(|error| Error::Request(error.to_string()))?;
        let request = sign_event::v1::Request::new(text);
        let response = self.request(server, request, SIGNATURE).await?;
        let signature = response.ed25519_signature(server);
        let missing = || Error::InvalidResponse {
            server: server.to_owned(),
            reason: "the signature is missing".to_owned(),
        };
        Ok(signature.ok_or_else(missing)?.to_owned())
    }
}
