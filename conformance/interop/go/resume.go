package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	arcp "github.com/agentruntimecontrolprotocol/go-sdk"
	"github.com/agentruntimecontrolprotocol/go-sdk/client"
	"github.com/agentruntimecontrolprotocol/go-sdk/messages"
)

// A client object that resumes has no handles for the jobs of before, so most of these scenarios watch the wire.
const long = 40

var longTicking = slow(long, 20)

// witness is a second session that tells how far the job is while the first is away.
func (w *world) witness(j *job) *session {
	s := w.open()
	s.watch(j.ID(), history)
	return s
}

// over joins the job's stream over several connections of one session.
func over(j *job, connections ...*session) []frame {
	var frames []frame
	for _, s := range connections {
		frames = append(frames, s.wire.stream(j.ID())...)
	}
	return frames
}

var resumeScenarios = []scenario{
	{"resume_in_the_middle_of_a_stream", wsOnly, func(w *world) {
		s := w.open()
		j := s.submit("ticker", longTicking)
		witness := w.witness(j)
		connections := []*session{s}
		for _, progress := range []int{5, 15, 25} {
			witness.wire.waitTicks(j.ID(), progress)
			s.wire.waitTicks(j.ID(), 2)
			w.drop(s)
			witness.wire.waitTicks(j.ID(), progress+4)
			s = w.resume(s)
			connections = append(connections, s)
		}
		s.wire.waitEnd(j.ID())
		equal(ticksOf(over(j, connections...)), upTo(long), "ticks over all connections")
		sub := s.watch(j.ID(), history)
		equal(sub.ticks(), upTo(long), "ticks of a subscription after the resume")
		equal(s.run("echo", "next"), any("next"), "a new job after the resume")
	}},
	{"resume_after_the_job_has_ended", wsOnly, func(w *world) {
		s := w.open()
		j := s.submit("ticker", slow(15, 10))
		witness := w.witness(j)
		s.wire.waitTicks(j.ID(), 3)
		w.drop(s)
		witness.wire.waitEnd(j.ID())
		resumed := w.resume(s)
		resumed.wire.waitEnd(j.ID())
		equal(essences(over(j, s, resumed)), essences(witness.wire.stream(j.ID())), "stream over both connections")
	}},
	{"resume_when_caught_up", wsOnly, func(w *world) {
		s := w.open()
		s.submit("ticker", slow(3, 1)).result()
		w.drop(s)
		resumed := w.resume(s)
		equal(resumed.run("echo", "next"), any("next"), "echo")
		equal(resumed.HighestSeq(), s.HighestSeq()+1, "number of the next frame")
	}},
	{"resume_of_a_session_without_jobs", wsOnly, func(w *world) {
		s := w.open()
		w.drop(s)
		equal(w.resume(s).run("echo", "first"), any("first"), "echo")
	}},
	{"resume_from_an_earlier_position", wsOnly, func(w *world) {
		s := w.open()
		j := s.submit("ticker", slow(10, 1))
		j.result()
		w.drop(s)
		resumed := w.resumeFrom(s, 4)
		resumed.wire.waitEnd(j.ID())
		equal(essences(resumed.wire.stream(j.ID())), essences(s.wire.stream(j.ID()))[4:], "replay")
	}},
	{"resume_with_several_jobs", wsOnly, func(w *world) {
		s := w.open()
		var jobs []*job
		for i := range 4 {
			jobs = append(jobs, s.submit("ticker", slow(20, 12+i)))
		}
		s.wire.waitTicks(jobs[0].ID(), 5)
		w.drop(s)
		resumed := w.resume(s)
		for _, j := range jobs {
			resumed.wire.waitEnd(j.ID())
			equal(ticksOf(over(j, s, resumed)), upTo(20), "ticks over both connections")
		}
	}},
	{"cancel_after_resume", wsOnly, func(w *world) {
		s := w.open()
		request := keyed("cancel-after-resume", "sleeper", in{"ms": 20000})
		j := s.submitting(request)
		w.drop(s)
		// A handle is had again by repeating the submit.
		again := w.resume(s).submitting(request)
		equal(again.ID(), j.ID(), "job id")
		must(0, again.Cancel(w.ctx, ""))("cancel")
		again.failsWith(arcp.CodeCancelled)
	}},
	{"stale_resume_token_is_refused", wsOnly, func(w *world) {
		s := w.open()
		s.run("echo", 1)
		w.drop(s)
		resumed := w.resume(s)
		equal(resumed.run("echo", "2"), any("2"), "echo after the resume")
		w.drop(resumed)
		_, err := w.tryResume(resumed, "alice", s.Welcome().ResumeToken, resumed.lastSeq())
		failsWith(err, "resume with a stale token", arcp.CodeResumeWindowExpired)
		equal(w.resume(resumed).run("echo", "3"), any("3"), "echo after the second resume")
	}},
	{"invented_resume_token_is_refused", wsOnly, func(w *world) {
		s := w.open()
		w.drop(s)
		_, err := w.tryResume(s, "alice", "rt_0123456789abcdef0123456789abcdef", 0)
		failsWith(err, "resume with an invented token", arcp.CodeResumeWindowExpired)
		w.resume(s)
	}},
	{"another_principal_cannot_resume", wsOnly, func(w *world) {
		s := w.open()
		j := s.submit("ticker", slow(20, 15))
		s.wire.waitTicks(j.ID(), 3)
		w.drop(s)
		_, err := w.tryResume(s, "bob", s.Welcome().ResumeToken, s.lastSeq())
		failsWith(err, "resume as bob", arcp.CodeResumeWindowExpired, arcp.CodePermissionDenied)
		others := w.last().wire.all(func(f frame) bool { return f.Type != "session.error" })
		equal(len(others), 0, "other frames that bob got")
		resumed := w.resume(s)
		resumed.wire.waitEnd(j.ID())
		equal(ticksOf(over(j, s, resumed)), upTo(20), "ticks over both connections")
	}},
	{"subscriptions_survive_resume", wsOnly, func(w *world) {
		submitter := w.open()
		j := submitter.submit("ticker", longTicking)
		watcher := w.witness(j)
		watcher.wire.waitTicks(j.ID(), 6)
		w.drop(watcher)
		submitter.wire.waitTicks(j.ID(), 12)
		resumed := w.resume(watcher)
		resumed.wire.waitEnd(j.ID())
		submitter.wire.waitEnd(j.ID())
		equal(essences(over(j, watcher, resumed)), essences(submitter.wire.stream(j.ID())), "stream over both connections")
	}},
	{"close_leaves_the_job_running", wsOnly, func(w *world) {
		s := w.open()
		j := s.submit("ticker", slow(20, 15))
		witness := w.witness(j)
		s.wire.waitTicks(j.ID(), 3)
		must(0, s.Close(w.ctx))("close")
		equal(len(s.wire.sentOf("session.close")), 1, "goodbyes of the client")
		witness.wire.waitEnd(j.ID())
		resumed := w.resume(s)
		resumed.wire.waitEnd(j.ID())
		equal(ticksOf(over(j, s, resumed)), upTo(20), "ticks over both connections")
	}},
	{"idempotent_submit_after_a_lost_session", wsOnly, func(w *world) {
		request := keyed("lost-session", "ticker", longTicking)
		lost := w.open()
		j := lost.submitting(request)
		lost.wire.waitTicks(j.ID(), 5)
		w.drop(lost)
		again := w.open().submitting(request)
		equal(again.ID(), j.ID(), "job id")
		equal(again.ticks(), upTo(long), "ticks in the new session")
		equal(again.result(), ticked(long), "result")
	}},
	{"ack_then_resume", wsOnly, func(w *world) {
		s := w.open()
		j := s.submit("ticker", longTicking)
		s.wire.waitTicks(j.ID(), 10)
		must(0, s.Ack(w.ctx, s.lastSeq()-4))("ack")
		s.settle()
		w.drop(s)
		position := s.lastSeq() - 2
		resumed := w.resumeFrom(s, position)
		resumed.wire.waitEnd(j.ID())
		kept := slices.DeleteFunc(s.wire.stream(j.ID()), func(f frame) bool { return f.EventSeq > position })
		equal(ticksOf(append(kept, resumed.wire.stream(j.ID())...)), upTo(long), "ticks over both connections")
	}},
	{"auto_ack_then_resume", wsOnly, func(w *world) {
		s := w.openAs("alice", options{autoAck: 5})
		j := s.submit("ticker", longTicking)
		s.wire.waitTicks(j.ID(), 15)
		check(len(s.wire.sentOf("session.ack")) > 0, "the client acknowledged nothing")
		w.drop(s)
		resumed := w.resume(s)
		resumed.wire.waitEnd(j.ID())
		equal(ticksOf(over(j, s, resumed)), upTo(long), "ticks over both connections")
	}},
}

