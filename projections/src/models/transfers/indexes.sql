ALTER TABLE transfers ADD PRIMARY KEY (transfer_id);
