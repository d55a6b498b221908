//! What expressions refer to.

use std::collections::HashSet;

use super::needs::some;
use super::scope::{Inside, View};
use super::sites::{self, Part, Rules, Secrets};
use super::{Checker, Position, ROOTS, Site};
use crate::Problem;
use crate::expr::{Reference, Root, Segment};
use crate::parse::did_you_mean;
use crate::parse::steps::ListOf;
use crate::problem::{PatchOperation, nearest};

/// What `execution` has.
const EXECUTION: [&str; 4] = ["id", "workflow", "started_at", "requested_by"];

/// What `error` has in handlers.
const ERROR: [&str; 3] = ["code", "message", "step"];

impl<'c> Checker<'c> {
    /// Checks every expression of the document.
    pub(super) fn references(&mut self) {
        let (draft, root) = (self.draft, self.root);
        let plain = Rules::default();
        if let Some(lock) = &draft.lock {
            let pointer = sites::lock_key(lock, "/lock", root);
            self.part(Part::Template(&lock.key), &pointer, Position::Start, plain);
        }
        for (name, value) in &draft.vars {
            let pointer = format!("/vars/{}", crate::expr::escape_pointer(name));
            self.part(Part::Template(value), &pointer, Position::Start, plain);
        }
        for (index, step) in draft.steps.iter().enumerate() {
            sites::of_step(step, root, &mut |part, pointer, rules| {
                self.part(part, &pointer, Position::Step(index), rules);
            });
        }
        if let Some(output) = &draft.output {
            let rules = Rules { result: true, ..plain };
            self.part(Part::Template(output), "/output", Position::End, rules);
        }
    }

    fn part(&mut self, part: Part<'_>, base: &str, position: Position, rules: Rules) {
        match part {
            Part::Condition(condition) => {
                let mut seen = HashSet::new();
                condition.visit(&mut |_, reference| {
                    if seen.insert(format!("{reference:?}")) {
                        self.reference(Site { pointer: base, position, rules }, reference);
                    }
                });
            }
            Part::Template(template) => {
                let mut seen = HashSet::new();
                template.visit(&mut |inside, _, reference| {
                    let pointer = format!("{base}{inside}");
                    // One name used twice in one text is one problem.
                    if seen.insert((pointer.clone(), format!("{reference:?}"))) {
                        self.reference(Site { pointer: &pointer, position, rules }, reference);
                    }
                });
                if rules.secrets != Secrets::Allowed {
                    for (inside, name) in template.secrets() {
                        self.secret(&format!("{base}{inside}"), name, rules.secrets);
                    }
                }
            }
        }
    }

    fn secret(&mut self, pointer: &str, name: &str, secrets: Secrets) {
        let why = match secrets {
            Secrets::NotForChildren => {
                "; a child workflow is an execution with a history of its own, so the workflow that calls the tool \
                 names the secret itself"
            }
            Secrets::No | Secrets::Allowed => "; what stands here is written into the history",
        };
        let message = format!(
            "`secrets.{name}` may stand in the `params` of a tool only (of a step, its `verify` or its `undo`){why}"
        );
        self.report(Problem {
            found: Some(format!("secrets.{name}")),
            ..Problem::new("secret_not_allowed", pointer, message)
        });
    }

    fn reference(&mut self, site: Site<'_>, reference: &Reference) {
        if let Some(name) = reference.root.step() {
            return match self.steps.get(name).copied() {
                _ if site.position == Position::Start => self.too_early(site, &reference.root),
                Some(step) => self.order(site, reference, step),
                None => self.unknown_step(site, name),
            };
        }
        let Root::Name(name) = &reference.root else { return };
        let name = name.as_str();
        if self.variables_at(site).contains(&name) {
            return;
        }
        match name {
            "input" => self.input(site, reference, &reference.path, "input"),
            "repo" => {
                let mut path = vec![Segment::Key("repo".to_owned())];
                path.extend(reference.path.iter().cloned());
                self.input(site, reference, &path, "input");
            }
            "execution" => self.one_of(site, reference, "execution", &EXECUTION),
            "error" if self.in_handler(site) => self.one_of(site, reference, "error", &ERROR),
            "result" if site.rules.result => {}
            "vars" if site.position == Position::Start => self.too_early(site, &reference.root),
            "vars" => self.var(site, reference),
            name => match self.assigned.get(name).copied() {
                Some(_) if site.position == Position::Start => {
                    self.too_early(site, &reference.root);
                }
                Some(step) => self.order(site, reference, step),
                None => self.unknown_name(site, name),
            },
        }
    }

