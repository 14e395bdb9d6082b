//! Keys of one server that another one tells.

use std::collections::BTreeMap;

use ruma::{CanonicalJsonObject, MilliSecondsSinceUnixEpoch, UInt};
use serde_json::Value;

use super::*;

fn until(ts: u64) -> MilliSecondsSinceUnixEpoch {
    MilliSecondsSinceUnixEpoch(UInt::try_from(ts).unwrap())
}

/// Whether a server has signed a response with a key that the response of its own names.
fn is_signed_by(response: &str, own: &str) -> bool {
    let object = event::canonical_object(response).unwrap();
    let own: Value = serde_json::from_str(own).unwrap();
    let server = own["server_name"].as_str().unwrap();
    let mut keys = own["verify_keys"].as_object().unwrap().iter();
    keys.all(|(key_id, key)| {
        event::verify_json(&object, server, key_id, key["key"].as_str().unwrap()).is_ok()
    })
}

#[tokio::test]
async fn keys_of_others_are_told_with_both_signatures() {
    let pair = Pair::start(no_answer).await;
    let gone = ServerName::parse("127.0.0.1:1").unwrap();
    let own = testkit::server_name();
    let wanted = [pair.peer.name.clone(), own.clone(), gone].map(|server| (server, until(NOW)));
    let told = pair.federation.notarised_keys(wanted.clone().into()).await;
    // Nothing is known of the one that cannot be reached.
    assert_eq!(told.len(), 2);
    let of = |server: &ServerName| {
        let named = format!(r#""server_name":"{server}""#);
        told.iter()
            .find(|response| response.get().contains(&named))
            .unwrap()
            .get()
    };
    let (theirs, ours) = (of(&pair.peer.name), of(&own));
    assert!(is_signed_by(ours, ours));
    assert!(is_signed_by(theirs, theirs) && is_signed_by(theirs, ours));

    // What is valid for long enough is not fetched again; what is not, as soon as may be.
    pair.federation.notarised_keys(wanted.into()).await;
    assert_eq!(pair.key_requests(), 1);
    let closed = federation(&pair.ca, "closed", &pair.database, &pair.clock);
    let wanted = BTreeMap::from([(pair.peer.name.clone(), until(NOW))]);
    assert!(closed.notarised_keys(wanted).await.is_empty());
}

/// The keys of a server that cannot be reached, told by a notary.
async fn by_notary(notary_signs: bool) -> Result<()> {
    let gone = ServerName::parse("127.0.0.1:1").unwrap();
    let (signer, _) = Signer::generate(&gone).unwrap();
    let keys = OwnKeys::new(signer.clone(), HOUR).response(NOW).unwrap();
    let notary: Arc<RwLock<Option<Signer>>> = Arc::default();
    let (signing, wanted) = (Arc::clone(&notary), format!("/_matrix/key/v2/query/{gone}"));
    let pair = Pair::start(move |received| {
        if !received.target.starts_with(&wanted) {
            return no_answer(received);
        }
        let mut object: CanonicalJsonObject = event::canonical_object(&keys).unwrap();
        if let Some(signer) = signing.read().as_ref() {
            signer.sign_json(&mut object).unwrap();
        }
        let answer = json!({ "server_keys": [object] });
        Response::new(Body::from(answer.to_string()))
    })
    .await;
    if notary_signs {
        *notary.write() = Some(pair.peer.signer.read().clone());
    }
    let settings = format!("mode = 'open'\nnotaries = ['{}']", pair.peer.name);
    let federation = federation_with(&pair.ca, &settings, &pair.database, &pair.clock);
    let absent = Peer {
        name: gone,
        signer: Arc::new(RwLock::new(signer)),
        server: pair.peer.server,
    };
    let headers = absent.sign_for_us("/target", "{}");
    let credentials = federation.credentials(&headers)?;
    let body = Bytes::from_static(b"{}");
    let uri = Uri::from_static("/target");
    federation
        .verify(&credentials, &Method::PUT, &uri, &body)
        .await
}

#[tokio::test]
async fn a_configured_notary_is_asked_for_keys_of_a_server_that_does_not_answer() {
    by_notary(true).await.unwrap();
}

#[tokio::test]
async fn keys_that_the_notary_has_not_signed_are_not_believed() {
    assert!(matches!(by_notary(false).await, Err(Error::NoKeys { .. })));
}
