package pki

import (
	"net"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// DefaultCAName is the common name of the CA.
	DefaultCAName = "foreman-relay CA"
	// DefaultDestination is the destination of the first drain.
	DefaultDestination = "foreman"
	// DefaultValidity is how long a certificate is valid: the longest that
	// Apple's clients accept from a private CA.
	DefaultValidity = 825 * day

	day         = 24 * time.Hour
	caYears     = 10
	maxValidity = caYears * 365 * day
	// maxCommonName is ub-common-name of RFC 5280, appendix A.
	maxCommonName = 64
)

// Options say what Init makes.
type Options struct {
	// Now is the time of issue. It must be set.
	Now time.Time
	// CAName is the common name of the CA; "" is DefaultCAName.
	CAName string
	// EdgeNames and EdgeIPs are what clients call the edge by, besides
	// localhost, 127.0.0.1 and ::1. "*.example.com" is allowed.
	EdgeNames []string
	EdgeIPs   []net.IP
	// Destination is what the drain drains for; "" is DefaultDestination.
	Destination string
	// Host is the host to make a client certificate for; "" makes none.
	Host string
	// Validity of all certificates but the CA's, which is valid for ten years;
	// 0 is DefaultValidity, less than a day is refused.
	Validity time.Duration
}

func (o Options) withDefaults() Options {
	if o.CAName == "" {
		o.CAName = DefaultCAName
	}
	return o
}

// requests are the certificates that Init issues, in the order of Result.
func (o Options) requests() ([]Request, error) {
	if err := validateCAName(o.CAName); err != nil {
		return nil, err
	}
	requests := []Request{
		{Use: Edge, File: "edge", Names: o.EdgeNames, IPs: o.EdgeIPs},
		{Use: Drain, File: "drain", Destination: o.Destination},
	}
	if o.Host != "" {
		requests = append(requests, Request{Use: Host, File: "host", Host: o.Host})
	}
	for i := range requests {
		requests[i].Now, requests[i].Validity = o.Now, o.Validity
		requests[i] = requests[i].withDefaults()
		if err := requests[i].validate(); err != nil {
			return nil, err
		}
	}
	return requests, nil
}

func validateCAName(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return invalid("the name of the CA is only white space: leave it out for " + DefaultCAName)
	case utf8.RuneCountInString(name) > maxCommonName:
		return invalid("the name of the CA is longer than the 64 characters that a certificate holds: shorten it")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return invalid("the name of the CA holds control characters or is not UTF-8: use plain text")
	default:
		return nil
	}
}
