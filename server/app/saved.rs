//! Workflows that are saved, their revisions, and whether they may be started.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use serde_json::Value;
use windlass_engine::{Problem, Unchecked, Workflow};

use super::{
    App, Caller, Error, Validation, WorkflowView,
    catalogue::{self, Entry, Origin},
    differences::{self, Change},
    drifts::{Live, LiveTools, Look, WorkflowDrift},
    hint, start, stem,
};
use crate::store::{NewRevision, RevisionRow, Saving, WorkflowRow};

/// Where a workflow is kept that is in no file.
const SAVED: &str = "saved";

/// Where a workflow is kept that came in by SQL and has not been run yet.
const SQL: &str = "sql";

/// Whose word a file is.
const FILE: &str = "file";

/// How often a workflow may be changed by SQL while it is taken in.
const TAKES: usize = 8;

/// How few characters of a hash name a revision.
const SHORTEST_HASH: usize = 6;

/// What to save.
#[derive(Clone, Debug, Default)]
pub struct SaveRequest {
    /// The document: YAML or JSON.
    pub text: String,
    /// Where it came from, for messages.
    pub source: String,
    /// Why; kept with the revision.
    pub comment: Option<String>,
    /// Save only if this is the number of the saved revision so far; 0: only if there is none.
    pub expected_revision: Option<i64>,
    /// Check everything and write nothing.
    pub dry_run: bool,
}

/// What became of a wish to save.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Saved {
    /// The workflow's name.
    pub workflow: String,
    /// Whether it was written; not when it was only tried.
    pub saved: bool,
    /// The revision's number; none when it was only tried and is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// The revision's hash.
    pub hash: String,
    /// Whether this content was not known before.
    pub is_new: bool,
    /// What it takes the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<RevisionView>,
    /// What is different from that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// What nobody can say of the document before it runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<Unchecked>,
    /// The tools that the revision is pinned to as they are now.
    pub pinned: Vec<String>,
    /// The tools that nobody could ask about; each is pinned when it is first called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unpinned: Vec<Unpinned>,
    /// What became of the tools that this revision was pinned to before, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<WorkflowDrift>,
}

/// A tool that a revision is not pinned to yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unpinned {
    /// `server.tool`
    pub tool: String,
    /// Why.
    pub reason: String,
}

/// A revision as its callers see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RevisionView {
    /// Counted from 1 for each workflow.
    pub number: i64,
    /// The content's hash.
    pub hash: String,
    /// Who wrote it: a caller, `file`, or `windlass`.
    pub author: String,
    /// The person or system the author acted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Where it came from: a file's path, `saved`, or `built-in`.
    pub source: String,
    /// Whether a run would use it now.
    pub current: bool,
    /// Milliseconds since 1970.
    pub created_at: i64,
}

/// The revisions of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RevisionList {
    /// The workflow's name.
    pub workflow: String,
    /// The newest first.
    pub revisions: Vec<RevisionView>,
}

/// A revision with its document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RevisionDocument {
    /// The workflow's name.
    pub workflow: String,
    /// Which.
    pub revision: RevisionView,
    /// The document, keys in the order of its author.
    pub document: Value,
}

/// What is different between two revisions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RevisionDiff {
    /// The workflow's name.
    pub workflow: String,
    /// The one.
    pub from: RevisionView,
    /// The other.
    pub to: RevisionView,
    /// Which steps, inputs and keys.
    pub changes: Vec<Change>,
    /// Line by line, in the form of `diff -u`; empty when they are the same.
    pub lines: String,
}

/// What became of a wish to take tools as they are now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accepted {
    /// The workflow's name.
    pub workflow: String,
    /// The revision's hash.
    pub hash: String,
    /// Whether the pins were written; not when it was only tried.
    pub accepted: bool,
    /// What had become of the tools it was pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<WorkflowDrift>,
    /// The tools that it is pinned to as they are now.
    pub pinned: Vec<String>,
    /// The tools that nobody could ask about, or that are gone; their pins stay as they were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unpinned: Vec<Unpinned>,
}

