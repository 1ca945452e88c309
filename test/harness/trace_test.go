package harness

import (
	"bufio"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTraceIsReadInOrder(t *testing.T) {
	calls, err := parseTrace(bufio.NewScanner(strings.NewReader(strings.Join([]string{
		`7 pwrite64(15</s/msgs/1.blk>, "\1relay.q.id.lane.report) = 3", 31, 0 <unfinished ...>`,
		`8 read(19<socket:[5]>, 0xc000, 4096) = -1 EAGAIN (Resource temporarily unavailable)`,
		`9 syncfs(8</s> <unfinished ...>`,
		`7 <... pwrite64 resumed>)           = 31`,
		`8 read(19<socket:[5]>,  <unfinished ...>`,
		`9 <... syncfs resumed>)             = 0`,
		`8 <... read resumed>"POST / HTTP/1.1", 4096) = 15`,
		`10 fsync(15</s/msgs/1.blk> <unfinished ...>`,
		`8 +++ exited with 0 +++`,
	}, "\n"))))
	require.NoError(t, err)
	require.Equal(t, []Call{
		{Name: "pwrite64", Path: "/s/msgs/1.blk", Text: `15</s/msgs/1.blk>, "\1relay.q.id.lane.report) = 3", 31, 0`, Result: 31, Begun: 0, Ended: 3},
		{Name: "read", Path: "socket:[5]", Text: `19<socket:[5]>, 0xc000, 4096`, Result: -1, Begun: 1, Ended: 1},
		{Name: "syncfs", Path: "/s", Text: `8</s>`, Result: 0, Begun: 2, Ended: 5},
		{Name: "read", Path: "socket:[5]", Text: `19<socket:[5]>, "POST / HTTP/1.1", 4096`, Result: 15, Begun: 4, Ended: 6},
		{Name: "fsync", Path: "/s/msgs/1.blk", Text: `15</s/msgs/1.blk>`, Result: -1, Begun: 7, Ended: never},
	}, calls)
}

func TestTraceRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, line := range []string{"strace: something happened", `7 <... fsync resumed>) = 0`} {
		_, err := parseTrace(bufio.NewScanner(strings.NewReader(line)))
		require.ErrorContains(t, err, "line 1")
	}
}
