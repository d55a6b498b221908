-- Many turns at once: what each of them writes costs no more than it must.

-- The worker that committed an event, on the first event of each commit (empty: no worker did); NULL on the others.
ALTER TABLE events ADD COLUMN committed_by TEXT;

-- Rows of an execution are written only in the transaction that has just matched its own row: to have that looked up
-- again for each of them says nothing new.
ALTER TABLE events DROP CONSTRAINT events_execution_id_fkey;
ALTER TABLE payloads DROP CONSTRAINT payloads_execution_id_seq_fkey;
ALTER TABLE steps DROP CONSTRAINT steps_execution_id_fkey;
ALTER TABLE signals DROP CONSTRAINT signals_execution_id_fkey;
ALTER TABLE looks DROP CONSTRAINT looks_execution_id_fkey;

-- Both change in place a few times, soon after they are written: the new version finds room beside the old one.
ALTER TABLE executions SET (fillfactor = 70);
ALTER TABLE steps SET (fillfactor = 70);
