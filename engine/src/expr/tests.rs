//! What expressions promise, as tables.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Condition, Names, Template};

/// What a test knows.
#[derive(Default)]
struct Known {
    now: i64,
    names: HashMap<&'static str, Value>,
    steps: HashMap<&'static str, Value>,
    statuses: HashMap<&'static str, &'static str>,
    errors: HashMap<&'static str, Value>,
}

impl Names for Known {
    fn name(&self, name: &str) -> Option<&Value> {
        self.names.get(name)
    }
    fn step(&self, name: &str) -> Option<&Value> {
        self.steps.get(name)
    }
    fn status(&self, step: &str) -> Option<&str> {
        self.statuses.get(step).copied()
    }
    fn error(&self, step: &str) -> Option<&Value> {
        self.errors.get(step)
    }
    fn now(&self) -> i64 {
        self.now
    }
}

fn known() -> Known {
    let input = json!({
        "name": "Ada", "age": 36, "big": 18_446_744_073_709_551_615_u64, "one": 1.0,
        "tags": ["a", "b"], "nothing": null, "yes": true, "text": "a,b,c", "empty": "",
        "object": { "z": 1, "a": { "k k": [10, 20] } },
        "page": { "items": [{ "id": 7 }, { "id": 8 }], "next_page": null },
        "if": 3,
    });
    Known {
        now: 1_795_259_045_678,
        names: HashMap::from([
            ("input", input),
            ("issue", json!({ "title": "Broken", "number": 4 })),
        ]),
        steps: HashMap::from([("fetch", json!({ "url": "http://x/", "jobs": [{ "n": 2 }] }))]),
        statuses: HashMap::from([("fetch", "completed"), ("bad", "failed"), ("left", "skipped")]),
        errors: HashMap::from([("bad", json!({ "code": "timeout", "message": "too slow" }))]),
    }
}

fn evaluate(text: &str) -> Result<Value, String> {
    let template = Template::compile(&json!(text)).map_err(|error| error.message)?;
    template.evaluate(&known()).map_err(|error| error.message)
}

#[track_caller]
fn check(text: &str, expected: Value) {
    assert_eq!(evaluate(text), Ok(expected.clone()), "{text}");
    // `==` on JSON values does not see the order of keys; the text does.
    assert_eq!(evaluate(text).unwrap().to_string(), expected.to_string(), "{text}");
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    match evaluate(text) {
        Err(message) => assert!(message.contains(expected), "{text}: {message}"),
        Ok(value) => panic!("{text} should be an error, and is {value}"),
    }
}

#[test]
fn a_whole_value_keeps_its_type() {
    check("${input.age}", json!(36));
    check("${ input.one }", json!(1.0));
    check("${input.big}", json!(18_446_744_073_709_551_615_u64));
    check("${input.nothing}", json!(null));
    check("${input.object}", json!({ "z": 1, "a": { "k k": [10, 20] } }));
    check("${input.object.a['k k'][1]}", json!(20));
    check("${input[\"if\"]}", json!(3));
    check("${input.if}", json!(3));
}

#[test]
fn inside_text_scalars_are_plain_and_objects_compact_json() {
    check("I am ${input.name}, ${input.age}", json!("I am Ada, 36"));
    check("${input.one}${input.yes}${input.nothing}", json!("1.0truenull"));
    check(
        "t=${input.tags} o=${input.object}",
        json!("t=[\"a\",\"b\"] o={\"z\":1,\"a\":{\"k k\":[10,20]}}"),
    );
}

#[test]
fn a_doubled_dollar_is_a_literal_one() {
    check("$${input.name}", json!("${input.name}"));
    check("a $${b} ${input.name} $5 $", json!("a ${b} Ada $5 $"));
    check("$$${input.name}", json!("$${input.name}"));
}

#[test]
fn braces_and_quotes_inside_an_expression_are_understood() {
    check("${{'a': {'b': 1}}}", json!({ "a": { "b": 1 } }));
    check("${'}'}", json!("}"));
    check("x${\"a}'b\"}y", json!("xa}'by"));
    check(r"${'it\'s }'}", json!("it's }"));
    check(r"${r'\d}'}", json!(r"\d}"));
    check("${'''a'b}'''}", json!("a'b}"));
    check_error("${input.name", "no closing `}`");
    check_error("${'abc}", "no closing `}`");
    check_error("${}", "empty");
}

