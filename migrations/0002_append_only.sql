-- Nobody changes or removes an event, whatever rights they hold.

CREATE FUNCTION log.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'log.% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'a correction is a new event';
END
$$;

-- ENABLE ALWAYS: also for superusers and under session_replication_role = replica.
CREATE TRIGGER events_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON log.events
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
ALTER TABLE log.events ENABLE ALWAYS TRIGGER events_append_only;

CREATE TRIGGER log_head_stays
    BEFORE DELETE OR TRUNCATE ON log.log_head
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
ALTER TABLE log.log_head ENABLE ALWAYS TRIGGER log_head_stays;
