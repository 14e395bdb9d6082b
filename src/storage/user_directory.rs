//! Whom searches for users find.
//!
//! A user of this server has one row, with the name of the profile. A user of another server has one for
//! each room here that the user is joined to, with the name that the user has there: it is shown to those
//! who may read the room, and to nobody else.

use std::collections::BTreeSet;

use ruma::{OwnedUserId, UserId};
use types::RoomNid;

use crate::{
    Connection, Error,
    escape::{escape, unescape},
    rows::id,
    text,
};

/// How much of a name is searched, in characters.
const MAX_NAME: usize = 256;
/// How much of a word is searched, in characters.
const MAX_WORD: usize = 64;
/// How many words of a term are searched for.
const MAX_TERM_WORDS: usize = 10;
/// Rows that are read at once: a user of another server may have several.
const BATCH: i64 = 200;

/// A user as searches find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Who.
    pub user_id: OwnedUserId,
    /// The name.
    pub display_name: Option<String>,
    /// The avatar, as the user has set it: for users of other servers any text.
    pub avatar_url: Option<String>,
}

/// What to search for, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryQuery<'a> {
    /// Who searches; is not found.
    pub searcher: &'a UserId,
    /// The beginnings of words of the id or the name. All must be found.
    pub term: &'a str,
    /// Whether all users of this server are found, rather than those who share a room with the searcher or
    /// are in a room that anybody may join or read.
    pub all_local: bool,
    /// How many users at the most.
    pub limit: usize,
}

/// A search term as the database takes it.
struct Term {
    words: String,
    /// The term to compare with whole names and ids.
    key: String,
}

impl Term {
    /// `None` if there is no word in it.
    fn parse(term: &str) -> Option<Self> {
        let folded = text::fold(text::shortened(term.trim(), MAX_NAME));
        let (name, server) = match folded.strip_prefix('@') {
            Some(user_id) => match user_id.split_once(':') {
                Some((localpart, server)) => (localpart, server),
                None => (user_id, ""),
            },
            None => (&*folded, ""),
        };
        let mut lexemes: Vec<String> = text::words(name)
            .take(MAX_TERM_WORDS)
            .map(|word| text::shortened(word, MAX_WORD).to_owned())
            .collect();
        if lexemes.is_empty() && server.is_empty() {
            return None;
        }
        if !server.is_empty() {
            lexemes.push(server_lexeme(server));
        }
        let lexemes = lexemes.iter().map(|lexeme| format!("'{lexeme}':*"));
        Some(Self {
            words: lexemes.collect::<Vec<_>>().join(" & "),
            key: name.trim().replace('\0', ""),
        })
    }
}

/// The server in a user id; no word of a name is like it.
fn server_lexeme(server: &str) -> String {
    let allowed = |character: &char| {
        character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | ':' | '[' | ']')
    };
    let server = text::shortened(server, MAX_NAME);
    format!(":{}", server.chars().filter(allowed).collect::<String>())
}

/// What is searched of a user, separated by spaces.
fn lexemes(user_id: &UserId, name: &str) -> String {
    let mut lexemes = BTreeSet::new();
    for text in [&*text::fold(user_id.localpart()), name] {
        for word in text::words(text) {
            let word = text::shortened(word, MAX_WORD);
            lexemes.insert(word.to_owned());
            // Names in scripts without spaces are found by any part of them.
            if word.chars().any(text::is_unspaced) {
                let ends = word.char_indices().skip(1);
                lexemes.extend(ends.filter_map(|(start, _)| word.get(start..).map(str::to_owned)));
            }
        }
    }
    lexemes.insert(server_lexeme(
        &user_id.server_name().as_str().to_lowercase(),
    ));
    lexemes.into_iter().collect::<Vec<_>>().join(" ")
}

