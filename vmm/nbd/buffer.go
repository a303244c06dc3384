package nbd

import (
	"math/bits"
	"sync"
)

// smallest is the size of the smallest pooled buffer, as a power of two.
const smallest = 12

// pools holds buffers of 4 KiB, 8 KiB, … up to [MaxRequest].
var pools [26 - smallest]sync.Pool

// getBuffer returns a buffer of n bytes, at most [MaxRequest], with any
// content. It goes back with [putBuffer].
func getBuffer(n int) *[]byte {
	class := max(bits.Len(uint(max(n, 1)-1)), smallest) - smallest
	b, ok := pools[class].Get().(*[]byte)
	if !ok {
		fresh := make([]byte, 1<<(class+smallest))
		b = &fresh
	}
	*b = (*b)[:n]
	return b
}

func putBuffer(b *[]byte) {
	if b == nil {
		return
	}
	pools[bits.Len(uint(cap(*b)-1))-smallest].Put(b)
}
