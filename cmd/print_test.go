package cmd

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theforeman/foreman-relay/relay"
)

func TestAge(t *testing.T) {
	for seconds, want := range map[float64]string{0: "-", 0.4: "0s", 59.9: "59s", 60: "1m00s", 125: "2m05s", 3600: "1h00m", 3660: "1h01m",
		47 * 3600: "47h00m", 48 * 3600: "2d", 10*86400 + 5: "10d"} {
		require.Equal(t, want, age(seconds), "%v", seconds)
	}
}

func TestWhen(t *testing.T) {
	require.Empty(t, when(nil))
	require.Empty(t, when(&time.Time{}))
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	require.Equal(t, "2026-01-02T02:04:05Z", when(&at))
}

type printedRow struct {
	Name string     `json:"name"`
	Size int        `json:"size"`
	At   *time.Time `json:"at,omitempty"`
	Tags []string   `json:"tags"`
}

var printedListing = listing[printedRow]{name: func(r printedRow) string { return r.Name }, columns: []column[printedRow]{
	{header: "NAME", cell: func(r printedRow) any { return colored{r.Name, red} }},
	{header: "SIZE", cell: func(r printedRow) any { return r.Size }},
	{header: "AT", cell: func(r printedRow) any { return orDash(when(r.At)) }, wide: true},
}}

func TestList(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rows := []printedRow{{"a<b", 1, &at, []string{"x", "y"}}, {"län,\"ger\"\x1b[2J", 22, nil, nil}}
	for name, c := range map[string]struct {
		p    printer
		rows []printedRow
		want string
	}{
		"table":              {printer{format: asTable}, rows, "NAME           SIZE\na<b            1\nlän,\"ger\" [2J  22\n"},
		"coloured":           {printer{format: asTable, color: true}, rows[:1], "NAME  SIZE\n\x1b[31ma<b\x1b[0m   1\n"},
		"wide":               {printer{format: asWide}, rows[:1], "NAME  SIZE  AT\na<b   1     2026-01-02T03:04:05Z\n"},
		"empty table":        {printer{format: asTable}, nil, "NAME  SIZE\n"},
		"without headers":    {printer{format: asTable, noHeaders: true}, rows[:1], "a<b  1\n"},
		"names alone":        {printer{format: asName}, rows, "a<b\nlän,\"ger\"\x1b[2J\n"},
		"json":               {printer{format: asJSON}, rows[:1], "[\n  {\n    \"name\": \"a<b\",\n    \"size\": 1,\n    \"at\": \"2026-01-02T03:04:05Z\",\n    \"tags\": [\n      \"x\",\n      \"y\"\n    ]\n  }\n]\n"},
		"empty json":         {printer{format: asJSON}, nil, "[]\n"},
		"jsonl":              {printer{format: asLines}, rows[:1], "{\"name\":\"a<b\",\"size\":1,\"at\":\"2026-01-02T03:04:05Z\",\"tags\":[\"x\",\"y\"]}\n"},
		"empty jsonl":        {printer{format: asLines}, nil, ""},
		"yaml":               {printer{format: asYAML}, rows[:1], "- name: \"a<b\"\n  size: 1\n  at: \"2026-01-02T03:04:05Z\"\n  tags:\n  - x\n  - \"y\"\n"},
		"empty yaml":         {printer{format: asYAML}, nil, "[]\n"},
		"csv":                {printer{format: asCSV}, rows, "name,size,at,tags\na<b,1,2026-01-02T03:04:05Z,\"[\"\"x\"\",\"\"y\"\"]\"\n\"län,\"\"ger\"\"\x1b[2J\",22,,\n"},
		"csv, no header":     {printer{format: asCSV, noHeaders: true}, rows[:1], "a<b,1,2026-01-02T03:04:05Z,\"[\"\"x\"\",\"\"y\"\"]\"\n"},
		"empty csv":          {printer{format: asCSV}, nil, "name,size,at,tags\n"},
		"no names, nothing":  {printer{format: asName}, nil, ""},
		"no rows, no header": {printer{format: asTable, noHeaders: true}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c.p.w = &out
			require.NoError(t, list(&c.p, c.rows, printedListing))
			require.Equal(t, c.want, out.String())
		})
	}
}

