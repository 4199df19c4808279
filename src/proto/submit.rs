//! A submit that is well-formed, and what makes two of them the same (§7.1, §7.2).

use std::sync::Arc;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::wire::agent_ref::AgentRef;
use crate::wire::canonical::canonical;
use crate::wire::encode::json;
use crate::wire::error::ErrorBody;
use crate::wire::id::{JobId, TraceId};
use crate::wire::job::Submit;
use crate::wire::lease::{Lease, LeaseConstraints, LeaseRequest};
use crate::wire::limits::{ENVELOPE_HEADROOM_BYTES, Limits};
use crate::wire::principal::Principal;
use crate::wire::time::Timestamp;

/// What a submit asks for beside its agent, as a hash of its canonical form.
pub type Fingerprint = [u8; 32];

/// A submit whose every field makes sense by itself.
#[derive(Debug, Clone)]
pub struct Order {
    /// The agent as it was written.
    pub asked: AgentRef,
    /// The input; `null` when there was none.
    pub input: Arc<RawValue>,
    /// The lease asked for, which is the lease that is granted.
    pub lease: Lease,
    /// What bounds it.
    pub constraints: Option<LeaseConstraints>,
    /// The longest runtime in seconds.
    pub max_runtime_sec: Option<u64>,
    /// The idempotency key.
    pub key: Option<String>,
    /// The caller's trace.
    pub trace_id: Option<TraceId>,
    /// What a repeated submit is compared by.
    pub fingerprint: Fingerprint,
}

/// Everything about a job that never changes (§7.1).
#[derive(Debug, Clone)]
pub struct Spec {
    /// The job.
    pub id: JobId,
    /// Who submitted it.
    pub principal: Principal,
    /// The resolved agent: `name@version` (§7.5).
    pub agent: AgentRef,
    /// What was ordered.
    pub order: Order,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// What a job weighs beside its input and its records, in bytes, roughly.
const JOB_OVERHEAD_BYTES: u64 = 1_024;

impl Spec {
    /// What a job weighs before anything happens in it, in bytes.
    pub fn weight(&self) -> u64 {
        job_weight(self.order.input.get().len() as u64)
    }
}

/// What a job with an input of so many bytes weighs before anything happens in it, in bytes.
pub fn job_weight(input: u64) -> u64 {
    JOB_OVERHEAD_BYTES + input
}

impl Order {
    /// Checks a submit field by field.
    ///
    /// # Errors
    /// `INVALID_REQUEST` naming the field.
    pub fn new(submit: Submit, trace_id: Option<TraceId>, limits: &Limits) -> Result<Order, ErrorBody> {
        let Submit { agent, input, lease_request, lease_constraints, idempotency_key, max_runtime_sec } =
            submit;
        if let Some(key) = &idempotency_key {
            let chars = key.chars().count();
            if chars == 0 || chars > limits.idempotency_key_chars || key.chars().any(char::is_control) {
                let max = limits.idempotency_key_chars;
                let expected = format!("1 to {max} characters without control characters, got {chars}");
                return Err(ErrorBody::invalid(format!("payload.idempotency_key: expected {expected}")));
            }
        }
        if let Some(seconds) = max_runtime_sec
            && !(1..=limits.max_runtime_sec).contains(&seconds)
        {
            let expected = format!("1 to {} seconds, got {seconds}", limits.max_runtime_sec);
            return Err(ErrorBody::invalid(format!("payload.max_runtime_sec: expected {expected}")));
        }
        let LeaseRequest { lease, expires_at } = lease_request.unwrap_or_default();
        lease.check(limits).map_err(|bad| ErrorBody::invalid(format!("payload.{bad}")))?;
        let (bytes, max) = (json(&lease).len(), limits.frame_bytes.saturating_sub(ENVELOPE_HEADROOM_BYTES));
        if bytes > max {
            let message =
                format!("payload.lease_request: expected at most {max} bytes, got {bytes}; it is echoed");
            return Err(ErrorBody::invalid(message));
        }
        // Said in both places, the earlier instant holds.
        let bounds = lease_constraints.and_then(|constraints| constraints.expires_at);
        let expires_at = bounds.into_iter().chain(expires_at).min();
        let constraints = expires_at.map(|at| LeaseConstraints { expires_at: Some(at) });
        let input = input.unwrap_or_else(|| RawValue::NULL.to_owned());
        let fingerprint = fingerprint(&input, &lease, constraints.as_ref(), max_runtime_sec)
            .map_err(|e| ErrorBody::invalid(format!("payload.input: {e}")))?;
        Ok(Order {
            asked: agent,
            input: input.into(),
            lease,
            constraints,
            max_runtime_sec,
            key: idempotency_key,
            trace_id,
            fingerprint,
        })
    }

