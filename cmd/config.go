package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/deliveries"
	"github.com/theforeman/foreman-relay/relay/foreman"
)

// Config is everything that can be set: file < environment < flags. The YAML
// keys are the names of `config show`.
type Config struct {
	StateDir         string           `yaml:"state_dir" json:"state_dir"`
	Listen           string           `yaml:"listen" json:"listen"`
	TLS              TLS              `yaml:"tls" json:"tls"`
	Identity         Identity         `yaml:"identity" json:"identity"`
	Organization     string           `yaml:"organization" json:"organization"`           // of the host-facing routes
	Organizations    []string         `yaml:"organizations" json:"organizations"`         // further ones, with queues of their own
	OrganizationsOff broker.OffQueues `yaml:"organizations_off" json:"organizations_off"` // what is queued for those that are off: drain or hold
	AdminSocket      string           `yaml:"admin_socket" json:"admin_socket"`
	Durability       string           `yaml:"durability" json:"durability"`
	Log              Log              `yaml:"log" json:"log"`
	Broker           Broker           `yaml:"broker" json:"broker"`
	Foreman          Foreman          `yaml:"foreman" json:"foreman"`
	PassThrough      PassThrough      `yaml:"pass_through" json:"pass_through"`
	SmartProxy       SmartProxy       `yaml:"smart_proxy" json:"smart_proxy"`
	Switch           Switch           `yaml:"switch" json:"switch"`
	Limits           Limits           `yaml:"limits" json:"limits"`
	Rates            Rates            `yaml:"rates" json:"rates"`
	Sealing          Sealing          `yaml:"sealing" json:"sealing"`

	Credentials map[string]CredentialFiles `yaml:"credentials" json:"credentials"` // by organization, where it is delivered

	Routes       map[string]RouteConfig `yaml:"routes" json:"routes"`             // by name: what they have otherwise
	Destinations map[string]Destination `yaml:"destinations" json:"destinations"` // beside Foreman, by name
}

// TLS names the files of the edge's certificate.
type TLS struct {
	Cert     string `yaml:"cert" json:"cert"`
	Key      string `yaml:"key" json:"key"`
	ClientCA string `yaml:"client_ca" json:"client_ca"`

	ClientAuth string   `yaml:"client_auth" json:"client_auth"` // require or request a certificate; empty: require
	CRL        []string `yaml:"crl" json:"crl"`                 // files with what the client CAs have revoked
}

// Log is how and how much is logged.
type Log struct {
	Format string `yaml:"format" json:"format"` // json or console; empty: console on a terminal
	Level  string `yaml:"level" json:"level"`   // debug, info, warn, error
}

// Broker is the port for far drains (serve), or where a far drain dials (drain).
type Broker struct {
	Listen string `yaml:"listen" json:"listen"`
	URL    string `yaml:"url" json:"url"`
	CA     string `yaml:"ca" json:"ca"` // serve: of the drains' certificates; drain: of the edge's
	Cert   string `yaml:"cert" json:"cert"`
	Key    string `yaml:"key" json:"key"`
	CRL    string `yaml:"crl" json:"crl"` // which certificates of the CA are revoked; read again when it changes, as the others are

	Destination string `yaml:"destination" json:"destination"` // drain: what it drains for, as its certificate says
}

// Foreman is the destination that always exists.
type Foreman struct {
	Reach          `yaml:",inline"`
	AttemptTimeout time.Duration `yaml:"attempt_timeout" json:"attempt_timeout"`
	Concurrency    int           `yaml:"concurrency" json:"concurrency"` // attempts at one time, at most
	ProbeInterval  time.Duration `yaml:"probe_interval" json:"probe_interval"`
	RetryPercent   int           `yaml:"retry_percent" json:"retry_percent"` // failed retries, of the first attempts
	RetryFloor     int           `yaml:"retry_floor" json:"retry_floor"`     // and so many a second in any case

	// The registered smart proxy that ARF reports are told to come from; empty: Foreman takes the host's own.
	OpenSCAPProxyName string `yaml:"openscap_proxy_name" json:"openscap_proxy_name"`
	OpenSCAPProxyURL  string `yaml:"openscap_proxy_url" json:"openscap_proxy_url"`

	Rate    float64        `yaml:"rate" json:"rate"`       // attempts a second, at most; 0: no bound
	Burst   int            `yaml:"burst" json:"burst"`     // that may begin at once where the rate was not used before
	Weights map[string]int `yaml:"weights" json:"weights"` // shares of the organizations; 1 of those that are not named
}

