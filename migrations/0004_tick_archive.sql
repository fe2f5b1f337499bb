-- The tick archive: every trade of outside markets, for as long as retention says. It is the second, declared source
-- beside the log: not part of the record, never needed to rebuild anything. Runs as daybook_owner; bootstrap.sql has made
-- the schema.

GRANT USAGE ON SCHEMA ticks TO daybook_app;

-- Some ten seconds of one market's trades a row, compressed, so that a busy market costs megabytes a day.
CREATE TABLE ticks.batches (
    first_at      timestamptz NOT NULL,  -- of the first trade in it
    last_at       timestamptz NOT NULL,  -- of the last trade in it; retention goes by it
    last_pass     bigint      NOT NULL,  -- of the last trade: which pass of the feed
    last_trade_id bigint      NOT NULL,  -- of the last trade: its number at the exchange, unique within the pass
    trade_count   integer     NOT NULL,  -- how many trades
    symbol        text COLLATE "C" NOT NULL,  -- the market, for example BTC-USDT
    trades        bytea       NOT NULL,  -- the trades: a version byte, then deflated columns of differences
    CONSTRAINT batches_pkey PRIMARY KEY (symbol, last_at, last_pass, last_trade_id),
    CONSTRAINT batches_not_empty CHECK (trade_count > 0 AND first_at <= last_at)
);
-- Compressed already: PostgreSQL need not try.
ALTER TABLE ticks.batches ALTER COLUMN trades SET STORAGE EXTERNAL;

GRANT SELECT, INSERT, DELETE ON ticks.batches TO daybook_app;
