CREATE INDEX markets_base ON markets (base, quote);
