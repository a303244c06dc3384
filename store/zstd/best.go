package zstd

import (
	"math"
	"math/bits"
	"slices"
	"sync"

	"github.com/klauspost/compress/huff0"
)

// passes is how often a block is parsed, each time with the prices of what the
// time before has chosen.
const passes = 2

// A parser finds the cheapest sequences of a block: the shortest way through its
// bytes, where each step is a literal or a match and costs the bits that it takes.
// What those are depends on what is chosen, so it guesses, parses, and parses
// again.
//
// Source of the idea: Storer and Szymanski, "Data compression via textual
// substitution", 1982; for prices that follow the choice, LZMA.
type parser struct {
	encoder
	tree   tree
	reps   [3]uint32 // the last three distances
	prices prices
	found  []found
	from   []int32 // where the matches of each place of a block begin in found
	nodes  []node
}

// A node is the cheapest way to a place that is known.
type node struct {
	price    uint32 // in 1/256 bits
	literals uint32 // since the last match
	length   uint32 // of the match that ends here, or 0
	offset   uint32 // of that, as the format has it
	reps     [3]uint32
}

const unknown = math.MaxUint32

var parsers = sync.Pool{New: func() any { return new(parser) }}

// AppendBest is Append for those who have time: what it appends is a seventh
// smaller, for programs and text, and takes forty times as long.
func AppendBest(dst, src []byte) []byte {
	if len(src) == 0 || len(src) > maxSrc {
		return Append(dst, src)
	}
	p := parsers.Get().(*parser)
	defer parsers.Put(p)
	p.finder.src = src
	p.tree.reset(src)
	p.reps = [3]uint32{1, 4, 8}
	p.prices.guess(src[:min(len(src), blockSize)])
	p.huffman.Reuse, p.huffman.WantLogLess = huff0.ReusePolicyNone, 0
	dst = appendHeader(dst, len(src))
	for at := 0; at < len(src); at += blockSize {
		end := min(at+blockSize, len(src))
		reps := p.reps
		p.search(at, end)
		for range passes {
			p.reps = reps
			p.parse(at, end)
			p.prices.learn(&p.encoder)
		}
		var ok bool
		if dst, ok = p.appendFound(dst, at, end, end == len(src)); !ok {
			p.reps = reps
		}
	}
	return dst
}

// search finds the matches of the places of a block. Within a match that is long
// enough it finds none.
func (p *parser) search(at, end int) {
	p.found, p.from = p.found[:0], p.from[:0]
	long := 0 // where a long match ends
	for i := at; i < end; i++ {
		p.from = append(p.from, int32(len(p.found)))
		if i+4 > len(p.tree.src) {
			continue
		}
		n := len(p.found)
		p.found = p.tree.enter(i, p.found)
		if i < long {
			p.found = p.found[:n]
		}
		if last := len(p.found) - 1; last >= n && p.found[last].length >= enough {
			f := &p.found[last]
			f.length += uint32(matchLength(p.tree.src, i+enough, i+enough-int(f.distance)))
			long = i + int(f.length)
		}
	}
	p.from = append(p.from, int32(len(p.found)))
}

// parse chooses sequences and literals of a block.
func (p *parser) parse(at, end int) {
	n := end - at
	p.nodes = slices.Grow(p.nodes[:0], n+1)[:n+1]
	for i := range p.nodes {
		p.nodes[i].price = unknown
	}
	p.nodes[0] = node{price: p.prices.literals(0), reps: p.reps}
	for i := 0; i < n; {
		i += p.step(at, i, end)
	}
	p.walk(at, n)
}

// step goes all ways that lead on from place i of a block, and returns how far it
// is to the next place worth standing at.
func (p *parser) step(at, i, end int) int {
	here := &p.nodes[i]
	price := here.price + p.prices.literal[p.tree.src[at+i]] + p.prices.literals(here.literals+1) - p.prices.literals(here.literals)
	if to := &p.nodes[i+1]; price < to.price {
		*to = node{price: price, literals: here.literals + 1, reps: here.reps}
	}
	most := uint32(end - at - i)
	if most < minMatch || at+i+4 > len(p.tree.src) {
		return 1
	}
	longest := p.repeat(at+i, i, end)
	length := uint32(minMatch)
	for _, f := range p.found[p.from[i]:p.from[i+1]] {
		n := min(f.length, most)
		if n >= enough {
			p.reach(i, n, n, f.distance, f.distance+3)
		} else if n > longest { // one at a distance from before is cheaper
			p.reach(i, max(length, minMatch), n, f.distance, f.distance+3)
		}
		length = n + 1
		longest = max(longest, n)
	}
	if longest >= enough {
		return int(longest)
	}
	return 1
}

