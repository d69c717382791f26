-- The same tables as in SQLite (storage/sqlite/schema.sql tells what they hold), in a schema of
-- their own. Times are UTC milliseconds since the Unix epoch. Bodies are JSON text, as it was
-- written: jsonb would reorder it, and knows no \u0000. Names are compared byte by byte.

CREATE TABLE meta (
    key   text COLLATE "C" NOT NULL PRIMARY KEY,   -- schema_version, oldest_version, database_id, epoch
    value text NOT NULL
);

-- Workers: those that serve the schema, and those that did; one who joins takes a row that is
-- free. Every commit changes the row of its worker, so that one whose row was taken is refused,
-- and one that heard no answer can see whether its last commit arrived.
CREATE TABLE worker (
    id          bigint  PRIMARY KEY,
    term        bigint  NOT NULL,                  -- how often the row was taken
    writer      bigint  NOT NULL,                  -- the term that committed last
    commits     bigint  NOT NULL,                  -- how many commits the term did
    lease_until timestamptz NOT NULL,              -- by the clock of the server
    is_closed   boolean NOT NULL,                  -- whether it has let go by itself
    is_empty    boolean NOT NULL,                  -- whether it has left nothing
    is_keeper   boolean NOT NULL,                  -- whether schedules and retention are its own
    functions   text[]  NOT NULL,                  -- the workflows that it serves
    gifts       bigint  NOT NULL DEFAULT 0,        -- how often others gave it executions
    host        text    NOT NULL,
    pid         bigint  NOT NULL,
    knows       bigint  NOT NULL,                  -- the newest version of this schema, it says
    is_pooled   boolean NOT NULL,                  -- whether its connection holds no lock
    CONSTRAINT one_owner_at_a_time CHECK (writer = term)
);

CREATE UNIQUE INDEX worker_keeper ON worker (is_keeper) WHERE is_keeper;

-- Keys of executions: each worker draws a hundred at once.
CREATE SEQUENCE execution_key INCREMENT 100;

CREATE TABLE state (
    key         bigint PRIMARY KEY,
    id          text COLLATE "C" NOT NULL CONSTRAINT an_id_is_used_once UNIQUE,
    parent      bigint,
    parent_n    bigint,
    function    text COLLATE "C" NOT NULL,
    state       text COLLATE "C" NOT NULL,
    result      text COLLATE "C",
    created_at  bigint NOT NULL,
    finished_at bigint,
    error       text,                              -- a JSON string: it may hold U+0000
    folded      text,                              -- the error casefolded, to search in
    worker      bigint NOT NULL                    -- whose it is, until it is finished
);

CREATE INDEX state_unfinished ON state (worker, key) WHERE state <> 'finished';

CREATE TABLE log (
    key  bigint PRIMARY KEY,                       -- execution * 2^32 + version
    at   bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    body text NOT NULL
);

CREATE TABLE inbox (
    execution bigint NOT NULL,
    seq       bigint NOT NULL,                     -- 1, 2, 3, … in each execution
    kind      text COLLATE "C" NOT NULL,           -- timer, child, signal, stub, result
    ref       bigint NOT NULL,                     -- number of the call it answers
    at        bigint NOT NULL,
    body      text NOT NULL,
    signal    text COLLATE "C",                    -- the id of a signal that has one, JSON
    PRIMARY KEY (execution, seq)
);

CREATE INDEX inbox_signal ON inbox (execution, signal) WHERE signal IS NOT NULL;

CREATE INDEX inbox_stub ON inbox (execution, ref) WHERE kind = 'stub';

CREATE TABLE timer (
    execution bigint NOT NULL,
    n         bigint NOT NULL,
    due       bigint NOT NULL,
    PRIMARY KEY (execution, n)
);

-- The only table that a process other than a worker writes to.
CREATE TABLE mailbox (
    id     bigint PRIMARY KEY,
    at     bigint NOT NULL,
    kind   text COLLATE "C" NOT NULL,              -- create, cancel, pause, unpause, signal, …
    target text COLLATE "C" NOT NULL,
    body   text NOT NULL,
    signal text COLLATE "C",
    chain    text COLLATE "C",                     -- the first link of the execution it is for
    function text COLLATE "C",                     -- of what it makes, or empty
    worker   bigint                                -- who makes it
);

CREATE INDEX mailbox_free ON mailbox (id) WHERE function IS NOT NULL AND worker IS NULL;

CREATE INDEX mailbox_claimed ON mailbox (worker, id) WHERE worker IS NOT NULL;

