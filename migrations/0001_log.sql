-- The log. Runs as daybook_owner in a database that bootstrap.sql has prepared.

-- A server compares these with the migrations it knows before it serves.
GRANT SELECT ON log._sqlx_migrations TO daybook_app;

-- Every fact, once, in order. Never updated, never deleted. The order of the columns keeps rows free of padding.
CREATE TABLE log.events (
    log_position   bigint      NOT NULL,  -- place in the whole log: 1, 2, 3 … without gaps, in commit order
    sequence       bigint      NOT NULL,  -- place in the stream: 1, 2, 3 … without gaps
    recorded_at    timestamptz NOT NULL,  -- the decider's clock for the batch; never moves backward along the log
    event_id       uuid        NOT NULL,  -- UUIDv7; settles whether a batch of unknown outcome is ours
    remaining      smallint    NOT NULL,  -- events of the same command still to come; 0 on its last
    aggregate_type text COLLATE "C" NOT NULL,  -- with aggregate_id it names the stream
    aggregate_id   text COLLATE "C" NOT NULL,  -- "C": compared as bytes, which is quicker and the same everywhere
    event_type     text COLLATE "C" NOT NULL,  -- name of the event, in the past tense
    event_version  text COLLATE "C" NOT NULL,  -- version of the payload's shape, for upcasters
    payload        json        NOT NULL,  -- externally tagged; json and not jsonb: the bytes stay as written
    metadata       json        NOT NULL,  -- flat map of strings: command_id, correlation_id, causation_id, actor, occurred_at
    CONSTRAINT events_pkey PRIMARY KEY (log_position),
    -- The last guard of a stream's order. These two are the only indexes: each one more is paid for on every append.
    CONSTRAINT events_stream_unique UNIQUE (aggregate_type, aggregate_id, sequence),
    CONSTRAINT events_places_positive CHECK (log_position > 0 AND sequence > 0 AND remaining >= 0)
);

-- The end of the log and who may append to it. One row, advanced in the transaction that inserts the events, which is
-- what makes positions dense: a reader at p never later meets an event below p.
CREATE TABLE log.log_head (
    only_row     boolean     NOT NULL DEFAULT true,  -- always true: there is one head
    log_id       uuid        NOT NULL DEFAULT gen_random_uuid(),  -- names this log; derived data of another log is not ours
    log_position bigint      NOT NULL DEFAULT 0,     -- of the newest event; 0 before the first
    recorded_at  timestamptz NOT NULL DEFAULT '-infinity',  -- of the newest batch
    epoch        bigint      NOT NULL DEFAULT 0,     -- raised by every change of leader; an append names the one it holds
    leader       text        NULL,                   -- name of the node that leads; null when none does
    lease_until  timestamptz NULL,                   -- by PostgreSQL's clock; after it another node may lead
    CONSTRAINT log_head_pkey PRIMARY KEY (only_row),
    CONSTRAINT log_head_only_row CHECK (only_row)
) WITH (fillfactor = 10);  -- room on its page, so that updates stay on it

INSERT INTO log.log_head DEFAULT VALUES;

-- What each command answered, so that asking again with its key gives the first answer. Written with its events.
CREATE TABLE log.idempotency_keys (
    recorded_at  timestamptz NOT NULL,  -- when it was decided; old keys are pruned by it
    log_position bigint      NULL,      -- of the command's last event; null when it was refused
    principal    text COLLATE "C" NOT NULL,  -- who sent it; one principal's keys never meet another's
    key          text COLLATE "C" NOT NULL,  -- chosen by the client
    command_hash bytea       NOT NULL,  -- SHA-256 of the parsed command: the same key with another command is a conflict
    outcome      json        NOT NULL,  -- what was answered, refusals too
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (principal, key),
    CONSTRAINT idempotency_keys_hash_length CHECK (octet_length(command_hash) = 32)
);
-- Costs next to nothing on insert and lets pruning find old rows without reading the whole table.
CREATE INDEX idempotency_keys_recorded_at ON log.idempotency_keys USING brin (recorded_at)
    WITH (pages_per_range = 32, autosummarize = on);

-- States of long streams, so that a cold load need not read them from the start. Can be emptied at any time.
CREATE TABLE log.snapshots (
    aggregate_type text COLLATE "C" NOT NULL,  -- the stream
    aggregate_id   text COLLATE "C" NOT NULL,
    sequence       bigint   NOT NULL,  -- of the last event in it
    state_version  integer  NOT NULL,  -- version of the state's shape; another version is ignored on load
    state          json     NOT NULL,  -- the aggregate after that event
    CONSTRAINT snapshots_pkey PRIMARY KEY (aggregate_type, aggregate_id)
);

-- Where each process (feed, timer, venue) stands, so that the next leader goes on from there.
CREATE TABLE log.process_states (
    name         text COLLATE "C" NOT NULL,  -- of the process
    log_position bigint      NOT NULL DEFAULT 0,  -- the log position up to which it has acted
    epoch        bigint      NOT NULL,       -- of the leader that loaded it last; an older leader can no longer save
    state        json        NULL,           -- its own; null until it is saved for the first time
    saved_at     timestamptz NULL,           -- when it was saved last
    CONSTRAINT process_states_pkey PRIMARY KEY (name)
);

-- The application inserts and reads events. It moves the head but can neither add nor remove one, nor rename the log.
GRANT SELECT, INSERT ON log.events TO daybook_app;
GRANT SELECT, UPDATE (log_position, recorded_at, epoch, leader, lease_until) ON log.log_head TO daybook_app;
GRANT SELECT, INSERT, DELETE ON log.idempotency_keys TO daybook_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON log.snapshots, log.process_states TO daybook_app;