    /// Checks what must hold when the job begins, but need not when an old submit is repeated (§9.5).
    ///
    /// # Errors
    /// `INVALID_REQUEST` when the lease has ended already.
    pub fn check_start(&self, now: Timestamp) -> Result<(), ErrorBody> {
        match self.expires_at() {
            Some(at) if at <= now => Err(ErrorBody::invalid(format!(
                "payload.lease_constraints.expires_at: expected an instant in the future, got {at}, now is {now}"
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// When the lease ends.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.constraints.as_ref().and_then(|c| c.expires_at)
    }
}

fn fingerprint(
    input: &RawValue,
    lease: &Lease,
    constraints: Option<&LeaseConstraints>,
    max_runtime_sec: Option<u64>,
) -> serde_json::Result<Fingerprint> {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    part(&canonical(input.get())?);
    part(&canonical(&String::from_utf8_lossy(&json(lease)))?);
    part(&constraints.and_then(|c| c.expires_at).map(|at| at.to_string()).unwrap_or_default());
    part(&max_runtime_sec.map(|s| s.to_string()).unwrap_or_default());
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(payload: &str) -> Result<Order, String> {
        let submit: Submit = serde_json::from_str(payload).unwrap();
        Order::new(submit, None, &Limits::default()).map_err(|e| e.message)
    }

    #[test]
    fn key_order_does_not_make_a_difference_and_everything_else_does() {
        let print = |payload| order(payload).unwrap().fingerprint;
        let base = print(r#"{"agent":"a","input":{"x":1,"y":2}}"#);
        assert_eq!(base, print(r#"{"agent":"a","input":{ "y":2, "x":1 },"lease_request":{}}"#));
        for other in [
            r#"{"agent":"a","input":{"x":1,"y":3}}"#,
            r#"{"agent":"a","input":{"x":1,"y":2},"max_runtime_sec":1}"#,
            r#"{"agent":"a","input":{"x":1,"y":2},"lease_request":{"fs.read":["/x"]}}"#,
            r#"{"agent":"a","input":{"x":1,"y":2},"lease_constraints":{"expires_at":"2030-01-01T00:00:00Z"}}"#,
        ] {
            assert_ne!(base, print(other), "{other}");
        }
    }

    #[test]
    fn absurd_fields_are_named() {
        let long = format!(r#"{{"agent":"a","idempotency_key":"{}"}}"#, "k".repeat(10_000));
        for (payload, names) in [
            (r#"{"agent":"a","max_runtime_sec":0}"#, "max_runtime_sec"),
            (r#"{"agent":"a","max_runtime_sec":99999999999}"#, "max_runtime_sec"),
            (r#"{"agent":"a","idempotency_key":""}"#, "idempotency_key"),
            (r#"{"agent":"a","idempotency_key":"a\u0000"}"#, "idempotency_key"),
            (long.as_str(), "256"),
            (r#"{"agent":"a","lease_request":{"cost.budget":["USD:x"]}}"#, "lease_request.cost.budget"),
        ] {
            assert!(order(payload).unwrap_err().contains(names), "{payload}");
        }
    }

    #[test]
    fn a_lease_that_has_ended_cannot_begin_a_job() {
        let order =
            order(r#"{"agent":"a","lease_constraints":{"expires_at":"2020-01-01T00:00:00Z"}}"#).unwrap();
        let at = Timestamp::parse("2020-01-01T00:00:00Z").unwrap();
        assert!(order.check_start(at).is_err());
        assert!(order.check_start(Timestamp::from_micros(at.as_micros() - 1)).is_ok());
    }
}
