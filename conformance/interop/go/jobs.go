package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	arcp "github.com/agentruntimecontrolprotocol/go-sdk"
	"github.com/agentruntimecontrolprotocol/go-sdk/client"
	"github.com/agentruntimecontrolprotocol/go-sdk/messages"
)

const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"

// offered is what the daemon offers today of what this client asks for; budgets, models and credentials come later.
var offered = []string{
	"ack", "agent_versions", "heartbeat", "lease_expires_at", "list_jobs", "progress", "result_chunk", "subscribe",
}

func sorted(texts []string) []string { return slices.Sorted(slices.Values(texts)) }

var sessionScenarios = []scenario{
	{"handshake_welcome_is_complete", anyLink, func(w *world) {
		s := w.open()
		welcome := s.Welcome()
		check(s.SessionID() != "" && welcome.ResumeToken != "", "empty field in the welcome: %+v", welcome)
		check(welcome.Runtime.Name != "" && welcome.Runtime.Version != "", "the runtime does not name itself")
		equal(fmt.Sprint(welcome.ResumeWindowSec), setting("ARCPD_RESUME_SEC"), "resume_window_sec")
		equal(fmt.Sprint(welcome.HeartbeatIntervalSec), setting("ARCPD_HEARTBEAT_SEC"), "heartbeat_interval_sec")
		check(slices.Contains(welcome.Capabilities.Encodings, "json"), "encodings without json")
	}},
	{"handshake_negotiates_what_both_sides_can", anyLink, func(w *world) {
		equal(sorted(w.open().Features()), offered, "negotiated features")
	}},
	{"handshake_features_are_the_intersection", anyLink, func(w *world) {
		s := w.openAs("alice", options{features: []string{"list_jobs", "subscribe", "x-interop.unknown"}})
		equal(sorted(s.Welcome().Capabilities.Features), []string{"list_jobs", "subscribe"}, "features in the welcome")
		equal(s.run("echo", "still works"), any("still works"), "echo")
	}},
	{"handshake_lists_the_agents", anyLink, func(w *world) {
		found := map[string]messages.AgentEntry{}
		for _, agent := range w.open().Welcome().Capabilities.Agents {
			found[agent.Name] = agent
		}
		for _, name := range []string{"echo", "ticker", "chunker", "spender", "sleeper", "failer"} {
			check(found[name].Default != "", "agent %s is missing", name)
		}
		equal(sorted(found["echo"].Versions), []string{"1.0.0", "2.0.0"}, "versions of echo")
		equal(found["echo"].Default, "2.0.0", "default version of echo")
		equal(found["ticker"].Versions, []string{"1.0.0"}, "versions of ticker")
	}},
	{"bad_token_is_refused_and_the_connection_closed", anyLink, func(w *world) {
		_, err := w.connect("alice", options{token: "nope"}, carried{})
		failsWith(err, "connect", arcp.CodeUnauthenticated)
		_, err = w.last().wire.Recv(w.ctx)
		check(err != nil, "expected a closed connection")
		equal(len(w.last().wire.ofType("session.error")), 1, "session.error frames")
	}},
	{"sessions_of_one_principal_are_separate", wsOnly, func(w *world) {
		one, two := w.open(), w.open()
		check(one.SessionID() != two.SessionID(), "two sessions with one id")
		check(one.Welcome().ResumeToken != two.Welcome().ResumeToken, "two sessions with one token")
		j := one.submit("ticker", slow(3, 5))
		equal(two.run("echo", "2"), any("2"), "echo in the second session")
		j.result()
		two.settle()
		equal(len(two.wire.ofJob(j.ID())), 0, "frames of another session's job")
	}},
}

var values = []string{
	`"wörld 日本語 🎉 \u2028 \u0000 \" \\ <&>"`, `""`, `false`, `true`, `0`, `-1`, `9007199254740993`,
	`-9223372036854775808`, `1.5`, `[]`, `{}`, `[null]`, `null`,
	`{"n":null,"":{"deep":[[[{"ключ":[1,2.25,"x",false]}]]]}}`,
}

