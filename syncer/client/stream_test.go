package client

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	"satchel/store"
	"satchel/syncer"
	"satchel/syncer/wire"
)

func TestStreams(t *testing.T) {
	var uploaded [][]byte
	f := serve(t, func(w http.ResponseWriter, r *http.Request) {
		in := wire.NewReader(r.Body)
		switch r.URL.Path {
		case "/v1/" + layerPath(aLayer, "fetch"):
			rec, err := in.Next()
			if err != nil {
				t.Error(err)
				return
			}
			ids := rec.IDs()
			streamTo(w, func(out *wire.Writer) {
				for _, id := range ids {
					_ = out.Frame(bytes.Repeat(id[:], 1000))
				}
				_ = out.Close()
			})
		case "/v1/" + layerPath(aLayer, "offer"):
			rec, err := in.Next()
			if err != nil {
				t.Error(err)
				return
			}
			want := make([]bool, len(rec.IDs()))
			want[1] = true
			streamTo(w, func(out *wire.Writer) { _ = out.Wants(want); _ = out.Close() })
		case "/v1/" + layerPath(aLayer, "upload"):
			for {
				rec, err := in.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return
				}
				uploaded = append(uploaded, bytes.Clone(rec.Frame()))
			}
			w.Header().Set("Content-Type", mediaJSON)
			_, _ = io.WriteString(w, `{"chunks":2}`)
		}
	})
	c := f.client(t, 0)
	ids := []store.ID{{1}, {2}, {3}}

	var got []byte
	err := c.Fetch(t.Context(), aLayer, ids, func(frame []byte) error {
		got = append(got, frame[0])
		return nil
	})
	if err != nil || !bytes.Equal(got, []byte{1, 2, 3}) {
		t.Errorf("fetch: %v, %v", got, err)
	}
	if err := c.Fetch(t.Context(), aLayer, ids, func([]byte) error { return errSender }); !errors.Is(err, errSender) {
		t.Errorf("fetch whose receiver fails: %v", err)
	}
	want, err := c.Offer(t.Context(), aLayer, ids)
	if err != nil || len(want) != 3 || want[0] || !want[1] || want[2] {
		t.Errorf("offer: %v, %v", want, err)
	}
	if err := c.Fetch(t.Context(), aLayer, make([]store.ID, syncer.MaxIDs+1), nil); !errors.Is(err, syncer.ErrTooLarge) {
		t.Errorf("fetch of too many: %v", err)
	}
	large := bytes.Repeat([]byte("x"), 1<<20)
	err = c.Upload(t.Context(), aLayer, func(emit func([]byte) error) error {
		return errors.Join(emit([]byte("small")), emit(large))
	})
	if err != nil || len(uploaded) != 2 || string(uploaded[0]) != "small" || !bytes.Equal(uploaded[1], large) {
		t.Errorf("upload of %d frames: %v", len(uploaded), err)
	}
	err = c.Upload(t.Context(), aLayer, func(emit func([]byte) error) error {
		return errors.Join(emit(large), errSender)
	})
	if !errors.Is(err, errSender) || errors.Is(err, syncer.ErrUnavailable) {
		t.Errorf("upload whose sender fails: %v", err)
	}
}

// TestUploadIsRefusedWithin has a server refuse after the first frame.
func TestUploadIsRefusedWithin(t *testing.T) {
	f := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := wire.NewReader(r.Body).Next(); err != nil {
			t.Error(err)
		}
		refuse(w, syncer.ErrForged)
	})
	frames := 0
	err := f.client(t, 0).Upload(t.Context(), aLayer, func(emit func([]byte) error) error {
		for ; ; frames++ {
			if err := emit(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, syncer.ErrForged) || frames == 0 {
		t.Errorf("after %d frames: %v", frames, err)
	}
}

// TestFetchIsCut has streams end at places where they should not.
func TestFetchIsCut(t *testing.T) {
	var whole bytes.Buffer
	out := wire.NewWriter(&whole)
	for range 3 {
		if err := out.Frame(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	for _, abort := range []bool{false, true} {
		for _, n := range []int{0, 4, 8, 500, 1013, 2500, whole.Len() - 1} {
			f := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", wire.MediaType)
				_, _ = w.Write(whole.Bytes()[:n])
				w.(http.Flusher).Flush()
				if abort {
					panic(http.ErrAbortHandler)
				}
			})
			frames := 0
			err := f.client(t, 0).Fetch(t.Context(), aLayer, make([]store.ID, 1), func([]byte) error { frames++; return nil })
			if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syncer.ErrUnavailable) {
				t.Errorf("cut after %d bytes, aborted %t: %v", n, abort, err)
			}
			if want := max(0, n-8) / 1005; frames != want {
				t.Errorf("cut after %d bytes: %d frames, want %d", n, frames, want)
			}
		}
	}
}

// TestHostileStreams has servers answer with streams that are not what was asked.
func TestHostileStreams(t *testing.T) {
	for _, test := range []struct {
		name string
		body []byte
		want error
	}{
		{"huge length", []byte("SLWS\x01\x00\x00\x00\x02\xff\xff\xff\xff"), syncer.ErrTooLarge},
		{"other magic", []byte("HTTP\x01\x00\x00\x00"), syncer.ErrMalformed},
		{"other version", []byte("SLWS\x02\x00\x00\x00"), syncer.ErrProtocol},
		{"IDs", []byte("SLWS\x01\x00\x00\x00\x01\x00\x00\x00\x00"), syncer.ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", wire.MediaType)
				_, _ = w.Write(test.body)
			})
			c := f.client(t, 0)
			if err := c.Fetch(t.Context(), aLayer, make([]store.ID, 1), func([]byte) error { return nil }); !errors.Is(err, test.want) {
				t.Errorf("fetch: got %v, want %v", err, test.want)
			}
			if _, err := c.Offer(t.Context(), aLayer, make([]store.ID, 1)); !errors.Is(err, test.want) {
				t.Errorf("offer: got %v, want %v", err, test.want)
			}
		})
	}
}
