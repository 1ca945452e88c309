package relay

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRules: all that a rule sets must be true, and the first rule counts.
func TestRules(t *testing.T) {
	c := Credential{Fingerprint: strings.Repeat("ab", 32), Issuers: []string{"CN=ACME CA", "CN=Root"}, Organization: "ACME/Werk 1", CN: "Web01.example.com",
		DNSNames: []string{"web01.example.com", "Alias.example.com"}, URIs: []string{"spiffe://Lab/a"}}
	for name, row := range map[string]struct {
		rule IdentityRule
		want string // empty: not taken
	}{
		"nothing set":                {IdentityRule{Organization: "A"}, "A"},
		"fingerprint":                {IdentityRule{Fingerprint: strings.Repeat("AB:", 31) + "AB", Organization: "A"}, "A"},
		"another fingerprint":        {IdentityRule{Fingerprint: strings.Repeat("ac", 32), Organization: "A"}, ""},
		"issuer":                     {IdentityRule{Issuer: "CN=Root", Organization: "A"}, "A"},
		"part of an issuer":          {IdentityRule{Issuer: "CN=Roo", Organization: "A"}, ""},
		"O":                          {IdentityRule{SubjectO: "ACME/*", Organization: OrganizationOfSubject}, "ACME/Werk 1"},
		"O, in other letters":        {IdentityRule{SubjectO: "acme/*", Organization: "A"}, ""},
		"CN":                         {IdentityRule{CN: "WEB*.example.com", Organization: "A"}, "A"},
		"a DNS name":                 {IdentityRule{SAN: "alias.*", Organization: "A"}, "A"},
		"a URI":                      {IdentityRule{SAN: "spiffe://Lab/*", Organization: "A"}, "A"},
		"a URI, in other letters":    {IdentityRule{SAN: "spiffe://lab/*", Organization: "A"}, ""},
		"a pattern's end":            {IdentityRule{CN: "web01.example", Organization: "A"}, ""},
		"all of them":                {IdentityRule{Issuer: "CN=Root", SubjectO: "*", CN: "web01*", Organization: "A"}, "A"},
		"all but one":                {IdentityRule{Issuer: "CN=Root", SubjectO: "*", CN: "web02*", Organization: "A"}, ""},
		"of the subject, without it": {IdentityRule{CN: "*", Organization: OrganizationOfSubject}, "ACME/Werk 1"},
	} {
		s, ok := Identify([]IdentityRule{row.rule}, c)
		require.Equal(t, row.want, s.Organization, name)
		require.Equal(t, row.want != "", ok, name)
	}
	s, ok := Identify([]IdentityRule{{CN: "x", Organization: "A"}, {CN: "web01*", Organization: "B", SpeaksFor: "*.a"}, {Organization: "C"}}, c)
	require.True(t, ok)
	require.Equal(t, Sender{Name: "Web01.example.com", Names: []string{"web01.example.com", "alias.example.com"}, Fingerprint: c.Fingerprint, Organization: "B", SpeaksFor: "*.a"}, s)
	require.Equal(t, "Web01.example.com sha256:"+c.Fingerprint, s.String())

	s, _ = Identify([]IdentityRule{{Organization: "A"}}, Credential{DNSNames: []string{"b.example.com"}})
	require.Equal(t, []any{"b.example.com", HostsOwn}, []any{s.Name, s.SpeaksFor}, "its own, unless said otherwise")
	for _, r := range []IdentityRule{{CN: "*"}, {SubjectO: "*"}, {SAN: "*"}, {Issuer: "CN=Root"}, {Organization: OrganizationOfSubject}} {
		_, ok := Identify([]IdentityRule{r}, Credential{})
		require.False(t, ok, "what is not there is like nothing: %+v", r)
	}
	require.Equal(t, maxSenderName, len(Sender{Name: strings.Repeat("x", 4096)}.String()))
}

func TestPatterns(t *testing.T) {
	for pattern, texts := range map[string][2]string{
		"a":       {"a", "ab aa b"},
		"*":       {"x a.b.c", ""},
		"a*":      {"a ab", "ba b"},
		"*a":      {"a ba", "ab b"},
		"a*b*c":   {"abc axbxc abbcc", "ab acb cba"},
		"*a*":     {"a bab", "b"},
		"a*a":     {"aa aba", "a"},
		"**":      {"a", ""},
		"*.x.org": {"a.x.org a.b.x.org", "x.org ax.org"},
		"a*bc*bc": {"abcbc abcxbc", "abc"},
	} {
		for _, text := range strings.Fields(texts[0]) {
			require.True(t, like(pattern, text), "%s %s", pattern, text)
		}
		for _, text := range strings.Fields(texts[1]) {
			require.False(t, like(pattern, text), "%s %s", pattern, text)
		}
	}
	require.True(t, like("*", ""))
}

func TestHostName(t *testing.T) {
	for given, want := range map[string]string{"Web01.Example.com.": "web01.example.com", "web01": "web01", "2001:db8::1": "2001:db8::1", "a_b": "a_b",
		"": "", ".": "", " web01": "", "web01\n": "", "web\u212a": "", "wİn": "", "a/b": "", "*.example.com": "", "a,b": "", strings.Repeat("x", 254): ""} {
		got, ok := HostName(given)
		require.Equal(t, want, got, "%q", given)
		require.Equal(t, want != "", ok, "%q", given)
	}
}

func TestHosts(t *testing.T) {
	for text, good := range map[Hosts]bool{"": true, "own": true, "any": true, "own, *.example.com": true, "*.a,*.b": true, "own,": false, "a b": false, "http://a": false, "a/b": false} {
		require.Equal(t, good, text.Check() == nil, "%q", text)
	}
	s := Sender{Names: []string{"web01.example.com"}, SpeaksFor: "*.LAB.example.com"}
	require.True(t, s.SpeaksForHost("a.lab.example.com."))
	require.False(t, s.SpeaksForHost("web01.example.com"), "a pattern is not its own")
	s.SpeaksFor = ""
	require.True(t, s.SpeaksForHost("WEB01.example.com"))
	require.False(t, s.SpeaksForHost(""))
	s.SpeaksFor = HostsAny
	require.True(t, s.SpeaksForHost(""))
}
