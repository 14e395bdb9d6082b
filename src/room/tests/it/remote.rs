//! Another server, as far as it makes events.

use std::sync::Arc;

use event::{Draft, Parents, Pdu, RoomVersion, Signer, State, auth};
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId,
    RoomId, RoomVersionId, UInt, UserId, server_name,
};
use serde_json::{Value, json, value::RawValue};
use storage::server_keys::{self, KeyResponse, ServerKey};

use crate::support::{NOW, Server, alice, raw};

/// A server whose keys are known.
pub(crate) struct Remote {
    pub(crate) name: OwnedServerName,
    pub(crate) signer: Signer,
}

/// A point of a room's graph, with the state there.
#[derive(Clone)]
pub(crate) struct Branch {
    pub(crate) version: RoomVersion,
    pub(crate) room_id: OwnedRoomId,
    pub(crate) state: State,
    pub(crate) tips: Vec<OwnedEventId>,
    pub(crate) depth: u64,
}

impl Remote {
    pub(crate) fn new() -> Self {
        let name = server_name!("remote.test").to_owned();
        let (signer, _) = Signer::generate(&name).expect("a key");
        Self { name, signer }
    }

    /// Makes the server's key known, as if it had been asked for it.
    pub(crate) async fn introduce(&self, server: &Server) {
        let key = ServerKey {
            key_id: self.signer.key_id().to_string(),
            public_key: self.signer.public_key_base64(),
            valid_until_ts: 2 * NOW,
            is_old: false,
        };
        let response = KeyResponse {
            response: "{}".to_owned(),
            fetched_ts: NOW,
            valid_until_ts: 2 * NOW,
        };
        let inserted =
            server_keys::insert(&server.test.database, &self.name, &[key], &response).await;
        inserted.expect("the key is stored");
    }

    pub(crate) fn user(name: &str) -> OwnedUserId {
        UserId::parse(format!("@{name}:remote.test")).expect("a user id")
    }

    /// A new room of this server that Bob has made and joined.
    pub(crate) fn room(&self, version: &RoomVersionId) -> Branch {
        let bob = Self::user("bob");
        let version = RoomVersion::of(version).expect("a version");
        let room_id = (!version.room_id_is_create_hash())
            .then(|| RoomId::parse("!room:remote.test").expect("a room id"));
        let draft = Draft {
            room_id,
            sender: bob.clone(),
            event_type: "m.room.create".into(),
            state_key: Some(String::new()),
            content: raw(&json!({ "room_version": version.id() })),
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::try_from(NOW).expect("a time")),
        };
        let parents = Parents {
            depth: 1,
            ..Parents::default()
        };
        let create = draft.build(&version, parents, &self.signer);
        let create = Arc::new(create.expect("an event"));
        let mut branch = Branch {
            room_id: create.room_id().clone(),
            state: State::from_iter([create.clone()]),
            tips: vec![create.event_id().clone()],
            depth: 1,
            version,
        };
        let place = ("m.room.member", Some(bob.as_str()));
        self.event(&mut branch, &bob, place, &json!({ "membership": "join" }));
        branch
    }

    /// Makes the join of a user at a branch, see [`Remote::event`].
    pub(crate) fn join(&self, branch: &mut Branch, user_id: &UserId) -> Arc<Pdu> {
        let place = ("m.room.member", Some(user_id.as_str()));
        self.event(branch, user_id, place, &json!({ "membership": "join" }))
    }

    /// Makes an event at a branch, which then ends with it; whether the rules allow it does not matter.
    pub(crate) fn event(
        &self,
        branch: &mut Branch,
        sender: &UserId,
        (event_type, state_key): (&str, Option<&str>),
        content: &Value,
    ) -> Arc<Pdu> {
        let content = raw(content);
        let auth_events = auth::select_auth_events(
            &branch.version,
            &branch.state,
            &event_type.into(),
            sender,
            state_key,
            &content,
        );
        branch.depth += 1;
        let parents = Parents {
            prev_events: branch.tips.clone(),
            auth_events: (auth_events.expect("auth events").iter())
                .map(|pdu| pdu.event_id().clone())
                .collect(),
            depth: branch.depth,
            ..Parents::default()
        };
        let ts = NOW + branch.depth;
        let draft = Draft {
            room_id: Some(branch.room_id.clone()),
            sender: sender.to_owned(),
            event_type: event_type.into(),
            state_key: state_key.map(str::to_owned),
            content,
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::try_from(ts).expect("a time")),
        };
        let pdu = draft.build(&branch.version, parents, &self.signer);
        let pdu = Arc::new(pdu.expect("an event"));
        branch.state.insert(pdu.clone());
        branch.tips = vec![pdu.event_id().clone()];
        pdu
    }
}

impl Branch {
    /// Where the room's graph ends on a server.
    pub(crate) async fn of(server: &Server, room_id: &RoomId) -> Self {
        let state = server.visible_state(room_id, &alice()).await;
        let last = server.stored(room_id).await.pop().expect("events");
        Self {
            version: RoomVersion::default_version(),
            room_id: room_id.to_owned(),
            state: state.expect("the state"),
            tips: vec![last.pdu.event_id().clone()],
            depth: last.pdu.depth(),
        }
    }
}

/// Events as they are sent.
pub(crate) fn texts<'a>(events: impl IntoIterator<Item = &'a Arc<Pdu>>) -> Vec<Box<RawValue>> {
    let events = events.into_iter();
    let text = |pdu: &Arc<Pdu>| RawValue::from_string(pdu.json().to_owned()).expect("JSON");
    events.map(text).collect()
}

impl Server {
    /// Receives events of a server in one transaction; returns the ids of those that it refuses.
    pub(crate) async fn receive_from(
        &self,
        remote: &Remote,
        room_id: &RoomId,
        events: &[Arc<Pdu>],
    ) -> Vec<OwnedEventId> {
        let received = self.receive(&remote.name, room_id, texts(events)).await;
        let received = received.expect("the events are received");
        assert_eq!(received.len(), events.len());
        let refused = received.into_iter().filter(|(_, result)| result.is_err());
        let mut refused: Vec<_> = refused.map(|(event_id, _)| event_id).collect();
        refused.sort();
        refused
    }

    /// Lets a user of a server join as the last event of the room; returns the id of that.
    pub(crate) async fn receive_join(
        &self,
        remote: &Remote,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> OwnedEventId {
        let mut branch = Branch::of(self, room_id).await;
        let joined = remote.join(&mut branch, user_id);
        let event_id = joined.event_id().clone();
        let refused = self.receive_from(remote, room_id, &[joined]).await;
        assert!(refused.is_empty());
        event_id
    }

    /// The ids of the events of the current state.
    pub(crate) async fn state_ids(&self, room_id: &RoomId) -> Vec<OwnedEventId> {
        self.catch_up().await;
        let state = self.visible_state(room_id, &alice()).await;
        let state = state.expect("the state");
        state.iter().map(|pdu| pdu.event_id().clone()).collect()
    }

    /// The event of the current state.
    pub(crate) async fn state_id(
        &self,
        room_id: &RoomId,
        event_type: &str,
        state_key: &str,
    ) -> Option<OwnedEventId> {
        self.catch_up().await;
        let state = self.visible_state(room_id, &alice()).await;
        let state = state.expect("the state");
        let event = state.get(event_type, state_key);
        event.map(|pdu| pdu.event_id().clone())
    }

    /// Whether members see an event.
    pub(crate) async fn is_shown(&self, room_id: &RoomId, event_id: &EventId) -> bool {
        self.read(room_id, &alice(), event_id).await.is_ok()
    }
}
