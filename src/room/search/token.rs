//! Where a page of search results ended.

use std::{fmt, str::FromStr};

use ruma::{OwnedRoomId, OwnedUserId};
use storage::search::Place;
use types::{EventNid, HistoryOrder};

use super::Grouping;
use crate::Error;

/// A place among the results, as `next_batch` says it: of all of them, or of one group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SearchToken {
    pub(super) place: Place,
    /// About how many results there are in all.
    pub(super) count: u64,
    pub(super) group: Option<(Grouping, String)>,
}

impl SearchToken {
    /// The room whose results the next page is of.
    pub(super) fn room(&self) -> Option<OwnedRoomId> {
        let (grouping, key) = self.group.as_ref()?;
        (*grouping == Grouping::Room).then(|| OwnedRoomId::try_from(&**key).ok())?
    }

    /// The sender whose results the next page is of.
    pub(super) fn sender(&self) -> Option<OwnedUserId> {
        let (grouping, key) = self.group.as_ref()?;
        (*grouping == Grouping::Sender).then(|| OwnedUserId::try_from(&**key).ok())?
    }
}

impl fmt::Display for SearchToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            rank,
            sent_ts,
            order,
            event_nid,
        } = self.place;
        let count = self.count;
        write!(
            f,
            "{}_{sent_ts}_{order}_{event_nid}_{count}",
            rank.to_bits()
        )?;
        match &self.group {
            Some((Grouping::Room, key)) => write!(f, "_r{key}"),
            Some((Grouping::Sender, key)) => write!(f, "_s{key}"),
            None => Ok(()),
        }
    }
}

impl FromStr for SearchToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).ok_or_else(|| {
            let text = "`next_batch` is not a token that this server gave out";
            Error::Invalid(text.to_owned())
        })
    }
}

fn parse(text: &str) -> Option<SearchToken> {
    let mut parts = text.splitn(6, '_');
    let rank = f32::from_bits(parts.next()?.parse().ok()?);
    let token = SearchToken {
        place: Place {
            rank: Some(rank).filter(|rank| rank.is_finite())?,
            sent_ts: parts.next()?.parse().ok()?,
            order: HistoryOrder(parts.next()?.parse().ok()?),
            event_nid: EventNid(parts.next()?.parse().ok()?),
        },
        count: parts.next()?.parse().ok()?,
        group: None,
    };
    let Some(group) = parts.next() else {
        return Some(token);
    };
    let group = match group.split_at_checked(1)? {
        ("r", key) if OwnedRoomId::try_from(key).is_ok() => (Grouping::Room, key.to_owned()),
        ("s", key) if OwnedUserId::try_from(key).is_ok() => (Grouping::Sender, key.to_owned()),
        _ => return None,
    };
    Some(SearchToken {
        group: Some(group),
        ..token
    })
}

#[cfg(test)]
mod tests {
    use super::{EventNid, Grouping, HistoryOrder, Place, SearchToken};

    #[test]
    fn tokens_survive_the_round_trip_and_others_are_refused() {
        let place = Place {
            rank: 0.060_792_71,
            sent_ts: 1_700_000_000_000,
            order: HistoryOrder(-7),
            event_nid: EventNid(12),
        };
        for group in [
            None,
            Some((Grouping::Room, "!a_b:c.d".to_owned())),
            Some((Grouping::Sender, "@a_b:c.d".to_owned())),
        ] {
            let token = SearchToken {
                place,
                count: 3,
                group,
            };
            assert_eq!(token.to_string().parse::<SearchToken>().unwrap(), token);
        }
        let nan = f32::NAN.to_bits();
        for text in [
            "",
            "1",
            "1_2_3_4",
            "1_2_3_4_-5",
            "1_2_3_4_5_",
            "1_2_3_4_5_x!a:b",
            "1_2_3_4_5_ra",
            "1_2_3_4_5_é",
            "s1_2",
            &format!("{nan}_2_3_4_5"),
        ] {
            assert!(text.parse::<SearchToken>().is_err(), "{text}");
        }
    }
}
