-- Quantities are whole numbers of the base asset's smallest unit, money of the quote asset's.
CREATE TABLE orders (
    order_id              text COLLATE "C" NOT NULL PRIMARY KEY,
    placed_position       bigint      NOT NULL,  -- log position at which it was placed; the order of lists
    portfolio_id          text COLLATE "C" NOT NULL,
    account_id            text COLLATE "C" NOT NULL,
    owner                 text COLLATE "C" NOT NULL,
    client_order_id       text        NULL,
    symbol                text COLLATE "C" NOT NULL,
    venue                 text        NOT NULL,
    base                  text COLLATE "C" NOT NULL,
    quote                 text COLLATE "C" NOT NULL,
    side                  text        NOT NULL,
    order_type            text        NOT NULL,
    time_in_force         text        NOT NULL,
    self_trade_prevention text        NOT NULL,
    quantity              numeric     NULL,
    quote_quantity        numeric     NULL,
    limit_price           numeric     NULL,      -- quote asset for one base asset
    status                text        NOT NULL,
    filled_quantity       numeric     NOT NULL,
    filled_notional       numeric     NOT NULL,
    fees                  numeric     NOT NULL,
    reason                text        NULL,      -- code of a rejection or expiry
    reason_message        text        NULL,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    sequence              bigint      NOT NULL   -- number of events in the stream
) WITH (fillfactor = 70);
