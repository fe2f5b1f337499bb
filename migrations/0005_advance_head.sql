-- Moves the head over a batch whose rows the same transaction has copied in already.
--
-- The leader sends this in one message with the COMMIT, and only once the batch before has been answered: rows of
-- several batches travel at the same time, and still the head moves in their order and its row is locked for a moment
-- only. Raises, as log.append_batch does,
--   40001  another leader's epoch, or another position than expected: nothing of the transaction may stay
--   DB001  recorded_at lies before the newest batch, or the last event is not there: a defect of the caller
CREATE FUNCTION log.advance_head(
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
           lease_until  = GREATEST(lease_until, clock_timestamp() + lease_ms * interval '1 millisecond');

    IF new_position > expected_position THEN
        -- Delivered at commit, so whoever is woken finds the events.
        PERFORM pg_notify('log_appended', new_position::text);
    END IF;
END
$$;

REVOKE ALL ON FUNCTION log.advance_head FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log.advance_head TO daybook_app;
