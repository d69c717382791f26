-- Tables that were added since the first version of the schema. Made wherever they are
-- missing: a file of an older version becomes one of this version by being opened.

CREATE TABLE IF NOT EXISTS beat (
    execution INTEGER NOT NULL,
    n         INTEGER NOT NULL,        -- a call that is open
    attempt   INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    body      TEXT    NOT NULL,        -- the details of its last heartbeat
    PRIMARY KEY (execution, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS output (
    execution INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    attempt   INTEGER NOT NULL,
    seq       INTEGER NOT NULL,        -- 1, 2, 3, … in each attempt
    stream    TEXT    NOT NULL,        -- stdout, stderr, log; cut: how many bytes are left out
    at        INTEGER NOT NULL,
    body      TEXT    NOT NULL,
    PRIMARY KEY (execution, n, attempt, seq)
) STRICT, WITHOUT ROWID;

-- Where each schedule stands. Its executions name it in their `created` event.
CREATE TABLE IF NOT EXISTS cron (
    id      TEXT    NOT NULL PRIMARY KEY,
    spec    TEXT    NOT NULL,          -- what it does and when, JSON
    paused  INTEGER NOT NULL,
    last    INTEGER NOT NULL,          -- slots up to this moment are decided
    due     INTEGER,                   -- the next slot
    waiting INTEGER,                   -- a slot that starts when what runs has ended
    running TEXT    NOT NULL,          -- ids of executions, JSON
    newest  TEXT,                      -- id of the last execution that came of it
    made    INTEGER NOT NULL,
    skipped INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Executions that are pruned, and whose logs are so long that they go in parts.
CREATE TABLE IF NOT EXISTS leftover (
    key INTEGER PRIMARY KEY
) STRICT;

-- When attempts of queues with a rate were started, as far as the rate counts them.
CREATE TABLE IF NOT EXISTS start (
    queue   TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    elapsed INTEGER NOT NULL,          -- by a clock that is never set, until a reboot
    many    INTEGER NOT NULL,
    PRIMARY KEY (queue, at)
) STRICT, WITHOUT ROWID;

-- Letters that the owner refused, for who asked; each for a minute.
CREATE TABLE IF NOT EXISTS refusal (
    letter INTEGER PRIMARY KEY,        -- its number in the mailbox
    at     INTEGER NOT NULL,
    error  TEXT    NOT NULL            -- class, message and hint, JSON
) STRICT;

-- Is a request news? Ten thousand signals that wait are not read for that. Of the inbox
-- only what may be asked again is indexed; timers and children are not.
CREATE INDEX IF NOT EXISTS inbox_signal
ON inbox (execution, CASE WHEN json_valid(body) THEN body->>'id' END)
WHERE kind = 'signal' AND CASE WHEN json_valid(body) THEN body->>'id' END IS NOT NULL;

CREATE INDEX IF NOT EXISTS inbox_stub ON inbox (execution, ref) WHERE kind = 'stub';

CREATE INDEX IF NOT EXISTS mailbox_target
ON mailbox (target, kind, CASE WHEN kind = 'signal' AND json_valid(body) THEN body->>'id' END);
