package broker

import "github.com/theforeman/foreman-relay/relay"

// queues are all queues by token, as they are now.
func (b *Broker) queues() map[string]relay.Queue { return b.byToken.all() }

func (b *Broker) addQueue(q relay.Queue) {
	b.byToken.put(q.Token(), q)
	b.known.put(q, true)
}

// queuesOf are the queues that an organization has, or is to have: one for each
// destination in use.
func (b *Broker) queuesOf(organization string) []relay.Queue {
	var all []relay.Queue
	for _, d := range destinations(b.options.Queues) {
		all = append(all, relay.Queue{Organization: organization, Destination: d})
	}
	return all
}
