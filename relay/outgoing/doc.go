// Package outgoing makes the requests that leave the relay for a destination:
// over the TLS that is configured for that destination alone, through its proxy
// or none, to addresses that are looked at when they are dialled. It follows no
// redirect, takes nothing of the environment, bounds everything that it reads,
// and tells no credential in an error.
//
// What an answer means is not decided here, but for Service, the destination of
// kind http, of which nothing but the status is known.
package outgoing
