-- name: create
-- A database of one's own, in the mode that Litestream needs.
CREATE TABLE proof (id TEXT NOT NULL);

-- name: change
-- The change that has to arrive in the bucket.
INSERT INTO proof VALUES (?);
