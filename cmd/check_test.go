package cmd

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestChecks(t *testing.T) {
	file := writeFile(t, "")
	for name, c := range map[string]struct {
		change func(*Config)
		want   []string // nothing: it is good
	}{
		"the defaults":              {func(*Config) {}, nil},
		"another loopback":          {func(c *Config) { c.Listen = "127.8.8.8:1" }, nil},
		"IPv6 loopback":             {func(c *Config) { c.Listen = "[::1]:1" }, nil},
		"localhost":                 {func(c *Config) { c.Listen = "localhost:1" }, nil},
		"everywhere":                {func(c *Config) { c.Listen = "0.0.0.0:1" }, []string{"listen 0.0.0.0:1", "tls.cert and tls.key", "127.0.0.1"}},
		"everywhere, in short":      {func(c *Config) { c.Listen = ":8008" }, []string{"listen :8008", "tls.cert"}},
		"a name":                    {func(c *Config) { c.Listen = "relay.example.com:1" }, []string{"listen relay.example.com:1", "tls.cert"}},
		"localhost's imitation":     {func(c *Config) { c.Listen = "localhost.example.com:1" }, []string{"tls.cert"}},
		"everywhere with TLS":       {func(c *Config) { c.Listen, c.TLS.Cert, c.TLS.Key = ":1", file, file }, nil},
		"no port":                   {func(c *Config) { c.Listen = "127.0.0.1" }, []string{`listen address "127.0.0.1"`, "HOST:PORT"}},
		"half a pair":               {func(c *Config) { c.TLS.Cert = file }, []string{"tls.cert and tls.key must be given together"}},
		"half a pair, Foreman's":    {func(c *Config) { c.Foreman.Key = file }, []string{"foreman.cert and foreman.key must be given together"}},
		"client CA without TLS":     {func(c *Config) { c.TLS.ClientCA = file }, []string{"tls.client_ca needs tls.cert"}},
		"broker without TLS":        {func(c *Config) { c.Broker.Listen = "127.0.0.1:1" }, []string{"broker.listen needs", "pki init"}},
		"a file that is missing":    {func(c *Config) { c.Foreman.CA = "/nowhere/ca.pem" }, []string{"foreman.ca /nowhere/ca.pem: no such file"}},
		"a durability":              {func(c *Config) { c.Durability = "never" }, []string{"never", "fsync"}},
		"a log format":              {func(c *Config) { c.Log.Format = "xml" }, []string{`log.format is "xml"`, "json console"}},
		"a log level":               {func(c *Config) { c.Log.Level = "loud" }, []string{`log.level is "loud"`, "debug info warn error"}},
		"an organization":           {func(c *Config) { c.Organizations = []string{"a\nb"} }, []string{"organization"}},
		"what becomes of those off": {func(c *Config) { c.OrganizationsOff = "drop" }, []string{`organizations_off is "drop"`, "drain hold"}},
		"a rate that is none":       {func(c *Config) { c.Foreman.Rate = -1 }, []string{"foreman.rate is -1; it must be from 0 to 10000"}},
		"weights":                   {func(c *Config) { c.Organizations, c.Foreman.Weights = []string{"A"}, map[string]int{"A": 3} }, nil},
		"a weight of nothing":       {func(c *Config) { c.Foreman.Weights = map[string]int{"default": 0} }, []string{"foreman.weights.default is 0; it must be from 1 to 1000"}},
		"a weight of nobody":        {func(c *Config) { c.Foreman.Weights = map[string]int{"ACNE": 2} }, []string{`foreman.weights names "ACNE"; there is no such organization`}},
		"all at once": {func(c *Config) { c.Listen, c.Log.Level, c.Foreman.Concurrency = "x", "loud", 0 },
			[]string{"listen address", "log.level", "foreman.concurrency"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := defaultConfig()
			c.change(&config)
			err := config.check()
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.Equal(t, exitUsage, exitCode(err))
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// Every number has bounds: its least and greatest are taken, what lies beyond
// them is refused with the key, the value and the bounds.
func TestBounds(t *testing.T) {
	bounds := map[string][2]any{
		"foreman.attempt_timeout": {100 * time.Millisecond, 10 * time.Minute}, "foreman.concurrency": {1, 1024},
		"foreman.rate": {0, 10_000}, "foreman.burst": {1, 10_000},
		"foreman.probe_interval":    {10 * time.Millisecond, 5 * time.Second},
		"pass_through.node_timeout": {100 * time.Millisecond, 90 * time.Second}, "pass_through.timeout": {100 * time.Millisecond, 90 * time.Second},
		"pass_through.concurrency": {1, 1024}, "pass_through.max_body": {ByteSize(1 << 10), ByteSize(16 << 20)},
		"pass_through.max_node": {ByteSize(1 << 10), ByteSize(16 << 20)}, "pass_through.max_answer": {ByteSize(1 << 10), ByteSize(1 << 30)},
		"pass_through.stale_entries": {1, 1_000_000}, "pass_through.stale_bytes": {ByteSize(1 << 10), ByteSize(1 << 40)},
		"limits.quota": {ByteSize(1 << 20), ByteSize(1 << 50)}, "limits.dead_letter_quota": {ByteSize(1 << 20), ByteSize(1 << 50)},
		"limits.reserve": {ByteSize(0), ByteSize(1 << 50)}, "limits.max_body": {ByteSize(1 << 10), ByteSize(1 << 30)}, "limits.max_uploads": {1, 1024},
		"limits.max_connections": {0, 1_000_000}, "limits.max_per_address": {0, 1_000_000}, "limits.max_streams": {1, 10_000},
		"limits.max_header": {ByteSize(4 << 10), ByteSize(1 << 20)}, "limits.header_timeout": {100 * time.Millisecond, 2 * time.Minute},
		"limits.idle_timeout":   {time.Second, time.Hour},
		"limits.body_timeout":   {time.Second, 10 * time.Minute},
		"limits.journal_window": {time.Second, 720 * time.Hour}, "limits.record_window": {time.Minute, 2160 * time.Hour},
		"limits.stop_timeout": {time.Second, 10 * time.Minute}, "limits.max_age": {time.Minute, 2160 * time.Hour},
		"limits.max_waiting": {1, 100_000}, "limits.max_attempts": {0, 10000}, "limits.first_delay": {time.Millisecond, 10 * time.Minute},
		"limits.slow_delay": {time.Millisecond, 10 * time.Minute}, "limits.max_delay": {time.Millisecond, 24 * time.Hour},
		"limits.index_entries": {16, 10_000_000}, "limits.index_lane": {1, 1 << 18},
		"limits.index_parked": {0, 10_000_000}, "foreman.retry_percent": {0, 100}, "foreman.retry_floor": {1, 10_000},
		"limits.quick_attempts": {1, 100}, "limits.max_cycles": {1, 1000}, "limits.cycle_delay": {time.Millisecond, 24 * time.Hour},
		"limits.delivery_window": {time.Duration(0), 2160 * time.Hour},
	}
	for parent, v := range map[string]any{"foreman": Foreman{}, "limits": Limits{}, "pass_through": PassThrough{}} {
		for i := range reflect.TypeOf(v).NumField() {
			f := reflect.TypeOf(v).Field(i)
			key := parent + "." + yamlName(f)
			bound, known := bounds[key]
			if k := f.Type.Kind(); k == reflect.String || k == reflect.Bool || k == reflect.Slice || k == reflect.Map || f.Anonymous || key == "limits.quota_status" { // a choice
				continue
			}
			require.True(t, known, "%s has no bounds", key)
			set := func(offset int64, to any) error {
				config := defaultConfig()
				switch key { // what these bound themselves is not in question
				case "limits.max_delay":
					config.Limits.FirstDelay, config.Limits.SlowDelay = time.Millisecond, time.Millisecond
				case "limits.index_entries":
					config.Limits.IndexLane = 1
				}
				field := reflect.ValueOf(&config).Elem().FieldByName(map[string]string{"foreman": "Foreman", "limits": "Limits", "pass_through": "PassThrough"}[parent]).Field(i)
				if v := reflect.ValueOf(to).Int() + offset; field.CanFloat() {
					field.SetFloat(float64(v))
				} else {
					field.SetInt(v)
				}
				return config.check()
			}
			require.NoError(t, set(0, bound[0]), key)
			require.NoError(t, set(0, bound[1]), key)
			require.ErrorContains(t, set(-1, bound[0]), key+" is ")
			require.ErrorContains(t, set(1, bound[1]), key+" is ")
			require.ErrorContains(t, set(1, bound[1]), "it must be from ")
		}
	}
}

func TestAFullQueueIsToldAsOneOfTwo(t *testing.T) {
	for status, good := range map[int]bool{507: true, 429: true, 500: false, 0: false} {
		config := defaultConfig()
		config.Limits.QuotaStatus = status
		if err := config.check(); good {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "limits.quota_status is ")
		}
	}
}