CREATE INDEX mailbox_others ON mailbox (id) WHERE function IS NULL;

CREATE INDEX mailbox_target ON mailbox (target, kind, signal);

-- Executions for whose end somebody waits in another process; who ends one tells them.
CREATE TABLE waiter (
    execution text COLLATE "C" NOT NULL PRIMARY KEY
);

CREATE TABLE beat (
    execution bigint NOT NULL,
    n         bigint NOT NULL,                     -- a call that is open
    attempt   bigint NOT NULL,
    at        bigint NOT NULL,
    body      text   NOT NULL,                     -- the details of its last heartbeat
    PRIMARY KEY (execution, n)
);

CREATE TABLE output (
    execution bigint NOT NULL,
    n         bigint NOT NULL,
    attempt   bigint NOT NULL,
    seq       bigint NOT NULL,                     -- 1, 2, 3, … in each attempt
    stream    text COLLATE "C" NOT NULL,           -- stdout, stderr, log, cut
    at        bigint NOT NULL,
    body      bytea  NOT NULL,                     -- UTF-8: what is printed may hold U+0000
    PRIMARY KEY (execution, n, attempt, seq)
);

CREATE TABLE cron (
    id      text COLLATE "C" NOT NULL PRIMARY KEY,
    spec    text    NOT NULL,                      -- what it does and when, JSON
    paused  boolean NOT NULL,
    last    bigint  NOT NULL,                      -- slots up to this moment are decided
    due     bigint,                                -- the next slot
    waiting bigint,                                -- a slot that starts when what runs has ended
    running text    NOT NULL,                      -- ids of executions, JSON
    newest  text COLLATE "C",                      -- id of the last execution that came of it
    made    bigint  NOT NULL,
    skipped bigint  NOT NULL
);

-- Executions that are pruned, and whose logs are so long that they go in parts.
CREATE TABLE leftover (
    key bigint PRIMARY KEY
);

-- When attempts of queues with a rate were started, as far as the rate counts them.
CREATE TABLE start (
    queue   text COLLATE "C" NOT NULL,
    at      bigint NOT NULL,
    elapsed bigint NOT NULL,                       -- by a clock that is never set
    many    bigint NOT NULL,
    PRIMARY KEY (queue, at)
);

-- Attempts that are offered to other workers. Each row is written by the owner of its execution,
-- claimed and answered by a worker, and taken away by the owner with what it records of it. They
-- come and go: what is dead must not pile up where the next claim looks.
CREATE TABLE task (
    execution bigint NOT NULL,
    n         bigint NOT NULL,
    attempt   bigint NOT NULL,
    id        text COLLATE "C" NOT NULL,           -- of the execution
    function  text COLLATE "C" NOT NULL,           -- of the activity
    manner    text NOT NULL,                       -- how it is run, JSON
    input     text NOT NULL,                       -- its arguments, a JSON array
    queue     text COLLATE "C" NOT NULL,
    priority  bigint NOT NULL,
    place     bigint GENERATED BY DEFAULT AS IDENTITY, -- who came first
    worker    bigint,                              -- the claimer that has it
    claimed   timestamptz,                         -- when, by the clock of the server
    outcome   text,                                -- what came of it, JSON
    PRIMARY KEY (execution, n, attempt)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE INDEX task_offered ON task (queue, priority DESC, place) WHERE worker IS NULL;

CREATE INDEX task_claimed ON task (worker) WHERE worker IS NOT NULL AND outcome IS NULL;

CREATE INDEX task_answered ON task (execution) WHERE outcome IS NOT NULL;

-- Who claims tasks. One whose lease is over is dead, and what it has claimed is taken from it.
CREATE TABLE claimer (
    id          bigint PRIMARY KEY,
    lease_until timestamptz NOT NULL,              -- by the clock of the server
    host        text   NOT NULL,
    pid         bigint NOT NULL,
    queues      text[] NOT NULL,
    functions   text[] NOT NULL,                   -- the activities whose code it has
    knows       bigint NOT NULL,                   -- the newest version of this schema, it says
    is_pooled   boolean NOT NULL                   -- whether its connection holds no lock
);

-- Letters that the owner refused, for who asked; each for a minute.
CREATE TABLE refusal (
    letter bigint PRIMARY KEY,                     -- its number in the mailbox
    at     bigint NOT NULL,                        -- by the clock of the server
    error  text   NOT NULL                         -- class, message and hint, JSON
);
