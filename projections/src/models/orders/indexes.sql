CREATE UNIQUE INDEX orders_placed ON orders (placed_position);
CREATE INDEX orders_portfolio ON orders (portfolio_id, placed_position);
CREATE INDEX orders_owner ON orders (owner, placed_position);
CREATE INDEX orders_symbol ON orders (symbol, placed_position);
