-- What the projections as a whole keep, beside their own tables. Made by the application, which owns the schema.

-- The checkpoint of every projection that follows the log: they fold together and commit together.
CREATE TABLE IF NOT EXISTS read.live (
    only_row     boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    log_id       uuid    NOT NULL,  -- the log they are folds of
    log_position bigint  NOT NULL,  -- everything up to here is in them
    generation   bigint  NOT NULL   -- raised when a projection was replaced: whoever folds starts anew from here
) WITH (fillfactor = 10);

CREATE TABLE IF NOT EXISTS read.projections (
    name         text COLLATE "C" NOT NULL PRIMARY KEY,
    version      integer     NOT NULL,  -- of the tables and the fold that filled them
    log_position bigint      NULL,      -- where it has stopped; null while it follows the log with the others
    error        text        NULL,      -- why it has stopped
    tables       text[]      NOT NULL,  -- its tables
    built_at     timestamptz NOT NULL
);

-- Rebuilds under way, in schema read_next.
CREATE TABLE IF NOT EXISTS read.rebuilds (
    name         text COLLATE "C" NOT NULL PRIMARY KEY,
    version      integer     NOT NULL,
    log_id       uuid        NOT NULL,
    log_position bigint      NOT NULL,  -- everything up to here is in the tables of read_next
    indexed      boolean     NOT NULL,  -- whether its indexes have been made
    tables       text[]      NOT NULL,
    started_at   timestamptz NOT NULL
);
