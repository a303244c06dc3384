package client

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"satchel/store"
	"satchel/syncer/wire"
)

// cpu is the time of processors that both ends have taken so far.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFetch moves frames over the loopback device, by one or more requests
// at a time.
func BenchmarkFetch(b *testing.B) {
	frame := make([]byte, 1<<20)
	const frames = 64
	f := serve(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", wire.MediaType)
		out := wire.NewWriter(w)
		for range frames {
			_ = out.Frame(frame)
		}
		_ = out.Close()
	})
	for _, protocol := range []string{"HTTP1", "HTTP2"} {
		for _, parallel := range []int{1, 4} {
			b.Run(fmt.Sprintf("protocol=%s/parallel=%d", protocol, parallel), func(b *testing.B) {
				c := f.client(b, 0)
				c.http.Protocols.SetHTTP1(protocol == "HTTP1")
				c.http.Protocols.SetHTTP2(protocol == "HTTP2")
				c.http.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerConnection: 4<<20 - 1, MaxReceiveBufferPerStream: 4<<20 - 1, MaxReadFrameSize: 1 << 20}
				b.SetBytes(frames * int64(len(frame)) * int64(parallel))
				before := cpu(b)
				for b.Loop() {
					var group sync.WaitGroup
					for range parallel {
						group.Go(func() {
							if err := c.Fetch(b.Context(), aLayer, make([]store.ID, 1), func([]byte) error { return nil }); err != nil {
								b.Error(err)
							}
						})
					}
					group.Wait()
				}
				moved := float64(b.N) * frames * float64(len(frame)) * float64(parallel)
				b.ReportMetric(float64(cpu(b)-before)/float64(time.Millisecond)/(moved/(1<<30)), "cpu-ms/GiB")
			})
		}
	}
}
