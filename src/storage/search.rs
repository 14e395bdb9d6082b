//! Full-text search of messages, room names and topics.
//!
//! Text in scripts with spaces is split into words by the text search configuration of the configured
//! language. Of scripts without spaces each pair of neighbouring characters is a word: a search for several
//! characters finds texts that have all their pairs.

use std::collections::HashMap;

use event::Pdu;
use ruma::OwnedUserId;
use serde::Deserialize;
use types::{EventNid, HistoryOrder, RoomNid};

use crate::{
    Connection, Error,
    escape::escape,
    events,
    rows::id,
    text::{self, is_unspaced},
};

mod query;

pub use query::{Place, SearchHit, SearchQuery, find};

/// The name of the follower that makes events searchable.
pub const FOLLOWER: &str = "search";
/// The types of the events that are searched.
pub const EVENT_TYPES: [&str; 3] = ["m.room.message", "m.room.name", "m.room.topic"];

/// The configuration that knows no language: it tells words apart, and nothing else.
const SIMPLE: &str = "simple";
/// Rooms that a query names in the index; of more it finds hits in all, and sorts them out.
const MAX_NAMED_ROOMS: usize = 100;
/// How many words clients are to highlight.
const MAX_HIGHLIGHTS: usize = 50;

/// The text of an event that is searched; none of one without.
///
/// Of an edit that is the new text. What a reply repeats of the event that it replies to is left out.
pub fn searched_text(pdu: &Pdu) -> Option<String> {
    let text = match pdu.event_type() {
        "m.room.message" => body(pdu)?,
        "m.room.name" => pdu.content_as::<Name>().ok()?.name,
        "m.room.topic" => topic(pdu)?,
        _ => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct Body {
    body: String,
}

fn body(pdu: &Pdu) -> Option<String> {
    #[derive(Deserialize)]
    struct Edit {
        #[serde(rename = "m.new_content")]
        new_content: Body,
    }
    #[derive(Deserialize)]
    struct Reply {
        #[serde(rename = "m.relates_to")]
        _relates_to: InReplyTo,
    }
    #[derive(Deserialize)]
    struct InReplyTo {
        #[serde(rename = "m.in_reply_to")]
        _in_reply_to: serde::de::IgnoredAny,
    }
    if pdu
        .relation()
        .is_some_and(|relation| relation.rel_type == "m.replace")
    {
        return Some(pdu.content_as::<Edit>().ok()?.new_content.body);
    }
    let body = pdu.content_as::<Body>().ok()?.body;
    if body.starts_with("> ") && pdu.content_as::<Reply>().is_ok() {
        let own = body.lines().skip_while(|line| line.starts_with('>'));
        return Some(own.collect::<Vec<_>>().join("\n"));
    }
    Some(body)
}

/// Spec: client-server, "m.room.topic": the plain text is in `m.topic` or in `topic`.
fn topic(pdu: &Pdu) -> Option<String> {
    #[derive(Deserialize)]
    struct Topic {
        topic: Option<String>,
        #[serde(rename = "m.topic")]
        block: Option<serde_json::Value>,
    }
    let content = pdu.content_as::<Topic>().ok()?;
    let mut text = content.topic.unwrap_or_default();
    let block = content.block.as_ref();
    let representations = block.and_then(|block| block.get("m.text")?.as_array());
    for representation in representations.into_iter().flatten() {
        let mime_type = representation.get("mimetype");
        let is_plain = mime_type.is_none_or(|mime_type| mime_type == "text/plain");
        let body = representation.get("body").and_then(|body| body.as_str());
        if let Some(body) = body.filter(|body| is_plain && *body != text) {
            text.push('\n');
            text.push_str(body);
        }
    }
    Some(text)
}

/// A text as the index takes it.
struct Indexed {
    /// Words of scripts with spaces.
    spaced: String,
    /// Pairs of characters of scripts without, and the last one of each run.
    pairs: String,
}

impl Indexed {
    fn new(text: &str, language: &str) -> Self {
        let text = normalized(text, language);
        let (mut spaced, mut pairs) = (String::new(), Vec::new());
        for word in text::words(&text) {
            for run in runs(word) {
                if run.chars().any(is_unspaced) {
                    pairs.extend(pairs_of(run, true));
                } else {
                    spaced.push_str(run);
                    spaced.push(' ');
                }
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        Self {
            spaced,
            pairs: pairs.join(" "),
        }
    }
}

/// Without a language accents make no difference; those of a language tell words apart.
fn normalized(text: &str, language: &str) -> String {
    if language == SIMPLE {
        text::fold(text)
    } else {
        text::lower(text)
    }
}

/// The parts of a word that are of scripts with or without spaces.
fn runs(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let first = is_unspaced(rest.chars().next()?);
        let end = rest.find(|character| is_unspaced(character) != first);
        let (run, remaining) = rest.split_at(end.unwrap_or(rest.len()));
        rest = remaining;
        Some(run)
    })
}

/// The pairs of neighbouring characters; with the last one alone, so that each character begins a word.
fn pairs_of(run: &str, with_last: bool) -> Vec<String> {
    let characters: Vec<char> = run.chars().collect();
    let mut pairs: Vec<String> = characters
        .windows(2)
        .map(|pair| pair.iter().collect())
        .collect();
    pairs.extend(characters.last().filter(|_| with_last).map(char::to_string));
    pairs
}

/// An event to be made searchable.
#[derive(Clone, Debug)]
pub struct SearchableEvent {
    /// Its number.
    pub event_nid: EventNid,
    /// Its room.
    pub room_nid: RoomNid,
    /// Its [`searched_text`].
    pub text: String,
}

/// Makes events searchable in a language, each once.
#[tracing::instrument(name = "storage.search.insert", level = "debug", skip_all)]
pub async fn insert(
    db: &mut Connection,
    language: &str,
    searchable: &[SearchableEvent],
) -> Result<(), Error> {
    let nids: Vec<i64> = searchable
        .iter()
        .map(|event| event.event_nid.get())
        .collect();
    let rooms = searchable.iter().map(|event| room_lexeme(event.room_nid));
    let rooms: Vec<String> = rooms.collect();
    let texts = searchable.iter();
    let texts = texts.map(|event| Indexed::new(&event.text, language));
    let (spaced, pairs): (Vec<String>, Vec<String>) =
        texts.map(|text| (text.spaced, text.pairs)).unzip();
    sqlx::query!(
        "INSERT INTO searchable_events (event_nid, words)
         SELECT r.event_nid, to_tsvector($1::text::regconfig, r.spaced)
            || array_to_tsvector(string_to_array(r.pairs, ' ')) || array_to_tsvector(ARRAY[r.room])
         FROM UNNEST($2::bigint[], $3::text[], $4::text[], $5::text[]) AS r (event_nid, spaced, pairs, room)
         ON CONFLICT (event_nid) DO UPDATE SET words = excluded.words",
        language,
        &nids,
        &spaced,
        &pairs,
        &rooms
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The words of a term as they were written, for clients to highlight.
pub fn highlights(term: &str) -> Vec<String> {
    let mut words: Vec<String> = text::words(term)
        .take(MAX_HIGHLIGHTS)
        .map(str::to_owned)
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// A room in the index; no word of a text has a space in it.
fn room_lexeme(room_nid: RoomNid) -> String {
    format!("room {room_nid}")
}

/// Makes events unsearchable, whose text is gone.
pub async fn remove(db: &mut Connection, events: &[EventNid]) -> Result<(), Error> {
    let nids: Vec<i64> = events.iter().map(|nid| nid.get()).collect();
    sqlx::query!(
        "DELETE FROM searchable_events WHERE event_nid = ANY($1)",
        &nids
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes the language of the index; if it was another one, the follower begins anew.
pub async fn set_language(db: &mut Connection, language: &str) -> Result<(), Error> {
    sqlx::query!(
        "WITH changed AS (
            INSERT INTO search_language (language) VALUES ($1)
            ON CONFLICT (only_row) DO UPDATE SET language = excluded.language WHERE search_language.language <> $1
            RETURNING language
         )
         DELETE FROM cursors WHERE follower = $2 AND EXISTS (SELECT FROM changed)",
        language,
        FOLLOWER
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes some events out of the backlog, to be made searchable in the same transaction. Several processes
/// may do so.
pub async fn take_backlog(
    db: &mut Connection,
    limit: i64,
) -> Result<Vec<events::StoredEvent>, Error> {
    let nids = sqlx::query_scalar!(
        "DELETE FROM search_backlog WHERE event_nid IN (
            SELECT event_nid FROM search_backlog ORDER BY event_nid LIMIT $1 FOR UPDATE SKIP LOCKED)
         RETURNING event_nid",
        limit
    )
    .fetch_all(&mut *db)
    .await?;
    if nids.is_empty() {
        return Ok(Vec::new());
    }
    let nids: Vec<EventNid> = nids.into_iter().map(EventNid).collect();
    events::by_nids(db, &nids).await
}

/// The rooms that a user may search, with their numbers: those that the user is or was in, but for
/// forgotten and encrypted ones.
pub async fn rooms_of(
    db: &mut Connection,
    user_id: &ruma::UserId,
) -> Result<HashMap<ruma::OwnedRoomId, RoomNid>, Error> {
    let rows = sqlx::query!(
        "SELECT r.room_id, m.room_nid FROM memberships m JOIN rooms r ON r.room_nid = m.room_nid
         WHERE m.user_id = $1 AND (m.membership = 'join' OR (m.membership IN ('leave', 'ban') AND NOT m.forgotten))
            AND NOT EXISTS (
                SELECT FROM current_state c
                WHERE c.room_nid = m.room_nid AND c.event_type = 'm.room.encryption' AND c.state_key = '')",
        &*escape(user_id.as_str())
    )
    .fetch_all(db)
    .await?;
    let rooms = rows.into_iter();
    rooms
        .map(|row| Ok((id(row.room_id)?, RoomNid(row.room_nid))))
        .collect()
}

/// The events around others in the histories of their rooms: before each the nearest first, and after.
pub async fn around(
    db: &mut Connection,
    wanted: &[(RoomNid, HistoryOrder)],
    (before, after): (i64, i64),
) -> Result<Vec<(usize, events::StoredEvent)>, Error> {
    let (rooms, orders): (Vec<i64>, Vec<i64>) = wanted
        .iter()
        .map(|(room_nid, order)| (room_nid.get(), order.get()))
        .unzip();
    let rows = sqlx::query!(
        r#"SELECT w.number AS "number!", n.event_nid AS "event_nid!"
         FROM UNNEST($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w (room_nid, history_order, number)
         CROSS JOIN LATERAL (
            (SELECT e.event_nid FROM events e
             WHERE e.room_nid = w.room_nid AND e.history_order < w.history_order AND e.verdict = 0
             ORDER BY e.history_order DESC LIMIT $3)
            UNION ALL
            (SELECT e.event_nid FROM events e
             WHERE e.room_nid = w.room_nid AND e.history_order > w.history_order AND e.verdict = 0
             ORDER BY e.history_order LIMIT $4)
         ) n"#,
        &rooms,
        &orders,
        before,
        after
    )
    .fetch_all(&mut *db)
    .await?;
    let mut nids: Vec<EventNid> = rows.iter().map(|row| EventNid(row.event_nid)).collect();
    nids.sort_unstable();
    nids.dedup();
    let found = events::by_nids(db, &nids).await?;
    let found: HashMap<EventNid, _> = found.into_iter().map(|event| (event.nid, event)).collect();
    let around = rows.into_iter().filter_map(|row| {
        let number = usize::try_from(row.number - 1).ok()?;
        Some((number, found.get(&EventNid(row.event_nid))?.clone()))
    });
    Ok(around.collect())
}

fn user_ids(senders: &[OwnedUserId]) -> Vec<String> {
    let senders = senders.iter();
    let senders = senders.map(|sender| escape(sender.as_str()).into_owned());
    senders.collect()
}

#[cfg(test)]
mod tests {
    use super::{Indexed, runs};

    #[test]
    fn words_are_split_where_the_script_changes() {
        let found: Vec<_> = runs("Linuxを使うbiz").collect();
        assert_eq!(found, ["Linux", "を使う", "biz"]);
        assert_eq!(runs("").count(), 0);
    }

    #[test]
    fn scripts_without_spaces_are_indexed_by_pairs() {
        let text = Indexed::new("Ünïted, 日本語\0 Linux。使", "simple");
        assert_eq!(text.spaced, "united linux ");
        assert_eq!(text.pairs, "使 日本 本語 語");
    }

    #[test]
    fn accents_are_kept_for_languages() {
        assert_eq!(Indexed::new("Müller!", "german").spaced, "müller ");
        assert_eq!(Indexed::new("Müller!", "simple").spaced, "muller ");
    }
}
