-- name: counts
-- Executions by function and state.
SELECT ffqn, state, count(*) FROM t_state GROUP BY ffqn, state ORDER BY ffqn, state;

-- name: executions
-- The newest executions, of one state or all, each with the event that it ended with.
SELECT s.execution_id, s.ffqn, s.state, s.created_at, s.updated_at, s.result_kind,
       (SELECT substr(l.json_value, 1, :text) FROM t_execution_log AS l
        WHERE l.execution_id = s.execution_id AND s.state = 'finished'
        ORDER BY l.version DESC LIMIT 1)
FROM t_state AS s WHERE :state IS NULL OR s.state = :state
ORDER BY s.created_at DESC, s.rowid DESC LIMIT :limit;

-- name: failures
-- The newest executions that did not end well.
SELECT s.execution_id, s.ffqn, s.state, s.created_at, s.updated_at, s.result_kind,
       (SELECT substr(l.json_value, 1, :text) FROM t_execution_log AS l
        WHERE l.execution_id = s.execution_id ORDER BY l.version DESC LIMIT 1)
FROM t_state AS s WHERE s.state = 'finished' AND s.result_kind <> '"ok"'
ORDER BY s.updated_at DESC, s.rowid DESC LIMIT :limit;

-- name: locked
-- Executions that an executor had taken, each with when it did.
SELECT s.execution_id, s.ffqn, s.component_type, s.intermittent_event_count,
       (SELECT l.created_at FROM t_execution_log AS l
        WHERE l.execution_id = s.execution_id AND l.version = s.last_lock_version)
FROM t_state AS s WHERE s.state = 'locked' ORDER BY s.created_at LIMIT :limit;

-- name: events
-- The log of one execution, oldest first.
SELECT version, coalesce(history_event_type, variant), created_at, substr(json_value, 1, :text)
FROM t_execution_log WHERE execution_id = :id ORDER BY version;

-- name: last
-- When something was last recorded.
SELECT max(updated_at) FROM t_state;
