//! A room for tests, built event by event without a server.

use std::{collections::HashMap, sync::Arc};

use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId,
    RoomVersionId, ServerName, UInt, UserId,
};
use serde_json::{Value, json, value::to_raw_value};

use crate::{Denied, Draft, FormatError, Parents, Pdu, RoomVersion, Signer, State, auth};

pub(crate) const ALICE: &str = "@alice:example.org";
pub(crate) const BOB: &str = "@bob:example.org";
pub(crate) const CAROL: &str = "@carol:example.org";

/// The signing key of the specification's test vectors, for a server of any name.
pub(crate) fn signer(server_name: &str) -> Signer {
    const DOCUMENT: [u8; 48] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20, 0x60, 0x90, 0xc1, 0x03, 0xd5, 0xe7, 0xaf, 0x6b, 0x15, 0xa9, 0x70, 0xfd, 0x56, 0x3e,
        0xd7, 0x55, 0x49, 0xe6, 0x15, 0x97, 0x19, 0xae, 0x5c, 0x3c, 0x31, 0xde, 0xe4, 0x31, 0x6f,
        0xb7, 0x5c, 0x0d,
    ];
    Signer::from_der(
        <&ServerName>::try_from(server_name).unwrap(),
        "1",
        &DOCUMENT,
    )
    .unwrap()
}

pub(crate) fn version(number: &str) -> RoomVersion {
    RoomVersion::of(&RoomVersionId::try_from(number).unwrap()).unwrap()
}

pub(crate) fn user(id: &str) -> &UserId {
    <&UserId>::try_from(id).unwrap()
}

/// One branch of a room's graph; a clone is a fork.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) version: RoomVersion,
    id: OwnedRoomId,
    pub(crate) state: State,
    pub(crate) events: HashMap<OwnedEventId, Arc<Pdu>>,
    heads: Vec<OwnedEventId>,
    depth: u64,
    now: u64,
}

impl Room {
    /// A room with nothing but its create event, sent by Alice.
    pub(crate) fn with_create_event(number: &str, mut content: Value) -> Self {
        let version = version(number);
        if !version.creator_is_sender() {
            content["creator"] = json!(ALICE);
        }
        content["room_version"] = json!(number);
        let room_id = (!version.room_id_is_create_hash())
            .then(|| RoomId::parse("!room:example.org").unwrap());
        let draft = Draft {
            room_id,
            ..draft(ALICE, "m.room.create", Some(""), &content)
        };
        let parents = Parents {
            depth: 1,
            ..Parents::default()
        };
        let create = draft
            .build(&version, parents, &signer("example.org"))
            .unwrap();
        auth::check_local(&version, &create, &State::new()).unwrap();
        let mut room = Self {
            id: create.room_id().clone(),
            version,
            state: State::new(),
            events: HashMap::new(),
            heads: Vec::new(),
            depth: 1,
            now: 1_000,
        };
        room.apply(Arc::new(create));
        room
    }

    /// A public room that Alice created and joined; state may be set from level 50.
    pub(crate) fn new(number: &str) -> Self {
        let mut room = Self::with_create_event(number, json!({}));
        room.join(ALICE).unwrap();
        let users = if room.version.privileges_creators() {
            json!({})
        } else {
            json!({ALICE: 100})
        };
        room.set(ALICE, "m.room.power_levels", "", json!({"users": users}))
            .unwrap();
        room.set(
            ALICE,
            "m.room.join_rules",
            "",
            json!({"join_rule": "public"}),
        )
        .unwrap();
        room
    }

    pub(crate) fn join(&mut self, user: &str) -> Result<Arc<Pdu>, Denied> {
        self.member(user, user, "join")
    }

    pub(crate) fn member(
        &mut self,
        sender: &str,
        target: &str,
        membership: &str,
    ) -> Result<Arc<Pdu>, Denied> {
        self.set(
            sender,
            "m.room.member",
            target,
            json!({"membership": membership}),
        )
    }