    /// The names of elements and iterations that are known in a place.
    fn variables_at(&self, site: Site<'_>) -> Vec<&str> {
        match site.position {
            Position::Step(step) => self.variables(step, site.rules.item, site.rules.inside),
            Position::Start | Position::End => Vec::new(),
        }
    }

    fn in_handler(&self, site: Site<'_>) -> bool {
        match site.position {
            Position::Step(step) => self.phase(step) != ListOf::Main,
            Position::Start | Position::End => false,
        }
    }

    fn too_early(&mut self, site: Site<'_>, root: &Root) {
        let place = site.pointer.split('/').nth(1).unwrap_or_default();
        let message = format!(
            "`{root}` is not known yet: `{place}` is evaluated before anything runs, with `input`, `execution` and \
             `repo`"
        );
        self.report(Problem {
            found: Some(root.to_string()),
            expected: Some("input, execution, repo".to_owned()),
            ..Problem::new("too_early", site.pointer, message)
        });
    }

    fn unknown_step(&mut self, site: Site<'_>, name: &str) {
        let near = self.near_steps(name);
        let message = match near.is_empty() {
            false => format!("there is no step `{name}`"),
            true => {
                let names = self.draft.steps.iter().filter_map(|step| step.name.as_deref());
                format!("there is no step `{name}`; the steps are {}", some(names))
            }
        };
        let patch =
            near.first().map(|right| self.rewritten(site.pointer, &step_pairs(name, right)));
        self.report(Problem {
            suggestion: near.first().map(|name| did_you_mean(name)),
            nearest: near.into_iter().map(str::to_owned).collect(),
            found: Some(name.to_owned()),
            patch: patch.unwrap_or_default(),
            ..Problem::new("unknown_step", site.pointer, message)
        });
    }

