package nbd

// The numbers of the protocol, under its own names, from doc/proto.md.

const (
	magicServer     = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption     = 0x49484156454f5054 // "IHAVEOPT"
	magicReply      = 0x0003e889045565a9
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef
)

// Handshake flags; the client's have the same values.
const (
	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1
)

// Options.
const (
	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMetaContext = 9
	optSetMetaContext  = 10
)

// Types of replies to options.
const (
	repAck         = 1
	repServer      = 2
	repInfo        = 3
	repMetaContext = 4
	repErrUnsup    = 1<<31 + 1
	repErrInvalid  = 1<<31 + 3
	repErrUnknown  = 1<<31 + 6
	repErrTooBig   = 1<<31 + 9
)

// Types of information.
const (
	infoExport      = 0
	infoName        = 1
	infoDescription = 2
	infoBlockSize   = 3
)

// Transmission flags.
const (
	sendHasFlags     = 1 << 0
	sendReadOnly     = 1 << 1
	sendFlush        = 1 << 2
	sendFUA          = 1 << 3
	sendTrim         = 1 << 5
	sendWriteZeroes  = 1 << 6
	sendDF           = 1 << 7
	sendCanMultiConn = 1 << 8
	sendCache        = 1 << 10
)

// A command is the type of a request.
type command uint16

const (
	cmdRead        command = 0
	cmdWrite       command = 1
	cmdDisc        command = 2
	cmdFlush       command = 3
	cmdTrim        command = 4
	cmdCache       command = 5
	cmdWriteZeroes command = 6
	cmdBlockStatus command = 7
)

// Flags of commands.
const (
	cmdFUA    = 1 << 0
	cmdNoHole = 1 << 1
	cmdDF     = 1 << 2
	cmdReqOne = 1 << 3
)

// Structured replies.
const (
	chunkDone = 1 << 0 // flag: the last of its request

	chunkNone        = 0
	chunkData        = 1
	chunkHole        = 2
	chunkBlockStatus = 5
	chunkError       = 1<<15 + 1
)

// The one metadata context.
const (
	contextName = "base:allocation"
	contextID   = 1

	stateHole = 1 << 0
	stateZero = 1 << 1
)

// Block sizes that are announced: any request is taken, 4 KiB is best.
const (
	minBlock       = 1
	preferredBlock = 4096
)

// An errno is an error number of the protocol.
type errno uint32

const (
	errNone   errno = 0
	errPerm   errno = 1
	errIO     errno = 5
	errNoMem  errno = 12
	errInval  errno = 22
	errNoSpc  errno = 28
	errNotSup errno = 95
)
