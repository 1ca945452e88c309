package pki_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/cmd/pki"
)

func TestInitRefusesBadOptions(t *testing.T) {
	tests := map[string]struct {
		change func(*pki.Options)
		want   string
	}{
		"no time":             {func(o *pki.Options) { o.Now = time.Time{} }, "the time of issue is not set"},
		"blank CA name":       {func(o *pki.Options) { o.CAName = " " }, "only white space"},
		"long CA name":        {func(o *pki.Options) { o.CAName = strings.Repeat("ż", 65) }, "longer than the 64 characters"},
		"CA name of two rows": {func(o *pki.Options) { o.CAName = "a\nb" }, "control characters"},
		"short validity":      {func(o *pki.Options) { o.Validity = time.Hour }, "a validity of 1h0m0s is not possible: choose 1 to 3650 days"},
		"negative validity":   {func(o *pki.Options) { o.Validity = -1 }, "choose 1 to 3650 days"},
		"long validity":       {func(o *pki.Options) { o.Validity = 3651 * 24 * time.Hour }, "choose 1 to 3650 days"},
		"edge with a space":   {func(o *pki.Options) { o.EdgeNames = []string{"good.example.com", "a b"} }, `"a b" is not a host name`},
		"edge without a name": {func(o *pki.Options) { o.EdgeNames = []string{""} }, `"" is not a host name`},
		"edge of two stars":   {func(o *pki.Options) { o.EdgeNames = []string{"*.*.example.com"} }, "is not a host name"},
		"edge by address":     {func(o *pki.Options) { o.EdgeNames = []string{"192.0.2.1"} }, `"192.0.2.1" is an address, not a name`},
		"edge with a port":    {func(o *pki.Options) { o.EdgeNames = []string{"edge:8008"} }, "is not a host name"},
		"edge too long":       {func(o *pki.Options) { o.EdgeNames = []string{strings.Repeat("abc.", 64) + "de"} }, "longer than the 253 characters"},
		"edge everywhere":     {func(o *pki.Options) { o.EdgeIPs = []net.IP{net.IPv6zero} }, "the address :: cannot be in a certificate"},
		"edge nowhere":        {func(o *pki.Options) { o.EdgeIPs = []net.IP{nil} }, "cannot be in a certificate"},
		"host with a slash":   {func(o *pki.Options) { o.Host = "../host" }, "is not a host name"},
		"host of dots":        {func(o *pki.Options) { o.Host = "a..b" }, "is not a host name"},
		"host with end dot":   {func(o *pki.Options) { o.Host = "a.example.com." }, "is not a host name"},
		"host with a star":    {func(o *pki.Options) { o.Host = "*.example.com" }, "is not a host name"},
		"host with a hyphen":  {func(o *pki.Options) { o.Host = "-a" }, "is not a host name"},
		"host in kelvin":      {func(o *pki.Options) { o.Host = "\u212aelvin" }, "is not a host name"},
		"host too long":       {func(o *pki.Options) { o.Host = strings.Repeat("a", 61) + ".com" }, "longer than the 64 characters"},
		"label too long":      {func(o *pki.Options) { o.Host = strings.Repeat("a", 64) }, "is not a host name"},
		"host by address":     {func(o *pki.Options) { o.Host = "2001:db8::1" }, "is an address, not a name"},
		"destination path":    {func(o *pki.Options) { o.Destination = "a/b" }, `"a/b" is not a destination`},
		"destination dots":    {func(o *pki.Options) { o.Destination = ".." }, "is not a destination"},
		"destination too big": {func(o *pki.Options) { o.Destination = strings.Repeat("a", 64) }, "is not a destination"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "pki")
			o := pki.Options{Now: now}
			test.change(&o)
			_, err := pki.Init(dir, o)
			require.ErrorIs(t, err, pki.ErrInvalid)
			assert.ErrorContains(t, err, test.want)
			_, err = os.Stat(dir)
			assert.True(t, os.IsNotExist(err), "nothing is made")
		})
	}
}

func TestIssueRefusesBadRequests(t *testing.T) {
	tests := map[string]struct {
		request pki.Request
		want    string
	}{
		"no use":              {pki.Request{}, `a certificate for "" is not known: choose edge, drain or host`},
		"another use":         {pki.Request{Use: "ca"}, "is not known"},
		"no host":             {pki.Request{Use: pki.Host}, "needs the host's name"},
		"the CA's file":       {pki.Request{Use: pki.Edge, File: "ca"}, "belongs to the CA"},
		"a host called ca":    {pki.Request{Use: pki.Host, Host: "ca"}, "belongs to the CA"},
		"another directory":   {pki.Request{Use: pki.Edge, File: "../edge"}, "is not a file name"},
		"hidden file":         {pki.Request{Use: pki.Edge, File: ".edge"}, "is not a file name"},
		"drain with a host":   {pki.Request{Use: pki.Drain, Host: hostName}, "a host is for the use host"},
		"drain with names":    {pki.Request{Use: pki.Drain, Names: []string{"a"}}, "are for an edge"},
		"host with addresses": {pki.Request{Use: pki.Host, Host: hostName, IPs: []net.IP{net.IPv6loopback}}, "are for an edge"},
		"edge with a drain":   {pki.Request{Use: pki.Edge, Destination: "foreman"}, "a destination is for a drain"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test.request.Now = now
			err := pki.Issue(dir, test.request)
			require.ErrorIs(t, err, pki.ErrInvalid)
			assert.ErrorContains(t, err, test.want)
			assert.Empty(t, names(t, dir))
		})
	}
	require.ErrorIs(t, pki.Issue(t.TempDir(), pki.Request{Use: pki.Drain}), pki.ErrInvalid, "no time")
}
