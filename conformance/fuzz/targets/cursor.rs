//! A cursor is ours, for this listing, or refused. Data: choices, a mask; then the cursor.

use arcpd::proto::listing::{CursorKey, Query};
use arcpd::wire::error::ErrorCode;
use arcpd::wire::id::JobId;
use arcpd::wire::limits::Limits;
use arcpd::wire::session::{JobFilter, ListJobs};

use super::input::Input;

pub fn check(data: &[u8]) {
    let limits = Limits::default();
    let mut input = Input(data);
    let key = CursorKey::new([input.byte(); 32]);
    let filter =
        input.flag().then(|| JobFilter { agent: input.text(8).parse().ok(), ..JobFilter::default() });
    let job = JobId::new(input.number(), u128::from(input.number()));
    let (at, mask) = (usize::from(input.byte()), input.byte());
    let ask = |cursor: String, who: &str| {
        let list = ListJobs { filter: filter.clone(), limit: None, cursor: Some(cursor) };
        Query::new(list, Some(who.parse().unwrap()), &key, &limits)
    };
    let first = ListJobs { filter: filter.clone(), ..ListJobs::default() };
    let first = Query::new(first, Some("alice".parse().unwrap()), &key, &limits).unwrap();
    let good = key.cursor(&first, job);
    assert_eq!(ask(good.clone(), "alice").unwrap().before, Some(job));
    assert!(ask(good.clone(), "bob").is_err(), "another principal's cursor");
    let mut changed = good.clone().into_bytes();
    let at = at % changed.len();
    changed[at] ^= mask;
    if let Ok(changed) = String::from_utf8(changed)
        && changed != good
    {
        assert!(ask(changed, "alice").is_err(), "a changed cursor");
    }
    let any = String::from_utf8_lossy(input.rest()).into_owned();
    if let Err(error) = ask(any, "alice") {
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert!(error.message.contains("cursor"));
    }
}
