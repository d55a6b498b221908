-- The caller's trace, as W3C's `traceparent`: whoever drives the execution later goes on with it.
ALTER TABLE executions ADD COLUMN traceparent TEXT;

-- A workflow that came in by SQL. It becomes a revision when it is first run; until then nobody has checked it.
ALTER TABLE workflows ADD COLUMN sql_definition TEXT;
ALTER TABLE workflows ADD COLUMN sql_description TEXT;
ALTER TABLE workflows ADD COLUMN sql_version BIGINT;
-- The saved revision that it was written over: when another one has been saved since, that one counts.
ALTER TABLE workflows ADD COLUMN sql_over TEXT;
-- The revision that it became.
ALTER TABLE workflows ADD COLUMN sql_taken TEXT;
ALTER TABLE workflows ADD COLUMN sql_at BIGINT;

-- For people who ask for the last seven days. Nearly nothing to keep: one entry for 128 pages.
CREATE INDEX executions_by_day ON executions
    USING brin (to_timestamp(created_at::double precision / 1000)) WITH (autosummarize = on);

-- JSONB takes no U+0000; what has one is shown with U+FFFD instead.
CREATE FUNCTION windlass_json(document TEXT) RETURNS JSONB LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN strpos(document, '\u0000') = 0 THEN document::jsonb
    ELSE regexp_replace(document, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g')::jsonb END;

-- An event's content, wherever it is kept.
CREATE FUNCTION windlass_event(execution TEXT, number BIGINT) RETURNS JSONB LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT windlass_json(COALESCE(e.data, p.data)) FROM events e
    LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
    WHERE e.execution_id = execution AND e.seq = number);

-- What the store reads and writes: the name `workflows` may stand for the view below.
CREATE VIEW workflow_states AS SELECT * FROM workflows;

CREATE VIEW workflow_executions AS
SELECT e.id,
    e.workspace || '/' || e.workflow AS workflow_id,
    NULL::text AS repository_id,
    CASE
        WHEN e.status <> 'waiting' THEN e.status
        -- Only somebody outside can move it. A time comes by itself, and a lock is given back.
        WHEN e.waiting_for IS NOT NULL AND strpos(e.waiting_for, ' waits for the lock ') = 0 THEN 'paused'
        ELSE 'running'
    END AS status,
    windlass_json(e.input) AS input,
    CASE WHEN e.status = 'completed' THEN windlass_event(e.id, e.last_seq) -> 'output' END AS output,
    NULL::jsonb AS context,
    to_timestamp(e.created_at::double precision / 1000) AS started_at,
    to_timestamp(e.ended_at::double precision / 1000) AS completed_at,
    windlass_json(e.error) ->> 'message' AS error,
    e.requested_by AS triggered_by,
    NULL::text AS github_run_id,
    to_timestamp(e.created_at::double precision / 1000) AS created_at,
    to_timestamp(e.updated_at::double precision / 1000) AS updated_at,
    NULL::text AS policy_snapshot_id,
    CASE WHEN e.status = 'paused' OR e.waiting_for IS NOT NULL
        THEN jsonb_build_object('reason', e.waiting_for) END AS pause_metadata,
    e.workspace,
    e.workflow AS workflow_name,
    e.status AS state,
    e.waiting_for,
    e.ended_at - e.created_at AS duration_ms,
    e.revision,
    e.on_behalf_of,
    e.parent_id
FROM executions e;

