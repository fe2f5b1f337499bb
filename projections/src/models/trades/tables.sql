-- Rows are written once.
CREATE TABLE trades (
    log_position bigint      NOT NULL,
    trade_id     text COLLATE "C" NOT NULL,
    symbol       text COLLATE "C" NOT NULL,
    price        numeric     NOT NULL,  -- quote asset for one base asset
    base         text COLLATE "C" NOT NULL,
    quantity     numeric     NOT NULL,  -- in the base asset's smallest unit
    taker_side   text        NOT NULL,
    at           timestamptz NOT NULL
);
