package handlers

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/theforeman/foreman-relay/relay"
)

// StorageCollector shows disk and store at every scrape.
type StorageCollector struct {
	storage func() relay.Storage
	free    *prometheus.Desc
	reserve *prometheus.Desc
	low     *prometheus.Desc
	broken  *prometheus.Desc
	starts  *prometheus.Desc
	waiting *prometheus.Desc
	most    *prometheus.Desc
}

// NewStorageCollector collects what storage says, which must not wait for a disk.
func NewStorageCollector(storage func() relay.Storage) *StorageCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("foreman_relay_"+name, help, nil, nil)
	}
	return &StorageCollector{storage: storage,
		free:    desc("disk_free_bytes", "Free space of the state directory's filesystem."),
		reserve: desc("disk_reserve_bytes", "Free space below which nothing new is accepted."),
		low:     desc("disk_low", "1 while there is less than the reserve and senders get 507."),
		broken:  desc("store_broken", "1 while the store does not write or the disk does not answer."),
		starts:  desc("store_restarts_total", "Starts of the store within the process, after a write that failed."),
		waiting: desc("disk_waiting", "Requests that wait for the disk."),
		most:    desc("disk_waiting_most", "Requests that may wait for the disk at one time.")}
}

// Describe implements prometheus.Collector.
func (c *StorageCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.free, c.reserve, c.low, c.broken, c.starts, c.waiting, c.most} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *StorageCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.storage()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	flag := func(d *prometheus.Desc, on bool) {
		if on {
			gauge(d, 1)
			return
		}
		gauge(d, 0)
	}
	gauge(c.free, float64(s.FreeBytes))
	gauge(c.reserve, float64(s.ReserveBytes))
	flag(c.low, s.Low)
	flag(c.broken, !s.Writable)
	gauge(c.waiting, float64(s.Waiting))
	gauge(c.most, float64(s.WaitingMost))
	ch <- prometheus.MustNewConstMetric(c.starts, prometheus.CounterValue, float64(s.Restarts))
}