CREATE VIEW workflow_steps AS
SELECT s.execution_id || '/' || s.step AS id,
    s.execution_id,
    s.step AS step_name,
    -- Where its topmost step stands in the document, from 0; what runs after those (`onFailure`) comes behind them.
    (SELECT COALESCE(
            (SELECT (listed.place - 1)::integer
             FROM jsonb_array_elements(document.steps) WITH ORDINALITY AS listed (step, place)
             WHERE listed.step ->> 'name' = regexp_replace(split_part(s.step, '/', 1), '[.\[].*$', '') LIMIT 1),
            jsonb_array_length(document.steps))
     FROM (SELECT windlass_json(r.document) -> 'steps' AS steps FROM executions e
           JOIN revisions r ON r.workspace = e.workspace AND r.hash = e.revision
           WHERE e.id = s.execution_id) AS document) AS step_index,
    CASE s.status
        WHEN 'waiting' THEN 'running'
        WHEN 'uncertain' THEN 'running'
        WHEN 'cancelled' THEN CASE WHEN s.attempts = 0 THEN 'skipped' ELSE 'failed' END
        ELSE s.status
    END AS status,
    (SELECT COALESCE(given.data -> 'params', given.data -> 'request' -> 'params')
     FROM (SELECT windlass_event(s.execution_id, s.params_seq) AS data) AS given) AS input,
    CASE
        WHEN s.status <> 'completed' THEN NULL
        WHEN s.output_seq IS NOT NULL THEN
            (SELECT COALESCE(told.data -> 'output', told.data -> 'resolution' -> 'output')
             FROM (SELECT windlass_event(s.execution_id, s.output_seq) AS data) AS told)
        -- The list that a `forEach` results in is written with its instances.
        ELSE (SELECT jsonb_agg(CASE WHEN i.status = 'completed' THEN
                         windlass_event(i.execution_id, i.output_seq) -> 'output' END ORDER BY length(i.step), i.step)
              FROM steps i WHERE i.execution_id = s.execution_id
                AND substr(i.step, 1, length(s.step) + 1) = s.step || '['
                AND substr(i.step, length(s.step) + 2) NOT LIKE '%]_%')
    END AS output,
    to_timestamp(s.started_at::double precision / 1000) AS started_at,
    to_timestamp(s.ended_at::double precision / 1000) AS completed_at,
    (s.ended_at - s.started_at)::integer AS duration_ms,
    windlass_json(s.error) ->> 'message' AS error,
    GREATEST(s.attempts - 1, 0)::integer AS retry_count,
    to_timestamp(s.started_at::double precision / 1000) AS created_at,
    to_timestamp(COALESCE(s.ended_at, s.started_at)::double precision / 1000) AS updated_at,
    s.tool,
    s.status AS state,
    s.attempts
FROM steps s;

-- Every workflow that was saved, run or seen, as it is now.
CREATE VIEW workflow_catalogue AS
SELECT known.workspace || '/' || known.name AS id,
    known.name,
    COALESCE(known.sql_description, known.document ->> 'description') AS description,
    known.document AS definition,
    COALESCE(known.sql_version, known.number, 1)::integer AS version,
    known.enabled,
    to_timestamp(known.created_at::double precision / 1000) AS created_at,
    to_timestamp(known.updated_at::double precision / 1000) AS updated_at,
    known.workspace,
    known.revision,
    known.source,
    known.updated_by
FROM (
    SELECT n.workspace, n.name, r.number, r.hash AS revision, w.updated_by,
        COALESCE(w.enabled, 1) <> 0 AS enabled,
        CASE WHEN w.is_sql THEN w.sql_description END AS sql_description,
        CASE WHEN w.is_sql THEN w.sql_version END AS sql_version,
        windlass_json(CASE WHEN w.is_sql THEN w.sql_definition ELSE r.document END) AS document,
        CASE WHEN w.is_sql THEN 'sql' ELSE r.source END AS source,
        LEAST(w.sql_at, (SELECT MIN(f.created_at) FROM revisions f
                         WHERE f.workspace = n.workspace AND f.workflow = n.name)) AS created_at,
        GREATEST(w.updated_at, r.created_at) AS updated_at
    FROM (SELECT workspace, workflow AS name FROM revisions
          UNION SELECT workspace, name FROM workflows WHERE revision IS NOT NULL OR sql_definition IS NOT NULL) AS n
    LEFT JOIN (SELECT s.*, s.sql_definition IS NOT NULL AND (s.sql_taken = s.revision
                   OR s.sql_taken IS NULL AND s.sql_over IS NOT DISTINCT FROM s.revision) AS is_sql
               FROM workflows s) AS w ON w.workspace = n.workspace AND w.name = n.name
    LEFT JOIN LATERAL (
        SELECT * FROM revisions r WHERE r.workspace = n.workspace AND r.workflow = n.name
            AND (w.revision IS NULL OR r.hash = w.revision)
        ORDER BY r.created_at DESC, r.number DESC NULLS FIRST LIMIT 1) AS r ON TRUE
) AS known;

