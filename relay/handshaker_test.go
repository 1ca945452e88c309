package relay_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// shared is the store, in memory; it writes JSON, as the real one does.
type shared struct {
	organizations map[string]relay.Organization
	revisions     map[string]uint64
	record        []byte
	revision      uint64
	writes        int
	fail          func(write int) error // nil: none
}

func newShared(all ...relay.Organization) *shared {
	s := &shared{organizations: map[string]relay.Organization{}, revisions: map[string]uint64{}}
	for _, o := range all {
		s.organizations[o.Name], s.revisions[o.Name] = o, 1
	}
	return s
}

func (s *shared) write() error {
	s.writes++
	if s.fail != nil {
		return s.fail(s.writes)
	}
	return nil
}

func (s *shared) Organizations(context.Context) (all []relay.Organization, err error) {
	for _, o := range s.organizations {
		all = append(all, o)
	}
	return all, nil
}

func (s *shared) Organization(_ context.Context, name string) (relay.Organization, uint64, error) {
	o, known := s.organizations[name]
	if !known {
		return o, 0, relay.Refuse(relay.CodeNotFound, "none")
	}
	return o, s.revisions[name], nil
}

func (s *shared) PutOrganization(_ context.Context, o relay.Organization, revision uint64) (uint64, error) {
	if err := s.write(); err != nil {
		return 0, err
	}
	if s.revisions[o.Name] != revision {
		return 0, relay.Refuse(relay.CodeConflict, "another was faster")
	}
	s.organizations[o.Name], s.revisions[o.Name] = o, revision+1
	return revision + 1, nil
}

func (s *shared) Handshake(context.Context) (r relay.HandshakeRecord, revision uint64, err error) {
	if s.record == nil {
		return r, 0, nil
	}
	return r, s.revision, json.Unmarshal(s.record, &r)
}

func (s *shared) PutHandshake(_ context.Context, r relay.HandshakeRecord, revision uint64) (_ uint64, err error) {
	if err := s.write(); err != nil {
		return 0, err
	}
	if s.revision != revision {
		return 0, relay.Refuse(relay.CodeConflict, "another was faster")
	}
	s.record, err = json.Marshal(r)
	s.revision++
	return s.revision, err
}

var handshakeNoon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func handshaker(t *testing.T, s *shared, change ...func(*relay.HandshakerOptions)) *relay.Handshaker {
	t.Helper()
	o := relay.HandshakerOptions{Store: s, CheckMore: func(relay.Handshake) []relay.Violation { return nil },
		Now: func() time.Time { return handshakeNoon }}
	for _, c := range change {
		c(&o)
	}
	h := relay.NewHandshaker(o)
	_, err := h.Start(t.Context())
	require.NoError(t, err)
	return h
}

func document(t *testing.T, text string) (h relay.Handshake) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &h))
	return h
}

var (
	sealedText    = base64.StdEncoding.EncodeToString([]byte("age-encryption.org/v1\n-> X25519 abc\nxyz\n--- mac\nbody"))
	sealedArmored = "-----BEGIN AGE ENCRYPTED FILE-----\n" + sealedText[:40] + "\n" + sealedText[40:] + "\n-----END AGE ENCRYPTED FILE-----\n"
	whatever      = relay.Precondition{Given: true, Any: true}
)

