//! Setting and listing pushers.
//!
//! Spec: client-server, "POST /_matrix/client/v3/pushers/set".

use net::PostUrl;
use ruma::UserId;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use storage::pushers::{self, NewPusher, Pusher};

use crate::{Error, Push};

/// Spec: "Max length, 64 chars."
const MAX_APP_ID: usize = 64;
/// Spec: "Max length, 512 bytes."
const MAX_PUSH_KEY: usize = 512;
/// The longest name, language or profile tag, in bytes.
const MAX_TEXT: usize = 512;
/// The longest URL, in bytes.
const MAX_URL: usize = 2_048;
/// The largest data for the gateway, in bytes of JSON: they are sent with each notification.
const MAX_DATA: usize = 8 * 1024;
/// The only path to which notifications are sent.
const PATH: &str = "/_matrix/push/v1/notify";

/// A pusher as a client asks for it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PusherDraft {
    #[serde(default, deserialize_with = "kind")]
    kind: Kind,
    app_id: Option<String>,
    pushkey: Option<String>,
    app_display_name: Option<String>,
    device_display_name: Option<String>,
    profile_tag: Option<String>,
    lang: Option<String>,
    data: Option<Map<String, Value>>,
    append: Option<bool>,
}

/// The kind of a pusher, as far as the client says it.
#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    Missing,
    Null,
    Named(String),
}

fn kind<'de, D: Deserializer<'de>>(value: D) -> Result<Kind, D::Error> {
    let kind = Option::deserialize(value)?;
    Ok(kind.map_or(Kind::Null, Kind::Named))
}

/// What a client wants.
enum Wish {
    Set { new: NewPusher, append: bool },
    Delete { app_id: String, push_key: String },
}

impl Push {
    /// The pushers of a user, in the order in which they were added.
    pub async fn pushers(&self, user_id: &UserId) -> Result<Vec<Pusher>, Error> {
        let mut db = self.0.database.acquire().await?;
        Ok(pushers::of_user(&mut db, user_id).await?)
    }

    /// Adds, replaces or deletes a pusher of a user; it ends with the session.
    pub async fn set_pusher(
        &self,
        user_id: &UserId,
        session_nid: i64,
        draft: PusherDraft,
    ) -> Result<(), Error> {
        match self.wish(draft)? {
            Wish::Delete { app_id, push_key } => {
                let mut db = self.0.database.acquire().await?;
                pushers::delete(&mut db, user_id, &app_id, &push_key).await?;
                Ok(())
            }
            Wish::Set { new, append } => {
                self.insert(user_id, session_nid, &new, append).await?;
                self.note_pusher(user_id);
                Ok(())
            }
        }
    }

