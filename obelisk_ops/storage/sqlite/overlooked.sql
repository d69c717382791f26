-- The page that Litestream writes after each of its checkpoints: the only row of this table.
SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = '_litestream_seq'
