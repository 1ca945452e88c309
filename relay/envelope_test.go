package relay

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func sample() *Message {
	q := Queue{Organization: "ACME / Werk 1", Destination: "foreman"}
	return &Message{ID: KeyedID(q, "k\x1fey"), Queue: q, Route: "report", Lane: "höst.example.com", Key: "k\x1fey 100%", Method: "POST",
		Path: "/api/config_reports?a=b%20c", ContentType: "application/json", Accept: "*/*, application/json,version=2", RequestID: "r",
		Header:   map[string]string{"X-Forwarded-For": "192.0.2.1", "X-Rhn-Provisioning-Mac-0": "eth0 00:11 ü"},
		Received: time.Date(2026, 11, 24, 1, 2, 3, 4, time.UTC), Digest: DigestOf([]byte("body")), ReplayedFrom: "x", SettledBefore: true, Body: []byte("body"),
		NotBefore: time.Date(2026, 11, 25, 1, 2, 3, 4, time.UTC), Expires: time.Date(2026, 11, 26, 1, 2, 3, 4, time.UTC), Urgent: true,
		Kind: "ünsible 100%", Origin: 1 << 60, Sender: "Wéb 1 sha256:00ff"}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	m := sample()
	h, err := EncodeEnvelope(m)
	require.NoError(t, err)
	for name, values := range h {
		for _, v := range values {
			require.False(t, strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }), "%s: %q", name, v)
		}
	}
	got, err := DecodeEnvelope(h, m.Body)
	require.NoError(t, err)
	require.Equal(t, m, got)

	var e Entry // what is read ahead of it
	e.Describe(h)
	require.Equal(t, Entry{Keyed: true, Kind: m.Kind}, e)
	e = Entry{}
	e.Describe(map[string][]string{})
	require.Equal(t, Entry{}, e)
}

// Whose the sealed credentials are travels with them.
func TestEnvelopeOfCredentials(t *testing.T) {
	for _, standing := range []bool{false, true} {
		m := sample()
		m.Sealed, m.Standing = "c2VhbGVk", standing
		h, err := EncodeEnvelope(m)
		require.NoError(t, err)
		got, err := DecodeEnvelope(h, m.Body)
		require.NoError(t, err)
		require.Equal(t, m, got)
	}
	m := sample()
	m.Attach("")
	require.False(t, m.IsSealed() || m.Standing)
}

