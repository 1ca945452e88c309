package cmd

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

func TestList(t *testing.T) {
	type row struct {
		Name string `json:"name"`
		Size int    `json:"size"`
	}
	rows := []row{{"a<b", 1}, {"longer", 22}}
	for name, c := range map[string]struct {
		p    printer
		rows []row
		want string
	}{
		"table":              {printer{}, rows, "NAME    SIZE\na<b     1\nlonger  22\n"},
		"empty table":        {printer{}, nil, "NAME  SIZE\n"},
		"without headers":    {printer{noHeaders: true}, rows, "a<b     1\nlonger  22\n"},
		"names alone":        {printer{quiet: true}, rows, "a<b\nlonger\n"},
		"json":               {printer{json: true}, rows[:1], "[\n  {\n    \"name\": \"a<b\",\n    \"size\": 1\n  }\n]\n"},
		"empty json":         {printer{json: true}, nil, "[]\n"},
		"no names, nothing":  {printer{quiet: true}, nil, ""},
		"no rows, no header": {printer{noHeaders: true}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c.p.w = &out
			require.NoError(t, list(&c.p, c.rows, "NAME SIZE", func(r row) string { return r.Name }, func(r row) []any { return []any{r.Name, r.Size} }))
			require.Equal(t, c.want, out.String())
		})
	}
}

func TestFieldsLeavesOutWhatIsEmpty(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, (&printer{w: &out}).fields(nil, "name", "a", "reason", "", "attempts", 0))
	require.Equal(t, "name      a\nattempts  0\n", out.String())
}

func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{"pki/ca.crt": "pki/ca.crt", "/a-b_c.d/1:2@e": "/a-b_c.d/1:2@e", "": "''", "my dir/x": "'my dir/x'",
		"a'b": `'a'\''b'`, "$HOME": "'$HOME'", "a;b": "'a;b'", "ä": "'ä'"} {
		require.Equal(t, want, shellWord(word))
	}
}
