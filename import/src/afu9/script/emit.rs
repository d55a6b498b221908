//! An expression → CEL, with its names resolved.

use super::super::names::{Assigned, Inputs, Source};
use super::Js;

/// What JavaScript takes for false.
const FALSY: &str = "[null, false, '', 0]";

/// Methods whose name and arguments are the same here but for the name.
const METHODS: [(&str, &str); 12] = [
    ("includes", "contains"),
    ("startsWith", "startsWith"),
    ("endsWith", "endsWith"),
    ("toUpperCase", "upperAscii"),
    ("toLowerCase", "lowerAscii"),
    ("trim", "trim"),
    ("split", "split"),
    ("join", "join"),
    ("indexOf", "indexOf"),
    ("lastIndexOf", "lastIndexOf"),
    ("substring", "substring"),
    ("slice", "substring"),
];

/// Functions that stand alone.
const FUNCTIONS: [(&str, &str); 6] = [
    ("String", "string"),
    ("Number", "double"),
    ("parseInt", "int"),
    ("parseFloat", "double"),
    ("JSON.stringify", "json"),
    ("JSON.parse", "parseJson"),
];

/// Writes CEL.
pub(super) struct Emitter<'a> {
    assigned: &'a Assigned,
    pub(super) inputs: &'a mut Inputs,
    pub(super) notes: Vec<String>,
    /// How many guards stand around: what is missing there is no error.
    guards: usize,
}

/// A path in our language.
struct Path {
    text: String,
    /// The name below `input` that it refers to.
    input: Option<String>,
}

type Cel = Result<String, String>;