// pings waits for as many idle intervals.
func (s *session) pings(count int) []frame {
	isPing := func(f frame) bool { return f.Type == "session.ping" }
	return s.wire.wait("pings", count, time.Duration(count+2)*heartbeat(), isPing)
}

func heartbeat() time.Duration {
	return must(time.ParseDuration(setting("ARCPD_HEARTBEAT_SEC") + "s"))("ARCPD_HEARTBEAT_SEC")
}

var livenessScenarios = []scenario{
	{"idle_session_is_pinged_and_stays_alive", anyLink, func(w *world) {
		s := w.open()
		pings := s.pings(3)
		nonces := map[any]bool{}
		for _, ping := range pings {
			check(ping.payload["nonce"] != nil && ping.payload["sent_at"] != nil, "incomplete ping %v", ping.payload)
			nonces[ping.payload["nonce"]] = true
		}
		equal(len(nonces), 3, "distinct nonces")
		equal(s.run("echo", "alive"), any("alive"), "echo after three idle intervals")
		check(len(s.wire.sentOf("session.pong")) >= 3, "the client did not answer each ping")
	}},
	{"session_without_heartbeat_is_left_alone", wsOnly, func(w *world) {
		quiet := w.openAs("alice", options{features: []string{"list_jobs"}})
		w.open().pings(3)
		equal(len(quiet.wire.ofType("session.ping")), 0, "pings")
		equal(quiet.run("echo", "alive"), any("alive"), "echo after three idle intervals")
	}},
	{"a_long_job_outlives_several_heartbeats", anyLink, func(w *world) {
		asleep := (2*heartbeat() + 300*time.Millisecond).Milliseconds()
		slept := json.Number(fmt.Sprint(asleep))
		equal(w.open().submit("sleeper", in{"ms": asleep}).result(), any(in{"slept_ms": slept}), "result")
	}},
	{"ack_changes_nothing_in_the_stream", anyLink, func(w *world) {
		s := w.open()
		j := s.submit("ticker", slow(15, 5))
		for count := range 10 {
			s.wire.waitTicks(j.ID(), count+1)
			must(0, s.Ack(w.ctx, s.lastSeq()))("ack")
		}
		must(0, s.Ack(w.ctx, 1))("ack")
		equal(j.ticks(), upTo(15), "ticks")
		equal(len(s.wire.ofType("session.error")), 0, "session.error frames")
	}},
	{"process_ends_with_its_session", pipes, func(w *world) {
		s := w.open()
		s.run("echo", 1)
		must(0, s.Close(w.ctx))("close")
		within(s.link.ended, "the end of the process")
	}},
	{"refused_process_ends", pipes, func(w *world) {
		_, err := w.connect("alice", options{token: "nope"}, carried{})
		failsWith(err, "connect", arcp.CodeUnauthenticated)
		within(w.last().link.ended, "the end of the process")
	}},
	{"many_sessions_at_once", wsOnly, func(w *world) {
		gather(30, func(i int) {
			s := w.openAs([]string{"alice", "bob"}[i%2], options{})
			equal(s.run("echo", "hi"), any("hi"), "echo")
			equal(s.submit("ticker", slow(10, 2)).ticks(), upTo(10), "ticks")
		})
	}},
}