func TestTheHandshakeMakesAndChangesOrganizations(t *testing.T) {
	s := newShared(relay.Organization{Name: "Old", Enabled: true, ChangedBy: relay.ChangedByConfiguration})
	h := handshaker(t, s)
	first := document(t, `{"version":1,"organizations":{"ACME/R & D":{"foreman_id":4,"weight":2,"rules":[{"cn":"*.acme.example.com"}],
		"quota":{"bytes":1000},"rate":{"per_second":5},"sealed":true},"Old":{"enabled":false,"why":"not paid"}}}`)
	r, err := h.Take(t.Context(), first, relay.Precondition{}, false)
	require.NoError(t, err)
	require.True(t, r.Changed)
	require.EqualValues(t, 1, r.Revision)
	require.Equal(t, relay.Differences{Added: []string{"/organizations/ACME~1R & D", "/organizations/Old"}, Changed: []string{}, Removed: []string{}}, r.Differences)
	require.Equal(t, relay.Organization{Name: "ACME/R & D", ForemanID: 4, Enabled: true, ChangedBy: relay.ChangedByHandshake, Changed: handshakeNoon,
		Rules: []relay.IdentityRule{{CN: "*.acme.example.com", Organization: "ACME/R & D"}}, Quota: relay.OrganizationQuota{Bytes: 1000},
		Rate: relay.OrganizationRate{PerSecond: 5}, Weight: 2, Sealed: true}, s.organizations["ACME/R & D"])
	require.Equal(t, relay.Organization{Name: "Old", ChangedBy: relay.ChangedByHandshake, Changed: handshakeNoon, Why: "not paid"}, s.organizations["Old"])

	writes := s.writes
	for _, p := range []relay.Precondition{{}, {Given: true, Revision: 99}} {
		r, err = h.Take(t.Context(), first, p, false)
		require.NoError(t, err)
		require.False(t, r.Changed)
		require.True(t, r.Differences.None())
		require.EqualValues(t, 1, r.Revision)
	}
	require.Equal(t, writes, s.writes, "the same document writes nothing")

	// What an operator changes stays, unless the document changes it.
	operators := s.organizations["Old"]
	operators.Enabled, operators.ChangedBy = true, relay.ChangedByOperator
	s.organizations["Old"] = operators
	second := document(t, `{"version":1,"organizations":{"Old":{"enabled":false,"why":"not paid"}}}`)
	r, err = h.Take(t.Context(), second, relay.Precondition{Given: true, Revision: 1}, true)
	require.NoError(t, err)
	require.True(t, r.DryRun)
	require.Equal(t, []string{"/organizations/ACME~1R & D"}, r.Differences.Removed)
	require.Equal(t, writes, s.writes, "a dry run writes nothing")
	require.True(t, s.organizations["ACME/R & D"].Enabled)
	r, err = h.Take(t.Context(), second, relay.Precondition{Given: true, Revision: 1}, false)
	require.NoError(t, err)
	require.EqualValues(t, 2, r.Revision)
	require.False(t, s.organizations["ACME/R & D"].Enabled)
	require.Equal(t, "it is no longer in the handshake of Foreman", s.organizations["ACME/R & D"].Why)
	require.True(t, s.organizations["Old"].Enabled)
}

