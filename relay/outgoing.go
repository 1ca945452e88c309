package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// metadataServices answer with the credentials of the machine to whoever asks
// from it: AWS, Azure, Google and others; AWS over IPv6; Alibaba.
var metadataServices = [...]netip.Addr{
	netip.MustParseAddr("169.254.169.254"),
	netip.MustParseAddr("fd00:ec2::254"),
	netip.MustParseAddr("100.100.100.200"),
}

// nat64 is the well-known prefix (RFC 6052) behind which a network may offer
// any IPv4 address.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// AddressError is a connection that the relay itself refused to open.
type AddressError struct {
	Host    string // as configured
	Address netip.Addr
	Kind    string // what the address is
}

func (e *AddressError) Error() string {
	return fmt.Sprintf("%s leads to %s, %s, where nothing is delivered: correct the name service, or configure the address itself if it is meant, or allow it (allow_addresses)",
		e.Host, e.Address, e.Kind)
}

// DialGuard is for net.Dialer.Control. It looks at the address that a name led
// to and refuses those where no destination is, but something that trusts this
// machine may be: link-local, loopback, unspecified and multicast addresses and
// the metadata services of clouds. What an operator wrote by hand is allowed:
// allowHost, the host of the configured URL, when it is that address itself, or
// loopback when it is "localhost"; and what lies in one of the networks.
func DialGuard(allowHost string, networks ...netip.Prefix) func(network, address string, c syscall.RawConn) error {
	localhost := strings.EqualFold(strings.TrimSuffix(allowHost, "."), "localhost")
	literal, _ := netip.ParseAddr(strings.Trim(allowHost, "[]")) // a name: the zero Addr, which equals none
	return func(_, address string, _ syscall.RawConn) error {
		target, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%q is not an address to connect to: %w", address, err)
		}
		ip := target.Addr().Unmap()
		kind := refusedKind(ip)
		if kind == "" || ip == literal.Unmap() || localhost && ip.IsLoopback() ||
			slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(ip.WithZone("")) }) {
			return nil
		}
		return &AddressError{Host: allowHost, Address: ip, Kind: kind}
	}
}

// CheckOutward refuses a host that is itself what DialGuard allows because it was
// written by hand: for URLs that no operator of this machine has written. Where
// any other host leads to, DialGuard sees.
func CheckOutward(host string) error {
	kind := ""
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		kind = "this machine"
	} else if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		kind = refusedKind(ip.Unmap())
	}
	if kind == "" {
		return nil
	}
	return fmt.Errorf("%s is %s, where nothing is delivered unless the configuration of the relay says so", host, kind)
}

// refusedKind names what kind of address ip is when nothing is delivered there.
func refusedKind(ip netip.Addr) string {
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	switch {
	case slices.Contains(metadataServices[:], ip.WithZone("")):
		return "a metadata service of a cloud"
	case ip.IsLoopback():
		return "a loopback address"
	case ip.IsLinkLocalUnicast():
		return "a link-local address"
	case ip.IsUnspecified():
		return "no address of a machine"
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "an address of many machines"
	}
	return ""
}
