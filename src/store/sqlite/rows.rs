//! Values of ours as columns, and columns as values of ours.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::Row;
use rusqlite::types::Type;
use serde_json::value::RawValue;
use ulid::Ulid;

use crate::proto::idempotency::Keyed;
use crate::proto::job::Cancellation;
use crate::proto::record::{GateRun, Group, Record, Tail, records_weight};
use crate::proto::session::TokenHash;
use crate::proto::stream::{Extent, Piece};
use crate::proto::submit::{Order, Spec, job_weight};
use crate::store::{FinishedRow, JobRow};
use crate::wire::agent_ref::AgentRef;
use crate::wire::feature::{Feature, FeatureSet};
use crate::wire::id::JobId;
use crate::wire::job::JobStatus;
use crate::wire::lease::LeaseConstraints;
use crate::wire::message::StreamKind;
use crate::wire::time::Timestamp;

/// A column that does not hold what it must.
#[derive(Debug, thiserror::Error)]
#[error("a column holds no {0}")]
struct Wrong(&'static str);

fn wrong(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(Wrong(what)))
}

/// A count or a position as a column; what is larger than any can be becomes the largest.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count or a position of a column.
pub(super) fn uint(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| wrong(column, "count"))
}

/// An instant of a column, if there is one.
pub(super) fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

pub(super) fn ulid(row: &Row<'_>, column: usize) -> rusqlite::Result<Ulid> {
    Ok(Ulid::from_bytes(row.get(column)?))
}

pub(super) fn parsed<T: std::str::FromStr>(
    row: &Row<'_>,
    column: usize,
    what: &'static str,
) -> rusqlite::Result<T> {
    row.get_ref(column)?.as_str()?.parse().map_err(|_| wrong(column, what))
}

fn json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
    what: &'static str,
) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|_| wrong(column, what))
}

pub(super) fn status_code(status: JobStatus) -> i64 {
    match status {
        JobStatus::Pending => 0,
        JobStatus::Running => 1,
        JobStatus::Success => 2,
        JobStatus::Error => 3,
        JobStatus::Cancelled => 4,
        JobStatus::TimedOut => 5,
    }
}

pub(super) fn status(row: &Row<'_>, column: usize) -> rusqlite::Result<JobStatus> {
    Ok(match row.get::<_, i64>(column)? {
        0 => JobStatus::Pending,
        1 => JobStatus::Running,
        2 => JobStatus::Success,
        3 => JobStatus::Error,
        4 => JobStatus::Cancelled,
        5 => JobStatus::TimedOut,
        _ => return Err(wrong(column, "status")),
    })
}

pub(super) fn kind_code(kind: StreamKind) -> i64 {
    match kind {
        StreamKind::Event => 0,
        StreamKind::Result => 1,
        StreamKind::Error => 2,
    }
}

fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<StreamKind> {
    Ok(match row.get::<_, i64>(column)? {
        0 => StreamKind::Event,
        1 => StreamKind::Result,
        2 => StreamKind::Error,
        _ => return Err(wrong(column, "kind of record")),
    })
}

/// A feature's number in the file, which stays whatever becomes of the enum.
pub(super) fn feature_code(feature: Feature) -> i64 {
    match feature {
        Feature::Heartbeat => 1,
        Feature::Ack => 2,
        Feature::ListJobs => 3,
        Feature::Subscribe => 4,
        Feature::LeaseExpiresAt => 5,
        Feature::CostBudget => 6,
        Feature::ModelUse => 7,
        Feature::ProvisionedCredentials => 8,
        Feature::Progress => 9,
        Feature::ResultChunk => 10,
        Feature::AgentVersions => 11,
        Feature::Follow => 12,
    }
}

fn feature(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Feature>> {
    let Some(code) = row.get::<_, Option<i64>>(column)? else { return Ok(None) };
    let found = Feature::ALL.iter().copied().find(|feature| feature_code(*feature) == code);
    found.map(Some).ok_or_else(|| wrong(column, "feature"))
}

pub(super) fn flags(features: FeatureSet) -> String {
    features.iter().map(Feature::as_str).collect::<Vec<_>>().join(",")
}

pub(super) fn features(row: &Row<'_>, column: usize) -> rusqlite::Result<FeatureSet> {
    Ok(FeatureSet::from_flags(row.get_ref(column)?.as_str()?.split(',')))
}

pub(super) fn tokens(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<TokenHash>> {
    let (hashes, rest) = row.get_ref(column)?.as_blob()?.as_chunks();
    if rest.is_empty() { Ok(hashes.to_vec()) } else { Err(wrong(column, "token hashes")) }
}

/// The columns of [`spec`], of `job` and `job_order`.
pub(super) const SPEC: &str = "id, principal, agent_name, agent_version, created_at, asked, max_runtime_sec, \
     idempotency_key, trace, fingerprint, expires_at, lease";

/// How many columns [`spec`] reads beside the input, which follows them.
pub(super) const SPEC_COLUMNS: usize = 12;

/// A spec, of the columns [`SPEC`] and its input.
pub(super) fn spec(row: &Row<'_>, input: Arc<RawValue>) -> rusqlite::Result<Spec> {
    let expires_at = instant(row, 10)?;
    let trace_id = match row.get_ref(8)?.as_str_or_null()? {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| wrong(8, "trace id"))?),
    };
    Ok(Spec {
        id: JobId(ulid(row, 0)?),
        principal: parsed(row, 1, "principal")?,
        agent: AgentRef { name: row.get(2)?, version: row.get(3)? },
        created_at: Timestamp::from_micros(row.get(4)?),
        order: Order {
            asked: parsed(row, 5, "agent")?,
            max_runtime_sec: row.get::<_, Option<i64>>(6)?.map(i64::cast_unsigned),
            key: row.get(7)?,
            trace_id,
            fingerprint: row.get(9)?,
            constraints: expires_at.map(|at| LeaseConstraints { expires_at: Some(at) }),
            lease: json(row, 11, "lease")?,
            input,
        },
    })
}

