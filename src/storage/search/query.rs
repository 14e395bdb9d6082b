//! Finding events by their text.

use event::Pdu;
use ruma::OwnedUserId;
use types::{EventNid, HistoryOrder, RoomNid};

use super::{
    EVENT_TYPES, FOLLOWER, Indexed, MAX_NAMED_ROOMS, normalized, pairs_of, room_lexeme, runs,
    searched_text, user_ids,
};
use crate::{
    Connection, Error,
    rows::id,
    text::{self, is_unspaced},
};

/// How many words of a term are searched for.
const MAX_TERM_WORDS: usize = 50;
/// Events that the index does not have yet and that are searched nevertheless: the newest.
const MAX_UNINDEXED: i64 = 1000;
/// How far back in the stream these are looked for.
const MAX_UNINDEXED_POSITIONS: i64 = 20_000;

/// What to search for.
#[derive(Clone, Debug)]
pub struct SearchQuery<'a> {
    /// The language of the index.
    pub language: &'a str,
    /// Words that must all be there; those in quotation marks next to each other.
    pub term: &'a str,
    /// The rooms to search.
    pub rooms: &'a [RoomNid],
    /// Only events of these types, of those that are searched.
    pub event_types: &'a [&'a str],
    /// Only events of these senders.
    pub senders: Option<&'a [OwnedUserId]>,
    /// Whether the best come first, rather than the newest.
    pub by_rank: bool,
    /// Only what comes after this place.
    pub after: Option<Place>,
    /// How many at the most.
    pub limit: i64,
}

/// A place in the order of the results.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// How well it fits, if the best come first; else 0.
    pub rank: f32,
    /// When it was sent, in milliseconds since the epoch.
    pub sent_ts: i64,
    /// Its place in its room.
    pub order: HistoryOrder,
    /// Its number.
    pub event_nid: EventNid,
}

/// An event that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchHit {
    /// Its place among the results.
    pub place: Place,
    /// How well it fits; higher is better.
    pub rank: f32,
}

/// A search term as the database takes it.
struct Term {
    /// For `websearch_to_tsquery`: words and sequences of words, all in quotation marks.
    spaced: String,
    /// For scripts without spaces.
    pairs: String,
}

impl Term {
    /// `None` if there is no word in it.
    fn parse(term: &str, language: &str) -> Option<Self> {
        let (mut spaced, mut pairs) = (Vec::new(), Vec::new());
        let mut remaining = MAX_TERM_WORDS;
        let normalized = normalized(term, language);
        for (index, part) in normalized.split('"').enumerate() {
            let mut phrase = Vec::new();
            for run in text::words(part).flat_map(runs).take(remaining) {
                remaining -= 1;
                if run.chars().any(is_unspaced) {
                    pairs.extend(pair_queries(run));
                } else {
                    phrase.push(run);
                }
            }
            let is_quoted = index % 2 == 1;
            let separator = if is_quoted { " " } else { "\" \"" };
            if !phrase.is_empty() {
                spaced.push(format!("\"{}\"", phrase.join(separator)));
            }
        }
        (!spaced.is_empty() || !pairs.is_empty()).then(|| Self {
            spaced: spaced.join(" "),
            pairs: pairs.join(" & "),
        })
    }
}

/// All pairs; of a single character each pair that begins with it.
fn pair_queries(run: &str) -> Vec<String> {
    let pairs = pairs_of(run, false);
    if pairs.is_empty() {
        return vec![format!("'{run}':*")];
    }
    pairs.iter().map(|pair| format!("'{pair}'")).collect()
}

/// Events that the index does not have yet.
#[derive(Default)]
struct Unindexed {
    nids: Vec<i64>,
    spaced: Vec<String>,
    pairs: Vec<String>,
}

