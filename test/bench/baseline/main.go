// Command baseline is what the relay is measured against: the least that one
// could write around JetStream. `ingest` is a handler that does one acknowledged
// publish per request, `drain` a loop that pulls in batches and posts.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "baseline:", err)
		os.Exit(1)
	}
}

func run() error {
	dir := flag.String("dir", "", "store `directory`")
	always := flag.Bool("always", false, "sync every message")
	listen := flag.String("listen", "127.0.0.1:0", "`address` of the handler")
	streams := flag.Int("streams", 1, "`number` of streams, /0, /1 and so on")
	target := flag.String("drain", "", "pull and post to this `URL` instead, until the streams are empty")
	flag.Parse()

	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: *dir,
		SyncAlways: *always, MaxPayload: 8 << 20})
	if err != nil {
		return err
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(30 * time.Second) {
		return errors.New("the server is not ready")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for i := range *streams {
		if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: fmt.Sprint("S", i), Subjects: []string{fmt.Sprintf("in.%d.>", i)}}); err != nil {
			return err
		}
	}
	if *target != "" {
		return drain(ctx, js, *target)
	}
	return ingest(ctx, js, *listen, *streams)
}

// ingest publishes each request to in.<stream>.<number> and answers when that
// is acknowledged.
func ingest(ctx context.Context, js jetstream.JetStream, listen string, streams int) error {
	var number atomic.Uint64
	mux := http.NewServeMux()
	for i := range streams {
		mux.HandleFunc(fmt.Sprintf("POST /%d", i), func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if _, err := js.Publish(r.Context(), fmt.Sprintf("in.%d.%d", i, number.Add(1)), body); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			w.WriteHeader(http.StatusAccepted)
		})
	}
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	h := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() {
		<-ctx.Done()
		_ = h.Close() // the load has ended
	}()
	if err := h.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// inFlight is how many messages are posted at one time.
const inFlight = 64

// drain pulls in batches, posts each message with 64 in flight, and
// acknowledges what was answered with 2xx.
func drain(ctx context.Context, js jetstream.JetStream, target string) error {
	c, err := js.CreateOrUpdateConsumer(ctx, "S0", jetstream.ConsumerConfig{Durable: "drain", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 4096})
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}}
	work := make(chan jetstream.Msg)
	var wg sync.WaitGroup
	for range inFlight {
		wg.Go(func() {
			for m := range work {
				post(client, target, m)
			}
		})
	}
	defer wg.Wait()
	defer close(work)
	for ctx.Err() == nil {
		batch, err := c.Fetch(256, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		n := 0
		for m := range batch.Messages() {
			n++
			work <- m
		}
		if n == 0 {
			return nil
		}
	}
	return nil
}

func post(client *http.Client, target string, m jetstream.Msg) {
	resp, err := client.Post(target, "application/json", bytes.NewReader(m.Data()))
	if err != nil {
		fmt.Fprintln(os.Stderr, "baseline:", err)
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body) // only the status counts
	_ = resp.Body.Close()
	if resp.StatusCode <= 299 {
		_ = m.Ack() // it is a benchmark: what is not acknowledged comes again
	}
}
