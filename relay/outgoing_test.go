package relay

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDialGuard(t *testing.T) {
	const name = "foreman.example.com"
	for _, c := range []struct {
		allow, address string
		refused        string // what the error says of it; empty: allowed
	}{
		{name, "192.0.2.10:443", ""},
		{name, "10.0.0.5:443", ""},
		{name, "192.168.1.1:8443", ""},
		{name, "100.100.100.201:443", ""},
		{name, "[2001:db8::1]:443", ""},
		{name, "[fd00::5]:443", ""},
		{name, "[fd00:ec2::255]:443", ""},
		{name, "[64:ff9b::c000:20a]:443", ""},

		{name, "127.0.0.1:443", "loopback"},
		{name, "127.8.9.10:443", "loopback"},
		{name, "[::1]:443", "loopback"},
		{name, "[::ffff:127.0.0.1]:443", "loopback"},
		{name, "[64:ff9b::7f00:1]:443", "loopback"},
		{name, "169.254.1.1:80", "link-local"},
		{name, "[fe80::1%lo]:80", "link-local"},
		{name, "[::ffff:169.254.1.1]:80", "link-local"},
		{name, "0.0.0.0:80", "no address"},
		{name, "[::]:80", "no address"},
		{name, "224.0.0.1:80", "many machines"},
		{name, "239.1.2.3:80", "many machines"},
		{name, "255.255.255.255:80", "many machines"},
		{name, "[ff02::1%lo]:80", "many machines"},
		{name, "169.254.169.254:80", "metadata"},
		{name, "[::ffff:169.254.169.254]:80", "metadata"},
		{name, "[64:ff9b::a9fe:a9fe]:80", "metadata"},
		{name, "[fd00:ec2::254]:80", "metadata"},
		{name, "100.100.100.200:80", "metadata"},

		// Configured by hand, and only that.
		{"127.0.0.1", "127.0.0.1:443", ""},
		{"127.0.0.1", "127.0.0.2:443", "loopback"},
		{"127.0.0.1", "[::1]:443", "loopback"},
		{"::ffff:127.0.0.1", "127.0.0.1:443", ""},
		{"[::1]", "[::1]:443", ""},
		{"::1", "[::1]:443", ""},
		{"fe80::1%lo", "[fe80::1%lo]:443", ""},
		{"fe80::1%lo", "[fe80::1%eth9]:443", "link-local"},
		{"169.254.169.254", "169.254.169.254:80", ""},
		{"169.254.169.254", "127.0.0.1:80", "loopback"},
		{"localhost", "127.0.0.1:443", ""},
		{"localhost", "[::1]:443", ""},
		{"LocalHost.", "127.0.0.1:443", ""},
		{"localhost", "169.254.169.254:80", "metadata"},
		{"localhost", "0.0.0.0:80", "no address"},
		{"localhost.example.com", "127.0.0.1:443", "loopback"},
		{"", "127.0.0.1:443", "loopback"},
		{"", "0.0.0.0:443", "no address"},
	} {
		err := DialGuard(c.allow)("tcp", c.address, nil)
		if c.refused == "" {
			assert.NoError(t, err, "%s to %s", c.allow, c.address)
			continue
		}
		var refused *AddressError
		if assert.ErrorAs(t, err, &refused, "%s to %s", c.allow, c.address) {
			assert.Contains(t, refused.Kind, c.refused, c.address)
			assert.Equal(t, c.allow, refused.Host)
		}
	}
	for address, networks := range map[string][]string{
		"127.0.0.2:443":          {"127.0.0.2/32"},
		"[::ffff:127.0.0.2]:443": {"10.0.0.0/8", "127.0.0.0/30"},
		"[fe80::1%lo]:443":       {"fe80::/64"},
		"169.254.169.254:80":     {"169.254.0.0/16"},
	} {
		var allowed []netip.Prefix
		for _, n := range networks {
			allowed = append(allowed, netip.MustParsePrefix(n))
		}
		assert.NoError(t, DialGuard(name, allowed...)("tcp", address, nil), address)
		assert.Error(t, DialGuard(name, allowed...)("tcp", "127.0.0.9:443", nil), "beside %s", networks)
	}
	assert.ErrorContains(t, DialGuard(name)("unix", "/run/x.sock", nil), "is not an address")
}

// At the moment of dialling, when the name has been resolved, and so for every
// address that it may lead to later.
func TestDialGuardInADialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()

	d := net.Dialer{Control: DialGuard("foreman.example.com")}
	_, err = d.DialContext(ctx, "tcp", l.Addr().String())
	require.Error(t, err)
	text := ErrorText(err)
	require.Contains(t, text, "foreman.example.com leads to 127.0.0.1, a loopback address")
	require.Contains(t, text, "correct the name service, or configure the address itself")
	require.Contains(t, text, "allow_addresses")

	d.Control = DialGuard("127.0.0.1")
	c, err := d.DialContext(ctx, "tcp", l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, c.Close())
}
