-- name: append
-- An event; repeated for several. The primary key refuses a version that is taken.
INSERT INTO log (key, at, kind, body) VALUES ((? << 32) + ?, ?, ?, ?);

-- name: create_state
-- A new execution; repeated for several.
INSERT INTO state (key, id, parent, parent_n, function, state, result, created_at, finished_at, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: change_states
-- New states, the last one of each execution.
UPDATE state SET state = new.value->>1, result = new.value->>2, finished_at = new.value->>3,
                 error = new.value->>4
FROM json_each(?) AS new WHERE state.key = new.value->>0;

-- name: add_inbox
-- What arrived for executions.
INSERT INTO inbox (execution, seq, kind, ref, at, body)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each(?);

-- name: arm_timers
-- Timers to fire.
INSERT INTO timer (execution, n, due) SELECT value->>0, value->>1, value->>2 FROM json_each(?);

-- name: disarm_timers
-- Timers that fired or were cancelled.
DELETE FROM timer WHERE (execution, n) IN (SELECT value->>0, value->>1 FROM json_each(?));

-- name: drop_letters
-- Letters that were answered.
DELETE FROM mailbox WHERE id IN (SELECT value FROM json_each(?));

-- name: put_beats
-- The last heartbeats of open calls.
INSERT INTO beat (execution, n, attempt, at, body)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM json_each(?) WHERE TRUE
ON CONFLICT (execution, n)
DO UPDATE SET attempt = excluded.attempt, at = excluded.at, body = excluded.body;

-- name: drop_beats
-- Heartbeats of calls that ended.
DELETE FROM beat WHERE (execution, n) IN (SELECT value->>0, value->>1 FROM json_each(?));

-- name: add_outputs
-- What attempts printed and logged.
INSERT INTO output (execution, n, attempt, seq, stream, at, body)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6
FROM json_each(?);

-- name: put_starts
-- When attempts of queues with a rate were started.
INSERT INTO start (queue, at, elapsed, many)
SELECT value->>0, value->>1, value->>2, value->>3 FROM json_each(?) WHERE TRUE
ON CONFLICT (queue, at)
DO UPDATE SET elapsed = excluded.elapsed, many = many + excluded.many;

-- name: drop_starts
-- Those that no rate counts any more.
DELETE FROM start WHERE (queue, at) IN (SELECT value->>0, value->>1 FROM json_each(?));

-- name: list_starts
-- All that are kept, by queue and time.
SELECT queue, at, elapsed, many FROM start ORDER BY queue, at;

-- name: put_refusals
-- Why letters were refused.
INSERT OR REPLACE INTO refusal (letter, at, error)
SELECT value->>0, value->>1, value->>2 FROM json_each(?);

-- name: forget_refusals
-- Those of more than a minute ago: who asked has looked, or never will.
DELETE FROM refusal WHERE at < (SELECT max(value->>1) - 60000 FROM json_each(?));

-- name: find_refusal
-- Why a letter was refused.
SELECT letter, at, error FROM refusal WHERE letter = ?;

-- name: post_letter
-- Ask the owner for something, under a number that no letter had before: who waits for an answer
-- is not to be told another one's. By the time, for nothing is left of what was answered; chance
-- tells those of one millisecond apart.
INSERT INTO mailbox (id, at, kind, target, body)
VALUES (max(1 + (SELECT coalesce(max(id), 0) FROM mailbox),
            1 + (SELECT coalesce(max(letter), 0) FROM refusal),
            ?1 * 1000 + abs(random() % 1000)), ?1, ?2, ?3, ?4);

-- name: letters
-- What waits in the mailbox, oldest first.
SELECT id, at, kind, target, body FROM mailbox ORDER BY id LIMIT ?;

-- name: letters_to
-- What waits for one execution or for something below it, oldest first.
SELECT id, at, kind, target, body FROM mailbox
WHERE target = ?1 OR (target > ?2 AND target < ?3) ORDER BY id;

-- name: find_letters
-- What waits for one target, of some kinds, oldest first.
SELECT id, at, kind, target, body FROM mailbox
WHERE target = ? AND kind IN (SELECT value FROM json_each(?)) ORDER BY id;

-- name: find_signal_letter
-- The signal with an id that waits for one execution.
SELECT id, at, kind, target, body FROM mailbox
WHERE target = ? AND kind = 'signal'
  AND CASE WHEN kind = 'signal' AND json_valid(body) THEN body->>'id' END = ? LIMIT 1;

-- name: find_state
-- One execution by its id.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE id = ?;

-- name: get_state
-- One execution by its key.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE key = ?;

-- name: unfinished
-- Executions to go on with, oldest first.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE state <> 'finished' ORDER BY key;

-- name: list_states
-- Executions in the order of their creation; a NULL filter means any; that of the error is casefolded.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state
WHERE key > coalesce((SELECT key FROM state WHERE id = ?5), 0)
  AND (?1 IS NULL OR state = ?1)
  AND (?2 IS NULL OR function = ?2)
  AND (?3 IS NULL OR created_at >= ?3)
  AND (?4 IS NULL OR instr(casefold(error), ?4) > 0)
ORDER BY key LIMIT ?6;

-- name: read_log
-- One execution's log, oldest first.
SELECT version, at, kind, body FROM log
WHERE key >= ?1 << 32 AND key < (?1 + 1) << 32 ORDER BY key;

-- name: first_event
-- How one execution was created.
SELECT version, at, kind, body FROM log WHERE key = ? << 32;

-- name: last_event
-- The last event of one execution's log.
SELECT version, at, kind, body FROM log
WHERE key >= ?1 << 32 AND key < (?1 + 1) << 32 ORDER BY key DESC LIMIT 1;

-- name: read_kinds
-- The events of some kinds in one execution's log, oldest first.
SELECT version, at, kind, body FROM log
WHERE key >= ?1 << 32 AND key < (?1 + 1) << 32 AND kind IN (SELECT value FROM json_each(?2))
ORDER BY key;

-- name: read_inbox
-- One execution's inbox.
SELECT seq, kind, ref, at, body FROM inbox WHERE execution = ?;

-- name: find_signal
-- The signal with an id that has reached one execution; not by reading all of its inbox.
SELECT kind, ref, at, body FROM inbox INDEXED BY inbox_signal
WHERE execution = ? AND kind = 'signal'
  AND CASE WHEN json_valid(body) THEN body->>'id' END IS NOT NULL
  AND CASE WHEN json_valid(body) THEN body->>'id' END = ? LIMIT 1;

-- name: find_answer
-- What has reached one execution as the result of a stub.
SELECT kind, ref, at, body FROM inbox INDEXED BY inbox_stub
WHERE execution = ? AND ref = ? AND kind = 'stub' LIMIT 1;

-- name: has_table
-- Whether the file has a table that older versions did not make.
SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?;

-- name: read_beats
-- The last heartbeats of one execution's open calls.
SELECT n, attempt, at, body FROM beat WHERE execution = ?;

-- name: last_beats
-- The last heartbeat of every call that has one.
SELECT execution, n, attempt, at, body FROM beat ORDER BY execution, n;

-- name: read_outputs
-- What one execution's activities printed and logged.
SELECT n, attempt, stream, at, body FROM output WHERE execution = ? ORDER BY n, attempt, seq;

-- name: read_timers
-- One execution's armed timers.
SELECT n, due FROM timer WHERE execution = ?;

-- name: armed_timers
-- Every armed timer, by due time.
SELECT execution, n, due FROM timer ORDER BY due;

-- name: ends
-- How many events a log has, and the last number in the inbox.
SELECT (SELECT coalesce((max(key) & 0xffffffff) + 1, 0) FROM log
        WHERE key >= ?1 << 32 AND key < (?1 + 1) << 32),
       (SELECT coalesce(max(seq), 0) FROM inbox WHERE execution = ?1);

-- name: last_key
-- The largest key in use, also by a log that has lost its state.
SELECT max(coalesce((SELECT max(key) FROM state), 0), coalesce((SELECT max(key) FROM log) >> 32, 0));

-- name: list_crons
-- All schedules, by id.
SELECT id, spec, paused, last, due, waiting, running, newest, made, skipped FROM cron ORDER BY id;

-- name: find_cron
-- One schedule by its id.
SELECT id, spec, paused, last, due, waiting, running, newest, made, skipped FROM cron WHERE id = ?;

-- name: put_crons
-- New schedules, and where old ones stand now.
INSERT INTO cron (id, spec, paused, last, due, waiting, running, newest, made, skipped)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7,
       value->>8, value->>9
FROM json_each(?) WHERE TRUE
ON CONFLICT (id) DO UPDATE SET
    spec = excluded.spec, paused = excluded.paused, last = excluded.last, due = excluded.due,
    waiting = excluded.waiting, running = excluded.running, newest = excluded.newest,
    made = excluded.made, skipped = excluded.skipped;

-- name: drop_crons
-- Schedules that were deleted.
DELETE FROM cron WHERE id IN (SELECT value FROM json_each(?));

-- name: finished_roots
-- Executions that are over and have no parent, in a range of keys.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE key > ? AND key <= ? AND parent IS NULL AND state = 'finished' ORDER BY key;

-- name: below
-- Executions with a parent whose ids begin with another one's, newest first.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE id > ? AND id < ? AND parent IS NOT NULL AND key < ?
ORDER BY key DESC LIMIT ?;

-- name: unfinished_below
-- Those of them that are not over.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE id > ? AND id < ? AND parent IS NOT NULL AND state <> 'finished' ORDER BY key;

-- name: newest_link
-- The last of those that went on in place of an execution; not what is below them.
SELECT key, id, parent, parent_n, function, state, result, created_at, finished_at, error
FROM state WHERE id > ?1 AND id < ?2 AND instr(substr(id, ?3), '/') = 0
ORDER BY key DESC LIMIT 1;

-- name: newest_roots
-- For each function the key of the n-th newest that is over and has no parent, or of the oldest.
SELECT function, min(key) FROM (
    SELECT function, key, row_number() OVER (PARTITION BY function ORDER BY key DESC) AS place
    FROM state WHERE parent IS NULL AND state = 'finished')
WHERE place <= ? GROUP BY function;

-- name: weight
-- Events and bytes of some executions, without reading long bodies.
SELECT coalesce(sum(is_event), 0), coalesce(sum(size), 0) FROM (
    SELECT 1 AS is_event, 20 + octet_length(body) AS size
    FROM json_each(?1) AS p
    CROSS JOIN log ON log.key >= p.value << 32 AND log.key < (p.value + 1) << 32
    UNION ALL
    SELECT 0, 20 + octet_length(body) FROM inbox
    WHERE execution IN (SELECT value FROM json_each(?1))
    UNION ALL
    SELECT 0, 20 + octet_length(body) FROM output
    WHERE execution IN (SELECT value FROM json_each(?1)));

-- name: prune_states
-- From now on these executions do not exist.
DELETE FROM state WHERE key IN (SELECT value->>0 FROM json_each(?));

-- name: prune_timers
-- What was armed for them.
DELETE FROM timer WHERE execution IN (SELECT value->>0 FROM json_each(?));

-- name: prune_beats
-- The heartbeats of their calls.
DELETE FROM beat WHERE execution IN (SELECT value->>0 FROM json_each(?));

-- name: prune_outputs
-- What their attempts printed.
DELETE FROM output WHERE execution IN (SELECT value->>0 FROM json_each(?));

-- name: prune_logs
-- The ends of their logs, so that what is left has no holes.
DELETE FROM log WHERE key IN (
    SELECT l.key FROM json_each(?) AS p
    CROSS JOIN log AS l ON l.key >= (p.value->>0 << 32) + (p.value->>1)
                       AND l.key < (p.value->>0) + 1 << 32);

-- name: prune_inboxes
-- The ends of their inboxes.
DELETE FROM inbox WHERE (execution, seq) IN (
    SELECT i.execution, i.seq FROM json_each(?) AS p
    CROSS JOIN inbox AS i ON i.execution = p.value->>0 AND i.seq >= p.value->>2);

-- name: note_leftovers
-- Those with rows left, for the next time.
INSERT OR IGNORE INTO leftover (key) SELECT value->>0 FROM json_each(?) WHERE value->>1 > 0;

-- name: drop_leftovers
-- Those without.
DELETE FROM leftover WHERE key IN (SELECT value->>0 FROM json_each(?) WHERE value->>1 = 0);

-- name: list_leftovers
-- Executions that are pruned, and have rows left.
SELECT key FROM leftover ORDER BY key;

-- name: read_meta
-- What the database says of itself.
SELECT key, value FROM meta;

-- name: put_meta
-- Record a fact about the database.
INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: user_tables
-- Tables that somebody made; Litestream keeps two of its own in every file.
SELECT count(*) FILTER (WHERE name = 'meta'), count(*) FROM sqlite_schema
WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE '\_litestream\_%' ESCAPE '\';
