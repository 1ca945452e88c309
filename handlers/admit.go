package handlers

import (
	"cmp"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

// DoorOptions are what is held against a request before its body is read.
type DoorOptions struct {
	// Organization is what all edges know of one. Nil: nothing is known, and all
	// are on.
	Organization func(name string) (relay.Organization, bool)
	// Rate holds where an organization has none of its own.
	Rate relay.OrganizationRate
	// Senders is how many are remembered with their rate; 0: relay.DefaultMeters.
	Senders int
	// QuotaStatus is what a sender gets whose queue is full: 507, or 429 for
	// clients that do not send again after a 507. 0: 507.
	QuotaStatus int
}

// door lets requests in.
type door struct {
	DoorOptions
	organizations, senders *relay.Meter
	now                    relay.Clock
}

func newDoor(o DoorOptions, now relay.Clock) *door {
	return &door{DoorOptions: o, organizations: relay.NewMeter(0), senders: relay.NewMeter(o.Senders), now: now}
}

// known is what is known of an organization.
func (d *door) known(name string) relay.Organization {
	if d.Organization != nil {
		if o, ok := d.Organization(name); ok {
			return o
		}
	}
	return relay.Organization{Name: name, Enabled: true}
}

// admit refuses a request of an organization that is off, and one that is too
// much. It returns what is known of the organization.
func (e *Edge) admit(c echo.Context, who speaker, organization string) (relay.Organization, error) {
	o := e.door.known(organization)
	if who.operator { // he has the switch, and the rates are for others
		return o, nil
	}
	if !o.Enabled {
		return o, relay.Refuse(relay.CodeDenied, "organization %q is off: %s; nothing was stored", o.Name, cmp.Or(o.Why, "no reason was given")).Because(relay.RefusedOff)
	}
	return o, e.door.meter(c, o, who)
}

// meter takes one request from what the organization and the sender may send. A
// request that one of them cannot send costs the other nothing.
func (d *door) meter(c echo.Context, o relay.Organization, who speaker) error {
	now, sender := d.now(), senderName(c, who)
	ofAll := relay.Rate{PerSecond: cmp.Or(o.Rate.PerSecond, d.Rate.PerSecond), Burst: cmp.Or(o.Rate.Burst, d.Rate.Burst)}
	ofOne := relay.Rate{PerSecond: cmp.Or(o.Rate.SenderPerSecond, d.Rate.SenderPerSecond), Burst: cmp.Or(o.Rate.SenderBurst, d.Rate.SenderBurst)}
	var limits rateLimits
	if ofOne.PerSecond > 0 {
		a := d.senders.Take(o.Name+"\x00"+sender, ofOne, now)
		limits.add("sender", a)
		if a.Wait > 0 {
			return limits.refuse(c, a.Wait, "this sender has sent more than its organization allows for one")
		}
	}
	if ofAll.PerSecond > 0 {
		a := d.organizations.Take(o.Name, ofAll, now)
		limits.add("organization", a)
		if a.Wait > 0 {
			if ofOne.PerSecond > 0 {
				d.senders.PutBack(o.Name + "\x00" + sender)
			}
			return limits.refuse(c, a.Wait, "the senders of organization "+quoted(o.Name)+" have sent more than it may")
		}
	}
	limits.write(c.Response().Header())
	return nil
}

func quoted(s string) string { return `"` + s + `"` }

// senderName tells senders apart: by certificate, else by name, else by address.
func senderName(c echo.Context, who speaker) string {
	return cmp.Or(who.Fingerprint, who.Name, clientAddress(c.Request()))
}

// full gives a sender whose queue is full the status that was chosen for it.
func (d *door) full(err error) error {
	if d.QuotaStatus != http.StatusTooManyRequests || relay.CodeOf(err) != relay.CodeQuotaFull {
		return err
	}
	known := relay.AsError(err)
	known.Code, known.RetryAfter = relay.CodeTooManyRequests, cmp.Or(known.RetryAfter, time.Minute)
	return known
}
