// Package pki makes a small private certificate authority, enough to try the
// edge and the drain in two processes with mutual TLS between them: the CA, a
// server certificate for the edge, a client certificate for the drain and, when
// asked, one for a host that sends reports.
//
// It promises: nothing is ever overwritten, a file appears whole or not at all,
// private keys are for their owner alone (0600 in a directory of 0700), and
// after a failure what this call had written is taken away again.
// It never revokes, renews or serves anything, and keeps no list of what it
// issued: a real installation has its own PKI, usually that of Puppet.
package pki

import (
	"errors"
	"time"
)

// ErrInvalid is what every error about Options or a Request is: nothing was
// written, and the same call will fail again. An error about a file that exists
// already is an fs.ErrExist.
var ErrInvalid = errors.New("invalid")

// invalid carries its own text; ErrInvalid is only what it is compared with.
type invalid string

func (e invalid) Error() string        { return string(e) }
func (e invalid) Is(target error) bool { return target == ErrInvalid }

// Pair tells where a certificate and its private key are.
type Pair struct {
	Certificate, Key string
	NotAfter         time.Time
}

// Result tells what Init wrote. Host is zero when no host was asked for.
type Result struct {
	CA, Edge, Drain, Host Pair
}

// Init creates a CA and its first certificates in dir, which is made when it
// does not exist: ca, edge, drain and, with Options.Host, host, each as .crt
// and .key. It fails when any of these files exists.
func Init(dir string, o Options) (Result, error) {
	o = o.withDefaults()
	requests, err := o.requests()
	if err != nil {
		return Result{}, err
	}
	pairs := []Pair{pairIn(dir, caFile)}
	for _, r := range requests {
		pairs = append(pairs, pairIn(dir, r.FileName()))
	}
	if err := prepare(dir, pairs); err != nil {
		return Result{}, err
	}
	ca, err := newAuthority(o.CAName, o.Now)
	if err != nil {
		return Result{}, err
	}
	issued := []credential{ca.credential}
	for _, r := range requests {
		c, err := ca.issue(r)
		if err != nil {
			return Result{}, err
		}
		issued = append(issued, c)
	}
	if err := store(dir, pairs, issued); err != nil {
		return Result{}, err
	}
	return result(pairs), nil
}

// result gives the pairs their names, in the order of Options.requests.
func result(pairs []Pair) Result {
	r := Result{CA: pairs[0], Edge: pairs[1], Drain: pairs[2]}
	if len(pairs) > 3 {
		r.Host = pairs[3]
	}
	return r
}

// Issue adds a certificate to the CA that Init made in dir: a second drain, a
// further host or edge. The files are called Request.FileName with .crt and
// .key; it fails when one of them exists. It ends no later than the CA does.
func Issue(dir string, req Request) error {
	req = req.withDefaults()
	if err := req.validate(); err != nil {
		return err
	}
	ca, err := loadAuthority(dir, req.Now)
	if err != nil {
		return err
	}
	pairs := []Pair{pairIn(dir, req.FileName())}
	if err := refuseExisting(pairs); err != nil {
		return err
	}
	c, err := ca.issue(req)
	if err != nil {
		return err
	}
	return store(dir, pairs, []credential{c})
}