#[test]
fn steps_statuses_errors_and_assigned_names_are_in_scope() {
    check("${steps.fetch.url}", json!("http://x/"));
    check("${steps['fetch'].jobs[0].n + 1}", json!(3));
    check("${status('fetch')}", json!("completed"));
    check("${error('bad').code}", json!("timeout"));
    check("${error('fetch')}", json!(null));
    check("${issue.title}", json!("Broken"));
}

#[test]
fn an_index_on_a_page_reaches_its_items() {
    check("${input.page[0].id}", json!(7));
    check("${input.page[1]['id'] * 2}", json!(16));
    check_error("${input.page[2].id}", "has no element [2]");
}

#[test]
fn what_is_missing_is_named_with_what_exists() {
    check_error("${input.nme}", "`input` has no key `nme`; it has `name`");
    check_error("${input.nme}", "did you mean `name`?");
    check_error("${input.object.a.x}", "`input.object.a` has no key `x`; it has `k k`");
    check_error("${input.tags[5]}", "`input.tags` has no element [5]; it has 2 elements");
    check_error("${input.tags.length}", "size(…)");
    check_error("${input.name.first}", "`input.name` is a text");
    check_error("${unknown.x}", "`unknown` does not exist yet");
    check_error("${steps.left.x}", "`left` has no result, because it was skipped");
    check_error("${steps.none.x}", "no step `none`");
    check_error("${status('none')}", "no step `none`");
    check_error("a ${issue.numbr} b", "did you mean `number`?");
    check_error("${size(issue.labels)}", "`issue` has no key `labels`");
}

#[test]
fn default_stands_in_for_what_does_not_exist_and_nothing_else() {
    check("${default(input.nope, 5)}", json!(5));
    check("${default(input.nope.deeper[3], 'x')}", json!("x"));
    check("${default(nope, 'x')}", json!("x"));
    check("${default(steps.left.y, [])}", json!([]));
    check("${default(input.nothing, 5)}", json!(null));
    check("${default(input.age, 5)}", json!(36));
    check("${default(size(input.nope), 0)}", json!(0));
    check("${[{'a': 1}, {}].map(x, default(x.a, 0))}", json!([1, 0]));
    check("${default(default(input.a, input.b), 'c')}", json!("c"));
    check_error("${default(1 / 0, 5)}", "division by zero");
    check_error("${default(input.nope)}", "write `default(value, fallback)`");
}

#[test]
fn has_tells_whether_a_path_exists() {
    check("${has(input.age)}", json!(true));
    check("${has(input.nope)}", json!(false));
    check("${has(input.nope.deeper)}", json!(false));
    check("${has(steps.left)}", json!(false));
    check("${has(input.object.a)}", json!(true));
}

#[test]
fn optional_paths_work() {
    check("${input.?nope.orValue(1)}", json!(1));
    check("${input.?age.orValue(1)}", json!(36));
    check("${input.?nope.deeper.orValue(1)}", json!(1));
    check("${input.?object.a['k k'][0].orValue(1)}", json!(10));
    check("${input[?'nope'].hasValue()}", json!(false));
    check("${[input.?age.value(), 1]}", json!([36, 1]));
    check("${[?input.?nope, ?input.?age]}", json!([36]));
    check("${{?'a': input.?nope, 'b': 1}}", json!({ "b": 1 }));
    check_error("${input.?nope}", "orValue");
}

#[test]
fn operators_work_as_in_cel() {
    let table = [
        ("1 + 2 * 3", json!(7)),
        ("7 / 2", json!(3)),
        ("-7 % 4", json!(-3)),
        ("7.0 / 2.0", json!(3.5)),
        ("1 + 0.5", json!(1.5)),
        ("input.big - 1u", json!(18_446_744_073_709_551_614_u64)),
        ("'a' + 'b'", json!("ab")),
        ("[1] + [2]", json!([1, 2])),
        ("1 == 1.0", json!(true)),
        ("1 == '1'", json!(false)),
        ("{'a': [1]} == {'a': [1.0]}", json!(true)),
        ("input.big > 9223372036854775807", json!(true)),
        ("9007199254740993 > 9007199254740992.0", json!(true)),
        ("2 in [1, 2]", json!(true)),
        ("'a' in {'a': 1}", json!(true)),
        ("'b' < 'c' && !(1 >= 2) || false", json!(true)),
        ("true || input.nope == 1", json!(true)),
        ("input.nope == 1 || true", json!(true)),
        ("false && input.nope == 1", json!(false)),
        ("input.nope == 1 && false", json!(false)),
        ("input.age > 30 ? 'old' : 'young'", json!("old")),
        ("-input.age", json!(-36)),
        ("input.nothing == null", json!(true)),
        ("{'z': 1, 'a': 2}", json!({ "z": 1, "a": 2 })),
    ];
    for (source, expected) in table {
        check(&format!("${{{source}}}"), expected);
    }
}

