-- Balances of the parties without a stream: world, fees, rounding and the venues. In the asset's smallest unit.
CREATE TABLE parties (
    party   text COLLATE "C" NOT NULL,
    asset   text COLLATE "C" NOT NULL,
    balance numeric NOT NULL,  -- every credit minus every debit; what the world has paid in makes it negative
    PRIMARY KEY (party, asset)
) WITH (fillfactor = 50);
