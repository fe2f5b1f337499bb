-- Rows are written once. Quantity in the base asset's smallest unit, money in the quote asset's.
CREATE TABLE fills (
    log_position bigint      NOT NULL,
    order_id     text COLLATE "C" NOT NULL,
    trade_id     text COLLATE "C" NOT NULL,
    portfolio_id text COLLATE "C" NOT NULL,
    symbol       text COLLATE "C" NOT NULL,
    base         text COLLATE "C" NOT NULL,
    quote        text COLLATE "C" NOT NULL,
    side         text        NOT NULL,
    price        numeric     NOT NULL,  -- quote asset for one base asset
    quantity     numeric     NOT NULL,
    notional     numeric     NOT NULL,
    fee          numeric     NOT NULL,
    realized_pnl numeric     NULL,      -- of a fill that reduces a position
    liquidity    text        NOT NULL,
    recorded_at  timestamptz NOT NULL
);

-- Of open orders: what their fills do not repeat.
CREATE TABLE fill_terms (
    order_id     text COLLATE "C" NOT NULL PRIMARY KEY,
    portfolio_id text COLLATE "C" NOT NULL,
    symbol       text COLLATE "C" NOT NULL,
    side         text NOT NULL
);