/// The events that a query finds, in the order of the results; who may see them is not asked. Edits of what
/// is redacted are gone with it.
///
/// To be called in a snapshot: what the index does not have yet is read from the stream.
#[tracing::instrument(name = "storage.search.find", level = "debug", skip_all)]
pub async fn find(db: &mut Connection, query: &SearchQuery<'_>) -> Result<Vec<SearchHit>, Error> {
    let Some(term) = Term::parse(query.term, query.language) else {
        return Ok(Vec::new());
    };
    let wanted = |event_type: &&&str| query.event_types.contains(*event_type);
    let event_types = EVENT_TYPES.iter().filter(wanted);
    let event_types: Vec<String> = event_types.map(|name| (*name).to_owned()).collect();
    if event_types.is_empty() || query.rooms.is_empty() {
        return Ok(Vec::new());
    }
    let rooms: Vec<i64> = query.rooms.iter().map(|nid| nid.get()).collect();
    let scope = Scope {
        named_rooms: named_rooms(query.rooms),
        unindexed: unindexed(db, query.language, &rooms, &event_types).await?,
        rooms,
        event_types,
    };
    hits(db, query, &term, &scope).await
}

/// The rooms as the index names them, unless there are too many.
fn named_rooms(rooms: &[RoomNid]) -> String {
    if rooms.len() > MAX_NAMED_ROOMS {
        return String::new();
    }
    let rooms = rooms.iter();
    let rooms = rooms.map(|room_nid| format!("'{}'", room_lexeme(*room_nid)));
    rooms.collect::<Vec<_>>().join(" | ")
}

/// Where to search.
struct Scope {
    rooms: Vec<i64>,
    named_rooms: String,
    event_types: Vec<String>,
    unindexed: Unindexed,
}

struct Row {
    event_nid: i64,
    origin_server_ts: i64,
    history_order: i64,
    rank: f32,
    place: f32,
}

impl From<Row> for SearchHit {
    fn from(row: Row) -> Self {
        Self {
            place: Place {
                rank: row.place,
                sent_ts: row.origin_server_ts,
                order: HistoryOrder(row.history_order),
                event_nid: EventNid(row.event_nid),
            },
            rank: row.rank,
        }
    }
}

async fn hits(
    db: &mut Connection,
    query: &SearchQuery<'_>,
    term: &Term,
    scope: &Scope,
) -> Result<Vec<SearchHit>, Error> {
    let senders = query.senders.map(user_ids);
    let after = query.after;
    // The query is written out where it is used, so that it is known when the statement is planned.
    let rows = sqlx::query_as!(
        Row,
        r#"WITH found AS (
            SELECT s.event_nid, ts_rank(s.words, websearch_to_tsquery($1::text::regconfig, $2) && $3::text::tsquery) AS rank
            FROM searchable_events s
            WHERE s.words @@ (websearch_to_tsquery($1::text::regconfig, $2) && $3::text::tsquery && $4::text::tsquery)
                AND numnode(websearch_to_tsquery($1::text::regconfig, $2) && $3::text::tsquery) > 0
            UNION ALL
            SELECT n.event_nid, ts_rank(n.words, websearch_to_tsquery($1::text::regconfig, $2) && $3::text::tsquery)
            FROM (
                SELECT u.event_nid, to_tsvector($1::text::regconfig, u.spaced) || array_to_tsvector(string_to_array(u.pairs, ' ')) AS words
                FROM UNNEST($5::bigint[], $6::text[], $7::text[]) AS u (event_nid, spaced, pairs)
            ) n
            WHERE n.words @@ (websearch_to_tsquery($1::text::regconfig, $2) && $3::text::tsquery)
                AND NOT EXISTS (SELECT FROM searchable_events s WHERE s.event_nid = n.event_nid)
         ), hits AS (
            SELECT e.event_nid, e.origin_server_ts, e.history_order, f.rank, CASE WHEN $11 THEN f.rank ELSE 0 END AS place
            FROM found f JOIN events e ON e.event_nid = f.event_nid
            WHERE e.room_nid = ANY($8) AND e.event_type = ANY($9) AND e.verdict = 0 AND e.redacted_by_nid IS NULL
                AND e.history_order IS NOT NULL AND ($10::text[] IS NULL OR e.sender = ANY($10))
                AND NOT EXISTS (
                    SELECT FROM relations l JOIN events t ON t.event_id = l.target_id
                    WHERE l.event_nid = e.event_nid AND l.rel_type = 'm.replace' AND t.redacted_by_nid IS NOT NULL)
         )
         SELECT event_nid AS "event_nid!", origin_server_ts AS "origin_server_ts!", history_order AS "history_order!",
            rank AS "rank!", place AS "place!"
         FROM hits
         WHERE $12::real IS NULL OR (place, origin_server_ts, history_order, event_nid) < ($12, $13, $14, $15)
         ORDER BY place DESC, origin_server_ts DESC, history_order DESC, event_nid DESC
         LIMIT $16"#,
        query.language,
        &term.spaced,
        &term.pairs,
        &scope.named_rooms,
        &scope.unindexed.nids,
        &scope.unindexed.spaced,
        &scope.unindexed.pairs,
        &scope.rooms,
        &scope.event_types,
        senders.as_deref() as Option<&[String]>,
        query.by_rank,
        after.map(|place| place.rank),
        after.map(|place| place.sent_ts),
        after.map(|place| place.order.get()),
        after.map(|place| place.event_nid.get()),
        query.limit
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(SearchHit::from).collect())
}

