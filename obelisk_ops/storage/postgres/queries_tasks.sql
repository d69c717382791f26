-- name: offer_tasks
-- Attempts for other workers. One that is there already stays.
INSERT INTO task (execution, n, attempt, id, function, manner, input, queue, priority)
SELECT (value->>0)::bigint, (value->>1)::bigint, (value->>2)::bigint, value->>3, value->>4,
       value->>5, value->>6, value->>7, (value->>8)::bigint
FROM jsonb_array_elements($1::jsonb)
ON CONFLICT DO NOTHING;

-- name: tell_claimers
-- That there is something in these queues.
SELECT pg_notify(left('tasks_' || current_schema(), 63), 'queue ' || value)
FROM jsonb_array_elements_text($1::jsonb);

-- name: drop_tasks
-- What is over, or not wanted any more, or only if nobody has claimed it; who runs it is told.
WITH gone AS (
    DELETE FROM task USING jsonb_array_elements($1::jsonb)
    WHERE execution = (value->>0)::bigint AND n = (value->>1)::bigint
      AND attempt = (value->>2)::bigint AND (worker IS NULL OR NOT (value->>3)::boolean)
    RETURNING worker, outcome)
SELECT pg_notify(left('tasks_' || current_schema(), 63), 'worker ' || worker)
FROM (SELECT DISTINCT worker FROM gone WHERE outcome IS NULL AND worker IS NOT NULL) AS workers;

-- name: list_tasks
-- Every task of the executions of one owner, and whether anybody waits for what comes of it. The
-- executions are looked up one by one, however many tasks there seem to be.
SELECT execution, n, attempt, task.worker, outcome, coalesce(its.state = 'finished', TRUE)
FROM task LEFT JOIN LATERAL (
    SELECT worker, state FROM state WHERE key = execution LIMIT 1) AS its ON TRUE
WHERE coalesce(its.worker, $1) = $1 ORDER BY execution, n, attempt;

-- name: answered_tasks
-- The same for those that have an outcome.
SELECT execution, n, attempt, task.worker, outcome, coalesce(its.state = 'finished', TRUE)
FROM task LEFT JOIN LATERAL (
    SELECT worker, state FROM state WHERE key = execution LIMIT 1) AS its ON TRUE
WHERE outcome IS NOT NULL AND coalesce(its.worker, $1) = $1;

-- name: running_tasks
-- The same for those that somebody has claimed, and that have none.
SELECT execution, n, attempt, task.worker, outcome, coalesce(its.state = 'finished', TRUE)
FROM task LEFT JOIN LATERAL (
    SELECT worker, state FROM state WHERE key = execution LIMIT 1) AS its ON TRUE
WHERE task.worker IS NOT NULL AND outcome IS NULL AND coalesce(its.worker, $1) = $1;

-- name: look_at_tasks
-- How far the tasks of some executions are, for people: who has each, how many go before it, and
-- whether anybody lives who serves its queue, and has its code besides.
SELECT execution, n, task.queue, task.function, task.outcome IS NOT NULL, task.worker IS NOT NULL,
       mine.host, mine.pid,
       (SELECT count(*) FROM task AS other
        WHERE other.worker IS NULL AND other.queue = task.queue
          AND (other.priority, task.place) > (task.priority, other.place)),
       EXISTS (SELECT FROM claimer
               WHERE lease_until >= clock_timestamp() AND task.queue = ANY (queues)),
       EXISTS (SELECT FROM claimer
               WHERE lease_until >= clock_timestamp() AND task.queue = ANY (queues)
                 AND task.function = ANY (functions))
FROM task LEFT JOIN claimer AS mine ON mine.id = task.worker
WHERE execution IN (SELECT value::bigint FROM jsonb_array_elements($1::jsonb))
ORDER BY execution, n, attempt;

-- name: sight_claimers
-- Which of these claimers have let their leases end, and which are not connected, though the
-- server would know of it: pairs of a claimer and its lock. It may have been away itself.
SELECT (value->>0)::bigint,
       coalesce(lease_until, '-infinity') < clock_timestamp()
           AND pg_postmaster_start_time() < clock_timestamp() - interval '30 s',
       NOT is_pooled AND lease_until - interval '30 s' > pg_postmaster_start_time()
           AND (value->>1)::bigint NOT IN (
               SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
               WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND database = (
                   SELECT oid FROM pg_database WHERE datname = current_database()))
