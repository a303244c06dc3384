package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

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
	u := &uploading{server: s, ctx: context.WithoutCancel(r.Context()), device: d.Name, writer: wr}
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
	device string
	writer store.Writer

	plain []byte     // of the last frame
	ids   []store.ID // not noted yet, in the form in which they will be
	bytes int        // of those
	total int64      // chunks
}

// receive takes frames to the end of the stream.
func (u *uploading) receive(stream *wire.Reader) error {
	for {
		rec, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return streamError(err)
		}
		if rec.Type != wire.Frame {
			return fmt.Errorf("upload of a record of type %d: %w", rec.Type, syncer.ErrMalformed)
		}
		if err := u.frame(rec.Frame()); err != nil {
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
		f := asContents
		if strings.HasPrefix(string(rest[:min(len(rest), len(manifest.Magic))]), manifest.Magic) {
			f = asManifest
		}
		u.ids = append(u.ids, noted(f, id))
		rest = rest[content.Lens[i]:]
	}
	u.bytes += len(frame)
	u.total += int64(len(ids))
	u.server.metrics.moved(in, len(frame))
	u.server.metrics.chunks.WithLabelValues(in).Add(float64(len(ids)))
	return nil
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
	if err := u.server.registry.Uploaded(u.ctx, u.device, u.ids); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	u.ids, u.bytes = u.ids[:0], 0
	return nil
}
