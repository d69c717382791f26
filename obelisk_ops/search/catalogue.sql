-- name: make_backups
-- What was read of each backup, and when; ``mark`` is what its listing said then.
CREATE TABLE IF NOT EXISTS backups (
    name TEXT PRIMARY KEY, mark TEXT NOT NULL, epoch INTEGER, txid INTEGER, engine TEXT,
    executions INTEGER NOT NULL, error TEXT, read_at INTEGER NOT NULL
) STRICT;

-- name: make_executions
-- Every execution of every backup; times are UTC milliseconds, ``input`` is JSON.
CREATE TABLE IF NOT EXISTS executions (
    backup TEXT NOT NULL, execution_id TEXT NOT NULL, function TEXT NOT NULL,
    state TEXT NOT NULL, result TEXT, created_at INTEGER, finished_at INTEGER,
    parent_id TEXT, error TEXT, input TEXT,
    PRIMARY KEY (backup, execution_id)
) STRICT, WITHOUT ROWID;

-- name: make_order
-- The order in which they are shown.
CREATE INDEX IF NOT EXISTS executions_by_time
ON executions (created_at, backup, execution_id);

-- name: tables
-- The tables that are there, to know a file that is not ours.
SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name;

-- name: marks
-- What the listing said when each backup was read; none where it could not be.
SELECT name, mark FROM backups;

-- name: forget_executions
-- The executions of a backup, to be read anew or gone.
DELETE FROM executions WHERE backup = ?;

-- name: forget_backup
-- A backup that is not in the bucket any more.
DELETE FROM backups WHERE name = ?;

-- name: put_backup
-- What a backup was found to be.
INSERT OR REPLACE INTO backups (name, mark, epoch, txid, engine, executions, error, read_at)
VALUES (?, ?, ?, ?, ?, ?, NULL, ?);

-- name: put_failure
-- That a newer state of a backup cannot be read; what was read before stays.
INSERT INTO backups (name, mark, executions, error, read_at) VALUES (?, ?, 0, ?, ?)
ON CONFLICT (name) DO UPDATE SET
    mark = excluded.mark, error = excluded.error, read_at = excluded.read_at;

-- name: put_execution
-- One execution.
INSERT OR REPLACE INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: find
-- Executions, the newest first; a NULL filter means any.
SELECT backup, execution_id, function, state, result, created_at, finished_at, parent_id, error
FROM executions
WHERE (:state IS NULL OR state = :state)
  AND (:result IS NULL OR result = :result)
  AND (:function IS NULL OR function = :function)
  AND (:since IS NULL OR created_at >= :since)
  AND (:until IS NULL OR created_at < :until)
  AND (:backup IS NULL OR backup GLOB :backup)
  AND (:error IS NULL OR instr(casefold(error), casefold(:error)) > 0)
  AND (:input IS NULL OR instr(casefold(input), casefold(:input)) > 0)
  AND (:after IS NULL OR (coalesce(created_at, 0), backup, execution_id) < (
        SELECT coalesce(created_at, 0), backup, execution_id FROM executions
        WHERE backup || '/' || execution_id = :after))
ORDER BY created_at DESC, backup DESC, execution_id DESC LIMIT :limit;

-- name: functions
-- The workflows of which there are executions.
SELECT DISTINCT function FROM executions;

-- name: failures
-- The backups that could not be read.
SELECT name, error FROM backups WHERE error IS NOT NULL ORDER BY name;

-- name: counts
-- How many backups, and executions, are known.
SELECT count(*), coalesce(sum(executions), 0) FROM backups;
