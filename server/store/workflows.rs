//! Saved workflows, their revisions, and the tools that revisions are pinned to.

use super::{
    Error, Result, Store,
    db::{Sql, Tx, args},
};

/// A statement about the table `workflows`, between whose halves its name stands. On Postgres that name belongs to the
/// view for people; the table is reached through another one.
macro_rules! about_workflows {
    ($before:literal, $after:literal) => {
        Sql::Each {
            sqlite: concat!($before, "workflows", $after),
            postgres: concat!($before, "workflow_states", $after),
        }
    };
}

/// How often two who write at the same moment try again: one of them always gets through.
const TRIES: usize = 8;

/// A revision that is about to be written.
pub struct NewRevision<'n> {
    /// The content's hash.
    pub hash: &'n str,
    /// The workflow's name.
    pub workflow: &'n str,
    /// The document as JSON.
    pub document: &'n str,
    /// Where it came from.
    pub source: &'n str,
    /// Who wrote it.
    pub author: &'n str,
    /// The person or system the author acts for.
    pub on_behalf_of: Option<&'n str>,
    /// Why.
    pub comment: Option<&'n str>,
}

/// What became of a wish to save.
#[derive(Clone, Debug, PartialEq)]
pub enum Saving {
    /// It is the saved revision now.
    Saved {
        /// Its number.
        number: i64,
        /// Whether this content was not known before.
        is_new: bool,
    },
    /// Another revision is the saved one than was expected; `None` when there is none.
    Conflict(Option<RevisionRow>),
}

/// A revision as its row has it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct RevisionRow {
    /// The content's hash.
    pub hash: String,
    /// Counted from 1 for each workflow.
    pub number: i64,
    /// Who wrote it.
    pub author: String,
    /// The person or system the author acted for.
    pub on_behalf_of: Option<String>,
    /// Why.
    pub comment: Option<String>,
    /// Where it came from.
    pub source: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
}

/// What is known of a workflow beside its documents.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct WorkflowRow {
    /// Its name.
    pub name: String,
    /// The hash of the saved revision; `None` when it lives in a file or ships with the program.
    pub revision: Option<String>,
    /// 0: it may not be started.
    pub enabled: i64,
    /// Milliseconds since 1970.
    pub updated_at: i64,
    /// Who saved it or switched it on or off.
    pub updated_by: String,
    /// What came in by SQL and is no revision yet, as JSON.
    pub sql_definition: Option<String>,
    /// The description that came with it.
    pub sql_description: Option<String>,
}

impl WorkflowRow {
    /// What a run depends on, in a text that is another one as soon as any of it is: `STANDING` of a row that may not
    /// be there.
    #[must_use]
    pub fn standing(row: Option<&WorkflowRow>) -> String {
        let Some(row) = row else { return String::new() };
        let pending = if row.sql_definition.is_some() { " sql" } else { "" };
        format!("{} {}{pending}", row.enabled, row.revision.as_deref().unwrap_or_default())
    }
}

/// A pin as its row has it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct PinRow {
    /// The revision's hash.
    pub revision: String,
    /// `server.tool`, as the workflow names it.
    pub tool: String,
    /// The digest of the tool it was pinned to.
    pub digest: String,
    /// The digest of what was found in its place; `None` while that is the same, empty when it was gone.
    pub seen: Option<String>,
}

const REVISIONS: &str =
    "SELECT hash, number, author, on_behalf_of, comment, source, created_at FROM revisions
    WHERE workspace = $1 AND workflow = $2 AND number IS NOT NULL ORDER BY number DESC";

// What came in by SQL counts until it is a revision, or another one has been saved in its place.
macro_rules! is_pending {
    () => {
        "sql_definition IS NOT NULL AND sql_taken IS NULL AND COALESCE(sql_over, '') = COALESCE(revision, '')"
    };
}

macro_rules! standing {
    ($table:literal) => {
        concat!(
            "COALESCE((SELECT CAST(enabled AS TEXT) || ' ' || COALESCE(revision, '') || CASE WHEN ",
            is_pending!(),
            " THEN ' sql' ELSE '' END FROM ",
            $table,
            " w WHERE w.workspace = r.workspace AND w.name = r.workflow), '')"
        )
    };
}

/// How the workflow of an execution's row `r` stands, as [`WorkflowRow::standing`] has it.
pub(super) const STANDING: [&str; 2] = [standing!("workflows"), standing!("workflow_states")];

macro_rules! workflows_where {
    ($sqlite:literal, $postgres:literal) => {
        Sql::Each {
            sqlite: workflows_where!(in "workflows", $sqlite),
            postgres: workflows_where!(in "workflow_states", $postgres),
        }
    };
    (in $table:literal, $which:literal) => {
        concat!(
            "SELECT name, revision, enabled, updated_at, updated_by,
                 CASE WHEN ",
            is_pending!(),
            " THEN sql_definition END AS sql_definition,
                 sql_description FROM ",
            $table,
            " WHERE ",
            $which
        )
    };
}

