# Recipes for `just` (https://crates.io/crates/just). Each is one line that you could type yourself.

# What should pass before you ask for a reader.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace
    ./test

# Every test; installs what they need. Arguments go to `cargo test`.
test *arguments:
    ./test {{arguments}}

# Windlass at work, without accounts.
demo:
    cargo run --quiet -- demo

# Licences and banned crates. Needs cargo-deny.
deny:
    cargo deny check bans licenses sources

# Everything CI runs.
ci:
    bash .ci/run
