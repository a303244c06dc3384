package exchange

import (
	"context"
	"errors"
	"slices"

	"satchel/layers"
	"satchel/layers/manifest"
	"satchel/store"
	"satchel/store/deflate"
	"satchel/store/delta"
	"satchel/syncer"
)

// Limits of planning. What exceeds them moves whole.
const (
	maxPlanned   = 1 << 17  // files that differ
	maxLooked    = 1 << 21  // extents of those
	leastLook    = 16 << 10 // bytes of new files for which a whole tree is looked through
	maxAlone     = 8 << 20  // bytes of new files that are like no older one
	together     = 1 << 20  // bytes of those in one pair
	leastTarget  = 64       // bytes; a smaller target is not worth a pair
	leastSlack   = 32 << 10 // bytes of a base beyond twice the target
	mostLead     = 1 << 20  // bytes of an archive before a run, in a target for its sake
	pairsRequest = 4 << 20  // bytes of targets in one request, and a pair's more
)

// A pairing is a pair and the sizes of its target's chunks.
type pairing struct {
	syncer.Pair
	pieces   []piece       // of the target, but for its lead
	size     int           // bytes of the target
	base     int           // bytes of the base
	contents bool          // of files, not manifests
	sketch   syncer.Sketch // where the base lacks much of the target
}

// sizeOf returns how many chunks the targets of pairs are, and their bytes.
func sizeOf(pairs []pairing) (chunks, size int) {
	for i := range pairs {
		chunks += len(pairs[i].Target)
		size += pairs[i].size
	}
	return chunks, size
}

// piecesOf returns the chunks of the targets of pairs.
func piecesOf(pairs []pairing) (ps []piece) {
	for i := range pairs {
		ps = append(ps, pairs[i].pieces...)
	}
	return ps
}

// A planner finds what a tree's new contents may be made of: for each file that
// differs, runs of chunks that are wanted, and beside each the part of an older
// file that is most like it.
type planner struct {
	get  store.Getter
	want func(context.Context, []store.ID) ([]bool, error) // nil: all that the old files lack
	emit func(pairing)
	done idSet // chunks in pairs, or that need none

	alone int64   // bytes of files that are like nothing
	rest  []place // chunks of those
}

// trees plans the way from one tree to another.
func (p *planner) trees(ctx context.Context, from, to layers.Root) error {
	var files []manifest.Change // with a new file
	old := &bases{paths: map[string]*layers.Entry{}, names: map[string]*layers.Entry{}, chunks: map[store.ID]*layers.Entry{}}
	looked := 0
	for c, err := range manifest.Diff(ctx, p.get, from, to) {
		if err != nil {
			return err
		}
		if c.From != nil && c.From.Type == layers.Regular {
			old.add(c.From, c.To != nil)
			looked += len(c.From.Extents)
		}
		if c.To != nil && c.To.Type == layers.Regular && (c.From == nil || !c.From.SameContent(c.To)) {
			files = append(files, c)
			looked += len(c.To.Extents)
		}
		if len(files) == maxPlanned || looked > maxLooked {
			break
		}
	}
	for id := range old.chunks {
		p.done.add(id)
	}
	if err := p.look(ctx, from, files, old); err != nil {
		return err
	}
	for _, c := range files {
		base := c.From
		if base == nil || base.Type != layers.Regular || base.Size == 0 {
			base = old.like(c.To)
		}
		if base == nil {
			base = &layers.Entry{}
			if p.alone += c.To.Size; p.alone > maxAlone {
				continue
			}
		}
		if err := p.file(ctx, base, c.To); err != nil {
			return err
		}
	}
	p.gather()
	return nil
}

// gather makes pairs without a base of what is like nothing: many small files
// are coded shorter together.
func (p *planner) gather() {
	for len(p.rest) > 0 {
		n, size := 0, 0
		for n < len(p.rest) && n < syncer.MaxPairTarget && (n == 0 || size+p.rest[n].len <= together) {
			size += p.rest[n].len
			n++
		}
		p.emit(pairOf(nil, nil, p.rest[:n]))
		p.rest = p.rest[n:]
	}
}

// A place is a chunk and where in its file it lies.
type place struct {
	id     store.ID
	offset int64
	len    int
}

// placesOf returns the chunks of a file in order.
func placesOf(e *layers.Entry) []place {
	places := make([]place, 0, len(e.Extents))
	var offset int64
	for _, x := range e.Extents {
		if !x.ID.IsZero() {
			places = append(places, place{x.ID, offset, int(x.Len)})
		}
		offset += x.Len
	}
	return places
}

// file pairs runs of a file's wanted chunks with runs of an older file's. A run
// lies between chunks that both have, or reaches to an end of the file; so do
// the parts of the older one.
func (p *planner) file(ctx context.Context, old, file *layers.Entry) error {
	from, to := placesOf(old), placesOf(file)
	want, err := p.wanted(ctx, to)
	if err != nil {
		return err
	}
	at := make(map[store.ID]int, len(from))
	for i, c := range from {
		at[c.id] = i
	}
	after := 0 // in from, of the last chunk in common
	for i := 0; i < len(to); {
		if k, ok := at[to[i].id]; ok {
			after = k + 1
		}
		if !want[i] {
			i++
			continue
		}
		n := 1
		for i+n < len(to) && want[i+n] {
			n++
		}
		before := len(from)
		for j := i + n; j < len(to); j++ {
			if k, ok := at[to[j].id]; ok {
				before = k
				break
			}
		}
		if before < after {
			before = after
		}
		lead, err := p.lead(ctx, from, at, to[:i])
		if err != nil {
			return err
		}
		p.cut(from, after, before, lead, to[i:i+n])
		i += n
	}
	return nil
}

