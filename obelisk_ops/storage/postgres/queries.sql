-- name: append
-- Events. The primary key refuses a version that is taken.
INSERT INTO log (key, at, kind, body)
SELECT ((value->>0)::bigint << 32) + (value->>1)::bigint, (value->>2)::bigint, value->>3, value->>4
FROM jsonb_array_elements($1::jsonb);

-- name: append_alone
-- The same, if the worker is not fenced, in one statement that is a transaction by itself.
WITH asserted AS (
    UPDATE worker SET writer = $2, commits = $3, lease_until = clock_timestamp() + '10 s'
    WHERE id = $1)
INSERT INTO log (key, at, kind, body)
SELECT ((value->>0)::bigint << 32) + (value->>1)::bigint, (value->>2)::bigint, value->>3, value->>4
FROM jsonb_array_elements($4::jsonb);

-- name: append_one
-- The same for one event, as almost every write is that is alone: no JSON to take apart.
WITH asserted AS (
    UPDATE worker SET writer = $2, commits = $3, lease_until = clock_timestamp() + '10 s'
    WHERE id = $1)
INSERT INTO log (key, at, kind, body) VALUES ($4, $5, $6, $7);

-- name: append_two
-- The same for an event and the next: what was returned, and what is asked for then.
WITH asserted AS (
    UPDATE worker SET writer = $2, commits = $3, lease_until = clock_timestamp() + '10 s'
    WHERE id = $1)
INSERT INTO log (key, at, kind, body) VALUES ($4, $5, $6, $7), ($8, $9, $10, $11);

-- name: assert_worker
-- Renew the lease. Refused by a constraint where another one has taken the row.
UPDATE worker SET writer = $2, commits = $3, lease_until = clock_timestamp() + '10 s'
WHERE id = $1;

-- name: read_workers
-- All workers that are there, or have left something: who they are, and how they are.
SELECT id, term, is_closed, is_empty, is_keeper, host, pid, lease_until::text,
       (extract(epoch FROM lease_until - clock_timestamp()) * 1000)::bigint,
       (extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()) * 1000)::bigint,
       lease_until - interval '10 s' > pg_postmaster_start_time(), functions,
       EXISTS (SELECT FROM pg_locks
               WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = $1::oid
                 AND objid = worker.id::oid
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())),
       is_pooled
FROM worker ORDER BY NOT is_keeper, is_empty, id;

-- name: beat
-- Renew the lease, say what is served, and see how all are; whether letters wait, and gifts came.
WITH mine AS (
    UPDATE worker SET writer = $3, functions = $4, lease_until = clock_timestamp() + '10 s'
    WHERE id = $2)
SELECT id, term, is_closed, is_empty, is_keeper, host, pid, lease_until::text,
       (extract(epoch FROM lease_until - clock_timestamp()) * 1000)::bigint,
       (extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()) * 1000)::bigint,
       lease_until - interval '10 s' > pg_postmaster_start_time(), functions,
       EXISTS (SELECT FROM pg_locks
               WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = $1::oid
                 AND objid = worker.id::oid
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())),
       is_pooled, EXISTS (SELECT FROM mailbox), gifts
FROM worker ORDER BY NOT is_keeper, is_empty, id;

-- name: adopt_row
-- Fence a worker that is as it was seen, and note that it has left nothing.
UPDATE worker
SET term = worker.term + 1, writer = worker.term + 1, is_closed = TRUE, is_empty = TRUE,
    is_keeper = FALSE
FROM (SELECT id, is_keeper FROM worker WHERE id = $1 FOR UPDATE SKIP LOCKED) AS before
WHERE worker.id = before.id AND worker.term = $2 AND worker.lease_until = $3::timestamptz
  AND NOT worker.is_empty
RETURNING before.is_keeper;

-- name: be_keeper
-- Look after schedules and retention from now on.
UPDATE worker SET is_keeper = TRUE WHERE id = $1;

-- name: adopt_states
-- Take over the unfinished executions of a worker.
UPDATE state SET worker = $1 WHERE worker = $2 AND state <> 'finished' RETURNING key;

-- name: adopt_letters
-- Take over what a worker was about to make.
UPDATE mailbox SET worker = $1 WHERE worker = $2;

