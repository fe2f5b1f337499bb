-- Appends one batch and moves the head, in one statement and so in one transaction and one round trip.
--
-- The head's row is locked first: what comes after sees the newest head, and readers see the events and the new head
-- together. Raises
--   40001  another leader's epoch, or another position than expected: the caller no longer leads, nothing is written
--   DB001  recorded_at lies before the newest batch: the caller stamped it wrongly
--   23505  a taken sequence (events_stream_unique) or key (idempotency_keys_pkey)
CREATE FUNCTION log.append_batch(
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
           lease_until  = GREATEST(lease_until, clock_timestamp() + lease_ms * interval '1 millisecond');

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

-- The last log position recorded at or before the moment; 0 when there is none. Positions are dense and recorded_at
-- never moves backward along them, so a binary search over the primary key needs no index of its own.
CREATE FUNCTION log.position_at(moment timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    low  bigint := 0;  -- recorded at or before the moment
    high bigint;       -- first that may be after it
    middle bigint;
BEGIN
    SELECT log_position + 1 INTO STRICT high FROM log.log_head;
    WHILE low + 1 < high LOOP
        middle := low + (high - low) / 2;
        IF (SELECT recorded_at <= moment FROM log.events WHERE log_position = middle) THEN
            low := middle;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END
$$;

REVOKE ALL ON FUNCTION log.append_batch, log.position_at, log.refuse_change FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log.append_batch, log.position_at TO daybook_app;
