use event::{Draft, Parents, Signer, State, auth};
use ruma::{OwnedUserId, RoomVersionId, UInt, owned_user_id, server_name, user_id};
use serde_json::{Value, json, value::to_raw_value};

use super::*;

/// A room of another server, of which the events are known by what they are.
struct Elsewhere {
    identity: RoomIdentity,
    signer: Signer,
    events: Vec<Arc<Pdu>>,
    state: State,
}

impl Elsewhere {
    /// A public room that Alice has made and Bob has joined.
    fn new(version: &RoomVersionId) -> Self {
        let (signer, _) = Signer::generate(server_name!("elsewhere.test")).unwrap();
        let version = RoomVersion::of(version).unwrap();
        let room_id = OwnedRoomId::try_from("!room:elsewhere.test").unwrap();
        let mut room = Self {
            identity: RoomIdentity {
                room_nid: RoomNid(7),
                room_id,
                version: version.clone(),
            },
            signer,
            events: Vec::new(),
            state: State::new(),
        };
        let create = json!({ "room_version": version.id(), "creator": alice() });
        let create = room.add(&alice(), "m.room.create", Some(""), &create);
        room.identity.room_id = create.room_id().clone();
        room.member(&alice(), "join");
        let public = json!({ "join_rule": "public" });
        room.add(&alice(), "m.room.join_rules", Some(""), &public);
        room.member(&bob(), "join");
        room
    }

    fn member(&mut self, user_id: &OwnedUserId, membership: &str) -> Arc<Pdu> {
        let content = json!({ "membership": membership });
        self.add(user_id, "m.room.member", Some(user_id.as_str()), &content)
    }

    /// Adds an event, whether the rules allow it or not.
    fn add(
        &mut self,
        sender: &OwnedUserId,
        event_type: &str,
        state_key: Option<&str>,
        content: &Value,
    ) -> Arc<Pdu> {
        let version = &self.identity.version;
        let content = to_raw_value(content).unwrap();
        let auth_events = auth::select_auth_events(
            version,
            &self.state,
            &event_type.into(),
            sender,
            state_key,
            &content,
        );
        let named = self.events.last().into_iter().cloned();
        let named: Vec<Arc<Pdu>> = named.chain(auth_events.clone().unwrap()).collect();
        let hash = |pdu: &Arc<Pdu>| {
            let hash = pdu.reference_hash(version).unwrap();
            (pdu.event_id().clone(), hash)
        };
        let parents = Parents {
            prev_events: (self.events.last().into_iter())
                .map(|pdu| pdu.event_id().clone())
                .collect(),
            auth_events: (auth_events.unwrap().iter())
                .map(|pdu| pdu.event_id().clone())
                .collect(),
            reference_hashes: named.iter().map(hash).collect(),
            depth: self.events.len() as u64 + 1,
        };
        let names_room = event_type != "m.room.create" || !version.room_id_is_create_hash();
        let draft = Draft {
            room_id: names_room.then(|| self.identity.room_id.clone()),
            sender: sender.clone(),
            event_type: event_type.into(),
            state_key: state_key.map(ToOwned::to_owned),
            content,
            redacts: None,
            origin_server_ts: ruma::MilliSecondsSinceUnixEpoch(UInt::from(1_000_u32)),
        };
        let pdu = Arc::new(draft.build(version, parents, &self.signer).unwrap());
        self.events.push(pdu.clone());
        self.state.insert(pdu.clone());
        pdu
    }

    /// What comes of these events when `known` are known before.
    fn judged(&self, events: &[Arc<Pdu>], known: KnownEvents) -> Judged {
        let ordered = in_auth_order(events.to_vec());
        let nids = (100..).take(ordered.len()).collect();
        judge(&self.identity, &ordered, known, nids)
    }
}

fn alice() -> OwnedUserId {
    owned_user_id!("@alice:elsewhere.test")
}

fn bob() -> OwnedUserId {
    owned_user_id!("@bob:elsewhere.test")
}

fn mallory() -> OwnedUserId {
    owned_user_id!("@mallory:elsewhere.test")
}

fn verdict(judged: &Judged, event: &Pdu) -> Option<Verdict> {
    let found = judged.known.get(event.event_id())?;
    Some(found.pdu.verdict())
}

#[test]
fn events_are_accepted_in_whatever_order_they_come() {
    for version in RoomVersion::supported() {
        let room = Elsewhere::new(&version);
        let mut backwards = room.events.clone();
        backwards.reverse();
        for events in [&room.events, &backwards] {
            let judged = room.judged(events, KnownEvents::new());
            assert_eq!(judged.new.len(), room.events.len(), "version {version}");
            for event in &room.events {
                let found = verdict(&judged, event);
                assert_eq!(found, Some(Verdict::Accepted), "version {version}");
            }
            // Those that authorise an event are stored before it, by number.
            for (index, new) in judged.new.iter().enumerate() {
                let before: Vec<EventNid> = judged.new[..index].iter().map(|new| new.nid).collect();
                assert_eq!(new.auth_nids.len(), new.pdu.auth_events().len());
                assert!(new.auth_nids.iter().all(|nid| before.contains(nid)));
                assert_eq!((new.position, new.history_order), (None, None));
            }
        }
    }
}

#[test]
fn what_the_rules_do_not_allow_is_rejected_with_all_that_it_authorises() {
    for version in RoomVersion::supported() {
        let mut room = Elsewhere::new(&version);
        let levels = json!({ "users": { mallory().as_str(): 100 }, "users_default": 100 });
        // Mallory is not in the room.
        let levels = room.add(&mallory(), "m.room.power_levels", Some(""), &levels);
        let name = room.add(&bob(), "m.room.name", Some(""), &json!({ "name": "mine" }));
        let judged = room.judged(&room.events, KnownEvents::new());
        assert_eq!(
            verdict(&judged, &levels),
            Some(Verdict::Rejected),
            "version {version}"
        );
        assert_eq!(
            verdict(&judged, &name),
            Some(Verdict::Rejected),
            "version {version}"
        );
        let rejected = judged.new.iter().filter(|new| !new.is_accepted());
        assert_eq!(rejected.count(), 2);
    }
}

#[test]
fn an_event_that_is_authorised_by_unknown_ones_is_left_out() {
    for version in RoomVersion::supported() {
        let room = Elsewhere::new(&version);
        let create = room.events[0].clone();
        let judged = room.judged(&room.events[1..], KnownEvents::new());
        assert!(judged.new.is_empty(), "version {version}");

        // With the rest of them known it is not.
        let known = KnownEvents::from([(
            create.event_id().clone(),
            StateEvent {
                nid: EventNid(1),
                pdu: create.clone(),
            },
        )]);
        let judged = room.judged(&room.events, known);
        assert_eq!(judged.new.len(), room.events.len() - 1, "version {version}");
        assert!(judged.new.iter().all(StoredEvent::is_accepted));
        assert_eq!(judged.known[create.event_id()].nid, EventNid(1));
    }
}

#[test]
fn events_of_other_rooms_and_what_is_no_event_are_not_read() {
    let room = Elsewhere::new(&RoomVersionId::V11);
    let other = Elsewhere::new(&RoomVersionId::V12);
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let events = [
        raw(room.events[0].json()),
        raw(other.events[1].json()),
        raw("{}"),
        raw("5"),
    ];
    let parsed = parse(&room.identity, &events);
    assert_eq!(parsed.len(), 1);
    assert_eq!(parsed[0].event_id(), room.events[0].event_id());
    assert_eq!(parsed[0].sender(), user_id!("@alice:elsewhere.test"));
}