func TestTheHandshakeIsRefused(t *testing.T) {
	many := map[string]relay.HandshakeOrganization{}
	for i := range relay.MaxHandshakeOrganizations {
		many[fmt.Sprint("o", i)] = relay.HandshakeOrganization{}
	}
	credential := func(sealed string) relay.Handshake {
		return relay.Handshake{Version: 1, Organizations: map[string]relay.HandshakeOrganization{"ACME": {}},
			Credentials: []relay.SealedCredential{{Organization: "ACME", Destination: "hook", Sealed: sealed}}}
	}
	twice := credential(sealedText)
	plain := credential(sealedText)
	plain.Destinations = map[string]relay.HandshakeDestination{"hook": {URL: "HTTP://hook.example.com/"}}
	twice.Credentials = append(twice.Credentials, twice.Credentials[0])
	for name, c := range map[string]struct {
		document relay.Handshake
		pointer  string
		says     string
	}{
		"too many organizations":     {relay.Handshake{Version: 1, Organizations: many}, "/organizations", "more than 1000"},
		"a control in a name":        {document(t, `{"version":1,"organizations":{"a\nb":{}}}`), "/organizations", "control characters"},
		"a name that means another":  {document(t, `{"version":1,"organizations":{"subject_o":{"rules":[{"cn":"x"}]}}}`), "/organizations/subject_o/rules", "no rules"},
		"no name":                    {document(t, `{"version":1,"organizations":{"":{}}}`), "/organizations", "1 to 255 bytes"},
		"a long name":                {document(t, `{"version":1,"organizations":{"`+strings.Repeat("x", 256)+`":{}}}`), "/organizations", "1 to 255 bytes"},
		"a destination's name":       {document(t, `{"version":1,"destinations":{"Hook":{}}}`), "/destinations", "a-z"},
		"a destination of strangers": {document(t, `{"version":1,"destinations":{"hook":{"organizations":["X"]}}}`), "/destinations/hook/organizations", `no organization "X"`},
		"a credential of strangers":  {relay.Handshake{Version: 1, Credentials: credential(sealedText).Credentials}, "/credentials/ACME/hook", "no such organization"},
		"a credential twice":         {twice, "/credentials/ACME/hook", "two of these"},
		"a password":                 {credential("hunter2hunter2"), "/credentials/ACME/hook", "is not sealed"},
		"a key":                      {credential("-----BEGIN PRIVATE KEY-----\nhunter2hunter2\n-----END PRIVATE KEY-----"), "/credentials/ACME/hook", "is not sealed"},
		"a password in base64":       {credential(base64.StdEncoding.EncodeToString([]byte("hunter2hunter2"))), "/credentials/ACME/hook", "is not sealed"},
		"too large a credential":     {credential(base64.StdEncoding.EncodeToString([]byte("age-encryption.org/v1\n-> X25519 hunter2" + strings.Repeat("x", relay.MaxSealed)))), "/credentials/ACME/hook", "more than 24576 bytes"},
		"a credential in the clear":  {plain, "/credentials/ACME/hook", "plain HTTP"},
		"too many queues":            {document(t, `{"version":1,"destinations":{`+hooks(relay.MaxHandshakeQueues)+`}}`), "/destinations", "these would be 2001, more than 2000"},
		"half a file of age":         {credential(sealedArmored[:60]), "/credentials/ACME/hook", "is not sealed"},
		"what is shown":              {credential(sealedText).Shown(), "/credentials/ACME/hook", "is not sealed"},
	} {
		s := newShared(relay.Organization{Name: "there before"})
		_, err := handshaker(t, s).Take(t.Context(), c.document, whatever, false)
		require.Equal(t, relay.CodeInvalid, relay.CodeOf(err), "%s: %v", name, err)
		var refused *relay.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, c.pointer, refused.Violations[0].Pointer, name)
		require.Contains(t, refused.Violations[0].Message, c.says, name)
		require.NotContains(t, fmt.Sprint(refused, refused.Violations), "hunter2", name)
		require.Zero(t, s.writes, "%s: all or nothing", name)
	}
	delete(many, "o0")
	_, err := handshaker(t, newShared(relay.Organization{Name: "there before"})).Take(t.Context(), relay.Handshake{Version: 1, Organizations: many}, whatever, true)
	require.NoError(t, err, "as many as there may be")
	for _, sealed := range []string{sealedText, sealedArmored} {
		_, err := handshaker(t, newShared()).Take(t.Context(), credential(sealed), whatever, false)
		require.NoError(t, err)
	}
}

