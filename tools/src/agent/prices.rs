//! What tokens cost. A price that nobody knows is unknown, and never nothing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::config::{AgentConfig, Price};
use super::models::{Chosen, Said};

static SHIPPED: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_str(include_str!("prices.json"))
        .expect("the prices that ship are JSON, which a test checks")
});

#[derive(Deserialize)]
struct Table {
    models: BTreeMap<String, Price>,
}

/// The price of a model: the configuration's, or the one that ships for its provider's own service.
pub(super) fn price(config: &AgentConfig, chosen: &Chosen) -> Option<Price> {
    let Chosen { provider, kind, model } = chosen;
    let own = |name: &str| config.prices.get(name).copied();
    // A provider that was put elsewhere may have other prices.
    let usual = config.providers.get(provider).is_some_and(|own| own.base_url.is_empty());
    let shipped = |model: &str| SHIPPED.models.get(&format!("{kind}/{model}")).copied();
    own(&format!("{provider}/{model}"))
        .or_else(|| own(model))
        .or_else(|| usual.then(|| shipped(model).or_else(|| shipped(undated(model)))).flatten())
}

/// What an answer cost, in millionths of a US dollar. Dollars per million tokens are millionths of a dollar per token.
pub(super) fn cost(price: Option<Price>, said: &Said) -> Option<u64> {
    let price = price?;
    if price.up_to_tokens.is_some_and(|bound| bound < said.prompt_tokens) {
        return None;
    }
    let plain = said.prompt_tokens.saturating_sub(said.cached_tokens + said.written_tokens);
    let parts = [
        (plain, price.input),
        (said.cached_tokens, price.cached.unwrap_or(price.input)),
        (said.written_tokens, price.cache_write.unwrap_or(price.input)),
        (said.completion_tokens, price.output),
    ];
    Some(rounded_up(parts.iter().map(|(tokens, price)| of(*tokens) * price).sum()))
}

/// What a call costs at most, in millionths of a US dollar.
pub(super) fn at_most(price: Price, prompt_tokens: u64, max_tokens: u64) -> u64 {
    let input = price.cache_write.unwrap_or(price.input).max(price.input);
    rounded_up(of(prompt_tokens) * input + of(max_tokens) * price.output)
}

/// US dollars of millionths.
#[allow(
    clippy::cast_precision_loss,
    reason = "below 2^53 millionths, which is nine billion dollars"
)]
pub(super) fn dollars(micro: u64) -> f64 {
    micro as f64 / 1e6
}

#[allow(clippy::cast_precision_loss, reason = "no call has 2^53 tokens")]
fn of(tokens: u64) -> f64 {
    tokens as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates"
)]
fn rounded_up(micro: f64) -> u64 {
    // Sums of floats are a hair off; a hair is not a millionth of a dollar.
    (micro - 1e-6).ceil().max(0.0) as u64
}

/// A model's name without the date of its snapshot: `gpt-5.2-2025-12-11`, `claude-haiku-4-5-20251001`.
fn undated(model: &str) -> &str {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let cut = [11, 9].into_iter().filter_map(|length| {
        let start = model.len().checked_sub(length)?;
        let date = model.get(start..)?;
        (date.starts_with('-') && digits(date)).then(|| &model[..start])
    });
    cut.into_iter().next().unwrap_or(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(provider: &str, kind: &str, model: &str) -> Chosen {
        Chosen { provider: provider.into(), kind: kind.into(), model: model.into() }
    }

    #[test]
    fn prices_that_ship_hold_for_the_providers_own_service_only() {
        let mut config = AgentConfig::default();
        let own = chosen("openai", "openai", "gpt-4.1");
        assert_eq!(price(&config, &own).unwrap().input, 2.0);
        let dated = chosen("openai", "openai", "gpt-4.1-2025-04-14");
        assert_eq!(price(&config, &dated), price(&config, &own));
        let dated = chosen("anthropic", "anthropic", "claude-haiku-4-5-20251001");
        assert_eq!(price(&config, &dated).unwrap().output, 5.0);
        assert_eq!(price(&config, &chosen("openai", "openai", "gpt-none")), None);
        assert_eq!(price(&config, &chosen("openrouter", "openai-compatible", "gpt-4.1")), None);
        config.providers.get_mut("openai").unwrap().base_url = "http://localhost/v1/".into();
        assert_eq!(price(&config, &own), None);
        config.prices.insert("openai/gpt-4.1".into(), Price { input: 9.0, ..Price::default() });
        assert_eq!(price(&config, &own).unwrap().input, 9.0);
    }

    #[test]
    fn cached_tokens_have_their_own_price_and_long_prompts_may_have_none() {
        let price = Price {
            input: 2.0,
            output: 8.0,
            cached: Some(0.5),
            cache_write: None,
            up_to_tokens: Some(1_000),
        };
        let said = Said {
            prompt_tokens: 1_000,
            cached_tokens: 400,
            completion_tokens: 10,
            ..Said::default()
        };
        assert_eq!(cost(Some(price), &said), Some(1_200 + 200 + 80));
        assert_eq!(cost(None, &said), None);
        assert_eq!(cost(Some(price), &Said { prompt_tokens: 1_001, ..said }), None);
        assert_eq!(at_most(price, 1_000, 10), 2_080);
    }
}
