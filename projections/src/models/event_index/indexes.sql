ALTER TABLE event_index ADD PRIMARY KEY (first_position);
CREATE INDEX event_index_actor ON event_index (actor, first_position);
CREATE INDEX event_index_command ON event_index (command_id, first_position);
CREATE INDEX event_index_correlation ON event_index (correlation_id, first_position);
