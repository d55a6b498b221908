-- Who goes first where not all can go at once: -1 low, 0 normal, 1 high.
ALTER TABLE executions ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;

-- What is due is claimed by its priority: one probe each. While a lease is held, wake_at is the lease's end, so that
-- whoever looks for what is due passes over nothing that is driven.
CREATE INDEX executions_claim ON executions (workspace, priority, wake_at) WHERE wake_at IS NOT NULL;
-- Whether a worker has anything to wait for: what waits for persons only does not count.
CREATE INDEX executions_asleep ON executions (workspace, wake_at) WHERE wake_at IS NOT NULL AND waiting_for IS NULL;
DROP INDEX executions_due;

-- Calls of tools that are limited: those that are out, or may go out, and those that wait for it. No reference to
-- executions: it would lock a row of theirs for each call.
CREATE TABLE limit_places (
    workspace    TEXT   NOT NULL,
    server       TEXT   NOT NULL,
    place        BIGINT NOT NULL,
    -- The tool, where it has a limit of its own; empty where only its server has one.
    tool         TEXT   NOT NULL,
    execution_id TEXT   NOT NULL,
    -- The path of the step.
    step         TEXT   NOT NULL,
    priority     BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    -- The call may go out.
    granted_at   BIGINT,
    -- The lease under which it does; NULL until the execution has taken the permit up.
    epoch        BIGINT,
    PRIMARY KEY (workspace, server, place)
);
CREATE UNIQUE INDEX limit_places_step ON limit_places (execution_id, step);
CREATE INDEX limit_places_granted ON limit_places (workspace, server) WHERE granted_at IS NOT NULL;
CREATE INDEX limit_places_waiting ON limit_places (workspace, server, tool, priority, place) WHERE granted_at IS NULL;

-- When the last calls under each rate began: as many of them as the rate allows.
CREATE TABLE limit_begun (
    workspace TEXT   NOT NULL,
    -- server or server.tool
    name      TEXT   NOT NULL,
    number    BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (workspace, name, number)
);