// PassThrough is about requests that only Foreman can answer: they are passed on
// while it can be reached from `serve`.
type PassThrough struct {
	Enabled      bool          `yaml:"enabled" json:"enabled"`
	NodeTimeout  time.Duration `yaml:"node_timeout" json:"node_timeout"` // of a node's answer
	Timeout      time.Duration `yaml:"timeout" json:"timeout"`           // of all else
	Concurrency  int           `yaml:"concurrency" json:"concurrency"`   // requests at one time; half of them may be streamed
	MaxBody      ByteSize      `yaml:"max_body" json:"max_body"`         // of a registration
	MaxNode      ByteSize      `yaml:"max_node" json:"max_node"`         // of an answer that is passed on whole: nodes, scripts, templates
	MaxAnswer    ByteSize      `yaml:"max_answer" json:"max_answer"`     // of one that is streamed: SCAP content
	Stale        bool          `yaml:"stale" json:"stale"`               // give the last good answer for a node when there is no new one
	StaleEntries int           `yaml:"stale_entries" json:"stale_entries"`
	Callers      []string      `yaml:"callers" json:"callers"`         // names in client certificates that may ask for nodes
	StaleBytes   ByteSize      `yaml:"stale_bytes" json:"stale_bytes"` // in memory, of all of them
}

// Rates are what is taken of an organization and of a sender, in requests, where
// the organization has no rates of its own; 0: no bound.
type Rates struct {
	PerSecond       float64 `yaml:"per_second" json:"per_second"`
	Burst           int     `yaml:"burst" json:"burst"` // that may come at once; 0: what comes in a second
	SenderPerSecond float64 `yaml:"sender_per_second" json:"sender_per_second"`
	SenderBurst     int     `yaml:"sender_burst" json:"sender_burst"`
	Senders         int     `yaml:"senders" json:"senders"` // that are remembered at one time
}

// Limits are all other numbers.
type Limits struct {
	Quota           ByteSize      `yaml:"quota" json:"quota"`                         // of each queue's journal
	DeadLetterQuota ByteSize      `yaml:"dead_letter_quota" json:"dead_letter_quota"` // of each organization's dead letters
	Reserve         ByteSize      `yaml:"reserve" json:"reserve"`                     // of the disk, kept free; 0: chosen by its size
	MaxWaiting      int           `yaml:"max_waiting" json:"max_waiting"`             // requests that wait for the disk at one time; more get 429
	MaxBody         ByteSize      `yaml:"max_body" json:"max_body"`                   // of a request, decoded
	BodyTimeout     time.Duration `yaml:"body_timeout" json:"body_timeout"`
	MaxConnections  int           `yaml:"max_connections" json:"max_connections"` // of the edge, at one time; 0: no bound
	MaxPerAddress   int           `yaml:"max_per_address" json:"max_per_address"` // of these, from one address; 0: no bound
	MaxStreams      int           `yaml:"max_streams" json:"max_streams"`         // requests at one time on a connection of HTTP/2
	MaxHeader       ByteSize      `yaml:"max_header" json:"max_header"`           // of a request's headers
	HeaderTimeout   time.Duration `yaml:"header_timeout" json:"header_timeout"`   // of a TLS handshake, and of a request's headers
	IdleTimeout     time.Duration `yaml:"idle_timeout" json:"idle_timeout"`       // of a connection, between two requests
	JournalWindow   time.Duration `yaml:"journal_window" json:"journal_window"`   // settled messages stay so long
	RecordWindow    time.Duration `yaml:"record_window" json:"record_window"`     // events and settled keys stay so long
	StopTimeout     time.Duration `yaml:"stop_timeout" json:"stop_timeout"`       // for attempts under way at a stop
	MaxAge          time.Duration `yaml:"max_age" json:"max_age"`                 // then a dead letter
	MaxAttempts     int           `yaml:"max_attempts" json:"max_attempts"`       // failed ones in all; 0: quick_attempts x max_cycles
	FirstDelay      time.Duration `yaml:"first_delay" json:"first_delay"`         // within a cycle
	SlowDelay       time.Duration `yaml:"slow_delay" json:"slow_delay"`           // where somebody else must act first
	MaxDelay        time.Duration `yaml:"max_delay" json:"max_delay"`             // cap of all three
	IndexEntries    int           `yaml:"index_entries" json:"index_entries"`     // messages of a queue that a drain remembers
	IndexLane       int           `yaml:"index_lane" json:"index_lane"`           // of these, of one host
	IndexParked     int           `yaml:"index_parked" json:"index_parked"`       // lanes besides whose first message waits to be retried
	QuickAttempts   int           `yaml:"quick_attempts" json:"quick_attempts"`   // of one cycle
	CycleDelay      time.Duration `yaml:"cycle_delay" json:"cycle_delay"`         // between two cycles, the first time
	MaxCycles       int           `yaml:"max_cycles" json:"max_cycles"`
	OnPoison        relay.Poison  `yaml:"on_poison" json:"on_poison"`             // move, pause or discard
	DeliveryWindow  time.Duration `yaml:"delivery_window" json:"delivery_window"` // a drain remembers so long what it delivered; 0: not at all
	MaxUploads      int           `yaml:"max_uploads" json:"max_uploads"`         // bodies above 1 MiB that come at one time; more get 429
	QuotaStatus     int           `yaml:"quota_status" json:"quota_status"`       // what a sender gets whose queue is full: 507 or 429
}

