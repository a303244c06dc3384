package delta

// A decoder is the working memory of Decode.
type decoder struct {
	model
	base view
}

// decode fills out with the target, or returns false if the steps do not fit.
// Each step gives a byte or more, so damage cannot make it last longer.
func (d *decoder) decode(out []byte) bool {
	baseLen := len(d.base.Data)
	c1, c2 := d.at(out, -1), d.at(out, -2)
	for i, next := 0, 0; i < len(out); {
		if d.c.pos > len(d.c.in) {
			return false
		}
		if i >= next {
			next = d.block(i, modelled)
			if d.kind == stored {
				end := min(next, len(out))
				d.store(out[i:end])
				c1, c2, i = out[end-1], d.at(out, end-2), end
				continue
			}
		}
		if !d.isMatch(c1, false) {
			out[i] = d.literal(0, c1, c2, d.at(out, i-int(d.reps[0])))
			c1, c2 = out[i], c1
			i++
			continue
		}
		t := d.match(token{}, baseLen+i, baseLen)
		if t.length > len(out)-i || t.dist == 0 || int(t.dist) > baseLen+i {
			return false
		}
		if !d.copy(out, i, t.length, int(t.dist)) {
			return false
		}
		i += t.length
		c1, c2 = out[i-1], d.at(out, i-2)
	}
	return true
}

// copy makes n bytes of the target at i equal those dist before.
func (d *decoder) copy(out []byte, i, n, dist int) bool {
	switch j := i - dist; {
	case j < 0:
		j += len(d.base.Data)
		if n > len(d.base.Data)-j {
			return false
		}
		d.base.read(out[i:i+n], j)
	case dist >= n:
		copy(out[i:i+n], out[j:])
	default: // what is copied is itself part of the copy
		for k := range n {
			out[i+k] = out[j+k]
		}
	}
	return true
}

// at returns the byte at place i of the target, or of the base that ends where
// it begins, and 0 before that.
func (d *decoder) at(out []byte, i int) byte {
	if i >= 0 {
		return out[i]
	}
	if i += len(d.base.Data); i < 0 {
		return 0
	}
	var b [1]byte
	d.base.read(b[:], i)
	return b[0]
}
