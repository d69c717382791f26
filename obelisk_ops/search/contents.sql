-- name: executions
-- Every execution with what it was given, which its first event holds.
SELECT s.id, s.function, s.state, s.result, s.created_at, s.finished_at, p.id,
       substr(s.error, 1, :text),
       (SELECT substr(l.body -> '$.in', 1, :text) FROM log AS l WHERE l.key = s.key << 32)
FROM state AS s LEFT JOIN state AS p ON p.key = s.parent;
