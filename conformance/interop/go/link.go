package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/agentruntimecontrolprotocol/go-sdk/transport"
)

// link is a way to the daemon that carries one session.
type link struct {
	transport.Transport
	// drop breaks the connection without a word.
	drop func()
	// ended is closed when the process behind the link has ended, well or not; nil over WebSocket.
	ended chan struct{}
	// process is the daemon of this session alone; nil over WebSocket.
	process *exec.Cmd
}

func connect(ctx context.Context, kind string) (*link, error) {
	if kind == "stdio" {
		return spawn()
	}
	// The socket is our own, so that a scenario can break it below the WebSocket protocol.
	var socket net.Conn
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		socket, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return socket, err
	}
	options := transport.WebSocketOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial}},
	}
	inner, err := transport.DialWebSocket(ctx, os.Getenv("ARCPD_URL"), options)
	if err != nil {
		return nil, err
	}
	return &link{Transport: inner, drop: func() { _ = socket.Close() }}, nil
}

func spawn() (*link, error) {
	var command []string
	if err := json.Unmarshal([]byte(os.Getenv("ARCPD_STDIO")), &command); err != nil {
		return nil, err
	}
	process := exec.Command(command[0], command[1:]...)
	input, err := process.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	l := &link{
		Transport: transport.NewStdioTransport(output, input),
		drop:      func() { _ = process.Process.Kill() },
		ended:     make(chan struct{}),
		process:   process,
	}
	go func() {
		// Not Wait: that would close the pipe under the transport that still reads.
		_, _ = process.Process.Wait()
		close(l.ended)
	}()
	return l, nil
}

// dispose releases whatever the link still holds.
func (l *link) dispose() {
	_ = l.Close()
	if l.process == nil {
		return
	}
	select {
	case <-l.ended:
	case <-time.After(5 * time.Second):
		_ = l.process.Process.Kill()
		<-l.ended
	}
}