    /// A step may refer only to what has certainly ended before it begins.
    fn order(&mut self, site: Site<'_>, reference: &Reference, referred: usize) {
        let Some(view) = self.view(site.position, site.rules.inside, referred) else { return };
        let root = &reference.root;
        let other = self.step_name(referred);
        let name = match site.position {
            Position::Step(step) => self.step_name(step),
            Position::Start | Position::End => "output",
        };
        let from = match root {
            Root::Name(_) => format!("`{root}`, which step `{other}` assigns,"),
            Root::Step(_) | Root::Status(_) | Root::Error(_) => format!("`{root}`"),
        };
        let problem = |code: &'static str, message: String| Problem {
            found: Some(root.to_string()),
            ..Problem::new(code, site.pointer, message)
        };
        // Where the step's own result is called `result`.
        let own = site.rules.result
            && site.position == Position::Step(referred)
            && *root == Root::Step(other.to_owned());
        let problem = match view {
            View::Ended => return,
            View::IterationBefore if !needs_guard(reference) => return,
            View::Itself | View::IterationBefore if own => Problem {
                suggestion: Some("result".to_owned()),
                patch: self.rewritten(site.pointer, &own_result(other)),
                ..problem(
                    "uses_itself",
                    format!("the step's own result is called `result` here, not `{root}`"),
                )
            },
            View::IterationBefore => Problem {
                suggestion: Some(format!("default({root}, …)")),
                ..problem(
                    "not_guarded",
                    format!(
                        "here {from} is the result of the iteration before, and the first has none; say what to take \
                         then with `default({root}…, fallback)`"
                    ),
                )
            },
            View::Itself => problem(
                "uses_itself",
                format!("step `{name}` uses `{root}`, which is its own result"),
            ),
            View::Around => problem(
                "not_ended",
                format!("step `{name}` uses {from} but `{other}` holds it and ends after it"),
            ),
            View::Within => problem(
                "not_ended",
                format!("`{name}` uses {from} but `{other}` is a part of it and has not run yet"),
            ),
            View::OtherBranch(group) => {
                let group = self.step_name(group);
                let message = format!(
                    "step `{name}` uses {from} but `{other}` is in the other branch of `{group}`: only one of the two \
                     runs"
                );
                problem("not_ended", message)
            }
            View::Handler => problem(
                "not_ended",
                format!(
                    "`{name}` uses {from} but `{other}` runs only in {}",
                    self.phase_name(referred)
                ),
            ),
            View::Behind(each) => {
                let each = self.step_name(each);
                let message = format!(
                    "`{other}` runs once for each element of `{each}`, so {from} is many; `steps.{each}` is the list \
                     of all, `steps.{each}[0].{other}` what the first had"
                );
                problem("behind_for_each", message)
            }
            View::After(ours, theirs) => {
                let (ours, theirs) = (self.step_name(ours), self.step_name(theirs));
                let message = format!(
                    "step `{name}` uses {from} but `{theirs}` runs after it; move `{theirs}` before `{ours}`"
                );
                problem("not_needed", message)
            }
            View::Beside(ours, theirs) => self.not_needed(
                ours,
                theirs,
                problem("not_needed", format!("step `{name}` uses {from} but does not need it")),
            ),
        };
        self.report(problem);
    }

    /// Adds the `needs` that a step should have.
    fn not_needed(&self, step: usize, other: usize, problem: Problem) -> Problem {
        let needs = &self.draft.steps[step].needs;
        let names = needs.iter().flatten().flatten().map(String::as_str);
        let names: Vec<&str> = names.chain([self.step_name(other)]).collect();
        let (path, value) = (self.below(step, "needs"), names.clone().into());
        let patch = match needs {
            Some(_) => PatchOperation::Replace { path, value },
            None => PatchOperation::Add { path, value },
        };
        let suggestion = Some(format!("needs: [{}]", names.join(", ")));
        Problem { suggestion, patch: vec![patch], ..problem }
    }

    fn phase_name(&self, step: usize) -> &'static str {
        match self.phase(step) {
            ListOf::OnFailure => "`onFailure`",
            ListOf::OnCancel => "`onCancel`",
            ListOf::Main | ListOf::Content(_) | ListOf::Otherwise(_) => "`steps`",
        }
    }

    fn var(&mut self, site: Site<'_>, reference: &Reference) {
        let Some(Segment::Key(key)) = reference.path.first() else { return };
        let vars: Vec<&str> = self.draft.vars.iter().map(|(name, _)| name.as_str()).collect();
        if vars.contains(&key.as_str()) {
            return;
        }
        let near = nearest(key, vars.iter().copied());
        let known = match vars.as_slice() {
            [] => "the document declares no `vars`".to_owned(),
            _ => format!("`vars` has {}", vars.join(", ")),
        };
        let message = format!("there is no var `{key}`; {known}");
        let suggestion = match near.first() {
            Some(name) => did_you_mean(name),
            None => format!("declare it at the top: vars: {{ {key}: … }}"),
        };
        self.unknown(site, "vars", key, near, message, Some(suggestion));
    }

    /// A key of something that has only these.
    fn one_of(&mut self, site: Site<'_>, reference: &Reference, of: &str, keys: &[&str]) {
        let Some(Segment::Key(key)) = reference.path.first() else { return };
        if keys.contains(&key.as_str()) {
            return;
        }
        let message = format!("`{of}` has no `{key}`; it has {}", keys.join(", "));
        let near = nearest(key, keys.iter().copied());
        let suggestion = near.first().map(|name| did_you_mean(name));
        self.unknown(site, of, key, near, message, suggestion);
    }

    /// An unknown key of a name that is known.
    fn unknown(
        &mut self,
        site: Site<'_>,
        of: &str,
        key: &str,
        near: Vec<&str>,
        message: String,
        suggestion: Option<String>,
    ) {
        let pair = near.first().map(|name| (format!("{of}.{key}"), format!("{of}.{name}")));
        let patch = pair.map(|pair| self.rewritten(site.pointer, &[pair]));
        let near = near.into_iter().map(str::to_owned).collect();
        self.report(Problem {
            suggestion,
            nearest: near,
            found: Some(format!("{of}.{key}")),
            patch: patch.unwrap_or_default(),
            ..Problem::new("unknown_name", site.pointer, message)
        });
    }

    fn unknown_name(&mut self, site: Site<'_>, name: &str) {
        let mut message = format!("there is no name `{name}` in expressions");
        let mut suggestion = None;
        let mut patch = Vec::new();
        let mut near = Vec::new();
        let variables: Vec<String> =
            self.variables_at(site).into_iter().map(str::to_owned).collect();
        if self.steps.contains_key(name) {
            message = format!("{message}; the result of a step is found under `steps`");
            suggestion = Some(format!("steps.{name}"));
            patch = self.rewritten(site.pointer, &[(name.to_owned(), format!("steps.{name}"))]);
        } else if self.draft.vars.iter().any(|(var, _)| var == name)
            && site.position != Position::Start
        {
            message = format!("{message}; a var is found under `vars`");
            suggestion = Some(format!("vars.{name}"));
            patch = self.rewritten(site.pointer, &[(name.to_owned(), format!("vars.{name}"))]);
        } else if let Some(special) = special(name, site.rules.inside) {
            message = format!("`{name}` is not known here: {special}");
            // The element has another name here.
            if name == "item"
                && let Some(variable) = variables.iter().find(|name| *name != "index")
            {
                suggestion = Some(did_you_mean(variable));
                patch = self.rewritten(site.pointer, &[(name.to_owned(), variable.clone())]);
            }
        } else {
            let mut names: Vec<&str> = self.assigned.keys().copied().collect();
            names.sort_unstable();
            let known =
                ROOTS.iter().copied().chain(variables.iter().map(String::as_str)).chain(names);
            let mut known: Vec<&str> = known.collect();
            if !self.draft.vars.is_empty() {
                known.push("vars");
            }
            self.lookups += 1;
            if self.lookups <= super::MAX_LOOKUPS {
                near =
                    nearest(name, known.iter().copied()).into_iter().map(str::to_owned).collect();
            }
            match near.first() {
                Some(right) => {
                    suggestion = Some(did_you_mean(right));
                    patch = self.rewritten(site.pointer, &[(name.to_owned(), right.clone())]);
                }
                None => message = format!("{message}; there are {}", known.join(", ")),
            }
        }
        self.report(Problem {
            suggestion,
            patch,
            nearest: near,
            found: Some(name.to_owned()),
            ..Problem::new("unknown_name", site.pointer, message)
        });
    }
}