// wanted tells which of the chunks are to be in a pair, and notes that they are.
func (p *planner) wanted(ctx context.Context, to []place) ([]bool, error) {
	want := make([]bool, len(to))
	var ask []store.ID
	var at []int
	for i, c := range to {
		if p.done.add(c.id) {
			want[i] = true
			ask, at = append(ask, c.id), append(at, i)
		}
	}
	if p.want == nil {
		return want, nil
	}
	for len(ask) > 0 {
		n := min(len(ask), pageIDs)
		answer, err := p.want(ctx, ask[:n])
		if err != nil {
			return nil, err
		}
		for i, yes := range answer {
			want[at[i]] = yes
		}
		ask, at = ask[n:], at[n:]
	}
	return want, nil
}

// lead returns the chunks right before a run of an archive that the older one has,
// too. With them in the target the stream in which the run begins can be opened.
func (p *planner) lead(ctx context.Context, older []place, at map[store.ID]int, before []place) ([]place, error) {
	first, size := len(before), 0
	for first > 0 && size+before[first-1].len <= mostLead {
		if _, ok := at[before[first-1].id]; !ok {
			break
		}
		first--
		size += before[first].len
	}
	if first == len(before) {
		return nil, nil
	}
	b, err := p.get.Get(ctx, older[0].id)
	if errors.Is(err, store.ErrNotExist) || errors.Is(err, store.ErrCorrupt) || err == nil && !deflate.Begins(b) {
		return nil, nil
	}
	return before[first:], err
}

// cut makes pairs of a run, which lies where from[after:before] did. The first has
// the lead in its target, too.
func (p *planner) cut(from []place, after, before int, lead, run []place) {
	if len(from) == 0 {
		p.rest = append(p.rest, run...)
		return
	}
	whole := bytesOf(run)
	gap := bytesOf(from[after:before])
	start := int64(0)
	if after < len(from) {
		start = from[after].offset
	} else {
		start = from[len(from)-1].offset + int64(from[len(from)-1].len)
	}
	var done int64
	for len(run) > 0 {
		n, size := 0, 0
		for n < len(run) && n < syncer.MaxPairTarget && size+run[n].len <= delta.MaxTarget {
			size += run[n].len
			n++
		}
		if size >= leastTarget {
			// The same share of the way through the older part.
			low := start + int64(float64(gap)*float64(done)/float64(whole))
			high := start + int64(float64(gap)*float64(done+int64(size))/float64(whole))
			if len(lead)+n > syncer.MaxPairTarget || bytesOf(lead)+int64(size) > deflate.MaxRun {
				lead = nil
			}
			low = max(low-bytesOf(lead), 0)
			p.emit(pairOf(around(from, low, high, 2*(size+int(bytesOf(lead)))+leastSlack), lead, run[:n]))
			lead = nil
		}
		done += int64(size)
		run = run[n:]
	}
}

func bytesOf(places []place) (n int64) {
	for _, c := range places {
		n += int64(c.len)
	}
	return n
}

// around returns the chunks from low to high, and as many on both sides of them
// as make up size bytes, within the limits of a base.
func around(from []place, low, high int64, size int) []place {
	first := max(0, upTo(from, low+1)-1) // the chunk that holds low
	last := max(first, upTo(from, high)) // after the one that holds high-1
	total := int(bytesOf(from[first:last]))
	for total > delta.MaxBase || last-first > syncer.MaxPairBase {
		last--
		total -= from[last].len
	}
	for total < size {
		grown := false
		if first > 0 && total+from[first-1].len <= delta.MaxBase && last-first < syncer.MaxPairBase {
			first--
			total += from[first].len
			grown = true
		}
		if last < len(from) && total+from[last].len <= delta.MaxBase && last-first < syncer.MaxPairBase {
			total += from[last].len
			last++
			grown = true
		}
		if !grown {
			break
		}
	}
	return from[first:last]
}

// upTo returns how many chunks begin before an offset.
func upTo(places []place, offset int64) int {
	n, _ := slices.BinarySearchFunc(places, offset, func(c place, at int64) int {
		if c.offset < at {
			return -1
		}
		return 1
	})
	return n
}

// pairOf pairs a base with a target: a run, after its lead if it has one.
func pairOf(base, lead, run []place) pairing {
	p := pairing{contents: true}
	for i, c := range base {
		if i == 0 {
			p.BaseOffset = c.offset
		}
		p.Base = append(p.Base, c.id)
		p.base += c.len
	}
	for i, c := range slices.Concat(lead, run) {
		if i == 0 {
			p.Offset = c.offset
		}
		p.Target = append(p.Target, c.id)
		p.size += c.len
		if i >= len(lead) {
			p.pieces = append(p.pieces, piece{c.id, int64(c.len)})
		}
	}
	return p
}