-- name: lock_both
-- Before one worker gives to another: in one order, for that one may be giving to this one.
SELECT id FROM worker WHERE id IN ($1, $2) ORDER BY id FOR NO KEY UPDATE;

-- name: call
-- Let workers show that they live, whose connections are not there.
SELECT pg_notify($2, 'call ' || value) FROM jsonb_array_elements_text($1::jsonb);

-- name: note_gift
-- Let a worker know that it has more executions, if it is there.
UPDATE worker SET gifts = gifts + 1
WHERE id = $1 AND NOT is_closed RETURNING pg_notify($2, 'gift ' || id);

-- name: give_states
-- Let executions be another worker's.
UPDATE state SET worker = $2
WHERE key IN (SELECT value::bigint FROM jsonb_array_elements($1::jsonb))
  AND state <> 'finished' AND worker = $3;

-- name: is_mine
-- Whose an execution is.
SELECT 1 FROM state WHERE key = $1 AND worker = $2;

-- name: tell_left
-- Let the others know that a worker has ended.
SELECT pg_notify($1, 'left');

-- name: note_waiting
-- Let who ends an execution tell so, unless it has ended.
INSERT INTO waiter (execution)
SELECT $1 WHERE NOT EXISTS (SELECT FROM state WHERE id = $1 AND state = 'finished')
ON CONFLICT DO NOTHING;

-- name: tell_waiting
-- Tell who waits for executions that have ended, or are parked. Who is not told looks by himself:
-- so nobody waits until it is synced.
WITH told AS (
    DELETE FROM waiter USING state, jsonb_array_elements($1::jsonb) AS ended
    WHERE state.key = ended::bigint AND waiter.execution = state.id
    RETURNING waiter.execution)
SELECT set_config('synchronous_commit', 'off', TRUE), pg_notify($2, 'end ' || md5(execution))
FROM told;

-- name: take_row
-- Begin a new term in a row that is free; how the one before ended.
UPDATE worker
SET term = worker.term + 1, writer = worker.term + 1, commits = 0, is_closed = FALSE,
    is_empty = FALSE, lease_until = clock_timestamp() + '10 s', functions = '{}',
    host = $3, pid = $4, knows = $5, is_pooled = $6,
    is_keeper = worker.is_keeper OR NOT EXISTS (SELECT FROM worker WHERE is_keeper)
FROM (SELECT is_closed FROM worker WHERE id = $1 AND term = $2) AS before
WHERE worker.id = $1 AND worker.term = $2
RETURNING worker.id, worker.term, worker.is_keeper, before.is_closed;

-- name: make_row
-- Begin where no row is free.
INSERT INTO worker (id, term, writer, commits, lease_until, is_closed, is_empty, is_keeper,
                    functions, host, pid, knows, is_pooled)
SELECT coalesce(max(id), 0) + 1, 1, 1, 0, clock_timestamp() + '10 s', FALSE, FALSE,
       coalesce(NOT bool_or(is_keeper), TRUE), '{}', $1, $2, $3, $4
FROM worker
RETURNING id, term, is_keeper, TRUE;

-- name: begin_anew
-- Begin another term in a row of one's own, behind all that was under way there; how many commits
-- there were. What is still to come of an older term is refused.
UPDATE worker SET term = $3, writer = $3, is_pooled = $4, lease_until = clock_timestamp() + '10 s'
WHERE id = $1 AND term = ANY($2::bigint[]) RETURNING commits;

-- name: let_go
-- Note that a worker ends by itself, if it is not fenced.
UPDATE worker
SET is_closed = TRUE, lease_until = clock_timestamp(),
    is_empty = NOT is_keeper
        AND NOT EXISTS (SELECT FROM state WHERE worker = $1 AND state <> 'finished')
        AND NOT EXISTS (SELECT FROM mailbox WHERE worker = $1)
WHERE id = $1 AND term = $2;

-- name: read_worker
-- Which term a row is in, how many commits it did, and who that is.
SELECT term, commits, host, pid FROM worker WHERE id = $1;

-- name: lock
-- Be the one who may; for as long as the connection lives.
SELECT pg_try_advisory_lock($1::int, $2::int);

-- name: unlock
-- Let others be it.
SELECT pg_advisory_unlock_all();

