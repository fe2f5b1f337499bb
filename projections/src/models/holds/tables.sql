-- Amounts are whole numbers of the currency's smallest unit.
CREATE TABLE holds (
    hold_id         text COLLATE "C" NOT NULL PRIMARY KEY,
    account_id      text COLLATE "C" NOT NULL,
    placed_position bigint      NOT NULL,  -- log position at which it was placed; the order of lists
    currency        text COLLATE "C" NOT NULL,
    amount          numeric     NOT NULL,  -- at first
    captured        numeric     NOT NULL,  -- paid out of it
    remaining       numeric     NOT NULL,  -- still held
    status          text        NOT NULL,
    expires_at      timestamptz NULL,
    reference       text        NULL,
    order_id        text COLLATE "C" NULL  -- the order it pays for
) WITH (fillfactor = 70);
