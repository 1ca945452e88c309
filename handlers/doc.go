// Package handlers is the relay's HTTP: the edge that hosts and services post
// to, the admin API on its socket, and the client of that API. It knows requests
// and answers, not the broker: what it needs of it are relay.Intake and
// relay.Operator.
//
// It promises: a request that is refused with a 4xx or 507 was never stored, and
// nothing is read without a bound.
package handlers