-- name: lock_until_commit
-- Wait to be the one who may, until the end of the transaction.
SELECT pg_advisory_xact_lock($1);

-- name: end_session
-- End a connection of our own that the server believes alive, and wait a second for that.
SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
WHERE pid = $1 AND backend_start = $2::timestamptz;

-- name: this_session
-- By what a connection is known again.
SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid();

-- name: settle_in
-- Look for tables in one schema alone, and let nothing be acknowledged that a crash can undo. What
-- a role or a database says of isolation is for others: who waited for a row here sees it then.
-- $2 is the server's process as a connection was told it: where another one answers there is a
-- pooler between, and what is set holds for this statement alone. Rows are looked up one by one, in
-- their order, also where a table seems to be small: it may grow under a plan that is kept.
SELECT is_pooled, set_config('search_path', $1, is_pooled),
       set_config('default_transaction_isolation', 'read committed', is_pooled),
       set_config('enable_seqscan', 'off', is_pooled), set_config('jit', 'off', is_pooled),
       set_config('enable_bitmapscan', 'off', is_pooled),
       set_config('enable_hashjoin', 'off', is_pooled),
       set_config('enable_mergejoin', 'off', is_pooled),
       CASE WHEN current_setting('synchronous_commit') = 'off'
            THEN set_config('synchronous_commit', 'on', is_pooled) END
FROM (SELECT coalesce(pg_backend_pid() <> $2::bigint, FALSE) AS is_pooled) AS line;

-- name: settle_transaction
-- The same, and what is told to whoever is patient, for one transaction: behind a pooler the next
-- one may be on another connection, and this one is somebody else's then.
SELECT set_config('search_path', $1, TRUE), set_config('lock_timeout', $2, TRUE),
       set_config('idle_in_transaction_session_timeout', $2, TRUE),
       set_config('enable_seqscan', 'off', TRUE), set_config('enable_hashjoin', 'off', TRUE),
       set_config('enable_mergejoin', 'off', TRUE), set_config('jit', 'off', TRUE),
       set_config('enable_bitmapscan', 'off', TRUE),
       CASE WHEN current_setting('synchronous_commit') = 'off'
            THEN set_config('synchronous_commit', 'on', TRUE) END;

-- name: be_impatient
-- Never hold others up: a transaction that is left open ends, and so does a connection whose
-- other end is gone; milliseconds, seconds.
SELECT set_config('idle_in_transaction_session_timeout', $1, FALSE),
       set_config('lock_timeout', $1, FALSE),
       set_config('tcp_keepalives_idle', '10', FALSE),
       set_config('tcp_keepalives_interval', '5', FALSE),
       set_config('tcp_keepalives_count', '3', FALSE),
       set_config('tcp_user_timeout', '25000', FALSE);

-- name: create_state
-- New executions.
INSERT INTO state (key, id, parent, parent_n, function, state, result, created_at, finished_at,
                   error, folded, worker)
SELECT (value->>0)::bigint, value->>1, (value->>2)::bigint, (value->>3)::bigint, value->>4,
       value->>5, value->>6, (value->>7)::bigint, (value->>8)::bigint, value->>9, value->>10,
       $2::bigint
FROM jsonb_array_elements($1::jsonb);

-- name: change_states
-- New states, the last one of each execution.
UPDATE state
SET state = value->>1, result = value->>2, finished_at = (value->>3)::bigint,
    error = value->>4, folded = value->>5
FROM jsonb_array_elements($1::jsonb) WHERE state.key = (value->>0)::bigint;

-- name: add_inbox
-- What arrived for executions.
INSERT INTO inbox (execution, seq, kind, ref, at, body, signal)
SELECT (value->>0)::bigint, (value->>1)::bigint, value->>2, (value->>3)::bigint,
       (value->>4)::bigint, value->>5, value->>6
FROM jsonb_array_elements($1::jsonb);

-- name: arm_timers
-- Timers to fire.
INSERT INTO timer (execution, n, due)
SELECT (value->>0)::bigint, (value->>1)::bigint, (value->>2)::bigint
FROM jsonb_array_elements($1::jsonb);

-- name: disarm_timers
-- Timers that fired or were cancelled.
DELETE FROM timer USING jsonb_array_elements($1::jsonb)
WHERE execution = (value->>0)::bigint AND n = (value->>1)::bigint;

