package foreman

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// FuzzDecode: whatever a body holds, every route's lane and key rules give the
// same again, and nothing panics.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"config_report":{"host":" Web.Example.COM","reported_at":"2026-11-23 16:13:06 UTC"}}`))
	f.Add([]byte(`{"name":"İ","facts":{}}`))
	f.Add([]byte(`{"config_report":[{"host":1}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var doc any
		if json.Unmarshal(body, &doc) != nil {
			return
		}
		for _, r := range Routes(relay.DefaultPolicy()) {
			q := relay.Request{Body: body, Doc: doc, Digest: relay.DigestOf(body)}
			lane := r.Lane.Extract(q)
			require.Equal(t, lane, r.Lane.Extract(q))
			require.Equal(t, strings.TrimSpace(lane), lane)
			key, ok := r.Key.Derive(q)
			again, okAgain := r.Key.Derive(q)
			require.Equal(t, []any{key, ok}, []any{again, okAgain})
			if ok && utf8.ValidString(key) {
				require.True(t, strings.HasPrefix(key, r.Key.Type+"\x1f"))
			}
		}
	})
}

// Contract, section 3: reports, facts and ARF reports are kept once, built says
// that it is done, and a callback for a finished step changes nothing; host
// reports and Salt's jobs are stored twice.
func TestWhichRoutesAreNotTriedAgainWhenNobodyKnows(t *testing.T) {
	var once []string
	for _, r := range Routes(relay.DefaultPolicy()) {
		if r.Policy.GiveUpAmbiguous {
			once = append(once, r.Name)
		}
	}
	require.Equal(t, []string{"hostreport", "ansible", "puppet", "salt"}, once)
}
