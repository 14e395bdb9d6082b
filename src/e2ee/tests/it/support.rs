//! Users with devices that sign as clients do.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use event::Signer;
use ring::signature::{Ed25519KeyPair, KeyPair};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, DeviceId, OwnedDeviceId, OwnedOneTimeKeyId,
    OwnedUserId, UserId,
    encryption::{CrossSigningKey, OneTimeKey},
    serde::Raw,
};
use serde_json::{Value, json, value::RawValue};
use storage::{Committer, Database};
use testkit::TestDatabase;
use types::Clock;

use e2ee::{CrossSigningUpload, KeyUpload, Keys};

/// How long other servers are asked.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Setting {
    pub(crate) test: TestDatabase,
    pub(crate) keys: Keys,
    pub(crate) clock: Clock,
}

pub(crate) async fn setting() -> Setting {
    let test = testkit::database().await;
    let clock = Clock::fixed(1_000_000);
    let keys = keys(test.database.clone(), test.committer.clone(), &clock);
    Setting { test, keys, clock }
}

/// A process's handle to the keys.
pub(crate) fn keys(database: Database, committer: Committer, clock: &Clock) -> Keys {
    let (signer, _) = Signer::generate(&testkit::server_name()).expect("a key");
    let settings = e2ee::Settings {
        server_name: testkit::server_name(),
        cache_bytes: 1 << 20,
        send_device_names: true,
        limits: config::Limits::default(),
    };
    let federation = testkit::closed_federation(&database, &signer, clock);
    Keys::new(settings, database, committer, federation, clock.clone())
}

impl Setting {
    /// Where the stream stands.
    pub(crate) fn position(&self) -> i64 {
        self.test.database.committed().get()
    }

    pub(crate) async fn user(&self, name: &str) -> OwnedUserId {
        testkit::register_user(&self.test.database, name).await
    }

    pub(crate) async fn device(&self, user_id: &UserId, device_id: &str) -> Device {
        let device = Device::new(user_id, device_id);
        let mut db = self.test.database.acquire().await.expect("a connection");
        storage::devices::insert(&mut db, user_id, &device.device_id, Some("A phone"), 0)
            .await
            .expect("a device");
        device
    }

    /// A device that has uploaded its identity keys.
    pub(crate) async fn device_with_keys(&self, user_id: &UserId, device_id: &str) -> Device {
        let device = self.device(user_id, device_id).await;
        self.upload(&device, device.identity())
            .await
            .expect("uploaded");
        device
    }

    /// A device that has uploaded its identity keys and a one-time key of this id.
    pub(crate) async fn device_with_key(
        &self,
        user_id: &UserId,
        device_id: &str,
        key_id: &str,
    ) -> Device {
        let device = self.device_with_keys(user_id, device_id).await;
        self.upload(&device, device.one_time_keys([key_id.to_owned()]))
            .await
            .expect("uploaded");
        device
    }

    /// How many keys the device has left.
    pub(crate) async fn counts(&self, device: &Device) -> storage::one_time_keys::KeyCounts {
        self.upload(device, KeyUpload::default())
            .await
            .expect("counts")
    }

    pub(crate) async fn upload(
        &self,
        device: &Device,
        upload: KeyUpload,
    ) -> Result<storage::one_time_keys::KeyCounts, e2ee::Error> {
        self.keys
            .upload(&device.user_id, &device.device_id, upload)
            .await
    }
}

pub(crate) fn user_id(name: &str) -> OwnedUserId {
    format!("@{name}:{}", testkit::server_name())
        .try_into()
        .expect("a user id")
}

/// An Ed25519 key pair.
pub(crate) struct Pair(Ed25519KeyPair);

impl Pair {
    pub(crate) fn new() -> Self {
        let seed = types::random::bytes::<32>().expect("randomness");
        Self(Ed25519KeyPair::from_seed_unchecked(&seed).expect("a key"))
    }

    pub(crate) fn public(&self) -> String {
        STANDARD_NO_PAD.encode(self.0.public_key().as_ref())
    }

    /// Adds a signature under the name `ed25519:name`.
    pub(crate) fn sign(&self, object: &mut Value, user_id: &UserId, name: &str) {
        let mut content: CanonicalJsonObject =
            serde_json::from_value(object.clone()).expect("canonical");
        content.remove("signatures");
        content.remove("unsigned");
        let text = CanonicalJsonValue::Object(content).to_string();
        let signature = STANDARD_NO_PAD.encode(self.0.sign(text.as_bytes()));
        object["signatures"][user_id.as_str()][format!("ed25519:{name}")] = signature.into();
    }
}

