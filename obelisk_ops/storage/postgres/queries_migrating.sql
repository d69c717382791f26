-- name: programs
-- Which workers live, and up to which version of the tables their programs know.
SELECT DISTINCT host, pid, knows FROM (
    SELECT host, pid, knows FROM worker WHERE NOT is_closed AND lease_until > clock_timestamp()
    UNION ALL
    SELECT host, pid, knows FROM claimer WHERE lease_until > clock_timestamp()) AS alive
ORDER BY host, pid;

-- name: fence_older
-- Let no worker go on that stood still for longer than its lease, and cannot work with what
-- comes: it finds its row taken, joins again, and is refused.
UPDATE worker SET term = term + 1, writer = term + 1 WHERE knows < $1 AND NOT is_closed;

-- name: fence_older_claimers
-- The same for who claims tasks: its row is gone, and what it had claimed is taken from it.
DELETE FROM claimer WHERE knows < $1;

-- name: be_patient
-- Wait for locks as long as it takes.
SELECT set_config('lock_timeout', '0', FALSE);

-- name: be_brief
-- Until the end of this transaction: give up after so many milliseconds of waiting for a lock,
-- and of work.
SELECT set_config('lock_timeout', $1, TRUE), set_config('statement_timeout', $2, TRUE);
