CREATE INDEX portfolios_owner ON portfolios (owner, portfolio_id);
