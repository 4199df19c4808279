package main

import (
	"context"
	"slices"
	"time"

	arcp "github.com/agentruntimecontrolprotocol/go-sdk"
	"github.com/agentruntimecontrolprotocol/go-sdk/client"
	"github.com/agentruntimecontrolprotocol/go-sdk/messages"
)

const unknownJob = "job_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E"

// rows collects all pages of a listing.
func (s *session) rows(filter messages.ListJobsFilter) []messages.JobInfo {
	var rows []messages.JobInfo
	request := client.ListJobsRequest{Filter: filter, Limit: 50}
	for range 200 {
		page := must(s.list(request))("list_jobs")
		check(len(page.Jobs) <= request.Limit, "a page of %d rows", len(page.Jobs))
		rows = append(rows, page.Jobs...)
		if page.NextCursor == "" {
			return rows
		}
		request.Cursor = page.NextCursor
	}
	fail("the listing did not end within 200 pages")
	return nil
}

func ids(rows []messages.JobInfo) []string {
	found := make([]string, len(rows))
	for i, row := range rows {
		found[i] = row.JobID
	}
	return found
}

// among returns those of the wanted ids that the rows show, in the order wanted.
func among(rows []messages.JobInfo, wanted []string) []string {
	shown := ids(rows)
	return slices.DeleteFunc(slices.Clone(wanted), func(id string) bool { return !slices.Contains(shown, id) })
}

// moment is a time of the daemon's clock, later than every earlier job and earlier than every later one.
func (s *session) moment() time.Time {
	return take(s.submit("ticker", slow(3, 4)).events)[1].TS
}

