-- A batch is copied in, whether it travels alone or beside others, so the statement that took it as arrays is gone (ADR 25).
DROP FUNCTION log.append_batch;

-- Moves the head over a batch whose rows the same transaction has copied in already.
--
-- The lease is extended from the beginning of the transaction: its rows and its commit are sent together, so when PostgreSQL
-- comes to the commit says nothing of when the leader was last alive. Raises, as before,
--   40001  another leader's epoch, or another position than expected: nothing of the transaction may stay
--   DB001  recorded_at lies before the newest batch, or the last event is not there: a defect of the caller
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
           lease_until  = GREATEST(lease_until, transaction_timestamp() + lease_ms * interval '1 millisecond');

    IF new_position > expected_position THEN
        -- Delivered at commit, so whoever is woken finds the events.
        PERFORM pg_notify('log_appended', new_position::text);
    END IF;
END
$$;
