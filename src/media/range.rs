//! Parts of a file that are asked for.

use std::ops::Range;

/// A part of a file, by positions in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeRequest {
    /// From the first position to the last one, or to the end of the file.
    From(u64, Option<u64>),
    /// So many bytes at the end of the file.
    Last(u64),
}

impl RangeRequest {
    /// The part in a file of this size; `None` if there is nothing in it.
    pub(crate) fn of(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first, None) => first..size,
            Self::From(first, Some(last)) => first..last.saturating_add(1).min(size),
            Self::Last(bytes) => size.saturating_sub(bytes)..size,
        };
        (!range.is_empty()).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_with_the_file() {
        for (request, expected) in [
            (RangeRequest::From(0, None), Some(0..10)),
            (RangeRequest::From(9, None), Some(9..10)),
            (RangeRequest::From(10, None), None),
            (RangeRequest::From(2, Some(2)), Some(2..3)),
            (RangeRequest::From(2, Some(u64::MAX)), Some(2..10)),
            (RangeRequest::From(3, Some(2)), None),
            (RangeRequest::Last(3), Some(7..10)),
            (RangeRequest::Last(11), Some(0..10)),
            (RangeRequest::Last(0), None),
        ] {
            assert_eq!(request.of(10), expected, "{request:?}");
        }
        assert_eq!(RangeRequest::From(0, None).of(0), None);
    }
}