var listScenarios = []scenario{
	{"list_rows_are_complete", anyLink, func(w *world) {
		s := w.open()
		lease := arcp.Lease{"tool.call": {"a"}}
		j := s.submitting(client.SubmitRequest{Agent: "ticker", Input: slow(3, 1), LeaseRequest: lease})
		j.result()
		row := s.rowsOf(j.ID())[0]
		equal(row.Agent, "ticker@1.0.0", "agent")
		equal(row.Status, "success", "status")
		equal(row.Lease, lease, "lease")
		equal(row.ParentJobID, "", "parent_job_id")
		check(row.CreatedAt.Sub(j.Accepted().AcceptedAt).Abs() < time.Second, "created_at %v", row.CreatedAt)
		equal(int(row.LastEventSeq), len(s.wire.stream(j.ID())), "last_event_seq, the job's own position")
	}},
	{"list_shows_only_own_jobs", wsOnly, func(w *world) {
		alice, bob := w.open(), w.openAs("bob", options{})
		hers, his := alice.submit("echo", "alice"), bob.submit("echo", "bob")
		hers.result()
		his.result()
		for _, filter := range []messages.ListJobsFilter{{}, {Agent: "echo"}, {Status: []string{"success"}}} {
			equal(among(bob.rows(filter), []string{hers.ID(), his.ID()}), []string{his.ID()}, "jobs that bob sees")
		}
		equal(among(alice.rows(messages.ListJobsFilter{}), []string{hers.ID()}), []string{hers.ID()}, "alice's jobs")
	}},
	{"list_shows_jobs_of_all_own_sessions", wsOnly, func(w *world) {
		j := w.open().submit("echo", true)
		j.result()
		equal(w.open().statusOf(j.ID()), "success", "status of the other session's job")
	}},
	{"list_filters_by_status", anyLink, func(w *world) {
		s := w.open()
		running := s.submit("ticker", slow(2000, 10))
		s.wire.waitTicks(running.ID(), 1)
		success := s.submit("echo", true)
		success.result()
		failed := s.submit("failer", in{})
		failed.failsWith(arcp.CodeInternalError)
		cancelled := s.submit("sleeper", in{"ms": 20000})
		must(0, cancelled.Cancel(w.ctx, ""))("cancel")
		cancelled.failsWith(arcp.CodeCancelled)
		byStatus := map[string]*job{"running": running, "success": success, "error": failed, "cancelled": cancelled}
		own := []string{running.ID(), success.ID(), failed.ID(), cancelled.ID()}
		for status, j := range byStatus {
			rows := s.rows(messages.ListJobsFilter{Status: []string{status}})
			equal(among(rows, own), []string{j.ID()}, "jobs under the filter "+status)
			for _, row := range rows {
				equal(row.Status, status, "status under the filter")
			}
		}
		both := s.rows(messages.ListJobsFilter{Status: []string{"success", "error"}})
		equal(among(both, own), []string{success.ID(), failed.ID()}, "jobs under a filter of two statuses")
	}},
	{"list_filters_by_agent", anyLink, func(w *world) {
		s := w.open()
		var own []string
		agents := []string{"echo@1.0.0", "echo@2.0.0", "ticker@1.0.0"}
		for _, agent := range agents {
			j := s.submit(agent, nil)
			j.result()
			own = append(own, j.ID())
		}
		equal(among(s.rows(messages.ListJobsFilter{Agent: "echo"}), own), own[:2], "jobs of the agent echo")
		for i, agent := range agents {
			rows := s.rows(messages.ListJobsFilter{Agent: agent})
			equal(among(rows, own), own[i:i+1], "jobs of "+agent)
		}
		equal(len(s.rows(messages.ListJobsFilter{Agent: "echo@9.9.9"})), 0, "jobs of a version that never ran")
	}},
	{"list_filters_by_creation_time", anyLink, func(w *world) {
		s := w.open()
		earlier := s.submit("echo", "earlier")
		earlier.result()
		between := s.moment()
		later := s.submit("echo", "later")
		later.result()
		own := []string{earlier.ID(), later.ID()}
		after := messages.ListJobsFilter{CreatedAfter: &between}
		equal(ids(s.rows(after)), own[1:], "jobs after the moment between the two")
		before := messages.ListJobsFilter{CreatedBefore: &between}
		equal(among(s.rows(before), own), own[:1], "jobs before the moment between the two")
		combined := messages.ListJobsFilter{CreatedAfter: &between, Agent: "ticker", Status: []string{"success"}}
		equal(len(s.rows(combined)), 0, "tickers after that moment")
	}},
	{"list_pages_show_each_job_once", anyLink, func(w *world) {
		s := w.open()
		start := s.moment()
		var wanted, seen []string
		for range 7 {
			j := s.submit("echo", nil)
			j.result()
			wanted = append(wanted, j.ID())
		}
		request := client.ListJobsRequest{Filter: messages.ListJobsFilter{CreatedAfter: &start}, Limit: 2}
		for page := range 200 {
			listed := must(s.list(request))("list_jobs")
			check(len(listed.Jobs) <= 2, "a page longer than its limit")
			seen = append(seen, ids(listed.Jobs)...)
			if request.Cursor = listed.NextCursor; request.Cursor == "" {
				break
			}
			if page < 5 {
				s.run("echo", "inserted")
			}
		}
		equal(request.Cursor, "", "cursor after the last page")
		equal(len(slices.Compact(sorted(seen))), len(seen), "rows, each once")
		for _, id := range wanted {
			check(slices.Contains(seen, id), "no page showed %s", id)
		}
	}},
	{"list_refuses_a_tampered_cursor", anyLink, func(w *world) {
		s := w.open()
		for range 3 {
			s.run("echo", nil)
		}
		cursor := must(s.list(client.ListJobsRequest{Limit: 1}))("list_jobs").NextCursor
		check(cursor != "", "no cursor although there are more jobs")
		for _, wrong := range []string{"not-a-cursor", cursor[:len(cursor)-3]} {
			_, err := s.list(client.ListJobsRequest{Limit: 1, Cursor: wrong})
			failsWith(err, "list_jobs with cursor "+wrong, arcp.CodeInvalidRequest)
		}
		page := must(s.list(client.ListJobsRequest{Limit: 1, Cursor: cursor}))("list_jobs")
		equal(len(page.Jobs), 1, "rows behind the true cursor")
		equal(s.run("echo", "after"), any("after"), "echo after a refusal")
	}},
	{"list_does_not_subscribe", anyLink, func(w *world) {
		s := w.open()
		j := s.submit("ticker", slow(10, 15))
		for range 5 {
			s.settle()
		}
		equal(j.result(), ticked(10), "result")
		equal(s.wire.ticks(j.ID()), upTo(10), "ticks on the wire")
	}},
}

// watch is a subscription whose events are collected as they come.
type watch struct {
	*client.Subscription
	events chan []messages.JobEvent
}

func (s *session) trySubscribe(jobID string, options client.SubscribeOptions) (*client.Subscription, error) {
	ctx, cancel := context.WithTimeout(s.ctx, waitTime)
	defer cancel()
	return s.Subscribe(ctx, jobID, options)
}

func (s *session) watch(jobID string, options client.SubscribeOptions) *watch {
	subscription := must(s.trySubscribe(jobID, options))("subscribe")
	return &watch{subscription, collect(subscription.Events())}
}

