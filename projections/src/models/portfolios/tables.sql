-- Limits are whole numbers of the currency's smallest unit; null is no limit.
CREATE TABLE portfolios (
    portfolio_id          text COLLATE "C" NOT NULL PRIMARY KEY,
    owner                 text COLLATE "C" NOT NULL,
    name                  text    NOT NULL,
    cash_account_id       text COLLATE "C" NOT NULL,
    currency              text COLLATE "C" NOT NULL,
    max_order_notional    numeric NULL,
    max_position_notional numeric NULL,
    max_exposure          numeric NULL,
    max_open_orders       bigint  NULL,
    sequence              bigint  NOT NULL  -- number of events in the stream
) WITH (fillfactor = 70);
