package server

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"satchel/store/disk"
	"satchel/syncer"
)

// metrics is what a server counts.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	chunks   *prometheus.CounterVec
	pushes   *prometheus.CounterVec
	deltas   *prometheus.CounterVec

	mu      sync.Mutex
	devices map[string]int // requests under way
}

// The directions of frames.
const (
	in  = "in"
	out = "out"
)

func newMetrics(st *disk.Store) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), devices: map[string]int{}}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "satchel_" + name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	m.requests = counter("requests_total", "Requests answered.", "route", "code")
	m.bytes = counter("frame_bytes_total", "Bytes of pack frames received and sent.", "direction")
	m.chunks = counter("chunks_total", "Chunks received and sent.", "direction")
	m.pushes = counter("pushes_total", "Pushes by outcome: ok, or the code of the refusal. Of those with code moved, devices merge and push again.", "outcome")
	m.deltas = counter("deltas_total", "Deltas sent: made for it, or made before.", "source")
	m.duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "satchel_request_seconds", Help: "How long requests took.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
	}, []string{"route"})
	connected := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "satchel_devices_connected", Help: "Devices with a request under way.",
	}, func() float64 {
		m.mu.Lock()
		defer m.mu.Unlock()
		return float64(len(m.devices))
	})
	m.registry.MustRegister(m.duration, connected, &storeCollector{store: st},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Metrics serves what Prometheus reads, without a token.
func (s *Server) Metrics() http.Handler {
	return promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(route).Observe(took.Seconds())
}

// moved counts a frame.
func (m *metrics) moved(direction string, bytes int) {
	m.bytes.WithLabelValues(direction).Add(float64(bytes))
}

// delta counts a delta that is sent.
func (m *metrics) delta(made bool, bytes int) {
	source := "kept"
	if made {
		source = "made"
	}
	m.deltas.WithLabelValues(source).Inc()
	m.moved(out, bytes)
}

// pushed counts a push.
func (m *metrics) pushed(err error) {
	outcome := "ok"
	if err != nil {
		e, _ := syncer.ToError(err)
		outcome = e.Code
	}
	m.pushes.WithLabelValues(outcome).Inc()
}

// connected counts a device for as long as it has requests under way.
func (m *metrics) connected(device string) (done func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.devices[device]++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.devices[device]--; m.devices[device] == 0 {
			delete(m.devices, device)
		}
	}
}

// statsEvery is how long the store's numbers are good for: adding them up goes
// through its whole index.
const statsEvery = time.Minute

// storeCollector tells how much the store holds.
type storeCollector struct {
	store *disk.Store

	mu    sync.Mutex
	at    time.Time
	stats disk.Stats
}

var storeNumbers = []struct {
	desc  *prometheus.Desc
	value func(disk.Stats) int64
}{
	{storeDesc("layers", "Layers."), func(s disk.Stats) int64 { return s.Layers }},
	{storeDesc("chunks", "Chunks."), func(s disk.Stats) int64 { return s.Chunks }},
	{storeDesc("packs", "Pack files."), func(s disk.Stats) int64 { return s.Packs }},
	{storeDesc("unique_bytes", "Plaintext bytes of all chunks."), func(s disk.Stats) int64 { return s.UniqueBytes }},
	{storeDesc("stored_bytes", "Bytes of all packs."), func(s disk.Stats) int64 { return s.StoredBytes }},
	{storeDesc("index_bytes", "Bytes of the index."), func(s disk.Stats) int64 { return s.IndexBytes }},
	{storeDesc("condemned_chunks", "Chunks that gc will remove."), func(s disk.Stats) int64 { return s.Condemned }},
	{storeDesc("leases", "Leases that are alive."), func(s disk.Stats) int64 { return s.Leases }},
}

func storeDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("satchel_store_"+name, help, nil, nil)
}

// Describe implements [prometheus.Collector].
func (c *storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, n := range storeNumbers {
		ch <- n.desc
	}
}

// Collect implements [prometheus.Collector].
func (c *storeCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) > statsEvery {
		stats, err := c.store.Stats(context.Background())
		if err != nil {
			ch <- prometheus.NewInvalidMetric(storeNumbers[0].desc, err)
			return
		}
		c.stats, c.at = stats, time.Now()
	}
	for _, n := range storeNumbers {
		ch <- prometheus.MustNewConstMetric(n.desc, prometheus.GaugeValue, float64(n.value(c.stats)))
	}
}
