package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// elsewhere is a queue that the drain of the others has nothing to do with.
var elsewhere = relay.Queue{Organization: "other", Destination: "elsewhere"}

// quietly is with that queue, and without a line for each refusal.
func quietly(o *broker.Options) { o.Queues, o.Log = append(o.Queues, elsewhere), zerolog.Nop() }

// apiVerbs are all subjects of JetStream's API, read from the source of the server
// that this is built with: a new one is tried as soon as there is one.
func apiVerbs(t *testing.T) []string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/nats-io/nats-server/v2").Output()
	require.NoError(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "server", "jetstream_api.go"), nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var verbs []string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil && strings.HasPrefix(text, "$JS.") {
				verbs = append(verbs, text)
			}
		}
		return true
	})
	for _, known := range []string{server.JSApiStreamDeleteT, server.JSApiMsgGet, server.JSApiDurableCreate, server.JSApiConsumerResetT, server.JSDirectMsgGet, server.JSApiMetaRescue} {
		require.Contains(t, verbs, known, "the constants are found")
	}
	require.Greater(t, len(verbs), 70)
	return verbs
}

// filled are the subjects that a verb can be used with.
func filled(verb string, names [][2]string) []string {
	verb = strings.ReplaceAll(verb, "%s", "*")
	var all []string
	for _, name := range names {
		words, n := strings.Split(verb, "."), 0
		for i, w := range words {
			switch {
			case w == ">":
				words[i] = "x"
			case w == "*" && n == 0:
				words[i], n = name[0], n+1
			case w == "*":
				words[i] = name[1]
			}
		}
		all = append(all, strings.TrimSuffix(strings.Join(words, "."), ".")) // some constants are prefixes
	}
	return all
}

// deniedSubjects are all that a drain of the first queue has no need of.
func deniedSubjects(t *testing.T) (publish, subscribe []string) {
	t.Helper()
	mine, theirs := broker.JournalStream(queue), broker.JournalStream(elsewhere)
	streams := []string{mine, theirs, broker.EventStream(queue.Destination), broker.EventStream("elsewhere"), broker.KeyStream(queue.Destination),
		broker.DeadStream(queue.Organization), broker.DeadStream("other"), "KV_relay", "new"}
	var names [][2]string
	for _, s := range streams {
		names = append(names, [2]string{s, "drain_foreman"}, [2]string{s, "drain_elsewhere"}, [2]string{s, "new"})
	}
	mayAsk := []string{"$JS.API.DIRECT.GET." + mine, "$JS.API.DIRECT.GET." + broker.EventStream(queue.Destination)}
	for _, s := range streams { // there is such a consumer in its own streams alone
		for _, verb := range []string{"MSG.NEXT", "RESET"} {
			mayAsk = append(mayAsk, "$JS.API.CONSUMER."+verb+"."+s+".drain_foreman")
		}
	}
	for _, verb := range apiVerbs(t) {
		publish = append(publish, filled(verb, names)...)
	}
	q, o := queue.Token(), elsewhere.Token()
	publish = append(publish, "$JS.API.DIRECT.GET.KV_relay.$KV.relay.lease.foreman."+q, "$JS.API.DIRECT.GET.KV_relay.$KV.relay.checkpoint.elsewhere."+o,
		"$JS.API.DIRECT.GET.KV_relay.$KV.relay.run", "$JS.ACK."+mine+".drain_foreman.1.1.1.1.1", "$JS.ACK."+theirs+".drain_elsewhere.1.1.1.1.1",
		"$KV.relay.checkpoint.foreman."+q, "$KV.relay.lease.foreman."+q, "$KV.relay.run", "$KV.other.x", "$O.bucket.C.x",
		"relay."+q+".id.lane.message", "relay."+o+".id.lane.message", "relay-dead.x."+q+".id", "relay-dead.x."+o+".id", "relay-keys.foreman."+q, "relay-keys.elsewhere."+o,
		"relay-event.elsewhere."+o+".1", "relay-drain.elsewhere.lease", "relay-drain.elsewhere.newest", "relay-drain.elsewhere.reach", "relay-drain.elsewhere.piece", "relay-drain.elsewhere.switch",
		"relay-pass.foreman.request", "relay-pass.elsewhere.request", "relay-pass.elsewhere.reply.x", "_INBOX_door.x", "_INBOX.x", "_INBOX_drain_elsewhere.nudge",
		"_INBOX_drain_foreman.nudge", "_R_.x", "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING", "$SYS.REQ.USER.INFO", "$SYS.ACCOUNT.x", "$SRV.PING", "anything")
	slices.Sort(publish)
	publish = slices.DeleteFunc(slices.Compact(publish), func(s string) bool { return slices.Contains(mayAsk, s) })
	subscribe = []string{">", "*", "*.>", "relay.>", "relay." + q + ".>", "relay-event.>", "relay-event.foreman.>", "relay-dead.>", "relay-keys.>", "relay-drain.>", "relay-drain.foreman.lease",
		"relay-pass.>", "relay-pass.*.request", "relay-pass.elsewhere.request", "relay-pass.foreman.reply.>", "$KV.>", "$KV.relay.>", "$JS.>", "$JS.API.>", "$JS.EVENT.>",
		"$JS.ACK.>", "$SYS.>", "_INBOX.>", "_INBOX_door.>", "_INBOX_drain_elsewhere.>", "_INBOX*.>", "$O.>"}
	return publish, subscribe
}

