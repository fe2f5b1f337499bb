CREATE TABLE positions (
    portfolio_id text COLLATE "C" NOT NULL,
    asset        text COLLATE "C" NOT NULL,
    currency     text COLLATE "C" NOT NULL,  -- of cost and realized_pnl
    quantity     numeric NOT NULL,  -- held, reserved or not, in the asset's smallest unit
    reserved     numeric NOT NULL,  -- set aside by open sell orders
    cost         numeric NOT NULL,  -- of what is held, fees included, in the currency's smallest unit
    realized_pnl numeric NOT NULL,  -- what sales have brought beyond the cost of what was sold
    PRIMARY KEY (portfolio_id, asset)
) WITH (fillfactor = 70);

-- What each open sell order has set aside.
CREATE TABLE position_reservations (
    order_id text COLLATE "C" NOT NULL PRIMARY KEY,
    reserved numeric NOT NULL
) WITH (fillfactor = 70);
