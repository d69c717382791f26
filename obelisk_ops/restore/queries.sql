-- name: exclude
-- Nobody else writes, and without a write-ahead log nobody else reads.
BEGIN EXCLUSIVE;
