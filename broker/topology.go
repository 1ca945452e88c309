package broker

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// Everything that has a name in the broker gets it here and nowhere else:
//
//	stream               subjects                                     what
//	Q_<slug>_<queue>     relay.<queue>.<id>.<lane>.<route>[.<mark>]   journal of a queue
//	EVENTS_<dest>        relay-event.<dest>.<queue>.<bucket>          attempts and settlements
//	DEAD_<slug>_<org>    relay-dead.<org>.<queue>.<id>                dead letters, whole
//	KEYS_<dest>          relay-keys.<dest>.<queue>                    settled keys beyond the journal
//	KV_relay             $KV.relay.{checkpoint,base,proof,lease,pause,reach}.<dest>.<queue>, organization.<org>, recipients.<dest>, handshake, run, blinding
//
// <queue>, <id>, <lane> and <org> are hashed tokens (package relay): names may
// hold what a subject may not. The real names are in the streams' metadata.
// <mark> is on few messages, which are found by it among a million others.
const (
	kvBucket     = "relay"
	kvStream     = "KV_" + kvBucket
	eventBuckets = 64 // bounds the subjects of a queue's events
	metaVersion  = "1"
)

// MaxMessage is how large a message may be in the broker, in bytes, envelope
// included. nats-server warns above 8 MiB.
const MaxMessage = 8 << 20

// How large a body may be, in bytes: by default, and at most. It is kept beside
// the journal where it is larger than relay.MaxInline (objects.go).
const (
	DefaultMaxBody = 64 << 20
	MaxBody        = 1 << 30
)

var destinationPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// routePattern is what a route may be called: it is a token of a subject.
var routePattern = regexp.MustCompile(`^[a-z0-9]{1,16}$`)

// CheckQueue says what is wrong with the name of a queue, if anything.
func CheckQueue(q relay.Queue) error {
	if !destinationPattern.MatchString(q.Destination) {
		return fmt.Errorf("destination %q: use 1 to 32 of a-z, 0-9 and -, beginning with a letter or digit", q.Destination)
	}
	if q.Organization == "" || len(q.Organization) > 255 || strings.ContainsFunc(q.Organization, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("organization %q: use 1 to 255 bytes without control characters", q.Organization)
	}
	return nil
}

// slug makes a name readable in a stream's name; it identifies nothing.
func slug(s string) string {
	s = strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return '-'
	}, strings.ToLower(s))
	return strings.Trim(s[:min(len(s), 24)], "-")
}

func orgToken(organization string) string { return relay.Queue{Organization: organization}.Token() }

func journalStream(q relay.Queue) string {
	return "Q_" + slug(q.Organization) + "-" + slug(q.Destination) + "_" + q.Token()
}

func eventStream(destination string) string { return "EVENTS_" + destination }
func keyStream(destination string) string   { return "KEYS_" + destination }
func consumerName(destination string) string {
	return "drain_" + destination
}

func deadStream(organization string) string {
	return "DEAD_" + slug(organization) + "_" + orgToken(organization)
}

// messageSubject is where a message is stored: the id is the tokens of its queue
// and its own.
func messageSubject(m *relay.Message) (string, error) {
	queue, own, ok := relay.ParseID(m.ID)
	if !ok {
		return "", fmt.Errorf("message id %q is malformed", m.ID)
	}
	subject := "relay." + queue + "." + own + "." + relay.LaneToken(m.Lane, m.ID) + "." + m.Route
	switch {
	case m.Urgent:
		return subject + "." + markUrgent, nil
	case !m.NotBefore.IsZero():
		return subject + "." + markScheduled, nil
	default:
		return subject, nil
	}
}

// The marks: of urgent messages, scheduled or not, and of scheduled bulk.
const (
	markUrgent    = "u"
	markScheduled = "s"
)

// idFilter matches the one message with this id.
func idFilter(queueToken, own string) string { return "relay." + queueToken + "." + own + ".>" }

// messageFilters match the messages of a lane and a route, marked or not; empty:
// of any.
func messageFilters(queueToken, lane, route string) []string {
	if lane == "" {
		lane = "*"
	}
	if route == "" {
		return []string{"relay." + queueToken + ".*." + lane + ".>"}
	}
	filter := "relay." + queueToken + ".*." + lane + "." + route
	return []string{filter, filter + ".*"}
}

