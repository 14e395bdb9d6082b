//! Encryption keys: upload, query, claim, signatures, changes.

use std::{collections::BTreeMap, time::Duration};

use e2ee::{CrossSigningUpload, KeyReplacement};
use ruma::{
    OneTimeKeyAlgorithm, OwnedServerName, UInt,
    api::client::keys::{
        claim_keys, get_key_changes, get_keys, upload_keys, upload_signatures, upload_signing_keys,
    },
};
use serde_json::{Value, json};
use types::{Fault, SyncToken};

use crate::{App, Matrix, Result, errcode, json::RawJson, uia::UiaRequest};

/// How long other servers are asked for keys, if the client does not say, and at the most.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REMOTE_TIMEOUT: Duration = Duration::from_secs(30);

/// Stores a device's keys and returns its key counts.
pub(crate) async fn upload(
    app: App,
    call: Matrix<upload_keys::v3::Request>,
) -> Result<upload_keys::v3::Response> {
    let upload = e2ee::KeyUpload {
        device_keys: call.request.device_keys,
        one_time_keys: call.request.one_time_keys,
        fallback_keys: call.request.fallback_keys,
    };
    let counts = app
        .keys
        .upload(call.caller.user_id(), call.caller.device()?, upload)
        .await?;
    let counts = counts.one_time.into_iter().map(|(algorithm, count)| {
        (
            OneTimeKeyAlgorithm::from(algorithm),
            UInt::try_from(count).unwrap_or(UInt::MAX),
        )
    });
    Ok(upload_keys::v3::Response::new(counts.collect()))
}

/// Returns the keys of users and their devices.
pub(crate) async fn query(
    app: App,
    call: Matrix<get_keys::v3::Request>,
) -> Result<get_keys::v3::Response> {
    let timeout = remote_timeout(call.request.timeout);
    let keys = app
        .keys
        .query(call.caller.user_id(), call.request.device_keys, timeout)
        .await?;
    let mut response = get_keys::v3::Response::new();
    response.failures = federation_failures(keys.failures);
    response.device_keys = keys.device_keys;
    response.master_keys = keys.master_keys;
    response.self_signing_keys = keys.self_signing_keys;
    response.user_signing_keys = keys.user_signing_keys;
    Ok(response)
}

/// Claims one-time keys of devices.
pub(crate) async fn claim(
    app: App,
    call: Matrix<claim_keys::v3::Request>,
) -> Result<claim_keys::v3::Response> {
    let timeout = remote_timeout(call.request.timeout);
    let claimed = app.keys.claim(call.request.one_time_keys, timeout).await?;
    let mut response = claim_keys::v3::Response::new(claimed.one_time_keys);
    response.failures = federation_failures(claimed.failures);
    Ok(response)
}

/// Stores a user's cross-signing keys; replacing existing ones requires authentication.
pub(crate) async fn upload_cross_signing(
    app: App,
    call: Matrix<UiaRequest<upload_signing_keys::v3::Request>>,
) -> Result<upload_signing_keys::v3::Response> {
    let UiaRequest { request, attempt } = call.request;
    let user_id = call.caller.user_id();
    let upload = CrossSigningUpload {
        master: request.master_key,
        self_signing: request.self_signing_key,
        user_signing: request.user_signing_key,
    };
    let replacement = if app.keys.replaces_cross_signing(user_id, &upload).await? {
        attempt.confirm(&app, &call.caller).await?;
        KeyReplacement::Allowed
    } else {
        KeyReplacement::Forbidden
    };
    app.keys
        .upload_cross_signing(user_id, upload, replacement)
        .await?;
    Ok(upload_signing_keys::v3::Response::new())
}

/// Adds signatures to keys and returns those that were rejected.
pub(crate) async fn upload_signatures(
    app: App,
    call: Matrix<upload_signatures::v3::Request>,
) -> Result<RawJson> {
    let signed = call.request.signed_keys.into_iter().map(|(user_id, keys)| {
        let keys = keys
            .iter()
            .map(|(key_id, key)| (key_id.to_owned(), key.to_owned()));
        (user_id, keys.collect())
    });
    let refused = app
        .keys
        .upload_signatures(call.caller.user_id(), signed.collect())
        .await?;
    let failures: BTreeMap<_, BTreeMap<_, _>> = refused
        .into_iter()
        .map(|(user_id, keys)| {
            let failure = |error: e2ee::Error| {
                json!({ "errcode": errcode::errcode(&error.kind()), "error": error.to_string() })
            };
            (user_id, keys.into_iter().map(|(key_id, error)| (key_id, failure(error))).collect())
        })
        .collect();
    Ok(RawJson(
        json!({ "failures": failures }).to_string().into_bytes(),
    ))
}

/// The users whose device lists changed between two syncs.
pub(crate) async fn changes(
    app: App,
    call: Matrix<get_key_changes::v3::Request>,
) -> Result<get_key_changes::v3::Response> {
    let from: SyncToken = call.request.from.parse()?;
    let _to: SyncToken = call.request.to.parse()?;
    let changes = app
        .keys
        .changes_since(call.caller.user_id(), from.stream)
        .await?;
    let (changed, left) = (changes.changed.into_iter(), changes.left.into_iter());
    Ok(get_key_changes::v3::Response::new(
        changed.collect(),
        left.collect(),
    ))
}

/// How long other servers are asked: as long as the client says, within bounds.
fn remote_timeout(asked: Option<Duration>) -> Duration {
    asked.map_or(REMOTE_TIMEOUT, |asked| asked.min(MAX_REMOTE_TIMEOUT))
}

/// The `failures` of servers that could not be reached.
fn federation_failures(
    servers: impl IntoIterator<Item = OwnedServerName>,
) -> BTreeMap<String, Value> {
    let failure = json!({ "status": 503, "message": "The server could not be reached" });
    servers
        .into_iter()
        .map(|server| (server.to_string(), failure.clone()))
        .collect()
}