var jobScenarios = []scenario{
	{"echo_returns_every_kind_of_value", anyLink, func(w *world) {
		s := w.open()
		for _, value := range values {
			equal(s.run("echo", json.RawMessage(value)), opened(json.RawMessage(value)), "echo "+value)
		}
	}},
	{"echo_without_input", anyLink, func(w *world) {
		equal(w.open().run("echo", nil), nil, "echo without input")
	}},
	{"bare_agent_name_takes_the_default_version", anyLink, func(w *world) {
		j := w.open().submit("echo", true)
		equal(j.Accepted().Agent, "echo@2.0.0", "resolved agent")
		equal(j.result(), any(true), "result")
	}},
	{"pinned_agent_version_is_honoured", anyLink, func(w *world) {
		s := w.open()
		for _, version := range []string{"1.0.0", "2.0.0"} {
			j := s.submit("echo@"+version, version)
			equal(j.Accepted().Agent, "echo@"+version, "resolved agent")
			equal(j.result(), any(version), "result")
		}
	}},
	{"trace_id_is_echoed", anyLink, func(w *world) {
		s := w.open()
		j := s.submitting(client.SubmitRequest{Agent: "ticker", Input: in{"count": 2}, TraceID: traceID})
		equal(j.Accepted().TraceID, traceID, "trace id of job.accepted")
		j.result()
		for _, f := range s.wire.ofJob(j.ID()) {
			check(f.TraceID == "" || f.TraceID == traceID, "another trace id on %s: %s", f.Type, f.TraceID)
		}
		equal(s.rowsOf(j.ID())[0].TraceID, traceID, "trace id in the listing")
	}},
	{"ticker_events_arrive_in_order", anyLink, func(w *world) {
		j := w.open().submit("ticker", slow(25, 5))
		events := take(j.events)
		equal(ticksIn(events), upTo(25), "ticks")
		for _, event := range events {
			check(!event.TS.IsZero(), "an event without ts")
		}
		equal(j.result(), ticked(25), "result")
	}},
	{"ticker_defaults", anyLink, func(w *world) {
		j := w.open().submit("ticker", nil)
		equal(j.ticks(), upTo(3), "ticks")
		equal(j.result(), ticked(3), "result")
	}},
	{"twenty_concurrent_submits", anyLink, func(w *world) {
		s := w.open()
		gather(20, func(i int) {
			text := fmt.Sprint("submit ", i)
			equal(s.run("echo", text), any(text), "echo")
		})
	}},
	{"concurrent_streams_do_not_mix", anyLink, func(w *world) {
		s := w.open()
		gather(10, func(i int) { equal(s.submit("ticker", slow(10+i, 3)).ticks(), upTo(10+i), "ticks") })
	}},
	{"fast_ticker_of_2000_events", anyLink, func(w *world) {
		j := w.open().submit("ticker", in{"count": 2000, "interval_ms": 0, "size": 100})
		equal(j.ticks(), upTo(2000), "ticks")
		equal(j.result(), ticked(2000), "result")
	}},
}