impl App {
    /// Every workflow, broken ones with their problems; by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workflows(&self, look: Look) -> Result<Vec<WorkflowView>, Error> {
        let entries = self.entries().await?;
        let entries: Vec<&Entry> = entries.values().collect();
        for entry in &entries {
            self.note(entry).await?;
        }
        let mut drifts = self.drifts(&entries, look).await?;
        let view = |entry: &Entry| {
            let view = entry.view();
            WorkflowView { drift: drifts.remove(&view.hash), ..view }
        };
        Ok(entries.into_iter().map(view).collect())
    }

    /// One workflow.
    ///
    /// # Errors
    /// When no workflow has that name.
    pub async fn describe(&self, workflow: &str) -> Result<WorkflowView, Error> {
        self.described(&self.find(workflow).await?).await
    }

    /// Checks a document and makes it the saved revision of its workflow.
    ///
    /// # Errors
    /// Every problem of the document; a file of that name, which would win; another saved revision than expected.
    pub async fn save(&self, caller: &Caller, request: SaveRequest) -> Result<Saved, Error> {
        let (workflow, unchecked) = self.checked(&request.text, &request.source).await?;
        self.refuse_where_a_file_wins(&workflow.name)?;
        let known = self.inner.store.revisions(&workflow.name).await?;
        let row = self.inner.store.workflow(&workflow.name).await?;
        let current = row.as_ref().and_then(|row| row.revision.as_deref());
        let previous = known.iter().find(|known| Some(known.hash.as_str()) == current);
        check_expected(&workflow.name, request.expected_revision, previous)?;
        let replaced = previous.filter(|previous| previous.hash != workflow.hash);
        let changes = match replaced {
            None => Vec::new(),
            Some(replaced) => {
                differences::changes(&self.document(&replaced.hash).await?, &workflow.document)
            }
        };
        let revision = known.iter().find(|known| known.hash == workflow.hash);
        let tools = self.live_tools(&workflow).await;
        let mut saved = Saved {
            workflow: workflow.name.clone(),
            saved: false,
            revision: revision.map(|revision| revision.number),
            hash: workflow.hash.clone(),
            is_new: revision.is_none(),
            previous: replaced.map(|replaced| shown(replaced, current)),
            changes,
            unchecked,
            pinned: Vec::new(),
            unpinned: unpinned(&tools),
            drift: None,
        };
        if request.dry_run {
            saved.pinned = is_there(&tools);
            return Ok(saved);
        }
        let new = NewRevision {
            hash: &workflow.hash,
            workflow: &workflow.name,
            document: &workflow.document.to_string(),
            source: SAVED,
            author: &caller.name,
            on_behalf_of: caller.on_behalf_of.as_deref(),
            comment: request.comment.as_deref(),
        };
        match self.inner.store.save_workflow(&new, request.expected_revision).await? {
            Saving::Saved { number, is_new } => {
                (saved.saved, saved.revision, saved.is_new) = (true, Some(number), is_new);
            }
            Saving::Conflict(other) => {
                let message = conflict(&workflow.name, request.expected_revision, other.as_ref());
                return Err(Error::NotSaved(message));
            }
        }
        // What a revision was pinned to before stays: only a person takes a tool that became another one.
        saved.pinned = self.pin(caller, &workflow, &tools, false).await?;
        let pins = self.inner.store.pins(Some(&workflow.hash)).await?;
        saved.drift = self.drift(&workflow, &pins, &tools).await?;
        self.inner.revisions.keep(workflow);
        Ok(saved)
    }

    /// Every revision of a workflow that was saved, run, or seen in a file.
    ///
    /// # Errors
    /// When there is no such workflow.
    pub async fn revisions(&self, workflow: &str) -> Result<RevisionList, Error> {
        let (current, rows) = self.known_revisions(workflow).await?;
        let revisions = rows.iter().map(|row| shown(row, current.as_deref())).collect();
        Ok(RevisionList { workflow: workflow.to_owned(), revisions })
    }

    /// One revision with its document; left out, the current one.
    ///
    /// # Errors
    /// When there is no such workflow or revision.
    pub async fn revision(
        &self,
        workflow: &str,
        revision: Option<&str>,
    ) -> Result<RevisionDocument, Error> {
        let (current, rows) = self.known_revisions(workflow).await?;
        let row = match revision {
            Some(name) => chosen(workflow, &rows, name)?,
            None => newest(workflow, &rows, current.as_deref())?,
        };
        Ok(RevisionDocument {
            workflow: workflow.to_owned(),
            revision: shown(row, current.as_deref()),
            document: self.document(&row.hash).await?,
        })
    }

    /// What is different between two revisions, each named by its number or the beginning of its hash. Left out: the
    /// one before the current one, and the current one.
    ///
    /// # Errors
    /// When there is no such workflow or revision.
    pub async fn diff(
        &self,
        workflow: &str,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<RevisionDiff, Error> {
        let (current, rows) = self.known_revisions(workflow).await?;
        let to = match to {
            Some(to) => chosen(workflow, &rows, to)?,
            None => newest(workflow, &rows, current.as_deref())?,
        };
        let from = match from {
            Some(from) => chosen(workflow, &rows, from)?,
            None => rows.iter().find(|row| row.number < to.number).ok_or_else(|| {
                let number = to.number;
                Error::NotSaved(format!(
                    "workflow {workflow:?} has no revision before {number}; name two to compare them"
                ))
            })?,
        };
        let (old, new) = (self.document(&from.hash).await?, self.document(&to.hash).await?);
        let name = |row: &RevisionRow| format!("{workflow} revision {}", row.number);
        Ok(RevisionDiff {
            workflow: workflow.to_owned(),
            changes: differences::changes(&old, &new),
            lines: differences::lines((&name(from), &old), (&name(to), &new)),
            from: shown(from, current.as_deref()),
            to: shown(to, current.as_deref()),
        })
    }

    /// Says whether a workflow may be started. What runs goes on.
    ///
    /// # Errors
    /// When there is no such workflow.
    pub async fn set_enabled(
        &self,
        caller: &Caller,
        workflow: &str,
        enabled: bool,
    ) -> Result<WorkflowView, Error> {
        let entry = self.find(workflow).await?;
        if entry.enabled != enabled {
            self.inner.store.set_enabled(&entry.name, enabled, &caller.name).await?;
        }
        self.described(&Entry { enabled, ..entry }).await
    }

    /// Pins the current revision of a workflow to its tools as they are now.
    ///
    /// # Errors
    /// When there is no such workflow, or it cannot run at all.
    pub async fn accept(
        &self,
        caller: &Caller,
        workflow: &str,
        dry_run: bool,
    ) -> Result<Accepted, Error> {
        let entry = self.find(workflow).await?;
        self.accept_entry(caller, &entry, dry_run).await
    }

    /// The same for a document that is in no folder; `source` says where it came from.
    ///
    /// # Errors
    /// A broken document.
    pub async fn accept_document(
        &self,
        caller: &Caller,
        text: &str,
        source: &str,
        dry_run: bool,
    ) -> Result<Accepted, Error> {
        self.accept_entry(caller, &catalogue::read(text, source, &stem(source)), dry_run).await
    }

    async fn accept_entry(
        &self,
        caller: &Caller,
        entry: &Entry,
        dry_run: bool,
    ) -> Result<Accepted, Error> {
        let workflow = start::runnable(entry)?;
        self.note(entry).await?;
        let tools = self.live_tools(&workflow).await;
        let pins = self.inner.store.pins(Some(&workflow.hash)).await?;
        let drift = self.drift(&workflow, &pins, &tools).await?;
        let pinned = match dry_run {
            true => is_there(&tools),
            false => self.pin(caller, &workflow, &tools, true).await?,
        };
        Ok(Accepted {
            workflow: workflow.name.clone(),
            hash: workflow.hash.clone(),
            accepted: !dry_run,
            drift,
            pinned,
            unpinned: unpinned(&tools),
        })
    }

    /// The workflow of that name: the project's file, the saved one, or the one that ships.
    pub(super) async fn find(&self, name: &str) -> Result<Entry, Error> {
        let row = self.inner.store.workflow(name).await?;
        if let Some(entry) = self.entry(name, row.clone()).await? {
            self.inner.standings.keep(name, row);
            return Ok(entry);
        }
        let mut entries = self.entries().await?;
        if let Some(entry) = entries.remove(name) {
            return Ok(entry);
        }
        let hint = hint(name, entries.keys().map(String::as_str));
        Err(Error::UnknownWorkflow { name: name.to_owned(), hint })
    }

    /// The workflow of a name, where that is what the database knows of it.
    pub(super) async fn entry(
        &self,
        name: &str,
        row: Option<WorkflowRow>,
    ) -> Result<Option<Entry>, Error> {
        let known = self.inner.catalogue.entry(name);
        let mut entries: BTreeMap<String, Entry> =
            known.into_iter().map(|entry| (name.to_owned(), entry)).collect();
        if let Some(row) = row {
            self.put(&mut entries, row).await?;
        }
        Ok(entries.remove(name))
    }

    /// The same for a run: what came in by SQL is checked as a document that somebody saves, and becomes a revision.
    pub(super) async fn find_to_run(&self, name: &str) -> Result<Entry, Error> {
        for _ in 0..TAKES {
            let entry = self.find(name).await?;
            let is_news = entry.origin == Origin::Saved && entry.source == SQL;
            if !is_news || !entry.enabled || entry.read.is_err() {
                return Ok(entry);
            }
            if let Some(taken) = self.take_in(&entry).await? {
                return Ok(taken);
            }
        }
        Err(Error::NotSaved(format!(
            "workflow {name:?} is changed by SQL again and again; run it once that has ended"
        )))
    }

    /// `None`: it is another one by now.
    async fn take_in(&self, entry: &Entry) -> Result<Option<Entry>, Error> {
        let row = self.inner.store.workflow(&entry.name).await?;
        let pending = row.and_then(|row| Some((sql_document(&row)?, row)));
        let Some((document, row)) = pending else { return Ok(None) };
        let (workflow, _) = self.checked(&document, SQL).await?;
        let new = NewRevision {
            hash: &workflow.hash,
            workflow: &workflow.name,
            document: &workflow.document.to_string(),
            source: SQL,
            author: &row.updated_by,
            on_behalf_of: None,
            comment: None,
        };
        let definition = row.sql_definition.as_deref().unwrap_or_default();
        if !self.inner.store.take_in(&new, definition).await? {
            return Ok(None);
        }
        self.inner.revisions.keep(Arc::clone(&workflow));
        Ok(Some(Entry { read: Ok(workflow), source: SAVED.to_owned(), ..entry.clone() }))
    }

    /// Every workflow by its name.
    pub(super) async fn entries(&self) -> Result<BTreeMap<String, Entry>, Error> {
        let mut entries = self.inner.catalogue.entries();
        for row in self.inner.store.workflows().await? {
            self.put(&mut entries, row).await?;
        }
        Ok(entries)
    }

    /// Puts what the database knows of a workflow beside what files and the program have.
    async fn put(
        &self,
        entries: &mut BTreeMap<String, Entry>,
        row: WorkflowRow,
    ) -> Result<(), Error> {
        let enabled = row.enabled != 0;
        let file_wins = entries.get(&row.name).is_some_and(|entry| entry.origin < Origin::Saved);
        if !file_wins && let Some(document) = sql_document(&row) {
            entries.insert(row.name.clone(), sql_entry(&row, &document));
        } else if let Some(hash) = row.revision.filter(|_| !file_wins) {
            let read = self.inner.revisions.get(&self.inner.store, &hash).await;
            let read = match read {
                Err(crate::revisions::Error::Store(err)) => return Err(err.into()),
                read => read
                    .map_err(|err| Arc::new(vec![Problem::new("unreadable", "", err.to_string())])),
            };
            let (name, source) = (row.name.clone(), SAVED.to_owned());
            let entry = Entry { name, source, origin: Origin::Saved, enabled, read };
            entries.insert(row.name, entry);
        } else if let Some(entry) = entries.get_mut(&row.name) {
            entry.enabled = enabled;
        }
        Ok(())
    }

    async fn described(&self, entry: &Entry) -> Result<WorkflowView, Error> {
        self.note(entry).await?;
        let view = entry.view();
        let drift = self.drifts(&[entry], Look::Remembered).await?.remove(&view.hash);
        let rows = self.inner.store.revisions(&entry.name).await?;
        let revision = rows.iter().find(|row| row.hash == view.hash).map(|row| row.number);
        Ok(WorkflowView { drift, revision, ..view })
    }

    /// A document that may be saved, and what nobody can say of it: the one place where that is decided.
    async fn checked(
        &self,
        text: &str,
        source: &str,
    ) -> Result<(Arc<Workflow>, Vec<Unchecked>), Error> {
        let entry = catalogue::read(text, source, &stem(source));
        let workflow = start::runnable(&entry)?;
        let Validation { problems, unchecked, .. } = self.check(text, source).await;
        if problems.is_empty() {
            Ok((workflow, unchecked))
        } else {
            Err(Error::BrokenWorkflow { name: entry.name, problems })
        }
    }

    /// A file that changed is a new revision from the moment somebody looks at it.
    async fn note(&self, entry: &Entry) -> Result<(), Error> {
        let Ok(workflow) = &entry.read else { return Ok(()) };
        if entry.origin != Origin::File || !self.inner.catalogue.is_news(&workflow.hash) {
            return Ok(());
        }
        let new = NewRevision {
            hash: &workflow.hash,
            workflow: &workflow.name,
            document: &workflow.document.to_string(),
            source: &entry.source,
            author: FILE,
            on_behalf_of: None,
            comment: None,
        };
        self.inner.store.note_revision(&new).await?;
        self.inner.catalogue.noted(&workflow.hash);
        Ok(())
    }

    /// The hash of what a run would use now, and every revision, the newest first.
    async fn known_revisions(
        &self,
        workflow: &str,
    ) -> Result<(Option<String>, Vec<RevisionRow>), Error> {
        let entry = match self.find(workflow).await {
            Ok(entry) => Some(entry),
            // A file that was deleted leaves its revisions.
            Err(Error::UnknownWorkflow { name, hint }) => {
                if self.inner.store.revisions(workflow).await?.is_empty() {
                    return Err(Error::UnknownWorkflow { name, hint });
                }
                None
            }
            Err(err) => return Err(err),
        };
        let mut current = None;
        if let Some(entry) = entry {
            self.note(&entry).await?;
            current = entry.read.ok().map(|workflow| workflow.hash.clone());
        }
        Ok((current, self.inner.store.revisions(workflow).await?))
    }

    async fn document(&self, hash: &str) -> Result<Value, Error> {
        let missing = || crate::revisions::Error::Missing(hash.to_owned());
        let text = self.inner.store.document(hash).await?.ok_or_else(missing)?;
        Ok(serde_json::from_str(&text).map_err(|_| missing())?)
    }

    /// The tools it is pinned to now.
    async fn pin(
        &self,
        caller: &Caller,
        workflow: &Workflow,
        tools: &LiveTools,
        renew: bool,
    ) -> Result<Vec<String>, Error> {
        let mut pinned = Vec::new();
        for (tool, live) in tools {
            let Live::Is(live) = live else { continue };
            self.inner.pins.pin(&workflow.hash, tool, live, &caller.name, renew).await?;
            pinned.push(tool.clone());
        }
        Ok(pinned)
    }

    fn refuse_where_a_file_wins(&self, name: &str) -> Result<(), Error> {
        let entries = self.inner.catalogue.entries();
        let Some(file) = entries.get(name).filter(|entry| entry.origin == Origin::File) else {
            return Ok(());
        };
        let path = &file.source;
        Err(Error::NotSaved(format!(
            "workflow {name:?} lives in the file {path}, which wins over a saved one; nothing was saved. Change the file \
             (it is read again at once), give the workflow another name, or delete the file first"
        )))
    }
}