impl<'a> Emitter<'a> {
    pub(super) fn new(assigned: &'a Assigned, inputs: &'a mut Inputs) -> Emitter<'a> {
        Emitter { assigned, inputs, notes: Vec::new(), guards: 0 }
    }

    /// An expression whose value is wanted.
    pub(super) fn value(&mut self, js: &Js) -> Cel {
        match js {
            Js::Literal(cel) => Ok(cel.clone()),
            Js::Name(_) | Js::Member(..) | Js::Index(..) => self.member(js),
            Js::Call(function, arguments) => self.call(function, arguments),
            Js::New(class) => Err(format!("`new {class}()` is not known")),
            Js::Not(_) => self.condition(js),
            Js::Negate(of) => Ok(format!("-{}", self.operand(of)?)),
            Js::Binary("||", left, right) => self.default(left, right),
            Js::Binary("&&" | "==" | "!=" | "<" | "<=" | ">" | ">=", ..) => self.condition(js),
            Js::Binary("+", left, right) => self.sum(left, right),
            Js::Binary(operator, left, right) => {
                Ok(format!("{} {operator} {}", self.operand(left)?, self.operand(right)?))
            }
            Js::If(condition, then, otherwise) => {
                let condition = self.condition(condition)?;
                Ok(format!(
                    "({condition}) ? {} : {}",
                    self.operand(then)?,
                    self.operand(otherwise)?
                ))
            }
            Js::List(items) => {
                let items: Result<Vec<String>, String> =
                    items.iter().map(|item| self.value(item)).collect();
                Ok(format!("[{}]", items?.join(", ")))
            }
        }
    }

    /// An expression that is true or false: what is missing, empty or zero is false.
    pub(super) fn condition(&mut self, js: &Js) -> Cel {
        match js {
            Js::Literal(cel) if cel == "true" || cel == "false" => Ok(cel.clone()),
            Js::Not(of) => Ok(format!("!({})", self.condition(of)?)),
            Js::Binary(operator @ ("&&" | "||"), left, right) => {
                Ok(format!("({}) {operator} ({})", self.condition(left)?, self.condition(right)?))
            }
            Js::Binary(operator @ ("==" | "!="), left, right) => {
                Ok(format!("{} {operator} {}", self.guarded(left)?, self.guarded(right)?))
            }
            Js::Binary(operator @ ("<" | "<=" | ">" | ">="), left, right) => {
                self.order(operator, left, right)
            }
            Js::Call(function, _) if is_test(function) => {
                self.guards += 1;
                let test = self.value(js);
                self.guards -= 1;
                Ok(format!("default({}, false)", test?))
            }
            _ => Ok(format!("!({} in {FALSY})", self.guarded(js)?)),
        }
    }

    /// A comparison; with something that is missing it is false.
    fn order(&mut self, operator: &str, left: &Js, right: &Js) -> Cel {
        let mut parts = Vec::new();
        for side in [left, right] {
            if is_path(side) {
                parts.push(format!("{} != null", self.guarded(side)?));
            }
        }
        self.guards += 1;
        let comparison = format!("{} {operator} {}", self.operand(left)?, self.operand(right)?);
        self.guards -= 1;
        parts.push(comparison);
        Ok(parts.join(" && "))
    }

    /// A value that is null when it is missing.
    fn guarded(&mut self, js: &Js) -> Cel {
        if !is_path(js) {
            return self.operand(js);
        }
        self.guards += 1;
        let path = self.value(js);
        self.guards -= 1;
        Ok(format!("default({}, null)", path?))
    }

    fn default(&mut self, left: &Js, right: &Js) -> Cel {
        self.guards += 1;
        let left = self.value(left);
        self.guards -= 1;
        Ok(format!("default({}, {})", left?, self.value(right)?))
    }

    /// A value in parentheses, where it needs them.
    fn operand(&mut self, js: &Js) -> Cel {
        let cel = self.value(js)?;
        match js {
            Js::Binary("||", ..) => Ok(cel),
            Js::Binary(..) | Js::If(..) | Js::Not(_) | Js::Negate(_) => Ok(format!("({cel})")),
            _ => Ok(cel),
        }
    }

    /// `+`: JavaScript makes texts of everything where one side is a text.
    fn sum(&mut self, left: &Js, right: &Js) -> Cel {
        let text = is_text(left) || is_text(right);
        let mut side = |js: &Js| match text && !is_text(js) {
            true => Ok(format!("string({})", self.value(js)?)),
            false => self.operand(js),
        };
        Ok(format!("{} + {}", side(left)?, side(right)?))
    }

    fn member(&mut self, js: &Js) -> Cel {
        if let Some((root, rest)) = path(js) {
            return self.path(root, &rest);
        }
        match js {
            Js::Member(of, name) if name == "length" => Ok(format!("size({})", self.value(of)?)),
            Js::Member(of, name) => Ok(format!("{}{}", self.operand(of)?, key(name))),
            Js::Index(of, index) => Ok(format!("{}[{}]", self.operand(of)?, self.value(index)?)),
            _ => Err("it is no path".to_owned()),
        }
    }

    fn call(&mut self, function: &Js, arguments: &[Js]) -> Cel {
        if is_now(function) && arguments.is_empty() {
            return Ok("now()".to_owned());
        }
        if let Some(cel) = FUNCTIONS.iter().find(|(name, _)| is_called(function, name)) {
            return Ok(format!("{}({})", cel.1, self.arguments(arguments)?));
        }
        let Js::Member(of, name) = function else {
            return Err("this function is not known".to_owned());
        };
        match (name.as_str(), arguments) {
            ("toString", []) => Ok(format!("string({})", self.value(of)?)),
            // JavaScript replaces the first place only.
            ("replace", [_, _]) => {
                Ok(format!("{}.replace({}, 1)", self.operand(of)?, self.arguments(arguments)?))
            }
            ("replaceAll", [_, _]) => {
                Ok(format!("{}.replace({})", self.operand(of)?, self.arguments(arguments)?))
            }
            (name, arguments) => {
                let method = METHODS.iter().find(|(theirs, _)| *theirs == name);
                let (_, ours) =
                    method.ok_or_else(|| format!("the method `{name}` is not known"))?;
                Ok(format!("{}.{ours}({})", self.operand(of)?, self.arguments(arguments)?))
            }
        }
    }

    fn arguments(&mut self, arguments: &[Js]) -> Cel {
        let arguments: Result<Vec<String>, String> =
            arguments.iter().map(|argument| self.value(argument)).collect();
        Ok(arguments?.join(", "))
    }

    fn path(&mut self, root: &str, rest: &[Part<'_>]) -> Cel {
        // `items.length` is a size; so is the length of anything that is no name of ours.
        if let Some((Part::Key("length"), rest)) = rest.split_last() {
            return Ok(format!("size({})", self.list(root, rest)?));
        }
        let path = self.resolve(root, rest)?;
        if let Some(name) = &path.input {
            self.inputs.refer(name, self.guards == 0);
        }
        Ok(path.text)
    }

    /// The list that a path means, also where a tool answers it as a page.
    fn list(&mut self, root: &str, rest: &[Part<'_>]) -> Cel {
        let list = self.path(root, rest)?;
        let (name, rest) = match (root, rest) {
            ("variables", [Part::Key(name), rest @ ..]) => (*name, rest),
            _ => (root, rest),
        };
        let Some((ours, source)) = self.assigned.get(name) else { return Ok(list) };
        match rest {
            [] if source.is_page() => Ok(format!("{ours}.items")),
            [Part::Key("available")] if source.tool == "agent.checkDependencies" => {
                Ok(format!("{ours}.updates"))
            }
            _ => Ok(list),
        }
    }

    /// Finds what a path means: AFU-9 looked in the variables, the input, the repository and the
    /// issue; its authors wrote assigned names bare.
    fn resolve(&mut self, root: &str, rest: &[Part<'_>]) -> Result<Path, String> {
        match (root, rest) {
            ("input", [Part::Key(name), ..]) => Ok(below_input(rest, name)),
            ("input", _) => Ok(Path { text: format!("input{}", written(rest)), input: None }),
            ("repo", _) => {
                Ok(Path { text: format!("repo{}", written(rest)), input: Some("repo".to_owned()) })
            }
            ("variables", [Part::Key(name), rest @ ..]) => self.variable(name, rest),
            (name, rest) => self.variable(name, rest),
        }
    }

    fn variable(&mut self, name: &str, rest: &[Part<'_>]) -> Result<Path, String> {
        if let Some((ours, source)) = self.assigned.get(name) {
            let text = self.found(ours, source, rest);
            if source.conditional && self.guards == 0 {
                self.notes.push(format!(
                    "`{name}` is assigned by a step that may be skipped; then this step fails \
                     unless it has the same condition"
                ));
            }
            return Ok(Path { text, input: None });
        }
        if name != "issue" {
            self.notes.push(format!(
                "no step before this one assigns `{name}`; it is `input.{name}` now"
            ));
        }
        let mut path = vec![Part::Key(name)];
        path.extend(rest.iter().cloned());
        Ok(below_input(&path, name))
    }
}

impl Emitter<'_> {
    /// A path below an assigned name; some tools answer here in another place than AFU-9's documents look.
    fn found(&self, name: &str, source: &Source, rest: &[Part<'_>]) -> String {
        match (source.tool.as_str(), rest) {
            (_, [Part::Index(index), ..])
                if source.is_page() && index.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                format!("{name}.items{}", written(rest))
            }
            // There it is the list, here it tells whether there are any; a condition may mean either.
            ("agent.checkDependencies", [Part::Key("available"), more @ ..])
                if self.guards == 0 || !more.is_empty() =>
            {
                format!("{name}.updates{}", written(more))
            }
            (_, [Part::Key("commit_sha")]) => match self.assigned.commit_of(&source.step) {
                Some(commit) => format!("steps.{commit}.commit_sha"),
                None => format!("{name}.commit_sha"),
            },
            _ => format!("{name}{}", written(rest)),
        }
    }
}

/// One step of a path.
#[derive(Clone)]
enum Part<'j> {
    Key(&'j str),
    /// A number, or a text in quotes.
    Index(&'j str),
}

fn below_input(path: &[Part<'_>], name: &str) -> Path {
    Path { text: format!("input{}", written(path)), input: Some(name.to_owned()) }
}

fn written(path: &[Part<'_>]) -> String {
    let part = |part: &Part<'_>| match part {
        Part::Key(name) => key(name),
        Part::Index(index) => format!("[{index}]"),
    };
    path.iter().map(part).collect()
}

fn key(name: &str) -> String {
    // CEL reads these as words of its own, also behind a dot.
    let word = ["in", "true", "false", "null"].contains(&name);
    let plain = !word && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain { format!(".{name}") } else { format!("[{}]", quoted(name)) }
}

/// A text as a CEL literal.
pub(super) fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{}'", text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
}

/// The root and the steps of a path that is written out.
fn path(js: &Js) -> Option<(&str, Vec<Part<'_>>)> {
    match js {
        Js::Name(name) => Some((name, Vec::new())),
        Js::Member(of, name) => {
            let (root, mut rest) = path(of)?;
            rest.push(Part::Key(name));
            Some((root, rest))
        }
        Js::Index(of, index) => {
            let Js::Literal(index) = index.as_ref() else { return None };
            let (root, mut rest) = path(of)?;
            rest.push(Part::Index(index));
            Some((root, rest))
        }
        _ => None,
    }
}

fn is_path(js: &Js) -> bool {
    matches!(js, Js::Name(_) | Js::Member(..) | Js::Index(..))
}

fn is_text(js: &Js) -> bool {
    match js {
        Js::Literal(cel) => cel.starts_with('\''),
        Js::Binary("+", left, right) => is_text(left) || is_text(right),
        _ => false,
    }
}

/// `Name` or `Name.method`
fn is_called(function: &Js, name: &str) -> bool {
    match (function, name.split_once('.')) {
        (Js::Name(found), None) => found == name,
        (Js::Member(of, method), Some((object, wanted))) => {
            method == wanted && **of == Js::Name(object.to_owned())
        }
        _ => false,
    }
}

/// `Date.now`, `new Date().toISOString` and its like.
fn is_now(function: &Js) -> bool {
    match function {
        Js::Member(of, method) => match of.as_ref() {
            Js::New(class) => {
                class == "Date"
                    && ["toISOString", "getTime", "toJSON", "valueOf"].contains(&method.as_str())
            }
            _ => is_called(function, "Date.now"),
        },
        _ => false,
    }
}

/// Whether a method answers true or false.
fn is_test(function: &Js) -> bool {
    let tests = ["includes", "startsWith", "endsWith"];
    matches!(function, Js::Member(_, name) if tests.contains(&name.as_str()))
}
