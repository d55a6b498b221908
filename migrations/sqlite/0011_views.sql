-- The caller's trace, as W3C's `traceparent`: whoever drives the execution later goes on with it.
ALTER TABLE executions ADD COLUMN traceparent TEXT;

-- As on Postgres, where workflows come in by SQL too.
ALTER TABLE workflows ADD COLUMN sql_definition TEXT;
ALTER TABLE workflows ADD COLUMN sql_description TEXT;
ALTER TABLE workflows ADD COLUMN sql_version BIGINT;
ALTER TABLE workflows ADD COLUMN sql_over TEXT;
ALTER TABLE workflows ADD COLUMN sql_taken TEXT;
ALTER TABLE workflows ADD COLUMN sql_at BIGINT;

-- The views of Postgres, to read: times as ISO 8601, JSON as text. `workflows` is the store's own table here, so the
-- view of workflows is `workflow_catalogue`.
CREATE VIEW workflow_executions AS
SELECT e.id,
    e.workspace || '/' || e.workflow AS workflow_id,
    NULL AS repository_id,
    CASE
        WHEN e.status <> 'waiting' THEN e.status
        WHEN e.waiting_for IS NOT NULL AND instr(e.waiting_for, ' waits for the lock ') = 0 THEN 'paused'
        ELSE 'running'
    END AS status,
    e.input,
    CASE WHEN e.status = 'completed' THEN
        (SELECT COALESCE(v.data, p.data) -> '$.output' FROM events v
         LEFT JOIN payloads p ON p.execution_id = v.execution_id AND p.seq = v.seq
         WHERE v.execution_id = e.id AND v.seq = e.last_seq) END AS output,
    NULL AS context,
    strftime('%Y-%m-%dT%H:%M:%fZ', e.created_at / 1000.0, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', e.ended_at / 1000.0, 'unixepoch') AS completed_at,
    e.error ->> '$.message' AS error,
    e.requested_by AS triggered_by,
    NULL AS github_run_id,
    strftime('%Y-%m-%dT%H:%M:%fZ', e.created_at / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', e.updated_at / 1000.0, 'unixepoch') AS updated_at,
    NULL AS policy_snapshot_id,
    CASE WHEN e.status = 'paused' OR e.waiting_for IS NOT NULL
        THEN json_object('reason', e.waiting_for) END AS pause_metadata,
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
    (SELECT COALESCE(
            (SELECT listed.key FROM json_each(r.document, '$.steps') AS listed
             WHERE listed.value ->> '$.name' = top.name LIMIT 1),
            json_array_length(r.document, '$.steps'))
     FROM executions e
     JOIN revisions r ON r.workspace = e.workspace AND r.hash = e.revision
     JOIN (SELECT substr(part, 1, MIN(instr(part || '[', '['), instr(part || '.', '.')) - 1) AS name
           FROM (SELECT substr(s.step, 1, instr(s.step || '/', '/') - 1) AS part)) AS top
     WHERE e.id = s.execution_id) AS step_index,
    CASE s.status
        WHEN 'waiting' THEN 'running'
        WHEN 'uncertain' THEN 'running'
        WHEN 'cancelled' THEN CASE WHEN s.attempts = 0 THEN 'skipped' ELSE 'failed' END
        ELSE s.status
    END AS status,
    (SELECT COALESCE(COALESCE(v.data, p.data) -> '$.params', COALESCE(v.data, p.data) -> '$.request.params')
     FROM events v LEFT JOIN payloads p ON p.execution_id = v.execution_id AND p.seq = v.seq
     WHERE v.execution_id = s.execution_id AND v.seq = s.params_seq) AS input,
    CASE
        WHEN s.status <> 'completed' THEN NULL
        WHEN s.output_seq IS NOT NULL THEN
            (SELECT COALESCE(COALESCE(v.data, p.data) -> '$.output', COALESCE(v.data, p.data) -> '$.resolution.output')
             FROM events v LEFT JOIN payloads p ON p.execution_id = v.execution_id AND p.seq = v.seq
             WHERE v.execution_id = s.execution_id AND v.seq = s.output_seq)
        ELSE (SELECT CASE WHEN 0 < COUNT(*) THEN json_group_array(json(told)) END FROM (
              SELECT COALESCE(v.data, p.data) -> '$.output' AS told FROM steps i
              LEFT JOIN events v ON v.execution_id = i.execution_id AND v.seq = i.output_seq AND i.status = 'completed'
              LEFT JOIN payloads p ON p.execution_id = v.execution_id AND p.seq = v.seq
              WHERE i.execution_id = s.execution_id AND substr(i.step, 1, length(s.step) + 1) = s.step || '['
                AND substr(i.step, length(s.step) + 2) NOT LIKE '%]_%'
              ORDER BY length(i.step), i.step))
    END AS output,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.started_at / 1000.0, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.ended_at / 1000.0, 'unixepoch') AS completed_at,
    s.ended_at - s.started_at AS duration_ms,
    s.error ->> '$.message' AS error,
    MAX(s.attempts - 1, 0) AS retry_count,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.started_at / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', COALESCE(s.ended_at, s.started_at) / 1000.0, 'unixepoch') AS updated_at,
    s.tool,
    s.status AS state,
    s.attempts
FROM steps s;

CREATE VIEW workflow_catalogue AS
SELECT n.workspace || '/' || n.name AS id,
    n.name,
    r.document ->> '$.description' AS description,
    r.document AS definition,
    COALESCE(r.number, 1) AS version,
    COALESCE(w.enabled, 1) AS enabled,
    strftime('%Y-%m-%dT%H:%M:%fZ', (SELECT MIN(f.created_at) FROM revisions f
        WHERE f.workspace = n.workspace AND f.workflow = n.name) / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', MAX(COALESCE(w.updated_at, 0), r.created_at) / 1000.0, 'unixepoch') AS updated_at,
    n.workspace,
    r.hash AS revision,
    r.source,
    w.updated_by
FROM (SELECT DISTINCT workspace, workflow AS name FROM revisions) AS n
LEFT JOIN workflows w ON w.workspace = n.workspace AND w.name = n.name
JOIN revisions r ON r.workspace = n.workspace AND r.hash = COALESCE(w.revision, (
    SELECT hash FROM revisions f WHERE f.workspace = n.workspace AND f.workflow = n.name
    ORDER BY f.created_at DESC, f.number IS NULL DESC, f.number DESC LIMIT 1));

CREATE VIEW workflow_execution_summary AS
SELECT e.workspace || '/' || e.workflow AS workflow_id,
    e.workspace,
    e.workflow AS workflow_name,
    COUNT(*) AS total_executions,
    COUNT(*) FILTER (WHERE e.status = 'pending') AS pending,
    COUNT(*) FILTER (WHERE e.status = 'running' OR e.status = 'waiting' AND NOT (e.waiting_for IS NOT NULL AND instr(e.waiting_for, ' waits for the lock ') = 0)) AS running,
    COUNT(*) FILTER (WHERE e.status = 'paused' OR e.status = 'waiting' AND e.waiting_for IS NOT NULL AND instr(e.waiting_for, ' waits for the lock ') = 0) AS paused,
    COUNT(*) FILTER (WHERE e.status = 'completed') AS completed,
    COUNT(*) FILTER (WHERE e.status = 'failed') AS failed,
    COUNT(*) FILTER (WHERE e.status = 'cancelled') AS cancelled,
    ROUND(100.0 * COUNT(*) FILTER (WHERE e.status = 'completed')
        / NULLIF(COUNT(*) FILTER (WHERE e.status IN ('completed', 'failed')), 0), 2) AS success_rate,
    ROUND(AVG(e.ended_at - e.created_at) FILTER (WHERE e.status = 'completed'), 1) AS avg_duration_ms,
    MIN(e.ended_at - e.created_at) FILTER (WHERE e.status = 'completed') AS min_duration_ms,
    MAX(e.ended_at - e.created_at) FILTER (WHERE e.status = 'completed') AS max_duration_ms,
    strftime('%Y-%m-%dT%H:%M:%fZ', MAX(e.created_at) / 1000.0, 'unixepoch') AS last_started_at
FROM executions e
GROUP BY e.workspace, e.workflow;

CREATE VIEW workflow_step_summary AS
SELECT e.workspace || '/' || e.workflow AS workflow_id,
    e.workspace,
    e.workflow AS workflow_name,
    s.name AS step_name,
    MIN(s.tool) AS tool,
    COUNT(*) AS total_steps,
    COUNT(*) FILTER (WHERE s.status = 'completed') AS completed,
    COUNT(*) FILTER (WHERE s.status = 'failed' OR s.status = 'cancelled' AND 0 < s.attempts) AS failed,
    COUNT(*) FILTER (WHERE s.status = 'skipped' OR s.status = 'cancelled' AND s.attempts = 0) AS skipped,
    COUNT(*) FILTER (WHERE s.status IN ('running', 'waiting', 'uncertain')) AS running,
    SUM(MAX(s.attempts - 1, 0)) AS retries,
    ROUND(AVG(s.ended_at - s.started_at) FILTER (WHERE s.status = 'completed'), 1) AS avg_duration_ms,
    MIN(s.ended_at - s.started_at) FILTER (WHERE s.status = 'completed') AS min_duration_ms,
    MAX(s.ended_at - s.started_at) FILTER (WHERE s.status = 'completed') AS max_duration_ms
FROM (SELECT steps.*, (
          WITH RECURSIVE cut (rest) AS (
              SELECT steps.step
              UNION ALL SELECT substr(rest, 1, instr(rest, '[') - 1) || substr(rest, instr(rest, ']') + 1)
              FROM cut WHERE 0 < instr(rest, '['))
          SELECT rest FROM cut WHERE instr(rest, '[') = 0) AS name
      FROM steps) AS s
JOIN executions e ON e.id = s.execution_id
GROUP BY e.workspace, e.workflow, s.name;

CREATE VIEW workflow_recent_runs AS
SELECT e.id AS execution_id, e.workflow_id, e.workspace, e.workflow_name, e.status, e.started_at, e.completed_at,
    e.duration_ms, e.error, e.triggered_by,
    (SELECT COUNT(*) FROM steps s WHERE s.execution_id = e.id) AS total_steps,
    (SELECT COUNT(*) FROM steps s WHERE s.execution_id = e.id AND s.status = 'completed') AS completed_steps,
    (SELECT COUNT(*) FROM steps s WHERE s.execution_id = e.id AND s.status = 'failed') AS failed_steps
FROM (SELECT DISTINCT workspace, workflow FROM revisions) AS w
JOIN workflow_executions e ON e.id IN (
    SELECT r.id FROM executions r WHERE r.workspace = w.workspace AND r.workflow = w.workflow
    ORDER BY r.created_at DESC LIMIT 20);
