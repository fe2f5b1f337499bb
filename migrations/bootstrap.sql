-- What a database administrator runs once, in the database that Daybook is to use, before its first start:
--
--     psql -v ON_ERROR_STOP=1 -d daybook -f migrations/bootstrap.sql
--
-- It needs a superuser, or a role with CREATEROLE that owns the database. It can be run again at any time: it only
-- adds what is missing. Afterwards give the two login roles a password or another way in:
--
--     ALTER ROLE daybook_migrator PASSWORD '…';  ALTER ROLE daybook_app PASSWORD '…';
--
-- Three roles keep the log append-only:
--   daybook_owner     owns the log; nobody logs in as it
--   daybook_migrator  logs in to change the schema, by becoming the owner; used while migrating, never to serve
--   daybook_app       logs in to serve; reads and inserts events and can neither change nor delete one

DO $bootstrap$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'daybook_owner') THEN
        CREATE ROLE daybook_owner NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'daybook_migrator') THEN
        CREATE ROLE daybook_migrator LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'daybook_app') THEN
        CREATE ROLE daybook_app LOGIN;
    END IF;
    GRANT daybook_owner TO daybook_migrator;

    -- One schema a subject. The application owns its own, because it creates and swaps read models by itself: they are
    -- served from read, built anew in read_next, and kept in read_old once they were replaced.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'log') THEN
        CREATE SCHEMA log;
        ALTER SCHEMA log OWNER TO daybook_owner;
    END IF;
    GRANT USAGE ON SCHEMA log TO daybook_app;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'ticks') THEN
        CREATE SCHEMA ticks;
        ALTER SCHEMA ticks OWNER TO daybook_owner;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'read') THEN
        CREATE SCHEMA read;
        ALTER SCHEMA read OWNER TO daybook_app;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'read_next') THEN
        CREATE SCHEMA read_next;
        ALTER SCHEMA read_next OWNER TO daybook_app;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'read_old') THEN
        CREATE SCHEMA read_old;
        ALTER SCHEMA read_old OWNER TO daybook_app;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'auth') THEN
        CREATE SCHEMA auth;
        ALTER SCHEMA auth OWNER TO daybook_owner;
    END IF;
    GRANT USAGE ON SCHEMA auth TO daybook_app;

    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO daybook_migrator, daybook_app', current_database());
    EXECUTE format('ALTER ROLE daybook_migrator IN DATABASE %I SET search_path = log', current_database());
    EXECUTE format('ALTER ROLE daybook_app IN DATABASE %I SET search_path = read, log, auth', current_database());
END
$bootstrap$;