func within(event chan struct{}, what string) {
	select {
	case <-event:
	case <-time.After(waitTime):
		fail("%s did not come within %v", what, waitTime)
	}
}

// period is what the chunker repeats in its encoding.
func period(encoding string) []byte {
	if encoding == "utf8" {
		return []byte("abcdefghijklmnopqrstuvwxyz")
	}
	bytes := make([]byte, 251)
	for i := range bytes {
		bytes[i] = byte(i)
	}
	return bytes
}

// chunked submits to the chunker and checks that the client puts the promised bytes together.
func chunked(s *session, input any, encoding string, length int) string {
	handle := must(s.start(client.SubmitRequest{Agent: "chunker", Input: input}))("submit chunker")
	ctx, cancel := context.WithTimeout(s.ctx, 15*time.Second)
	defer cancel()
	received := must(handle.CollectChunks(ctx))("collect chunks")
	same(received, encoding, length)
	result := must(handle.Wait(ctx))("the result")
	equal(result.FinalStatus, "success", "final status")
	equal(int(result.ResultSize), length, "result_size")
	check(result.ResultID != "" && result.Output == nil, "inline and chunked in one result")
	return handle.ID()
}

func same(received []byte, encoding string, length int) {
	pattern := period(encoding)
	expected := bytes.Repeat(pattern, length/len(pattern)+1)[:length]
	equal(len(received), length, "bytes received")
	check(bytes.Equal(received, expected), "the bytes differ from the contract's")
}

