// Command stand-in runs the stand-in for Foreman alone:
//
//	go run ./test/foreman/stand-in --listen 127.0.0.1:3000 --mode up
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	standin "github.com/theforeman/foreman-relay/test/foreman"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "stand-in:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:3000", "`address`")
	mode := flag.String("mode", "up", "how to behave: up, html503, maintenance, drop-after, …")
	latency := flag.Duration("latency", 0, "answer after this `time`")
	cert := flag.String("tls-cert", "", "certificate `file`")
	key := flag.String("tls-key", "", "its key `file`")
	clientCA := flag.String("client-ca", "", "demand client certificates of this CA `file`")
	flag.Parse()

	rule, err := standin.ParseMode(*mode)
	if err != nil {
		return err
	}
	s := standin.New()
	switch {
	case rule != nil:
		rule.Latency = *latency
		s.SetRules(*rule)
	case *latency > 0:
		s.SetRules(standin.Rule{Mode: standin.Slow, Latency: *latency})
	}
	if *cert != "" {
		config, err := tlsConfig(*cert, *key, *clientCA)
		if err != nil {
			return err
		}
		s.UseTLS(config)
	}
	s.OnCounted(func(r *standin.Request) {
		fmt.Println(r.At.Format(time.TimeOnly), r.Method, r.Path, r.Host, r.Status)
	})
	if err := s.Start(*listen); err != nil {
		return err
	}
	fmt.Println("stand-in for Foreman on", s.URL(), "; what came: curl", s.URL()+"/_standin/requests")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	s.Stop()
	return nil
}

func tlsConfig(cert, key, clientCA string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clientCA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(clientCA)
	if err != nil {
		return nil, err
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New(clientCA + " holds no certificate in PEM")
	}
	return config, nil
}
