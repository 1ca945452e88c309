package cmd

import (
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/deliveries"
)

// delivered is a drain's own record of its deliveries, if it keeps one.
type delivered struct {
	record *deliveries.Record
	log    zerolog.Logger
}

// openDelivered opens the record in the state directory, which is locked.
func openDelivered(c Config, log zerolog.Logger) (delivered, error) {
	d := delivered{log: log}
	if c.Limits.DeliveryWindow == 0 {
		return d, nil
	}
	var err error
	d.record, err = deliveries.Open(deliveries.Options{Dir: filepath.Join(c.StateDir, "deliveries"), Window: c.Limits.DeliveryWindow, Now: time.Now, Log: log})
	return d, err
}

// seam is the record as a worker sees it; nil: none is kept.
func (d delivered) seam() relay.Deliveries {
	if d.record == nil {
		return nil
	}
	return d.record
}

func (d delivered) close() {
	if d.record == nil {
		return
	}
	if err := d.record.Close(); err != nil {
		d.log.Warn().Err(err).Msg("the record of deliveries may not be on the disk")
	}
}
