//! The workflows there are: the project's files first, then the saved ones, then those that ship.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use serde_json::{Value, json};
use windlass_engine::{Problem, Workflow};
use windlass_import::Dialect;

use super::{WorkflowView, shipped::SHIPPED};

/// A file that is larger is no workflow. In bytes.
const FILE_LIMIT: u64 = 1024 * 1024;

/// The workflows of one project.
pub(super) struct Catalogue {
    folders: Vec<PathBuf>,
    files: Mutex<HashMap<PathBuf, (Stamp, Entry)>>,
    /// The hashes of documents that the database has.
    noted: Mutex<HashSet<String>>,
}

type Stamp = (Option<SystemTime>, u64);

/// Where a document lives. Of one name, the first of these is what runs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Origin {
    /// In a file of the project, or one that was named.
    File,
    /// In the database.
    Saved,
    /// In the program.
    Shipped,
}

/// One document, readable or not.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) origin: Origin,
    pub(super) enabled: bool,
    pub(super) read: Result<Arc<Workflow>, Arc<Vec<Problem>>>,
}

impl Catalogue {
    pub(super) fn new(project: &Path, folders: &[PathBuf]) -> Catalogue {
        let folders = folders.iter().map(|folder| project.join(folder)).collect();
        Catalogue { folders, files: Mutex::default(), noted: Mutex::default() }
    }

    /// Every workflow, by name. A project's file hides a shipped one of the same name.
    pub(super) fn entries(&self) -> BTreeMap<String, Entry> {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for entry in self.files() {
            let entry = match entries.get(&entry.name) {
                Some(first) => entry.second_to(first),
                None => entry,
            };
            entries.insert(entry.name.clone(), entry);
        }
        for entry in shipped() {
            entries.entry(entry.name.clone()).or_insert_with(|| entry.clone());
        }
        entries
    }

    /// The workflow of a name, as [`Catalogue::entries`] has it: whoever starts one has no need of the others.
    pub(super) fn entry(&self, name: &str) -> Option<Entry> {
        let paths = self.paths();
        let mut known = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files = paths.iter().filter_map(|path| read_file(&mut known, path));
        let file = files.find(|entry| entry.name == name);
        file.or_else(|| shipped().iter().find(|entry| entry.name == name).cloned())
    }

    /// Whether a document may not be in the database yet.
    pub(super) fn is_news(&self, hash: &str) -> bool {
        !self.noted.lock().unwrap_or_else(PoisonError::into_inner).contains(hash)
    }

    /// Says that the database has a document.
    pub(super) fn noted(&self, hash: &str) {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(hash.to_owned());
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            self.folders.iter().flat_map(|folder| documents(folder)).collect();
        paths.sort();
        paths
    }

    fn files(&self) -> Vec<Entry> {
        let paths = self.paths();
        let mut known = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|path, _| paths.contains(path));
        paths.iter().filter_map(|path| read_file(&mut known, path)).collect()
    }
}

/// The YAML and JSON files of a folder; none when there is no such folder.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    let paths = files.filter_map(|file| Some(file.ok()?.path()));
    let is_document = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        matches!(ending, Some("yaml" | "yml" | "json"))
    };
    paths.filter(is_document).collect()
}

/// A file is read again only when it has changed.
fn read_file(known: &mut HashMap<PathBuf, (Stamp, Entry)>, path: &Path) -> Option<Entry> {
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.is_file())?;
    let stamp = (metadata.modified().ok(), metadata.len());
    if let Some((at, entry)) = known.get(path)
        && *at == stamp
    {
        return Some(entry.clone());
    }
    let source = path.display().to_string();
    let entry = if FILE_LIMIT < metadata.len() {
        broken(path, source, "file_too_large", "the file is larger than 1 MiB")
    } else {
        match fs::read_to_string(path) {
            Ok(text) => read(&text, &source, &stem(path)),
            Err(err) => {
                broken(path, source, "unreadable", &format!("the file cannot be read: {err}"))
            }
        }
    };
    known.insert(path.to_owned(), (stamp, entry.clone()));
    Some(entry)
}

fn broken(path: &Path, source: String, code: &'static str, message: &str) -> Entry {
    let problem = Problem::new(code, "", message);
    let read = Err(Arc::new(vec![problem]));
    Entry { name: stem(path), source, origin: Origin::File, enabled: true, read }
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn shipped() -> &'static [Entry] {
    static READ: std::sync::LazyLock<Vec<Entry>> = std::sync::LazyLock::new(|| {
        let read = |(file, text): &(&str, &str)| {
            let entry = read(text, "built-in", &stem(Path::new(file)));
            Entry { origin: Origin::Shipped, ..entry }
        };
        SHIPPED.iter().map(read).collect()
    });
    &READ
}

/// Reads a document, whichever dialect it is in. The file's name stands in where the document has none.
pub(super) fn read(text: &str, source: &str, fallback_name: &str) -> Entry {
    let read = compile(text, fallback_name);
    let name = match &read {
        Ok(workflow) => workflow.name.clone(),
        Err(_) => fallback_name.to_owned(),
    };
    let read = read.map(Arc::new).map_err(Arc::new);
    Entry { name, source: source.to_owned(), origin: Origin::File, enabled: true, read }
}

fn compile(text: &str, fallback_name: &str) -> Result<Workflow, Vec<Problem>> {
    match windlass_import::detect(text) {
        Dialect::Windlass => windlass_engine::parse(text),
        dialect => {
            let imported = windlass_import::import(text, dialect, fallback_name)?;
            windlass_engine::parse(&imported.document.to_string())
        }
    }
}

impl Entry {
    /// A file whose name another file has already: shown, so that nobody wonders, but not run.
    fn second_to(self, first: &Entry) -> Entry {
        let (name, other) = (&self.name, &first.source);
        let message = format!("{other} is called {name:?} too; give one of the two another name");
        let problem = Problem::new("duplicate_workflow", "/name", message);
        let (name, read) = (self.source.clone(), Err(Arc::new(vec![problem])));
        Entry { name, read, ..self }
    }

    pub(super) fn view(&self) -> WorkflowView {
        match &self.read {
            Ok(workflow) => self.view_of(workflow),
            Err(problems) => WorkflowView {
                name: self.name.clone(),
                title: None,
                description: None,
                tags: Vec::new(),
                source: self.source.clone(),
                hash: String::new(),
                input_schema: json!({ "type": "object" }),
                steps: Vec::new(),
                problems: problems.to_vec(),
                enabled: self.enabled,
                revision: None,
                drift: None,
            },
        }
    }

    fn view_of(&self, workflow: &Workflow) -> WorkflowView {
        WorkflowView {
            name: workflow.name.clone(),
            title: workflow.title.clone(),
            description: workflow.description.clone(),
            tags: workflow.tags.clone(),
            source: self.source.clone(),
            hash: workflow.hash.clone(),
            input_schema: workflow.input.schema().clone(),
            steps: workflow.steps.iter().map(|step| outline(workflow, step)).collect(),
            problems: Vec::new(),
            enabled: self.enabled,
            revision: None,
            drift: None,
        }
    }
}

fn outline(workflow: &Workflow, step: &windlass_engine::Step) -> Value {
    let needs: Vec<&str> =
        step.needs.iter().map(|need| workflow.steps[*need].name.as_str()).collect();
    let mut outline = json!({ "name": step.name, "kind": step.kind.as_str(), "needs": needs });
    if let Some(tool) = step.kind.tool() {
        outline["tool"] = json!(tool.to_string());
    }
    outline
}