#[test]
fn operators_refuse_what_makes_no_sense() {
    let table = [
        ("9223372036854775807 * 9223372036854775807", "too large for 64 bits"),
        ("1 % 0", "division by zero"),
        ("'a' + 1", "make a text of the other one with string(…)"),
        ("1 < 'a'", "have no order"),
        ("[0, 2].exists(x, 1 / x == 1)", "division by zero"),
        ("1 ? 2 : 3", "true or false is needed"),
        ("input.name && true", "`input.name` is a text"),
        ("'a' in 'abc'", "contains"),
        ("{'a': 1, 'a': 2}", "given twice"),
        ("input.age.map(x, x)", "only lists and objects can be walked"),
    ];
    for (source, expected) in table {
        check_error(&format!("${{{source}}}"), expected);
    }
}

#[test]
fn macros_walk_lists_and_objects_in_order() {
    let table = [
        ("[1, 2, 3].map(x, x * 2)", json!([2, 4, 6])),
        ("[1, 2, 3].map(x, x > 1, x * 2)", json!([4, 6])),
        ("[1, 2, 3].filter(x, x != 2)", json!([1, 3])),
        ("[1, 2, 3].all(x, x > 0)", json!(true)),
        ("[1, 2, 3].exists(x, x == 2)", json!(true)),
        ("[1, 2, 3].exists_one(x, x > 1)", json!(false)),
        ("input.object.map(key, key)", json!(["z", "a"])),
        ("[[1, 2], [3]].map(xs, xs.map(x, x + size(xs)))", json!([[3, 4], [4]])),
        ("input.page.items.map(item, item.id)", json!([7, 8])),
        ("[0, 1].exists(x, 1 / x == 1)", json!(true)),
        ("[0, 1].all(x, 1 / x == 2)", json!(false)),
        ("input.tags.map(input, input)", json!(["a", "b"])),
    ];
    for (source, expected) in table {
        check(&format!("${{{source}}}"), expected);
    }
}

#[test]
fn functions_work() {
    let table = [
        ("size('äb')", json!(2)),
        ("input.tags.size()", json!(2)),
        ("size(input.object)", json!(2)),
        ("'Hallo'.contains('all')", json!(true)),
        ("input.tags.contains('b')", json!(true)),
        ("'Hallo'.startsWith('Ha') && 'Hallo'.endsWith('lo')", json!(true)),
        ("'v1.2'.matches('^v[0-9]')", json!(true)),
        ("matches('abc', 'x')", json!(false)),
        ("'aB'.lowerAscii() + 'aB'.upperAscii()", json!("abAB")),
        ("'  a '.trim()", json!("a")),
        ("input.text.split(',')", json!(["a", "b", "c"])),
        ("input.text.split(',', 2)", json!(["a", "b,c"])),
        ("['a', 1, true].join('-')", json!("a-1-true")),
        ("'aXbX'.replace('X', '.')", json!("a.b.")),
        ("'aXbX'.replace('X', '.', 1)", json!("a.bX")),
        ("'hällo'.substring(1, 3)", json!("äl")),
        ("'hällo'.indexOf('l')", json!(2)),
        ("'hello'.lastIndexOf('x')", json!(-1)),
        ("'abc'.charAt(1) + 'abc'.reverse()", json!("bcba")),
        ("string(1.0) + string({'a': [1]})", json!("1.0{\"a\":[1]}")),
        ("int('42') + int(2.9)", json!(44)),
        ("double('1.5') + double(1)", json!(2.5)),
        ("bool('true')", json!(true)),
        ("type(1.0) + type([])", json!("doublelist")),
        ("json({'b': 1, 'a': null})", json!("{\"b\":1,\"a\":null}")),
        ("parseJson('{\"b\": [1.0]}')", json!({ "b": [1.0] })),
        ("now()", json!("2026-11-21T11:04:05.678Z")),
        ("slug('Fix: Ünicode & more!')", json!("fix-nicode-more")),
        ("'A b'.slug()", json!("a-b")),
    ];
    for (source, expected) in table {
        check(&format!("${{{source}}}"), expected);
    }
}

