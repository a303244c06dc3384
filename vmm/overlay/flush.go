package overlay

import (
	"encoding/binary"
	"fmt"
)

// A flush is one that some callers wait for.
type flush struct {
	done chan struct{}
	err  error
}

// Flush returns when all that was written before survives a power cut. Callers
// that come while one is at work share the next one.
func (d *Disk) Flush() error {
	d.mu.Lock()
	f := d.waiting
	leads := f == nil
	if leads {
		f = &flush{done: make(chan struct{})}
		d.waiting = f
	}
	d.mu.Unlock()
	if leads {
		d.flushing.Lock()
		d.mu.Lock()
		d.waiting = nil
		d.mu.Unlock()
		f.err = d.flush()
		d.flushing.Unlock()
		close(f.done)
	}
	<-f.done
	return f.err
}

// flush makes the data durable, and then the bits of blocks whose data was
// written before that began. Where the data failed, all flushes fail from then on:
// the host takes what it could not write for written, so that a further sync would
// succeed without it. The map is written again.
func (d *Disk) flush() error {
	if d.lost != nil {
		return d.lost
	}
	d.early.flushed()
	found := d.fresh.take()
	if err := d.data.Datasync(); err != nil {
		d.lost = fmt.Errorf("flush disk: %w", err)
		return d.lost
	}
	if len(found) == 0 {
		return nil
	}
	if err := d.writeMap(found); err != nil {
		for _, f := range found {
			d.fresh.add(f.word, f.bits)
		}
		return fmt.Errorf("flush disk: %w", err)
	}
	return nil
}

// writeMap adds bits to the map's file and makes them durable. Only pages that
// gain a bit are written, each once, and what they held comes from the file: the
// map in memory has bits that must not be durable yet.
func (d *Disk) writeMap(found []freshWord) error {
	var page [BlockSize]byte
	for len(found) > 0 {
		p := found[0].word / pageWords
		off := headerSize + p*BlockSize
		if n, err := d.file.ReadAt(page[:], off); n < len(page) {
			return fmt.Errorf("read map: %w", err)
		}
		for ; len(found) > 0 && found[0].word/pageWords == p; found = found[1:] {
			at := page[found[0].word%pageWords*8:]
			binary.LittleEndian.PutUint64(at, binary.LittleEndian.Uint64(at)|found[0].bits)
		}
		if _, err := d.file.WriteAt(page[:], off); err != nil {
			return fmt.Errorf("write map: %w", err)
		}
	}
	return d.file.Datasync()
}
