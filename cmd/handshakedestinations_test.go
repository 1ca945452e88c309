package cmd

import (
	"bytes"
	"encoding/base64"
	"io"
	"slices"
	"strings"
	"testing"

	agefile "filippo.io/age"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

func TestDestinationsOfAHandshakeAreChecked(t *testing.T) {
	config := defaultConfig()
	for url, want := range map[string]string{
		"https://user:hunter2@hook.example.com/": "holds a user",
		"https://hook.example.com/?t=hunter2":    "without query",
		"ftp://hook.example.com/hunter2":         "write https://",
		"https://127.0.0.1:9200/":                "unless the configuration of the relay says so",
		"https://localhost/":                     "unless the configuration of the relay says so",
		"http://169.254.169.254/latest":          "a metadata service",
	} {
		found := config.checkHandshake(relay.Handshake{Destinations: map[string]relay.HandshakeDestination{"hook": {URL: url}}})
		require.Len(t, found, 1, url)
		require.Equal(t, "/destinations/hook", found[0].Pointer)
		require.Contains(t, found[0].Message, want)
		if !strings.HasPrefix(url, "ftp") {
			require.NotContains(t, found[0].Message, "hunter2")
		}
	}
	found := config.checkHandshake(relay.Handshake{Destinations: map[string]relay.HandshakeDestination{relay.ForemanDestination: {}}})
	require.Len(t, found, 1)
	require.Contains(t, found[0].Message, "Foreman itself")
	require.Empty(t, config.checkHandshake(relay.Handshake{Destinations: map[string]relay.HandshakeDestination{"hook": {URL: "https://10.0.0.7/in"}, "pulp": {}}}))
}

func TestWhatNoDrainOpensIsRefused(t *testing.T) {
	var out bytes.Buffer
	to, err := agefile.NewScryptRecipient("hunter2")
	require.NoError(t, err)
	to.SetWorkFactor(1)
	w, err := agefile.Encrypt(&out, to)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	config := defaultConfig()
	found := config.checkHandshake(relay.Handshake{Credentials: []relay.SealedCredential{{Organization: "ACME", Destination: "hook", Sealed: base64.StdEncoding.EncodeToString(out.Bytes())}}})
	require.Len(t, found, 1)
	require.Equal(t, "/credentials/ACME/hook", found[0].Pointer)
	require.Contains(t, found[0].Message, "password or a key of another kind")
}

// The configuration has the last word, what is of no use is left out, and an edge
// that waits for drains calls nobody because a document says so.
func TestWhichDestinationsAreJoined(t *testing.T) {
	document := relay.Handshake{Destinations: map[string]relay.HandshakeDestination{
		"pulp": {URL: "https://stranger.example.com/"}, "hook": {URL: "https://hook.example.com/in", Organizations: []string{"ACME"}},
		"inward": {URL: "https://127.0.0.1/"}, relay.ForemanDestination: {URL: "https://stranger.example.com/"}, "far": {}}}
	join := func(listen string) (*server, []relay.Queue) {
		s := &server{config: defaultConfig(), log: zerolog.New(io.Discard)}
		s.config.Destinations = map[string]Destination{"pulp": {Kind: kindHTTP}}
		s.config.Broker.Listen = listen
		queues := s.joinDestinations(document)
		t.Cleanup(func() {
			for _, o := range s.outlets {
				o.close()
			}
		})
		return s, queues
	}
	s, queues := join("")
	require.Equal(t, []string{relay.ForemanDestination, "far", "hook", "pulp"}, s.config.destinations())
	require.Contains(t, queues, relay.Queue{Organization: relay.DefaultOrganization, Destination: "hook"})
	require.Empty(t, s.config.Destinations["pulp"].URL, "it is configured, without a URL")
	require.Len(t, s.outlets, 1)
	require.Equal(t, "https://hook.example.com/in", s.outlets[0].url)
	configured := s.configured()
	require.Contains(t, configured, "/destinations/pulp")
	require.False(t, slices.Contains(configured, "/destinations/hook"))
	require.Empty(t, s.config.Destinations["hook"].AllowAddresses)

	s, queues = join("127.0.0.1:4223")
	require.Empty(t, s.outlets)
	require.Empty(t, s.config.Destinations["hook"].URL)
	require.Contains(t, queues, relay.Queue{Organization: relay.DefaultOrganization, Destination: "hook"}, "a drain may come for it")
}
