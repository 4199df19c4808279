//! Leases as this client asks for them and reads them: named fields, where the specification has namespaces.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::wire::lease::{Lease, LeaseConstraints, LeaseRequest};
use crate::wire::time::Timestamp;

const COST_BUDGET: (&str, &str) = ("cost_budget", "cost.budget");
const MODEL_USE: (&str, &str) = ("model_use", "model.use");
const EXPIRES_AT: &str = "expires_at";

/// A lease as it is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    cost_budget: Option<Vec<String>>,
    #[serde(default)]
    model_use: Option<Vec<String>>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(flatten)]
    others: BTreeMap<String, Vec<String>>,
}

impl Asked {
    /// A lease of a budget alone.
    pub(super) fn of_budget(amounts: Vec<String>) -> Self {
        Asked { cost_budget: Some(amounts), ..Asked::default() }
    }

    /// The lease in the specification's terms.
    ///
    /// # Errors
    /// A sentence, when a namespace stands there in both spellings.
    pub(super) fn canonical(self) -> Result<LeaseRequest, String> {
        let Asked { cost_budget, model_use, expires_at, others } = self;
        let mut grants: Vec<(String, Vec<String>)> = Vec::new();
        for ((field, namespace), patterns) in [(COST_BUDGET, cost_budget), (MODEL_USE, model_use)] {
            if patterns.is_some() && others.contains_key(namespace) {
                return Err(format!("payload.lease_request: {field} and {namespace} are the same; give one"));
            }
            grants.extend(patterns.map(|patterns| (namespace.to_owned(), patterns)));
        }
        grants.extend(others);
        Ok(LeaseRequest { lease: Lease::new(grants), expires_at })
    }
}

/// A lease as the client reads it; none where nothing was granted. What it would not read stays out.
pub(super) fn granted(lease: &Lease, constraints: Option<&LeaseConstraints>) -> Option<Map<String, Value>> {
    let mut fields = Map::new();
    for (namespace, patterns) in lease.grants() {
        let field = match namespace {
            namespace if namespace == COST_BUDGET.1 => COST_BUDGET.0,
            namespace if namespace == MODEL_USE.1 => MODEL_USE.0,
            field if field == COST_BUDGET.0 || field == MODEL_USE.0 || field == EXPIRES_AT => continue,
            other => other,
        };
        // It counts money in floats, and dies of an amount that none can hold.
        let amount = |text: &String| {
            text.split_once(':').is_some_and(|(_, n)| n.parse::<f64>().is_ok_and(f64::is_finite))
        };
        if field != COST_BUDGET.0 || patterns.iter().all(amount) {
            fields.insert(field.into(), patterns.into());
        }
    }
    if let Some(expires_at) = constraints.and_then(|constraints| constraints.expires_at) {
        fields.insert(EXPIRES_AT.into(), expires_at.to_string().into());
    }
    (!fields.is_empty()).then_some(fields)
}