var resultScenarios = []scenario{
	{"chunked_result_base64_5_mb", anyLink, func(w *world) {
		chunked(w.open(), in{"chunks": 10, "chunk_bytes": 512 * 1024}, "base64", 10*512*1024)
	}},
	{"chunked_result_utf8_5_mb", anyLink, func(w *world) {
		input := in{"chunks": 10, "chunk_bytes": 512 * 1024, "encoding": "utf8"}
		chunked(w.open(), input, "utf8", 10*512*1024)
	}},
	{"chunked_result_defaults", anyLink, func(w *world) { chunked(w.open(), nil, "base64", 192) }},
	{"chunked_results_side_by_side", anyLink, func(w *world) {
		s := w.open()
		gather(3, func(i int) {
			chunked(s, in{"chunks": 20, "chunk_bytes": 1000 * (i + 1)}, "base64", 20*1000*(i+1))
		})
	}},
	{"chunked_result_of_a_finished_job", wsOnly, func(w *world) {
		jobID := chunked(w.open(), in{"chunks": 30, "chunk_bytes": 700, "encoding": "utf8"}, "utf8", 30*700)
		var text strings.Builder
		for _, event := range take(w.open().watch(jobID, history).events) {
			body := must(messages.DecodeEventBody(&event))("a chunk").(*messages.ResultChunkBody)
			text.WriteString(body.Data)
		}
		same([]byte(text.String()), "utf8", 30*700)
	}},
	{"chunked_result_over_a_broken_connection", wsOnly, func(w *world) {
		s := w.open()
		request := client.SubmitRequest{Agent: "chunker", Input: in{"chunks": 40, "chunk_bytes": 64 * 1024}}
		handle := must(s.start(request))("submit chunker")
		kept := s.wire.wait("chunks", 3, waitTime, func(f frame) bool { return f.Type == "job.event" })
		w.drop(s)
		// What else may have arrived is taken for lost, so that the break is in the middle.
		resumed := w.resumeFrom(s, kept[2].EventSeq)
		resumed.wire.waitEnd(handle.ID())
		var received []byte
		for _, f := range append(kept, resumed.wire.stream(handle.ID())...) {
			if f.Type == "job.event" {
				var event messages.JobEvent
				check(json.Unmarshal(f.Payload, &event) == nil, "an event that is none")
				body := must(messages.DecodeEventBody(&event))("a chunk").(*messages.ResultChunkBody)
				var part []byte
				check(json.Unmarshal([]byte(`"`+body.Data+`"`), &part) == nil, "a chunk that is not base64")
				received = append(received, part...)
			}
		}
		same(received, "base64", 40*64*1024)
	}},
	{"inline_result_of_700_kb", anyLink, func(w *world) {
		text := strings.Repeat("0123456789abcdef", 700_000/16)
		equal(w.open().run("echo", text), any(text), "echo")
	}},
	{"many_inline_results_of_100_kb", anyLink, func(w *world) {
		s := w.open()
		gather(8, func(i int) {
			text := strings.Repeat(string(rune('0'+i)), 100_000)
			equal(s.run("echo", text), any(text), "echo")
		})
	}},
}
