-- Many turns at once: what each of them writes costs no more than it must.

-- The worker that committed an event, on the first event of each commit (empty: no worker did); NULL on the others.
ALTER TABLE events ADD COLUMN committed_by TEXT;
