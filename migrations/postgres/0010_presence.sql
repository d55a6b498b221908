-- The number of the advisory lock that a worker holds for as long as its process lives; NULL where it holds none, and
-- only its leases say whether it lives.
ALTER TABLE workers ADD COLUMN lock_key BIGINT;

-- Sessions of the older protocols, so that any replica can take one up. Neither the session's id nor what its client
-- authorised itself with stands here, only digests that cannot be turned back.
CREATE TABLE sessions (
    workspace  TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    principal  TEXT   NOT NULL,
    -- What the client said of itself when it began: protocol, capabilities, name and version.
    client     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX sessions_expired ON sessions (expires_at);
