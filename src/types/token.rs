//! The tokens that clients carry between requests.

use std::{fmt, str::FromStr};

use crate::{EphemeralPosition, HistoryOrder, StreamPosition};

/// Where a `/sync` stands: the durable and the ephemeral position, written `s12_3`.
///
/// When more messages wait for a device than one answer holds, it also says up to where they have
/// been handed out: `s12_3_7`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncToken {
    /// Everything durable at or before this has been seen.
    pub stream: StreamPosition,
    /// Everything ephemeral at or before this has been seen, as far as the process knew of it that
    /// gave the token out.
    pub ephemeral: EphemeralPosition,
    /// Messages to the device at or before this have been seen; none: as far as the stream.
    pub to_device: Option<StreamPosition>,
}

impl SyncToken {
    /// Up to where messages to the device have been seen.
    pub fn to_device(&self) -> StreamPosition {
        self.to_device.unwrap_or(self.stream)
    }
}

/// A place between two events of a room's history, written `p12`: just after the order 12.
///
/// Paging backwards from it starts at the event of that order, forwards at the next one. It stays
/// valid while gaps are filled. A [`SyncToken`] is accepted wherever a page token is, as its durable
/// half, and so is the position of a sliding sync connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageToken(pub HistoryOrder);

/// The text is not a token that this server gave out.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("This is not a token that this server gave out")]
pub struct InvalidToken;

impl crate::Fault for InvalidToken {
    fn kind(&self) -> crate::ErrorKind {
        crate::ErrorKind::InvalidParam
    }
}

impl fmt::Display for SyncToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}_{}", self.stream, self.ephemeral)?;
        match self.to_device {
            Some(position) => write!(f, "_{position}"),
            None => Ok(()),
        }
    }
}

impl FromStr for SyncToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let (stream, ephemeral) = text
            .strip_prefix('s')
            .and_then(|rest| rest.split_once('_'))
            .ok_or(InvalidToken)?;
        let (ephemeral, to_device) = match ephemeral.split_once('_') {
            Some((ephemeral, to_device)) => (ephemeral, Some(to_device)),
            None => (ephemeral, None),
        };
        Ok(Self {
            stream: StreamPosition(natural(stream)?),
            ephemeral: EphemeralPosition(natural(ephemeral)?),
            to_device: to_device.map(natural).transpose()?.map(StreamPosition),
        })
    }
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

impl FromStr for PageToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if let Some(number) = text.strip_prefix('p') {
            // What precedes the first event of the timeline has a negative order.
            let order = number.parse().map_err(|_| InvalidToken)?;
            return Ok(Self(HistoryOrder(order)));
        }
        // The position of a sliding sync connection is a sync token with more behind a tilde.
        let token = text.split_once('~').map_or(text, |(token, _)| token);
        let token: SyncToken = token.parse()?;
        Ok(Self(HistoryOrder::of(token.stream)))
    }
}

fn natural(text: &str) -> Result<i64, InvalidToken> {
    text.parse()
        .ok()
        .filter(|number| *number >= 0)
        .ok_or(InvalidToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_round_trip() {
        let token = SyncToken {
            stream: StreamPosition(12),
            ephemeral: EphemeralPosition(3),
            to_device: None,
        };
        assert_eq!(token.to_string(), "s12_3");
        assert_eq!("s12_3".parse::<SyncToken>().unwrap(), token);
        let behind = SyncToken {
            to_device: Some(StreamPosition(7)),
            ..token
        };
        assert_eq!(behind.to_string(), "s12_3_7");
        assert_eq!("s12_3_7".parse::<SyncToken>().unwrap(), behind);
        assert_eq!(
            "p-4".parse::<PageToken>().unwrap(),
            PageToken(HistoryOrder(-4))
        );
        assert_eq!(
            "s12_3".parse::<PageToken>().unwrap(),
            PageToken(HistoryOrder::of(StreamPosition(12)))
        );
        assert_eq!(
            "s12_3~5.abc".parse::<PageToken>().unwrap(),
            PageToken(HistoryOrder::of(StreamPosition(12)))
        );
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for text in [
            "",
            "s",
            "s1",
            "s_1",
            "s-1_0",
            "t12_3",
            "s1_2_3_4",
            "s1_2_",
            "s99999999999999999999_0",
            "p",
            "pé",
        ] {
            assert!(text.parse::<SyncToken>().is_err(), "{text}");
            assert!(text.parse::<PageToken>().is_err(), "{text}");
        }
    }
}