#[test]
fn the_time_of_day_is_written_as_rfc_3339() {
    let table = [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ];
    let template = Template::compile(&json!("${now()}")).unwrap();
    for (now, expected) in table {
        let known = Known { now, ..Known::default() };
        assert_eq!(template.evaluate(&known), Ok(json!(expected)));
    }
}

#[test]
fn the_largest_expression_that_is_allowed_fits_on_a_small_stack() {
    let largest = [
        (format!("1{}", "+1".repeat(255)), json!(256)),
        (format!("{}true", "!".repeat(250)), json!(true)),
        (format!("{}3", "false?1:".repeat(125)), json!(3)),
        (format!("{}1{}", "[".repeat(30), "]".repeat(30)) + "[0]".repeat(30).as_str(), json!(1)),
        (format!("{}1{}", "string(".repeat(30), ")".repeat(30)), json!("1")),
        (format!("true{}", "&&true".repeat(120)), json!(true)),
        (format!("default(input{}, 2)", ".a".repeat(200)), json!(2)),
    ];
    let check_all = move || {
        for (source, expected) in largest {
            check(&format!("${{{source}}}"), expected);
        }
    };
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(check_all).unwrap();
    thread.join().unwrap();
}

#[test]
fn functions_say_how_they_are_written() {
    let table = [
        ("input.name.toUpperCase()", "write `text.upperAscii()`"),
        ("sise(input.name)", "did you mean `size`?"),
        ("contains('a', 'b')", "text.contains(part)"),
        ("'a'.matches('(')", "is not a pattern"),
        ("int('x')", "cannot be read as a whole number"),
        ("parseJson('{')", "is not JSON"),
        ("[1].contains()", "text.contains(part)"),
        ("status(input.x)", "written out"),
        ("steps", "followed by the name of a step"),
        ("steps[input.name]", "written out"),
        ("a === b", "write `==`"),
        ("new Date().toISOString()", "now()"),
        ("a ?? b", "default(value, fallback)"),
        ("input.", "not a CEL expression"),
        ("b'abc'", "bytes"),
        ("Foo{a: 1}", "no type `Foo`"),
    ];
    for (source, expected) in table {
        check_error(&format!("${{{source}}}"), expected);
    }
}

#[test]
fn the_cost_of_an_expression_is_bounded() {
    check_error(&format!("${{'{}'}}", "x".repeat(5_000)), "4096 are allowed");
    check_error(&format!("${{{}1}}", "1+".repeat(300)), "256 are allowed");
    check_error(&format!("${{{}1{}}}", "(".repeat(40), ")".repeat(40)), "32 are allowed");
    check_error("${[1].map(a, [1].map(b, [1].map(c, c)))}", "nested 2 deep");
    let refused = |source: &str, input: Value| {
        let mut known = known();
        known.names.insert("input", input);
        let template = Template::compile(&json!(source)).unwrap();
        template.evaluate(&known).unwrap_err().message
    };
    let many = json!({ "many": vec![0; 2_000], "text": "x".repeat(100_000) });
    let message = refused("${input.many.map(a, input.many.map(b, a))}", many.clone());
    assert!(message.contains("more than 1000000 elements"), "{message}");
    let message = refused("${input.many.map(a, input.text)}", many);
    assert!(message.contains("more than 64 MiB"), "{message}");
    // Alike but for their ends, so that all of each is looked at.
    let texts = |count: usize, length: usize| -> Value {
        (0..count).map(|number| Value::from(format!("{}{number:04}", "x".repeat(length)))).collect()
    };
    let alike = json!({ "alike": texts(250, 100_000) });
    for source in [
        "${input.alike.all(a, a in input.alike)}",
        "${input.alike.all(a, input.alike.contains(a))}",
        "${input.alike.all(a, input.alike.exists(b, b == a))}",
        "${input.alike.all(a, input.alike.all(b, a <= b || b < a))}",
        "${input.alike.all(a, input.alike.all(b, !a.matches('never') && !b.contains('never')))}",
    ] {
        let message = refused(source, alike.clone());
        assert!(message.contains("searches more than 1024 MiB"), "{source}: {message}");
    }
    let message =
        refused("${input.words.all(a, !'text'.matches(a))}", json!({ "words": texts(2_000, 1) }));
    assert!(message.contains("searches more than 1024 MiB"), "each is compiled: {message}");
}

