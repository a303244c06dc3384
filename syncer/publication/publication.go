// Package publication is what publishers say to devices, signed: which version
// of a layer a channel is at, which versions must not be used, and which
// workspaces whom are for.
//
// # Vocabulary
//
// A publisher's key is an ed25519 key that no server holds. An [Entry] is one
// thing that a publisher has said; the log is all of them, in order. A channel
// is a name, such as stable, under which devices follow a layer. A wave is the
// share of devices that a version goes to first. To withdraw a version is to
// say that no device may use it again.
//
// # Invariants
//
//   - Each entry names the hash of the one before it, so the last one stands for
//     all. Who has seen one log takes no other: neither a shorter one nor one
//     that parts from it.
//   - The first entry names the key that it is signed with, and further keys are
//     named by entries signed with known ones. So the hash of the first entry,
//     which a device pins, decides who may publish.
//   - What a log says follows from its entries alone. Every reader of the same
//     entries comes to the same end, and refuses the same ones.
//
// # The one idea
//
// There is one log for a whole domain, not one for each layer. A server cannot
// show today's state of one layer beside yesterday's of another, nor leave out
// that a version was withdrawn, without the chain of hashes telling.
//
// What an entry says is not shown to everybody: a device is shown the contents
// of those that concern layers it may read, and of all others only that they
// are there. That is enough to follow the chain.
//
// The idea of a chain of signed statements that is checked by its readers is
// that of Certificate Transparency (RFC 9162) and The Update Framework;
// docs/format/publication.md specifies the bytes.
package publication

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"satchel/store"
	"satchel/syncer"
)

// Why an entry, or a log, is refused.
var (
	// ErrForged reports an entry that no publisher of this domain has signed, or
	// contents that are not those that were signed.
	ErrForged = errors.New("it is not signed by a publisher of this domain")
	// ErrReplayed reports a log that is shorter than one that was seen before.
	ErrReplayed = errors.New("the server shows an older log of publications than it did before")
	// ErrSplit reports a log that parts from the one that was seen before.
	ErrSplit = errors.New("the server shows another log of publications than it did before")
	// ErrWithdrawn reports a version that a publisher has withdrawn.
	ErrWithdrawn = errors.New("the version was withdrawn")
	// ErrDowngrade reports a version that is older than the one that the channel
	// is at, and was not published as a way back.
	ErrDowngrade = errors.New("the version is older than the one that was published before")
	// ErrUnpublished reports a version that no entry names.
	ErrUnpublished = errors.New("no publisher has published the version")
)

// Sizes, in bytes.
const (
	MaxContent = 64 << 10 // contents of an entry
	recordSize = 8 + sha256.Size + len(store.LayerID{}) + sha256.Size + ed25519.PublicKeySize + ed25519.SignatureSize
	signedSize = recordSize - ed25519.SignatureSize
)

// signedAs goes before what is signed, so that a signature means nothing else.
const signedAs = "satchel publication 1\n"

// A Hash is SHA-256.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads hexadecimal digits.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("hash %.80q: want %d hexadecimal digits", b, hex.EncodedLen(len(h)))
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// A Key is the public half of a publisher's key.
type Key [ed25519.PublicKeySize]byte

func (k Key) String() string { return hex.EncodeToString(k[:]) }

// MarshalText writes hexadecimal digits.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads hexadecimal digits.
func (k *Key) UnmarshalText(b []byte) error { return (*Hash)(k).UnmarshalText(b) }

// An Entry is one statement of a publisher, without what it says.
type Entry struct {
	Seq     uint64        // 1 is the first
	Prev    Hash          // of the entry before; zeros: this is the first
	Subject store.LayerID // what it is about: a layer, an assignment, or all ones: keys
	Content Hash          // of what it says
	Key     Key           // whose
	Sig     [ed25519.SignatureSize]byte
}

// Marshal returns the entry's record.
func (e *Entry) Marshal() []byte {
	b := make([]byte, 0, recordSize)
	b = binary.LittleEndian.AppendUint64(b, e.Seq)
	b = append(b, e.Prev[:]...)
	b = append(b, e.Subject[:]...)
	b = append(b, e.Content[:]...)
	b = append(b, e.Key[:]...)
	return append(b, e.Sig[:]...)
}

// Unmarshal reads a record, or fails with [syncer.ErrMalformed].
func Unmarshal(b []byte) (e Entry, err error) {
	if len(b) != recordSize {
		return e, fmt.Errorf("publication of %d bytes, want %d: %w", len(b), recordSize, syncer.ErrMalformed)
	}
	e.Seq = binary.LittleEndian.Uint64(b)
	b = b[8:]
	for _, field := range [][]byte{e.Prev[:], e.Subject[:], e.Content[:], e.Key[:], e.Sig[:]} {
		b = b[copy(field, b):]
	}
	return e, nil
}

// Hash is what the next entry names this one by.
func (e *Entry) Hash() Hash { return hashOf(e.Marshal()) }

// message is what is signed.
func (e *Entry) message() []byte { return append([]byte(signedAs), e.Marshal()[:signedSize]...) }

// signed reports whether the entry bears its key's signature.
func (e *Entry) signed() bool { return ed25519.Verify(e.Key[:], e.message(), e.Sig[:]) }

// A Statement is an entry and what it says.
type Statement struct {
	Record  []byte `json:"record"`            // [Entry.Marshal]
	Content []byte `json:"content,omitempty"` // JSON of a [Content]; none: not shown
}

// MaxPage is how many statements one answer of a server holds at most.
const MaxPage = 1000

// A Page is an answer of a server: statements from a number on, and the number
// of the last one that there is.
type Page struct {
	Statements []Statement `json:"statements"`
	Last       uint64      `json:"last"`
}

// Open reads a statement without checking who has signed it; the contents are
// nil when they are not shown. It fails with [syncer.ErrMalformed].
func (s *Statement) Open() (e Entry, c *Content, err error) {
	if e, err = Unmarshal(s.Record); err != nil || s.Content == nil {
		return e, nil, err
	}
	said, err := parse(s.Content)
	return e, &said, err
}

// Sign makes the entry after the last one of a log.
func Sign(key *PrivateKey, l *Log, c Content) (Statement, error) {
	if err := c.Check(); err != nil {
		return Statement{}, err
	}
	content, err := c.marshal()
	if err != nil {
		return Statement{}, err
	}
	e := Entry{Seq: l.Seq + 1, Prev: l.Head, Subject: c.subject(), Content: hashOf(content), Key: key.Public()}
	copy(e.Sig[:], ed25519.Sign(key.private, e.message()))
	return Statement{e.Marshal(), content}, nil
}

func hashOf(b []byte) Hash { return sha256.Sum256(b) }
