//! `windlass bench`: how fast executions run here, and what each of them takes.

use std::{io::BufRead, time::Duration};

use serde_json::{Value, json};

use super::{
    arguments::{self, BenchShape, BenchSynchronous},
    failure::{Exit, Failure},
    session::Session,
    signals,
    terminal::{self, dim},
};
use crate::{
    bench::{Bench, Measured, Settings, Shape, Until},
    config::Synchronous,
};

pub(super) async fn run(session: &Session, arguments: arguments::Bench) -> Result<Exit, Failure> {
    if arguments.shape.is_none() && arguments.fill.is_none() && !arguments.driver {
        let message = "say what to measure: n5, w5, f20 or park; or --fill or --driver";
        return Err(
            Failure::usage(message).help("`windlass bench --help` says what each of them is")
        );
    }
    if arguments.shape == Some(BenchShape::W5) && arguments.tool_server.is_none() {
        return Err(Failure::usage("w5 calls a tool server, and none is named").help(
            "--tool-server \"COMMAND …\" names one that speaks MCP on stdio and has the tool echo",
        ));
    }
    let bench = Bench::open(settings(session, &arguments)?).await?;
    terminal::tell(&dim(&format!("measuring on {}", bench.place())));
    let done = tokio::select! {
        done = measure(&bench, &arguments) => done,
        () = signals::interrupted() => Ok(Exit::Interrupted),
    };
    bench.close().await?;
    done
}

fn settings(session: &Session, arguments: &arguments::Bench) -> Result<Settings, Failure> {
    // Only a database that was named for this very call: a benchmark is not run on one that is merely configured.
    let database = session.named_database()?;
    let command = arguments.tool_server.as_deref().unwrap_or_default();
    let synchronous = arguments.synchronous.map(|synchronous| match synchronous {
        BenchSynchronous::Off => Synchronous::Off,
        BenchSynchronous::Normal => Synchronous::Normal,
        BenchSynchronous::Full | BenchSynchronous::On => Synchronous::Full,
    });
    Ok(Settings {
        database,
        tool_server: command.split_whitespace().map(str::to_owned).collect(),
        synchronous,
        concurrency: arguments.concurrency,
        keep: arguments.keep,
    })
}

async fn measure(bench: &Bench, arguments: &arguments::Bench) -> Result<Exit, Failure> {
    let filled = match arguments.fill {
        Some(count) => Some(fill(bench, count).await?),
        None => None,
    };
    if arguments.driver {
        return serve(bench).await;
    }
    let Some(shape) = arguments.shape.map(shape) else {
        terminal::say(&json!({ "filled": filled }).to_string());
        return Ok(Exit::Done);
    };
    let (mut line, measured) = match shape {
        Shape::Park => bench.park(arguments.executions.unsigned_abs(), arguments.seconds).await?,
        _ => bench.report(shape, arguments.seconds).await?,
    };
    if let Some(filled) = filled {
        line["filled"] = filled;
    }
    terminal::say(&line.to_string());
    Ok(exit(&measured))
}

fn exit(measured: &Measured) -> Exit {
    let Some(error) = &measured.first_error else { return Exit::Done };
    terminal::tell(&format!(
        "{} {} executions did not complete; the first: {error}",
        terminal::red("error:"),
        measured.errors
    ));
    Exit::Failed
}

async fn fill(bench: &Bench, count: i64) -> Result<Value, Failure> {
    if bench.is_shared().await? {
        let message = "this database holds executions or workflows of others, and is not filled";
        return Err(Failure::usage(message).help(
            "name a database that only benchmarks use (createdb windlass_bench), or none for a new SQLite file",
        ));
    }
    let told = |done: i64| {
        if done % 100_000 == 0 || done == count {
            terminal::tell(&dim(&format!("made {done} of {count} executions")));
        }
    };
    Ok(bench.fill(count, &told).await?)
}

fn shape(shape: BenchShape) -> Shape {
    match shape {
        BenchShape::N5 => Shape::N5,
        BenchShape::W5 => Shape::W5,
        BenchShape::F20 => Shape::F20,
        BenchShape::Park => Shape::Park,
    }
}

/// Answers one request a line until there are no more, so that a program can take turns between this and others.
async fn serve(bench: &Bench) -> Result<Exit, Failure> {
    let shapes: Vec<Shape> = bench.shapes().filter(|shape| *shape != Shape::Park).collect();
    for shape in &shapes {
        let warm = bench.measure(*shape, 1, Until::Count(1)).await;
        if let Some(error) = warm.first_error {
            return Err(Failure::failed(
                "bench",
                format!("{} does not run: {error}", shape.as_str()),
            ));
        }
    }
    let names: Vec<&str> = shapes.iter().map(|shape| shape.as_str()).collect();
    terminal::say(&json!({ "ready": true, "shapes": names }).to_string());
    let mut lines = lines();
    let mut exit = Exit::Done;
    while let Some(line) = lines.recv().await {
        let answer = match request(&line, &shapes) {
            Ok((shape, concurrency, until)) => {
                let measured = bench.measure(shape, concurrency, until).await;
                if 0 < measured.errors {
                    exit = Exit::Failed;
                }
                answer(&measured)
            }
            Err(problem) => json!({ "error": problem }),
        };
        terminal::say(&answer.to_string());
    }
    Ok(exit)
}

/// The lines of standard input up to `quit`.
fn lines() -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if line.trim() == "quit" || sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn request(line: &str, shapes: &[Shape]) -> Result<(Shape, usize, Until), String> {
    let form = r#"write {"shape":"n5","conc":32,"secs":8}, with "count" instead of "secs" for so many executions"#;
    let request: Value =
        serde_json::from_str(line).map_err(|err| format!("no JSON: {err}; {form}"))?;
    let name = request["shape"].as_str().unwrap_or_default();
    let known: Vec<&str> = shapes.iter().map(|shape| shape.as_str()).collect();
    let shape = shapes.iter().find(|shape| shape.as_str() == name);
    let shape = *shape
        .ok_or_else(|| format!("no shape is called {name:?}; known: {}", known.join(", ")))?;
    let concurrency = match &request["conc"] {
        Value::Null => Some(1),
        given => given.as_u64().and_then(|lanes| usize::try_from(lanes).ok()),
    };
    let concurrency = concurrency.filter(|lanes| (1..=arguments::MOST_LANES).contains(lanes));
    let concurrency = concurrency.ok_or_else(|| {
        format!("conc is a whole number from 1 to {}; {form}", arguments::MOST_LANES)
    })?;
    let seconds = request["secs"].as_f64().filter(|seconds| (0.0..86_400.0).contains(seconds));
    let until = match (seconds, request["count"].as_u64()) {
        (Some(seconds), _) => Until::Time(Duration::from_secs_f64(seconds)),
        (None, Some(count)) => Until::Count(count),
        (None, None) => return Err(format!("neither secs nor count is a number; {form}")),
    };
    Ok((shape, concurrency, until))
}

fn answer(measured: &Measured) -> Value {
    let places = |ms: &f64| (ms * 1000.0).round() / 1000.0;
    json!({
        "n": measured.latencies.len(),
        "secs": measured.elapsed.as_secs_f64(),
        "lat": measured.latencies.iter().map(places).collect::<Vec<_>>(),
        "errors": measured.errors,
        "first_error": measured.first_error,
    })
}
