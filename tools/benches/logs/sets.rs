//! Labelled logs of our own making, and how well a grouping of them fits the labels.
//!
//! Each set is a form of line and the sentences that are written in it; what varies in them is drawn
//! from a generator that always starts alike.

use std::collections::HashMap;

use windlass_tools::observability::patterns::{MOST_PATTERNS, Patterns};

/// How many lines a set has.
pub(crate) const LINES: usize = 400;

/// A log: its lines, each with the name of its kind.
pub(crate) struct Labelled {
    pub(crate) name: String,
    pub(crate) lines: Vec<(String, String)>,
}

/// How well a log was grouped.
pub(crate) struct Measured {
    /// The share of lines whose group is exactly their kind.
    pub(crate) accuracy: f64,
    pub(crate) groups: usize,
    pub(crate) kinds: usize,
    /// The length of all lines, and of the patterns as they are told.
    pub(crate) bytes: (usize, usize),
}

/// A form of line with `%` for the sentence, and the sentences. In both, `{…}` varies.
type Set = (&'static str, &'static str, &'static [&'static str]);

const SETS: [Set; 8] = [
    (
        "access",
        "{ip} - {user} [21/Nov/2026:10:{sec}:{sec} +0000] %",
        &[
            "\"GET /health HTTP/1.1\" 200 {num}",
            "\"GET /api/orders/{num} HTTP/1.1\" 200 {num}",
            "\"POST /api/orders HTTP/1.1\" 201 {num}",
            "\"GET /static/app-{hex}.js HTTP/1.1\" 304 0",
            "\"DELETE /api/carts/{num}/items/{num} HTTP/1.1\" 204 0",
        ],
    ),
    (
        "java",
        "2026-11-21 10:{sec}:{sec},{num} INFO  [worker-{num}] shop.Orders - %",
        &[
            "Order {num} accepted from {ip} in {num} ms",
            "Connection to {ip}:5432 established after {num} attempts",
            "Cache region {user} evicted {num} entries",
            "Retrying payment {uuid} because the provider answered {num}",
            "Payment {uuid} settled",
            "Slow query took {num} ms on table {user}",
            "Scheduled job {user} finished",
        ],
    ),
    (
        "traces",
        "2026-11-21T10:{sec}:{sec}Z ERROR %",
        &[
            "Checkout of cart {num} failed\n\tat shop.Pay.run(Pay.java:{num})\n\tat shop.Main.main(Main.java:3)\nCaused by: java.net.ConnectException: refused by {ip}",
            "Checkout of cart {num} failed\n\tat shop.Stock.take(Stock.java:{num})\n\tat shop.Main.main(Main.java:3)\nCaused by: shop.SoldOut: item {num}",
            "Unhandled message\nTraceback (most recent call last):\n  File \"/app/till.py\", line {num}, in take\n    price(item)\nKeyError: {num}",
            "Upload of {path} timed out after {num} s",
            "Deadlock on table {user} detected",
        ],
    ),
    (
        "json",
        "{\"time\":\"2026-11-21T10:{sec}:{sec}Z\",\"pid\":{num},%,\"trace_id\":\"{hex}\"}",
        &[
            "\"level\":30,\"msg\":\"request completed\",\"status\":200",
            "\"level\":50,\"msg\":\"request failed\",\"err\":{\"type\":\"TimeoutError\"}",
            "\"level\":50,\"msg\":\"request failed\",\"err\":{\"type\":\"CardError\"}",
            "\"level\":40,\"msg\":\"rate limit of tenant {user} is near: {num} left\"",
            "\"level\":30,\"msg\":\"session {uuid} opened for {user}\"",
            "\"level\":20,\"msg\":\"cache lookup {hex} took {num} us\"",
        ],
    ),
    (
        "ssh",
        "Nov 21 10:{sec}:{sec} gate sshd[{num}]: %",
        &[
            "Failed password for {user} from {ip} port {num} ssh2",
            "Failed password for invalid user {user} from {ip} port {num} ssh2",
            "Accepted publickey for {user} from {ip} port {num} ssh2: RSA SHA256:{hex}",
            "Connection closed by {ip} port {num} [preauth]",
            "pam_unix(sshd:session): session opened for user {user} by (uid=0)",
            "Received disconnect from {ip} port {num}:11: disconnected by user",
        ],
    ),
    (
        "logfmt",
        "ts=2026-11-21T10:{sec}:{sec}.{num}Z level=info caller=main.go:{num} %",
        &[
            "msg=\"block uploaded\" id={uuid} size={num}",
            "msg=\"compaction finished\" blocks={num} took={num}ms",
            "msg=\"replica joined\" peer={ip}:7946",
            "msg=\"rule evaluation is slow\" group={user} seconds={num}",
            "msg=\"snapshot written\" path={path}",
        ],
    ),
    (
        "database",
        "2026-11-21 10:{sec}:{sec}.{num} UTC [{num}] %",
        &[
            "LOG:  checkpoint complete: wrote {num} buffers ({num}.{num}%%); sync={num} s",
            "LOG:  connection received: host={ip} port={num}",
            "ERROR:  duplicate key value violates unique constraint \"{user}_pkey\"",
            "FATAL:  password authentication failed for user \"{user}\"",
            "LOG:  temporary file: path \"{path}\", size {num}",
            "WARNING:  there is no transaction in progress",
        ],
    ),
    (
        "cluster",
        "I1121 10:{sec}:{sec}.{num} {num} kubelet.go:{num}] %",
        &[
            "Started container {user} in pod shop-{hex}",
            "Back-off {num}s restarting failed container={user} pod=shop-{hex}",
            "Readiness probe failed: HTTP probe failed with statuscode: {num}",
            "Successfully pulled image \"registry.test/shop@sha256:{hex}\" in {num}.{num}s",
            "Volume {uuid} mounted at {path}",
            "Node has sufficient memory",
        ],
    ),
];

