-- Seconds as they were traded; minutes, hours and days once they are over. Prices are quote asset for one base asset.
CREATE TABLE candles (
    symbol       text COLLATE "C" NOT NULL,
    period       text COLLATE "C" NOT NULL,  -- S1, M1, H1 or D1
    open_time    timestamptz NOT NULL,
    open         numeric NOT NULL,
    high         numeric NOT NULL,
    low          numeric NOT NULL,
    close        numeric NOT NULL,
    volume       numeric NOT NULL,  -- in the base asset's smallest unit
    quote_volume numeric NOT NULL,  -- in the quote asset's smallest unit
    trade_count  bigint  NOT NULL,
    PRIMARY KEY (symbol, period, open_time)
);

-- What is older than the open minute is rolled up.
CREATE TABLE candle_heads (
    symbol text COLLATE "C" NOT NULL PRIMARY KEY,
    base   text COLLATE "C" NOT NULL,
    quote  text COLLATE "C" NOT NULL,
    minute timestamptz NULL  -- the open one; null before the first trade
) WITH (fillfactor = 50);