var refusalScenarios = []scenario{
	{"unknown_agent_is_refused", anyLink, func(w *world) {
		s := w.open()
		err := s.refused(arcp.CodeAgentNotAvailable, client.SubmitRequest{Agent: "no-such-agent", Input: in{}})
		equal(err.Retryable, false, "retryable")
		equal(s.run("echo", "after"), any("after"), "echo after a refusal")
	}},
	{"unknown_agent_version_is_refused", anyLink, func(w *world) {
		s := w.open()
		s.refused(arcp.CodeAgentVersionNotAvailable, client.SubmitRequest{Agent: "echo@9.9.9"})
		equal(s.run("echo", "after"), any("after"), "echo after a refusal")
	}},
	{"a_refusal_leaves_a_running_job_alone", anyLink, func(w *world) {
		s := w.open()
		running := s.submit("ticker", slow(20, 15))
		s.wire.waitTicks(running.ID(), 2)
		s.refused(arcp.CodeAgentNotAvailable, client.SubmitRequest{Agent: "no-such-agent"})
		equal(running.ticks(), upTo(20), "ticks of the running job")
		equal(running.result(), ticked(20), "result of the running job")
	}},
	{"refusals_among_concurrent_submits", anyLink, func(w *world) {
		s := w.open()
		running := s.submit("ticker", slow(10, 20))
		gather(30, func(i int) {
			switch {
			case i%3 != 2:
				equal(s.run("echo", fmt.Sprint(i)), any(fmt.Sprint(i)), "echo")
			case i%2 == 1:
				s.refused(arcp.CodeAgentNotAvailable, client.SubmitRequest{Agent: fmt.Sprint("no-such-agent-", i)})
			default:
				s.refused(arcp.CodeAgentVersionNotAvailable, client.SubmitRequest{Agent: fmt.Sprint("echo@9.9.", i)})
			}
		})
		equal(running.ticks(), upTo(10), "ticks of the running job")
	}},
	{"failer_reports_code_message_and_events", anyLink, func(w *world) {
		s := w.open()
		message := "not ünder my wätch"
		j := s.submit("failer", in{"code": "PERMISSION_DENIED", "message": message, "after_events": 3})
		equal(j.failsWith(arcp.CodePermissionDenied).Message, message, "message")
		logs := slices.DeleteFunc(take(j.events), func(e messages.JobEvent) bool { return e.Kind != messages.KindLog })
		equal(len(logs), 3, "log events before the failure")
	}},
	{"failer_defaults_to_internal_error", anyLink, func(w *world) {
		equal(w.open().submit("failer", in{}).failsWith(arcp.CodeInternalError).Retryable, true, "retryable")
	}},
	{"max_runtime_ends_a_job_as_timed_out", anyLink, func(w *world) {
		s := w.open()
		j := s.submitting(client.SubmitRequest{Agent: "sleeper", Input: in{"ms": 20000}, MaxRuntimeSec: 1})
		j.failsWith(arcp.CodeTimeout)
		equal(s.wire.waitEnd(j.ID()).payload["final_status"], any("timed_out"), "final status")
		equal(s.statusOf(j.ID()), "timed_out", "status in the listing")
	}},
	{"max_runtime_that_is_kept_does_nothing", anyLink, func(w *world) {
		request := client.SubmitRequest{Agent: "sleeper", Input: in{"ms": 20}, MaxRuntimeSec: 30}
		equal(w.open().submitting(request).result(), any(in{"slept_ms": json.Number("20")}), "result")
	}},
}

var patterns = arcp.Lease{
	"tool.call":               {"zeta", "alpha", "search.*"},
	"fs.read":                 {"/project/**", "/data/*"},
	"net.fetch":               {"https://example.test/*"},
	"x-vendor.interop.custom": {"anything"},
}

func until(expiry time.Time) client.SubmitRequest {
	return client.SubmitRequest{
		Agent:            "sleeper",
		Input:            in{"ms": 20000},
		LeaseConstraints: &messages.LeaseConstraints{ExpiresAt: &expiry},
	}
}

var leaseScenarios = []scenario{
	{"lease_is_echoed_verbatim", anyLink, func(w *world) {
		s := w.open()
		j := s.submitting(client.SubmitRequest{Agent: "echo", Input: 1, LeaseRequest: patterns})
		equal(j.Accepted().Lease, patterns, "lease of job.accepted")
		constraints := j.Accepted().LeaseConstraints
		check(constraints == nil || constraints.ExpiresAt == nil, "an expiry that nobody asked for")
		j.result()
		equal(s.rowsOf(j.ID())[0].Lease, patterns, "lease in the listing")
	}},
	{"no_lease_is_an_empty_lease", anyLink, func(w *world) {
		j := w.open().submit("echo", true)
		equal(len(j.Accepted().Lease), 0, "lease")
		equal(j.result(), any(true), "result")
	}},
	{"expiry_in_the_future_is_accepted", anyLink, func(w *world) {
		request := until(time.Now().UTC().Add(5 * time.Minute))
		request.Agent, request.Input = "echo", true
		j := w.open().submitting(request)
		constraints := j.Accepted().LeaseConstraints
		check(constraints != nil && constraints.ExpiresAt != nil, "no expiry")
		wanted := *request.LeaseConstraints.ExpiresAt
		equal(constraints.ExpiresAt.Sub(wanted).Abs() < time.Millisecond, true, "the same expires_at")
		equal(j.result(), any(true), "result")
	}},
	{"expiry_in_the_past_is_refused", anyLink, func(w *world) {
		s := w.open()
		s.refused(arcp.CodeInvalidRequest, until(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)))
		equal(s.run("echo", "after"), any("after"), "echo after a refusal")
	}},
	{"lease_that_expires_ends_the_job", anyLink, func(w *world) {
		s := w.open()
		j := s.submitting(until(time.Now().UTC().Add(time.Second)))
		equal(j.failsWith(arcp.CodeLeaseExpired).Retryable, false, "retryable")
		equal(s.statusOf(j.ID()), "error", "status in the listing")
	}},
}
