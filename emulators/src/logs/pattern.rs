//! Which messages a filter pattern of CloudWatch Logs matches.

use serde_json::Value;

/// A pattern that has been read.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    /// Words that must be there, words of which one must be, and words that must not be.
    Terms { all: Vec<String>, any: Vec<String>, none: Vec<String> },
    /// Alternatives, each of conditions that must all hold.
    Json(Vec<Vec<Condition>>),
}

/// `$.a.b >= 5`.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pointer: String,
    operator: String,
    value: String,
    is_text: bool,
}

/// The longest operators first, so that `<=` is not read as `<`.
const OPERATORS: [&str; 6] = ["!=", "<=", ">=", "=", "<", ">"];

impl Pattern {
    /// Reads a pattern; what cannot be read is told.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(inside) = text.strip_prefix('{') {
            let inside = inside.strip_suffix('}').ok_or("a { without its }")?;
            return Ok(Pattern::Json(read_conditions(inside)?));
        }
        if text.starts_with('[') || text.starts_with('%') {
            return Err(format!(
                "the emulated CloudWatch Logs does not know patterns like {text:?}"
            ));
        }
        let (mut all, mut any, mut none) = (Vec::new(), Vec::new(), Vec::new());
        for (sign, term) in read_terms(text)? {
            match sign {
                Some('?') => any.push(term),
                Some('-') => none.push(term),
                _ => all.push(term),
            }
        }
        Ok(Pattern::Terms { all, any, none })
    }

    pub(super) fn matches(&self, message: &str) -> bool {
        match self {
            Pattern::Terms { all, any, none } => {
                let has = |term: &String| message.contains(term.as_str());
                // Where words must be there, AWS does not look at the optional ones.
                let optional = any.is_empty() || !all.is_empty() || any.iter().any(has);
                all.iter().all(has) && optional && !none.iter().any(has)
            }
            Pattern::Json(alternatives) => {
                let Ok(event) = serde_json::from_str::<Value>(message) else { return false };
                let holds = |conditions: &Vec<Condition>| {
                    conditions.iter().all(|condition| condition.holds(&event))
                };
                event.is_object() && alternatives.iter().any(holds)
            }
        }
    }
}

/// The terms of a pattern, each with `?` or `-` if it has one.
fn read_terms(text: &str) -> Result<Vec<(Option<char>, String)>, String> {
    let mut terms = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let sign = rest.chars().next().filter(|sign| ['?', '-'].contains(sign));
        rest = sign.map_or(rest, |_| &rest[1..]);
        let term = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or("a quote that does not end")?;
            rest = &quoted[end + 1..];
            quoted[..end].to_owned()
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let word = &rest[..end];
            if word.chars().any(|c| !c.is_alphanumeric() && c != '_') {
                return Err(format!(
                    "{word:?} must be quoted: only letters, digits and _ may stand alone"
                ));
            }
            rest = &rest[end..];
            word.to_owned()
        };
        terms.push((sign, term));
        rest = rest.trim_start();
    }
    Ok(terms)
}

fn read_conditions(text: &str) -> Result<Vec<Vec<Condition>>, String> {
    let mut alternatives = Vec::new();
    for alternative in text.split("||") {
        let conditions: Result<Vec<_>, _> = alternative.split("&&").map(read_condition).collect();
        alternatives.push(conditions?);
    }
    Ok(alternatives)
}

fn read_condition(text: &str) -> Result<Condition, String> {
    let text = text.trim().trim_start_matches('(').trim_end_matches(')').trim();
    let found = OPERATORS.iter().filter_map(|one| text.find(one).map(|place| (place, *one)));
    // The first in the text; of two at one place the longer, which stands first in the list.
    let first = found.min_by_key(|(place, operator)| (*place, 2 - operator.len()));
    let (place, operator) = first.ok_or_else(|| format!("{text:?} compares nothing"))?;
    let (selector, value) = (text[..place].trim(), text[place + operator.len()..].trim());
    let path = selector.strip_prefix("$.").ok_or_else(|| format!("{selector:?} is no $.field"))?;
    let is_text = value.starts_with('"');
    Ok(Condition {
        pointer: format!("/{}", path.replace('.', "/")),
        operator: operator.to_owned(),
        value: value.trim_matches('"').to_owned(),
        is_text,
    })
}

impl Condition {
    fn holds(&self, event: &Value) -> bool {
        let Some(found) = event.pointer(&self.pointer) else { return false };
        let wanted = self.value.parse::<f64>();
        if let (false, Some(found), Ok(wanted)) = (self.is_text, found.as_f64(), wanted) {
            return match self.operator.as_str() {
                "=" => (found - wanted).abs() < f64::EPSILON,
                "!=" => f64::EPSILON <= (found - wanted).abs(),
                "<" => found < wanted,
                "<=" => found <= wanted,
                ">" => wanted < found,
                _ => wanted <= found,
            };
        }
        let found = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        match self.operator.as_str() {
            "=" => fits(&self.value, &found),
            "!=" => !fits(&self.value, &found),
            _ => false,
        }
    }
}

/// Whether a text is what is wanted, where `*` stands for anything.
fn fits(wanted: &str, found: &str) -> bool {
    let Some((head, rest)) = wanted.split_once('*') else { return wanted == found };
    let Some(mut found) = found.strip_prefix(head) else { return false };
    let mut parts: Vec<_> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(place) = found.find(part) else { return false };
        found = &found[place + part.len()..];
    }
    found.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_match_as_in_aws() {
        let json = r#"{"level":"ERROR","status":503,"path":"/pay/42","user":{"id":"u1"}}"#;
        let cases = [
            ("", "anything", true),
            ("ERROR", "ERROR: no", true),
            ("ERROR", "error: no", false),
            ("ERROR card", "ERROR no card", true),
            ("ERROR card", "ERROR no money", false),
            ("\"no card\"", "ERROR no card", true),
            ("\"card no\"", "ERROR no card", false),
            ("?ERROR ?WARN", "a WARN b", true),
            ("?ERROR ?WARN", "a INFO b", false),
            ("ERROR -health", "ERROR health", false),
            ("ERROR -health", "ERROR order", true),
            ("{ $.level = \"ERROR\" }", json, true),
            ("{ $.level = \"INFO\" }", json, false),
            ("{ $.level != \"INFO\" }", json, true),
            ("{ $.status >= 500 }", json, true),
            ("{ $.status < 500 }", json, false),
            ("{ $.path = \"/pay/*\" && $.status = 503 }", json, true),
            ("{ $.level = \"INFO\" || $.user.id = \"u1\" }", json, true),
            ("{ $.level = \"ERROR\" }", "ERROR in plain text", false),
        ];
        for (pattern, message, matches) in cases {
            assert_eq!(
                Pattern::read(pattern).unwrap().matches(message),
                matches,
                "{pattern} {message}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for pattern in
            ["{ $.level = \"x\"", "\"open", "[ip, user]", "%regex%", "a.b", "{ level = 1 }"]
        {
            assert!(Pattern::read(pattern).is_err(), "{pattern}");
        }
    }
}
