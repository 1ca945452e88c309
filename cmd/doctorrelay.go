package cmd

import (
	"context"
	"fmt"

	"github.com/goccy/go-yaml"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// patient is what was found at a running relay.
type patient struct {
	config   *Config // what it runs with; nil: it does not run, or is another program's
	findings []finding
}

func (p *patient) add(f finding) { p.findings = append(p.findings, f) }

// examineRelay asks the relay that runs, if one does.
func examineRelay(ctx context.Context, client *handlers.Client, c Config) patient {
	p := patient{}
	version, err := client.Version(ctx)
	if err != nil {
		p.add(notRunning(c, err))
		return p
	}
	p.add(finding{Level: levelOK, Check: "relay", Where: c.AdminSocket, What: "version " + version + " runs"})
	if text, err := client.Config(ctx); err == nil {
		running := defaultConfig()
		if yaml.Unmarshal(text, &running) == nil { // JSON is YAML
			p.config = &running
			c = running
		}
	}
	if err := client.Ready(ctx); err != nil {
		p.add(finding{Level: levelFail, Check: "readiness", Where: c.AdminSocket, What: err.Error(), Do: "its log says more; it is not ready until this is over"})
	} else {
		p.add(finding{Level: levelOK, Check: "readiness", Where: c.AdminSocket, What: "it takes requests"})
	}
	p.examineStorage(ctx, client, c)
	p.examineQueues(ctx, client, c)
	return p
}

// notRunning tells a relay that is not there from one that does not answer.
func notRunning(c Config, err error) finding {
	f := finding{Level: levelOK, Check: "relay", Where: c.AdminSocket, What: "none runs here"}
	if who, _ := broker.Holder(c.StateDir); who != "" { // not knowing is like none
		f.Level, f.What = levelFail, fmt.Sprintf("the state directory is held by %s, but its admin socket does not answer: %v", who, err)
		f.Do = "give --admin-socket if it is elsewhere; else look at its log"
	}
	return f
}

func (p *patient) examineStorage(ctx context.Context, client *handlers.Client, c Config) {
	s, err := client.Storage(ctx)
	if err != nil {
		p.add(finding{Level: levelFail, Check: "store", Where: c.StateDir, What: err.Error()})
		return
	}
	f := finding{Level: levelOK, Check: "store", Where: c.StateDir, What: fmt.Sprintf("it writes; %d of %d requests wait for the disk", s.Waiting, s.WaitingMost)}
	switch {
	case !s.Writable:
		f.Level, f.What = levelFail, s.Reason
	case s.Low:
		f.Level, f.What, f.Do = levelFail, "below the reserve: senders get 507", "make space; draining goes on meanwhile"
	case 2*s.Waiting > s.WaitingMost:
		f.Level, f.Do = levelWarn, "the disk is slow for this load; with more in wait senders get 429 (limits.max_waiting)"
	case s.Restarts > 0:
		f.Level, f.What = levelWarn, fmt.Sprintf("it writes, but had to be started anew %d times after failed writes", s.Restarts)
		f.Do = "find out what fills the disk"
	}
	p.add(f)
}

func (p *patient) examineQueues(ctx context.Context, client *handlers.Client, c Config) {
	all, err := client.Queues(ctx)
	if err != nil {
		p.add(finding{Level: levelFail, Check: "queues", Where: c.AdminSocket, What: err.Error()})
		return
	}
	for _, s := range all {
		p.add(examineQueue(s))
	}
}

// examineQueue names the worst that is wrong with a queue.
func examineQueue(s relay.QueueStatus) finding {
	f := finding{Level: levelOK, Check: "queue", Where: queueName(s), What: fmt.Sprintf("%d pending, %d dead", s.Pending, s.Dead)}
	used := 0.0
	if s.QuotaBytes > 0 {
		used = float64(s.Bytes) / float64(s.QuotaBytes)
	}
	switch {
	case used > 0.8 && s.Pending > 0:
		f.Level, f.What = levelWarn, fmt.Sprintf("%.0f %% of its quota is used, with %d pending", 100*used, s.Pending)
		f.Do = "senders get 507 when it is full: let it be delivered, or raise limits.quota"
	case s.Drain == "" && s.Pending > 0:
		f.Level, f.What = levelWarn, fmt.Sprintf("nobody delivers its %d messages", s.Pending)
		f.Do = "give serve --foreman-url, or start `foreman-relay drain`, and look at its log"
		if s.Destination != relay.ForemanDestination {
			f.Do = fmt.Sprintf("give serve destinations.%s.url, or start `foreman-relay drain --destination %s`, and look at its log", s.Destination, s.Destination)
		}
	case s.Drain == "":
		f.What = "nobody delivers from it; nothing is pending"
	case s.Breaker == "open":
		f.Level, f.What = levelWarn, fmt.Sprintf("the circuit is open: its destination does not answer, and %d messages wait", s.Pending)
		f.Do = "nothing is lost; look at the destination, and at the log of drain " + s.Drain + " for what its last probe said"
	}
	return f
}
