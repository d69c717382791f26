-- name: columns
-- The columns of a table: newer versions have more of them.
SELECT name FROM pragma_table_info(?);

-- name: counts
-- Workflows by function and status.
SELECT coalesce(name, ''), coalesce(status, ''), count(*) FROM workflow_status
GROUP BY name, status ORDER BY name, status;

-- name: error_of_its_own_table
-- A part of the others, since version 3.4: what a workflow ends with has a table of its own.
coalesce(w.error, (SELECT o.error FROM workflow_output AS o WHERE o.workflow_uuid = w.workflow_uuid));

-- name: workflows
-- The newest workflows, of one status or all; the error is put in, for its place has moved.
SELECT w.workflow_uuid, w.name, w.status, w.created_at, w.updated_at, substr({error}, 1, :text)
FROM workflow_status AS w
WHERE :status IS NULL OR w.status = :status
ORDER BY w.created_at DESC, w.rowid DESC LIMIT :limit;

-- name: failures
-- The newest workflows that failed, or were tried too often.
SELECT w.workflow_uuid, w.name, w.status, w.created_at, w.updated_at, substr({error}, 1, :text)
FROM workflow_status AS w
WHERE w.status IN ('ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', 'RETRIES_EXCEEDED')
ORDER BY w.updated_at DESC, w.rowid DESC LIMIT :limit;

-- name: unfinished
-- Workflows that were running: each with the last step that it has recorded.
SELECT w.workflow_uuid, w.name, w.recovery_attempts, w.updated_at,
       (SELECT max(function_id) FROM operation_outputs AS o WHERE o.workflow_uuid = w.workflow_uuid)
FROM workflow_status AS w WHERE w.status = 'PENDING' ORDER BY w.created_at LIMIT :limit;

-- name: steps
-- What one workflow has recorded, in its order; the times are put in, where there are any.
SELECT function_id, function_name, {began}, {ended},
       substr(output, 1, :text), substr(error, 1, :text), child_workflow_id
FROM operation_outputs WHERE workflow_uuid = :id ORDER BY function_id;

-- name: exists
-- Whether there is a workflow of this id.
SELECT 1 FROM workflow_status WHERE workflow_uuid = ?;

-- name: last
-- When something was last recorded.
SELECT max(updated_at) FROM workflow_status;
