-- What rests in the books of internal markets.
CREATE TABLE book (
    order_id text COLLATE "C" NOT NULL PRIMARY KEY,
    symbol   text COLLATE "C" NOT NULL,
    side     text    NOT NULL,
    price    numeric NOT NULL,  -- quote asset for one base asset
    base     text COLLATE "C" NOT NULL,
    quantity numeric NOT NULL   -- what remains, in the base asset's smallest unit
) WITH (fillfactor = 70);
