package zstd

// How thorough a search by tree is.
const (
	treeBits  = 17  // the tree has 2^treeBits roots
	threeBits = 17  // and the table of three bytes so many entries
	depth     = 64  // how many places are looked at for one
	enough    = 256 // a match of so many bytes is not compared with others
)

// A found is a match: so many bytes are those that lie so far before.
type found struct{ length, distance uint32 }

// A tree finds matches of all lengths. It is a binary tree for each hash of four
// bytes, ordered by the bytes that follow a place; the newest place is the root.
// To enter a place is to search for it: what is met on the way is smaller or larger,
// and shares ever more bytes with it. Places are counted from 1.
//
// Source: the match finder of LZMA, as its author describes it in the SDK.
type tree struct {
	src   []byte
	roots [1 << treeBits]uint32
	three [1 << threeBits]uint32 // the newest place of a hash of three bytes
	sons  []uint32               // two for each place: smaller, and larger
}

// reset prepares for another run.
func (t *tree) reset(src []byte) {
	t.src = src
	clear(t.roots[:])
	clear(t.three[:])
	if n := 2 * len(src); cap(t.sons) < n {
		t.sons = make([]uint32, n)
	} else {
		t.sons = t.sons[:n]
	}
}

// enter enters place i, behind which there are four bytes or more, and appends the
// matches there, each longer than the one before and the nearest of its length.
func (t *tree) enter(i int, to []found) []found {
	v := le.Uint32(t.src[i:])
	best := minMatch - 1
	newest := &t.three[v<<8*2654435761>>(32-threeBits)]
	if j := int(*newest) - 1; j >= 0 && le.Uint32(t.src[j:])<<8 == v<<8 {
		best = minMatch
		to = append(to, found{minMatch, uint32(i - j)})
	}
	*newest = uint32(i + 1)

	root := &t.roots[v*2654435761>>(32-treeBits)]
	next := *root
	*root = uint32(i + 1)
	most := min(enough, len(t.src)-i)
	smaller, larger := &t.sons[2*i], &t.sons[2*i+1] // where the next of each kind goes
	nSmaller, nLarger := 0, 0                       // bytes that the last of each shares with i
	for range depth {
		if next == 0 {
			break
		}
		j := int(next) - 1
		n := min(nSmaller, nLarger)
		n += matchLength(t.src[:i+most], i+n, j+n)
		if n > best {
			best = n
			to = append(to, found{uint32(n), uint32(i - j)})
		}
		sons := t.sons[2*j : 2*j+2 : 2*j+2]
		switch {
		case n == most: // i takes the place of j
			*smaller, *larger = sons[0], sons[1]
			return to
		case t.src[j+n] < t.src[i+n]:
			*smaller, smaller = next, &sons[1]
			nSmaller, next = n, sons[1]
		default:
			*larger, larger = next, &sons[0]
			nLarger, next = n, sons[0]
		}
	}
	*smaller, *larger = 0, 0
	return to
}