-- How the executions of each workflow went.
CREATE VIEW workflow_execution_summary AS
SELECT e.workspace || '/' || e.workflow AS workflow_id,
    e.workspace,
    e.workflow AS workflow_name,
    COUNT(*) AS total_executions,
    COUNT(*) FILTER (WHERE e.status = 'pending') AS pending,
    COUNT(*) FILTER (WHERE e.status = 'running' OR e.status = 'waiting' AND NOT e.is_paused) AS running,
    COUNT(*) FILTER (WHERE e.status = 'paused' OR e.status = 'waiting' AND e.is_paused) AS paused,
    COUNT(*) FILTER (WHERE e.status = 'completed') AS completed,
    COUNT(*) FILTER (WHERE e.status = 'failed') AS failed,
    COUNT(*) FILTER (WHERE e.status = 'cancelled') AS cancelled,
    ROUND(100.0 * COUNT(*) FILTER (WHERE e.status = 'completed')
        / NULLIF(COUNT(*) FILTER (WHERE e.status IN ('completed', 'failed')), 0), 2) AS success_rate,
    ROUND(AVG(e.ended_at - e.created_at) FILTER (WHERE e.status = 'completed'), 1) AS avg_duration_ms,
    MIN(e.ended_at - e.created_at) FILTER (WHERE e.status = 'completed') AS min_duration_ms,
    MAX(e.ended_at - e.created_at) FILTER (WHERE e.status = 'completed') AS max_duration_ms,
    to_timestamp(MAX(e.created_at)::double precision / 1000) AS last_started_at
FROM (SELECT *, COALESCE(strpos(waiting_for, ' waits for the lock ') = 0, FALSE) AS is_paused FROM executions) AS e
GROUP BY e.workspace, e.workflow;

-- How the steps of each workflow went; the instances and iterations of a step count as that step.
CREATE VIEW workflow_step_summary AS
SELECT e.workspace || '/' || e.workflow AS workflow_id,
    e.workspace,
    e.workflow AS workflow_name,
    regexp_replace(s.step, '\[\d+\]', '', 'g') AS step_name,
    MIN(s.tool) AS tool,
    COUNT(*) AS total_steps,
    COUNT(*) FILTER (WHERE s.status = 'completed') AS completed,
    COUNT(*) FILTER (WHERE s.status = 'failed' OR s.status = 'cancelled' AND 0 < s.attempts) AS failed,
    COUNT(*) FILTER (WHERE s.status = 'skipped' OR s.status = 'cancelled' AND s.attempts = 0) AS skipped,
    COUNT(*) FILTER (WHERE s.status IN ('running', 'waiting', 'uncertain')) AS running,
    SUM(GREATEST(s.attempts - 1, 0))::bigint AS retries,
    ROUND(AVG(s.ended_at - s.started_at) FILTER (WHERE s.status = 'completed'), 1) AS avg_duration_ms,
    MIN(s.ended_at - s.started_at) FILTER (WHERE s.status = 'completed') AS min_duration_ms,
    MAX(s.ended_at - s.started_at) FILTER (WHERE s.status = 'completed') AS max_duration_ms
FROM steps s JOIN executions e ON e.id = s.execution_id
GROUP BY e.workspace, e.workflow, regexp_replace(s.step, '\[\d+\]', '', 'g');

-- The newest twenty executions of each workflow, however many there are.
CREATE VIEW workflow_recent_runs AS
SELECT e.id AS execution_id, e.workflow_id, e.workspace, e.workflow_name, e.status, e.started_at, e.completed_at,
    e.duration_ms, e.error, e.triggered_by, steps.total_steps, steps.completed_steps, steps.failed_steps
FROM (SELECT DISTINCT workspace, workflow FROM revisions) AS w
CROSS JOIN LATERAL (SELECT id FROM executions r WHERE r.workspace = w.workspace AND r.workflow = w.workflow
                    ORDER BY r.created_at DESC LIMIT 20) AS newest
JOIN workflow_executions e ON e.id = newest.id
CROSS JOIN LATERAL (
    SELECT COUNT(*) AS total_steps,
        COUNT(*) FILTER (WHERE s.status = 'completed') AS completed_steps,
        COUNT(*) FILTER (WHERE s.status = 'failed') AS failed_steps
    FROM steps s WHERE s.execution_id = newest.id) AS steps;

-- `workflows` is a table that the release before this one reads and writes, so the view of that name has a schema of
-- its own, which comes first for everybody who connects from now on. That release, where it connects anew, would find
-- the view: it is shown nothing that it would read otherwise, so that what it needs is there, and the rest fails
-- openly. `ALTER DATABASE … RESET search_path` gives it back everything.
CREATE SCHEMA windlass_views;
GRANT USAGE ON SCHEMA windlass_views TO PUBLIC;

