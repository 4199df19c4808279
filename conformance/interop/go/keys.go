package main

import (
	arcp "github.com/agentruntimecontrolprotocol/go-sdk"
	"github.com/agentruntimecontrolprotocol/go-sdk/client"
)

// keyed is a request that may be repeated. This client has no second handle for a job within one session, so a
// repetition that is to succeed comes from another session.
func keyed(key, agent string, input any) client.SubmitRequest {
	return client.SubmitRequest{Agent: agent, Input: input, IdempotencyKey: key}
}

var keyScenarios = []scenario{
	{"same_key_in_a_second_session_while_running", wsOnly, func(w *world) {
		one, two := w.open(), w.open()
		request := keyed("second-session", "ticker", slow(15, 20))
		a := one.submitting(request)
		one.wire.waitTicks(a.ID(), 4)
		b := two.submitting(request)
		equal(b.ID(), a.ID(), "job id")
		equal(b.Accepted().AcceptedAt, a.Accepted().AcceptedAt, "accepted_at")
		equal(a.ticks(), upTo(15), "ticks of the first handle")
		equal(b.ticks(), upTo(15), "ticks of the second handle")
		equal(a.result(), ticked(15), "first result")
		equal(b.result(), ticked(15), "second result")
	}},
	{"same_key_in_a_second_session_after_the_end", wsOnly, func(w *world) {
		request := keyed("second-session-late", "ticker", slow(4, 1))
		a := w.open().submitting(request)
		seen := take(a.events)
		b := w.open().submitting(request)
		equal(b.ID(), a.ID(), "job id")
		equal(take(b.events), seen, "events of the second handle")
		equal(b.result(), ticked(4), "second result")
	}},
	{"same_key_gives_a_second_session_cancel_authority", wsOnly, func(w *world) {
		request := keyed("authority", "sleeper", in{"ms": 20000})
		one, two := w.open(), w.open()
		a := one.submitting(request)
		b := two.submitting(request)
		must(0, b.Cancel(w.ctx, "by the second"))("cancel")
		a.failsWith(arcp.CodeCancelled)
		b.failsWith(arcp.CodeCancelled)
	}},
	{"same_key_with_the_resolved_agent_name", wsOnly, func(w *world) {
		a := w.open().submitting(keyed("resolved-name", "echo", "x"))
		a.result()
		b := w.open().submitting(keyed("resolved-name", "echo@2.0.0", "x"))
		equal(b.ID(), a.ID(), "job id")
		equal(b.result(), any("x"), "second result")
	}},
	{"same_key_in_one_session_does_not_block_the_others", anyLink, func(w *world) {
		s := w.open()
		running := s.submitting(keyed("one-session", "ticker", slow(15, 20)))
		s.wire.waitTicks(running.ID(), 3)
		s.refused(arcp.CodeDuplicateKey, keyed("one-session", "ticker", slow(15, 20)))
		equal(s.run("echo", "after"), any("after"), "the next submit")
		equal(running.ticks(), upTo(15), "ticks of the running job")
		equal(running.result(), ticked(15), "result of the running job")
	}},
	{"key_conflict_while_running", anyLink, func(w *world) {
		s := w.open()
		running := s.submitting(keyed("conflict-running", "ticker", slow(15, 20)))
		s.wire.waitTicks(running.ID(), 3)
		err := s.refused(arcp.CodeDuplicateKey, keyed("conflict-running", "ticker", in{"count": 16}))
		equal(err.Retryable, false, "retryable")
		equal(running.ticks(), upTo(15), "ticks of the first job")
		equal(running.result(), ticked(15), "result of the first job")
	}},
	{"key_conflict_after_the_end", wsOnly, func(w *world) {
		s := w.open()
		request := keyed("conflict-ended", "echo", in{"k": "1"})
		first := s.submitting(request)
		first.result()
		s.refused(arcp.CodeDuplicateKey, keyed("conflict-ended", "echo", in{"k": "2"}))
		longer := request
		longer.MaxRuntimeSec = 9
		s.refused(arcp.CodeDuplicateKey, longer)
		again := w.open().submitting(request)
		equal(again.ID(), first.ID(), "job id")
		equal(again.result(), any(in{"k": "1"}), "result")
	}},
	{"the_same_key_of_another_principal_is_independent", wsOnly, func(w *world) {
		hers := w.open().submitting(keyed("shared-key", "echo", "alice"))
		his := w.openAs("bob", options{}).submitting(keyed("shared-key", "echo", "bob"))
		check(hers.ID() != his.ID(), "two principals share a job")
		equal(hers.result(), any("alice"), "alice's result")
		equal(his.result(), any("bob"), "bob's result")
	}},
	{"a_repeated_failure_fails_again", wsOnly, func(w *world) {
		request := keyed("failed-before", "failer", in{"code": "PERMISSION_DENIED", "message": "no"})
		w.open().submitting(request).failsWith(arcp.CodePermissionDenied)
		equal(w.open().submitting(request).failsWith(arcp.CodePermissionDenied).Message, "no", "message")
	}},
}

// This client cancels through the handle of a job that it submitted, so it cannot name another's or an unknown one.
var cancelScenarios = []scenario{
	{"cancel_ends_a_running_job", anyLink, func(w *world) {
		s := w.open()
		j := s.submit("sleeper", in{"ms": 20000})
		must(0, j.Cancel(w.ctx, ""))("cancel")
		j.failsWith(arcp.CodeCancelled)
		equal(s.wire.waitEnd(j.ID()).payload["final_status"], any("cancelled"), "final status")
	}},
	{"cancel_in_the_middle_of_a_stream", anyLink, func(w *world) {
		s := w.open()
		j := s.submit("ticker", slow(2000, 10))
		s.wire.waitTicks(j.ID(), 5)
		must(0, j.Cancel(w.ctx, "seen enough"))("cancel")
		j.failsWith(arcp.CodeCancelled)
		ticks := j.ticks()
		equal(ticks, upTo(len(ticks)), "ticks before the cancel")
		check(len(ticks) < 1000, "the ticker went on after the cancel")
		equal(s.statusOf(j.ID()), "cancelled", "status in the listing")
	}},
	{"cancel_touches_only_its_job", anyLink, func(w *world) {
		s := w.open()
		doomed := s.submit("sleeper", in{"ms": 20000})
		other := s.submit("ticker", slow(10, 15))
		must(0, doomed.Cancel(w.ctx, ""))("cancel")
		doomed.failsWith(arcp.CodeCancelled)
		equal(other.ticks(), upTo(10), "ticks of the other job")
		equal(other.result(), ticked(10), "result of the other job")
	}},
	{"cancel_of_a_finished_job_disturbs_nothing", anyLink, func(w *world) {
		s := w.open()
		finished := s.submit("echo", true)
		finished.result()
		running := s.submit("ticker", slow(10, 20))
		s.wire.waitTicks(running.ID(), 2)
		must(0, finished.Cancel(w.ctx, ""))("cancel")
		equal(running.ticks(), upTo(10), "ticks of the running job")
		equal(running.result(), ticked(10), "result of the running job")
		equal(finished.result(), any(true), "result of the finished job")
		equal(s.statusOf(finished.ID()), "success", "status of the finished job")
	}},
}