const WORKFLOWS: Sql = workflows_where!("workspace = $1", "workspace = $1");

const WORKFLOW: Sql =
    workflows_where!("name = $1 AND workspace = $2", "name = $1 AND workspace = $2");

/// Workflows of a workspace by their names.
pub(super) const BY_NAME: Sql = workflows_where!(
    "name IN (SELECT value FROM json_each($1)) AND workspace = $2",
    "name = ANY($1::TEXT[]) AND workspace = $2"
);

// Whoever comes second waits here, and sees what the first one wrote.
const LOCK: Sql = about_workflows!(
    "INSERT INTO ",
    " (workspace, name, revision, enabled, updated_at, updated_by) VALUES ($1, $2, NULL, 1, $3, $4)
     ON CONFLICT (workspace, name) DO UPDATE SET name = excluded.name"
);

const SAVE: Sql = about_workflows!(
    "UPDATE ",
    " SET revision = $1, updated_at = $2, updated_by = $3, sql_definition = NULL, sql_taken = NULL
     WHERE workspace = $4 AND name = $5"
);

const TAKE_IN: Sql = about_workflows!(
    "UPDATE ",
    " SET revision = $1, sql_taken = $1 WHERE workspace = $2 AND name = $3"
);

const SET_ENABLED: Sql = about_workflows!(
    "INSERT INTO ",
    " (workspace, name, revision, enabled, updated_at, updated_by) VALUES ($1, $2, NULL, $3, $4, $5)
     ON CONFLICT (workspace, name) DO UPDATE SET
         enabled = excluded.enabled, updated_at = excluded.updated_at, updated_by = excluded.updated_by"
);

const SAVED_REVISION: Sql = about_workflows!(
    "SELECT r.hash, r.number, r.author, r.on_behalf_of, r.comment, r.source, r.created_at FROM ",
    " w JOIN revisions r ON r.workspace = w.workspace AND r.hash = w.revision
     WHERE w.workspace = $1 AND w.name = $2"
);

