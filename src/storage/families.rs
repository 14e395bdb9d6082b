//! Families of rows that one statement writes together, the last before a commit.
//!
//! A family's file holds its columns, its part of the statement and what it collects of a write. The
//! parts of those families that have rows are joined to one statement, so that the stream's row is
//! locked for one round trip. Parameters are numbered within each part; [`compose`] numbers them
//! anew. Each part is checked by sqlx on its own.

use ruma::ServerName;
use sqlx::{Arguments, AssertSqlSafe, postgres::PgArguments};
use types::StreamPosition;

use crate::{Changes, Connection, Error, events::erase, rooms::RoomWrite};

mod account_data;
pub(crate) mod account_data_updates;
pub(crate) mod claims;
mod current_state;
mod device_lists;
mod edges;
mod events;
mod key_counts;
pub(crate) mod key_uploads;
mod memberships;
mod partial_states;
mod pending_redactions;
mod receipts;
mod rechecked_events;
mod relations;
mod search_backlog;
mod snapshots;
mod state_deltas;
mod to_device;
mod transactions;
mod user_signatures;

/// A family's part of the statement, and its rows.
pub(crate) struct Part {
    /// A query that the part refers to, as it stands in a `WITH` clause.
    with: Option<&'static str>,
    sql: &'static str,
    columns: Vec<Column>,
}

/// One array parameter: a value for each row.
pub(crate) enum Column {
    Number(Vec<i64>),
    Flag(Vec<bool>),
    Bytes(Vec<Vec<u8>>),
    OptionalNumber(Vec<Option<i64>>),
    Small(Vec<i16>),
    Text(Vec<String>),
    OptionalText(Vec<Option<String>>),
}

/// Declares the columns of a family and its part of the statement.
///
/// The part reads the position before the first change as `taken.base`; the columns are `$1`, `$2`
/// and so on, in their order. This makes a struct `Row` and a function `part`, which is `None`
/// without rows. A query that the part refers to is given before it, after `with`.
macro_rules! family {
    ($sql:literal $columns:tt) => {
        crate::families::family! { @part None, $sql, { $sql } $columns }
    };
    (with $with:literal $sql:literal $columns:tt) => {
        crate::families::family! { @part Some($with), $sql, { ", " + $with + " " + $sql } $columns }
    };
    (@part $with:expr, $sql:literal, { $($checked:tt)* } { $($field:ident: $type:ty),* $(,)? }) => {
        struct Row {
            $($field: $type,)*
        }

        fn part(rows: impl IntoIterator<Item = Row>) -> Option<crate::families::Part> {
            $(let mut $field: Vec<$type> = Vec::new();)*
            for row in rows {
                $($field.push(row.$field);)*
            }
            if false {
                // Not run: it has sqlx check the part and the types of its columns.
                let _checked = sqlx::query!(
                    "WITH taken AS (SELECT 0::bigint AS base) " + $($checked)*,
                    $(crate::families::required(&$field)),*
                );
            }
            crate::families::Part::new($with, $sql, vec![$(crate::families::Column::from($field)),*])
        }
    };
}
pub(crate) use family;

/// Writes the changes and what rooms keep of their state; gives the changes consecutive positions
/// and returns the position before the first.
///
/// Takes the lock on the stream, which is held until the transaction ends: nothing may follow but
/// the commit.
#[tracing::instrument(name = "storage.stream.append", level = "debug", skip_all, fields(changes = changes.len()))]
pub(crate) async fn append(
    db: &mut Connection,
    changes: &Changes,
    rooms: &[&RoomWrite],
) -> Result<StreamPosition, Error> {
    let parts = [
        events::collect(changes, rooms),
        edges::collect(rooms),
        edges::collect_found(rooms),
        relations::collect(changes, rooms),
        transactions::collect(rooms),
        snapshots::collect(rooms),
        rechecked_events::collect(rooms),
        partial_states::collect(changes, rooms),
        partial_states::collect_completed(changes, rooms),
        state_deltas::collect(changes),
        current_state::collect(changes),
        current_state::collect_removed(changes),
        memberships::collect(changes),
        memberships::collect_removed(changes),
        erase::collect(changes, rooms),
        erase::collect_originals(changes, rooms),
        erase::collect_relations(changes, rooms),
        erase::collect_late_originals(rooms),
        search_backlog::collect(rooms),
        pending_redactions::collect(rooms),
        pending_redactions::collect_applied(rooms),
        receipts::collect(changes),
        account_data::collect(changes),
        to_device::collect(changes),
        device_lists::collect(changes),
        key_counts::collect(changes),
        user_signatures::collect(changes),
    ];
    let parts: Vec<Part> = parts.into_iter().flatten().collect();
    let sql = compose(&parts);
    let arguments = arguments(changes.len() as i64, parts).map_err(sqlx::Error::Encode)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "joined of literals, each of which is checked in its family"
    )]
    let base = sqlx::query_scalar_with(AssertSqlSafe(sql), arguments)
        .fetch_one(db)
        .await?;
    Ok(StreamPosition(base))
}

