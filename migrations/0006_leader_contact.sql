-- Where the node that leads takes the other nodes' commands, and the secret with which they come in. Written with the
-- lease; who can read this is a node of this log, so nodes need no configuration to find and to trust each other.
CREATE TABLE log.leader_contact (
    only_row boolean NOT NULL DEFAULT true,  -- always true: there is one leader
    epoch    bigint  NOT NULL,  -- of the lease it was written with; under another epoch it says nothing
    address  text    NOT NULL,  -- host and port
    secret   bytea   NOT NULL,  -- random, made anew with every lease
    CONSTRAINT leader_contact_pkey PRIMARY KEY (only_row),
    CONSTRAINT leader_contact_only_row CHECK (only_row)
);

GRANT SELECT, INSERT, UPDATE ON log.leader_contact TO daybook_app;

-- Gives the lease to a node when nobody holds it; no row when another node does. A node gets its own lease again at once,
-- under a new epoch. One statement: a node that is frozen in the middle of it cannot keep the head locked. Raises
--   55P03  somebody has had the head locked for too long, though its lease has run out
CREATE FUNCTION log.acquire_lease(
    node     text,    -- unique among the nodes of this log
    lease_ms bigint,  -- how long the lease is to hold
    address  text     -- where it takes other nodes' commands; null: nowhere
) RETURNS TABLE (
    epoch         bigint,       -- of this lease
    log_position  bigint,       -- the head
    recorded_at   timestamptz,  -- of the newest batch; null before the first
    secret        bytea         -- with which other nodes come in; null without an address
)
LANGUAGE plpgsql
SET lock_timeout = '300ms'
AS $$
#variable_conflict use_column
DECLARE
    won log.log_head%ROWTYPE;
    new_secret bytea;
BEGIN
    UPDATE log.log_head AS h
       SET epoch       = h.epoch + 1,
           leader      = acquire_lease.node,
           lease_until = clock_timestamp() + lease_ms * interval '1 millisecond'
     WHERE h.leader IS NULL OR h.leader = acquire_lease.node
        OR h.lease_until IS NULL OR h.lease_until <= clock_timestamp()
    RETURNING h.* INTO won;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF acquire_lease.address IS NOT NULL THEN
        -- Two strong random UUIDs: 244 random bits.
        INSERT INTO log.leader_contact AS c (epoch, address, secret)
        VALUES (won.epoch, acquire_lease.address, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
            ON CONFLICT (only_row) DO UPDATE
           SET epoch = excluded.epoch, address = excluded.address, secret = excluded.secret
        RETURNING c.secret INTO new_secret;
    END IF;
    RETURN QUERY SELECT won.epoch, won.log_position, NULLIF(won.recorded_at, '-infinity'), new_secret;
END
$$;

-- Extends the lease of an epoch; false when another node has taken over. Not flushed: a renewal that a crash takes back
-- shortens the lease, which is safe, and appends, which wait for the head's row, need not wait for one flush more.
CREATE FUNCTION log.renew_lease(
    held_epoch bigint,  -- the epoch of the caller's lease
    lease_ms   bigint   -- how long the lease is to hold from now on
) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE log.log_head
       SET lease_until = GREATEST(lease_until, clock_timestamp() + lease_ms * interval '1 millisecond')
     WHERE epoch = held_epoch;
    RETURN FOUND;
END
$$;

REVOKE ALL ON FUNCTION log.acquire_lease, log.renew_lease FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log.acquire_lease, log.renew_lease TO daybook_app;
