package handlers

import (
	"encoding/hex"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// credentialOfDN is what a subject alone says. It must be in the form of RFC 2253
// (nginx: $ssl_client_s_dn; Apache: SSL_CLIENT_S_DN): in the older one, with
// slashes, nobody can tell a field from a slash within one.
func credentialOfDN(dn string) (*relay.Credential, *relay.Error) {
	fields, ok := parseDN(dn)
	if !ok {
		return nil, notKnown(relay.RefusedUnusable, "the proxy's subject %q is not in the form of RFC 2253, for example CN=web01.example.com,O=ACME", shortened(dn))
	}
	c := &relay.Credential{}
	if cn := fields["CN"]; len(cn) == 1 {
		c.CN = cn[0]
	}
	if o := fields["O"]; len(o) == 1 {
		c.Organization = o[0]
	}
	return c, nil
}

// parseDN reads the values of a subject's fields, by their names in upper case.
func parseDN(dn string) (map[string][]string, bool) {
	fields := map[string][]string{}
	for rest := dn; ; {
		name, after, found := strings.Cut(rest, "=")
		name = strings.ToUpper(strings.TrimSpace(name))
		if !found || name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" {
			return nil, false
		}
		value, left, ok := valueInDN(after)
		if !ok {
			return nil, false
		}
		fields[name] = append(fields[name], value)
		if left == "" {
			return fields, true
		}
		rest = left[1:]
	}
}

// valueInDN reads one value, up to the comma or plus that ends it.
func valueInDN(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ',', '+':
			return b.String(), s[i:], i+1 < len(s)
		case '\\':
			plain, size := escapedInDN(s[i+1:])
			if size == 0 {
				return "", "", false
			}
			b.WriteByte(plain)
			i += size
		case '"', ';', '<', '>', 0:
			return "", "", false
		case '#':
			if b.Len() == 0 { // a value that is no text
				return "", "", false
			}
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", true
}

// escapedInDN reads what follows a backslash: two hexadecimal digits, or a
// character that stands for itself.
func escapedInDN(s string) (plain byte, size int) {
	if len(s) >= 2 {
		if b, err := hex.DecodeString(s[:2]); err == nil {
			return b[0], 2
		}
	}
	if s != "" && strings.IndexByte(`,+"\<>;=# `, s[0]) >= 0 {
		return s[0], 1
	}
	return 0, 0
}
