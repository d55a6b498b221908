-- What tools ask of Windlass around them. A memo is a value under a name, changed by comparing: a lock is one.
CREATE TABLE tool_memos (
    workspace  TEXT   NOT NULL,
    -- Keeps tool servers apart.
    scope      TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    -- JSON, its keys in order: equal values are equal texts.
    value      TEXT   NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (workspace, scope, name)
);

-- Files that executions leave behind.
CREATE TABLE artifacts (
    workspace    TEXT   NOT NULL,
    -- Made of the key: the same call again leads to the same file.
    id           TEXT   NOT NULL,
    execution_id TEXT,
    step         TEXT,
    name         TEXT   NOT NULL,
    mime         TEXT   NOT NULL,
    bytes        BIGINT NOT NULL,
    sha256       TEXT   NOT NULL,
    content      BLOB NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX artifacts_of_execution ON artifacts (workspace, execution_id, created_at) WHERE execution_id IS NOT NULL;

-- What calls of language models took.
CREATE TABLE model_usages (
    workspace         TEXT   NOT NULL,
    -- The same over all attempts of a call.
    key               TEXT   NOT NULL,
    execution_id      TEXT,
    step              TEXT,
    model             TEXT   NOT NULL,
    prompt_tokens     BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cached_tokens     BIGINT NOT NULL,
    -- NULL when the price is not known, which is not nothing.
    cost_micro_usd    BIGINT,
    created_at        BIGINT NOT NULL,
    PRIMARY KEY (workspace, key)
);
CREATE INDEX model_usages_of_execution ON model_usages (workspace, execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX model_usages_by_time ON model_usages (workspace, created_at);
