ALTER TABLE fills ADD PRIMARY KEY (log_position);
CREATE INDEX fills_portfolio ON fills (portfolio_id, log_position);
CREATE INDEX fills_order ON fills (order_id, log_position);