// everything is what all streams and consumers of a broker hold, and how they are
// made; but for what the edge itself does from time to time.
func everything(t *testing.T, b *broker.Broker) string {
	t.Helper()
	js, err := jetstream.New(broker.EdgeConn(b))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	all := map[string]any{}
	streams := js.ListStreams(ctx)
	for s := range streams.Info() {
		all[s.Config.Name] = []any{s.Config, s.State.Msgs, s.State.FirstSeq, s.State.LastSeq, s.State.Deleted}
		if s.Config.Name == "KV_relay" {
			all[s.Config.Name] = []any{s.Config, keys(t, js)}
		}
		stream, err := js.Stream(ctx, s.Config.Name)
		require.NoError(t, err)
		consumers := stream.ListConsumers(ctx)
		for c := range consumers.Info() {
			if !strings.HasPrefix(c.Name, "drain_") { // the edge's, for a while
				continue
			}
			all[s.Config.Name+"/"+c.Name] = []any{c.Config, c.Delivered.Stream, c.PauseRemaining > 0}
		}
		require.NoError(t, consumers.Err())
	}
	require.NoError(t, streams.Err())
	text, err := json.MarshalIndent(all, "", " ")
	require.NoError(t, err)
	return string(text)
}

// keys is the key-value bucket without checkpoints, which are written at any time.
func keys(t *testing.T, js jetstream.JetStream) map[string]string {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), "relay")
	require.NoError(t, err)
	all := map[string]string{}
	lister, err := kv.ListKeys(t.Context())
	require.NoError(t, err)
	for key := range lister.Keys() {
		kind, _, _ := strings.Cut(key, ".")
		if kind == "checkpoint" || kind == "base" || kind == "proof" {
			continue
		}
		entry, err := kv.Get(t.Context(), key)
		require.NoError(t, err)
		all[key] = string(entry.Value())
	}
	return all
}

// Everything that a drain has no need of is denied, with the same list in the
// same process and far away: each verb of JetStream's API, of its own streams and of
// others', each foreign subject. Nothing changes by trying.
func TestADrainMayDoNothingElse(t *testing.T) {
	b, certs := listeningWith(t, quietly)
	accept(t, b, message("host", "", "mine"))
	theirs := message("host", "", "theirs")
	theirs.Queue, theirs.ID = elsewhere, relay.FreshID(elsewhere)
	accept(t, b, theirs)
	publish, subscribe := deniedSubjects(t)
	t.Logf("%d subjects to publish to, %d to listen to", len(publish), len(subscribe))
	near, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	t.Cleanup(near.Close)
	before := everything(t, b)
	for name, c := range map[string]*broker.Channel{"in the same process": near, "far away": dial(t, b, certs, "drain")} {
		t.Run(name, func(t *testing.T) {
			nc := broker.Conn(c)
			require.Eventually(t, nc.IsConnected, 5*time.Second, 5*time.Millisecond)
			allDenied(t, nc, publish, subscribe)
		})
	}
	require.Equal(t, before, everything(t, b))
}

