//! `windlass plan`: what a run would do.

use serde_json::Value;

use super::{
    arguments::Plan as Arguments,
    caller,
    failure::{Exit, Failure},
    input,
    run::{Subject, shown_in_place, subject},
    session::Session,
    signals,
    terminal::{self, bold, dim, green, red, yellow},
};
use crate::{
    app::{App, Plan, PlanRequest, Write},
    host::Drive,
};

pub(super) async fn run(session: &Session, arguments: Arguments) -> Result<Exit, Failure> {
    let subject = subject(&arguments.workflow)?;
    let host = session.host(Drive::Nobody).await?;
    let interruption = signals::interrupted();
    let planned = tokio::select! {
        planned = plan(session, &host.app, subject, &arguments) => Some(planned),
        () = interruption => None,
    };
    host.stop().await;
    let Some(plan) = planned.transpose()? else { return Ok(Exit::Interrupted) };
    if session.json() {
        terminal::say_json(&plan);
    } else {
        show(&plan, &arguments.workflow);
    }
    Ok(if plan.blocked.is_some() { Exit::Failed } else { Exit::Done })
}

async fn plan(
    session: &Session,
    app: &App,
    subject: Subject,
    arguments: &Arguments,
) -> Result<Plan, Failure> {
    let expires_ms = arguments.expires.as_deref().map(milliseconds).transpose()?;
    let request = |schema: &Value, workflow: String| {
        let input = input::read("--input", schema, arguments.input.as_deref(), &arguments.pairs)?;
        Ok::<_, Failure>(PlanRequest { workflow, input, expires_ms })
    };
    match subject {
        Subject::Workflow(name) => {
            let schema = app.input_schema(&name).await?;
            Ok(app.plan(&caller(), request(&schema, name)?).await?)
        }
        Subject::Document { path, text } => {
            let described = app.describe_document(&text, &path).await;
            let described =
                described.map_err(|error| shown_in_place(session, error, &path, &text))?;
            let request = request(&described.input_schema, described.name)?;
            Ok(app.plan_document(&caller(), &text, &path, request).await?)
        }
    }
}

/// `90s`, `30m`, `1h` or `7d` in milliseconds.
fn milliseconds(text: &str) -> Result<u64, Failure> {
    let unit = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|text| text.parse().ok());
    let product = number.and_then(|number: u64| number.checked_mul(unit));
    product.filter(|product| 0 < *product).ok_or_else(|| {
        Failure::usage(format!(
            "--expires {text:?} is no time; it is a number with s, m, h or d, as in 30m"
        ))
    })
}

fn show(plan: &Plan, named: &str) {
    if plan.writes.is_empty() {
        terminal::say("nothing would be written");
    }
    plan.writes.iter().for_each(show_write);
    for read in &plan.reads {
        let mark = if read.ok { dim("read") } else { red("read") };
        let error = read.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        terminal::tell(&format!("{mark} {} {}{error}", read.step, read.tool));
    }
    for asked in &plan.asks {
        terminal::tell(&format!("{} {}: {}", yellow("asks"), asked.step, asked.message));
    }
    for lock in &plan.locks {
        terminal::tell(&format!("{} {}", dim("lock"), lock.key));
    }
    for wait in &plan.waits {
        let event = wait.event.as_ref().map(|event| format!(" for {event}")).unwrap_or_default();
        let ms = terminal::duration(wait.ms);
        terminal::tell(&format!("{} {} at most {ms}{event}", dim("wait"), wait.step));
    }
    for may in &plan.may_also_run {
        let stubs = because(&may.depends_on_stubs);
        terminal::tell(&format!("{} {} {}{stubs}", yellow("may also run"), may.step, may.tool));
    }
    for handler in &plan.if_it_ends_badly {
        terminal::tell(&format!("{} {} {}", dim(handler.when), handler.step, handler.tool));
    }
    for unknown in &plan.unknown {
        terminal::tell(&format!("{} {unknown}", dim("unknown:")));
    }
    show_end(plan, named);
}

fn show_write(write: &Write) {
    let Write { order, step, tool, params, .. } = write;
    let mark = if write.estimated { yellow("~") } else { green("+") };
    terminal::say(&format!(
        "{mark} {order}. {} {tool}{}",
        bold(step),
        because(&write.depends_on_stubs)
    ));
    let params = terminal::pretty(params);
    params.lines().for_each(|line| terminal::say(&format!("      {line}")));
}

fn because(stubs: &[String]) -> String {
    match stubs {
        [] => String::new(),
        stubs => dim(&format!(" (depends on what {} will say)", stubs.join(", "))),
    }
}

fn show_end(plan: &Plan, named: &str) {
    if let Some(stops) = &plan.stops {
        terminal::tell(&format!("{} at {}: {}", dim("stops"), stops.step, stops.message));
    }
    if let Some(blocked) = &plan.blocked {
        let step = blocked.step.as_ref().map(|step| format!(" at {step}")).unwrap_or_default();
        terminal::tell(&format!("{}{step}: {}", red("it would fail"), blocked.error));
        return;
    }
    if let Some(truncated) = &plan.truncated_at {
        terminal::tell(&format!("{} {}", red("the plan is not whole:"), truncated.reason));
        return;
    }
    let Plan { plan_id, created_at, expires_at, .. } = plan;
    let lifetime = terminal::duration(expires_at - created_at);
    terminal::tell(&format!(
        "`windlass run {named} --plan {plan_id}` runs it within {lifetime}, if it is still the same"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, expected) in
            [("90s", 90_000), ("30m", 1_800_000), ("1h", 3_600_000), ("7d", 604_800_000)]
        {
            assert_eq!(milliseconds(text).unwrap(), expected);
        }
        for text in ["", "7", "h", "0s", "-1h", "1w", "99999999999999999999d"] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
    }
}
