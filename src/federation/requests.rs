//! Signed requests to other servers.
//!
//! Spec: server-server, "Request Authentication".

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use net::Response;
use ruma::{
    OwnedRoomId, OwnedServerName, RoomAliasId, ServerName, UserId,
    api::{
        IncomingResponseExt as _, Metadata, OutgoingRequest, OutgoingRequestExt as _,
        federation::{
            authentication::{ServerSignatures, XMatrixSigningInput},
            query::{get_profile_information, get_room_information},
        },
        path_builder::PathBuilder,
    },
    profile::ProfileFieldName,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Error, Federation, Result, client::Limits};

/// Queries are small, and a client waits for them.
const QUERY: Limits = Limits {
    timeout: Duration::from_secs(15),
    max_body: 128 * 1024,
};
/// The most servers that are taken from one answer.
const MAX_SERVERS: usize = 100;

/// What an alias stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedAlias {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Servers that know the room.
    pub servers: Vec<OwnedServerName>,
}

impl Federation {
    /// Asks a user's server for the user's profile, or one field of it.
    pub async fn query_profile(
        &self,
        user_id: &UserId,
        field: Option<ProfileFieldName>,
    ) -> Result<Map<String, Value>> {
        let mut request = get_profile_information::v1::Request::new(user_id.to_owned());
        request.field = field;
        let response = self.request(user_id.server_name(), request, QUERY).await?;
        Ok(response.into_iter().collect())
    }

    /// Asks an alias's server for the room.
    pub async fn query_directory(&self, alias: &RoomAliasId) -> Result<ResolvedAlias> {
        let request = get_room_information::v1::Request::new(alias.to_owned());
        let response = self.request(alias.server_name(), request, QUERY).await?;
        let mut servers = response.servers;
        servers.truncate(MAX_SERVERS);
        Ok(ResolvedAlias {
            room_id: response.room_id,
            servers,
        })
    }

    /// Signs a request, sends it and reads the answer.
    pub(crate) async fn request<R>(
        &self,
        destination: &ServerName,
        request: R,
        limits: Limits,
    ) -> Result<R::IncomingResponse>
    where
        R: OutgoingRequest + Metadata<Authentication = ServerSignatures>,
        R::PathBuilder: for<'a> PathBuilder<Input<'a> = ()>,
    {
        let request = self.sign(destination, request)?;
        let client = &self.inner().client;
        let response = client.send(destination, request, limits).await?;
        let (head, body) = successful(destination, response)?.into_parts();
        let response = http::Response::from_parts(head, &*body);
        R::IncomingResponse::try_from_http_response(response).map_err(|error| {
            Error::InvalidResponse {
                server: destination.to_owned(),
                reason: error.to_string(),
            }
        })
    }

    /// A request as it is sent.
    pub(crate) fn sign<R>(
        &self,
        destination: &ServerName,
        request: R,
    ) -> Result<http::Request<Bytes>>
    where
        R: OutgoingRequest + Metadata<Authentication = ServerSignatures>,
        R::PathBuilder: for<'a> PathBuilder<Input<'a> = ()>,
    {
        let inner = self.inner();
        let signing = XMatrixSigningInput::new(
            inner.server_name.clone(),
            destination.to_owned(),
            inner.keys.own().key_pair(),
        );
        // The real host is known to the connection; it is no part of what is signed.
        let request = request.try_into_http_request::<BytesMut>("https://localhost", signing, ());
        let request = request.map_err(|error| Error::Request(error.to_string()))?;
        Ok(request.map(BytesMut::freeze))
    }
}

/// The response, unless it is an error.
pub(crate) fn successful(server: &ServerName, response: Response) -> Result<http::Response<Bytes>> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        errcode: String,
        error: String,
    }
    if response.status().is_success() {
        return Ok(response);
    }
    let body: Body = serde_json::from_slice(response.body()).unwrap_or_default();
    Err(Error::Remote {
        server: server.to_owned(),
        status: response.status().as_u16(),
        errcode: body.errcode,
        error: body.error,
    })
}
