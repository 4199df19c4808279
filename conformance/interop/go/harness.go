package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	arcp "github.com/agentruntimecontrolprotocol/go-sdk"
	"github.com/agentruntimecontrolprotocol/go-sdk/client"
	"github.com/agentruntimecontrolprotocol/go-sdk/messages"
)

// failure is what a check panics with; caught turns it into an error.
type failure string

func fail(format string, arguments ...any) { panic(failure(fmt.Sprintf(format, arguments...))) }

func check(holds bool, format string, arguments ...any) {
	if !holds {
		fail(format, arguments...)
	}
}

func equal[T any](got, want T, what string) {
	if !reflect.DeepEqual(got, want) {
		fail("%s: expected %s, got %s", what, short(want), short(got))
	}
}

func short(value any) string {
	text := strings.Join(strings.Fields(fmt.Sprintf("%v", value)), " ")
	if len(text) > 240 {
		return fmt.Sprintf("%s … %s (%d characters)", text[:150], text[len(text)-60:], len(text))
	}
	return text
}

// must returns the value of a call that may not fail.
func must[T any](value T, err error) func(what string) T {
	return func(what string) T {
		check(err == nil, "%s: %v", what, err)
		return value
	}
}

// failsWith checks that a call failed with one of the protocol's errors that has one of these codes.
func failsWith(err error, what string, codes ...arcp.ErrorCode) *arcp.Error {
	var coded *arcp.Error
	check(errors.As(err, &coded), "%s: expected %v, got %v", what, codes, err)
	check(slices.Contains(codes, coded.Code), "%s: expected %v, got %v", what, codes, err)
	check(coded.Message != "", "%s: %s without a message", what, coded.Code)
	return coded
}

func caught(body func()) (err error) {
	defer func() {
		switch reason := recover().(type) {
		case nil:
		case failure:
			err = errors.New(string(reason))
		default:
			panic(reason)
		}
	}()
	body()
	return nil
}

// gather runs body count times side by side and fails with the first failure.
func gather(count int, body func(i int)) {
	errs := make([]error, count)
	var group sync.WaitGroup
	for i := range count {
		group.Go(func() { errs[i] = caught(func() { body(i) }) })
	}
	group.Wait()
	for _, err := range errs {
		check(err == nil, "%v", err)
	}
}

func upTo(last int) []int {
	numbers := make([]int, last)
	for i := range numbers {
		numbers[i] = i + 1
	}
	return numbers
}

func setting(name string) string {
	value := os.Getenv(name)
	check(value != "", "%s is not set: run this under with_daemon.py", name)
	return value
}

// world opens sessions for one scenario, judges their frames and takes everything down again.
type world struct {
	ctx       context.Context
	transport string
	mu        sync.Mutex
	sessions  []*session
}

// session is one connection of the client, with what passed over it.
type session struct {
	*client.Client
	ctx       context.Context
	wire      *recorder
	link      *link
	before    carried
	principal string
}

// options are those of the client that a scenario may change.
type options struct {
	token    string
	features []string
	autoAck  uint64
	resume   *messages.ResumeRequest
}

func (w *world) open() *session { return w.openAs("alice", options{}) }

func (w *world) openAs(principal string, o options) *session {
	s, err := w.connect(principal, o, carried{})
	check(err == nil, "connect: %v", err)
	return s
}

// connect opens a session; also a refused one is remembered, so that its frames are judged.
func (w *world) connect(principal string, o options, before carried) (*session, error) {
	l := must(connect(w.ctx, w.transport))("connecting")
	s := &session{ctx: w.ctx, wire: record(l), link: l, before: before, principal: principal}
	w.mu.Lock()
	w.sessions = append(w.sessions, s)
	w.mu.Unlock()
	if o.token == "" {
		o.token = setting("ARCPD_TOKEN_" + strings.ToUpper(principal))
	}
	var err error
	s.Client, err = client.Connect(w.ctx, s.wire, client.Options{
		ClientName:      "interop",
		Token:           o.token,
		Features:        o.features,
		AutoAckWindow:   o.autoAck,
		AutoAckInterval: 20 * time.Millisecond,
		Resume:          o.resume,
		// The daemon numbers without gaps, so the client may look for them.
		DetectSeqGaps: true,
		Logger:        slog.New(slog.DiscardHandler),
	})
	return s, err
}

// resume takes a session up again on a new connection, as a well-behaved client would.
func (w *world) resume(s *session) *session { return w.resumeFrom(s, s.lastSeq()) }

func (w *world) resumeFrom(s *session, lastSeq uint64) *session {
	resumed, err := w.tryResume(s, s.principal, s.Welcome().ResumeToken, lastSeq)
	check(err == nil, "resume: %v", err)
	equal(resumed.SessionID(), s.SessionID(), "session id after the resume")
	check(resumed.Welcome().ResumeToken != s.Welcome().ResumeToken, "the resume token did not change")
	return resumed
}

func (w *world) tryResume(s *session, principal, token string, lastSeq uint64) (*session, error) {
	request := &messages.ResumeRequest{SessionID: s.SessionID(), ResumeToken: token, LastEventSeq: lastSeq}
	frames := s.wire.all(func(frame) bool { return true })
	return w.connect(principal, options{resume: request}, carryOver(frames, s.before, lastSeq))
}