-- name: drop_letters
-- Letters that were answered.
DELETE FROM mailbox WHERE id IN (SELECT value::bigint FROM jsonb_array_elements($1::jsonb));

-- name: put_beats
-- The last heartbeats of open calls; of several of one call the last.
INSERT INTO beat (execution, n, attempt, at, body)
SELECT DISTINCT ON (1, 2) (value->>0)::bigint, (value->>1)::bigint, (value->>2)::bigint,
       (value->>3)::bigint, value->>4
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS rows (value, place)
ORDER BY 1, 2, place DESC
ON CONFLICT (execution, n)
DO UPDATE SET attempt = excluded.attempt, at = excluded.at, body = excluded.body;

-- name: drop_beats
-- Heartbeats of calls that ended.
DELETE FROM beat USING jsonb_array_elements($1::jsonb)
WHERE execution = (value->>0)::bigint AND n = (value->>1)::bigint;

-- name: add_outputs
-- What attempts printed and logged; bytes in base 64.
INSERT INTO output (execution, n, attempt, seq, stream, at, body)
SELECT (value->>0)::bigint, (value->>1)::bigint, (value->>2)::bigint, (value->>3)::bigint,
       value->>4, (value->>5)::bigint, decode(value->>6, 'base64')
FROM jsonb_array_elements($1::jsonb);

-- name: put_starts
-- When attempts of queues with a rate were started; of one moment they add up.
INSERT INTO start (queue, at, elapsed, many)
SELECT value->>0, (value->>1)::bigint,
       (array_agg((value->>2)::bigint ORDER BY place DESC))[1], sum((value->>3)::bigint)
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS rows (value, place)
GROUP BY 1, 2
ON CONFLICT (queue, at)
DO UPDATE SET elapsed = excluded.elapsed, many = start.many + excluded.many;

-- name: drop_starts
-- Those that no rate counts any more.
DELETE FROM start USING jsonb_array_elements($1::jsonb)
WHERE queue = value->>0 AND at = (value->>1)::bigint;

-- name: list_starts
-- All that are kept, by queue and time.
SELECT queue, at, elapsed, many FROM start ORDER BY queue, at;

-- name: put_refusals
-- Why letters were refused; of several of one letter the last. When, by the clock of the server.
INSERT INTO refusal (letter, at, error)
SELECT DISTINCT ON (1) (value->>0)::bigint,
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint, value->>2
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS rows (value, place)
ORDER BY 1, place DESC
ON CONFLICT (letter) DO UPDATE SET at = excluded.at, error = excluded.error;

-- name: forget_refusals
-- Those of more than a minute ago: who asked has looked, or never will. Not those of now.
DELETE FROM refusal
WHERE at < (extract(epoch FROM clock_timestamp()) * 1000)::bigint - 60000
  AND letter NOT IN (SELECT (value->>0)::bigint FROM jsonb_array_elements($1::jsonb));

-- name: find_refusal
-- Why a letter was refused.
SELECT letter, at, error FROM refusal WHERE letter = $1;

-- name: wait_for_others
-- One after the other: who asks sees what everybody before has asked. Held until the commit;
-- it stands in nobody's way who does not ask.
LOCK TABLE meta IN SHARE UPDATE EXCLUSIVE MODE;

