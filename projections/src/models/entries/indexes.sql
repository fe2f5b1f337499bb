ALTER TABLE entries ADD PRIMARY KEY (log_position, leg);
CREATE INDEX entries_party ON entries (party, log_position, leg);
