-- Times are milliseconds since 1970. JSON is TEXT, kept byte for byte: hashes and
-- takeovers depend on it. Every table and every unique key carries the workspace.

CREATE TABLE revisions (
    workspace  TEXT   NOT NULL,
    hash       TEXT   NOT NULL,
    workflow   TEXT   NOT NULL,
    document   TEXT   NOT NULL,
    source     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (workspace, hash)
);

CREATE TABLE executions (
    id             TEXT   NOT NULL PRIMARY KEY,
    workspace      TEXT   NOT NULL,
    workflow       TEXT   NOT NULL,
    revision       TEXT   NOT NULL,
    status         TEXT   NOT NULL,
    input          TEXT   NOT NULL,
    error          TEXT,
    waiting_for    TEXT,
    requested_by   TEXT   NOT NULL,
    on_behalf_of   TEXT,
    client_name    TEXT,
    client_version TEXT,
    -- The tool servers it was started with: {"name": "identity of its configuration"}.
    tool_servers   TEXT   NOT NULL,
    -- The lowest engine that knows every event of its history.
    min_engine     BIGINT NOT NULL,
    -- When to look at it again; NULL when only a signal can move it.
    wake_at        BIGINT,
    lease_owner    TEXT,
    lease_until    BIGINT NOT NULL DEFAULT 0,
    -- The fence: grows with every claim, and every commit matches it.
    lease_epoch    BIGINT NOT NULL DEFAULT 0,
    signals_in     BIGINT NOT NULL DEFAULT 0,
    signals_done   BIGINT NOT NULL DEFAULT 0,
    last_seq       BIGINT NOT NULL DEFAULT 0,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    ended_at       BIGINT
);
CREATE INDEX executions_due ON executions (workspace, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX executions_newest ON executions (workspace, requested_by, created_at);
CREATE INDEX executions_waiting ON executions (workspace, created_at) WHERE waiting_for IS NOT NULL;

CREATE TABLE events (
    execution_id TEXT   NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    seq          BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    kind         TEXT   NOT NULL,
    -- NULL when it is large: then it is in payloads.
    data         TEXT,
    PRIMARY KEY (execution_id, seq)
);

CREATE TABLE payloads (
    execution_id TEXT   NOT NULL,
    seq          BIGINT NOT NULL,
    data         TEXT   NOT NULL,
    PRIMARY KEY (execution_id, seq),
    FOREIGN KEY (execution_id, seq) REFERENCES events (execution_id, seq) ON DELETE CASCADE
);

CREATE TABLE steps (
    execution_id TEXT   NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    step         TEXT   NOT NULL,
    tool         TEXT   NOT NULL,
    status       TEXT   NOT NULL,
    attempts     BIGINT NOT NULL,
    started_at   BIGINT,
    ended_at     BIGINT,
    error        TEXT,
    -- The event that holds its result.
    output_seq   BIGINT,
    PRIMARY KEY (execution_id, step)
);

CREATE TABLE signals (
    execution_id TEXT   NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    number       BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    data         TEXT   NOT NULL,
    PRIMARY KEY (execution_id, number)
);

CREATE TABLE idempotency_keys (
    workspace    TEXT   NOT NULL,
    caller       TEXT   NOT NULL,
    key          TEXT   NOT NULL,
    execution_id TEXT   NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    request_hash TEXT   NOT NULL,
    expires_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace, caller, key)
);
CREATE INDEX idempotency_keys_expired ON idempotency_keys (expires_at);

CREATE TABLE workers (
    id         TEXT   NOT NULL PRIMARY KEY,
    workspace  TEXT   NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL
);
CREATE INDEX workers_workspace ON workers (workspace, seen_at);

-- Which protocol era a tool server was seen to speak, so that it is not asked again.
CREATE TABLE tool_server_eras (
    workspace TEXT   NOT NULL,
    identity  TEXT   NOT NULL,
    era       TEXT   NOT NULL,
    seen_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace, identity)
);
