//! `spender`: calls a tool that costs money, as often as it is asked to.

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::{input, within};
use crate::agent::in_process::{AgentError, Job, Outcome};

const CALLS: u64 = 100_000;

/// Characters of an amount.
const AMOUNT_CHARS: usize = 32;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Input {
    calls: u64,
    /// Money stays the decimal text that the client wrote.
    usd_per_call: Box<RawValue>,
}

impl Default for Input {
    fn default() -> Self {
        // A number can always be written.
        let usd_per_call = serde_json::value::to_raw_value(&0.3).unwrap_or_default();
        Input { calls: 10, usd_per_call }
    }
}

#[derive(Serialize)]
struct Args<'a> {
    usd: &'a RawValue,
}

#[derive(Serialize)]
struct Spent {
    calls_made: u64,
    exhausted: bool,
}

pub(super) async fn run(job: Job) -> Result<Outcome, AgentError> {
    let input: Input = input(&job)?;
    let calls = within("calls", input.calls, 0..=CALLS)?;
    let amount = amount(&input.usd_per_call)?;
    for call in 1..=calls {
        if job.is_stopped() {
            return Err(AgentError::cancelled());
        }
        spend(&job, &format!("spend-{call}"), amount).await?;
    }
    Outcome::json(&Spent { calls_made: calls, exhausted: false })
}

/// One call of the tool: what is bought, what it costs, what came of it.
async fn spend(job: &Job, call_id: &str, amount: &RawValue) -> Result<(), AgentError> {
    job.tool_call("spend", Args { usd: amount }, call_id).await?;
    job.metric("cost.tool", amount, Some("USD")).await?;
    job.tool_result(call_id, json!({ "ok": true })).await?;
    Ok(())
}

fn amount(given: &RawValue) -> Result<&RawValue, AgentError> {
    let text = given.get();
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let plain = text.split_once('.').map_or(digits(text), |(whole, part)| digits(whole) && digits(part));
    if plain && text.len() <= AMOUNT_CHARS {
        return Ok(given);
    }
    let got: String = text.chars().take(AMOUNT_CHARS).collect();
    Err(AgentError::invalid(format!(
        "input.usd_per_call: expected an amount like 0.3 of at most {AMOUNT_CHARS} digits, without sign or \
         exponent, got {got}"
    )))
}
