-- What ``inspect`` asks a server: the statements of inspect/queries.sql in its words.

-- name: survey_size
-- Bytes of all tables of the schema, with their indexes.
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = to_regnamespace(current_schema()) AND relkind = 'r';

-- name: survey_census
-- Executions by function, state and result.
SELECT function, state, result, count(*) FROM state GROUP BY function, state, result
ORDER BY function, state, result;

-- name: survey_failures
-- Executions that ended badly or cannot go on, newest first, with the last event of each.
SELECT s.id, s.function, s.error, l.body, l.at
FROM (SELECT key, id, function, error, coalesce(finished_at, created_at) AS ended FROM state
      WHERE result IN ('error', 'timed_out') OR state = 'parked'
      ORDER BY ended DESC, key DESC LIMIT $1) AS s
CROSS JOIN LATERAL (SELECT body, at FROM log
                    WHERE log.key >= s.key << 32 AND log.key < (s.key + 1) << 32
                    ORDER BY log.key DESC LIMIT 1) AS l
ORDER BY s.ended DESC, s.key DESC;

-- name: survey_open_calls
-- The events of all unfinished executions that begin or end an attempt of an activity, in order.
SELECT s.key, s.id, s.function, l.key - (s.key << 32), l.at, l.kind, l.body
FROM state AS s JOIN log AS l ON l.key >= s.key << 32 AND l.key < (s.key + 1) << 32
WHERE s.state <> 'finished'
  AND l.kind IN ('intended', 'attempt_started', 'attempt_failed', 'returned', 'cancelled')
ORDER BY l.key;

-- name: survey_last_event
-- When something was last recorded. The end of a log is on record beside it; of the logs that
-- go on the last event is looked up.
SELECT greatest((SELECT max(finished_at) FROM state),
                (SELECT max(l.at) FROM state AS s CROSS JOIN LATERAL
                    (SELECT at FROM log
                     WHERE log.key >= s.key << 32 AND log.key < (s.key + 1) << 32
                     ORDER BY log.key DESC LIMIT 1) AS l
                 WHERE s.state <> 'finished'));
