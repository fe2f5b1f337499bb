-- Rows are written once.
CREATE TABLE transfers (
    transfer_id  text COLLATE "C" NOT NULL,
    from_account text COLLATE "C" NOT NULL,
    to_account   text COLLATE "C" NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    amount       numeric     NOT NULL,  -- in the currency's smallest unit
    reference    text        NULL,
    effective_at timestamptz NOT NULL,
    log_position bigint      NOT NULL,  -- of the first leg
    recorded_at  timestamptz NOT NULL
);