// laneFilter matches the messages of a lane that are urgent, or those that have
// no mark.
func laneFilter(queueToken, lane string, urgent bool) string {
	filter := "relay." + queueToken + ".*." + lane + ".*"
	if urgent {
		return filter + "." + markUrgent
	}
	return filter
}

// markFilter matches the messages with a mark; empty: with any.
func markFilter(queueToken, mark string) string {
	return "relay." + queueToken + ".*.*.*." + cmp.Or(mark, "*")
}

// messageName is what the subject of a message says.
type messageName struct{ id, lane, route, mark string }

// parseMessageSubject is the inverse of messageSubject.
func parseMessageSubject(subject string) (n messageName, err error) {
	p := strings.Split(subject, ".")
	switch {
	case len(p) == 6:
		n.mark = p[5]
	case len(p) != 5:
		return n, fmt.Errorf("%w: subject %q", relay.ErrEnvelope, subject)
	}
	if p[0] != "relay" {
		return n, fmt.Errorf("%w: subject %q", relay.ErrEnvelope, subject)
	}
	n.id, n.lane, n.route = p[1]+"-"+p[2], p[3], p[4]
	return n, nil
}

// eventSubject spreads a queue's events over buckets by message id, so that the
// events of one message are found among few others.
func eventSubject(q relay.Queue, id string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // a hash never fails
	return eventPrefix(q) + strconv.Itoa(int(h.Sum32()%eventBuckets))
}

func eventPrefix(q relay.Queue) string { return eventsPrefix(q.Destination) + q.Token() + "." }

func eventsPrefix(destination string) string { return "relay-event." + destination + "." }

// queueOfEvent is the queue token in the subject of an event.
func queueOfEvent(subject string) string {
	if p := strings.Split(subject, "."); len(p) == 4 {
		return p[2]
	}
	return ""
}

func deadSubject(q relay.Queue, id string) string {
	return "relay-dead." + orgToken(q.Organization) + "." + q.Token() + "." + id
}

func keysSubject(q relay.Queue) string { return "relay-keys." + q.Destination + "." + q.Token() }

func checkpointKey(q relay.Queue) string { return "checkpoint." + q.Destination + "." + q.Token() }
func baseKey(q relay.Queue) string       { return "base." + q.Destination + "." + q.Token() }
func leaseKey(q relay.Queue) string      { return "lease." + q.Destination + "." + q.Token() }

// recipientsKey is where the public keys of a destination's drains are kept,
// blindingKey the secret of blinding.
func recipientsKey(destination string) string { return "recipients." + destination }

const blindingKey = "blinding"

func organizationKey(name string) string { return "organization." + orgToken(name) }

// organizationKeys match those of all organizations.
const organizationKeys = "organization.*"

func kvSubject(key string) string { return "$KV." + kvBucket + "." + key }

// handshakeKey is where the one document of Foreman is kept.
const handshakeKey = "handshake"

// runKey is where the number of the edge's run is kept.
const runKey = "run"

func reachKey(q relay.Queue) string { return "reach." + q.Destination + "." + q.Token() }
func proofKey(q relay.Queue) string { return "proof." + q.Destination + "." + q.Token() }

func pauseKey(q relay.Queue) string { return "pause." + q.Destination + "." + q.Token() }

func leaseSubject(destination string) string { return "relay-drain." + destination + ".lease" }

// newestSubject is where the edge says what is the newest message of a place.
func newestSubject(destination string) string { return "relay-drain." + destination + ".newest" }

// reachSubject is where a drain asks how far its attempts may go.
func reachSubject(destination string) string { return "relay-drain." + destination + ".reach" }

// switchSubject is where a drain says what Foreman's switch says.
func switchSubject(destination string) string { return "relay-drain." + destination + ".switch" }

// pieceSubject is where the drains of a destination ask for the pieces of large
// bodies.
func pieceSubject(destination string) string { return "relay-drain." + destination + ".piece" }

// inboxPrefix is where the drains of a destination receive answers.
func inboxPrefix(destination string) string { return "_INBOX_drain_" + destination }

// nudgeSubject is where the edge asks the drains of a destination to renew their
// leases at once. It is below their inboxes: they may listen there already.
func nudgeSubject(destination string) string { return inboxPrefix(destination) + ".nudge" }

// doorInbox is where the door receives the broker's acknowledgements.
const doorInbox = "_INBOX_door"

// passSubject is where the drains of a destination are asked for what only it can
// answer.
func passSubject(destination string) string { return "relay-pass." + destination + ".request" }

