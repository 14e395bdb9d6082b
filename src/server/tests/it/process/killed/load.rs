//! Clients that send as fast as they are answered, and remember the answers.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::json;

use super::super::client::{Client, Connection};

/// One room and those who talk in it.
pub(super) struct Load {
    pub(super) room_id: String,
    pub(super) senders: Vec<Sender>,
}

/// A client, what it has sent, and what it is still waiting for.
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) sent: HashMap<String, String>,
    pending: Option<String>,
    next: usize,
}

/// How a round goes, seen from all its threads.
#[derive(Default)]
pub(super) struct Round {
    /// Messages acknowledged.
    pub(super) acknowledged: AtomicUsize,
    /// Requests that were asked to come back later.
    pub(super) refused: AtomicUsize,
    /// Whether the senders should stop.
    pub(super) over: AtomicBool,
}

impl Load {
    /// Registers the senders and lets them join a room.
    pub(super) fn new(address: &str, senders: usize) -> Self {
        let clients: Vec<_> = (0..senders)
            .map(|number| Client::register(address, &format!("sender{number}")))
            .collect();
        let request = json!({ "preset": "public_chat" });
        let room = clients[0].ok(address, "POST", "createRoom", &request);
        let room_id = room["room_id"].as_str().unwrap().to_owned();
        for client in &clients[1..] {
            client.ok(address, "POST", &format!("join/{room_id}"), &json!({}));
        }
        let sender = |client| Sender {
            client,
            sent: HashMap::new(),
            pending: None,
            next: 0,
        };
        Self {
            room_id,
            senders: clients.into_iter().map(sender).collect(),
        }
    }

    /// Lets all senders talk until the round is over or the server is gone, while `meanwhile` runs.
    pub(super) fn talk<T>(&mut self, address: &str, meanwhile: impl FnOnce(&Round) -> T) -> T {
        let round = Round::default();
        std::thread::scope(|scope| {
            for sender in &mut self.senders {
                let (round, room_id) = (&round, &*self.room_id);
                scope.spawn(move || sender.talk(address, room_id, round));
            }
            let result = meanwhile(&round);
            round.over.store(true, Ordering::Relaxed);
            result
        })
    }

    /// All messages of the room: their texts and ids.
    pub(super) fn history(&self, address: &str) -> Vec<(String, String)> {
        let client = &self.senders[0].client;
        let (mut messages, mut from) = (Vec::new(), String::new());
        loop {
            let path = format!("rooms/{}/messages?dir=b&limit=1000{from}", self.room_id);
            let page = client.ok(address, "GET", &path, &json!({}));
            for event in page["chunk"].as_array().unwrap() {
                if let Some(body) = event["content"]["body"].as_str() {
                    let event_id = event["event_id"].as_str().unwrap();
                    messages.push((body.to_owned(), event_id.to_owned()));
                }
            }
            match page["end"].as_str() {
                Some(end) => from = format!("&from={end}"),
                None => return messages,
            }
        }
    }
}

impl Sender {
    fn talk(&mut self, address: &str, room_id: &str, round: &Round) {
        let Ok(mut connection) = Connection::open(address) else {
            return;
        };
        while !round.over.load(Ordering::Relaxed) {
            let transaction = self.pending.take().unwrap_or_else(|| {
                self.next += 1;
                format!("{} {}", self.client.user_id, self.next)
            });
            let escaped = transaction.replace(' ', "%20");
            let answer = self.client.send(&mut connection, room_id, &escaped);
            match answer {
                Ok(answer) if answer.status == 200 => {
                    let event_id = answer.body["event_id"].as_str().unwrap().to_owned();
                    self.sent.insert(transaction, event_id);
                    round.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => {
                    assert_eq!(answer.status, 503, "{}", answer.body);
                    assert!(answer.retry_after, "it says when to come back");
                    self.pending = Some(transaction);
                    round.refused.fetch_add(1, Ordering::Relaxed);
                }
                // The server is gone; whether the message is there shows when it is sent again.
                Err(_) => {
                    self.pending = Some(transaction);
                    return;
                }
            }
        }
    }

    /// Sends again what was acknowledged before; the answer must be the same.
    pub(super) fn repeat(&self, address: &str, room_id: &str) {
        let Some((transaction, event_id)) = self.sent.iter().next() else {
            return;
        };
        let mut connection = Connection::open(address).unwrap();
        let escaped = transaction.replace(' ', "%20");
        let answer = self
            .client
            .send(&mut connection, room_id, &escaped)
            .unwrap();
        assert_eq!(answer.body["event_id"], event_id.as_str());
    }
}
