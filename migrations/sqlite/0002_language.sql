-- An execution that a step of another one is.
ALTER TABLE executions ADD COLUMN parent_id TEXT;
ALTER TABLE executions ADD COLUMN parent_step TEXT;
-- The execution at the top; NULL for those that are there themselves.
ALTER TABLE executions ADD COLUMN root_id TEXT;
ALTER TABLE executions ADD COLUMN depth BIGINT NOT NULL DEFAULT 0;
-- The revision of each workflow that it or its children may run: {"name": "hash"}.
ALTER TABLE executions ADD COLUMN links TEXT NOT NULL DEFAULT '{}';
CREATE INDEX executions_children ON executions (parent_id) WHERE parent_id IS NOT NULL;

-- Questions to persons.
CREATE TABLE requests (
    id           TEXT   NOT NULL PRIMARY KEY,
    workspace    TEXT   NOT NULL,
    execution_id TEXT   NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    step         TEXT   NOT NULL,
    kind         TEXT   NOT NULL,
    -- open, answered, expired or withdrawn
    status       TEXT   NOT NULL,
    request      TEXT   NOT NULL,
    message      TEXT   NOT NULL,
    expires_at   BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    -- Everybody who said something while it was open: [{by, verified, at, answer}].
    answers      TEXT   NOT NULL DEFAULT '[]',
    -- The answer that settled it.
    answered_at  BIGINT,
    answered_by  TEXT,
    answer       TEXT
);
CREATE INDEX requests_open ON requests (workspace, created_at) WHERE status = 'open';
CREATE INDEX requests_execution ON requests (execution_id);

-- Who holds a lock, and who is next.
CREATE TABLE lock_places (
    workspace    TEXT   NOT NULL,
    key          TEXT   NOT NULL,
    place        BIGINT NOT NULL,
    execution_id TEXT   NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    -- Empty for the whole execution.
    step         TEXT   NOT NULL,
    -- 0 while it is only kept for a person who thinks.
    ready        BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    granted_at   BIGINT,
    PRIMARY KEY (workspace, key, place)
);
CREATE INDEX lock_places_execution ON lock_places (execution_id);

-- The event that says what the tool of a step was last given.
ALTER TABLE steps ADD COLUMN params_seq BIGINT;
UPDATE steps SET params_seq = (
    SELECT MAX(e.seq) FROM events e
    WHERE e.execution_id = steps.execution_id AND e.kind = 'attempt_started' AND e.data LIKE '%"params":%'
      AND substr(e.data, 1, 35 + length(steps.step)) = '{"kind":"attempt_started","step":"' || steps.step || '"'
);