func hooks(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"hook%d":{}`, i))
	}
	return strings.Join(all, ",")
}

// What is sealed in a document counts once the document is stored, and at the next
// start; a dry run and one that is refused change nothing.
func TestCredentialsCountAtOnce(t *testing.T) {
	s, hook := newShared(), relay.Queue{Organization: "ACME", Destination: "hook"}
	h := handshaker(t, s)
	require.Empty(t, relay.NewHandshaker(relay.HandshakerOptions{}).Credential(hook), "nothing was read yet")
	take := func(sealed string, dry bool) error {
		_, err := h.Take(t.Context(), relay.Handshake{Version: 1, Organizations: map[string]relay.HandshakeOrganization{"ACME": {}},
			Credentials: []relay.SealedCredential{{Organization: "ACME", Destination: "hook", Sealed: sealed}}}, whatever, dry)
		return err
	}
	require.NoError(t, take(sealedText, true))
	require.Empty(t, h.Credential(hook))
	require.Error(t, take("hunter2", false))
	require.Empty(t, h.Credential(hook))
	require.NoError(t, take(sealedArmored, false))
	require.Equal(t, sealedText, h.Credential(hook), "as base64, whatever form it came in")
	require.Empty(t, h.Credential(relay.Queue{Organization: "default", Destination: "hook"}))
	require.Equal(t, sealedText, handshaker(t, s).Credential(hook), "after a restart")
	_, err := h.Take(t.Context(), relay.Handshake{Version: 1}, whatever, false)
	require.NoError(t, err)
	require.Empty(t, h.Credential(hook))
}

func TestOneWriterAtATime(t *testing.T) {
	s := newShared()
	h := handshaker(t, s)
	for i, c := range []struct {
		p    relay.Precondition
		code relay.Code // empty: taken
		says string
	}{
		{relay.Precondition{Given: true, Revision: 1}, relay.CodeConflict, "the revision is 0, not 1"},
		{relay.Precondition{}, "", ""},
		{relay.Precondition{}, relay.CodeConflict, `If-Match: "1"`},
		{relay.Precondition{Given: true, Revision: 1}, "", ""},
		{relay.Precondition{Given: true, Revision: 1}, relay.CodeConflict, "the revision is 2, not 1"},
		{whatever, "", ""},
	} {
		before := s.writes
		_, err := h.Take(t.Context(), document(t, fmt.Sprintf(`{"version":1,"organizations":{"ACME":{"weight":%d}}}`, i+1)), c.p, false)
		if c.code == "" {
			require.NoError(t, err)
			require.Equal(t, i+1, s.organizations["ACME"].Weight)
			continue
		}
		require.Equal(t, c.code, relay.CodeOf(err), "%d: %v", i, err)
		require.ErrorContains(t, err, c.says)
		require.Equal(t, before, s.writes)
	}
}

// Wherever the process ends, the next one completes what was stored, and a
// document that was not stored has changed nothing.
func TestACrashIsRepairedAtTheNextStart(t *testing.T) {
	const text = `{"version":1,"organizations":{"A":{"weight":1},"B":{"weight":2},"C":{"weight":3}}}`
	const writes = 5 // the document, three organizations, and that they are done
	for crash := 1; crash <= writes; crash++ {
		s := newShared(relay.Organization{Name: "A", Enabled: true}, relay.Organization{Name: "B", Enabled: true})
		s.fail = func(write int) error {
			if write >= crash {
				return errors.New("the process was killed")
			}
			return nil
		}
		_, err := handshaker(t, s).Take(t.Context(), document(t, text), relay.Precondition{}, false)
		require.Error(t, err)
		s.fail = nil
		next := handshaker(t, s)
		require.NoError(t, next.Resume(t.Context()))
		stored, err := next.Show(t.Context())
		require.NoError(t, err)
		if crash == 1 {
			require.Zero(t, stored.Revision)
			require.Zero(t, s.organizations["A"].Weight)
			continue
		}
		require.EqualValues(t, 1, stored.Revision)
		require.Empty(t, stored.Pending)
		for name, weight := range map[string]int{"A": 1, "B": 2, "C": 3} {
			require.Equal(t, weight, s.organizations[name].Weight, "%d: %s", crash, name)
		}
		before := s.writes
		require.NoError(t, next.Resume(t.Context()))
		require.Equal(t, before, s.writes, "nothing is left to do")
	}
}

// Sent again after a failure in the middle, the same document is completed.
func TestTheSameDocumentCompletesWhatFailed(t *testing.T) {
	s := newShared()
	s.fail = func(write int) error {
		if write == 2 {
			return relay.Refuse(relay.CodeStorageFull, "full")
		}
		return nil
	}
	h := handshaker(t, s)
	d := document(t, `{"version":1,"organizations":{"ACME":{"weight":7}}}`)
	_, err := h.Take(t.Context(), d, relay.Precondition{}, false)
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err), "%v", err)
	require.Empty(t, s.organizations)
	r, err := h.Take(t.Context(), d, relay.Precondition{}, false)
	require.NoError(t, err)
	require.False(t, r.Changed)
	require.Equal(t, 7, s.organizations["ACME"].Weight)
}

// What one document has left undone is done with the next one too.
func TestAnotherDocumentCompletesWhatFailed(t *testing.T) {
	s := newShared()
	s.fail = func(write int) error {
		if write == 2 {
			return errors.New("the store does not answer")
		}
		return nil
	}
	h := handshaker(t, s)
	_, err := h.Take(t.Context(), document(t, `{"version":1,"organizations":{"A":{"weight":1}}}`), relay.Precondition{}, false)
	require.Error(t, err)
	_, err = h.Take(t.Context(), document(t, `{"version":1,"organizations":{"A":{"weight":1},"B":{"weight":2}}}`), whatever, false)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, []int{s.organizations["A"].Weight, s.organizations["B"].Weight})
}

func TestTheAnswerSaysWhatIsNotInEffect(t *testing.T) {
	s := newShared(relay.Organization{Name: "ACME", ChangedBy: relay.ChangedByOperator, Why: "abuse"})
	configured := func(o *relay.HandshakerOptions) { o.Configured, o.FarDrain = []string{"/routes/arf"}, true }
	h := handshaker(t, s, configured)
	d := document(t, `{"version":1,"organizations":{"ACME":{"enabled":true,"weight":2}},"destinations":{"hook":{"url":"https://hook.example.com","organizations":["ACME"]}},
		"routes":{"facts":{"max_age":"6h"},"arf":{"max_age":"6h"}},"credentials":[{"organization":"ACME","destination":"hook","sealed":"`+sealedText+`"}]}`)
	r, err := h.Take(t.Context(), d, relay.Precondition{}, false)
	require.NoError(t, err)
	require.Equal(t, []string{"/credentials/ACME", "/destinations/hook", "/organizations/ACME", "/routes/arf", "/routes/facts"}, r.Differences.Added)
	require.Equal(t, []string{"/destinations/hook", "/routes/facts"}, r.PendingRestart)
	var pointers []string
	for _, v := range r.NotApplied {
		pointers = append(pointers, v.Pointer)
	}
	require.Equal(t, []string{"/organizations/ACME/enabled", "/destinations/hook/url", "/routes/arf", "/routes/facts"}, pointers)
	require.False(t, s.organizations["ACME"].Enabled, "an operator's word stands")
	require.Equal(t, 2, s.organizations["ACME"].Weight)

	again := handshaker(t, s, configured)
	r, err = again.Take(t.Context(), d, relay.Precondition{}, false)
	require.NoError(t, err)
	require.Empty(t, r.PendingRestart, "it was started with them")
	r, err = again.Take(t.Context(), document(t, `{"version":1,"organizations":{"ACME":{}},"routes":{"facts":{"max_age":"7h"}}}`), whatever, false)
	require.NoError(t, err)
	require.Equal(t, []string{"/destinations/hook", "/routes/facts/max_age"}, r.PendingRestart)
	shown, err := again.Show(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, shown.Revision)
}

func TestDifferences(t *testing.T) {
	before := document(t, `{"version":1,"organizations":{"A":{"weight":1,"quota":{"bytes":1}},"a~/b":{"weight":1},"gone":{}},
		"credentials":[{"organization":"A","destination":"hook","sealed":"secret1"},{"organization":"A","destination":"foreman","sealed":"same"}]}`)
	after := document(t, `{"version":1,"organizations":{"A":{"weight":2,"quota":{"bytes":1,"messages":5}},"a~/b":{},"new":{}},
		"credentials":[{"organization":"A","destination":"foreman","sealed":"same"},{"organization":"A","destination":"hook","sealed":"secret2"}]}`)
	d, err := before.Differences(after)
	require.NoError(t, err)
	require.Equal(t, relay.Differences{Added: []string{"/organizations/A/quota/messages", "/organizations/new"},
		Changed: []string{"/credentials/A/hook", "/organizations/A/weight"}, Removed: []string{"/organizations/a~0~1b/weight", "/organizations/gone"}}, d)
	text, err := json.Marshal(d)
	require.NoError(t, err)
	require.NotContains(t, string(text), "secret")
	text, err = json.Marshal(after.Shown())
	require.NoError(t, err)
	require.NotContains(t, string(text), "secret")
	require.Equal(t, 2, strings.Count(string(text), "(kept back)"))
	require.Equal(t, "secret2", after.Credentials[1].Sealed, "what is shown is a copy")
	same, err := after.Differences(after)
	require.NoError(t, err)
	require.True(t, same.None())
}
