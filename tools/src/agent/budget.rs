//! What may be spent, looked at before each turn.

use super::Agent;
use super::models::Question;
use super::prices::{at_most, dollars, price};
use crate::contract::{Call, Code, Spent, SpentOn, ToolError, no_host};

/// A bound, by the name of the setting or argument that draws it.
struct Bound {
    name: &'static str,
    most: f64,
}

/// Refuses a turn that a budget forbids.
pub(super) async fn check(
    agent: &Agent,
    call: &Call,
    question: &Question,
    max_cost_usd: Option<f64>,
) -> Result<(), ToolError> {
    check_call(agent, question, max_cost_usd)?;
    let budget = &agent.config.budget;
    if let Some(id) = call.execution_id() {
        let tokens = ("agent.budget.execution_tokens", budget.execution_tokens);
        let usd = ("agent.budget.execution_usd", budget.execution_usd);
        check_spent(agent, question, SpentOn::Execution(id), tokens, usd).await?;
    }
    let tokens = ("agent.budget.day_tokens", budget.day_tokens);
    let usd = ("agent.budget.day_usd", budget.day_usd);
    check_spent(agent, question, SpentOn::Today, tokens, usd).await
}

/// What this turn takes at most against what one call may take.
fn check_call(
    agent: &Agent,
    question: &Question,
    max_cost_usd: Option<f64>,
) -> Result<(), ToolError> {
    let budget = &agent.config.budget;
    let prompt = question.estimated_tokens();
    let tokens = prompt + u64::from(question.max_tokens);
    if budget.call_tokens != 0 && budget.call_tokens < tokens {
        let bound = budget.call_tokens;
        let message = format!(
            "agent.budget.call_tokens allows {bound} tokens, and this call may take {tokens}"
        );
        return Err(guardrail(message).hint(format!(
            "about {prompt} of them are sent: send less, lower max_tokens, or raise the budget"
        )));
    }
    let bounds = [
        Bound { name: "agent.budget.call_usd", most: budget.call_usd },
        Bound { name: "max_cost_usd", most: max_cost_usd.unwrap_or_default() },
    ];
    for Bound { name, most } in bounds.into_iter().filter(|bound| bound.most != 0.0) {
        let price =
            price(&agent.config, &question.chosen).ok_or_else(|| unpriced(question, name))?;
        let cost = dollars(at_most(price, prompt, question.max_tokens.into()));
        if most < cost {
            let message = format!("{name} allows {most} USD, and this call may cost {cost} USD");
            return Err(guardrail(message)
                .hint("send less, lower max_tokens, choose a cheaper model, or raise the bound"));
        }
    }
    Ok(())
}

/// What has been spent against what may be. A turn begins when the bound is not yet reached.
async fn check_spent(
    agent: &Agent,
    question: &Question,
    on: SpentOn<'_>,
    (tokens_name, tokens): (&str, u64),
    (usd_name, usd): (&str, f64),
) -> Result<(), ToolError> {
    if tokens == 0 && usd == 0.0 {
        return Ok(());
    }
    let host = agent.host.as_deref().ok_or_else(|| no_host("a budget"))?;
    if usd != 0.0 && price(&agent.config, &question.chosen).is_none() {
        return Err(unpriced(question, usd_name));
    }
    let spent = host.spent(on).await?;
    let taken = spent.prompt_tokens + spent.completion_tokens;
    if tokens != 0 && tokens <= taken {
        return Err(used_up(
            format!("{tokens_name} is used up: {taken} of {tokens} tokens"),
            spent,
        ));
    }
    let cost = dollars(spent.cost_micro_usd);
    if usd != 0.0 && usd <= cost {
        return Err(used_up(format!("{usd_name} is used up: {cost} of {usd} USD"), spent));
    }
    Ok(())
}

fn used_up(message: String, spent: Spent) -> ToolError {
    let calls = spent.calls;
    guardrail(message).hint(format!("{calls} calls were made; raise the budget in the configuration, or wait for the next day where it is a day's"))
}

fn unpriced(question: &Question, bound: &str) -> ToolError {
    let model = format!("{}/{}", question.chosen.provider, question.chosen.model);
    guardrail(format!("the price of {model} is not known, so that {bound} cannot be kept")).hint(
        format!(
            "set [agent.prices.\"{model}\"] input and output, in US dollars per million tokens"
        ),
    )
}

fn guardrail(message: String) -> ToolError {
    ToolError::new(Code::Guardrail, message)
}
