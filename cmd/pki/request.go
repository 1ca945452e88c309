package pki

import (
	"fmt"
	"net"
	"time"
)

// Use is what a certificate is for.
type Use string

// The uses of a certificate.
const (
	Edge  Use = "edge"  // a server that hosts and drains connect to
	Drain Use = "drain" // a client that drains the queues of one destination
	Host  Use = "host"  // a client that sends reports about itself
)

// Request says what Issue makes.
type Request struct {
	// Now is the time of issue. It must be set.
	Now time.Time
	// Use decides which of the fields below count; the others must be empty.
	Use Use
	// File is the name of the files without .crt and .key; "" leaves it to
	// FileName.
	File string
	// Names and IPs are what clients call an edge by, besides localhost,
	// 127.0.0.1 and ::1. "*.example.com" is allowed.
	Names []string
	IPs   []net.IP
	// Destination is what a drain drains for; "" is DefaultDestination. The
	// certificate carries it as foreman-relay://drain/DESTINATION.
	Destination string
	// Host is the name of a host. It is written in lower case, as Puppet
	// demands of a certificate's name and as Foreman looks hosts up.
	Host string
	// Validity of the certificate; 0 is DefaultValidity, less than a day is
	// refused. It never outlives its CA.
	Validity time.Duration
}

// FileName is the name of the files that Issue writes, without .crt and .key:
// File or, when that is empty, "edge", "drain-DESTINATION" or the host's name.
func (r Request) FileName() string {
	r = r.withDefaults()
	switch {
	case r.File != "":
		return r.File
	case r.Use == Drain:
		return "drain-" + r.Destination
	case r.Use == Host:
		return r.Host
	default:
		return string(r.Use)
	}
}

func (r Request) withDefaults() Request {
	if r.Use == Drain && r.Destination == "" {
		r.Destination = DefaultDestination
	}
	if r.Validity == 0 {
		r.Validity = DefaultValidity
	}
	r.Host = lower(r.Host)
	return r
}

func (r Request) validate() error {
	if r.Now.IsZero() {
		return invalid("the time of issue is not set")
	}
	if r.Validity < day || r.Validity > maxValidity {
		return invalid(fmt.Sprintf("a validity of %s is not possible: choose 1 to %d days", r.Validity, maxValidity/day))
	}
	if err := r.validateUse(); err != nil {
		return err
	}
	if err := r.refuseStrays(); err != nil {
		return err
	}
	return validateFile(r.FileName())
}

func (r Request) validateUse() error {
	switch r.Use {
	case Edge:
		return validateServer(r.Names, r.IPs)
	case Drain:
		return validateDestination(r.Destination)
	case Host:
		return validateHost(r.Host)
	default:
		return invalid(fmt.Sprintf("a certificate for %q is not known: choose edge, drain or host", string(r.Use)))
	}
}

// refuseStrays refuses a field that the use ignores: whoever set it believes
// that the certificate holds it.
func (r Request) refuseStrays() error {
	switch {
	case r.Use != Edge && len(r.Names)+len(r.IPs) > 0:
		return invalid("further names and addresses are for an edge: leave them out for a " + string(r.Use))
	case r.Use != Drain && r.Destination != "":
		return invalid("a destination is for a drain: leave it out for a certificate for the use " + string(r.Use))
	case r.Use != Host && r.Host != "":
		return invalid("a host is for the use host: leave it out for a certificate for the use " + string(r.Use))
	default:
		return nil
	}
}
