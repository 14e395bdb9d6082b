//! The tokens of pages of a hierarchy.

use std::fmt;

use event::space::SpaceRoom;
use ruma::OwnedRoomId;

use super::{HierarchyQuery, MAX_DEPTH};
use crate::Error;

/// Where a page ends, and the query that it belongs to.
///
/// It holds all that is needed, so that any process can continue, at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HierarchyToken {
    pub(super) suggested_only: bool,
    pub(super) max_depth: u64,
    /// How many rooms were on the pages so far: where the next one starts when the last room is gone.
    pub(super) count: usize,
    /// The last of them.
    pub(super) last: Option<OwnedRoomId>,
}

impl HierarchyToken {
    /// The start of the first page.
    pub(super) fn start(query: &HierarchyQuery) -> Self {
        Self {
            suggested_only: query.suggested_only,
            max_depth: query.max_depth.unwrap_or(MAX_DEPTH).min(MAX_DEPTH),
            count: 0,
            last: None,
        }
    }

    /// The token that a client gives with a query, which must be that of the pages before.
    pub(super) fn of_query(text: &str, query: &HierarchyQuery) -> Result<Self, Error> {
        let token = Self::parse(text);
        let token = token
            .ok_or_else(|| Error::Invalid("`from` is not a page of a hierarchy".to_owned()))?;
        let asked = Self::start(query);
        // What the client leaves out is as it was.
        let is_same = (!query.suggested_only || token.suggested_only)
            && (query.max_depth.is_none() || token.max_depth == asked.max_depth);
        if !is_same {
            return Err(Error::Invalid(
                "`suggested_only` and `max_depth` must be those of the first page".to_owned(),
            ));
        }
        Ok(token)
    }

    /// The token of the page after one with these rooms.
    pub(super) fn after(&self, start: usize, rooms: &[SpaceRoom]) -> Self {
        let last = rooms.last().map(|room| room.summary.room_id.clone());
        Self {
            count: start + rooms.len(),
            last: last.or_else(|| self.last.clone()),
            ..self.clone()
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '_');
        let max_depth = parts.next()?.parse().ok()?;
        let suggested_only = match parts.next()? {
            "s" => true,
            "a" => false,
            _ => return None,
        };
        Some(Self {
            suggested_only,
            max_depth: MAX_DEPTH.min(max_depth),
            count: parts.next()?.parse().ok()?,
            last: Some(OwnedRoomId::try_from(parts.next()?).ok()?),
        })
    }
}

impl fmt::Display for HierarchyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = if self.suggested_only { "s" } else { "a" };
        write!(f, "{}_{which}_{}_", self.max_depth, self.count)?;
        self.last
            .as_ref()
            .map_or(Ok(()), |last| f.write_str(last.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use ruma::room_id;

    use super::*;

    fn query(suggested_only: bool, max_depth: Option<u64>) -> HierarchyQuery {
        HierarchyQuery {
            room_id: room_id!("!space:example.org").to_owned(),
            suggested_only,
            max_depth,
            limit: None,
            from: None,
        }
    }

    #[test]
    fn token_is_read_as_it_was_written() {
        let token = HierarchyToken {
            suggested_only: true,
            max_depth: 3,
            count: 50,
            last: Some(room_id!("!a_b:example.org").to_owned()),
        };
        let read = HierarchyToken::of_query(&token.to_string(), &query(true, Some(3)));
        assert_eq!(read.unwrap(), token);
    }

    #[test]
    fn token_of_another_query_is_refused() {
        let text = "3_a_50_!a:example.org";
        let read = |query: &HierarchyQuery| HierarchyToken::of_query(text, query);
        assert!(read(&query(false, None)).is_ok());
        assert!(read(&query(true, None)).is_err());
        assert!(read(&query(false, Some(2))).is_err());
        let garbage = HierarchyToken::of_query("3_x_!a:example.org", &query(false, None));
        assert!(garbage.is_err());
    }
}
