-- A revision has a number among those of its workflow, and an author. An execution that starts writes neither: they
-- are filled in, in the order in which the rows came, when somebody asks for the revisions.
ALTER TABLE revisions ADD COLUMN number BIGINT;
ALTER TABLE revisions ADD COLUMN author TEXT;
ALTER TABLE revisions ADD COLUMN on_behalf_of TEXT;
ALTER TABLE revisions ADD COLUMN comment TEXT;
CREATE UNIQUE INDEX revisions_numbered ON revisions (workspace, workflow, number);

-- What is known of a workflow beside its documents: which revision is the saved one (NULL for one that lives in a
-- file or ships with the program), and whether it may be started.
CREATE TABLE workflows (
    workspace  TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    revision   TEXT,
    enabled    BIGINT NOT NULL DEFAULT 1,
    updated_at BIGINT NOT NULL,
    updated_by TEXT   NOT NULL,
    PRIMARY KEY (workspace, name)
);

-- A tool as its server described it, kept once however many revisions are pinned to it.
CREATE TABLE tool_snapshots (
    workspace TEXT NOT NULL,
    digest    TEXT NOT NULL,
    tool      TEXT NOT NULL,
    PRIMARY KEY (workspace, digest)
);

-- Which tool a revision was pinned to.
CREATE TABLE pins (
    workspace TEXT   NOT NULL,
    revision  TEXT   NOT NULL,
    -- As the workflow names it: server.tool.
    tool      TEXT   NOT NULL,
    digest    TEXT   NOT NULL,
    pinned_at BIGINT NOT NULL,
    pinned_by TEXT   NOT NULL,
    -- What was found in its place when it was last looked at; NULL while that is the same, empty when it was gone.
    seen      TEXT,
    seen_at   BIGINT,
    PRIMARY KEY (workspace, revision, tool)
);