impl Store {
    /// Makes a document the saved revision of its workflow. The same content twice is one revision. With `expected`,
    /// only if that is the number of the saved revision so far; 0 stands for none.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn save_workflow(
        &self,
        new: &NewRevision<'_>,
        expected: Option<i64>,
    ) -> Result<Saving> {
        for _ in 1..TRIES {
            match self.try_save_workflow(new, expected).await {
                Err(err) if is_taken(&err) => {}
                other => return other,
            }
        }
        self.try_save_workflow(new, expected).await
    }

    async fn try_save_workflow(
        &self,
        new: &NewRevision<'_>,
        expected: Option<i64>,
    ) -> Result<Saving> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        tx.execute(LOCK, args![&*self.workspace, new.workflow, now, new.author]).await?;
        self.number_revisions(&mut tx, new.workflow).await?;
        let current = self.saved_revision(&mut tx, new.workflow).await?;
        let number = current.as_ref().map_or(0, |row| row.number);
        if expected.is_some_and(|expected| expected != number) {
            return Ok(Saving::Conflict(current));
        }
        let (number, is_new) = self.insert_revision(&mut tx, new, now).await?;
        let row = args![new.hash, now, new.author, &*self.workspace, new.workflow];
        tx.execute(SAVE, row).await?;
        tx.commit().await?;
        Ok(Saving::Saved { number, is_new })
    }

    /// Makes what came in by SQL the saved revision of its workflow, unless it is another definition by now: then
    /// nothing is written, and the answer is no.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn take_in(&self, new: &NewRevision<'_>, definition: &str) -> Result<bool> {
        for _ in 1..TRIES {
            match self.try_take_in(new, definition).await {
                Err(err) if is_taken(&err) => {}
                other => return other,
            }
        }
        self.try_take_in(new, definition).await
    }

    async fn try_take_in(&self, new: &NewRevision<'_>, definition: &str) -> Result<bool> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        tx.execute(LOCK, args![&*self.workspace, new.workflow, now, new.author]).await?;
        let row: Option<WorkflowRow> =
            tx.optional(WORKFLOW, args![new.workflow, &*self.workspace]).await?;
        if row.and_then(|row| row.sql_definition).as_deref() != Some(definition) {
            return Ok(false);
        }
        self.number_revisions(&mut tx, new.workflow).await?;
        self.insert_revision(&mut tx, new, now).await?;
        tx.execute(TAKE_IN, args![new.hash, &*self.workspace, new.workflow]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Remembers a revision that was seen in a file; what is known already stays as it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_revision(&self, new: &NewRevision<'_>) -> Result<()> {
        let known = "SELECT hash FROM revisions WHERE workspace = $1 AND hash = $2";
        let row: Option<(String,)> =
            self.db.optional(known, args![&*self.workspace, new.hash]).await?;
        if row.is_some() {
            return Ok(());
        }
        let now = self.now();
        let mut tx = self.db.begin().await?;
        self.write_revision(&mut tx, new, None, now).await?;
        Ok(tx.commit().await?)
    }

    /// Every revision of a workflow, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revisions(&self, workflow: &str) -> Result<Vec<RevisionRow>> {
        let unnumbered = "SELECT COUNT(*) FROM revisions
                          WHERE workspace = $1 AND workflow = $2 AND number IS NULL";
        let args = args![&*self.workspace, workflow];
        let row: Option<(i64,)> = self.db.optional(unnumbered, args).await?;
        for _ in 0..TRIES {
            if row.is_none_or(|(count,)| count == 0) {
                break;
            }
            let mut tx = self.db.begin().await?;
            match self.number_revisions(&mut tx, workflow).await {
                Err(err) if is_taken(&err) => {}
                numbered => {
                    numbered?;
                    tx.commit().await?;
                    break;
                }
            }
        }
        Ok(self.db.all(REVISIONS, args).await?)
    }

    /// What is known of every workflow that was saved, or switched on or off.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workflows(&self) -> Result<Vec<WorkflowRow>> {
        Ok(self.db.all(WORKFLOWS, args![&*self.workspace]).await?)
    }

    /// What is known of one workflow.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workflow(&self, name: &str) -> Result<Option<WorkflowRow>> {
        self.reads.workflows.get(name).await
    }

    /// Says whether a workflow may be started.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_enabled(&self, name: &str, enabled: bool, by: &str) -> Result<()> {
        let mut tx = self.db.begin().await?;
        tx.execute(SET_ENABLED, args![&*self.workspace, name, enabled, self.now(), by]).await?;
        Ok(tx.commit().await?)
    }

    /// Pins a revision to a tool, unless it is pinned already or `renew` says that the new one counts.
    /// `snapshot` is the tool as JSON.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pin(&self, pin: &NewPin<'_>) -> Result<()> {
        let mut tx = self.db.begin().await?;
        self.keep_snapshot(&mut tx, pin.digest, pin.snapshot).await?;
        let sql = if pin.renew {
            "INSERT INTO pins (workspace, revision, tool, digest, pinned_at, pinned_by) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (workspace, revision, tool) DO UPDATE SET digest = excluded.digest,
                 pinned_at = excluded.pinned_at, pinned_by = excluded.pinned_by, seen = NULL, seen_at = NULL"
        } else {
            "INSERT INTO pins (workspace, revision, tool, digest, pinned_at, pinned_by) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT DO NOTHING"
        };
        let now = self.now();
        let row = args![&*self.workspace, pin.revision, pin.tool, pin.digest, now, pin.by];
        tx.execute(sql, row).await?;
        Ok(tx.commit().await?)
    }

    /// The tool that a revision is pinned to, as JSON, and the digest of what was seen in its place last (see
    /// [`PinRow::seen`]); `None` when it is pinned to none yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pinned(
        &self,
        revision: &str,
        tool: &str,
    ) -> Result<Option<(String, Option<String>)>> {
        let sql = "SELECT s.tool, p.seen FROM pins p
                   JOIN tool_snapshots s ON s.workspace = p.workspace AND s.digest = p.digest
                   WHERE p.workspace = $1 AND p.revision = $2 AND p.tool = $3";
        Ok(self.db.optional(sql, args![&*self.workspace, revision, tool]).await?)
    }

    /// Remembers what was found in the place of a pinned tool: another one (its digest and JSON), none (two empty
    /// texts), or the same as ever (`None`).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn saw(&self, revision: &str, tool: &str, seen: Option<(&str, &str)>) -> Result<()> {
        let mut tx = self.db.begin().await?;
        if let Some((digest, snapshot)) = seen.filter(|(digest, _)| !digest.is_empty()) {
            self.keep_snapshot(&mut tx, digest, snapshot).await?;
        }
        let sql = "UPDATE pins SET seen = $1, seen_at = $2 WHERE workspace = $3 AND revision = $4 AND tool = $5";
        let digest = seen.map(|(digest, _)| digest);
        tx.execute(sql, args![digest, self.now(), &*self.workspace, revision, tool]).await?;
        Ok(tx.commit().await?)
    }

    /// The pins of a revision, or of every revision.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pins(&self, revision: Option<&str>) -> Result<Vec<PinRow>> {
        const ALL: &str =
            "SELECT revision, tool, digest, seen FROM pins WHERE workspace = $1 ORDER BY tool";
        const OF: &str = "SELECT revision, tool, digest, seen FROM pins WHERE workspace = $1 AND revision = $2 ORDER BY tool";
        Ok(match revision {
            Some(revision) => self.db.all(OF, args![&*self.workspace, revision]).await?,
            None => self.db.all(ALL, args![&*self.workspace]).await?,
        })
    }

    /// A tool as it was when something was pinned to it, or when it was seen, as JSON.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tool_snapshot(&self, digest: &str) -> Result<Option<String>> {
        let sql = "SELECT tool FROM tool_snapshots WHERE workspace = $1 AND digest = $2";
        let row: Option<(String,)> = self.db.optional(sql, args![&*self.workspace, digest]).await?;
        Ok(row.map(|(tool,)| tool))
    }

    async fn keep_snapshot(&self, tx: &mut Tx, digest: &str, snapshot: &str) -> Result<()> {
        let sql = "INSERT INTO tool_snapshots (workspace, digest, tool) VALUES ($1, $2, $3)
                   ON CONFLICT DO NOTHING";
        tx.execute(sql, args![&*self.workspace, digest, snapshot]).await?;
        Ok(())
    }

    async fn saved_revision(&self, tx: &mut Tx, workflow: &str) -> Result<Option<RevisionRow>> {
        Ok(tx.optional(SAVED_REVISION, args![&*self.workspace, workflow]).await?)
    }

    /// Its number, and whether it was not there before.
    async fn insert_revision(
        &self,
        tx: &mut Tx,
        new: &NewRevision<'_>,
        now: i64,
    ) -> Result<(i64, bool)> {
        let known = "SELECT number FROM revisions WHERE workspace = $1 AND hash = $2";
        let row: Option<(Option<i64>,)> =
            tx.optional(known, args![&*self.workspace, new.hash]).await?;
        if let Some((Some(number),)) = row {
            return Ok((number, false));
        }
        let number = self.highest_number(tx, new.workflow).await? + 1;
        self.write_revision(tx, new, Some(number), now).await?;
        Ok((number, true))
    }

    async fn write_revision(
        &self,
        tx: &mut Tx,
        new: &NewRevision<'_>,
        number: Option<i64>,
        now: i64,
    ) -> Result<()> {
        let sql = "INSERT INTO revisions
                       (workspace, hash, workflow, document, source, created_at, number, author, on_behalf_of, comment)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (workspace, hash) DO NOTHING";
        let NewRevision { hash, workflow, document, source, author, on_behalf_of, comment } = *new;
        let row = args![
            &*self.workspace,
            hash,
            workflow,
            document,
            source,
            now,
            number,
            author,
            on_behalf_of,
            comment
        ];
        tx.execute(sql, row).await?;
        Ok(())
    }

    /// Gives the revisions that an execution, a file or an earlier release wrote their numbers, in the order in which
    /// they came, and their authors.
    async fn number_revisions(&self, tx: &mut Tx, workflow: &str) -> Result<()> {
        let sql =
            "SELECT hash FROM revisions WHERE workspace = $1 AND workflow = $2 AND number IS NULL
                   ORDER BY created_at, hash";
        let rows: Vec<(String,)> = tx.all(sql, args![&*self.workspace, workflow]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let highest = self.highest_number(tx, workflow).await?;
        for (number, (hash,)) in (highest + 1..).zip(rows) {
            let sql = "UPDATE revisions SET number = $1, author = COALESCE(author, CASE WHEN source = 'built-in'
                           THEN 'windlass' ELSE 'file' END)
                       WHERE workspace = $2 AND hash = $3 AND number IS NULL";
            tx.execute(sql, args![number, &*self.workspace, hash]).await?;
        }
        Ok(())
    }

    async fn highest_number(&self, tx: &mut Tx, workflow: &str) -> Result<i64> {
        let sql = "SELECT MAX(number) FROM revisions WHERE workspace = $1 AND workflow = $2";
        let row: Option<(Option<i64>,)> =
            tx.optional(sql, args![&*self.workspace, workflow]).await?;
        Ok(row.and_then(|(number,)| number).unwrap_or_default())
    }
}

/// A pin that is about to be written.
pub struct NewPin<'n> {
    /// The revision's hash.
    pub revision: &'n str,
    /// `server.tool`, as the workflow names it.
    pub tool: &'n str,
    /// The tool's digest.
    pub digest: &'n str,
    /// The tool as JSON.
    pub snapshot: &'n str,
    /// Who pins it.
    pub by: &'n str,
    /// Whether it takes the place of an earlier pin.
    pub renew: bool,
}

/// Whether somebody else took the same number at the same moment.
pub(super) fn is_taken(err: &Error) -> bool {
    matches!(err, Error::Database(sqlx::Error::Database(err)) if err.is_unique_violation())
}
