-- The log is the truth. state and timer are projections of it, written in the same
-- transaction; inbox is what arrived from outside an execution, in its order.
-- Times are UTC milliseconds since the Unix epoch. Bodies are JSON text.

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,   -- schema_version, database_id, epoch, created_by
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE state (
    key         INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    parent      INTEGER,
    parent_n    INTEGER,
    function    TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    result      TEXT,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER,
    error       TEXT
) STRICT;

CREATE INDEX state_unfinished ON state (key) WHERE state <> 'finished';

-- One integer key that grows within a log, no second index: what is appended fills the
-- last page and moves nothing else. (With a two-column key SQLite balances neighbours:
-- twice the pages per step.) The key is the optimistic lock.
CREATE TABLE log (
    key       INTEGER PRIMARY KEY,     -- execution * 2^32 + version
    at        INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    body      TEXT    NOT NULL,
    execution INTEGER NOT NULL AS (key >> 32),
    version   INTEGER NOT NULL AS (key & 0xffffffff)   -- 0, 1, 2, …
) STRICT;

CREATE TABLE inbox (
    execution INTEGER NOT NULL,
    seq       INTEGER NOT NULL,        -- 1, 2, 3, … in each execution
    kind      TEXT    NOT NULL,        -- timer, child, signal, stub, result
    ref       INTEGER NOT NULL,        -- number of the call it answers
    at        INTEGER NOT NULL,
    body      TEXT    NOT NULL,
    PRIMARY KEY (execution, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE timer (
    execution INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    due       INTEGER NOT NULL,
    PRIMARY KEY (execution, n)
) STRICT, WITHOUT ROWID;

-- The only table that a process other than the owner writes to.
CREATE TABLE mailbox (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    kind   TEXT    NOT NULL,           -- create, cancel, pause, unpause, signal, stub, schedule, …
    target TEXT    NOT NULL,
    body   TEXT    NOT NULL
) STRICT;
