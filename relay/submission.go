package relay

// Submission is a message that an operator on the relay's machine hands in for a
// queue, through the admin socket. It is taken as the edge takes one for a queue
// by name; Path alone may nobody else choose.
type Submission struct {
	Queue           Queue
	Route           string // one of the destination's; empty: any message
	Path            string // to deliver to, with query; empty: the route's own, or the destination's URL
	Key             string // idempotency key, printable ASCII; empty: derived as the route does
	OrderingKey     string // printable ASCII; only where the route does not find it by itself
	ContentType     string // empty: application/octet-stream
	ContentEncoding string // of Body, kept unless the route decodes it
	Body            []byte

	NotBefore string // when it may be delivered, as ParseMoment reads it; empty: at once
	Expires   string // until when it may be delivered; empty: as the route has it
	Priority  string // urgent or bulk; empty: as the route has it
}
