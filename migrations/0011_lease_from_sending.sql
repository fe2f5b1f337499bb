-- A lease is extended from when the leader sent what extends it, not from when PostgreSQL came to it. A leader may be frozen
-- while its commits and renewals wait in PostgreSQL: what goes through later is no sign of life, and would keep the next
-- leader waiting for another lease.
--
-- The three functions are otherwise as they were: clock_timestamp() has become statement_timestamp(), which is when the
-- message came in.

CREATE OR REPLACE FUNCTION log.append_batch(
    expected_epoch    bigint,       -- the epoch of the caller's lease
    expected_position bigint,       -- the log position after which the batch goes
    batch_recorded_at timestamptz,  -- for every row of the batch
    lease_ms          bigint,       -- an append also proves that the leader lives: the lease is extended by this
    -- events, one place an event
    event_ids         uuid[],
    aggregate_types   text[],
    aggregate_ids     text[],
    sequences         bigint[],
    event_types       text[],
    event_versions    text[],
    payloads          text[],
    metadatas         text[],
    remainings        smallint[],
    -- keys, one place a command that carries one
    key_principals    text[],
    key_keys          text[],
    key_hashes        bytea[],
    key_outcomes      text[],
    key_positions     bigint[]
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    head log.log_head%ROWTYPE;
    event_count integer := cardinality(event_ids);
BEGIN
    SELECT * INTO STRICT head FROM log.log_head FOR NO KEY UPDATE;

    IF head.epoch <> expected_epoch OR head.log_position <> expected_position THEN
        RAISE EXCEPTION 'the head is at position % in epoch %', head.log_position, head.epoch
            USING ERRCODE = 'serialization_failure',
                  DETAIL = format('expected position %s in epoch %s', expected_position, expected_epoch);
    END IF;
    IF head.recorded_at > batch_recorded_at THEN
        RAISE EXCEPTION 'the newest batch was recorded at %, after this one (%)', head.recorded_at, batch_recorded_at
            USING ERRCODE = 'DB001';
    END IF;

    UPDATE log.log_head
       SET log_position = expected_position + event_count,
           recorded_at  = batch_recorded_at,
           lease_until  = GREATEST(lease_until, statement_timestamp() + lease_ms * interval '1 millisecond');

    IF event_count > 0 THEN
        INSERT INTO log.events (log_position, sequence, recorded_at, event_id, remaining, aggregate_type,
                                aggregate_id, event_type, event_version, payload, metadata)
        SELECT expected_position + e.place, e.sequence, batch_recorded_at, e.event_id, e.remaining, e.aggregate_type,
               e.aggregate_id, e.event_type, e.event_version, e.payload::json, e.metadata::json
          FROM unnest(event_ids, aggregate_types, aggregate_ids, sequences, event_types, event_versions, payloads,
                      metadatas, remainings)
               WITH ORDINALITY AS e (event_id, aggregate_type, aggregate_id, sequence, event_type, event_version,
                                     payload, metadata, remaining, place);
        -- Delivered at commit, so whoever is woken finds the events.
        PERFORM pg_notify('log_appended', (expected_position + event_count)::text);
    END IF;

    IF cardinality(key_keys) > 0 THEN
        INSERT INTO log.idempotency_keys (recorded_at, log_position, principal, key, command_hash, outcome)
        SELECT batch_recorded_at, k.log_position, k.principal, k.key, k.command_hash, k.outcome::json
          FROM unnest(key_principals, key_keys, key_hashes, key_outcomes, key_positions)
               AS k (principal, key, command_hash, outcome, log_position);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION log.advance_head(
    expected_epoch    bigint,       -- the epoch of the caller's lease
    expected_position bigint,       -- the log position after which the batch goes
    new_position      bigint,       -- the log position of its last event
    batch_recorded_at timestamptz,  -- of every row of the batch
    lease_ms          bigint        -- an append also proves that the leader lives: the lease is extended by this
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    head log.log_head%ROWTYPE;
BEGIN
    SELECT * INTO STRICT head FROM log.log_head FOR NO KEY UPDATE;

    IF head.epoch <> expected_epoch OR head.log_position <> expected_position THEN
        RAISE EXCEPTION 'the head is at position % in epoch %', head.log_position, head.epoch
            USING ERRCODE = 'serialization_failure',
                  DETAIL = format('expected position %s in epoch %s', expected_position, expected_epoch);
    END IF;
    IF head.recorded_at > batch_recorded_at THEN
        RAISE EXCEPTION 'the newest batch was recorded at %, after this one (%)', head.recorded_at, batch_recorded_at
            USING ERRCODE = 'DB001';
    END IF;

    IF new_position > expected_position
       AND NOT EXISTS (SELECT FROM log.events WHERE log_position = new_position) THEN
        RAISE EXCEPTION 'there is no event at position %', new_position USING ERRCODE = 'DB001';
    END IF;

    UPDATE log.log_head
       SET log_position = new_position,
           recorded_at  = batch_recorded_at,
           lease_until  = GREATEST(lease_until, statement_timestamp() + lease_ms * interval '1 millisecond');

    IF new_position > expected_position THEN
        -- Delivered at commit, so whoever is woken finds the events.
        PERFORM pg_notify('log_appended', new_position::text);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION log.renew_lease(
    held_epoch bigint,  -- the epoch of the caller's lease
    lease_ms   bigint   -- how long the lease is to hold from now on
) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE log.log_head
       SET lease_until = GREATEST(lease_until, statement_timestamp() + lease_ms * interval '1 millisecond')
     WHERE epoch = held_epoch;
    RETURN FOUND;
END
$$;
