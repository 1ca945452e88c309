package pki

import (
	"fmt"
	"net"
	"regexp"
	"strings"
)

var (
	// label is one part of a host name. The underscore is no part of the
	// standard, but of names that are in use, and Puppet allows it.
	label       = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)
	destination = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	file        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$`)
)

func validateServer(names []string, ips []net.IP) error {
	for _, name := range names {
		if err := validateName(strings.TrimPrefix(lower(name), "*.")); err != nil {
			return err
		}
	}
	for _, ip := range ips {
		if len(ip) != net.IPv4len && len(ip) != net.IPv6len || ip.IsUnspecified() {
			return invalid(fmt.Sprintf("the address %s cannot be in a certificate: use an IPv4 or IPv6 address that clients connect to", ip))
		}
	}
	return nil
}

func validateHost(name string) error {
	if name == "" {
		return invalid("a certificate for a host needs the host's name")
	}
	if err := validateName(name); err != nil {
		return err
	}
	if len(name) > maxCommonName {
		return invalid(fmt.Sprintf("the host name %q is longer than the %d characters that a certificate's common name holds: use a shorter one", name, maxCommonName))
	}
	return nil
}

// validateName takes a DNS name in lower case.
func validateName(name string) error {
	if net.ParseIP(name) != nil {
		return invalid(fmt.Sprintf("%q is an address, not a name: an edge takes it among its addresses, a host needs a name", name))
	}
	if len(name) > 253 {
		return invalid(fmt.Sprintf("the name %.40q… is longer than the 253 characters of a DNS name", name))
	}
	for part := range strings.SplitSeq(name, ".") {
		if !label.MatchString(part) {
			return invalid(fmt.Sprintf("%q is not a host name: use letters, digits, hyphens and single dots, for example web01.example.com", name))
		}
	}
	return nil
}

// validateDestination keeps to what stands in a URI and a file name as it is.
func validateDestination(name string) error {
	if !destination.MatchString(name) {
		return invalid(fmt.Sprintf("%q is not a destination: use up to 63 letters, digits, dots, hyphens and underscores, beginning with a letter or digit", name))
	}
	return nil
}

func validateFile(name string) error {
	switch {
	case name == caFile:
		return invalid("the file name ca belongs to the CA: choose another one")
	case !file.MatchString(name):
		return invalid(fmt.Sprintf("%q is not a file name for a certificate: use letters, digits, dots, hyphens and underscores, without a directory", name))
	default:
		return nil
	}
}

// lower changes ASCII alone: strings.ToLower would make a valid name of one with
// the Kelvin sign in it.
func lower(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}