// defaultConfig is what holds with nothing given.
func defaultConfig() Config {
	policy, gate, index, pass := relay.DefaultPolicy(), relay.DefaultGateOptions(), relay.DefaultIndexLimits(), foreman.DefaultPassLimits()
	budget, connections := relay.DefaultBudgetOptions(), handlers.DefaultConnectionLimits()
	return Config{
		Sealing: Sealing{Organizations: []string{}, Recipients: []string{}}, Credentials: map[string]CredentialFiles{},
		Routes: map[string]RouteConfig{}, Destinations: map[string]Destination{}, SmartProxy: defaultSmartProxy(), Switch: defaultSwitch(), Identity: defaultIdentity(), TLS: TLS{CRL: []string{}},
		Listen: "127.0.0.1:8008", Organization: relay.DefaultOrganization, Organizations: []string{}, OrganizationsOff: broker.OffDrain,
		Durability: string(broker.ModeFsync), Log: Log{Level: "info"}, Broker: Broker{Destination: relay.ForemanDestination},
		Foreman: Foreman{Reach: Reach{}.filled(false), AttemptTimeout: foreman.DefaultAttemptTimeout, Concurrency: gate.Concurrency, ProbeInterval: gate.ProbeInterval,
			RetryPercent: budget.Percent, RetryFloor: budget.Floor,
			Rate: gate.Rate, Burst: gate.Burst, Weights: map[string]int{}},
		PassThrough: PassThrough{Enabled: true, Callers: []string{}, NodeTimeout: pass.NodeTimeout, Timeout: pass.Timeout, Concurrency: foreman.DefaultPassConcurrency,
			MaxBody: ByteSize(pass.MaxBody), MaxNode: ByteSize(pass.MaxNode), MaxAnswer: ByteSize(pass.MaxAnswer),
			Stale: true, StaleEntries: handlers.DefaultStaleEntries, StaleBytes: handlers.DefaultStaleBytes},
		Rates: Rates{Senders: relay.DefaultMeters},
		Limits: Limits{Quota: broker.DefaultQuotaBytes, DeadLetterQuota: broker.DefaultDeadQuotaBytes, MaxWaiting: broker.DefaultWaiting, MaxBody: broker.DefaultMaxBody, MaxUploads: broker.DefaultUploads, QuotaStatus: http.StatusInsufficientStorage,
			MaxConnections: connections.Connections, MaxPerAddress: connections.PerAddress, MaxStreams: connections.Streams, MaxHeader: ByteSize(connections.MaxHeader),
			HeaderTimeout: connections.HeaderTimeout, IdleTimeout: connections.IdleTimeout,
			BodyTimeout: handlers.DefaultBodyTimeout, JournalWindow: broker.DefaultJournalWindow, RecordWindow: broker.DefaultRecordWindow,
			StopTimeout: 20 * time.Second, MaxAge: policy.MaxAge, MaxAttempts: policy.MaxAttempts, FirstDelay: policy.FirstDelay,
			SlowDelay: policy.SlowDelay, MaxDelay: policy.MaxDelay, IndexEntries: index.Entries, IndexLane: index.Lane, IndexParked: index.Parked,
			QuickAttempts: policy.QuickAttempts, CycleDelay: policy.CycleDelay, MaxCycles: policy.MaxCycles, OnPoison: policy.OnPoison, DeliveryWindow: deliveries.DefaultWindow},
	}
}

