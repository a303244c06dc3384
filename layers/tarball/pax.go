package tarball

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"satchel/layers"
)

const blockSize = 512

// A header is what goes before an archive's entry. The standard library's
// writer knows neither sparse files nor names that are not text.
type header struct {
	name, link   string
	kind         byte
	mode         uint16
	uid, gid     uint32
	size         int64
	time         layers.Time
	major, minor uint32
	records      []string // encoded
}

func headerOf(e *layers.Entry) header {
	kinds := map[layers.Type]byte{
		layers.Regular: '0', layers.Symlink: '2', layers.CharDev: '3',
		layers.BlockDev: '4', layers.Dir: '5', layers.Fifo: '6',
	}
	h := header{
		name: e.Path, link: e.Target, kind: kinds[e.Type], mode: e.Mode, uid: e.UID, gid: e.GID,
		size: e.Size, time: e.ModTime, major: e.Major, minor: e.Minor,
	}
	for _, x := range e.Xattrs {
		h.record(schilyXattr+escaper.Replace(x.Name), string(x.Value))
		for kind, attr := range aclXattr {
			if attr != x.Name {
				continue
			}
			if text, ok := formatACL(x.Value); ok { // what tar --acls reads
				h.record(schilyACL+kind, text)
			}
		}
	}
	return h
}

// record adds a pax record, "LENGTH KEY=VALUE\n", whose length counts itself.
func (h *header) record(key, value string) {
	rest := len(key) + len(value) + 3
	n := rest + len(strconv.Itoa(rest))
	if m := rest + len(strconv.Itoa(n)); m > n {
		n = m
	}
	h.records = append(h.records, strconv.Itoa(n)+" "+key+"="+value+"\n")
}

// header writes a header, with one of pax records before it where the old form
// is not enough.
func (x *exporter) header(h header) error {
	h.text("path", h.name)
	h.text("linkpath", h.link)
	h.number("uid", int64(h.uid), 7)
	h.number("gid", int64(h.gid), 7)
	h.number("size", h.size, 11)
	if h.time.Nsec != 0 || h.time.Sec < 0 || h.time.Sec >= 1<<33 {
		h.record("mtime", formatTime(h.time))
	}
	if records := strings.Join(h.records, ""); records != "" {
		if len(records) > maxRecords {
			return fmt.Errorf("names and attributes of %d bytes are more than an archive can hold", len(records))
		}
		ext := header{name: "PaxHeaders/entry", kind: 'x', size: int64(len(records)), mode: 0o644}
		x.w.Write(ext.block())
		x.w.WriteString(records)
		x.pad(int64(-len(records) & (blockSize - 1)))
	}
	_, err := x.w.Write(h.block())
	return err
}

// maxRecords is as many bytes of records as the readers of Go take.
const maxRecords = 1 << 20

// text adds a record for a name that does not fit the header. Records are
// text, so those of other bytes say that they are not.
func (h *header) text(key, s string) {
	ascii := strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
	if len(s) <= 100 && (ascii || !utf8.ValidString(s)) {
		return // bytes that are no text fit best where no coding is implied
	}
	if !utf8.ValidString(s) {
		h.records = append([]string{"21 hdrcharset=BINARY\n"}, h.records...)
	}
	h.record(key, s)
}

// number adds a record for a number of too many octal digits.
func (h *header) number(key string, n int64, digits int) {
	if n>>(3*digits) != 0 {
		h.record(key, strconv.FormatInt(n, 10))
	}
}

// formatTime writes seconds as a decimal fraction, rounded to nothing.
func formatTime(t layers.Time) string {
	switch {
	case t.Nsec == 0:
		return strconv.FormatInt(t.Sec, 10)
	case t.Sec < 0: // the nanoseconds count upwards
		return fmt.Sprintf("-%d.%09d", -(t.Sec + 1), 1_000_000_000-t.Nsec)
	}
	return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec)
}

// block returns a ustar header. What does not fit is cut; records tell it.
func (h *header) block() []byte {
	b := make([]byte, blockSize)
	octal := func(at, digits int, n int64) {
		if n < 0 || n>>(3*digits) != 0 {
			n = 0
		}
		copy(b[at:], fmt.Sprintf("%0*o", digits, n))
	}
	copy(b[0:100], h.name)
	octal(100, 7, int64(h.mode))
	octal(108, 7, int64(h.uid))
	octal(116, 7, int64(h.gid))
	octal(124, 11, h.size)
	octal(136, 11, h.time.Sec)
	copy(b[148:156], "        ")
	b[156] = h.kind
	copy(b[157:257], h.link)
	copy(b[257:265], "ustar\x0000")
	h.device(b[329:337], h.major)
	h.device(b[337:345], h.minor)
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// device writes a device number: in octal, or in the binary form of GNU tar if
// it has more than seven digits.
func (h *header) device(b []byte, n uint32) {
	if n>>21 == 0 {
		copy(b, fmt.Sprintf("%07o", n))
		return
	}
	b[0] = 0x80
	for i := range 4 {
		b[7-i] = byte(n >> (8 * i))
	}
}