/// A spec's input, of a column.
pub(super) fn input(row: &Row<'_>, column: usize) -> rusqlite::Result<Arc<RawValue>> {
    json::<Box<RawValue>>(row, column, "input").map(Into::into)
}

/// The columns of [`edge`], of `job`.
pub(super) const EDGE: &str =
    "first_pos, last_pos, ended, gate, gate_first, gate_last, group_first, group_bytes";

/// What the next record of a job is added to, of the columns [`EDGE`] from `at`.
pub(super) fn edge(row: &Row<'_>, at: usize) -> rusqlite::Result<Tail> {
    let last = uint(row, at + 1)?;
    let gate = match feature(row, at + 3)? {
        None => None,
        Some(feature) => Some(GateRun { feature, first: uint(row, at + 4)?, last: uint(row, at + 5)? }),
    };
    let group = match row.get::<_, Option<i64>>(at + 6)? {
        None => None,
        Some(_) => Some(Group { first: uint(row, at + 6)?, last, bytes: uint(row, at + 7)? }),
    };
    Ok(Tail::from_parts(uint(row, at)?, last, row.get(at + 2)?, gate, group))
}

/// The columns of [`history`], of `job`.
pub(super) const HISTORY: &str = "status, ended_at, attempts, started_at, cancelled, cancel_reason";

/// How many columns [`HISTORY`] has.
pub(super) const HISTORY_COLUMNS: usize = 6;

/// What has become of a job, of the columns [`HISTORY`] from `at`.
pub(super) fn history(row: &Row<'_>, at: usize, spec: Arc<Spec>, tail: Tail) -> rusqlite::Result<JobRow> {
    let cancelled: bool = row.get(at + 4)?;
    let reason = row.get(at + 5)?;
    Ok(JobRow {
        spec,
        status: status(row, at)?,
        ended_at: instant(row, at + 1)?,
        attempts: row.get(at + 2)?,
        started_at: instant(row, at + 3)?,
        cancellation: cancelled.then_some(Cancellation { reason }),
        tail,
    })
}

/// The columns of [`finished`], of `job` and `job_order`.
pub(super) const FINISHED: &str = "id, principal, agent_name, agent_version, created_at, asked, idempotency_key, \
     fingerprint, ended_at, octet_length(input), last_pos + 1 - first_pos, coalesce(group_bytes, 0) + \
     (SELECT coalesce(sum(bytes), 0) FROM weight WHERE weight.job = n AND weight.last >= first_pos)";

/// A finished job, of the columns [`FINISHED`].
pub(super) fn finished(row: &Row<'_>) -> rusqlite::Result<FinishedRow> {
    let key = match row.get(6)? {
        None => None,
        Some(key) => Some(Keyed {
            key,
            fingerprint: row.get(7)?,
            asked: parsed(row, 5, "agent")?,
            resolved: AgentRef { name: row.get(2)?, version: row.get(3)? },
            at: Timestamp::from_micros(row.get(4)?),
        }),
    };
    Ok(FinishedRow {
        job: JobId(ulid(row, 0)?),
        principal: parsed(row, 1, "principal")?,
        key,
        ended_at: Timestamp::from_micros(row.get(8)?),
        weight: job_weight(uint(row, 9)?) + records_weight(uint(row, 10)?, uint(row, 11)?),
    })
}

/// A run of a gate, of the columns `gate, first, last`.
pub(super) fn gate_run(row: &Row<'_>) -> rusqlite::Result<GateRun> {
    let feature = feature(row, 0)?.ok_or_else(|| wrong(0, "feature"))?;
    Ok(GateRun { feature, first: uint(row, 1)?, last: uint(row, 2)? })
}

/// A group, of the columns `first, last, bytes`.
pub(super) fn group(row: &Row<'_>) -> rusqlite::Result<Group> {
    Ok(Group { first: uint(row, 0)?, last: uint(row, 1)?, bytes: uint(row, 2)? })
}

/// A record, of the columns `pos, kind, gate, at, payload`.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        pos: uint(row, 0)?,
        kind: kind(row, 1)?,
        gate: feature(row, 2)?,
        at: Timestamp::from_micros(row.get(3)?),
        payload: Bytes::copy_from_slice(row.get_ref(4)?.as_blob()?),
    })
}

/// The columns of [`extent`].
pub(super) const EXTENT: &str = "first_seq, len, job, first_pos, payload";

/// An extent, of the columns [`EXTENT`].
pub(super) fn extent(row: &Row<'_>) -> rusqlite::Result<Extent> {
    let job = JobId(ulid(row, 2)?);
    let piece = match row.get_ref(4)?.as_blob_or_null()? {
        Some(payload) => Piece::Private { job, payload: Bytes::copy_from_slice(payload) },
        None => Piece::Run { job, first_pos: uint(row, 3)?, len: uint(row, 1)? },
    };
    Ok(Extent { first_seq: uint(row, 0)?, piece })
}