func (w *watch) ticks() []int { return ticksIn(take(w.events)) }

// sameFrom checks that the watcher's stream of the job is the submitter's after the first `from` frames.
func sameFrom(watcher, submitter *session, jobID string, from int) {
	watcher.wire.waitEnd(jobID)
	submitter.wire.waitEnd(jobID)
	expected := essences(submitter.wire.stream(jobID))
	check(from <= len(expected), "the submitter's stream has %d frames only", len(expected))
	equal(essences(watcher.wire.stream(jobID)), expected[from:], "the watcher's stream")
}

var (
	count   = 25
	ticking = slow(count, 20)
	history = client.SubscribeOptions{History: true}
	live    = client.SubscribeOptions{}
)

var watchScenarios = []scenario{
	{"subscribe_with_history_to_a_running_job", wsOnly, func(w *world) {
		submitter, watcher := w.open(), w.open()
		j := submitter.submit("ticker", ticking)
		submitter.wire.waitTicks(j.ID(), 5)
		sub := watcher.watch(j.ID(), history)
		equal(sub.SubscribedFrom(), 0, "subscribed_from")
		equal(sub.Replayed(), true, "replayed")
		equal(sub.ticks(), upTo(count), "ticks of the subscription")
		must(0, sub.Err())("the subscription")
		sameFrom(watcher, submitter, j.ID(), 0)
	}},
	{"subscribe_to_a_finished_job", wsOnly, func(w *world) {
		submitter, watcher := w.open(), w.open()
		lease := arcp.Lease{"tool.call": {"a"}}
		j := submitter.submitting(client.SubmitRequest{Agent: "ticker", Input: slow(6, 1), LeaseRequest: lease})
		seen := take(j.events)
		sub := watcher.watch(j.ID(), history)
		equal(sub.CurrentStatus(), "success", "current_status")
		equal(sub.Agent(), "ticker@1.0.0", "agent")
		equal(sub.Lease(), lease, "lease")
		equal(take(sub.events), seen, "events of the subscription")
		sameFrom(watcher, submitter, j.ID(), 0)
	}},
	{"subscribe_to_a_finished_job_without_history", wsOnly, func(w *world) {
		j := w.open().submit("ticker", slow(6, 1))
		j.result()
		sub := w.open().watch(j.ID(), live)
		equal(sub.CurrentStatus(), "success", "current_status")
		equal(sub.ticks(), []int{}, "ticks of the subscription")
	}},
	{"subscribe_to_a_failed_job", wsOnly, func(w *world) {
		j := w.open().submit("failer", in{"code": "PERMISSION_DENIED", "message": "no", "after_events": 2})
		seen := take(j.events)
		sub := w.open().watch(j.ID(), history)
		equal(take(sub.events), seen, "events of the subscription")
		failsWith(sub.Err(), "the subscription", arcp.CodePermissionDenied)
	}},
	{"subscribe_with_a_long_history", wsOnly, func(w *world) {
		j := w.open().submit("ticker", slow(500, 0))
		j.result()
		equal(w.open().watch(j.ID(), history).ticks(), upTo(500), "ticks of the subscription")
	}},
	{"subscribe_from_a_position", wsOnly, func(w *world) {
		submitter, watcher := w.open(), w.open()
		submitter.submit("ticker", slow(4, 1)).result()
		j := submitter.submit("ticker", ticking)
		submitter.wire.waitTicks(j.ID(), 8)
		sub := watcher.watch(j.ID(), client.SubscribeOptions{History: true, FromEventSeq: 5})
		equal(sub.SubscribedFrom(), 5, "subscribed_from")
		take(sub.events)
		sameFrom(watcher, submitter, j.ID(), 5)
	}},
	{"subscribe_from_a_position_of_a_finished_job", wsOnly, func(w *world) {
		submitter, watcher := w.open(), w.open()
		j := submitter.submit("ticker", slow(9, 1))
		j.result()
		take(watcher.watch(j.ID(), client.SubscribeOptions{History: true, FromEventSeq: 7}).events)
		sameFrom(watcher, submitter, j.ID(), 7)
	}},
	{"subscribe_without_history_is_live_only", wsOnly, func(w *world) {
		submitter, watcher := w.open(), w.open()
		j := submitter.submit("ticker", ticking)
		submitter.wire.waitTicks(j.ID(), 6)
		sub := watcher.watch(j.ID(), live)
		check(sub.SubscribedFrom() >= 6, "subscribed_from %d after six events", sub.SubscribedFrom())
		equal(sub.Replayed(), false, "replayed")
		take(sub.events)
		sameFrom(watcher, submitter, j.ID(), int(sub.SubscribedFrom()))
	}},
	{"subscribe_twice_doubles_nothing", wsOnly, func(w *world) {
		submitter, watcher := w.open(), w.open()
		j := submitter.submit("ticker", ticking)
		submitter.wire.waitTicks(j.ID(), 3)
		one := watcher.watch(j.ID(), history)
		watcher.wire.waitTicks(j.ID(), 6)
		two := watcher.watch(j.ID(), live)
		equal(one.ticks(), upTo(count), "ticks of the first subscription")
		take(two.events)
		equal(watcher.wire.ticks(j.ID()), upTo(count), "ticks on the watcher's wire")
	}},
	{"subscribe_to_an_own_job_doubles_nothing", anyLink, func(w *world) {
		s := w.open()
		j := s.submit("ticker", ticking)
		s.wire.waitTicks(j.ID(), 3)
		sub := s.watch(j.ID(), live)
		equal(j.ticks(), upTo(count), "ticks of the handle")
		equal(j.result(), ticked(count), "result")
		take(sub.events)
		s.settle()
		equal(s.wire.ticks(j.ID()), upTo(count), "ticks on the wire")
	}},
	{"several_watchers_see_the_same", wsOnly, func(w *world) {
		submitter := w.open()
		j := submitter.submit("ticker", ticking)
		var watchers []*session
		for _, ticks := range []int{1, 4, 9} {
			submitter.wire.waitTicks(j.ID(), ticks)
			watcher := w.open()
			watcher.watch(j.ID(), history)
			watchers = append(watchers, watcher)
		}
		for _, watcher := range watchers {
			sameFrom(watcher, submitter, j.ID(), 0)
		}
	}},
	{"a_watcher_may_watch_and_work", wsOnly, func(w *world) {
		submitter, watcher := w.open(), w.open()
		j := submitter.submit("ticker", ticking)
		sub := watcher.watch(j.ID(), history)
		own := watcher.submit("ticker", slow(30, 7))
		equal(own.ticks(), upTo(30), "ticks of the own job")
		equal(sub.ticks(), upTo(count), "ticks of the subscription")
	}},
	{"unsubscribe_stops_the_events", wsOnly, func(w *world) {
		submitter, watcher := w.open(), w.open()
		j := submitter.submit("ticker", ticking)
		sub := watcher.watch(j.ID(), history)
		watcher.wire.waitTicks(j.ID(), 3)
		must(0, sub.Close(w.ctx))("unsubscribe")
		watcher.settle()
		watcher.settle() // a frame that was on its way during the first round trip has arrived now
		seen := len(watcher.wire.ofJob(j.ID()))
		equal(j.ticks(), upTo(count), "the submitter's ticks")
		watcher.settle()
		equal(len(watcher.wire.ofJob(j.ID())), seen, "the job's frames at the watcher")
	}},
	{"subscribe_again_after_unsubscribe", wsOnly, func(w *world) {
		submitter, watcher := w.open(), w.open()
		j := submitter.submit("ticker", ticking)
		sub := watcher.watch(j.ID(), live)
		watcher.wire.waitTicks(j.ID(), 2)
		must(0, sub.Close(w.ctx))("unsubscribe")
		watcher.settle()
		equal(watcher.watch(j.ID(), history).ticks(), upTo(count), "ticks of the second subscription")
	}},
	{"foreign_job_cannot_be_watched", wsOnly, func(w *world) {
		alice, bob := w.open(), w.openAs("bob", options{})
		j := alice.submit("ticker", ticking)
		alice.wire.waitTicks(j.ID(), 2)
		_, err := bob.trySubscribe(j.ID(), history)
		failsWith(err, "subscribe", arcp.CodeJobNotFound, arcp.CodePermissionDenied)
		equal(j.result(), ticked(count), "alice's result")
		bob.settle()
		frames := slices.DeleteFunc(bob.wire.ofJob(j.ID()), isTerminal)
		equal(len(frames), 0, "frames of alice's job at bob's")
	}},
	{"unknown_job_cannot_be_watched", anyLink, func(w *world) {
		s := w.open()
		running := s.submit("ticker", ticking)
		_, err := s.trySubscribe(unknownJob, live)
		failsWith(err, "subscribe", arcp.CodeJobNotFound)
		equal(s.run("echo", "after"), any("after"), "echo after a refusal")
		equal(running.ticks(), upTo(count), "ticks of the running job")
		equal(running.result(), ticked(count), "result of the running job")
	}},
}
