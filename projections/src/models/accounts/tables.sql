-- Amounts are whole numbers of the currency's smallest unit.
CREATE TABLE accounts (
    account_id      text COLLATE "C" NOT NULL PRIMARY KEY,
    owner           text COLLATE "C" NOT NULL,
    kind            text    NOT NULL,
    currency        text COLLATE "C" NOT NULL,
    status          text    NOT NULL,
    balance         numeric NOT NULL,  -- every credit minus every debit
    held            numeric NOT NULL,  -- what open holds still hold
    overdraft_limit numeric NOT NULL,  -- how far below zero the balance may go
    sequence        bigint  NOT NULL   -- number of events in the stream
) WITH (fillfactor = 70);

-- What the open hold of an order still holds.
CREATE TABLE account_order_holds (
    hold_id   text COLLATE "C" NOT NULL PRIMARY KEY,
    remaining numeric NOT NULL
) WITH (fillfactor = 70);
