-- Quantities are whole numbers of the base asset's smallest unit, money of the quote asset's; prices are quote asset for
-- one base asset, rates fractions of one.
CREATE TABLE markets (
    symbol       text COLLATE "C" NOT NULL PRIMARY KEY,
    base         text COLLATE "C" NOT NULL,
    quote        text COLLATE "C" NOT NULL,
    venue        text    NOT NULL,
    status       text    NOT NULL,
    tick_size    numeric NOT NULL,
    lot_size     numeric NOT NULL,
    min_quantity numeric NOT NULL,
    max_quantity numeric NOT NULL,
    min_notional numeric NOT NULL,
    maker_fee    numeric NOT NULL,
    taker_fee    numeric NOT NULL,
    price_band   numeric NULL
);

-- Apart from the market, because it changes every second: a narrow row with room on its page.
CREATE TABLE market_prices (
    symbol       text COLLATE "C" NOT NULL PRIMARY KEY,
    base         text COLLATE "C" NOT NULL,
    last_price   numeric     NULL,  -- of the last trade
    bid_price    numeric     NULL,  -- observed; an internal market's is in its book
    bid_quantity numeric     NULL,
    ask_price    numeric     NULL,
    ask_quantity numeric     NULL,
    priced_at    timestamptz NOT NULL
) WITH (fillfactor = 10);