/// The parts as one statement; `$1` is the number of positions that it takes.
fn compose(parts: &[Part]) -> String {
    let mut sql = String::from(
        "WITH taken AS (UPDATE stream SET position = position + $1 RETURNING position - $1 AS base)",
    );
    let mut before = 1;
    for (index, part) in parts.iter().enumerate() {
        if let Some(with) = part.with {
            sql.push_str(", ");
            renumber(with, before, &mut sql);
        }
        sql.push_str(", part_");
        sql.push_str(&index.to_string());
        sql.push_str(" AS (");
        renumber(part.sql, before, &mut sql);
        sql.push(')');
        before += part.columns.len();
    }
    sql.push_str(" SELECT base FROM taken");
    sql
}

/// Appends a part, with `before` added to the numbers of its parameters.
fn renumber(part: &str, before: usize, sql: &mut String) {
    let mut pieces = part.split('$');
    sql.extend(pieces.next());
    for piece in pieces {
        let end = piece.find(|c: char| !c.is_ascii_digit());
        let (number, rest) = piece.split_at(end.unwrap_or(piece.len()));
        let number: usize = number.parse().unwrap_or_default();
        sql.push('$');
        sql.push_str(&(number + before).to_string());
        sql.push_str(rest);
    }
}

fn arguments(count: i64, parts: Vec<Part>) -> Result<PgArguments, sqlx::error::BoxDynError> {
    let mut arguments = PgArguments::default();
    arguments.add(count)?;
    for column in parts.into_iter().flat_map(|part| part.columns) {
        match column {
            Column::Number(values) => arguments.add(values),
            Column::Flag(values) => arguments.add(values),
            Column::Bytes(values) => arguments.add(values),
            Column::OptionalNumber(values) => arguments.add(values),
            Column::Small(values) => arguments.add(values),
            Column::Text(values) => arguments.add(values),
            Column::OptionalText(values) => arguments.add(values),
        }?;
    }
    Ok(arguments)
}

impl Part {
    pub(crate) fn new(
        with: Option<&'static str>,
        sql: &'static str,
        columns: Vec<Column>,
    ) -> Option<Self> {
        let is_empty = columns.first().is_none_or(Column::is_empty);
        (!is_empty).then_some(Self { with, sql, columns })
    }
}

impl Column {
    fn is_empty(&self) -> bool {
        match self {
            Self::Number(values) => values.is_empty(),
            Self::Flag(values) => values.is_empty(),
            Self::Bytes(values) => values.is_empty(),
            Self::OptionalNumber(values) => values.is_empty(),
            Self::Small(values) => values.is_empty(),
            Self::Text(values) => values.is_empty(),
            Self::OptionalText(values) => values.is_empty(),
        }
    }
}

/// What a column may hold; sqlx compares the type without regard to nulls.
pub(crate) trait Value {
    type Required: 'static;
}

/// Stands for a column when a part is checked.
pub(crate) fn required<T: Value>(_column: &[T]) -> &'static [T::Required] {
    &[]
}

macro_rules! values {
    ($($variant:ident: $type:ty => $required:ty),* $(,)?) => {$(
        impl Value for $type {
            type Required = $required;
        }

        impl From<Vec<$type>> for Column {
            fn from(values: Vec<$type>) -> Self {
                Self::$variant(values)
            }
        }
    )*};
}

values! {
    Number: i64 => i64,
    Flag: bool => bool,
    Bytes: Vec<u8> => Vec<u8>,
    OptionalNumber: Option<i64> => i64,
    Small: i16 => i16,
    Text: String => String,
    OptionalText: Option<String> => String,
}

/// An array as PostgreSQL writes it: UNNEST takes no arrays of arrays.
pub(crate) fn array(nids: impl IntoIterator<Item = i64>) -> String {
    let mut text = String::from("{");
    for (index, nid) in nids.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&nid.to_string());
    }
    text.push('}');
    text
}

/// The same of texts, which are names of servers.
pub(crate) fn name_array<'n>(names: impl IntoIterator<Item = &'n ServerName>) -> String {
    let quoted = names.into_iter().map(|name| format!("\"{name}\""));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::{Column, Part, compose};

    #[test]
    fn parameters_of_each_part_are_numbered_after_those_before_it() {
        let column = || Column::Number(vec![1]);
        let parts = [
            Part::new(
                None,
                "INSERT INTO a SELECT $2::text FROM UNNEST($1, $10)",
                (0..10).map(|_| column()).collect(),
            ),
            Part::new(
                Some("c AS (SELECT $1 AS n)"),
                "INSERT INTO b SELECT n FROM c",
                vec![column()],
            ),
        ];
        let parts: Vec<Part> = parts.into_iter().flatten().collect();
        assert_eq!(
            compose(&parts),
            "WITH taken AS (UPDATE stream SET position = position + $1 RETURNING position - $1 AS base), \
             part_0 AS (INSERT INTO a SELECT $3::text FROM UNNEST($2, $11)), \
             c AS (SELECT $12 AS n), part_1 AS (INSERT INTO b SELECT n FROM c) SELECT base FROM taken"
        );
    }

    #[test]
    fn a_family_without_rows_has_no_part() {
        assert!(
            Part::new(
                None,
                "INSERT INTO a SELECT $1",
                vec![Column::Text(Vec::new())]
            )
            .is_none()
        );
    }
}