/// Sets what is found of users: of one of this server without a room, of one of another server in a room.
/// Each user and room may be there once.
pub async fn set(
    db: &mut Connection,
    entries: &[(Option<RoomNid>, DirectoryEntry)],
) -> Result<(), Error> {
    let text = |value: Option<&String>| value.map(|text| text.replace('\0', ""));
    let mut rows = Rows::default();
    for (room_nid, entry) in entries {
        let name = entry.display_name.as_deref().unwrap_or_default();
        let name = text::fold(text::shortened(name, MAX_NAME));
        rows.user_ids
            .push(escape(entry.user_id.as_str()).into_owned());
        rows.rooms.push(room_nid.unwrap_or_default().get());
        rows.display_names.push(text(entry.display_name.as_ref()));
        rows.avatar_urls.push(text(entry.avatar_url.as_ref()));
        rows.words.push(lexemes(&entry.user_id, &name));
        rows.name_keys.push(name.trim().replace('\0', ""));
        let localpart = text::fold(entry.user_id.localpart());
        rows.id_keys.push(localpart.replace('\0', ""));
    }
    sqlx::query!(
        "INSERT INTO user_directory (user_id, room_nid, display_name, avatar_url, words, name_key, id_key)
         SELECT r.user_id, r.room_nid, r.display_name, r.avatar_url, array_to_tsvector(string_to_array(r.words, ' ')), r.name_key, r.id_key
         FROM UNNEST($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
            AS r (user_id, room_nid, display_name, avatar_url, words, name_key, id_key)
         ON CONFLICT (user_id, room_nid) DO UPDATE SET display_name = excluded.display_name, avatar_url = excluded.avatar_url,
            words = excluded.words, name_key = excluded.name_key",
        &rows.user_ids,
        &rows.rooms,
        &rows.display_names as &[Option<String>],
        &rows.avatar_urls as &[Option<String>],
        &rows.words,
        &rows.name_keys,
        &rows.id_keys
    )
    .execute(db)
    .await?;
    Ok(())
}

#[derive(Default)]
struct Rows {
    user_ids: Vec<String>,
    rooms: Vec<i64>,
    display_names: Vec<Option<String>>,
    avatar_urls: Vec<Option<String>>,
    words: Vec<String>,
    name_keys: Vec<String>,
    id_keys: Vec<String>,
}

/// Takes users out: of this server without a room, of others out of a room.
pub async fn remove(
    db: &mut Connection,
    entries: &[(Option<RoomNid>, OwnedUserId)],
) -> Result<(), Error> {
    let (rooms, user_ids): (Vec<i64>, Vec<String>) = entries
        .iter()
        .map(|(room_nid, user_id)| {
            let room_nid = room_nid.unwrap_or_default().get();
            (room_nid, escape(user_id.as_str()).into_owned())
        })
        .unzip();
    sqlx::query!(
        "DELETE FROM user_directory d USING UNNEST($1::text[], $2::bigint[]) AS r (user_id, room_nid)
         WHERE d.user_id = r.user_id AND d.room_nid = r.room_nid",
        &user_ids,
        &rooms
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Sets which of these rooms anybody may join or read: their members are found by all.
pub async fn set_open_rooms(db: &mut Connection, rooms: &[(RoomNid, bool)]) -> Result<(), Error> {
    let of = |wanted: bool| -> Vec<i64> {
        let rooms = rooms.iter().filter(|(_, is_open)| *is_open == wanted);
        rooms.map(|(room_nid, _)| room_nid.get()).collect()
    };
    sqlx::query!(
        "WITH closed AS (DELETE FROM open_rooms WHERE room_nid = ANY($2))
         INSERT INTO open_rooms (room_nid) SELECT * FROM UNNEST($1::bigint[])
         ON CONFLICT (room_nid) DO NOTHING",
        &of(true),
        &of(false)
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The users who are found, the best first, and whether there are more.
///
/// Whole names and ids come first, then those that begin with the term, then all others; among them users
/// of this server before others, and those with a name before those without.
#[tracing::instrument(name = "storage.user_directory.search", level = "debug", skip_all)]
pub async fn search(
    db: &mut Connection,
    query: DirectoryQuery<'_>,
) -> Result<(Vec<DirectoryEntry>, bool), Error> {
    let Some(term) = Term::parse(query.term) else {
        return Ok((Vec::new(), false));
    };
    let mut found: Vec<DirectoryEntry> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut offset = 0;
    loop {
        let rows = page(db, &query, &term, offset).await?;
        let is_last = (rows.len() as i64) < BATCH;
        offset += BATCH;
        for entry in rows {
            if !seen.insert(entry.user_id.clone()) {
                continue;
            }
            if found.len() >= query.limit {
                return Ok((found, true));
            }
            found.push(entry);
        }
        if is_last {
            return Ok((found, false));
        }
    }
}

async fn page(
    db: &mut Connection,
    query: &DirectoryQuery<'_>,
    term: &Term,
    offset: i64,
) -> Result<Vec<DirectoryEntry>, Error> {
    // Those whose words match are sorted; then, one after the other, it is asked who is visible. (`OFFSET 0`
    // keeps the planner from asking that of all of them first, and subqueries for a value, rather than
    // `EXISTS`, keep it from asking that of all users.)
    let rows = sqlx::query!(
        r#"WITH own AS MATERIALIZED (
            SELECT room_nid FROM memberships WHERE user_id = $2 AND membership = 'join'
         ), readable AS MATERIALIZED (
            SELECT room_nid FROM own
            UNION
            SELECT o.room_nid FROM open_rooms o JOIN rooms r ON r.room_nid = o.room_nid WHERE r.status = 0
         )
         SELECT c.user_id AS "user_id!", c.display_name AS "display_name?", c.avatar_url AS "avatar_url?"
         FROM (
            SELECT d.user_id, d.room_nid, d.display_name, d.avatar_url FROM user_directory d
            WHERE d.words @@ $1::text::tsquery AND d.user_id <> $2
            ORDER BY d.name_key = $3 OR d.id_key = $3 DESC, starts_with(d.name_key, $3) OR starts_with(d.id_key, $3) DESC,
                d.room_nid = 0 DESC, d.display_name IS NOT NULL DESC, d.name_key, d.user_id, d.room_nid
            OFFSET 0
         ) c
         WHERE CASE
            WHEN c.room_nid <> 0 THEN c.room_nid IN (SELECT room_nid FROM readable)
            ELSE (SELECT u.deactivated_ts IS NULL FROM users u WHERE u.user_id = c.user_id)
                AND ($4 OR (
                    SELECT true FROM memberships m
                    WHERE m.user_id = c.user_id AND m.membership = 'join' AND m.room_nid IN (SELECT room_nid FROM readable)
                    LIMIT 1))
            END
         OFFSET $5 LIMIT $6"#,
        &term.words,
        &*escape(query.searcher.as_str()),
        &term.key,
        query.all_local,
        offset,
        BATCH
    )
    .fetch_all(db)
    .await?;
    let entries = rows.into_iter().map(|row| {
        Ok(DirectoryEntry {
            user_id: id(unescape(row.user_id))?,
            display_name: row.display_name,
            avatar_url: row.avatar_url,
        })
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::{Term, lexemes};

    #[test]
    fn terms_are_beginnings_of_words() {
        let words = |term: &str| Term::parse(term).map(|term| term.words);
        assert_eq!(
            words(" Älice  O'Neil ").as_deref(),
            Some("'alice':* & 'o':* & 'neil':*")
        );
        assert_eq!(
            words("@Alice:Example.org").as_deref(),
            Some("'alice':* & ':example.org':*")
        );
        assert_eq!(words("@:a'b\\").as_deref(), Some("':ab':*"));
        for nothing in ["", "  ", "@", "\0'&|!():*"] {
            assert_eq!(words(nothing), None, "{nothing:?}");
        }
        let long = "word ".repeat(10_000);
        assert_eq!(words(&long).unwrap().matches('&').count(), 9);
    }

    #[test]
    fn ids_names_and_parts_of_names_without_spaces_are_searched() {
        let user_id = user_id!("@o.neil:Example.org");
        assert_eq!(lexemes(user_id, "anna o'neil"), ":example.org anna neil o");
        assert_eq!(
            lexemes(user_id!("@a:b.c"), "山田太郎"),
            ":b.c a 太郎 山田太郎 田太郎 郎"
        );
    }
}
