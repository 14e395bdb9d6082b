//! `[well_known]`: what `/.well-known/matrix/` tells about this server.

use ruma::{OwnedServerName, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::problem::Findings;

/// What `/.well-known/matrix/` tells about this server.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WellKnown {
    /// The base URL for clients; `client.public_base_url` if not set.
    pub client_base_url: Option<String>,
    /// Where other servers find this one; `/.well-known/matrix/server` is not served if not set.
    pub server: Option<OwnedServerName>,
    /// A page that helps users.
    pub support_page: Option<String>,
    /// Whom users and other administrators may turn to.
    pub support_contacts: Vec<SupportContact>,
}

/// A person or office that answers for this server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SupportContact {
    /// `m.role.admin` or `m.role.security`.
    pub role: String,
    /// How to reach it on Matrix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix_id: Option<OwnedUserId>,
    /// How to reach it by mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_address: Option<String>,
}

impl WellKnown {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        super::check_url(
            self.client_base_url.as_deref(),
            "well_known.client_base_url",
            findings,
        );
        super::check_url(
            self.support_page.as_deref(),
            "well_known.support_page",
            findings,
        );
        // Spec: client-server, "GET /.well-known/matrix/support": a contact has at least one way to reach it.
        let reachable = |contact: &SupportContact| {
            contact.matrix_id.is_some() || contact.email_address.is_some()
        };
        findings.require(
            self.support_contacts.iter().all(reachable),
            "well_known.support_contacts",
            "each contact needs a matrix_id or an email_address",
        );
    }
}
