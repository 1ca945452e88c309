// Package relay is the domain of foreman-relay: what a message, a lane, an
// attempt and an outcome are, how an answer is judged, and how one queue is
// drained in order. It knows neither NATS nor HTTP frameworks; the seams to
// them are the small interfaces Intake, Journal, Registrar and Destination.
//
// It promises: one attempt at a time in a lane, first in, first out; a message
// is settled once; nothing is forgotten without an event that says so.
// It never decides where a message is stored or what a stream is called.
package relay
