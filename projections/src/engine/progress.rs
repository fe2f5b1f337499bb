//! How far the projections are, as this process knows it: by folding, or by what the node that folds announces.

use std::collections::BTreeMap;
use std::sync::Arc;

use event_store::LogPosition;

use super::checkpoint::Checkpoints;
use crate::models;

/// How far a projection is, as this process knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProjectionProgress {
    /// With the others.
    Live,
    /// Not yet readable.
    Building,
    /// Left behind there.
    Stopped(LogPosition, Arc<str>),
}

/// How far the projections are, as this process knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Whether this process folds: then the checkpoint may be ahead of the database's.
    pub(crate) leading: bool,
    /// Whether this process hears what the folding node announces: then, too.
    pub(crate) hearing: bool,
    /// The common checkpoint.
    pub(crate) log_position: LogPosition,
    /// The same as it was last written to the database; in between no event changes a row.
    pub(crate) written: LogPosition,
    /// Raised when a projection was replaced.
    pub(crate) generation: i64,
    /// By name.
    pub(crate) projections: BTreeMap<&'static str, ProjectionProgress>,
}

impl Progress {
    /// How far a projection is; `None` while it cannot be read.
    pub(crate) fn of(&self, projection: &str) -> Option<LogPosition> {
        match self.projections.get(projection)? {
            ProjectionProgress::Live => Some(self.log_position),
            ProjectionProgress::Stopped(position, _) => Some(*position),
            ProjectionProgress::Building => None,
        }
    }

    /// Whether it can be told without asking the database.
    pub(crate) fn is_known(&self) -> bool {
        self.leading || self.hearing
    }

    /// How many projections have stopped.
    pub(crate) fn stopped(&self) -> usize {
        let is_stopped = |one: &&ProjectionProgress| matches!(one, ProjectionProgress::Stopped(..));
        self.projections.values().filter(is_stopped).count()
    }

    /// As the database says it.
    pub(super) fn set(&mut self, checkpoints: &Checkpoints) {
        self.log_position = checkpoints.log_position;
        self.written = checkpoints.log_position;
        self.generation = checkpoints.generation;
        self.set_standings(checkpoints);
    }

    /// Takes over what was read from the database after `written_before` had been known. What is announced may be
    /// further already, so the place moves forward only; unless the database has lost commits of the read models in a
    /// crash: then what was known is void.
    pub(super) fn take_over(&mut self, checkpoints: &Checkpoints, written_before: LogPosition) {
        if checkpoints.log_position < written_before || checkpoints.generation != self.generation {
            self.set(checkpoints);
            return;
        }
        self.advance(checkpoints.log_position, checkpoints.log_position);
        self.set_standings(checkpoints);
    }

    /// Moves forward to a place, with what of it the database has.
    pub(super) fn advance(&mut self, log_position: LogPosition, written: LogPosition) {
        self.log_position = self.log_position.max(log_position);
        self.written = self.written.max(written);
    }

    fn set_standings(&mut self, checkpoints: &Checkpoints) {
        let projections = models::ALL.iter().map(|model| {
            let standing =
                checkpoints.standings.get(model.name).filter(|standing| standing.version == model.version);
            let progress = match standing {
                None => ProjectionProgress::Building,
                Some(standing) => match standing.log_position {
                    None => ProjectionProgress::Live,
                    Some(at) => {
                        let error = standing.error.clone().unwrap_or_default();
                        ProjectionProgress::Stopped(at, Arc::from(error))
                    }
                },
            };
            (model.name, progress)
        });
        self.projections = projections.collect();
    }
}
