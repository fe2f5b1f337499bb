-- Amounts are whole numbers of the asset's smallest unit. Rows are written once.
CREATE TABLE entries (
    log_position  bigint NOT NULL,          -- of the event
    leg           bigint NOT NULL,          -- among the event's legs, from 0
    party         text COLLATE "C" NOT NULL,  -- account, portfolio, or party without a stream
    counterparty  text COLLATE "C" NOT NULL,
    direction     text NOT NULL,
    asset         text COLLATE "C" NOT NULL,
    amount        numeric NOT NULL,         -- above zero
    balance_after numeric NOT NULL,         -- of the party, in the asset
    kind          text NOT NULL,
    movement_id   text COLLATE "C" NOT NULL,  -- deposit, withdrawal, transfer or trade
    reference     text NULL,
    effective_at  timestamptz NOT NULL,
    recorded_at   timestamptz NOT NULL
);

-- The running balances that entries are numbered by.
CREATE TABLE entry_balances (
    party   text COLLATE "C" NOT NULL,
    asset   text COLLATE "C" NOT NULL,
    balance numeric NOT NULL,
    PRIMARY KEY (party, asset)
) WITH (fillfactor = 70);

-- All entries of an asset.
CREATE TABLE entry_totals (
    asset   text COLLATE "C" NOT NULL PRIMARY KEY,
    debits  numeric NOT NULL,
    credits numeric NOT NULL
) WITH (fillfactor = 50);
