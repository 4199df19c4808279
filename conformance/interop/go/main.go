// Runs the Go SDK's client, unmodified, against the daemon that the environment names (see with_daemon.py), and
// reports what a user of it would notice. The last line is `N passed, N failed`.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

const scenarioTime = 30 * time.Second

type scenario struct {
	name       string
	transports string
	body       func(*world)
}

const (
	anyLink = "ws stdio"
	wsOnly  = "ws"
	pipes   = "stdio"
)

func allScenarios() []scenario {
	var all []scenario
	for _, part := range [][]scenario{
		sessionScenarios, jobScenarios, refusalScenarios, leaseScenarios, keyScenarios, cancelScenarios,
		listScenarios, watchScenarios, resumeScenarios, livenessScenarios, resultScenarios,
	} {
		all = append(all, part...)
	}
	return all
}

func main() {
	filter := flag.String("filter", "", "only scenarios whose name contains this")
	transport := flag.String("transport", "both", "ws, stdio or both")
	flag.Parse()
	transports := []string{*transport}
	if *transport == "both" {
		transports = []string{"ws", "stdio"}
	}
	passed, failed := 0, 0
	for _, transport := range transports {
		for _, s := range allScenarios() {
			if !strings.Contains(s.transports, transport) || !strings.Contains(s.name, *filter) {
				continue
			}
			if reasons := run(s, transport); len(reasons) > 0 {
				failed++
				fmt.Printf("FAIL %-5s  %s: %s\n", transport, s.name, strings.Join(first(reasons, 3), "; "))
			} else {
				passed++
				fmt.Printf("ok   %-5s  %s\n", transport, s.name)
			}
		}
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

// run runs one scenario and returns what was wrong, in words: with what it looked at, and with its frames.
func run(s scenario, transport string) (reasons []string) {
	ctx, cancel := context.WithTimeout(context.Background(), scenarioTime)
	defer cancel()
	w := &world{ctx: ctx, transport: transport}
	ended := make(chan error, 1)
	go func() { ended <- caught(func() { s.body(w) }) }()
	select {
	case err := <-ended:
		if err != nil {
			reasons = append(reasons, err.Error())
		}
	case <-ctx.Done():
		reasons = append(reasons, fmt.Sprintf("did not end within %v", scenarioTime))
	}
	w.close()
	return append(reasons, w.complaints()...)
}

func first(texts []string, count int) []string {
	return texts[:min(len(texts), count)]
}
