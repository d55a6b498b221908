-- What an execution would do, as it was seen when somebody asked.
CREATE TABLE plans (
    id         TEXT   NOT NULL PRIMARY KEY,
    workspace  TEXT   NOT NULL,
    caller     TEXT   NOT NULL,
    workflow   TEXT   NOT NULL,
    revision   TEXT   NOT NULL,
    -- SHA-256 over the input with its defaults.
    input_hash TEXT   NOT NULL,
    -- What it holds for: {"tools": {"server.tool": "digest"}, "workflows": {"name": "hash"}}.
    digests    TEXT   NOT NULL,
    hash       TEXT   NOT NULL,
    -- The whole of it, as its caller saw it.
    plan       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX plans_expired ON plans (expires_at);

-- The plan that an execution was started by.
ALTER TABLE executions ADD COLUMN plan TEXT;
-- What a tool resulted in last is looked for among the newest executions of a workflow.
CREATE INDEX executions_of_workflow ON executions (workspace, workflow, created_at);