// There is no permission that a drain does not use: all of them are, by one that has
// messages, a large body, facts of which only the newest counts, a request to pass on, and
// Foreman's assignments to tell.
func TestEveryPermissionIsUsed(t *testing.T) {
	b, certs := listeningWith(t, latestFacts)
	used := map[string]*nats.Subscription{}
	permissions := broker.DrainPermissions(queue.Destination, []relay.Queue{queue})
	for _, subject := range permissions.Publish.Allow {
		sub, err := broker.EdgeConn(b).SubscribeSync(subject)
		require.NoError(t, err)
		used[subject] = sub
	}
	require.NoError(t, broker.EdgeConn(b).Flush())
	c, _ := serving(t, b, certs, saying(200, []byte("yes")))
	accept(t, b, message("host", "", largeText(2*relay.MaxInline+1)))
	for _, body := range []string{"00", "01", "02"} {
		accept(t, b, facts("host", body))
	}
	runDrain(t, c, newCollector(), compacting)
	status(t, b, settled)
	_, err := b.Passer(queue.Destination, 1).Pass(t.Context(), nodePass, nodeAsk)
	require.NoError(t, err)
	_, err = c.Switch(t.Context(), relay.SwitchReport{})
	require.Error(t, err, "this edge is not switched by Foreman; it was asked all the same")
	require.NoError(t, broker.EdgeConn(b).Flush())
	for subject, sub := range used {
		n, _, err := sub.Pending()
		require.NoError(t, err)
		require.Positive(t, n, "nobody needs %s", subject)
	}
	require.Equal(t, []string{"_INBOX_drain_foreman.>", broker.PassSubject(queue.Destination)}, permissions.Subscribe.Allow)
}

// What takes requests from outside can store them, and read nothing: no stream, no
// answer to anybody else.
func TestTheDoorReadsNothing(t *testing.T) {
	b, _ := listeningWith(t, quietly)
	accept(t, b, message("host", "", "mine"))
	before := everything(t, b)
	publish, subscribe := deniedSubjects(t)
	publish = slices.DeleteFunc(publish, func(s string) bool { return strings.HasPrefix(s, "relay.") || strings.HasSuffix(s, ".request") })
	for _, s := range []string{broker.JournalStream(queue), broker.EventStream(queue.Destination), broker.DeadStream(queue.Organization), "KV_relay"} {
		publish = append(publish, "$JS.API.DIRECT.GET."+s, "$JS.API.CONSUMER.MSG.NEXT."+s+".drain_foreman", "$JS.API.CONSUMER.RESET."+s+".drain_foreman")
	}
	subscribe = slices.DeleteFunc(subscribe, func(s string) bool {
		return s == "_INBOX_door.>" || s == "relay-pass.foreman.reply.>"
	})
	allDenied(t, broker.DoorConn(b), publish, append(subscribe, "_INBOX_drain_foreman.>", "relay-event.foreman.*.*"))
	require.Equal(t, before, everything(t, b))
}

// allDenied tries to publish and to subscribe, and finds each refused.
func allDenied(t *testing.T, nc *nats.Conn, publish, subscribe []string) {
	t.Helper()
	violations := make(chan error, 1024)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err })
	refused := func(what, subject string) {
		t.Helper()
		require.NoError(t, nc.Flush())
		select {
		case err := <-violations:
			require.ErrorContains(t, err, fmt.Sprintf("Permissions Violation for %s to %q", what, subject))
		case <-time.After(5 * time.Second):
			require.Fail(t, "not refused", "%s to %s", what, subject)
		}
	}
	for _, subject := range publish {
		require.NoError(t, nc.PublishRequest(subject, nc.NewInbox(), nil))
		refused("Publish", subject)
	}
	for _, subject := range subscribe {
		sub, err := nc.SubscribeSync(subject)
		require.NoError(t, err)
		refused("Subscription", subject)
		_ = sub.Unsubscribe() // it never was one
	}
	require.True(t, nc.IsConnected())
	require.Empty(t, violations)
}

// The keys of this process's own connections open nothing over TCP, not even where
// there is a port.
func TestAnInProcessUserIsNoneOverTCP(t *testing.T) {
	b, _ := listening(t)
	s, user, err := broker.OverTCP(b, t.TempDir())
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(10*time.Second))
	public, err := user.PublicKey()
	require.NoError(t, err)
	inside, err := nats.Connect("", nats.InProcessServer(s), nats.Nkey(public, user.Sign))
	require.NoError(t, err, "the key is a good one")
	inside.Close()
	_, err = nats.Connect(s.ClientURL(), nats.Nkey(public, user.Sign))
	require.ErrorIs(t, err, nats.ErrAuthorization)
}