// A message whose body is elsewhere has a version that older programs refuse: they
// would deliver an empty body.
func TestEnvelopeOfALargeBody(t *testing.T) {
	m := sample()
	m.Body, m.Object, m.Size = nil, ObjectName(FreshObject(), 3), 1<<40
	h, err := EncodeEnvelope(m)
	require.NoError(t, err)
	require.Equal(t, []string{"2"}, h[hdrVersion])
	got, err := DecodeEnvelope(h, nil)
	require.NoError(t, err)
	require.Equal(t, m, got)
	require.EqualValues(t, 1<<40, got.Length())
	_, err = got.Content(t.Context())
	require.ErrorIs(t, err, ErrDamaged)
	for name, change := range map[string]func(h map[string][]string){
		"no object":      func(h map[string][]string) { delete(h, hdrObject) },
		"a path":         func(h map[string][]string) { h[hdrObject] = []string{"../../../etc-1"} },
		"no pieces":      func(h map[string][]string) { h[hdrObject] = []string{ObjectName(FreshObject(), 0)} },
		"no size":        func(h map[string][]string) { delete(h, hdrSize) },
		"less than none": func(h map[string][]string) { h[hdrSize] = []string{"-1"} },
	} {
		h, err := EncodeEnvelope(m)
		require.NoError(t, err)
		change(h)
		_, err = DecodeEnvelope(h, nil)
		require.ErrorIs(t, err, ErrEnvelope, name)
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	for name, change := range map[string]func(h map[string][]string){
		"no version":           func(h map[string][]string) { delete(h, hdrVersion) },
		"a later version":      func(h map[string][]string) { h[hdrVersion] = []string{"4"} },
		"no id":                func(h map[string][]string) { delete(h, hdrID) },
		"another queue's id":   func(h map[string][]string) { h[hdrID] = []string{KeyedID(Queue{"other", "foreman"}, "k")} },
		"no time":              func(h map[string][]string) { delete(h, hdrReceived) },
		"an impossible origin": func(h map[string][]string) { h[hdrOrigin] = []string{"-1"} },
		"an impossible kept":   func(h map[string][]string) { h[hdrKept+"X"] = []string{"%zz"} },
		"an impossible expiry": func(h map[string][]string) { h[hdrExpires] = []string{"soon"} },
		"an impossible due":    func(h map[string][]string) { h[hdrNotBefore] = []string{"soon"} },
		"an impossible escape": func(h map[string][]string) { h[hdrLane] = []string{"%zz"} },
	} {
		t.Run(name, func(t *testing.T) {
			h, err := EncodeEnvelope(sample())
			require.NoError(t, err)
			change(h)
			_, err = DecodeEnvelope(h, nil)
			require.ErrorIs(t, err, ErrEnvelope)
		})
	}
	m := sample()
	m.Lane = strings.Repeat("ü", MaxEnvelopeValue/6+1)
	_, err := EncodeEnvelope(m)
	require.Equal(t, CodeInvalid, CodeOf(err))
	require.ErrorContains(t, err, "lane")
}

// FuzzDecode: no header makes decoding panic, and what can be encoded is decoded
// to the same.
func FuzzDecode(f *testing.F) {
	f.Add("default", "host", "key", "/path", "1", "2026-11-24T00:00:00Z", "id")
	f.Add("a/b", "%", "\x00\r\n", " /x ", "1", "", "")
	f.Fuzz(func(t *testing.T, organization, lane, key, path, version, received, id string) {
		_, _ = DecodeEnvelope(map[string][]string{hdrVersion: {version}, hdrReceived: {received}, hdrID: {id}, hdrLane: {lane},
			hdrKey: {key}, hdrPath: {path}, hdrOrganization: {organization}}, nil)
		m := &Message{Queue: Queue{organization, "foreman"}, Lane: lane, Key: key, Path: path, Received: time.Unix(1, 2).UTC()}
		m.ID = KeyedID(m.Queue, key)
		h, err := EncodeEnvelope(m)
		if err != nil {
			return
		}
		got, err := DecodeEnvelope(h, nil)
		if err != nil {
			t.Fatalf("%+v was encoded to %q, and: %v", m, h, err)
		}
		require.Equal(t, m, got)
	})
}

// FuzzKeyAndLane: any document and any text gives a lane that is its own
// lower case, and a key or none; nothing panics.
func FuzzKeyAndLane(f *testing.F) {
	f.Add("Host.Example.COM ", "2026-11-23 16:13:06 UTC", "/config_report/host")
	f.Add("", "\xff", "/a~1b/~0")
	f.Fuzz(func(t *testing.T, host, at, pointer string) {
		doc := map[string]any{"config_report": map[string]any{"host": host, "reported_at": at}, "a/b": map[string]any{"~": at}, "n": 1.5, "l": []any{host}}
		lane := LaneRule{From: []Source{Pointer(pointer), Pointer("/config_report/host")}}.Extract(Request{Doc: doc})
		if utf8.ValidString(lane) {
			require.Equal(t, strings.TrimSpace(strings.ToLower(lane)), lane)
		}
		require.Len(t, LaneToken(lane, "id"), laneTokenLen)
		k := KeyRule{Type: "t", From: []Source{Pointer("/config_report/host"), Pointer(pointer)}}
		if key, ok := k.Derive(Request{Doc: doc}); ok {
			_, _, valid := ParseID(KeyedID(Queue{"o", "d"}, key))
			require.True(t, valid)
		}
		_, _, _ = ParseID(host)
		_, _ = DecodeEvent([]byte(host))
		_, _ = ReadCheckpoint([]byte(at))
		_, _ = ParseQueue(host)
		require.LessOrEqual(t, len(Excerpt([]byte(host+at))), 4*MaxDetail)
	})
}

func TestRouteRules(t *testing.T) {
	doc := map[string]any{"config_report": map[string]any{"host": " Web.Example.COM ", "reported_at": "now"}, "a/b": map[string]any{"~": "x"}, "n": 1.0, "e": ""}
	for _, c := range []struct {
		pointers []string
		want     string
	}{
		{[]string{"/config_report/host"}, "web.example.com"}, {[]string{"/none", "/e", "/n", "/config_report/host"}, "web.example.com"},
		{[]string{"/a~1b/~0"}, "x"}, {[]string{"/n/x"}, ""}, {nil, ""},
	} {
		var rule LaneRule
		for _, p := range c.pointers {
			rule.From = append(rule.From, Pointer(p))
		}
		require.Equal(t, c.want, rule.Extract(Request{Doc: doc}))
	}
	_, ok := KeyRule{}.Derive(Request{Doc: doc})
	require.False(t, ok)
	_, ok = KeyRule{Type: "t", From: []Source{Pointer("/n")}}.Derive(Request{Doc: doc})
	require.False(t, ok)
}

func TestTokens(t *testing.T) {
	q := Queue{"default", "foreman"}
	require.NotEqual(t, KeyedID(q, "a"), KeyedID(q, "b"))
	require.NotEqual(t, KeyedID(Queue{"a/b", "c"}, "k"), KeyedID(Queue{"a", "b/c"}, "k"), "parts are divided")
	require.NotEqual(t, FreshID(q), FreshID(q))
	require.NotEqual(t, LaneToken("", "id1"), LaneToken("", "id2"), "without an ordering key each message is alone")
	require.Equal(t, LaneToken("host", "id1"), LaneToken("host", "id2"))
	queue, own, ok := ParseID(KeyedID(q, "a"))
	require.True(t, ok)
	require.Equal(t, q.Token(), queue)
	require.Len(t, own, idTokenLen)
	for _, bad := range []string{"", "x", strings.Repeat("a", idLen), KeyedID(q, "a") + "x", strings.ToUpper(KeyedID(q, "a")), "aaaaaaaa-aaaaaaaaaaaaaaaaaaaaaaa."} {
		_, _, ok := ParseID(bad)
		require.False(t, ok, bad)
	}
	parsed, err := ParseQueue("A / B/foreman")
	require.NoError(t, err)
	require.Equal(t, Queue{"A / B", "foreman"}, parsed)
}
