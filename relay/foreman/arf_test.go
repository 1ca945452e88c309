package foreman

import (
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/outgoing"
)

// smallARF is test/testdata/arf.xml.bz2, an ARF of three rules made for the
// tests.
func smallARF(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "test", "testdata", "arf.xml.bz2"))
	require.NoError(t, err)
	return b
}

// packed is a text in bzip2; Go can only read it.
func packed(t *testing.T, text string) []byte {
	t.Helper()
	path, err := exec.LookPath("bzip2")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("the program bzip2 is not installed: apt-get install bzip2")
		}
		t.Skip("the program bzip2 is not installed; it makes the broken ARFs of this test")
	}
	cmd := exec.CommandContext(t.Context(), path, "-c")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	require.NoError(t, err)
	return out
}

func TestAnARFBecomesWhatAProxySends(t *testing.T) {
	body := smallARF(t)
	m := &relay.Message{ID: "id", Route: "arf", Path: "/api/v2/compliance/arf_reports/a/1/2", ContentType: "text/xml", ContentEncoding: "x-bzip2",
		Body: body, Digest: relay.DigestOf(body)}
	d, err := convertARF(t.Context(), Options{OpenSCAPProxyName: "relay", OpenSCAPProxyURL: "https://relay.example.com"}, m)
	require.NoError(t, err)
	require.Equal(t, outgoing.Delivery{Path: m.Path, ContentType: "application/json", Body: d.Body}, d)
	require.JSONEq(t, `{"digest":"`+m.Digest+`","metrics":{"passed":1,"failed":1,"othered":1},"score":66.064819,
		"openscap_proxy_name":"relay","openscap_proxy_url":"https://relay.example.com","logs":[
		{"source":"rule_umask","result":"fail","title":"Ensure a umask","severity":"medium",
		 "description":"The umask is set in /etc/profile for all.","rationale":"Files of others are nobody's business.",
		 "references":[{"href":"https://example.com/umask","title":"Guide 1.2"}],
		 "fixes":[{"id":"fix_umask","system":"urn:xccdf:fix:script:sh","reboot":"false","full_text":"umask 027 # of 027\n"}]},
		{"source":"rule_tmp","result":"pass","title":"Ensure /tmp","severity":"low","description":"","rationale":"","references":[],"fixes":[]},
		{"source":"rule_unknown","result":"notchecked","title":"","severity":"","description":"","rationale":"","references":[],"fixes":[]}]}`, string(d.Body))
	d, err = convertARF(t.Context(), Options{}, m)
	require.NoError(t, err)
	require.NotContains(t, string(d.Body), "openscap_proxy", "Foreman takes the host's own")
}

func TestAnARFIsBounded(t *testing.T) {
	deep := strings.Repeat("<a>", maxARFDepth+1)
	for name, c := range map[string]struct{ text, says string }{
		"nested":           {deep, "nested more than"},
		"no test":          {`<r/>`, "no TestResult"},
		"unfinished":       {`<r xmlns="http://checklists.nist.gov/xccdf/1.2"><TestResult><score>1`, "unexpected EOF"},
		"no XML":           {"hello", "no TestResult"},
		"another encoding": {`<?xml version="1.0" encoding="latin1"?><r/>`, "not in UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readARF(t.Context(), packed(t, c.text))
			require.ErrorContains(t, err, c.says)
		})
	}
	_, err := readARF(t.Context(), smallARF(t)[:200])
	require.ErrorContains(t, err, "no ARF report")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = readARF(ctx, smallARF(t))
	require.ErrorIs(t, err, context.Canceled)
}

// A bomb: a few bytes of bzip2 make megabytes. Of those no more than the limit
// is made, and none is kept.
func TestABzip2BombIsCutOff(t *testing.T) {
	bomb := packed(t, strings.Repeat(" ", 1<<20))
	require.Less(t, len(bomb), 100)
	source := &boundedReader{ctx: t.Context(), from: bzip2.NewReader(bytes.NewReader(bomb)), left: 1 << 16}
	n, err := io.Copy(io.Discard, source)
	require.ErrorContains(t, err, "bytes long")
	require.EqualValues(t, 1<<16, n)
	require.ErrorContains(t, (&arfReader{kept: maxARFText}).keep(1), "bytes of text")
}

func TestTheRulesOfAnARFAreOptional(t *testing.T) {
	var r arfReport
	require.NoError(t, json.Unmarshal([]byte(`{}`), &r))
	empty, err := (&arfTest{}).report()
	require.NoError(t, err)
	require.Empty(t, empty.Logs)
	require.NotNil(t, empty.Logs, "a list, not null")
	require.Nil(t, empty.Score)
}

// A few hundred bytes can name one rule without end, or be one endless tag.
func TestASmallARFDoesNotBecomeALargeOne(t *testing.T) {
	const head, tail = `<r xmlns="` + xccdf + `1.2">`, `</r>`
	rule := `<Rule id="x"><description>` + strings.Repeat("d", 1<<20) + `</description></Rule>`
	results := `<TestResult>` + strings.Repeat(`<rule-result idref="x"><result>fail</result></rule-result>`, 100) + `</TestResult>`
	m := &relay.Message{Body: packed(t, head+rule+results+tail)}
	require.Less(t, len(m.Body), 1000)
	_, err := convertARF(t.Context(), Options{}, m)
	require.ErrorContains(t, err, "repeat more than")

	for name, text := range map[string]string{
		"a tag with attributes": `<a` + strings.Repeat(` b=""`, 1<<19) + `/>`,
		"a piece of text":       strings.Repeat("x", maxARFToken+1<<16),
	} {
		_, err := readARF(t.Context(), packed(t, head+text+tail))
		require.ErrorContains(t, err, "a tag or a piece of text", name)
	}
	fixes := `<Rule id="x">` + strings.Repeat(`<fix/>`, maxARFText/arfElement+1) + `</Rule>`
	_, err = readARF(t.Context(), packed(t, head+fixes+tail))
	require.ErrorContains(t, err, "bytes of text")
}