FROM jsonb_array_elements($1::jsonb) LEFT JOIN claimer ON id = (value->>0)::bigint;

-- name: call_claimers
-- Let claimers show that they live, whose connections are not there.
SELECT pg_notify(left('tasks_' || current_schema(), 63), 'worker ' || value)
FROM jsonb_array_elements_text($1::jsonb);

-- name: join_claimers
-- Be one that claims, or say what it serves now.
INSERT INTO claimer (id, lease_until, host, pid, queues, functions, knows, is_pooled)
VALUES ($1, clock_timestamp() + '30 s', $2, $3, $4::text[], $5::text[], $6, $7)
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until, queues = excluded.queues,
    functions = excluded.functions, is_pooled = excluded.is_pooled;

-- name: forget_claimers
-- Those that were killed long ago, and have left nothing.
DELETE FROM claimer WHERE lease_until < clock_timestamp() - interval '1 day'
    AND NOT EXISTS (SELECT FROM task WHERE worker = claimer.id);

-- name: leave_claimers
-- Be none any more.
DELETE FROM claimer WHERE id = $1;

-- name: lock_claimer
-- Live, for as long as the connection does.
SELECT pg_try_advisory_lock($1);

-- name: claim_tasks
-- The next tasks of a queue, of the functions that a worker has. Who else looks at the same
-- moment finds others.
WITH next AS MATERIALIZED (
    SELECT execution, n, attempt FROM task
    WHERE worker IS NULL AND queue = $1 AND function = ANY ($2::text[])
    ORDER BY priority DESC, place LIMIT $3 FOR UPDATE SKIP LOCKED)
UPDATE task SET worker = $4, claimed = now() FROM next
WHERE task.execution = next.execution AND task.n = next.n AND task.attempt = next.attempt
RETURNING task.execution, task.n, task.attempt, id, function, manner, input, queue, priority,
          (SELECT body FROM beat WHERE beat.execution = task.execution AND beat.n = task.n);

