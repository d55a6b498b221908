-- A step whose tool is not done: when it is looked at again, how often it was, and what it said. One row a step, however
-- often that is; no event tells of it.
CREATE TABLE looks (
    execution_id TEXT   NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    step         TEXT   NOT NULL,
    due_at       BIGINT NOT NULL,
    looks        BIGINT NOT NULL,
    -- A JSON text.
    said         TEXT,
    PRIMARY KEY (execution_id, step)
);
