package handlers

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

// takeTimes reads when the message may be delivered, until when, and whether
// before the others. A time to be delivered that is over is no error: the message
// is due, and clocks differ by more than a request takes.
func takeTimes(m *relay.Message, r relay.Route, h http.Header) error {
	var err error
	if m.NotBefore, err = moment(h, headerNotBefore, m.Received); err != nil {
		return err
	}
	if !m.ScheduledAt(m.Received) {
		m.NotBefore = time.Time{}
	}
	if m.Expires, err = moment(h, headerExpires, m.Received); err != nil {
		return err
	}
	priority, err := single(h, headerPriority)
	if err != nil {
		return err
	}
	m.Urgent, err = relay.ParsePriority(priority, r.Urgent)
	return named(headerPriority, err)
}

// moment is the time that a header says; zero where it is not given.
func moment(h http.Header, name string, now time.Time) (time.Time, error) {
	value, err := single(h, name)
	if err != nil || value == "" {
		return time.Time{}, err
	}
	t, err := relay.ParseMoment(value, now)
	if err == nil && t.IsZero() { // a message takes that for none given; it is over, like the moment after it
		t = t.Add(1)
	}
	return t, named(name, err)
}

// named says which header an error is about.
func named(header string, err error) error {
	var refused *relay.Error
	if errors.As(err, &refused) {
		return relay.Refuse(refused.Code, "header %s: %s; nothing was stored", header, refused.Detail)
	}
	return err
}

// accept stores the message, unless its times are wrong. One that was accepted
// before has its receipt all the same: what was good then may be over now, and
// its sender must not take it for refused.
func (e *Edge) accept(c echo.Context, r relay.Route, m *relay.Message) (relay.Receipt, error) {
	ctx := c.Request().Context()
	wrong := m.CheckTimes(m.Received, r.Policy.MaxAge)
	if wrong == nil {
		return e.Intake.Accept(ctx, m)
	}
	if m.Key == "" {
		return relay.Receipt{}, wrong
	}
	receipt, err := e.Intake.Again(ctx, m)
	if relay.CodeOf(err) == relay.CodeNotFound {
		return receipt, wrong
	}
	return receipt, err
}
