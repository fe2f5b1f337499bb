//! The rows of one table in memory while they are folded, keyed by their primary key.

use std::collections::hash_map::Entry;
use std::fmt::Debug;
use std::hash::Hash;

use ahash::{AHashMap, AHashSet};
use sqlx::postgres::PgRow;

use super::FoldError;
use super::field::{Cell, Field, SqlType};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) sql_type: SqlType,
}

/// A table as the engine knows it. The columns of the key come first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [Column],
    pub(crate) key_columns: usize,
    /// Rows are written once and never read back, changed or removed.
    pub(crate) append_only: bool,
}

/// The value of a primary key: a tuple of fields.
pub(crate) trait Key: Clone + Debug + Eq + Hash + Ord + Send + Sync + 'static {
    fn cells(&self) -> Vec<Cell<'_>>;
}

macro_rules! tuple_keys {
    ($($($name:ident)+;)+) => {$(
        impl<$($name: Field + Debug + Eq + Hash + Ord + Send + Sync + 'static),+> Key for ($($name,)+) {
            #[expect(non_snake_case, reason = "named as the types")]
            fn cells(&self) -> Vec<Cell<'_>> {
                let ($($name,)+) = self;
                vec![$($name.cell()),+]
            }
        }
    )+};
}

tuple_keys! { A; A B; A B C; }

/// A row of one table.
pub(crate) trait Row: Clone + Debug + PartialEq + Send + Sync + 'static {
    type Key: Key;
    const TABLE: Table;
    fn key(&self) -> Self::Key;
    fn cells(&self) -> Vec<Cell<'_>>;
    /// From a result that has the table's columns first, in their order.
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Self::read_from(row, 0)
    }
    /// From a result that has the table's columns from `offset` on, in their order.
    fn read_from(row: &PgRow, offset: usize) -> Result<Self, sqlx::Error>;
}

/// Declares a row: first the columns of the key, then the others.
macro_rules! row {
    (
        $(#[$meta:meta])*
        $name:ident in $table:literal $(, $append_only:ident)?
        key { $($key:ident: $key_type:ty),+ $(,)? }
        $($column:ident: $type:ty),* $(,)?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct $name {
            $(pub(crate) $key: $key_type,)+
            $(pub(crate) $column: $type,)*
        }

        impl $crate::fold::Row for $name {
            type Key = ($($key_type,)+);
            const TABLE: $crate::fold::Table = $crate::fold::Table {
                name: $table,
                columns: &[
                    $($crate::fold::Column {
                        name: stringify!($key),
                        sql_type: <$key_type as $crate::fold::Field>::TYPE,
                    },)+
                    $($crate::fold::Column {
                        name: stringify!($column),
                        sql_type: <$type as $crate::fold::Field>::TYPE,
                    },)*
                ],
                key_columns: [$(stringify!($key)),+].len(),
                append_only: $crate::fold::row!(@append_only $($append_only)?),
            };
            fn key(&self) -> Self::Key {
                ($(self.$key.clone(),)+)
            }
            fn cells(&self) -> Vec<$crate::fold::Cell<'_>> {
                use $crate::fold::Field as _;
                vec![$(self.$key.cell(),)+ $(self.$column.cell(),)*]
            }
            fn read_from(row: &sqlx::postgres::PgRow, offset: usize) -> Result<Self, sqlx::Error> {
                let mut index = offset;
                $(let $key = $crate::fold::next_field(row, &mut index, stringify!($key))?;)+
                $(let $column = $crate::fold::next_field(row, &mut index, stringify!($column))?;)*
                let _ = index;
                Ok(Self { $($key,)+ $($column,)* })
            }
        }
    };
    (@append_only) => { false };
    (@append_only append_only) => { true };
}
pub(crate) use row;

/// The field at `index`, which moves on.
pub(crate) fn next_field<T: Field>(row: &PgRow, index: &mut usize, column: &str) -> Result<T, sqlx::Error> {
    let cell = Cell::read(row, *index, T::TYPE)?;
    *index += 1;
    T::from_cell(cell).map_err(|source| sqlx::Error::ColumnDecode { index: column.to_owned(), source })
}

#[derive(Clone, Debug)]
struct Slot<R> {
    /// `None`: there is no such row.
    row: Option<R>,
    /// Whether the database has a row under this key.
    stored: bool,
    changed: bool,
}

impl<R> Slot<R> {
    fn absent() -> Self {
        Self { row: None, stored: false, changed: false }
    }
}

/// Rows of one table: loaded from the database, or known to be absent, or made by the fold.
#[derive(Clone, Debug)]
pub(crate) struct Rows<R: Row> {
    slots: AHashMap<R::Key, Slot<R>>,
    /// To be loaded.
    wanted: AHashSet<R::Key>,
    /// Being loaded.
    under_way: Vec<R::Key>,
    /// Nothing is in the database that is not here, so what is not here does not exist.
    complete: bool,
    /// The keys of the slots that are changed.
    changed: Vec<R::Key>,
}

impl<R: Row> Default for Rows<R> {
    fn default() -> Self {
        Self {
            slots: AHashMap::new(),
            wanted: AHashSet::new(),
            under_way: Vec::new(),
            complete: false,
            changed: Vec::new(),
        }
    }
}

impl<R: Row> Rows<R> {
    /// Asks for the row under a key to be loaded before the fold.
    pub(crate) fn want(&mut self, key: R::Key) {
        if !self.complete && !self.slots.contains_key(&key) {
            self.wanted.insert(key);
        }
    }

    /// The row under a key, if there is one. While it is still to be loaded, nothing is known of it.
    pub(crate) fn get(&self, key: &R::Key) -> Option<&R> {
        self.slots.get(key).and_then(|slot| slot.row.as_ref())
    }

