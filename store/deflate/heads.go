package deflate

import (
	"bytes"
	"iter"
)

// What a file in a zip archive begins with, and a file of gzip, if deflate
// compresses it.
var (
	zipMagic  = []byte("PK\x03\x04")
	gzipMagic = []byte("\x1f\x8b\x08")
)

// Begins reports whether a file that begins so is a zip archive or one of gzip.
func Begins(file []byte) bool {
	return bytes.HasPrefix(file, zipMagic) || bytes.HasPrefix(file, gzipMagic)
}

// heads yields where in a run streams may begin: after what looks like the head of
// a file in a zip archive or of one of gzip.
func heads(run []byte) iter.Seq[int] {
	return func(yield func(int) bool) {
		zip, gzip := index(run, zipMagic, 0), index(run, gzipMagic, 0)
		for {
			at, n := min(zip, gzip), 0
			if at == len(run) {
				return
			}
			if at == zip {
				n = zipHead(run[at:])
				zip = index(run, zipMagic, at+1)
			} else {
				n = gzipHead(run[at:])
				gzip = index(run, gzipMagic, at+1)
			}
			if n > 0 && at+n < len(run) && !yield(at+n) {
				return
			}
		}
	}
}

// index returns where magic is met from a place on, or the end of the run.
func index(run, magic []byte, from int) int {
	if i := bytes.Index(run[from:], magic); i >= 0 {
		return from + i
	}
	return len(run)
}

// zipHead returns the length of a file's head in a zip archive, or 0.
//
// Source: PKWARE, APPNOTE.TXT, 4.3.7.
func zipHead(b []byte) int {
	const head, deflated = 30, 8
	if len(b) < head || le.Uint16(b[8:]) != deflated {
		return 0
	}
	return head + int(le.Uint16(b[26:])) + int(le.Uint16(b[28:]))
}

// gzipHead returns the length of the head of a file of gzip, or 0.
//
// Source: RFC 1952.
func gzipHead(b []byte) int {
	const head, sum, extra, name, comment = 10, 2, 4, 8, 16
	if len(b) < head {
		return 0
	}
	n, flags := head, b[3]
	if flags&extra != 0 {
		if len(b) < n+2 {
			return 0
		}
		n += 2 + int(le.Uint16(b[n:]))
	}
	for _, f := range []byte{name, comment} {
		if flags&f != 0 {
			if n > len(b) {
				return 0
			}
			end := bytes.IndexByte(b[n:], 0)
			if end < 0 {
				return 0
			}
			n += end + 1
		}
	}
	if flags&sum != 0 {
		n += 2
	}
	return n
}