-- name: claim_at_rate
-- The same of a queue of which only so many start within a period, whoever claims them. First in
-- each row is how many that lets start now; behind it nothing, if there are none.
WITH moment AS (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
past AS (DELETE FROM start USING moment WHERE queue = $1 AND at <= now - $6::bigint),
room AS (
    SELECT greatest(0, least($3::bigint, $5::bigint - coalesce(sum(many), 0))) AS places
    FROM moment LEFT JOIN start ON queue = $1 AND at > now - $6::bigint),
next AS MATERIALIZED (
    SELECT execution, n, attempt FROM task
    WHERE worker IS NULL AND queue = $1 AND function = ANY ($2::text[])
    ORDER BY priority DESC, place LIMIT (SELECT places FROM room) FOR UPDATE SKIP LOCKED),
taken AS (
    UPDATE task SET worker = $4, claimed = now() FROM next
    WHERE task.execution = next.execution AND task.n = next.n AND task.attempt = next.attempt
    RETURNING task.execution, task.n, task.attempt, id, function, manner, input, queue, priority,
              (SELECT body FROM beat WHERE beat.execution = task.execution AND beat.n = task.n)),
noted AS (
    INSERT INTO start (queue, at, elapsed, many)
    SELECT $1, now, 0, count(*) FROM taken, moment GROUP BY now
    ON CONFLICT (queue, at) DO UPDATE SET many = start.many + excluded.many)
SELECT places, taken.* FROM room LEFT JOIN taken ON TRUE;

-- name: task_news
-- Renew the lease; a row with TRUE, if there is one. What a claimer is to do; a row of nothing, if
-- there are tasks that nobody has claimed; and the queues that others serve.
WITH alive AS (
    UPDATE claimer SET lease_until = clock_timestamp() + '30 s' WHERE id = $1 RETURNING TRUE)
SELECT NULL::bigint, NULL::bigint, NULL::bigint, NULL, TRUE FROM alive
UNION ALL
SELECT execution, n, attempt, NULL, FALSE FROM task WHERE worker = $1 AND outcome IS NULL
UNION ALL
SELECT NULL, NULL, NULL, NULL, FALSE
WHERE EXISTS (SELECT FROM task WHERE worker IS NULL AND queue = ANY ($2::text[]))
UNION ALL
SELECT DISTINCT NULL::bigint, NULL::bigint, NULL::bigint, unnest(queues), FALSE FROM claimer
WHERE id <> $1 AND lease_until >= clock_timestamp();

-- name: reclaimed_tasks
-- What a worker is to do, with all that it needs for that.
SELECT execution, n, attempt, id, function, manner, input, queue, priority,
       (SELECT body FROM beat WHERE beat.execution = task.execution AND beat.n = task.n)
FROM task WHERE worker = $1 AND outcome IS NULL;

-- name: finish_tasks
-- What came of tasks, and what they printed; nothing of those that are no longer this worker's.
-- In their places it claims others: one statement, one sync. A row for each owner that is to be
-- told, and then one for each claim.
WITH done AS (
    UPDATE task SET outcome = value->>3 FROM jsonb_array_elements($2::jsonb)
    WHERE execution = (value->>0)::bigint AND n = (value->>1)::bigint
      AND attempt = (value->>2)::bigint AND worker = $1 AND outcome IS NULL
    RETURNING execution, n, attempt),
said AS (
    INSERT INTO output (execution, n, attempt, seq, stream, at, body)
    SELECT execution, n, attempt, (value->>3)::bigint, value->>4, (value->>5)::bigint,
           decode(value->>6, 'base64')
    FROM jsonb_array_elements($3::jsonb) JOIN done
      ON execution = (value->>0)::bigint AND n = (value->>1)::bigint
     AND attempt = (value->>2)::bigint),
next AS MATERIALIZED (
    SELECT execution, n, attempt FROM task
    WHERE worker IS NULL AND queue = $4 AND function = ANY ($5::text[])
    ORDER BY priority DESC, place LIMIT $6 FOR UPDATE SKIP LOCKED),
taken AS (
    UPDATE task SET worker = $1, claimed = now() FROM next
    WHERE task.execution = next.execution AND task.n = next.n AND task.attempt = next.attempt
    RETURNING task.execution, task.n, task.attempt, id, function, manner, input, queue, priority,
              (SELECT body FROM beat WHERE beat.execution = task.execution AND beat.n = task.n))
SELECT DISTINCT (SELECT worker FROM state WHERE key = execution), NULL::bigint, NULL::bigint,
       NULL::bigint, NULL, NULL, NULL, NULL, NULL, NULL::bigint, NULL
FROM done
UNION ALL
SELECT NULL, taken.* FROM taken;

-- name: tell_owners
-- That something has come of tasks of theirs.
SELECT pg_notify($2, 'done ' || value) FROM jsonb_array_elements_text($1::jsonb);

-- name: release_tasks
-- Tasks that a worker has claimed and not begun: others may have them, and are told.
WITH free AS (
    UPDATE task SET worker = NULL, claimed = NULL FROM jsonb_array_elements($2::jsonb)
    WHERE execution = (value->>0)::bigint AND n = (value->>1)::bigint
      AND attempt = (value->>2)::bigint AND worker = $1 AND outcome IS NULL
    RETURNING queue)
SELECT pg_notify(left('tasks_' || current_schema(), 63), 'queue ' || queue)
FROM (SELECT DISTINCT queue FROM free) AS queues;

-- name: beat_tasks
-- Heartbeats of tasks that are this worker's; of several of one call the last.
INSERT INTO beat (execution, n, attempt, at, body)
SELECT DISTINCT ON (1, 2) execution, n, attempt, (value->>3)::bigint, value->>4
FROM jsonb_array_elements($2::jsonb) WITH ORDINALITY AS rows (value, number)
JOIN task ON execution = (value->>0)::bigint AND n = (value->>1)::bigint
         AND attempt = (value->>2)::bigint AND worker = $1 AND outcome IS NULL
ORDER BY 1, 2, number DESC
ON CONFLICT (execution, n)
DO UPDATE SET attempt = excluded.attempt, at = excluded.at, body = excluded.body;
