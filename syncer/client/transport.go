package client

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

const (
	stall  = time.Minute     // how long a body may bring nothing
	answer = 2 * time.Minute // how long the first byte of an answer may take

	dialTimeout      = 15 * time.Second
	handshakeTimeout = 20 * time.Second
	idleTimeout      = 2 * time.Minute

	maxIdle        = 8
	maxHeaderBytes = 64 << 10
	bufferLen      = 64 << 10
)

// newTransport returns a transport of HTTP/1.1. One request has a connection to
// itself: what waits for news is not held up by what moves chunks at a limited
// rate, and neither are probes of whether the other end lives, which are TCP's.
// HTTP/2 puts all of that into one stream of bytes, and works more for each: on
// loopback, with the largest windows, both ends together took 2.9 to 3.1 s of
// processor for a GiB by four requests at a time, where HTTP/1.1 took 2.0 to
// 2.1 s, and was as fast or faster (BenchmarkFetch).
func newTransport(config *tls.Config, m *meter) *http.Transport {
	dialer := &net.Dialer{
		Timeout: dialTimeout,
		// A dead connection is noticed within half a minute.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return newConn(c, m), nil
		},
		TLSClientConfig:        config.Clone(),
		TLSHandshakeTimeout:    handshakeTimeout,
		Protocols:              protocols,
		DisableCompression:     true, // chunks are compressed, and what grows without bounds is not wanted
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ReadBufferSize:         bufferLen,
		WriteBufferSize:        bufferLen,
	}
}
