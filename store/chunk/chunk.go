// Package chunk cuts bytes into chunks by content and names them.
//
// A [Domain] holds what an organisation's stores must agree on so that equal
// bytes become equal chunks: the key of the hash, the polynomial of the rolling
// checksum, and the sizes. It is also what keeps stores of different domains
// from learning anything of each other: without the key nobody can tell
// whether a chunk they know is in a store, and without the polynomial nobody
// can guess a file from the lengths of its chunks.
//
// The one idea: where a cut falls depends only on the 64 bytes before it, so
// an insertion moves the cuts around it and no others. In disk images it
// depends on the block before it.
//
// This is the only package that imports the chunker and the hash.
package chunk

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/restic/chunker"
	"github.com/zeebo/blake3"

	"satchel/store"
)

// The sizes of a new domain. A cut is taken no earlier than after Min bytes
// and then on average after 2^AverageBits more, so these make chunks of 64 KiB
// on average; a shorter file is one chunk.
const (
	defaultMin         = 48 << 10
	defaultMax         = 256 << 10
	defaultAverageBits = 14

	// Of disk images, by measurement: see docs/chunking.md.
	defaultBlock     = 4 << 10
	defaultBlockBits = 4
)

// The limits within which [Domain.Check] takes the sizes of a domain.
const (
	minMin         = 64 // the window of the rolling checksum
	maxAverageBits = 22
	minBlock       = 512
)

// polynomialDegree is the degree of the irreducible polynomials that the
// rolling checksum takes.
const polynomialDegree = 53

// A Domain is what stores must share so that equal bytes make equal chunks.
type Domain struct {
	Key         [32]byte // of the keyed BLAKE3 hash; secret
	Polynomial  uint64   // irreducible over GF(2), of degree 53; secret
	Min         int      // least bytes of a chunk that is not the last
	Max         int      // most bytes of a chunk
	AverageBits int      // after Min bytes, one place in 2^AverageBits is a cut
	Block       int      // bytes of a block of a disk image; 0: images are cut like all files
	BlockBits   int      // one block in 2^BlockBits ends a chunk by its hash
}

// NewDomain returns a domain with a random key and polynomial, and sizes that
// make chunks of 64 KiB on average, less in disk images.
func NewDomain() (Domain, error) {
	pol, err := chunker.RandomPolynomial()
	if err != nil {
		return Domain{}, fmt.Errorf("choose polynomial: %w", err)
	}
	d := Domain{
		Polynomial:  uint64(pol),
		Min:         defaultMin,
		Max:         defaultMax,
		AverageBits: defaultAverageBits,
		Block:       defaultBlock,
		BlockBits:   defaultBlockBits,
	}
	rand.Read(d.Key[:]) // never fails
	return d, nil
}

// Check reports a domain that no splitter can work with.
func (d Domain) Check() error {
	pol := chunker.Pol(d.Polynomial)
	switch {
	case d.Key == [32]byte{}:
		return errors.New("domain: the key is empty")
	case pol.Deg() != polynomialDegree || !pol.Irreducible():
		return fmt.Errorf("domain: the polynomial is not irreducible of degree %d", polynomialDegree)
	case d.Min < minMin || d.Min > d.Max || d.Max > store.MaxChunk:
		return fmt.Errorf("domain: chunks of %d to %d bytes: want %d <= min <= max <= %d", d.Min, d.Max, minMin, store.MaxChunk)
	case d.AverageBits < 1 || d.AverageBits > maxAverageBits:
		return fmt.Errorf("domain: %d average bits: want 1 to %d", d.AverageBits, maxAverageBits)
	case d.Block == 0 && d.BlockBits == 0:
		return nil // a domain from before images were cut into blocks
	case d.Block < minBlock || d.Block > d.Max || d.Block&(d.Block-1) != 0:
		return fmt.Errorf("domain: blocks of %d bytes: want a power of two, %d to %d", d.Block, minBlock, d.Max)
	case d.BlockBits < 1 || d.BlockBits > maxAverageBits:
		return fmt.Errorf("domain: %d block bits: want 1 to %d", d.BlockBits, maxAverageBits)
	}
	return nil
}

// ID names data: its BLAKE3-256 hash under the domain's key.
//
// Source: BLAKE3 specification, keyed_hash mode.
func (d Domain) ID(data []byte) (id store.ID) {
	h, ok := hashers.Get().(*hasher)
	if !ok || h.key != d.Key {
		h = newHasher(d.Key)
	}
	defer hashers.Put(h)
	h.Reset()
	h.Write(data) // never fails
	h.Sum(id[:0])
	return id
}

// hashers spares the memory of hashers. A process seldom works in more than
// one domain, so those of all domains share it.
var hashers sync.Pool

type hasher struct {
	*blake3.Hasher
	key [32]byte
}

func newHasher(key [32]byte) *hasher {
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		panic(err) // the key has the one length that NewKeyed takes
	}
	return &hasher{h, key}
}

// domainJSON is how a domain is written in a store's configuration.
type domainJSON struct {
	Key         string `json:"key"`
	Polynomial  string `json:"polynomial"`
	Min         int    `json:"min"`
	Max         int    `json:"max"`
	AverageBits int    `json:"average_bits"`
	Block       int    `json:"block,omitempty"`
	BlockBits   int    `json:"block_bits,omitempty"`
}

// MarshalJSON implements [json.Marshaler]: key and polynomial in hexadecimal.
func (d Domain) MarshalJSON() ([]byte, error) {
	return json.Marshal(domainJSON{
		Key:         hex.EncodeToString(d.Key[:]),
		Polynomial:  fmt.Sprintf("%x", d.Polynomial),
		Min:         d.Min,
		Max:         d.Max,
		AverageBits: d.AverageBits,
		Block:       d.Block,
		BlockBits:   d.BlockBits,
	})
}

// UnmarshalJSON implements [json.Unmarshaler] and takes only domains that
// [Domain.Check] finds right.
func (d *Domain) UnmarshalJSON(b []byte) error {
	var j domainJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	n := Domain{Min: j.Min, Max: j.Max, AverageBits: j.AverageBits, Block: j.Block, BlockBits: j.BlockBits}
	if len(j.Key) != hex.EncodedLen(len(n.Key)) {
		return fmt.Errorf("domain: key of %d digits: want %d", len(j.Key), hex.EncodedLen(len(n.Key)))
	}
	if _, err := hex.Decode(n.Key[:], []byte(j.Key)); err != nil {
		return fmt.Errorf("domain: key: %w", err)
	}
	if _, err := fmt.Sscanf(j.Polynomial, "%x", &n.Polynomial); err != nil {
		return fmt.Errorf("domain: polynomial %.32q: %w", j.Polynomial, err)
	}
	if err := n.Check(); err != nil {
		return err
	}
	*d = n
	return nil
}