/// The newest events of rooms that the index does not have yet: most often there is none.
async fn unindexed(
    db: &mut Connection,
    language: &str,
    rooms: &[i64],
    event_types: &[String],
) -> Result<Unindexed, Error> {
    let rows = sqlx::query!(
        "SELECT e.event_nid, r.room_id, e.event_id, e.json FROM events e JOIN rooms r ON r.room_nid = e.room_nid
         WHERE e.position > GREATEST(
                COALESCE((SELECT position FROM cursors WHERE follower = $3), 0), (SELECT position FROM stream) - $5)
            AND e.room_nid = ANY($1) AND e.event_type = ANY($2) AND e.verdict = 0 AND e.redacted_by_nid IS NULL
         ORDER BY e.position DESC LIMIT $4",
        rooms,
        event_types,
        FOLLOWER,
        MAX_UNINDEXED,
        MAX_UNINDEXED_POSITIONS
    )
    .fetch_all(db)
    .await?;
    let mut unindexed = Unindexed::default();
    for row in rows {
        let pdu = Pdu::from_stored(id(row.event_id)?, id(row.room_id)?, row.json.into());
        let pdu = pdu.map_err(|error| Error::Corrupt(error.to_string()))?;
        if let Some(text) = searched_text(&pdu) {
            let text = Indexed::new(&text, language);
            unindexed.nids.push(row.event_nid);
            unindexed.spaced.push(text.spaced);
            unindexed.pairs.push(text.pairs);
        }
    }
    Ok(unindexed)
}

#[cfg(test)]
mod tests {
    use super::Term;

    fn parse(term: &str) -> Option<(String, String)> {
        Term::parse(term, "simple").map(|term| (term.spaced, term.pairs))
    }

    #[test]
    fn terms_are_words_phrases_and_pairs() {
        let of = |spaced: &str, pairs: &str| Some((spaced.to_owned(), pairs.to_owned()));
        assert_eq!(parse("Hello, -world or"), of(r#""hello" "world" "or""#, ""));
        assert_eq!(parse(r#"a "b c" d "e"#), of(r#""a" "b c" "d" "e""#, ""));
        assert_eq!(parse("日本語"), of("", "'日本' & '本語'"));
        assert_eq!(parse("語 x"), of(r#""x""#, "'語':*"));
    }

    #[test]
    fn terms_without_words_are_none_and_long_ones_are_cut() {
        for nothing in ["", "\0", "'&|!\\:*()\"", "  "] {
            assert_eq!(parse(nothing), None, "{nothing:?}");
        }
        let (spaced, _) = parse(&"word ".repeat(1000)).unwrap();
        assert_eq!(spaced.matches("word").count(), 50);
    }
}