    /// The row under a key, to be changed.
    ///
    /// # Errors
    /// [`FoldError::Missing`] when there is none: the log says something of a thing that it never made.
    pub(crate) fn change(&mut self, key: &R::Key) -> Result<&mut R, FoldError> {
        let missing = || FoldError::Missing { table: R::TABLE.name, key: format!("{key:?}") };
        let slot = self.slots.get_mut(key).ok_or_else(missing)?;
        if !std::mem::replace(&mut slot.changed, true) {
            self.changed.push(key.clone());
        }
        slot.row.as_mut().ok_or_else(missing)
    }

    /// The row under a key, made by `make` when there is none, to be changed.
    pub(crate) fn change_or(&mut self, key: R::Key, make: impl FnOnce() -> R) -> &mut R {
        self.slot_to_change(key).row.get_or_insert_with(make)
    }

    /// Writes a row, whatever was under its key.
    pub(crate) fn put(&mut self, row: R) {
        let slot = self.slot_to_change(row.key());
        slot.row = Some(row);
    }

    fn slot_to_change(&mut self, key: R::Key) -> &mut Slot<R> {
        match self.slots.entry(key) {
            Entry::Occupied(mut entry) => {
                if !std::mem::replace(&mut entry.get_mut().changed, true) {
                    self.changed.push(entry.key().clone());
                }
                entry.into_mut()
            }
            Entry::Vacant(entry) => {
                self.changed.push(entry.key().clone());
                entry.insert(Slot { row: None, stored: false, changed: true })
            }
        }
    }

    /// Removes the row under a key.
    pub(crate) fn remove(&mut self, key: &R::Key) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.row = None;
            if !std::mem::replace(&mut slot.changed, true) {
                self.changed.push(key.clone());
            }
        }
    }

    /// The rows that were changed and are still there.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &R> {
        self.changed.iter().filter_map(|key| self.get(key))
    }

    /// The keys that were changed, of rows that are gone too.
    pub(crate) fn changed_keys(&self) -> impl Iterator<Item = &R::Key> {
        self.changed.iter()
    }
}

/// What a flush has to write of one table.
#[derive(Debug, Default)]
pub(crate) struct Writes<'a> {
    /// Rows that the database may have already, in the order of their keys.
    pub(crate) upserts: Vec<Vec<Cell<'a>>>,
    /// Rows that the database cannot have, in the order of their keys.
    pub(crate) inserts: Vec<Vec<Cell<'a>>>,
    /// Keys of rows to remove.
    pub(crate) deletes: Vec<Vec<Cell<'a>>>,
}

impl Writes<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.inserts.is_empty() && self.deletes.is_empty()
    }
}

/// [`Rows`] of any table, as the engine handles them.
pub(crate) trait TableRows: Send + Sync {
    fn table(&self) -> Table;
    /// Begins to load the keys asked for, and gives them as cells, in their order.
    fn begin_load(&mut self) -> Vec<Vec<Cell<'static>>>;
    fn has_wanted(&self) -> bool;
    /// Takes a row from the database in.
    fn load(&mut self, row: &PgRow) -> Result<(), sqlx::Error>;
    /// What was wanted before and not loaded does not exist.
    fn settle_absent(&mut self);
    /// What has changed since the last flush.
    fn writes(&self) -> Writes<'_>;
    fn has_changes(&self) -> bool;
    fn changed_count(&self) -> usize;
    /// What was changed stands in the database now.
    fn flushed(&mut self);
    fn len(&self) -> usize;
    /// Forgets everything; the database has it.
    fn forget(&mut self);
    /// The database has nothing, so nothing need be loaded.
    fn assume_complete(&mut self);
}

impl<R: Row> TableRows for Rows<R> {
    fn table(&self) -> Table {
        R::TABLE
    }

    fn begin_load(&mut self) -> Vec<Vec<Cell<'static>>> {
        self.under_way.extend(self.wanted.drain());
        self.under_way.sort_unstable();
        let owned = |key: &R::Key| key.cells().into_iter().map(Cell::into_owned).collect();
        self.under_way.iter().map(owned).collect()
    }

    fn has_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    fn load(&mut self, row: &PgRow) -> Result<(), sqlx::Error> {
        let row = R::read(row)?;
        self.slots.insert(row.key(), Slot { row: Some(row), stored: true, changed: false });
        Ok(())
    }

    fn settle_absent(&mut self) {
        for key in self.under_way.drain(..) {
            self.slots.entry(key).or_insert_with(Slot::absent);
        }
    }

    fn writes(&self) -> Writes<'_> {
        let mut changed: Vec<_> = self.changed.iter().collect();
        changed.sort_unstable();
        let mut writes = Writes::default();
        for key in changed {
            let Some(slot) = self.slots.get(key) else { continue };
            match &slot.row {
                Some(row) if !slot.stored && (self.complete || R::TABLE.append_only) => {
                    writes.inserts.push(row.cells());
                }
                Some(row) => writes.upserts.push(row.cells()),
                None if slot.stored => writes.deletes.push(key.cells()),
                None => {}
            }
        }
        writes
    }

    fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    fn changed_count(&self) -> usize {
        self.changed.len()
    }

    fn flushed(&mut self) {
        if R::TABLE.append_only {
            self.slots.clear();
            self.changed.clear();
            return;
        }
        for key in self.changed.drain(..) {
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.changed = false;
                slot.stored = slot.row.is_some();
            }
        }
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    fn forget(&mut self) {
        *self = Self::default();
    }

    fn assume_complete(&mut self) {
        self.complete = true;
    }
}
