package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"satchel/layers/manifest"
	"satchel/store"
	"satchel/store/pack"
	"satchel/syncer"
	"satchel/syncer/wire"
)

// How much of an upload is taken before it is made durable, so that a device
// whose connection breaks need not send it again.
const (
	uploadChunks = 32 << 10
	uploadBytes  = 256 << 20
)

// upload takes chunks from a device.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, d caller) error {
	layer, err := s.layer(r, d, syncer.Write)
	if err != nil {
		return err
	}
	done, err := s.transfers.begin(r.Context(), d.Name)
	if err != nil {
		return err
	}
	defer done()
	defer s.guard(r, d, layer, syncer.Write)()
	wr, err := s.store.Begin(r.Context(), "upload from "+d.Name)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	defer wr.Close()
	// What has arrived is kept even when the device is gone.
	u := &uploading{server: s, ctx: context.WithoutCancel(r.Context()), device: d, layer: layer, writer: wr}
	err = u.receive(wire.NewReader(r.Body))
	if kept := u.keep(); err == nil {
		err = kept
	}
	if cause := context.Cause(r.Context()); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return err
	}
	writeJSON(w, struct {
		Chunks int64 `json:"chunks"`
	}{u.total})
	return nil
}

// uploading is an upload under way.
type uploading struct {
	server *Server
	ctx    context.Context
	device caller
	layer  store.LayerID
	writer store.Writer
	view   *view // made when a pair comes

	plain []byte     // of the last frame
	ids   []store.ID // not noted yet, in the form in which they will be
	bytes int        // of those
	total int64      // chunks
}

// receive takes frames and deltas to the end of the stream.
func (u *uploading) receive(stream *wire.Reader) error {
	for {
		rec, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if rest, ok := stream.Rest(); ok {
				if err := u.frame(rest.Frame()); err != nil {
					return err
				}
			}
			return streamError(err)
		}
		switch rec.Type {
		case wire.Frame:
			err = u.frame(rec.Frame())
		case wire.Pair:
			err = u.pair(rec, stream)
		default:
			err = fmt.Errorf("upload of a record of type %d: %w", rec.Type, syncer.ErrMalformed)
		}
		if err != nil {
			return err
		}
		if len(u.ids) >= uploadChunks || u.bytes >= uploadBytes {
			if err := u.keep(); err != nil {
				return err
			}
		}
	}
}

// frame takes one frame, and sees which of its chunks are manifests.
func (u *uploading) frame(frame []byte) error {
	content, err := pack.DecodeFrame(frame, u.plain[:0])
	if err == nil {
		u.plain, err = content.Data, content.Damage
	}
	var ids []store.ID
	if err == nil {
		ids, err = u.writer.PutFrame(u.ctx, frame)
	}
	if errors.Is(err, store.ErrCorrupt) {
		return fmt.Errorf("%w: %w", syncer.ErrForged, err)
	}
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	rest := content.Data
	for i, id := range ids {
		u.note(id, rest)
		rest = rest[content.Lens[i]:]
	}
	u.count(len(ids), len(frame))
	return nil
}

// note notes a chunk, the first bytes of which tell whether it is a manifest.
func (u *uploading) note(id store.ID, data []byte) {
	f := asContents
	if bytes.HasPrefix(data, []byte(manifest.Magic)) {
		f = asManifest
	}
	u.ids = append(u.ids, noted(f, id))
}

func (u *uploading) count(chunks, moved int) {
	u.bytes += moved
	u.total += int64(chunks)
	u.server.metrics.moved(in, moved)
	u.server.metrics.chunks.WithLabelValues(in).Add(float64(chunks))
}

// pair takes a pair and the delta that comes after it.
func (u *uploading) pair(rec wire.Record, stream *wire.Reader) error {
	p, err := rec.Pair()
	if err != nil {
		return err
	}
	if err := u.sees(p.Sources()); err != nil {
		return err
	}
	if rec, err = stream.Next(); err != nil && !errors.Is(err, io.EOF) {
		return streamError(err)
	}
	if err != nil || rec.Type != wire.Delta {
		return fmt.Errorf("a pair without its delta: %w", syncer.ErrMalformed)
	}
	_, d, err := rec.Delta()
	if err != nil {
		return err
	}
	err = u.server.codec.Apply(u.ctx, &p, d, func(chunks [][]byte) error {
		ids, err := u.writer.Put(u.ctx, chunks...)
		for i := range ids {
			u.note(ids[i], chunks[i])
		}
		return err
	})
	if errors.Is(err, store.ErrCorrupt) && !errors.Is(err, syncer.ErrForged) {
		return damaged(err)
	}
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	u.count(len(p.Target), len(d.Data))
	return nil
}

// sees checks that the device may see all that a delta is made from. A chunk that it may not
// see is, to it, not there.
func (u *uploading) sees(ids []store.ID) (err error) {
	if u.view == nil {
		if u.view, err = u.server.view(u.ctx, u.device, u.layer); err != nil {
			return err
		}
	}
	return u.view.holds(u.ctx, ids)
}

// keep makes durable what has arrived, and only then notes who has shown to
// hold it.
func (u *uploading) keep() error {
	if len(u.ids) == 0 {
		return nil
	}
	if err := u.writer.Flush(u.ctx); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	if err := u.server.registry.Uploaded(u.ctx, u.device.Name, u.ids); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	u.ids, u.bytes = u.ids[:0], 0
	return nil
}