-- name: post_letter
-- Ask for something, under a number that no letter had before (who waits for an answer is not to
-- be told another one's; a restored server may count anew); and wake the worker it is for, or all
-- where that is not known.
INSERT INTO mailbox (id, at, kind, target, body, signal, chain, function)
SELECT greatest(pg_current_xact_id()::text::bigint,
                1 + (SELECT coalesce(max(id), 0) FROM mailbox),
                1 + (SELECT coalesce(max(letter), 0) FROM refusal)), $1, $2, $3, $4, $5, $7, $8
RETURNING id, pg_current_xact_id()::text, pg_notify($6, 'letter ' || coalesce(
    (SELECT worker FROM state WHERE id = $7 AND state <> 'finished'), 0));

-- name: own_letters
-- What waits for one worker, oldest first: what it is to make; what is for its executions, and
-- for those that it is to make; and, if it is the keeper, what is for nobody else. The last
-- column tells whether something waits for any worker that serves it.
SELECT id, at, kind, target, body, is_free FROM (
    SELECT id, at, kind, target, body, FALSE AS is_free FROM mailbox WHERE worker = $1
    UNION ALL
    SELECT id, at, kind, target, body, FALSE FROM mailbox AS letter
    WHERE function IS NULL AND CASE WHEN chain IS NULL THEN $2::boolean ELSE coalesce(
        (SELECT worker FROM state WHERE id = chain AND state <> 'finished'),
        (SELECT worker FROM state WHERE id > chain || '~' AND id < chain || '~:'
            AND strpos(substr(id, length(chain) + 2), '/') = 0 AND state <> 'finished' LIMIT 1),
        (SELECT coalesce(maker.worker, 0) FROM mailbox AS maker
            WHERE maker.target = letter.chain AND maker.function IS NOT NULL
            ORDER BY maker.id + 0 LIMIT 1),  -- found by its target, and not by going through all
        CASE WHEN $2::boolean THEN $1 END) = $1 END
    UNION ALL
    (SELECT id, at, kind, target, body, TRUE FROM mailbox
     WHERE function IS NOT NULL AND worker IS NULL AND (function = '' OR function = ANY($3::text[]) OR
        $2::boolean AND NOT EXISTS (SELECT FROM worker WHERE function = ANY(functions)
            AND NOT is_closed AND lease_until > clock_timestamp()))
     ORDER BY id LIMIT 1)) AS letters
ORDER BY is_free, id LIMIT $4;

-- name: claim_letters
-- Take letters that wait for any worker, unless this one is fenced.
WITH asserted AS (
    UPDATE worker SET writer = $3, lease_until = clock_timestamp() + '10 s' WHERE id = $1),
free AS (
    SELECT id FROM mailbox
    WHERE function IS NOT NULL AND worker IS NULL AND (function = '' OR function = ANY($4::text[]) OR
        $2::boolean AND NOT EXISTS (SELECT FROM worker WHERE function = ANY(functions)
            AND NOT is_closed AND lease_until > clock_timestamp()))
    ORDER BY id LIMIT $5 FOR UPDATE SKIP LOCKED)
UPDATE mailbox SET worker = $1 FROM free WHERE mailbox.id = free.id
RETURNING mailbox.id, at, kind, target, body;

-- name: is_waiting
-- Whether a letter waits still.
SELECT 1 FROM mailbox WHERE id = $1;

-- name: fate_of
-- What became of a transaction: committed, aborted, in progress; NULL if that is long ago.
SELECT pg_xact_status($1::xid8);

-- name: letters
-- What waits in the mailbox, oldest first.
SELECT id, at, kind, target, body FROM mailbox ORDER BY id LIMIT $1;

-- name: letters_to
-- What waits for one execution or for something below it, oldest first.
SELECT id, at, kind, target, body FROM mailbox
WHERE target = $1 OR (target > $2 AND target < $3) ORDER BY id;

-- name: find_letters
-- What waits for one target, of some kinds, oldest first.
SELECT id, at, kind, target, body FROM mailbox
WHERE target = $1 AND kind IN (SELECT jsonb_array_elements_text($2::jsonb)) ORDER BY id;

-- name: find_signal_letter
-- The signal with an id that waits for one execution.
SELECT id, at, kind, target, body FROM mailbox
WHERE target = $1 AND kind = 'signal' AND signal = $2 LIMIT 1;

-- name: find_state
-- One execution by its id.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE id = $1;

-- name: get_state
-- One execution by its key.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE key = $1;

-- name: unfinished
-- Executions that a worker is to go on with, oldest first.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE worker = $1 AND state <> 'finished' ORDER BY key;

-- name: list_states
-- Executions in the order of their creation; a NULL filter means any; that of the error is casefolded.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state
WHERE key > coalesce((SELECT key FROM state WHERE id = $5), 0)
  AND ($1::text IS NULL OR state = $1)
  AND ($2::text IS NULL OR function = $2)
  AND ($3::bigint IS NULL OR created_at >= $3)
  AND ($4::text IS NULL OR strpos(folded, $4) > 0)
ORDER BY key LIMIT $6;

-- name: read_log
-- One execution's log, oldest first.
SELECT key & 4294967295, at, kind, body FROM log
WHERE key >= $1::bigint << 32 AND key < ($1::bigint + 1) << 32 ORDER BY key;

-- name: first_event
-- How one execution was created.
SELECT key & 4294967295, at, kind, body FROM log WHERE key = $1::bigint << 32;

-- name: last_event
-- The last event of one execution's log.
SELECT key & 4294967295, at, kind, body FROM log
WHERE key >= $1::bigint << 32 AND key < ($1::bigint + 1) << 32 ORDER BY key DESC LIMIT 1;

-- name: read_kinds
-- The events of some kinds in one execution's log, oldest first.
SELECT key & 4294967295, at, kind, body FROM log
WHERE key >= $1::bigint << 32 AND key < ($1::bigint + 1) << 32
  AND kind IN (SELECT jsonb_array_elements_text($2::jsonb))
ORDER BY key;

-- name: read_inbox
-- One execution's inbox.
SELECT seq, kind, ref, at, body FROM inbox WHERE execution = $1;

-- name: find_signal
-- The signal with an id that has reached one execution; not by reading all of its inbox.
SELECT kind, ref, at, body FROM inbox WHERE execution = $1 AND signal = $2 LIMIT 1;

-- name: find_answer
-- What has reached one execution as the result of a stub.
SELECT kind, ref, at, body FROM inbox
WHERE execution = $1 AND ref = $2 AND kind = 'stub' LIMIT 1;

-- name: read_beats
-- The last heartbeats of one execution's open calls.
SELECT n, attempt, at, body FROM beat WHERE execution = $1;

-- name: last_beats
-- The last heartbeat of every call of a worker that has one.
SELECT execution, n, attempt, beat.at, beat.body FROM beat LEFT JOIN state ON state.key = execution
WHERE coalesce(worker, $1) = $1 ORDER BY execution, n;

-- name: read_outputs
-- What one execution's activities printed and logged.
SELECT n, attempt, stream, at, body FROM output WHERE execution = $1 ORDER BY n, attempt, seq;

-- name: read_timers
-- One execution's armed timers.
SELECT n, due FROM timer WHERE execution = $1;

-- name: armed_timers
-- Every armed timer of a worker, by due time.
SELECT execution, n, due FROM timer LEFT JOIN state ON state.key = execution
WHERE coalesce(worker, $1) = $1 ORDER BY due;

-- name: draw_keys
-- The first of a hundred keys that nobody else draws.
SELECT nextval('execution_key');

-- name: ends
-- How many events a log has, and the last number in the inbox.
SELECT (SELECT coalesce((max(key) & 4294967295) + 1, 0) FROM log
        WHERE key >= $1::bigint << 32 AND key < ($1::bigint + 1) << 32),
       (SELECT coalesce(max(seq), 0) FROM inbox WHERE execution = $1::bigint);

-- name: last_key
-- The largest key in use, also by a log that has lost its state.
SELECT greatest((SELECT coalesce(max(key), 0) FROM state),
                (SELECT coalesce(max(key) >> 32, 0) FROM log));

-- name: list_crons
-- All schedules, by id.
SELECT id, spec, paused, last, due, waiting, running, newest, made, skipped FROM cron ORDER BY id;

-- name: find_cron
-- One schedule by its id.
SELECT id, spec, paused, last, due, waiting, running, newest, made, skipped FROM cron WHERE id = $1;

-- name: put_crons
-- New schedules, and where old ones stand now.
INSERT INTO cron (id, spec, paused, last, due, waiting, running, newest, made, skipped)
SELECT value->>0, value->>1, (value->>2)::boolean, (value->>3)::bigint, (value->>4)::bigint,
       (value->>5)::bigint, value->>6, value->>7, (value->>8)::bigint, (value->>9)::bigint
FROM jsonb_array_elements($1::jsonb)
ON CONFLICT (id) DO UPDATE SET
    spec = excluded.spec, paused = excluded.paused, last = excluded.last, due = excluded.due,
    waiting = excluded.waiting, running = excluded.running, newest = excluded.newest,
    made = excluded.made, skipped = excluded.skipped;

-- name: drop_crons
-- Schedules that were deleted.
DELETE FROM cron WHERE id IN (SELECT jsonb_array_elements_text($1::jsonb));

-- name: finished_roots
-- Executions that are over and have no parent, in a range of keys.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE key > $1 AND key <= $2 AND parent IS NULL AND state = 'finished' ORDER BY key;

-- name: below
-- Executions with a parent whose ids begin with another one's, newest first.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE id > $1 AND id < $2 AND parent IS NOT NULL AND key < $3
ORDER BY key DESC LIMIT $4;

-- name: unfinished_below
-- Those of them that are not over.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE id > $1 AND id < $2 AND parent IS NOT NULL AND state <> 'finished' ORDER BY key;

-- name: newest_link
-- The last of those that went on in place of an execution; not what is below them.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE id > $1 AND id < $2 AND strpos(substr(id, $3::integer), '/') = 0
ORDER BY length(id) DESC, id DESC LIMIT 1;

-- name: newest_roots
-- For each function the key of the n-th newest that is over and has no parent, or of the oldest.
SELECT function, min(key) FROM (
    SELECT function, key, row_number() OVER (PARTITION BY function ORDER BY key DESC) AS place
    FROM state WHERE parent IS NULL AND state = 'finished') AS roots
WHERE place <= $1 GROUP BY function;

-- name: weight
-- Events and bytes of some executions, without reading long bodies.
WITH wanted AS (SELECT value::bigint AS execution FROM jsonb_array_elements($1::jsonb))
SELECT coalesce(sum(is_event), 0), coalesce(sum(size), 0) FROM (
    SELECT 1 AS is_event, 20 + octet_length(body) AS size
    FROM wanted JOIN log ON key >= execution << 32 AND key < (execution + 1) << 32
    UNION ALL
    SELECT 0, 20 + octet_length(body) FROM wanted JOIN inbox USING (execution)
    UNION ALL
    SELECT 0, 20 + octet_length(body) FROM wanted JOIN output USING (execution)) AS rows;

-- name: prune_states
-- From now on these executions do not exist; nor does a note of who came when one was ending.
WITH gone AS (
    DELETE FROM state USING jsonb_array_elements($1::jsonb) WHERE key = (value->>0)::bigint
    RETURNING id)
DELETE FROM waiter USING gone WHERE execution = gone.id;

-- name: prune_timers
-- What was armed for them.
DELETE FROM timer USING jsonb_array_elements($1::jsonb) WHERE execution = (value->>0)::bigint;

-- name: prune_beats
-- The heartbeats of their calls.
DELETE FROM beat USING jsonb_array_elements($1::jsonb) WHERE execution = (value->>0)::bigint;

-- name: prune_outputs
-- What their attempts printed.
DELETE FROM output USING jsonb_array_elements($1::jsonb) WHERE execution = (value->>0)::bigint;

-- name: prune_logs
-- The ends of their logs, so that what is left has no holes.
DELETE FROM log USING jsonb_array_elements($1::jsonb)
WHERE key >= ((value->>0)::bigint << 32) + (value->>1)::bigint
  AND key < ((value->>0)::bigint + 1) << 32;

-- name: prune_inboxes
-- The ends of their inboxes.
DELETE FROM inbox USING jsonb_array_elements($1::jsonb)
WHERE execution = (value->>0)::bigint AND seq >= (value->>2)::bigint;

-- name: note_leftovers
-- Those with rows left, for the next time.
INSERT INTO leftover (key)
SELECT (value->>0)::bigint FROM jsonb_array_elements($1::jsonb) WHERE (value->>1)::bigint > 0
ON CONFLICT DO NOTHING;

-- name: drop_leftovers
-- Those without.
DELETE FROM leftover USING jsonb_array_elements($1::jsonb)
WHERE key = (value->>0)::bigint AND (value->>1)::bigint = 0;

-- name: list_leftovers
-- Executions that are pruned, and have rows left.
SELECT key FROM leftover ORDER BY key;

-- name: read_meta
-- What the database says of itself.
SELECT key, value FROM meta;

-- name: put_meta
-- Record a fact about the database.
INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: user_tables
-- Tables of the schema, and which of them is ours.
SELECT count(*) FILTER (WHERE relname = 'meta'), count(*) FROM pg_class
WHERE relnamespace = to_regnamespace(current_schema()) AND relkind = 'r';

-- name: changes
-- What can be seen now: it is another thing after every commit.
SELECT pg_current_snapshot()::text;
