//! What a projection is: tables and a pure fold of whole commands over their rows.
//!
//! For each command the engine asks a projection which rows it touches, loads those that are not in memory, and folds.
//! The fold reads and writes rows in memory alone; the engine writes what has changed, with the checkpoint, in one
//! transaction. So the same fold serves the live read model, a rebuild and a verification.

mod command;
mod field;
mod rows;

pub(crate) use command::{Command, Fact, commands_of};
pub(crate) use field::{Cell, Field, SqlType};
pub(crate) use rows::{Column, Row, Rows, Table, TableRows, next_field, row};

use domain::Refusal;

use crate::changes::Changed;

/// Why a command cannot be folded. The projection stops there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// An event speaks of something that no event before it has made.
    #[error("an event changes a row of {table} that is not there: {key}")]
    Missing {
        /// The table.
        table: &'static str,
        /// The key of the row.
        key: String,
    },
    /// A sum is out of range or of two assets.
    #[error("an amount cannot be computed: {0}")]
    Amount(#[from] Refusal),
    /// A sum is larger than any amount can be.
    #[error("a sum is too large")]
    Overflow,
}

/// A projection: a name, a version, tables and a pure fold.
pub(crate) trait Projection: Send + Sync + 'static {
    const NAME: &'static str;
    /// Raised whenever tables or fold change; a projection of another version is built anew.
    const VERSION: i32;
    /// Makes the tables, in the schema that comes first in the search path.
    const TABLES: &'static str;
    /// Makes what a bulk load is quicker without.
    const INDEXES: &'static str;
    /// Rows of all its tables.
    type Rows: RowSet;

    /// Whether [`touches`](Self::touches) looks at rows. It is then called again after those it asked for were loaded, and
    /// after the commands before were folded, so it may ask for more.
    const LOOKS_AT_ROWS: bool = false;

    /// Asks for the rows that folding the command reads or changes.
    fn touches(command: &Command, rows: &mut Self::Rows);

    /// Makes the command part of the rows.
    ///
    /// # Errors
    /// [`FoldError`] when the log contradicts itself.
    fn fold(command: &Command, rows: &mut Self::Rows) -> Result<(), FoldError>;

    /// Says what has changed, for those who watch.
    fn announce(_rows: &Self::Rows, _changed: &mut Vec<Changed>) {}
}

/// The tables of one projection.
pub(crate) trait RowSet: Default + Send + Sync + 'static {
    fn tables(&self) -> Vec<&dyn TableRows>;
    fn tables_mut(&mut self) -> Vec<&mut dyn TableRows>;
}

/// Declares the tables of a projection.
macro_rules! row_set {
    ($name:ident { $($table:ident: $row:ty),+ $(,)? }) => {
        /// The tables.
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            $(pub(crate) $table: $crate::fold::Rows<$row>,)+
        }

        impl $crate::fold::RowSet for $name {
            fn tables(&self) -> Vec<&dyn $crate::fold::TableRows> {
                vec![$(&self.$table),+]
            }
            fn tables_mut(&mut self) -> Vec<&mut dyn $crate::fold::TableRows> {
                vec![$(&mut self.$table),+]
            }
        }
    };
}
pub(crate) use row_set;

/// A projection of any kind.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) version: i32,
    pub(crate) tables_sql: &'static str,
    pub(crate) indexes_sql: &'static str,
    start: fn() -> Box<dyn Folding>,
}

impl Model {
    pub(crate) const fn of<P: Projection>() -> Self {
        Self {
            name: P::NAME,
            version: P::VERSION,
            tables_sql: P::TABLES,
            indexes_sql: P::INDEXES,
            start: || Box::new(State::<P>(P::Rows::default())),
        }
    }

    /// Its rows, none in memory yet.
    pub(crate) fn start(&self) -> Box<dyn Folding> {
        (self.start)()
    }

    pub(crate) fn tables(&self) -> Vec<Table> {
        self.start().tables().iter().map(|rows| rows.table()).collect()
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// The rows of a projection of any kind, while it folds.
pub(crate) trait Folding: Send + Sync {
    fn looks_at_rows(&self) -> bool;
    fn touches(&mut self, command: &Command);
    fn fold(&mut self, command: &Command) -> Result<(), FoldError>;
    fn announce(&self, changed: &mut Vec<Changed>);
    fn tables(&self) -> Vec<&dyn TableRows>;
    fn tables_mut(&mut self) -> Vec<&mut dyn TableRows>;
}

impl dyn Folding + '_ {
    pub(crate) fn has_changes(&self) -> bool {
        self.tables().iter().any(|table| table.has_changes())
    }

    pub(crate) fn has_wanted(&self) -> bool {
        self.tables().iter().any(|table| table.has_wanted())
    }
}

struct State<P: Projection>(P::Rows);

impl<P: Projection> Folding for State<P> {
    fn looks_at_rows(&self) -> bool {
        P::LOOKS_AT_ROWS
    }
    fn touches(&mut self, command: &Command) {
        P::touches(command, &mut self.0);
    }
    fn fold(&mut self, command: &Command) -> Result<(), FoldError> {
        P::fold(command, &mut self.0)
    }
    fn announce(&self, changed: &mut Vec<Changed>) {
        P::announce(&self.0, changed);
    }
    fn tables(&self) -> Vec<&dyn TableRows> {
        self.0.tables()
    }
    fn tables_mut(&mut self) -> Vec<&mut dyn TableRows> {
        self.0.tables_mut()
    }
}

/// The sum of two numbers of smallest units.
pub(crate) fn sum(a: i128, b: i128) -> Result<i128, FoldError> {
    a.checked_add(b).ok_or(FoldError::Overflow)
}

/// Adds to a number of smallest units.
pub(crate) fn add(to: &mut i128, units: i128) -> Result<(), FoldError> {
    *to = sum(*to, units)?;
    Ok(())
}