pub(crate) struct Device {
    pub(crate) user_id: OwnedUserId,
    pub(crate) device_id: OwnedDeviceId,
    pub(crate) pair: Pair,
}

impl Device {
    pub(crate) fn new(user_id: &UserId, device_id: &str) -> Self {
        let device_id = <&DeviceId>::from(device_id).to_owned();
        Self {
            user_id: user_id.to_owned(),
            device_id,
            pair: Pair::new(),
        }
    }

    pub(crate) fn unsigned_keys(&self) -> Value {
        json!({
            "user_id": self.user_id,
            "device_id": self.device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                format!("curve25519:{}", self.device_id): "3C5BFWi2Y8MaVvjM8M22DBmh24PmgR0nPvJOIArzgyI",
                format!("ed25519:{}", self.device_id): self.pair.public(),
            },
        })
    }

    pub(crate) fn device_keys(&self) -> Value {
        let mut keys = self.unsigned_keys();
        self.pair
            .sign(&mut keys, &self.user_id, self.device_id.as_str());
        keys
    }

    pub(crate) fn identity(&self) -> KeyUpload {
        KeyUpload {
            device_keys: Some(raw(self.device_keys())),
            ..KeyUpload::default()
        }
    }

    /// A signed one-time key with this text in the place of the public key.
    pub(crate) fn one_time_key(&self, text: &str) -> Value {
        let mut key = json!({ "key": text });
        self.pair
            .sign(&mut key, &self.user_id, self.device_id.as_str());
        key
    }

    pub(crate) fn one_time_keys(&self, ids: impl IntoIterator<Item = String>) -> KeyUpload {
        let keys = ids
            .into_iter()
            .map(|id| (key_id(&id), raw(self.one_time_key(&id))));
        KeyUpload {
            one_time_keys: keys.collect(),
            ..KeyUpload::default()
        }
    }

    pub(crate) fn fallback_key(&self, id: &str) -> KeyUpload {
        let mut key = json!({ "key": id, "fallback": true });
        self.pair
            .sign(&mut key, &self.user_id, self.device_id.as_str());
        let keys: BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>> =
            BTreeMap::from([(key_id(id), raw(key))]);
        KeyUpload {
            fallback_keys: keys,
            ..KeyUpload::default()
        }
    }
}

/// The three keys of a user, the others signed by the master key.
pub(crate) struct CrossSigner {
    pub(crate) user_id: OwnedUserId,
    pub(crate) master: Pair,
    pub(crate) self_signing: Pair,
    pub(crate) user_signing: Pair,
}

impl CrossSigner {
    pub(crate) fn new(user_id: &UserId) -> Self {
        Self {
            user_id: user_id.to_owned(),
            master: Pair::new(),
            self_signing: Pair::new(),
            user_signing: Pair::new(),
        }
    }

    pub(crate) fn key(&self, usage: &str, pair: &Pair) -> Value {
        let public = pair.public();
        let mut key = json!({
            "user_id": self.user_id,
            "usage": [usage],
            "keys": { format!("ed25519:{public}"): public },
        });
        if usage != "master" {
            self.master
                .sign(&mut key, &self.user_id, &self.master.public());
        }
        key
    }

    pub(crate) fn master_key(&self) -> Value {
        self.key("master", &self.master)
    }

    pub(crate) fn upload(&self) -> CrossSigningUpload {
        CrossSigningUpload {
            master: Some(raw(self.master_key())),
            self_signing: Some(self.raw_key("self_signing", &self.self_signing)),
            user_signing: Some(self.raw_key("user_signing", &self.user_signing)),
        }
    }

    pub(crate) fn raw_key(&self, usage: &str, pair: &Pair) -> Raw<CrossSigningKey> {
        raw(self.key(usage, pair))
    }
}

pub(crate) fn key_id(id: &str) -> OwnedOneTimeKeyId {
    format!("signed_curve25519:{id}")
        .try_into()
        .expect("a key id")
}

pub(crate) fn raw<T>(value: Value) -> Raw<T> {
    Raw::from_json(raw_value(value))
}

pub(crate) fn raw_value(value: Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).expect("JSON")
}

pub(crate) fn value<T>(raw: &Raw<T>) -> Value {
    serde_json::from_str(raw.json().get()).expect("JSON")
}