// repeat tries the matches at one of the last three distances, and returns how
// long the longest is.
func (p *parser) repeat(at, i, end int) (longest uint32) {
	here := &p.nodes[i]
	src := p.tree.src[:end]
	v := le.Uint32(p.tree.src[at:]) << 8
	for k := range uint32(3) {
		d := here.recent(k)
		if d == 0 || int(d) > at || le.Uint32(p.tree.src[at-int(d):])<<8 != v {
			continue
		}
		n := uint32(minMatch + matchLength(src, at+minMatch, at+minMatch-int(d)))
		if n > longest {
			longest = n
		}
		least := uint32(minMatch)
		if n >= enough {
			least = n
		}
		p.reach(i, least, n, d, k+1)
	}
	return longest
}

// recent returns the distance that offset k+1 stands for, or 0.
func (n *node) recent(k uint32) uint32 {
	if n.literals == 0 {
		k++
	}
	if k == 3 {
		return n.reps[0] - 1
	}
	return n.reps[k]
}

// after returns the last distances after a match.
func (n *node) after(distance, offset uint32) [3]uint32 {
	r := n.reps
	k := offset - 1
	if n.literals == 0 {
		k++
	}
	switch {
	case offset > 3 || k >= 2:
		return [3]uint32{distance, r[0], r[1]}
	case k == 1:
		return [3]uint32{distance, r[0], r[2]}
	}
	return r
}

// reach goes from place i by a match of each length from least to most.
func (p *parser) reach(i int, least, most, distance, offset uint32) {
	here := &p.nodes[i]
	price := here.price + p.prices.offset(offset) + p.prices.literals(0)
	reps := here.after(distance, offset)
	to := p.nodes[i+int(least) : i+int(most)+1]
	for k := range to {
		n := least + uint32(k)
		if price := price + p.prices.length(n-minMatch); price < to[k].price {
			to[k] = node{price: price, length: n, offset: offset, reps: reps}
		}
	}
}

// walk hands the cheapest way to the encoder.
func (p *parser) walk(at, n int) {
	f := &p.finder
	f.literals, f.sequences = f.literals[:0], f.sequences[:0]
	p.reps = p.nodes[n].reps
	for i := n; i > 0; {
		here := &p.nodes[i]
		if here.length == 0 {
			i--
			continue
		}
		i -= int(here.length)
		f.sequences = append(f.sequences, sequence{p.nodes[i].literals, here.length - minMatch, here.offset})
	}
	slices.Reverse(f.sequences)
	from := at
	for _, s := range f.sequences {
		f.literals = append(f.literals, f.src[from:from+int(s.literals)]...)
		from += int(s.literals + s.length + minMatch)
	}
	f.literals = append(f.literals, f.src[from:at+n]...)
}

// prices are what choices cost, in 1/256 bits.
type prices struct {
	literal [256]uint32
	codes   [3][64]uint32 // with the bits that follow
}

func (c *prices) literals(n uint32) uint32 { return c.codes[literalCodes][codeOfLiterals(n)] }
func (c *prices) length(n uint32) uint32   { return c.codes[lengthCodes][codeOfLength(n)] }
func (c *prices) offset(n uint32) uint32   { return c.codes[offsetCodes][bits.Len32(n)-1] }

// guess sets prices for a run of which nothing is known but some of its bytes.
func (c *prices) guess(src []byte) {
	var counts [3][64]uint32
	for kind, t := range predefinedTables {
		for s, n := range t.norm {
			counts[kind][s] = uint32(max(n, -n))
		}
	}
	c.set(src, &counts)
}

// learn sets the prices to what the encoder's codes will cost.
func (c *prices) learn(e *encoder) {
	counts := e.encodeNumbers()
	c.set(e.finder.literals, &counts)
}

func (c *prices) set(literals []byte, counts *[3][64]uint32) {
	var bytes [256]uint32
	for _, b := range literals {
		bytes[b]++
	}
	priceOf(c.literal[:], bytes[:])
	for b, p := range c.literal {
		c.literal[b] = max(p, 1<<8) // Huffman's codes have a bit or more
	}
	for kind := range counts {
		priceOf(c.codes[kind][:], counts[kind][:])
	}
	for s := range 64 {
		c.codes[literalCodes][s] += uint32(literalExtra[s]) << 8
		c.codes[lengthCodes][s] += uint32(lengthExtra[s]) << 8
		c.codes[offsetCodes][s] += uint32(s) << 8
	}
}

// priceOf sets prices by how often each symbol occurs. One that does not occur
// counts as a quarter.
func priceOf(prices, counts []uint32) {
	total := uint32(1)
	for _, n := range counts {
		total += n
	}
	for s, n := range counts {
		prices[s] = uint32(256 * (math.Log2(float64(total)*4) - math.Log2(float64(4*n+1))))
	}
}
