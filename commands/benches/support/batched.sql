-- The same tables as the plain transaction has, and transfers that come as arrays and are done as sets.

CREATE SCHEMA batched;
CREATE TABLE batched.accounts (
    id      text COLLATE "C" PRIMARY KEY,
    balance bigint NOT NULL
);
CREATE TABLE batched.entries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transfer_id uuid   NOT NULL,
    account_id  text COLLATE "C" NOT NULL,
    amount      bigint NOT NULL,
    balance     bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON batched.entries (account_id, id);
CREATE TABLE batched.keys (
    principal   text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    transfer_id uuid NOT NULL,
    accepted    boolean NOT NULL DEFAULT true,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (key, principal)
);

-- Whether each transfer was accepted, in their order; a key that was used before has its first answer. Transfers count in
-- their order: one may spend what an earlier one of the batch has brought. A payer never goes below zero.
CREATE FUNCTION batched.transfer(asker text, ids uuid[], asked text[], payers text[], payees text[], amounts bigint[])
RETURNS boolean[]
LANGUAGE plpgsql AS $$
DECLARE
    open_keys text[] := asked;  -- those that were not used before
    new_keys integer;
    refused boolean := false;
    leg_ids uuid[];
    leg_accounts text[];
    leg_amounts bigint[];
    leg_balances bigint[];
    lowest bigint;
    paid bigint;
BEGIN
    -- Keys, and below accounts, always in the same order: batches wait for each other and do not deadlock.
    INSERT INTO batched.keys (principal, key, transfer_id)
    SELECT asker, t.key, t.id FROM unnest(asked, ids) AS t (key, id) ORDER BY t.key
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS new_keys = ROW_COUNT;
    IF new_keys < cardinality(asked) THEN
        SELECT array_agg(t.id ORDER BY place), array_agg(t.key ORDER BY place), array_agg(t.payer ORDER BY place),
               array_agg(t.payee ORDER BY place), array_agg(t.amount ORDER BY place)
          INTO ids, open_keys, payers, payees, amounts
          FROM unnest(ids, asked, payers, payees, amounts) WITH ORDINALITY AS t (id, key, payer, payee, amount, place)
          JOIN batched.keys AS k ON k.principal = asker AND k.key = t.key AND k.transfer_id = t.id;
    END IF;

    -- Not by id = ANY (…): a row that another batch has changed meanwhile would be compared with the whole array again.
    PERFORM FROM (SELECT DISTINCT unnest(payers || payees) AS id) AS wanted
       JOIN batched.accounts AS a USING (id) ORDER BY a.id FOR UPDATE OF a;

    SELECT array_agg(m.id), array_agg(m.account), array_agg(m.amount), array_agg(m.balance), min(m.balance)
      INTO leg_ids, leg_accounts, leg_amounts, leg_balances, lowest
      FROM (SELECT t.id, leg.account, leg.amount,
                   a.balance + (sum(leg.amount) OVER (PARTITION BY leg.account ORDER BY t.place
                                                      ROWS UNBOUNDED PRECEDING))::bigint AS balance
              FROM unnest(ids, payers, payees, amounts) WITH ORDINALITY AS t (id, payer, payee, amount, place)
             CROSS JOIN LATERAL (VALUES (t.payer, -t.amount), (t.payee, t.amount)) AS leg (account, amount)
              JOIN batched.accounts AS a ON a.id = leg.account) AS m;
    IF cardinality(leg_ids) <> 2 * cardinality(ids) THEN
        RAISE EXCEPTION 'an account does not exist';
    END IF;

    IF lowest >= 0 THEN
        UPDATE batched.accounts AS a SET balance = a.balance + moved.amount
          FROM (SELECT leg.account, sum(leg.amount)::bigint AS amount
                  FROM unnest(leg_accounts, leg_amounts) AS leg (account, amount) GROUP BY leg.account) AS moved
         WHERE a.id = moved.account;
        INSERT INTO batched.entries (transfer_id, account_id, amount, balance)
        SELECT * FROM unnest(leg_ids, leg_accounts, leg_amounts, leg_balances);
    ELSE
        -- A refusal changes what those behind it find, so they are done one by one.
        FOR place IN 1 .. coalesce(cardinality(ids), 0) LOOP
            UPDATE batched.accounts SET balance = balance - amounts[place]
             WHERE id = payers[place] AND balance >= amounts[place] RETURNING balance INTO paid;
            IF NOT FOUND THEN
                refused := true;
                UPDATE batched.keys SET accepted = false WHERE principal = asker AND key = open_keys[place];
                CONTINUE;
            END IF;
            INSERT INTO batched.entries (transfer_id, account_id, amount, balance)
            VALUES (ids[place], payers[place], -amounts[place], paid);
            UPDATE batched.accounts SET balance = balance + amounts[place]
             WHERE id = payees[place] RETURNING balance INTO paid;
            INSERT INTO batched.entries (transfer_id, account_id, amount, balance)
            VALUES (ids[place], payees[place], amounts[place], paid);
        END LOOP;
    END IF;

    IF refused OR new_keys < cardinality(asked) THEN
        RETURN (SELECT array_agg(k.accepted ORDER BY t.place)
                  FROM unnest(asked) WITH ORDINALITY AS t (key, place)
                  JOIN batched.keys AS k ON k.principal = asker AND k.key = t.key);
    END IF;
    RETURN array_fill(true, ARRAY[cardinality(asked)]);
END
$$;

INSERT INTO batched.accounts SELECT DISTINCT aggregate_id, 1000000000 FROM log.events WHERE aggregate_type = 'account';
