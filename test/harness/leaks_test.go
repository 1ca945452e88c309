package harness

import (
	"bufio"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// A connection that the server has cut is no leak, one that it still serves is.
func TestLingering(t *testing.T) {
	before := goleak.IgnoreCurrent()
	served, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			close(served)
			<-release
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge) // the body is not read: net/http cuts the connection
	})}
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // it ends with Close
	}()
	ask := func(request string) net.Conn {
		conn, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		_, err = conn.Write([]byte(request + "Host: a\r\n\r\n"))
		require.NoError(t, err)
		return conn
	}

	held := ask("GET /held HTTP/1.1\r\n")
	<-served
	require.ErrorContains(t, goleak.Find(before, Lingering()), "leaks_test.go")
	close(release)
	require.NoError(t, held.Close())

	cut := ask("POST /cut HTTP/1.1\r\nContent-Length: 10000000\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(cut), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, cut.Close())
	require.NoError(t, server.Close())
	<-ended
	require.NoError(t, goleak.Find(before, Lingering()))
}