// drop breaks the session's connection as a failing network would.
func (w *world) drop(s *session) {
	s.link.drop()
	_ = s.Close(w.ctx)
}

// last returns the newest connection, also where its handshake was refused.
func (w *world) last() *session { return w.sessions[len(w.sessions)-1] }

func (w *world) complaints() []string {
	var found []string
	for _, s := range w.sessions {
		frames := s.wire.all(func(frame) bool { return true })
		found = append(found, violations(frames, s.before)...)
	}
	return found
}

func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, s := range w.sessions {
		if s.Client != nil {
			_ = s.Close(ctx)
		}
		s.link.dispose()
	}
}

func (s *session) lastSeq() uint64 { return max(s.wire.lastSeq(), s.before.lastSeq) }

// job is a handle, or a subscription, whose events are collected as they come: this client's reader waits for
// whoever does not take them.
type job struct {
	*client.JobHandle
	events chan []messages.JobEvent
}

// start submits; it is the caller's part to take the events.
func (s *session) start(request client.SubmitRequest) (*client.JobHandle, error) {
	ctx, cancel := context.WithTimeout(s.ctx, waitTime)
	defer cancel()
	handle, err := s.Submit(ctx, request)
	check(handle != nil || err != nil, "submit %s: neither a handle nor an error", request.Agent)
	return handle, err
}

func (s *session) submitting(request client.SubmitRequest) *job {
	handle := must(s.start(request))("submit " + request.Agent)
	return &job{handle, collect(handle.Events())}
}

func (s *session) submit(agent string, input any) *job {
	return s.submitting(client.SubmitRequest{Agent: agent, Input: input})
}

// run submits and returns the inline result.
func (s *session) run(agent string, input any) any { return s.submit(agent, input).result() }

// refused submits what must be refused.
func (s *session) refused(code arcp.ErrorCode, request client.SubmitRequest) *arcp.Error {
	_, err := s.start(request)
	return failsWith(err, "submit "+request.Agent, code)
}

func (s *session) list(request client.ListJobsRequest) (*client.JobList, error) {
	ctx, cancel := context.WithTimeout(s.ctx, waitTime)
	defer cancel()
	return s.ListJobs(ctx, request)
}

// rowsOf returns the listing's rows of this job.
func (s *session) rowsOf(jobID string) []messages.JobInfo {
	page := must(s.list(client.ListJobsRequest{Limit: 1000}))("list_jobs")
	return slices.DeleteFunc(page.Jobs, func(row messages.JobInfo) bool { return row.JobID != jobID })
}

func (s *session) statusOf(jobID string) string {
	rows := s.rowsOf(jobID)
	check(len(rows) == 1, "%d rows of %s in the listing", len(rows), jobID)
	return rows[0].Status
}

// settle is a round trip: whatever was sent before has been handled when it returns.
func (s *session) settle() { must(s.list(client.ListJobsRequest{Limit: 1}))("list_jobs") }

func collect(events <-chan messages.JobEvent) chan []messages.JobEvent {
	collected := make(chan []messages.JobEvent, 1)
	go func() {
		var all []messages.JobEvent
		for event := range events {
			all = append(all, event)
		}
		collected <- all
	}()
	return collected
}

// end returns how the job ended.
func (j *job) end() (*messages.JobResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), waitTime)
	defer cancel()
	result, err := j.Wait(ctx)
	check(!errors.Is(err, context.DeadlineExceeded), "job %s did not end within %v", j.Agent(), waitTime)
	return result, err
}

// result is the inline result of a job that must succeed.
func (j *job) result() any {
	payload := must(j.end())("job " + j.Agent())
	equal(payload.FinalStatus, "success", "final status of "+j.Agent())
	return opened(payload.Output)
}

func (j *job) failsWith(code arcp.ErrorCode) *arcp.Error {
	_, err := j.end()
	return failsWith(err, "job "+j.Agent(), code)
}

func (j *job) ticks() []int { return ticksIn(take(j.events)) }

func take(events chan []messages.JobEvent) []messages.JobEvent {
	select {
	case all := <-events:
		return all
	case <-time.After(waitTime):
		fail("the events did not end within %v", waitTime)
		return nil
	}
}

func ticksIn(events []messages.JobEvent) []int {
	ticks := []int{}
	for _, event := range events {
		if event.Kind == messages.KindProgress {
			body := must(messages.DecodeEventBody(&event))("progress").(*messages.ProgressBody)
			ticks = append(ticks, int(body.Current))
		}
	}
	return ticks
}

// opened is a JSON value with its numbers as they were written; an absent one is null.
func opened(raw json.RawMessage) any {
	if len(raw) == 0 {
		return nil
	}
	var value any
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	check(decoder.Decode(&value) == nil, "the result is not JSON: %s", short(string(raw)))
	return value
}

// in is an object of an agent's input.
type in = map[string]any

func slow(count, intervalMs int) in { return in{"count": count, "interval_ms": intervalMs} }

func ticked(count int) any { return map[string]any{"ticks": json.Number(fmt.Sprint(count))} }
