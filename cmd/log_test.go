package cmd

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogFormatSuitsTheReader(t *testing.T) {
	var buffer bytes.Buffer
	file, err := os.Create(t.TempDir() + "/log")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	require.Equal(t, "json", Log{}.format(&buffer))
	require.Equal(t, "json", Log{}.format(file))
	require.Equal(t, "console", Log{Format: "console"}.format(&buffer))
	require.Equal(t, "json", Log{Format: "json"}.format(file))
}

func TestTheStartLineIsOneLineInEveryFormatAtEveryLevel(t *testing.T) {
	for _, level := range []string{"debug", "info", "warn", "error"} {
		for _, format := range []string{"json", "console"} {
			var out bytes.Buffer
			l := Log{Format: format, Level: level}
			announce(l, newLog(l, &out), &out, "listens on x", map[string]any{"url": "http://x"})
			require.Equal(t, 1, bytes.Count(out.Bytes(), []byte("\n")), "%s at %s: %s", format, level, &out)
			if format == "console" {
				require.Equal(t, "listens on x\n", out.String())
				continue
			}
			var line map[string]any
			require.NoError(t, json.Unmarshal(out.Bytes(), &line), level)
			require.Equal(t, "listens on x", line["message"])
			require.Equal(t, "http://x", line["url"])
		}
	}
}

func TestTheLogHasNoColours(t *testing.T) {
	var out bytes.Buffer
	log := newLog(Log{Format: "console", Level: "debug"}, &out)
	log.Error().Str("a", "b").Msg("x")
	require.NotContains(t, out.String(), "\x1b")
}