impl Entry {
    /// Refuses to start what somebody switched off.
    pub(super) fn check_enabled(&self) -> Result<(), Error> {
        if self.enabled { Ok(()) } else { Err(Error::Disabled { name: self.name.clone() }) }
    }
}

/// The document that came in by SQL: its row says the name, and what it does where the definition does not.
fn sql_document(row: &WorkflowRow) -> Option<String> {
    let text = row.sql_definition.as_deref()?;
    let Ok(Value::Object(mut document)) = serde_json::from_str(text) else {
        return Some(text.to_owned());
    };
    document.entry("name").or_insert_with(|| row.name.as_str().into());
    if let Some(description) = &row.sql_description {
        document.insert("description".to_owned(), description.as_str().into());
    }
    Some(Value::Object(document).to_string())
}

fn sql_entry(row: &WorkflowRow, document: &str) -> Entry {
    let entry = catalogue::read(document, SQL, &row.name);
    let read = match entry.read {
        Ok(workflow) if workflow.name != row.name => {
            let (own, name) = (&workflow.name, &row.name);
            let message = format!(
                "the definition calls itself {own:?}, and its row {name:?}; give both the same name"
            );
            Err(Arc::new(vec![Problem::new("other_name", "/name", message)]))
        }
        read => read,
    };
    let (name, enabled) = (row.name.clone(), row.enabled != 0);
    Entry { name, origin: Origin::Saved, enabled, read, ..entry }
}

