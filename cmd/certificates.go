package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/cmd/pki"
	"github.com/theforeman/foreman-relay/relay"
)

func pkiCommand(p *program) *cobra.Command {
	return noun("pki", "Make certificates for trying the two-process form", pkiInit(p), pkiIssue(p))
}

func pkiInit(p *program) *cobra.Command {
	c := &cobra.Command{Use: "init DIR", Short: "Make a small private CA, and certificates for an edge and a drain", Args: takes(1, "a directory"),
		Example: "  foreman-relay pki init pki --host web1.example.com"}
	host := c.Flags().String("host", "", "make a certificate for this `HOST` too")
	names := c.Flags().StringSlice("edge-name", nil, "further DNS `NAME` of the edge")
	ips := c.Flags().IPSlice("edge-ip", nil, "further `ADDRESS` of the edge")
	destination := c.Flags().String("destination", pki.DefaultDestination, "what the drain drains for, a `NAME`")
	c.RunE = func(_ *cobra.Command, args []string) error {
		dir := args[0]
		r, err := pki.Init(dir, pki.Options{Now: time.Now(), Host: *host, EdgeNames: *names, EdgeIPs: *ips, Destination: *destination})
		if err != nil {
			return pkiError(err)
		}
		for _, pair := range []pki.Pair{r.CA, r.Edge, r.Drain, r.Host} {
			if pair.Certificate != "" {
				_, _ = fmt.Fprintf(p.stdout, "%s\t%s\tuntil %s\n", pair.Certificate, pair.Key, pair.NotAfter.Format(time.DateOnly)) // told by nothing: the files are made
			}
		}
		in := func(name string) string { return relay.ShellWord(filepath.Join(dir, name)) }
		drainsFor := ""
		if *destination != pki.DefaultDestination {
			drainsFor = " --destination " + *destination
		}
		_, err = fmt.Fprintf(p.stderr, "now try:\n"+
			"  foreman-relay serve --broker-listen 127.0.0.1:4223 --broker-cert %s --broker-key %s --broker-client-ca %s\n"+
			"  foreman-relay drain --broker tls://127.0.0.1:4223 --broker-ca %s --broker-cert %s --broker-key %s --foreman-url URL%s\n",
			in("edge.crt"), in("edge.key"), in("ca.crt"), in("ca.crt"), in("drain.crt"), in("drain.key"), drainsFor)
		return err
	}
	return c
}

// pkiError gives a failure its exit code: a wrong call, files in the way, or
// no CA.
func pkiError(err error) error {
	code := relay.CodeInternal
	switch {
	case errors.Is(err, pki.ErrInvalid):
		return usage(err)
	case errors.Is(err, fs.ErrExist):
		code = relay.CodeConflict
	case errors.Is(err, fs.ErrNotExist):
		code = relay.CodeNotFound
	}
	return &relay.Error{Code: code, Detail: "pki", Err: err}
}

func pkiIssue(p *program) *cobra.Command {
	c := &cobra.Command{Use: "issue DIR", Short: "Make a further certificate of the CA in DIR", Args: takes(1, "the directory of the CA"),
		Example: "  foreman-relay pki issue pki --use drain --file drain2"}
	use := c.Flags().String("use", "", "`USE`: edge, drain or host")
	host := c.Flags().String("host", "", "`HOST` name, for a host")
	file := c.Flags().String("file", "", "`NAME` of the files, without .crt and .key")
	names := c.Flags().StringSlice("name", nil, "DNS `NAME`, for an edge")
	ips := c.Flags().IPSlice("ip", []net.IP{}, "`ADDRESS`, for an edge")
	destination := c.Flags().String("destination", "", "`NAME` of what a drain drains for (default "+pki.DefaultDestination+")")
	c.RunE = func(_ *cobra.Command, args []string) error {
		r := pki.Request{Now: time.Now(), Use: pki.Use(*use), Host: *host, File: *file, Names: *names, IPs: *ips, Destination: *destination}
		if err := pki.Issue(args[0], r); err != nil {
			return pkiError(err)
		}
		_, err := fmt.Fprintf(p.stdout, "%s\t%s\n", filepath.Join(args[0], r.FileName()+".crt"), filepath.Join(args[0], r.FileName()+".key"))
		return err
	}
	return c
}
