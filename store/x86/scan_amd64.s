#include "textflag.h"

// SPREAD fills a vector with one byte.
#define SPREAD(value, xmm, ymm) \
	MOVL         $value, AX \
	MOVQ         AX, xmm    \
	VPBROADCASTB xmm, ymm

// func scan(found *[64]uint64, b *[4097]byte, sets *[3][16]byte)
//
// It looks at 32 bytes at once, and at those that follow each of them.
TEXT ·scan(SB), NOSPLIT, $0-24
	MOVQ found+0(FP), DI
	MOVQ b+8(FP), SI
	MOVQ sets+16(FP), DX
	VBROADCASTI128 0(DX), Y15
	VBROADCASTI128 16(DX), Y14
	VBROADCASTI128 32(DX), Y13
	SPREAD(0xfe, X12, Y12)
	SPREAD(0xe8, X11, Y11)
	SPREAD(0x0f, X10, Y10)
	SPREAD(0xf0, X9, Y9)
	SPREAD(0x80, X8, Y8)
	SPREAD(0xc7, X7, Y7)
	SPREAD(0x05, X6, Y6)
	VPOR Y10, Y8, Y5
	MOVQ $128, CX

next:
	VMOVDQU (SI), Y0
	VMOVDQU 1(SI), Y1

	// Calls and jumps: E8 and E9.
	VPAND    Y12, Y0, Y2
	VPCMPEQB Y11, Y2, Y2

	// Conditional jumps: 0F, and 80 to 8F.
	VPCMPEQB Y10, Y0, Y3
	VPAND    Y9, Y1, Y4
	VPCMPEQB Y8, Y4, Y4
	VPAND    Y4, Y3, Y3
	VPOR     Y3, Y2, Y2

	// Instructions with a relative operand: the first byte is in the sets. A
	// lookup gives 0 where the highest bit of the index is set.
	VPAND    Y5, Y0, Y3
	VPSHUFB  Y3, Y15, Y4
	VPXOR    Y8, Y3, Y3
	VPSHUFB  Y3, Y14, Y3
	VPOR     Y4, Y3, Y3
	VPSRLW   $4, Y0, Y4
	VPAND    Y10, Y4, Y4
	VPSHUFB  Y4, Y13, Y4
	VPAND    Y4, Y3, Y3
	VPCMPEQB Y4, Y3, Y3

	// The second has the bits of "relative".
	VPAND    Y7, Y1, Y4
	VPCMPEQB Y6, Y4, Y4
	VPAND    Y4, Y3, Y3
	VPOR     Y3, Y2, Y2

	VPMOVMSKB Y2, AX
	MOVL      AX, (DI)
	ADDQ      $32, SI
	ADDQ      $4, DI
	DECQ      CX
	JNZ       next
	VZEROUPPER
	RET
