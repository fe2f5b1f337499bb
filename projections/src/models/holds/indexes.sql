CREATE INDEX holds_account ON holds (account_id, placed_position);
CREATE INDEX holds_open ON holds (account_id, placed_position) WHERE status = 'OPEN';