fn check_expected(
    workflow: &str,
    expected: Option<i64>,
    current: Option<&RevisionRow>,
) -> Result<(), Error> {
    let number = current.map_or(0, |row| row.number);
    if expected.is_none_or(|expected| expected == number) {
        return Ok(());
    }
    Err(Error::NotSaved(conflict(workflow, expected, current)))
}

fn conflict(workflow: &str, expected: Option<i64>, current: Option<&RevisionRow>) -> String {
    let expected = expected.unwrap_or_default();
    match current {
        None => format!(
            "workflow {workflow:?} is not saved yet, so it is not at revision {expected}; nothing was saved. \
             expected_revision=0 (`windlass save --expect 0`) saves it for the first time"
        ),
        Some(RevisionRow { number, author, on_behalf_of, comment, .. }) => {
            let behalf = on_behalf_of.as_ref().map(|behalf| format!(" for {behalf}"));
            let comment = comment.as_ref().map(|comment| format!(" ({comment})"));
            format!(
                "workflow {workflow:?} is at revision {number}, saved by {author}{}{}, and not at {expected}; nothing was \
                 saved. Look at what changed, put your change on top of it, and save with expected_revision={number} (`windlass save --expect {number}`)",
                behalf.unwrap_or_default(),
                comment.unwrap_or_default(),
            )
        }
    }
}

