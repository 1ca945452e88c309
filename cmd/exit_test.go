package cmd

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// The exit codes are part of the public surface.
func TestExitCodes(t *testing.T) {
	refused := func(code relay.Code) error { return fmt.Errorf("wrapped: %w", relay.Refuse(code, "no")) }
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"no error":                {nil, 0},
		"any error":               {errors.New("x"), 1},
		"usage":                   {usage(errors.New("x")), 2},
		"usage, wrapped":          {fmt.Errorf("y: %w", usage(errors.New("x"))), 2},
		"no error is no usage":    {usage(nil), 0},
		"said already":            {silentError{7}, 7},
		"said already, joined":    {errors.Join(nil, silentError{7}), 7},
		"malformed":               {refused(relay.CodeMalformed), 2},
		"invalid":                 {refused(relay.CodeInvalid), 2},
		"not found":               {refused(relay.CodeNotFound), 3},
		"denied":                  {refused(relay.CodeDenied), 4},
		"unavailable":             {refused(relay.CodeUnavailable), 5},
		"away":                    {refused(relay.CodeAway), 5},
		"timeout":                 {refused(relay.CodeTimeout), 5},
		"conflict":                {refused(relay.CodeConflict), 6},
		"key conflict":            {refused(relay.CodeKeyConflict), 6},
		"in flight":               {refused(relay.CodeInFlight), 6},
		"too large":               {refused(relay.CodeTooLarge), 1},
		"unsupported media type":  {refused(relay.CodeUnsupportedMediaType), 1},
		"method not allowed":      {refused(relay.CodeMethodNotAllowed), 1},
		"too many requests":       {refused(relay.CodeTooManyRequests), 1},
		"storage full":            {refused(relay.CodeStorageFull), 1},
		"internal":                {refused(relay.CodeInternal), 1},
		"a code nobody knows yet": {refused("new"), 1},
	} {
		require.Equal(t, c.want, exitCode(c.err), name)
	}
}

func TestSeveralIDs(t *testing.T) {
	gone := relay.Refuse(relay.CodeNotFound, "no such letter")
	for name, c := range map[string]struct {
		ids   []string
		fails map[string]error
		code  int
		says  string
	}{
		"one that works":      {[]string{"a"}, nil, 0, ""},
		"one that fails":      {[]string{"a"}, map[string]error{"a": gone}, 3, ""}, // Main says it
		"all work":            {[]string{"a", "b"}, nil, 0, ""},
		"some fail":           {[]string{"a", "b", "c"}, map[string]error{"b": gone}, 7, "foreman-relay: b: no such letter\n"},
		"all fail":            {[]string{"a", "b"}, map[string]error{"a": gone, "b": gone}, 3, "foreman-relay: a: no such letter\nforeman-relay: b: no such letter\n"},
		"none stops the rest": {[]string{"a", "b"}, map[string]error{"a": gone}, 7, "foreman-relay: a: no such letter\n"},
	} {
		t.Run(name, func(t *testing.T) {
			log := &startLog{}
			var did []string
			err := eachID(c.ids, log, func(id string) error { did = append(did, id); return c.fails[id] })
			require.Equal(t, c.code, exitCode(err))
			require.Equal(t, c.says, log.String())
			require.Equal(t, c.ids, did)
		})
	}
}