    pub(crate) fn set(
        &mut self,
        sender: &str,
        event_type: &str,
        key: &str,
        content: Value,
    ) -> Result<Arc<Pdu>, Denied> {
        self.send(sender, event_type, Some(key), content)
    }

    pub(crate) fn message(&mut self, sender: &str) -> Result<Arc<Pdu>, Denied> {
        self.send(
            sender,
            "m.room.message",
            None,
            json!({"msgtype": "m.text", "body": "hello"}),
        )
    }

    /// Builds an event on this branch and, if the rules allow it, appends it.
    pub(crate) fn send(
        &mut self,
        sender: &str,
        event_type: &str,
        key: Option<&str>,
        content: Value,
    ) -> Result<Arc<Pdu>, Denied> {
        let event = Arc::new(self.build(sender, event_type, key, content).unwrap());
        auth::check_local(&self.version, &event, &self.state)?;
        self.apply(event.clone());
        Ok(event)
    }

    /// Builds an event on this branch, allowed or not.
    pub(crate) fn build(
        &self,
        sender: &str,
        event_type: &str,
        key: Option<&str>,
        content: Value,
    ) -> Result<Pdu, FormatError> {
        let redacts = match event_type {
            "m.room.redaction" => content["redacts"].as_str().map(|id| id.try_into().unwrap()),
            _ => None,
        };
        let draft = Draft {
            room_id: Some(self.id.clone()),
            origin_server_ts: time(self.now),
            redacts,
            ..draft(sender, event_type, key, &content)
        };
        let allowed_by = auth::select_auth_events(
            &self.version,
            &self.state,
            &draft.event_type,
            &draft.sender,
            draft.state_key.as_deref(),
            &draft.content,
        );
        let parents = Parents {
            prev_events: self.heads.clone(),
            auth_events: allowed_by
                .map_err(|denied| FormatError::Malformed(denied.0))?
                .iter()
                .map(|event| event.event_id().clone())
                .collect(),
            reference_hashes: self.reference_hashes(),
            depth: self.depth + 1,
        };
        let signer = signer(draft.sender.server_name().as_str());
        draft.build(&self.version, parents, &signer)
    }

    /// The hashes by which events of room versions 1 and 2 name others.
    pub(crate) fn reference_hashes(&self) -> HashMap<OwnedEventId, String> {
        if !self.version.references_have_hashes() {
            return HashMap::new();
        }
        let hash = |event: &Pdu| event.reference_hash(&self.version).unwrap();
        let events = self.events.iter();
        events
            .map(|(id, event)| (id.clone(), hash(event)))
            .collect()
    }

    /// Lets time pass, so that the next event of this branch is later.
    pub(crate) fn wait(&mut self, millis: u64) {
        self.now += millis;
    }

    pub(crate) fn fetch(&self, id: &EventId) -> Option<Arc<Pdu>> {
        self.events.get(id).cloned()
    }

    /// Takes over the other branch's events, but not its state.
    pub(crate) fn merge_events(&mut self, other: &Self) {
        self.events.extend(
            other
                .events
                .iter()
                .map(|(id, event)| (id.clone(), event.clone())),
        );
    }

    fn apply(&mut self, event: Arc<Pdu>) {
        self.depth = event.depth();
        self.heads = vec![event.event_id().clone()];
        self.now += 1;
        self.events.insert(event.event_id().clone(), event.clone());
        self.state.insert(event);
    }
}

pub(crate) fn draft(sender: &str, event_type: &str, key: Option<&str>, content: &Value) -> Draft {
    Draft {
        room_id: None,
        sender: OwnedUserId::try_from(sender).unwrap(),
        event_type: event_type.into(),
        state_key: key.map(str::to_owned),
        content: to_raw_value(content).unwrap(),
        redacts: None,
        origin_server_ts: time(1_000),
    }
}

pub(crate) fn time(millis: u64) -> MilliSecondsSinceUnixEpoch {
    MilliSecondsSinceUnixEpoch(UInt::try_from(millis).unwrap())
}
