package outgoing

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// unestablished is what package http says where a connection of HTTP/2 was closed
// before the first request on it; it exports no error for that.
const unestablished = "client conn could not be established"

// reasonTime is how long a server is listened to for its reason.
const reasonTime = time.Second

var errUnestablished = errors.New("the other side closed the connection as soon as it was open; it may want another client certificate")

// unopened finds out why a new connection was closed instead of used: another one
// is opened, on which nothing is said. In TLS 1.3 a server refuses our certificate
// when the connection is open already, and what is being sent on it then often
// costs us its reason. It is opened as whoever was not let in.
func (c *Client) unopened(ctx context.Context, as *http.Client, err error) error {
	early := strings.Contains(err.Error(), unestablished)
	if !early && !cutOff(err) || c.base.Scheme != "https" {
		return err
	}
	if early {
		err = errUnestablished
	}
	if reason := c.reason(ctx, as); reason != nil {
		return reason
	}
	return err
}

// cutOff: the connection ended while the request was written. Package http closes
// it, too, when it reads the reason meanwhile, and may then tell that alone.
func cutOff(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

// reason is the alert that a server gives who says nothing; nil: none, or it
// cannot be known, as behind a proxy.
func (c *Client) reason(ctx context.Context, as *http.Client) error {
	t, ok := as.Transport.(*http.Transport)
	if !ok || t.Proxy != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reasonTime)
	defer cancel()
	conn, err := t.DialContext(ctx, "tcp", net.JoinHostPort(c.base.Hostname(), cmp.Or(c.base.Port(), "443")))
	if err != nil { // it is no longer there to be asked
		return nil
	}
	defer func() { _ = conn.Close() }() // nothing was said on it
	config := t.TLSClientConfig.Clone()
	config.ServerName = cmp.Or(config.ServerName, c.base.Hostname())
	if c.options.HTTP2 {
		config.NextProtos = []string{"h2"} // who speaks it says something at once
	}
	return alertOf(ctx, tls.Client(conn, config))
}

func alertOf(ctx context.Context, conn *tls.Conn) error {
	err := conn.HandshakeContext(ctx)
	if err == nil {
		if end, ok := ctx.Deadline(); ok {
			_ = conn.SetReadDeadline(end) // else it ends with the connection
		}
		_, err = conn.Read(make([]byte, 1))
	}
	var alert *net.OpError
	if errors.As(err, &alert) && alert.Op == "remote error" {
		return err
	}
	return nil
}
