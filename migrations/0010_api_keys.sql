-- Who may come in. The application reads keys, adds them and marks them revoked; it never deletes one, so the names of
-- actors in old events stay explained.

CREATE TABLE auth.api_keys (
    name       text COLLATE "C" NOT NULL,  -- the principal's name: the actor of the events it causes
    key_hash   bytea       NOT NULL,  -- SHA-256 of the key; the key itself is shown once and kept nowhere
    role       text COLLATE "C" NOT NULL,  -- what it may do
    owner      text        NULL,      -- whose things a trader may touch; null for every other role
    created_at timestamptz NOT NULL DEFAULT now(),  -- when it was made
    revoked_at timestamptz NULL,      -- since when it is no longer valid; null while it is
    CONSTRAINT api_keys_pkey PRIMARY KEY (name),
    CONSTRAINT api_keys_key_hash_unique UNIQUE (key_hash),
    CONSTRAINT api_keys_hash_length CHECK (octet_length(key_hash) = 32),
    CONSTRAINT api_keys_role_known CHECK (role IN ('trader', 'operator', 'risk', 'compliance', 'auditor', 'admin')),
    CONSTRAINT api_keys_owner_of_trader CHECK ((role = 'trader') = (owner IS NOT NULL))
);

GRANT SELECT, INSERT, UPDATE (revoked_at) ON auth.api_keys TO daybook_app;
