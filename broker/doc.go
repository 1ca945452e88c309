// Package broker is where messages are: an embedded JetStream, the streams of
// the relay in it, and both sides of the channel to them. Broker is the edge's
// side: it accepts, keeps the account of every queue, buries dead letters,
// trims, and grants leases. Channel is the drain's side, in the same process or
// far away, under one list of permissions.
//
// It promises: a receipt only for a message that has the durability it names;
// nothing is removed from a journal that is not settled on the disk.
// It never decides what becomes of a message; package relay does.
package broker