CREATE VIEW windlass_views.workflows AS
SELECT * FROM workflow_catalogue c
WHERE current_setting('application_name') <> 'windlass' OR NOT c.enabled
    OR EXISTS (SELECT FROM workflows w WHERE w.workspace = c.workspace AND w.name = c.name AND w.revision IS NOT NULL);

CREATE FUNCTION windlass_views.write_workflow() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
    now_ms BIGINT := floor(extract(epoch FROM clock_timestamp()) * 1000);
    known workflows;
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a workflow has a history and is not deleted'
            USING HINT = 'UPDATE workflows SET enabled = FALSE: then it is not started any more.';
    END IF;
    NEW.workspace := COALESCE(NEW.workspace, 'default');
    IF TG_OP = 'UPDATE' AND (NEW.name IS DISTINCT FROM OLD.name OR NEW.workspace <> OLD.workspace) THEN
        RAISE EXCEPTION 'a workflow keeps its name and its workspace'
            USING HINT = 'INSERT it under the other name, and set enabled = FALSE for this one.';
    END IF;
    IF NEW.name IS NULL OR NEW.definition IS NULL THEN
        RAISE not_null_violation USING MESSAGE = 'a workflow needs a name and a definition';
    END IF;
    IF jsonb_typeof(NEW.definition) <> 'object' THEN
        RAISE check_violation USING MESSAGE = 'the definition of a workflow is a JSON object: {"steps": [...]}';
    END IF;
    INSERT INTO workflows (workspace, name, revision, enabled, updated_at, updated_by)
        VALUES (NEW.workspace, NEW.name, NULL, 1, now_ms, 'sql:' || session_user)
        ON CONFLICT (workspace, name) DO UPDATE SET name = excluded.name;
    SELECT * INTO STRICT known FROM workflows WHERE workspace = NEW.workspace AND name = NEW.name FOR UPDATE;
    IF TG_OP = 'INSERT' AND (known.revision IS NOT NULL OR known.sql_definition IS NOT NULL) THEN
        RAISE unique_violation USING MESSAGE = format('a workflow %L is there already', NEW.name),
            HINT = 'UPDATE workflows SET definition = ... WHERE name = ...: that makes a new revision.';
    END IF;
    UPDATE workflows SET enabled = COALESCE(NEW.enabled, TRUE)::integer, updated_at = now_ms,
        updated_by = 'sql:' || session_user WHERE workspace = NEW.workspace AND name = NEW.name;
    IF TG_OP = 'INSERT' OR NEW.definition IS DISTINCT FROM OLD.definition
        OR NEW.description IS DISTINCT FROM OLD.description OR NEW.version IS DISTINCT FROM OLD.version THEN
        UPDATE workflows SET sql_definition = NEW.definition::text, sql_description = NEW.description,
            sql_version = COALESCE(NEW.version, 1), sql_over = known.revision, sql_taken = NULL,
            sql_at = COALESCE(sql_at, now_ms)
        WHERE workspace = NEW.workspace AND name = NEW.name;
    END IF;
    SELECT c.id, c.version, c.enabled, c.created_at, c.updated_at, c.revision, c.source, c.updated_by
        INTO NEW.id, NEW.version, NEW.enabled, NEW.created_at, NEW.updated_at, NEW.revision, NEW.source, NEW.updated_by
        FROM workflow_catalogue c WHERE c.workspace = NEW.workspace AND c.name = NEW.name;
    RETURN NEW;
END $$;

CREATE TRIGGER write_workflow INSTEAD OF INSERT OR UPDATE OR DELETE ON windlass_views.workflows
    FOR EACH ROW EXECUTE FUNCTION windlass_views.write_workflow();

-- Who chose a path in the address of the database chooses it still.
DO $$
DECLARE
    path TEXT := current_setting('search_path');
BEGIN
    IF (SELECT source IN ('client', 'session') FROM pg_settings WHERE name = 'search_path') THEN
        RETURN;
    END IF;
    IF pg_has_role(current_user, (SELECT datdba FROM pg_database WHERE datname = current_database()), 'USAGE') THEN
        EXECUTE format('ALTER DATABASE %I SET search_path = windlass_views, %s', current_database(), path);
    ELSE
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = windlass_views, %s',
            current_user, current_database(), path);
    END IF;
END $$;