#[test]
fn a_condition_may_leave_the_braces_off_and_must_be_a_boolean() {
    let holds = |text: &str| {
        let condition = Condition::compile(text).map_err(|error| error.message)?;
        condition.evaluate(&known()).map_err(|error| error.message)
    };
    assert_eq!(holds("input.age > 30"), Ok(true));
    assert_eq!(holds("${input.age < 30}"), Ok(false));
    assert_eq!(holds(" ${ input.yes } "), Ok(true));
    assert!(holds("input.age").unwrap_err().contains("is a number"));
    assert!(holds("${input.age} > 30").unwrap_err().contains("one expression"));
    assert!(holds("").unwrap_err().contains("empty"));
}

#[test]
fn templates_are_evaluated_at_every_depth_and_keys_are_left_alone() {
    let value = json!({
        "${input.name}": ["${input.age}", { "deep": "a${input.name}" }], "n": 1, "s": "$${x}",
    });
    let template = Template::compile(&value).unwrap();
    let expected = json!({ "${input.name}": [36, { "deep": "aAda" }], "n": 1, "s": "${x}" });
    assert_eq!(template.evaluate(&known()).unwrap(), expected);
    let literal = Template::compile(&json!({ "a": ["$${x}"] })).unwrap();
    assert_eq!(literal.evaluate(&known()).unwrap(), json!({ "a": ["${x}"] }));
}

#[test]
fn references_are_listed_with_whether_they_are_guarded() {
    let source = "${default(a.b['c d'][0].e, f) + (has(steps.s.x) ? g[input.i].h : status('t')) \
                  + [1].map(x, x + y.z)[0]}";
    let template = Template::compile(&json!({ "k": [source] })).unwrap();
    let mut found = Vec::new();
    template.visit(&mut |pointer, _, reference| {
        let path = format!("{:?}", reference.path);
        found.push(format!("{pointer} {} {path} {}", reference.root, reference.guarded));
    });
    let expected = [
        r#"/k/0 a [Key("b"), Key("c d"), Index(0), Key("e")] true"#,
        "/k/0 f [] false",
        r#"/k/0 steps.s [Key("x")] true"#,
        "/k/0 g [] false",
        r#"/k/0 input [Key("i")] false"#,
        "/k/0 status('t') [] false",
        r#"/k/0 y [Key("z")] false"#,
    ];
    assert_eq!(found, expected);
}

/// A small generator with a seed: tests need variety, not chance.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    fn text(&mut self, alphabet: &[&str], length: usize) -> String {
        (0..self.next(length + 1)).map(|_| alphabet[self.next(alphabet.len())]).collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.next(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => Value::Bool(self.next(2) == 1),
            2 => json!(self.next(usize::MAX) as u64),
            3 => json!(-(self.next(1 << 40) as i64)),
            4 => json!(self.next(1_000_000) as f64 / 8.0),
            5 => json!(self.text(&["a", "ü", "\"", "\\", "${", "}", "\n", "\u{0}", "😀"], 8)),
            6 => (0..self.next(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let keys = ["z", "a", "", "k k", "ü", "items"];
                let entries = (0..self.next(4))
                    .map(|_| (keys[self.next(keys.len())].to_owned(), self.value(depth - 1)));
                Value::Object(entries.collect())
            }
        }
    }
}

#[test]
fn any_value_passes_through_a_reference_unchanged() {
    let mut random = Random(0x5eed);
    for source in ["${input.x}", "${ input['x'] }", "${[input.x][0]}", "${true ? input.x : 1}"] {
        let template = Template::compile(&json!(source)).unwrap();
        for _ in 0..500 {
            let value = random.value(4);
            let mut known = Known::default();
            known.names.insert("input", json!({ "x": value }));
            let result = template.evaluate(&known).unwrap();
            assert_eq!(result.to_string(), value.to_string());
        }
    }
}

#[test]
fn no_text_makes_the_compiler_panic() {
    let alphabet = [
        "${", "}", "{", "'", "\"", "\\", "(", ")", "[", "]", ".", "?", ":", "!", "-", "+", "&&",
        "||", "==", "in", " ", "a", "input", "steps", "map", "has", "default", "1", "0x", "1e9",
        "ü", "😀", "$", "\n", "\u{0}", ",", "b'", "r\"", "'''", "//", "`", "@", "x,", "status",
    ];
    let mut random = Random(0xbad_c0de);
    let known = known();
    for _ in 0..20_000 {
        let text = random.text(&alphabet, 14);
        for text in [format!("${{{text}}}"), text.clone()] {
            if let Ok(template) = Template::compile(&json!(text)) {
                let _ = template.evaluate(&known);
            }
        }
        let _ = Condition::compile(&text);
    }
}