/// All sets.
pub(crate) fn all() -> Vec<Labelled> {
    SETS.iter().map(labelled).collect()
}

fn labelled((name, form, sentences): &Set) -> Labelled {
    let mut chance = Chance(7);
    let lines = (0..LINES).map(|_| {
        // Some kinds are common and others rare, as everywhere.
        let kind = chance.below(sentences.len()).min(chance.below(sentences.len()));
        let line = form.replacen('%', sentences[kind], 1).replace("%%", "%");
        (kind.to_string(), varied(&line, &mut chance))
    });
    Labelled { name: (*name).to_owned(), lines: lines.collect() }
}

/// A line with everything that varies drawn anew.
fn varied(line: &str, chance: &mut Chance) -> String {
    const PLACES: [&str; 7] = ["{ip}", "{num}", "{sec}", "{hex}", "{uuid}", "{path}", "{user}"];
    let mut text = String::new();
    let mut rest = line;
    while let Some((at, place)) =
        PLACES.iter().filter_map(|place| Some((rest.find(place)?, *place))).min()
    {
        text += &rest[..at];
        text += &chance.draw(place);
        rest = &rest[at + place.len()..];
    }
    text + rest
}

/// A generator of numbers that look like chance and are always the same.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).unwrap_or_default() % end
    }

    fn draw(&mut self, place: &str) -> String {
        const USERS: [&str; 8] =
            ["ada", "alan", "grace", "linus", "edsger", "barbara", "donald", "tony"];
        let mut hex = |digits: usize| -> String {
            (0..digits).map(|_| char::from(b"0123456789abcdef"[self.below(16)])).collect()
        };
        match place {
            "{hex}" => hex(16),
            "{uuid}" => format!("{}-{}-{}-{}-{}", hex(8), hex(4), hex(4), hex(4), hex(12)),
            "{ip}" => format!("10.{}.{}.{}", self.below(256), self.below(256), self.below(256)),
            "{sec}" => format!("{:02}", self.below(60)),
            "{path}" => format!("/var/data/{}/{}.bin", USERS[self.below(8)], self.next()),
            "{user}" => USERS[self.below(8)].to_owned(),
            _ => self.below(90_000).to_string(),
        }
    }
}

/// Groups a log and compares the groups with the labels.
#[allow(clippy::cast_precision_loss, reason = "the counts are small")]
pub(crate) fn measure(log: &Labelled) -> Measured {
    let mut patterns = Patterns::default();
    let mut kinds: HashMap<&str, HashMap<usize, usize>> = HashMap::new();
    let mut sizes: HashMap<usize, usize> = HashMap::new();
    for (kind, line) in &log.lines {
        let group = patterns.add(line, None);
        *kinds.entry(kind).or_default().entry(group).or_default() += 1;
        *sizes.entry(group).or_default() += 1;
    }
    // A kind is right when it is one group and nothing else is in that.
    let right = |groups: &HashMap<usize, usize>| match groups.iter().next() {
        Some((group, lines)) if groups.len() == 1 && sizes[group] == *lines => *lines,
        _ => 0,
    };
    let right: usize = kinds.values().map(right).sum();
    let told = serde_json::to_string(&patterns.shown(MOST_PATTERNS)).unwrap_or_default();
    let raw = log.lines.iter().map(|(_, line)| line.len() + 1).sum();
    Measured {
        accuracy: right as f64 / log.lines.len() as f64,
        groups: patterns.all.len(),
        kinds: kinds.len(),
        bytes: (raw, told.len()),
    }
}
