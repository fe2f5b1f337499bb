ALTER TABLE trades ADD PRIMARY KEY (log_position);
CREATE INDEX trades_symbol ON trades (symbol, log_position);