    async fn insert(
        &self,
        user_id: &UserId,
        session_nid: i64,
        new: &NewPusher,
        append: bool,
    ) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        pushers::lock_key(&mut tx, &new.app_id, &new.push_key).await?;
        // Requests of one user are serialized, for the limit.
        storage::users::lock(&mut tx, user_id).await?;
        if !append {
            pushers::delete_of_other_users(&mut tx, user_id, &new.app_id, &new.push_key).await?;
        }
        if !pushers::insert(&mut tx, user_id, session_nid, new).await? {
            return Err(Error::SessionEnded);
        }
        let limits = &self.0.settings.limits;
        if pushers::count(&mut tx, user_id).await? > i64::from(limits.pushers_per_user) {
            return Err(limits.too_many_pushers().into());
        }
        tx.commit().await?;
        Ok(())
    }

    fn wish(&self, draft: PusherDraft) -> Result<Wish, Error> {
        let missing = draft.missing();
        if !missing.is_empty() {
            return Err(Error::MissingParam(missing.join(", ")));
        }
        draft.check()?;
        let app_id = draft.app_id.unwrap_or_default();
        let push_key = draft.pushkey.unwrap_or_default();
        match draft.kind {
            Kind::Missing | Kind::Null => return Ok(Wish::Delete { app_id, push_key }),
            Kind::Named(kind) if kind == "http" => {}
            Kind::Named(kind) if kind == "email" => {
                return Err(Error::InvalidParam(
                    "This server sends no notifications by e-mail; the only kind of pusher is http",
                ));
            }
            Kind::Named(_) => return Err(Error::InvalidParam("The only kind of pusher is http")),
        }
        let (url, data) = self.split(draft.data.unwrap_or_default())?;
        let new = NewPusher {
            app_id,
            push_key,
            url,
            data,
            app_display_name: draft.app_display_name.unwrap_or_default(),
            device_display_name: draft.device_display_name.unwrap_or_default(),
            profile_tag: draft.profile_tag,
            lang: draft.lang.unwrap_or_default(),
            set_ts: i64::try_from(self.0.clock.now_ms()).unwrap_or(i64::MAX),
        };
        let append = draft.append.unwrap_or_default();
        Ok(Wish::Set { new, append })
    }

    /// Takes the URL out of the data of a pusher.
    fn split(&self, mut data: Map<String, Value>) -> Result<(String, String), Error> {
        let url = data.remove("url").unwrap_or_default();
        let url = url.as_str().unwrap_or_default();
        let parsed = PostUrl::parse(url).filter(|_| url.len() <= MAX_URL && !url.contains('\0'));
        let parsed = parsed.ok_or(Error::InvalidParam("data.url is not an http or https URL"))?;
        if parsed.path() != PATH || parsed.has_fragment() {
            return Err(Error::InvalidParam(
                "The path of data.url must be /_matrix/push/v1/notify",
            ));
        }
        if self.0.client.check(&parsed).is_err() {
            return Err(Error::InvalidParam(
                "data.url is an address that this server does not connect to",
            ));
        }
        if data.get("format").is_some_and(|format| !format.is_string()) {
            return Err(Error::InvalidParam("data.format must be a string"));
        }
        let data = serde_json::to_string(&data)?;
        if data.len() > MAX_DATA {
            return Err(Error::InvalidParam("data is too large"));
        }
        Ok((url.to_owned(), data))
    }
}

impl PusherDraft {
    /// The names of necessary fields that are not there.
    fn missing(&self) -> Vec<&'static str> {
        let has_kind = !matches!(self.kind, Kind::Missing);
        let is_set = !matches!(self.kind, Kind::Null);
        let has_url = self
            .data
            .as_ref()
            .is_some_and(|data| data.contains_key("url"));
        let is_http = matches!(&self.kind, Kind::Named(kind) if kind == "http");
        let fields = [
            ("kind", has_kind, true),
            ("app_id", self.app_id.is_some(), true),
            ("pushkey", self.pushkey.is_some(), true),
            ("app_display_name", self.app_display_name.is_some(), is_set),
            (
                "device_display_name",
                self.device_display_name.is_some(),
                is_set,
            ),
            ("lang", self.lang.is_some(), is_set),
            ("data", self.data.is_some(), is_set),
            ("data.url", has_url, is_http && self.data.is_some()),
        ];
        let missing = fields
            .into_iter()
            .filter(|(_, is_there, is_needed)| *is_needed && !is_there);
        missing.map(|(name, ..)| name).collect()
    }

    /// Checks lengths, and that the texts can be stored.
    fn check(&self) -> Result<(), Error> {
        let text = Option::<String>::as_deref;
        let app_id = text(&self.app_id).unwrap_or_default();
        let push_key = text(&self.pushkey).unwrap_or_default();
        if app_id.is_empty() || app_id.chars().count() > MAX_APP_ID {
            return Err(Error::InvalidParam("app_id must have 1 to 64 characters"));
        }
        if push_key.is_empty() || push_key.len() > MAX_PUSH_KEY {
            return Err(Error::InvalidParam("pushkey must have 1 to 512 bytes"));
        }
        let others = [
            &self.app_display_name,
            &self.device_display_name,
            &self.profile_tag,
            &self.lang,
        ]
        .map(|other| text(other).unwrap_or_default());
        if others.iter().any(|other| other.len() > MAX_TEXT) {
            return Err(Error::InvalidParam(
                "Names, language and profile tag may have 512 bytes each",
            ));
        }
        let mut texts = others.into_iter().chain([app_id, push_key]);
        if texts.any(|text| text.contains('\0')) {
            return Err(Error::InvalidParam("A text contains a null character"));
        }
        Ok(())
    }
}