/// Where a name that has a meaning elsewhere is known.
fn special(name: &str, inside: Inside) -> Option<&'static str> {
    Some(match (name, inside) {
        ("item", _) => {
            "it is the element that a `forEach` is at, in the step's `params` and in what a group with `forEach` \
             holds; `if`, `lock` and `approval` are evaluated once, before the list"
        }
        ("index", _) => {
            "it is the place in a `forEach`, or the number of an iteration, and is known inside of those"
        }
        ("result", _) => {
            "it is what a step resulted in, in its `expect` and `undo`, in the `expect` of its `verify`, and in \
             `output`; elsewhere write `steps.<name>`"
        }
        ("error", _) => {
            "it is why an execution failed, in `onFailure` and `onCancel`; elsewhere write `error('<name of a step>')`"
        }
        ("status", _) => "it needs the name of a step: `status('build')`",
        _ => return None,
    })
}

/// Whether something must be said for the case that a result does not exist.
fn needs_guard(reference: &Reference) -> bool {
    match reference.root {
        Root::Step(_) | Root::Name(_) => !reference.guarded,
        // A step that has not run has a status, and no error.
        Root::Status(_) | Root::Error(_) => false,
    }
}

/// The ways in which a step can be named, and the same with another name.
fn step_pairs(wrong: &str, right: &str) -> Vec<(String, String)> {
    let forms: [(&str, &str); 7] = [
        ("steps.", ""),
        ("steps['", "']"),
        ("steps[\"", "\"]"),
        ("status('", "')"),
        ("status(\"", "\")"),
        ("error('", "')"),
        ("error(\"", "\")"),
    ];
    let pair = |(open, close): (&str, &str)| {
        (format!("{open}{wrong}{close}"), format!("{open}{right}{close}"))
    };
    forms.into_iter().map(pair).collect()
}

/// The ways in which a step can name its own result, as `result`.
fn own_result(name: &str) -> Vec<(String, String)> {
    let forms = [format!("steps.{name}"), format!("steps['{name}']"), format!("steps[\"{name}\"]")];
    forms.into_iter().map(|form| (form, "result".to_owned())).collect()
}
