-- A row a command, written once. Commands that only observe prices are not in it.
CREATE TABLE event_index (
    first_position bigint NOT NULL,
    last_position  bigint NOT NULL,
    actor          text COLLATE "C" NULL,
    command_id     text COLLATE "C" NULL,
    correlation_id text COLLATE "C" NULL
);