/// A revision by its number or the beginning of its hash.
fn chosen<'r>(
    workflow: &str,
    rows: &'r [RevisionRow],
    name: &str,
) -> Result<&'r RevisionRow, Error> {
    let by_number = rows.iter().find(|row| name.parse() == Ok(row.number));
    let mut by_hash =
        rows.iter().filter(|row| SHORTEST_HASH <= name.len() && row.hash.starts_with(name));
    if let Some(row) = by_number.or_else(|| by_hash.next()) {
        return Ok(row);
    }
    let Some(newest) = rows.first() else { return Err(no_revisions(workflow)) };
    Err(Error::NotSaved(format!(
        "workflow {workflow:?} has no revision {name:?}; it has 1 to {}, and each has a hash of which the first \
         {SHORTEST_HASH} characters are enough",
        newest.number
    )))
}

/// The current revision; where there is none any more, the newest.
fn newest<'r>(
    workflow: &str,
    rows: &'r [RevisionRow],
    current: Option<&str>,
) -> Result<&'r RevisionRow, Error> {
    let found = rows.iter().find(|row| Some(row.hash.as_str()) == current);
    found.or(rows.first()).ok_or_else(|| no_revisions(workflow))
}

fn no_revisions(workflow: &str) -> Error {
    Error::NotSaved(format!("workflow {workflow:?} has no revision yet: nobody saved or ran it"))
}

fn shown(row: &RevisionRow, current: Option<&str>) -> RevisionView {
    RevisionView {
        number: row.number,
        hash: row.hash.clone(),
        author: row.author.clone(),
        on_behalf_of: row.on_behalf_of.clone(),
        comment: row.comment.clone(),
        source: row.source.clone(),
        current: Some(row.hash.as_str()) == current,
        created_at: row.created_at,
    }
}

fn is_there(tools: &LiveTools) -> Vec<String> {
    let there = tools.iter().filter(|(_, live)| matches!(live, Live::Is(_)));
    there.map(|(tool, _)| tool.clone()).collect()
}

fn unpinned(tools: &LiveTools) -> Vec<Unpinned> {
    let reason = |live: &Live| match live {
        Live::Is(_) => None,
        Live::Gone => Some("its tool server has no such tool".to_owned()),
        Live::Unknown(reason) => Some(reason.clone()),
    };
    let unpinned = tools.iter().filter_map(|(tool, live)| Some((tool.clone(), reason(live)?)));
    unpinned.map(|(tool, reason)| Unpinned { tool, reason }).collect()
}