// passReply is where one such request is answered; nobody can guess the nonce.
func passReply(destination, nonce string) string {
	return "relay-pass." + destination + ".reply." + nonce
}

// passTaken is where a drain is told that a piece of such an answer was taken. It is
// below its inbox: it may listen there already.
func passTaken(destination, nonce string) string {
	return inboxPrefix(destination) + ".pass." + nonce
}

// DrainUser is the name that the certificate of a far drain must carry as a URI.
func DrainUser(destination string) string { return "foreman-relay://drain/" + destination }

// Subjects of JetStream's API that a drain uses.
func apiGet(stream string) string { return "$JS.API.DIRECT.GET." + stream }
func apiGetCheckpoint(q relay.Queue) string {
	return apiGet(kvStream) + ".$KV." + kvBucket + "." + checkpointKey(q)
}
func apiNext(stream, consumer string) string {
	return "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer
}
func apiReset(stream, consumer string) string {
	return "$JS.API.CONSUMER.RESET." + stream + "." + consumer
}

// drainPermissions is the one list of what a drain may do, in the same process
// or far away (DESIGN, decision 12): ask for leases, move and read its
// consumers, read single messages of its queues and the pieces of their bodies, read
// and write its events, and answer what only its destination can answer.
func drainPermissions(destination string, queues []relay.Queue) *server.Permissions {
	consumer := consumerName(destination)
	publish := []string{
		leaseSubject(destination),
		newestSubject(destination),
		reachSubject(destination),
		pieceSubject(destination),
		passReply(destination, "*"),
		eventsPrefix(destination) + ">",
		apiNext("*", consumer),
		apiReset("*", consumer),
		apiGet(eventStream(destination)),
		apiGet(kvStream) + ".$KV." + kvBucket + ".checkpoint." + destination + ".>",
	}
	if destination == relay.ForemanDestination { // nobody else can read the switch
		publish = append(publish, switchSubject(destination))
	}
	for _, q := range queues {
		if q.Destination == destination {
			publish = append(publish, apiGet(journalStream(q)))
		}
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{inboxPrefix(destination) + ".>", passSubject(destination)}},
	}
}

// doorPermissions are what the connection may do that requests from outside come
// to: store messages, ask drains for what only a destination can answer, and say
// which pieces of the answers it has taken. It reads no stream and makes nothing. A
// right to respond (server.ResponsePermission) would be lost with each new queue.
func doorPermissions(destinations []string) *server.Permissions {
	publish := []string{"relay.>", passSubject("*")}
	for _, destination := range destinations {
		publish = append(publish, passTaken(destination, "*"))
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{doorInbox + ".>", passReply("*", "*")}},
	}
}

// The streams. Limits retention with DiscardNew, never an age: a message never
// vanishes by itself (DESIGN, decision 1).

func journalConfig(q relay.Queue, quota int64) jetstream.StreamConfig {
	c := base(journalStream(q), "relay."+q.Token()+".>", quota)
	c.Metadata = map[string]string{"relay_version": metaVersion, "organization": q.Organization, "destination": q.Destination}
	return c
}

func consumerConfig(destination string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       consumerName(destination),
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckNonePolicy, // a cursor: the settled record is the truth
		HeadersOnly:   true,
		MaxWaiting:    16,
	}
}

func eventConfig(destination string) jetstream.StreamConfig {
	c := base(eventStream(destination), eventsPrefix(destination)+"*.*", -1)
	c.Metadata = map[string]string{"relay_version": metaVersion, "destination": destination}
	return c
}

func deadConfig(organization string, quota int64) jetstream.StreamConfig {
	c := base(deadStream(organization), "relay-dead."+orgToken(organization)+".>", quota)
	c.Metadata = map[string]string{"relay_version": metaVersion, "organization": organization}
	return c
}

// keyConfig is the exception with an age: a remembered key that is forgotten
// late or early loses nothing.
func keyConfig(destination string, window time.Duration) jetstream.StreamConfig {
	c := base(keyStream(destination), "relay-keys."+destination+".*", -1)
	c.MaxAge = window
	c.Metadata = map[string]string{"relay_version": metaVersion, "destination": destination}
	return c
}

func base(name, subject string, maxBytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        name,
		Subjects:    []string{subject},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     jetstream.FileStorage,
		Replicas:    1,
		MaxBytes:    maxBytes,
		MaxMsgSize:  MaxMessage,
		AllowDirect: true,
		Duplicates:  time.Second, // unused: the subject carries the identity
	}
}
