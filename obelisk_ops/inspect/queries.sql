-- name: quick_check
-- One row 'ok', or what is wrong; damage comes as rows, not as an error.
PRAGMA quick_check(20);

-- name: tables
-- Tables that somebody made, with a tree of their own; Litestream keeps two in every file.
SELECT name FROM sqlite_schema
WHERE type = 'table' AND rootpage > 0
  AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE '\_litestream\_%' ESCAPE '\'
ORDER BY name;

-- name: table_rows
-- Rows of one table; its quoted name is put in.
SELECT count(*) FROM {table};

-- name: table_bytes
-- Bytes of each table with its indexes.
SELECT s.tbl_name, sum(d.pgsize)
FROM dbstat AS d JOIN sqlite_schema AS s ON s.name = d.name
WHERE d.aggregate = TRUE GROUP BY s.tbl_name;

-- name: meta
-- What the database says of itself.
SELECT key, value FROM meta LIMIT 100;

-- name: executions
-- Executions by function, state and result.
SELECT function, state, result, count(*) FROM state GROUP BY function, state, result
ORDER BY function, state, result;

-- name: failures
-- Executions that ended badly or cannot go on, newest first, with the last event of each.
SELECT s.id, s.function, s.error,
       (SELECT body FROM log AS l WHERE l.key < (s.key + 1) << 32 AND l.key >= s.key << 32 ORDER BY l.key DESC LIMIT 1),
       (SELECT at FROM log AS l WHERE l.key < (s.key + 1) << 32 AND l.key >= s.key << 32 ORDER BY l.key DESC LIMIT 1)
FROM state AS s
WHERE s.result IN ('error', 'timed_out') OR s.state = 'parked'
ORDER BY coalesce(s.finished_at, s.created_at) DESC, s.key DESC LIMIT ?;

-- name: unfinished
-- Executions that have not ended, oldest first.
SELECT key, id, function FROM state WHERE state <> 'finished' ORDER BY key;

-- name: call_events
-- The events of one log that begin or end an attempt of an activity, in order.
SELECT version, at, kind, body FROM log
WHERE key >= ?1 << 32 AND key < (?1 + 1) << 32
  AND kind IN ('intended', 'attempt_started', 'attempt_failed', 'returned', 'cancelled')
ORDER BY key;

-- name: last_event
-- When something was last recorded. The end of a log is on record beside it; of the logs that
-- go on the last event is looked up.
SELECT max(at) FROM (
    SELECT max(finished_at) AS at FROM state
    UNION ALL
    SELECT (SELECT at FROM log AS l WHERE l.key < (s.key + 1) << 32 AND l.key >= s.key << 32 ORDER BY l.key DESC LIMIT 1)
    FROM state AS s WHERE s.state <> 'finished'
);

-- name: broken_logs
-- Logs with a version missing: they end elsewhere than their number of events says.
SELECT s.key FROM state AS s
WHERE (SELECT count(*) <> (max(l.key) & 0xffffffff) + 1 FROM log AS l
       WHERE l.key >= s.key << 32 AND l.key < (s.key + 1) << 32)
LIMIT 5;

-- name: strange_logs
-- Logs that belong to no execution, and executions without a log.
SELECT execution FROM log WHERE version = 0 AND execution NOT IN (SELECT key FROM state)
UNION ALL
SELECT key FROM state
WHERE NOT EXISTS (SELECT 1 FROM log
                  WHERE log.key >= state.key << 32 AND log.key < (state.key + 1) << 32)
LIMIT 50;

-- name: leftovers
-- Executions that are pruned, and whose long logs go in parts.
SELECT key FROM leftover;

-- name: timers
-- The timers of one execution that are armed.
SELECT n, due FROM timer WHERE execution = ?;

-- name: ended
-- The executions whose log is complete.
SELECT id FROM state WHERE state = 'finished';

-- name: reached
-- The last version of each log that is not.
SELECT s.id, (SELECT max(l.key) & 0xffffffff FROM log AS l
              WHERE l.key >= s.key << 32 AND l.key < (s.key + 1) << 32)
FROM state AS s WHERE s.state <> 'finished';

-- name: all_executions
-- Every execution, oldest first.
SELECT key, id, function FROM state ORDER BY key;

-- name: begun
-- The events of one log that begin attempts, in order.
SELECT version, at, kind, body FROM log
WHERE key >= ?1 << 32 AND key < (?1 + 1) << 32 AND kind IN ('intended', 'attempt_started')
ORDER BY key;