func TestFields(t *testing.T) {
	for format, want := range map[string]string{
		asTable: "name      a b\nattempts  0\n", // what is empty is left out
		asWide:  "name      a b\nattempts  0\n",
		asName:  "thing\n",
		asLines: "{\"name\":\"x\",\"size\":0,\"tags\":null}\n",
		asYAML:  "name: x\nsize: 0\ntags: null\n",
		asCSV:   "name,size,at,tags\nx,0,,\n",
	} {
		var out bytes.Buffer
		require.NoError(t, fields(&printer{w: &out, format: format}, printedRow{Name: "x"}, "thing", "name", "a\nb", "reason", "", "attempts", 0))
		require.Equal(t, want, out.String(), format)
	}
}

// What is printed as YAML is the value that JSON is, whatever it holds, and no
// control character is in the stream.
func TestYAMLIsTheSameValue(t *testing.T) {
	sameInYAML(t, relay.QueueStatus{Organization: "no", Destination: "1.0", Accepted: 1<<64 - 1, OldestAgeSeconds: 0.001,
		BreakerReason: "a: b\n# c \t'\"", Drain: "2026-01-01"})
	sameInYAML(t, relay.MessageStatus{Key: "config_report\x1fweb\x7f\u0085\x1b[2J", Events: []relay.EventStatus{{Detail: "a\nb: c\n"}, {Detail: "- \t\x00"}}})
}

func TestAnyTextIsTheSameInYAML(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[-?:,\[\]{}#&*!|>'"%@~. \n\t0-9a-z]{0,12}`))
		sameInYAML(t, relay.EventStatus{Reason: text.Draw(t, "reason"), Detail: text.Draw(t, "detail")})
	})
}

func sameInYAML[T any](t require.TestingT, v T) {
	var text bytes.Buffer
	require.NoError(t, (&printer{w: &text, format: asYAML}).value(v))
	for _, r := range text.String() {
		require.True(t, r == '\n' || unicode.IsPrint(r), "%q in %q", r, text.String())
	}
	var loose any
	require.NoError(t, yaml.Unmarshal(text.Bytes(), &loose))
	again, err := json.Marshal(loose)
	require.NoError(t, err)
	var read T
	require.NoError(t, json.Unmarshal(again, &read))
	require.Equal(t, v, read)
}

func TestColors(t *testing.T) {
	for name, c := range map[string]struct {
		env  []string
		args []string
		want bool
	}{
		"no terminal":   {nil, nil, false},
		"always":        {nil, []string{"--color", "always"}, true},
		"always, still": {[]string{"NO_COLOR=1"}, []string{"--color", "always"}, true},
		"never":         {nil, []string{"--color", "never"}, false},
	} {
		p := &program{stdout: &bytes.Buffer{}, env: c.env}
		command := &cobra.Command{}
		operatorFlags(command)
		require.NoError(t, command.ParseFlags(c.args))
		got, err := p.colors(command)
		require.NoError(t, err)
		require.Equal(t, c.want, got, name)
	}
}

func TestSince(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{"90m": now.Add(-90 * time.Minute), "7d": now.AddDate(0, 0, -7), "0s": now,
		"2026-11-24": now.Add(-12 * time.Hour), "2026-11-24T13:00:00+02:00": now.Add(-time.Hour), "2026-11-24 11:00:00": now.Add(-time.Hour)} {
		got, err := parseTime("since", s, now)
		require.NoError(t, err, s)
		require.True(t, got.Equal(want), "%s: %v", s, got)
	}
	for _, s := range []string{"yesterday", "-5m", "d", "1.5d", "99999999d", "2026-13-01"} {
		_, err := parseTime("since", s, now)
		require.Equal(t, exitUsage, exitCode(err), s)
	}
}
