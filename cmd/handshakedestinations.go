package cmd

import (
	"errors"
	"maps"
	"slices"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/seal"
)

// joinDestinations adds the destinations of Foreman's document to those of the
// configuration, which has the last word, and returns all queues. What cannot be
// used keeps the relay from nothing: it is logged and left out.
func (s *server) joinDestinations(document relay.Handshake) []relay.Queue {
	all := map[string]Destination{}
	maps.Copy(all, s.config.Destinations)
	s.joined = map[string]relay.HandshakeDestination{}
	for _, name := range slices.Sorted(maps.Keys(document.Destinations)) {
		if _, configured := all[name]; configured {
			continue
		}
		if err := s.join(name, document.Destinations[name], all); err != nil {
			s.log.Error().Err(err).Str("destination", name).Msg("a destination of the handshake is of no use to this relay; it is left out")
		}
	}
	s.config.Destinations = all
	return s.config.queues()
}

// join takes one destination up: with queues, and, where this process delivers,
// with what delivers from them.
func (s *server) join(name string, wanted relay.HandshakeDestination, all map[string]Destination) error {
	if err := checkMoreDestination(name); err != nil {
		return err
	}
	d := Destination{outward: true}
	if s.delivers() && wanted.URL != "" {
		d.URL = wanted.URL
		service, err := d.service(name)
		if err != nil {
			return err
		}
		s.outlets = append(s.outlets, d.outlet(name, service))
	}
	all[name], s.joined[name] = d.filled(), wanted
	return nil
}

// delivers says whether URLs of a document are delivered to from here. An edge that
// waits for drains and has nothing to deliver holds no key and calls nobody, and a
// document does not change that.
func (s *server) delivers() bool { return len(s.outlets) > 0 || s.config.Broker.Listen == "" }

// known are the queues that take messages: not those of a destination that the
// document has for other organizations.
func (s *server) known(q relay.Queue) bool {
	d, joined := s.joined[q.Destination]
	return s.broker.Known(q) && (!joined || d.Serves(q.Organization))
}

// credential is what the document has sealed for a queue.
func (s *server) credential(q relay.Queue) string { return s.handshaker.Credential(q) }

func checkMoreDestination(name string) error {
	if name == relay.ForemanDestination {
		return errors.New("Foreman itself is configured where it is delivered, not in its document")
	}
	return broker.CheckQueue(relay.Queue{Organization: relay.DefaultOrganization, Destination: name})
}

func checkMoreDestinations(destinations map[string]relay.HandshakeDestination) (found []relay.Violation) {
	for _, name := range slices.Sorted(maps.Keys(destinations)) {
		err := checkMoreDestination(name)
		if url := destinations[name].URL; err == nil && url != "" {
			d := Destination{Reach: Reach{URL: url}, outward: true}
			if service, wrong := d.service(name); wrong == nil {
				service.Close()
			} else {
				err = wrong
			}
		}
		if err != nil {
			found = append(found, relay.Violation{Pointer: relay.JSONPointer("destinations", name), Message: err.Error()})
		}
	}
	return found
}

// checkSealed looks at what can be seen of it without the key.
func checkSealed(credentials []relay.SealedCredential) (found []relay.Violation) {
	for _, c := range credentials {
		file, ok := c.File()
		if !ok { // told already
			continue
		}
		if err := seal.CheckFile(file); err != nil {
			found = append(found, relay.Violation{Pointer: relay.JSONPointer("credentials", c.Organization, c.Destination), Message: err.Error()})
		}
	}
	return found
}