// readFile lays a YAML file over c. Errors name file, line and key.
func (c *Config) readFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return usage(fmt.Errorf("configuration: %w", err))
	}
	empty, err := checkYAML(path, text)
	if err != nil {
		return usage(err)
	}
	if empty { // the decoder would clear the defaults
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict(), yaml.DisallowUnknownField())
	if err := decoder.Decode(c); err != nil {
		return usage(yamlError(path, err))
	}
	return nil
}

// MarshalJSON writes the same keys and values as the YAML: a time is "30s", not
// a number of nanoseconds.
func (c Config) MarshalJSON() ([]byte, error) {
	text, err := yaml.Marshal(c)
	if err != nil {
		return nil, err
	}
	return yaml.YAMLToJSON(text)
}

// complete fills in what follows from other values.
func (c *Config) complete(stateName string, env func(string) string) error {
	if c.StateDir == "" {
		base := env("XDG_STATE_HOME")
		if base == "" {
			home := env("HOME")
			if home == "" {
				return usage(errors.New("no state directory: HOME and XDG_STATE_HOME are not set; give --state-dir"))
			}
			base = filepath.Join(home, ".local", "state")
		}
		c.StateDir = filepath.Join(base, stateName)
	}
	if c.AdminSocket == "" {
		c.AdminSocket = filepath.Join(c.StateDir, "admin.sock")
	}
	for name, d := range c.Destinations {
		c.Destinations[name] = d.filled()
	}
	return nil
}

// queues are those of every organization for every destination, default/foreman
// always among them.
func (c *Config) queues() []relay.Queue {
	var all []relay.Queue
	for _, o := range append([]string{relay.DefaultOrganization, c.Organization}, c.Organizations...) {
		for _, d := range c.destinations() {
			if q := (relay.Queue{Organization: o, Destination: d}); !slices.Contains(all, q) {
				all = append(all, q)
			}
		}
	}
	return all
}

// gate is how the destination is spared.
func (c *Config) gate() relay.GateOptions {
	o, f := relay.DefaultGateOptions(), c.Foreman
	o.Concurrency, o.ProbeInterval, o.Rate, o.Burst, o.Weights = f.Concurrency, f.ProbeInterval, f.Rate, f.Burst, f.Weights
	return o
}

// connections are what the edge lets in.
func (l Limits) connections() handlers.ConnectionLimits {
	return handlers.ConnectionLimits{Connections: l.MaxConnections, PerAddress: l.MaxPerAddress, Streams: l.MaxStreams, MaxHeader: int(l.MaxHeader),
		HeaderTimeout: l.HeaderTimeout, IdleTimeout: l.IdleTimeout}
}

func (c *Config) policy() relay.Policy {
	l := c.Limits
	return relay.Policy{FirstDelay: l.FirstDelay, MaxDelay: l.MaxDelay, SlowDelay: l.SlowDelay, MaxAttempts: l.MaxAttempts, MaxAge: l.MaxAge,
		QuickAttempts: l.QuickAttempts, CycleDelay: l.CycleDelay, MaxCycles: l.MaxCycles, OnPoison: l.OnPoison}
}

// isLoopback says whether nobody outside this machine can reach the address.
func isLoopback(address string) (bool, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false, fmt.Errorf("listen address %q: write HOST:PORT, for example 127.0.0.1:8008", address)
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback()), nil
}

// exists is a check that gives a better error than the use would.
func exists(what, path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return fmt.Errorf("%s %s: %w", what, path, err)
	}
	return nil
}
