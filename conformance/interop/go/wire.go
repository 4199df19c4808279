package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	arcp "github.com/agentruntimecontrolprotocol/go-sdk"
	"github.com/agentruntimecontrolprotocol/go-sdk/transport"
)

const waitTime = 8 * time.Second

// frame is an envelope with its payload opened.
type frame struct {
	arcp.Envelope
	payload map[string]any
}

// recorder is a transport that remembers every frame that passes through it.
type recorder struct {
	transport.Transport
	mu       sync.Mutex
	sent     []arcp.Envelope
	received []frame
	failure  error
	changed  chan struct{}
}

func record(inner transport.Transport) *recorder {
	return &recorder{Transport: inner, changed: make(chan struct{})}
}

func (r *recorder) Send(ctx context.Context, envelope arcp.Envelope) error {
	r.mu.Lock()
	r.sent = append(r.sent, envelope)
	r.mu.Unlock()
	return r.Transport.Send(ctx, envelope)
}

func (r *recorder) Recv(ctx context.Context) (arcp.Envelope, error) {
	envelope, err := r.Transport.Recv(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failure = err
	} else {
		f := frame{Envelope: envelope}
		_ = json.Unmarshal(envelope.Payload, &f.payload)
		r.received = append(r.received, f)
	}
	close(r.changed)
	r.changed = make(chan struct{})
	return envelope, err
}

// all returns the received frames that match.
func (r *recorder) all(matches func(frame) bool) []frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []frame
	for _, f := range r.received {
		if matches(f) {
			found = append(found, f)
		}
	}
	return found
}

func (r *recorder) sentOf(kind string) []arcp.Envelope {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.sent), func(e arcp.Envelope) bool { return e.Type != kind })
}

// wait waits until count received frames match, and returns them.
func (r *recorder) wait(what string, count int, timeout time.Duration, matches func(frame) bool) []frame {
	deadline := time.After(timeout)
	for {
		r.mu.Lock()
		failure, changed := r.failure, r.changed
		r.mu.Unlock()
		found := r.all(matches)
		if len(found) >= count {
			return found[:count]
		}
		check(failure == nil, "the connection ended after %d of %d %s: %v", len(found), count, what, failure)
		select {
		case <-changed:
		case <-deadline:
			fail("%d of %d %s within %v", len(found), count, what, timeout)
		}
	}
}

func (r *recorder) waitTicks(jobID string, count int) {
	r.wait("progress events", count, waitTime, func(f frame) bool { return jobOf(f) == jobID && isProgress(f) })
}

func (r *recorder) waitEnd(jobID string) frame {
	return r.wait("terminal frames", 1, waitTime, func(f frame) bool { return jobOf(f) == jobID && isTerminal(f) })[0]
}

// stream returns the job's numbered frames: its events and its end.
func (r *recorder) stream(jobID string) []frame {
	return r.all(func(f frame) bool { return jobOf(f) == jobID && (f.Type == "job.event" || isTerminal(f)) })
}

func (r *recorder) ticks(jobID string) []int {
	return ticksOf(r.stream(jobID))
}

func (r *recorder) ofJob(jobID string) []frame {
	return r.all(func(f frame) bool { return jobOf(f) == jobID })
}

func (r *recorder) ofType(kind string) []frame {
	return r.all(func(f frame) bool { return f.Type == kind })
}

func (r *recorder) lastSeq() uint64 {
	var last uint64
	for _, f := range r.all(func(frame) bool { return true }) {
		last = max(last, f.EventSeq)
	}
	return last
}

func jobOf(f frame) string {
	if !strings.HasPrefix(f.Type, "job.") {
		return ""
	}
	if inner, ok := f.payload["job_id"].(string); ok && f.JobID == "" {
		return inner
	}
	return f.JobID
}

func isTerminal(f frame) bool { return f.Type == "job.result" || f.Type == "job.error" }

func isProgress(f frame) bool { return f.Type == "job.event" && f.payload["kind"] == "progress" }

func ticksOf(frames []frame) []int {
	ticks := []int{}
	for _, f := range frames {
		if isProgress(f) {
			ticks = append(ticks, int(f.payload["body"].(map[string]any)["current"].(float64)))
		}
	}
	return ticks
}

// essences is what two sessions that see the same job must agree on.
func essences(frames []frame) []string {
	texts := []string{}
	for _, f := range frames {
		p := f.payload
		if f.Type == "job.event" {
			texts = append(texts, fmt.Sprint("job.event ", p["kind"], p["ts"], p["body"]))
		} else {
			texts = append(texts, fmt.Sprint(f.Type, p["final_status"], p["code"], p["output"], p["result_id"]))
		}
	}
	return texts
}

// carried is what a resumed connection inherits from those before it.
type carried struct {
	lastSeq     uint64
	open, ended map[string]bool
}

// carryOver is the state of a session as its client knows it that has processed everything up to lastSeq.
func carryOver(frames []frame, before carried, lastSeq uint64) carried {
	after := carried{lastSeq, map[string]bool{}, map[string]bool{}}
	for job := range before.open {
		after.open[job] = true
	}
	for job := range before.ended {
		after.ended[job] = true
	}
	for _, f := range frames {
		if job := jobOf(f); job != "" {
			ended := isTerminal(f) && f.EventSeq <= lastSeq
			after.open[job], after.ended[job] = !ended, ended
		}
	}
	return after
}

// violations is everything in one connection's frames that breaks the protocol, in words.
func violations(frames []frame, before carried) []string {
	var found []string
	complain := func(format string, arguments ...any) { found = append(found, fmt.Sprintf(format, arguments...)) }
	seq := before.lastSeq
	open, ended := before.open, before.ended
	if open == nil {
		open, ended = map[string]bool{}, map[string]bool{}
	}
	for _, f := range frames {
		if f.ARCP != "1.1" || f.ID == "" || f.SessionID == "" || f.payload == nil {
			complain("%s: arcp %q, id %q, session_id %q, payload %s", f.Type, f.ARCP, f.ID, f.SessionID, f.Payload)
		}
		if f.SessionID != frames[0].SessionID {
			complain("%s: session_id %q in session %q", f.Type, f.SessionID, frames[0].SessionID)
		}
		numbered := f.Type == "job.event" || isTerminal(f)
		if numbered && f.EventSeq != seq+1 {
			complain("%s: event_seq %d where %d was due", f.Type, f.EventSeq, seq+1)
		}
		if !numbered && f.EventSeq != 0 {
			complain("%s: carries event_seq %d", f.Type, f.EventSeq)
		}
		seq = max(seq, f.EventSeq)
		job := jobOf(f)
		switch {
		case job == "":
			if strings.HasPrefix(f.Type, "job.") {
				complain("%s: no job_id", f.Type)
			}
		case f.Type == "job.accepted" || f.Type == "job.subscribed":
			open[job], ended[job] = true, false
		case ended[job]:
			complain("%s of %s after its terminal frame", f.Type, job)
		case !open[job]:
			complain("%s of %s before its job.accepted", f.Type, job)
		}
		if isTerminal(f) && job != "" {
			open[job], ended[job] = false, true
		}
	}
	return found
}
